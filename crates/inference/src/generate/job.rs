//! One request from its admission to its end: everything about it except a sequence.

use std::time::Instant;

use super::admit::Admitted;
use super::text::TextOut;
use super::thinking::{AfterThinking, Blocks, ThinkingBudget};
use super::{Event, Failure, Part, RequestId, StopReason, Usage};
use crate::sample::{
    FieldError, Guide, SampleError, Sampler, Scratch, TokenLogprobs, TokenMask,
    logprobs_from_logits,
};
use crate::tokenizer::{TextStream, Tokenizer};

/// What all requests of a generator share while they choose tokens.
pub(super) struct Shared {
    /// The ids that have a token.
    pub(super) tokens: TokenMask,
    /// The ids that may come next, where a guide restricts them.
    pub(super) allowed: TokenMask,
    pub(super) scratch: Scratch,
    pub(super) events: Vec<Event>,
}

/// A request under way.
pub(super) struct Job {
    pub(super) id: RequestId,
    /// Prompt, then generated tokens; while a batch runs also the proposed ones.
    pub(super) ids: Vec<u32>,
    pub(super) prompt_tokens: usize,
    /// Lengths at which a snapshot is wanted, ascending.
    pub(super) marks: Vec<usize>,
    /// The first token of the prompt whose log probability is still to come.
    pub(super) logprobs_from: usize,
    pub(super) started: bool,
    pub(super) ended: Option<StopReason>,
    pub(super) usage: Usage,
    /// Those of the stop id that ended it.
    stop_logprobs: Option<TokenLogprobs>,
    sampler: Sampler,
    guides: Vec<Box<dyn Guide>>,
    stop_ids: Vec<u32>,
    blocks: Option<Blocks>,
    text: TextOut,
    context_limits: bool,
    submitted: Instant,
}

impl Job {
    pub(super) fn new(
        id: RequestId,
        admitted: Admitted,
        seed: u64,
        shared: &Shared,
        characters: TextStream,
    ) -> Result<Job, FieldError> {
        let Admitted {
            request,
            tokens_max,
            context_limits,
        } = admitted;
        let sampler = Sampler::new(
            request.sampler,
            seed,
            &request.prompt,
            shared.tokens.width(),
        )?;
        let mut guides = request.guides;
        let thinking = request.thinking;
        let budget = thinking
            .as_ref()
            .and_then(|thinking| Some((thinking, thinking.budget?)));
        if let Some((thinking, budget)) = budget {
            guides.insert(0, Box::new(ThinkingBudget::new(thinking, budget)));
        }
        let blocks = thinking.as_ref().map(Blocks::new);
        if let Some(constraint) = request.constraint {
            let after = AfterThinking::new(constraint, thinking.as_ref(), &request.stop_ids);
            guides.push(Box::new(after));
        }
        let part = blocks.as_ref().map_or(Part::Answer, Blocks::part);
        let mut marks = request.keep_marks;
        let prompt_tokens = request.prompt.len();
        marks.push(prompt_tokens);
        marks.sort_unstable();
        marks.dedup();
        Ok(Job {
            id,
            ids: request.prompt,
            prompt_tokens,
            marks,
            logprobs_from: if request.prompt_logprobs {
                1
            } else {
                prompt_tokens
            },
            started: false,
            ended: None,
            usage: Usage {
                prompt_tokens,
                max_tokens: tokens_max,
                ..Usage::default()
            },
            stop_logprobs: None,
            sampler,
            guides,
            stop_ids: request.stop_ids,
            blocks,
            text: TextOut::new(request.stop, characters, part),
            context_limits,
            submitted: Instant::now(),
        })
    }

    /// Whether rows of the prompt are still wanted.
    pub(super) fn wants_prompt_rows(&self) -> bool {
        self.logprobs_from < self.prompt_tokens
    }

    /// Tokens it may still generate.
    pub(super) fn tokens_left(&self) -> usize {
        self.usage.max_tokens - self.usage.generated_tokens
    }

    pub(super) fn elapsed_ms(&self) -> f64 {
        self.submitted.elapsed().as_secs_f64() * 1e3
    }

    /// It has a place, with `cached_tokens` of its tokens already there.
    pub(super) fn start(&mut self, cached_tokens: usize, events: &mut Vec<Event>) {
        if self.started {
            return;
        }
        self.started = true;
        self.usage.cached_tokens = cached_tokens;
        self.usage.queue_ms = self.elapsed_ms();
        events.push(Event::Started {
            request: self.id,
            prompt_tokens: self.prompt_tokens,
            cached_tokens,
            seed: self.sampler.seed(),
        });
    }

    /// Guesses of what follows `ids`, at most `max`.
    pub(super) fn propose(&mut self, max: usize, tokens: &TokenMask, out: &mut Vec<u32>) {
        out.clear();
        for guide in &mut self.guides {
            guide.propose(&self.ids, max, out);
            if !out.is_empty() {
                break;
            }
        }
        let mut usable = out
            .iter()
            .take(max)
            .take_while(|&&id| tokens.allows(id))
            .count();
        for guide in &mut self.guides {
            usable = guide.usable(&out[..usable]).min(usable);
        }
        out.truncate(usable);
    }

    /// The batch that makes its next row is about to run.
    pub(super) fn prepare(&mut self) {
        self.guides.iter_mut().for_each(|guide| guide.prepare());
    }

    /// What must come next whatever the model says, where no row is needed for it.
    pub(super) fn forced_without_row(
        &mut self,
        tokens: &TokenMask,
    ) -> Result<Option<u32>, SampleError> {
        if self.sampler.options().logprobs.is_some() {
            return Ok(None);
        }
        self.forced(tokens)
    }

    fn forced(&mut self, tokens: &TokenMask) -> Result<Option<u32>, SampleError> {
        let forced = self.guides.iter_mut().find_map(|guide| guide.forced());
        match forced {
            Some(id) if !tokens.allows(id) => Err(SampleError::NoSuchToken { id }),
            forced => Ok(forced),
        }
    }

    /// Log probabilities of prompt tokens from consecutive rows, the first of which stands at `position`.
    pub(super) fn read_prompt_rows(&mut self, position: usize, rows: &[f32], shared: &mut Shared) {
        let first = self.logprobs_from;
        let skip = first.saturating_sub(position + 1);
        let top = self.sampler.options().logprobs.unwrap_or(0) as usize;
        let rows = rows.chunks_exact(shared.tokens.width()).skip(skip);
        let logprobs: Vec<_> = rows
            .zip(&self.ids[first..self.prompt_tokens])
            .map(|(row, &id)| {
                logprobs_from_logits(row, id, top, &shared.tokens, &mut shared.scratch)
            })
            .collect();
        if !logprobs.is_empty() {
            self.logprobs_from += logprobs.len();
            shared.events.push(Event::PromptLogprobs {
                request: self.id,
                first,
                logprobs,
            });
        }
    }

    /// The token that follows, by the guides and the sampler.
    pub(super) fn choose(&mut self, row: &[f32], shared: &mut Shared) -> Result<u32, SampleError> {
        if let Some(id) = self.forced(&shared.tokens)? {
            return Ok(id);
        }
        if self.guides.is_empty() {
            return self
                .sampler
                .choose(row, &shared.tokens, &mut shared.scratch);
        }
        shared.allowed.copy_from(&shared.tokens);
        for guide in &mut self.guides {
            guide.mask(&mut shared.allowed)?;
        }
        self.sampler
            .choose(row, &shared.allowed, &mut shared.scratch)
    }

    /// Takes the chosen token in; `ended` is set where it is the last one. A token that was forced has no row,
    /// where no log probabilities are asked for.
    pub(super) fn accept(
        &mut self,
        id: u32,
        row: Option<&[f32]>,
        tokenizer: &dyn Tokenizer,
        shared: &mut Shared,
    ) {
        self.sampler.accept(id);
        self.guides.iter_mut().for_each(|guide| guide.accept(id));
        self.usage.generated_tokens += 1;
        if self.usage.ttft_ms.is_none() {
            self.usage.ttft_ms = Some(self.elapsed_ms());
        }
        let top = self.sampler.options().logprobs;
        let logprobs = top.zip(row).map(|(top, row)| {
            logprobs_from_logits(row, id, top as usize, &shared.tokens, &mut shared.scratch)
        });
        if self.stop_ids.contains(&id) {
            self.ended = Some(StopReason::EndOfText(id));
            self.stop_logprobs = logprobs;
            return;
        }
        let part = self
            .blocks
            .as_mut()
            .map_or(Part::Answer, |blocks| blocks.push(id));
        let mut text = String::new();
        let bytes = tokenizer.bytes_from_id(id).unwrap_or_default();
        if let Some(stop) = self.text.push(bytes, part, &mut text) {
            self.ended = Some(StopReason::StopString(stop));
        } else if self.guides.iter_mut().any(|guide| guide.complete()) {
            self.ended = Some(StopReason::Complete);
        } else {
            self.end_at_limit();
        }
        shared.events.push(Event::Token {
            request: self.id,
            id,
            text,
            part,
            logprobs,
        });
    }

    /// Ends it where no further token may come.
    pub(super) fn end_at_limit(&mut self) {
        if self.tokens_left() == 0 {
            let reason = if self.context_limits {
                StopReason::ContextFull
            } else {
                StopReason::MaxTokens
            };
            self.ended = Some(reason);
        }
    }

    /// Ends it by an error.
    pub(super) fn fail(&mut self, failure: impl Into<Failure>) {
        self.ended = Some(StopReason::Failed(failure.into()));
    }

    /// Says that it ended, and why.
    pub(super) fn finish(&mut self, reason: StopReason, events: &mut Vec<Event>) {
        let mut text = String::new();
        if !matches!(reason, StopReason::StopString(_)) {
            self.text.finish(&mut text);
        }
        let mut usage = self.usage.clone();
        usage.total_ms = self.elapsed_ms();
        let part = self.text.part();
        let ends_well = matches!(reason, StopReason::EndOfText(_) | StopReason::Complete);
        // What panicked may do so again.
        let whole = matches!(reason, StopReason::Failed(Failure::Panicked)) || ends_well;
        let incomplete = !whole && self.guides.iter_mut().any(|guide| guide.cut_off());
        events.push(Event::Done {
            request: self.id,
            text,
            part,
            reason,
            logprobs: self.stop_logprobs.take(),
            incomplete,
            usage,
        });
    }
}
