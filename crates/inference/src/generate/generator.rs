//! The generator: what it holds, and what a caller may ask of it.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use twox_hash::XxHash3_64;

use super::disk::PrefixFiles;
use super::job::{Job, Shared};
use super::prefix::PrefixCache;
use super::running::Running;
use super::{
    Admitted, Event, Failure, Part, Request, RequestError, RequestId, StopReason, Usage, admit,
};
use crate::backend::{Limits, Runner};
use crate::sample::{Scratch, TokenMask};
use crate::tokenizer::{TextStream, Tokenizer};

/// The choices of a generator that the runner does not make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GeneratorOptions {
    /// Requests that may wait for a place.
    pub queue_max: usize,
    /// Tokens that a draft may propose at a time; 0 turns drafts off.
    pub draft_tokens_max: usize,
    /// Beginnings of texts kept for prompts that start alike; 0: none. Their keys and values lie in the runner's memory and
    /// give way where it is full.
    pub prefixes_max: usize,
    /// Bytes of recurrent states kept for reuse, where the model has one; two states are kept whatever they take.
    pub snapshot_bytes_max: usize,
    /// Tokens from one kept state to the next, beside those at [`Request::keep_marks`]; 0: none.
    pub snapshot_every: usize,
}

impl Default for GeneratorOptions {
    fn default() -> GeneratorOptions {
        GeneratorOptions {
            queue_max: 256,
            draft_tokens_max: 8,
            prefixes_max: 256,
            snapshot_bytes_max: 256 << 20,
            snapshot_every: 1024,
        }
    }
}

/// Generates the texts of any number of requests, side by side.
///
/// ```
/// use lattice_inference::backend::cpu::Cpu;
/// use lattice_inference::checkpoint::ModelFiles;
/// use lattice_inference::generate::{Event, Request};
/// use lattice_inference::{Engine, EngineOptions, Error};
///
/// # fn main() -> Result<(), Error> {
/// let files = ModelFiles::open("../../models/lattice-tiny".as_ref())?;
/// let mut engine = Engine::open(&files, &Cpu, &EngineOptions::default())?;
/// for text in ["Once upon a time", "The sea was"] {
///     let request = Request { max_tokens: Some(5), ..engine.complete(text)? };
///     engine.generator.submit(request)?;
/// }
/// let mut done = 0;
/// while !engine.generator.idle() {
///     let events = engine.generator.step();
///     done += events.iter().filter(|event| matches!(event, Event::Done { .. })).count();
/// }
/// assert_eq!(done, 2);
/// # Ok(())
/// # }
/// ```
pub struct Generator {
    pub(super) runner: Box<dyn Runner>,
    pub(super) tokenizer: Arc<dyn Tokenizer>,
    pub(super) options: GeneratorOptions,
    pub(super) queue: VecDeque<Job>,
    pub(super) running: Vec<Running>,
    pub(super) prefixes: PrefixCache,
    pub(super) shared: Shared,
    pub(super) proposals: Vec<u32>,
    pub(super) step: u64,
    /// A request was sent back for want of memory, and nothing has ended since.
    pub(super) memory_full: bool,
    requests: u64,
}

/// What a generator keeps for prompts that start alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheUse {
    /// Beginnings of texts.
    pub prefixes: usize,
    /// Their tokens; those that two of them share count twice.
    pub tokens: usize,
    /// Recurrent states, those of running requests among them.
    pub snapshots: usize,
    /// Bytes of these.
    pub snapshot_bytes: usize,
}

/// A whole text.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The answer.
    pub text: String,
    /// What was inside of thinking blocks, without the tokens that mark them.
    pub thinking: String,
    /// The generated tokens, without a stop id.
    pub ids: Vec<u32>,
    /// Why it ended.
    pub reason: StopReason,
    /// Whether it was held to a grammar, and the answer is only the beginning of a text of it.
    pub incomplete: bool,
    /// Figures.
    pub usage: Usage,
}

impl Generator {
    /// A generator with the default options.
    #[must_use]
    pub fn new(runner: Box<dyn Runner>, tokenizer: Arc<dyn Tokenizer>) -> Generator {
        Generator::with_options(runner, tokenizer, GeneratorOptions::default())
    }

    /// A generator over all sequences of `runner`.
    #[must_use]
    pub fn with_options(
        runner: Box<dyn Runner>,
        tokenizer: Arc<dyn Tokenizer>,
        options: GeneratorOptions,
    ) -> Generator {
        let limits = runner.limits();
        let mut tokens = TokenMask::from_tokenizer(&*tokenizer, limits.output_width);
        // What is chosen is fed next.
        tokens.retain(|id| (id as usize) < limits.vocab);
        let shared = Shared {
            allowed: tokens.clone(),
            tokens,
            scratch: Scratch::default(),
            events: Vec::new(),
        };
        Generator {
            runner,
            tokenizer,
            options,
            queue: VecDeque::new(),
            running: Vec::new(),
            prefixes: PrefixCache::new(options.prefixes_max, options.snapshot_bytes_max),
            shared,
            proposals: Vec::new(),
            step: 0,
            memory_full: false,
            requests: 0,
        }
    }

    /// The runner's limits, against which requests are checked.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.runner.limits()
    }

    /// Checks a request and puts it in the queue.
    ///
    /// # Errors
    /// See [`admit`]; [`RequestError::QueueFull`].
    pub fn submit(&mut self, request: Request) -> Result<RequestId, RequestError> {
        self.enqueue(admit(request, &self.limits())?)
    }

    /// Puts a checked request in the queue.
    ///
    /// # Errors
    /// [`RequestError::QueueFull`] where as many wait as may wait; those that the next step finds a place
    /// for do not count.
    pub fn enqueue(&mut self, admitted: Admitted) -> Result<RequestId, RequestError> {
        let free = self
            .limits()
            .sequences_max
            .saturating_sub(self.running.len());
        let waiting = self.queue.len().saturating_sub(free);
        if self.queue.len() >= free + self.options.queue_max {
            return Err(RequestError::QueueFull { waiting });
        }
        let id = RequestId(self.requests);
        self.requests += 1;
        // The standard library seeds its hash maps from the system's entropy.
        let seed = RandomState::new().hash_one(id);
        let characters = TextStream::new(&*self.tokenizer);
        self.queue
            .push_back(Job::new(id, admitted, seed, &self.shared, characters)?);
        Ok(id)
    }

    /// Ends a request at once; its `Done` comes with the next step. False where it has ended before.
    pub fn cancel(&mut self, id: RequestId) -> bool {
        if let Some(at) = self.running.iter().position(|running| running.job.id == id) {
            let running = self.running.remove(at);
            self.retire(running, StopReason::Cancelled);
            return true;
        }
        if let Some(mut job) = self
            .queue
            .iter()
            .position(|job| job.id == id)
            .and_then(|at| self.queue.remove(at))
        {
            job.finish(StopReason::Cancelled, &mut self.shared.events);
            return true;
        }
        false
    }

    /// Whether a step would do and say nothing.
    #[must_use]
    pub fn idle(&self) -> bool {
        self.running.is_empty() && self.queue.is_empty() && self.shared.events.is_empty()
    }

    /// Requests that hold a place.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Requests that wait for a place.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// What is kept for prompts that start alike.
    #[must_use]
    pub fn cache(&self) -> CacheUse {
        self.prefixes.figures(&self.running)
    }

    /// Keeps beginnings in files of `folder` as well, at most `bytes_max` bytes of them: those that [`Self::save`] wrote,
    /// for a generator of the same `model`, count as kept. `model` names weights and plan, and must differ where they do.
    /// False where the runner exports nothing.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub fn keep_in(&mut self, folder: &Path, model: &str, bytes_max: u64) -> std::io::Result<bool> {
        let Some(form) = self.runner.memory_form() else {
            return Ok(false);
        };
        let version = env!("CARGO_PKG_VERSION");
        let key = XxHash3_64::oneshot(format!("{version}\n{model}\n{form}").as_bytes());
        self.prefixes
            .use_files(PrefixFiles::open(folder, key, bytes_max)?);
        Ok(true)
    }

    /// Writes what is kept and not written yet into the folder of [`Self::keep_in`]; how many beginnings, 0 without one.
    ///
    /// # Errors
    /// What the system says; the rest is not written.
    pub fn save(&mut self) -> std::io::Result<usize> {
        let mut saved = 0;
        while self.save_next()? {
            saved += 1;
        }
        Ok(saved)
    }

    /// Writes one beginning that [`Self::save`] would, so that steps may run in between; false where there is none.
    ///
    /// # Errors
    /// What the system says.
    pub fn save_next(&mut self) -> std::io::Result<bool> {
        self.prefixes.save_next(&*self.runner)
    }

    /// Lets go of all beginnings that no request holds.
    pub fn forget(&mut self) {
        while self.prefixes.close_oldest(&mut *self.runner) {}
    }

    /// Ends every request that holds a place as [`Failure::Panicked`], and closes all sequences. For callers that
    /// caught a panic of [`Self::step`]: what the sequences hold is not known then. Requests that wait go on.
    ///
    /// [`Failure::Panicked`]: super::Failure::Panicked
    pub fn give_up_running(&mut self) {
        for mut running in std::mem::take(&mut self.running) {
            running.fed = 0;
            self.retire(running, StopReason::Failed(Failure::Panicked));
        }
        self.forget();
    }

    /// Generates one text to its end, and whatever else was submitted beside it: `on_event` hears all
    /// events. When it breaks, the request is cancelled and the answer is what was heard until then.
    ///
    /// # Errors
    /// The request was refused. What goes wrong later is the answer's reason.
    pub fn generate(
        &mut self,
        request: Request,
        mut on_event: impl FnMut(&Event) -> ControlFlow<()>,
    ) -> Result<Answer, RequestError> {
        let id = self.submit(request)?;
        let mut heard = true;
        let mut answer = Collected::default();
        loop {
            for event in self.step() {
                if heard {
                    answer.take(&event, id);
                    heard = on_event(&event).is_continue();
                    if !heard {
                        self.cancel(id);
                    }
                }
                match event {
                    Event::Done {
                        request,
                        reason,
                        incomplete,
                        usage,
                        ..
                    } if request == id => {
                        let Collected {
                            text,
                            thinking,
                            ids,
                        } = answer;
                        return Ok(Answer {
                            text,
                            thinking,
                            ids,
                            reason,
                            incomplete,
                            usage,
                        });
                    }
                    _ => {}
                }
            }
        }
    }
}

#[derive(Default)]
struct Collected {
    text: String,
    thinking: String,
    ids: Vec<u32>,
}

impl Collected {
    fn take(&mut self, event: &Event, id: RequestId) {
        let (text, part) = match event {
            Event::Token {
                request,
                id: token,
                text,
                part,
                ..
            } if *request == id => {
                self.ids.push(*token);
                (text, part)
            }
            Event::Done {
                request,
                text,
                part,
                ..
            } if *request == id => (text, part),
            _ => return,
        };
        match part {
            Part::Answer => self.text.push_str(text),
            Part::Thinking => self.thinking.push_str(text),
            Part::Mark => {}
        }
    }
}
