//! A conversation with a loaded model: the one place where messages become a request and a request an answer.
//!
//! In: what the person says, the choices. Out: pieces of the answer as they come, then the whole turn.
//! It does not know: terminals, JSON.

use std::io;

use lattice_inference::generate::{
    Event, Failure, Part, Request, RequestError, RequestId, StopReason, Usage,
};
use lattice_inference::tokenizer::{ChatMessage, ChatOptions, Role};
use lattice_inference::{Engine, Error};

use super::choices::Choices;
use super::interrupt::Interrupt;
use crate::args::ChatArgs;

/// A loaded model, and what was said so far.
pub(crate) struct Session {
    pub(crate) engine: Engine,
    /// The model's name, for people.
    pub(crate) name: String,
    pub(crate) choices: Choices,
    pub(crate) system: Option<String>,
    /// What was said, without the system message.
    pub(crate) messages: Vec<ChatMessage>,
    pub(crate) totals: Totals,
    pub(crate) interrupt: Interrupt,
}

/// What to answer.
pub(crate) enum Ask {
    /// A conversation, through the model's template.
    Chat(Vec<ChatMessage>),
    /// A text to go on with.
    Raw(String),
}

/// A piece of an answer.
pub(crate) struct Piece<'a> {
    /// The token it came with; `None` for text that was held back until the end.
    pub(crate) id: Option<u32>,
    /// Complete characters; often empty.
    pub(crate) text: &'a str,
    /// Whether it is thought and not said.
    pub(crate) thinking: bool,
}

/// Hears the pieces of an answer. Its first error ends the answer.
pub(crate) type Listener<'a> = dyn FnMut(&Piece<'_>) -> io::Result<()> + 'a;

/// One answer.
#[derive(Debug)]
pub(crate) struct Turn {
    /// The answer: the pieces that were said.
    pub(crate) text: String,
    /// The pieces that were thought.
    pub(crate) thinking: String,
    pub(crate) reason: StopReason,
    pub(crate) usage: Usage,
    /// What was done to the conversation that nobody asked for.
    pub(crate) notes: Vec<String>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// Nobody can read it.
    #[error("cannot write the answer")]
    Write(#[source] io::Error),
    /// The request was refused, or failed.
    #[error(transparent)]
    Engine(#[from] Error),
}

/// Figures over all answers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Totals {
    pub(crate) answers: usize,
    pub(crate) prompt_tokens: usize,
    pub(crate) cached_tokens: usize,
    pub(crate) generated_tokens: usize,
    /// Time between first and last tokens.
    pub(crate) generating_ms: f64,
    /// Tokens after the first of their answer.
    pub(crate) later_tokens: usize,
    /// Tokens in the context after the last answer.
    pub(crate) context_tokens: usize,
}

impl Session {
    /// Loads the model. `sequences_max` conversations may lie in memory.
    pub(crate) fn open(
        args: &ChatArgs,
        interrupt: Interrupt,
        sequences_max: usize,
    ) -> anyhow::Result<Self> {
        let files = args.source.resolve(args.model.as_deref())?;
        let name = files.name();
        let options = args.run.engine_options(&args.source, sequences_max);
        let engine = Engine::open(&files, args.run.on.device.backend(), &options)?;
        Ok(Self {
            engine,
            name,
            choices: Choices::from_args(args),
            system: args.system.clone().filter(|text| !text.is_empty()),
            messages: Vec::new(),
            totals: Totals::default(),
            interrupt,
        })
    }

    /// Says `text` and hears the answer; both stay in the conversation, an answer that was stopped too.
    /// What was said is taken back where nothing is answered.
    pub(crate) fn say(
        &mut self,
        text: &str,
        listener: &mut Listener<'_>,
    ) -> Result<Turn, AskError> {
        self.messages.push(ChatMessage::new(Role::User, text));
        let choices = self.choices.clone();
        let result = self.answer(self.conversation(), &choices, listener);
        let answered = result
            .as_ref()
            .is_ok_and(|turn| turn.failure().is_none() && turn.says_something());
        match &result {
            Ok(turn) if answered => self.messages.push(turn.message()),
            _ => {
                self.messages.pop();
            }
        }
        result
    }

    /// Everything said so far, the system message first.
    fn conversation(&self) -> Ask {
        let system = self.system.iter();
        let system = system.map(|text| ChatMessage::new(Role::System, text.clone()));
        Ask::Chat(system.chain(self.messages.iter().cloned()).collect())
    }

    /// Answers, and keeps nothing but the figures.
    pub(crate) fn answer(
        &mut self,
        ask: Ask,
        choices: &Choices,
        listener: &mut Listener<'_>,
    ) -> Result<Turn, AskError> {
        let (mut request, mut notes) = self.request(ask, choices)?;
        if choices.think && request.thinking.is_none() {
            notes.push("this model has no thinking block: it answers at once".to_owned());
        }
        choices.apply(&mut request);
        self.interrupt.hold();
        let turn = self.run(request, listener)?;
        let turn = Turn { notes, ..turn };
        self.totals.add(&turn.usage);
        Ok(turn)
    }

    fn request(&self, ask: Ask, choices: &Choices) -> Result<(Request, Vec<String>), Error> {
        match ask {
            Ask::Raw(text) => Ok((self.engine.complete(&text)?, Vec::new())),
            Ask::Chat(messages) => {
                let options = ChatOptions {
                    enable_thinking: Some(choices.think),
                    ..ChatOptions::default()
                };
                let chat = self.engine.chat(&messages, &options)?;
                Ok((chat.request, chat.notes))
            }
        }
    }

    /// Steps the generator until the answer ends. Ctrl-C is looked for at every step, so that it also stops
    /// the reading of a long prompt, which says nothing.
    fn run(&mut self, request: Request, listener: &mut Listener<'_>) -> Result<Turn, AskError> {
        let generator = &mut self.engine.generator;
        let id = generator.submit(request).map_err(Error::from)?;
        let mut heard = Heard::default();
        loop {
            for event in generator.step() {
                if event.request() != id {
                    continue;
                }
                if let Err(error) = heard.take(&event, listener) {
                    generator.cancel(id);
                    drain(generator, id);
                    return Err(AskError::Write(error));
                }
                if let Event::Done { reason, usage, .. } = event {
                    return Ok(heard.turn(reason, usage));
                }
            }
            if self.interrupt.pressed() {
                generator.cancel(id);
            }
        }
    }
}

/// Lets a cancelled request end.
fn drain(generator: &mut lattice_inference::generate::Generator, id: RequestId) {
    while !generator.idle() {
        let events = generator.step();
        let done = |event: &Event| matches!(event, Event::Done { request, .. } if *request == id);
        if events.iter().any(done) {
            return;
        }
    }
}

impl Turn {
    /// What went wrong, if it ended so.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        match &self.reason {
            StopReason::Failed(failure) => Some(failure),
            _ => None,
        }
    }

    /// Whether Ctrl-C ended it.
    pub(crate) fn was_stopped(&self) -> bool {
        self.reason == StopReason::Cancelled
    }

    /// Whether there is anything to keep: a stopped answer may not have begun.
    pub(crate) fn says_something(&self) -> bool {
        !self.was_stopped() || !self.text.is_empty() || !self.thinking.is_empty()
    }

    fn message(&self) -> ChatMessage {
        let thinking = self.thinking.trim_matches('\n');
        ChatMessage {
            reasoning_content: (!thinking.is_empty()).then(|| thinking.to_owned()),
            ..ChatMessage::new(Role::Assistant, self.text.clone())
        }
    }
}

/// What an answer has been so far.
#[derive(Default)]
struct Heard {
    text: String,
    thinking: String,
    /// A thinking block was closed, and the answer has not begun.
    after_block: bool,
}

impl Heard {
    fn take(&mut self, event: &Event, listener: &mut Listener<'_>) -> io::Result<()> {
        let (id, text, part) = match event {
            Event::Token { id, text, part, .. } => (Some(*id), text.as_str(), *part),
            Event::Done { text, part, .. } if !text.is_empty() => (None, text.as_str(), *part),
            _ => return Ok(()),
        };
        let text = match part {
            Part::Answer => self.answer_text(text),
            Part::Thinking => text,
            // How a block is marked is the model's business.
            Part::Mark => "",
        };
        match part {
            Part::Answer => self.text.push_str(text),
            Part::Thinking => self.thinking.push_str(text),
            Part::Mark => self.after_block = self.text.is_empty(),
        }
        listener(&Piece {
            id,
            text,
            thinking: part != Part::Answer,
        })
    }

    /// The blank lines that divide a block from the answer belong to neither.
    fn answer_text<'a>(&mut self, text: &'a str) -> &'a str {
        let text = if self.after_block {
            text.trim_start_matches('\n')
        } else {
            text
        };
        self.after_block &= text.is_empty();
        text
    }

    fn turn(self, reason: StopReason, usage: Usage) -> Turn {
        Turn {
            text: self.text,
            thinking: self.thinking,
            reason,
            usage,
            notes: Vec::new(),
        }
    }
}

impl Totals {
    fn add(&mut self, usage: &Usage) {
        self.answers += 1;
        self.prompt_tokens += usage.prompt_tokens;
        self.cached_tokens += usage.cached_tokens;
        self.generated_tokens += usage.generated_tokens;
        self.context_tokens = usage.prompt_tokens + usage.generated_tokens;
        if let Some(first) = usage.ttft_ms {
            self.generating_ms += usage.total_ms - first;
            self.later_tokens += usage.generated_tokens.saturating_sub(1);
        }
    }

    /// Tokens a second over all answers.
    pub(crate) fn tokens_per_second(&self) -> Option<f64> {
        let rate = self.later_tokens as f64 / (self.generating_ms / 1e3);
        rate.is_finite().then_some(rate)
    }
}

impl AskError {
    /// What a person can do about it, beyond what the error says.
    pub(crate) fn advice(&self, context_tokens_made_for: usize) -> Option<String> {
        match self {
            Self::Engine(Error::Request(RequestError::ContextLength {
                context_tokens, ..
            })) => {
                let larger = if *context_tokens < context_tokens_made_for {
                    format!(", or start with a --context of up to {context_tokens_made_for}")
                } else {
                    String::new()
                };
                Some(format!(
                    "your last message was taken back: shorten it, /clear the conversation{larger}"
                ))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str, part: Part) -> Event {
        Event::Token {
            request: RequestId(0),
            id: 7,
            text: text.to_owned(),
            part,
            logprobs: None,
        }
    }

    #[test]
    fn pieces_concatenate_to_the_turn() {
        let mut heard = Heard::default();
        let (mut said, mut thought) = (String::new(), String::new());
        let events = [
            token("why", Part::Thinking),
            token("</think>", Part::Mark),
            token("\n", Part::Answer),
            token("\n\nSo", Part::Answer),
            token("\n\n.", Part::Answer),
        ];
        for event in &events {
            let mut listener = |piece: &Piece<'_>| {
                let to = if piece.thinking {
                    &mut thought
                } else {
                    &mut said
                };
                to.push_str(piece.text);
                Ok(())
            };
            heard.take(event, &mut listener).unwrap();
        }
        let turn = heard.turn(StopReason::MaxTokens, Usage::default());
        assert_eq!((said.as_str(), thought.as_str()), ("So\n\n.", "why"));
        assert_eq!((turn.text, turn.thinking), (said, thought));
    }

    #[test]
    fn an_answer_without_thoughts_keeps_its_first_lines() {
        let mut heard = Heard::default();
        let event = token("\n\nx", Part::Answer);
        heard.take(&event, &mut |_| Ok(())).unwrap();
        assert_eq!(heard.text, "\n\nx");
    }
}
