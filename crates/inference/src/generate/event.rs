//! What a caller hears of its requests.

use crate::backend::RunError;
use crate::sample::{SampleError, TokenLogprobs};

/// Names a request of one generator. Ids are not reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// Which part of the output a token belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The answer.
    Answer,
    /// The inside of a thinking block.
    Thinking,
    /// The token that opened or closed a thinking block.
    Mark,
}

/// News of one request. For each request: one `Started`, then `PromptLogprobs` if asked for, then `Token`s,
/// then one `Done`; a request that ends while it waits has only `Done`.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// It has a place and its prompt is being read.
    Started {
        /// Which request.
        request: RequestId,
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Of these, how many were taken over from an earlier request.
        cached_tokens: usize,
        /// The seed of its draws.
        seed: u64,
    },
    /// Log probabilities of consecutive tokens of the prompt. The first token of a prompt has none.
    PromptLogprobs {
        /// Which request.
        request: RequestId,
        /// Place in the prompt of the first of them.
        first: usize,
        /// One for each token.
        logprobs: Vec<TokenLogprobs>,
    },
    /// One more token. A stop id is no such token.
    Token {
        /// Which request.
        request: RequestId,
        /// The token.
        id: u32,
        /// The text that is certain now: complete characters, no stop string nor the start of one. Often
        /// the token's own text, sometimes empty, sometimes that of several tokens.
        text: String,
        /// Where this text belongs.
        part: Part,
        /// Log probabilities, if asked for.
        logprobs: Option<TokenLogprobs>,
    },
    /// The end. No event of this request follows.
    Done {
        /// Which request.
        request: RequestId,
        /// Text that was held back so far and turned out to be part of the output.
        text: String,
        /// Where this text belongs.
        part: Part,
        /// Why it ended.
        reason: StopReason,
        /// Log probabilities of the stop id that ended it, if asked for.
        logprobs: Option<TokenLogprobs>,
        /// Whether it was held to a grammar, and what was generated is only the beginning of a text of it.
        incomplete: bool,
        /// Figures.
        usage: Usage,
    },
}

impl Event {
    /// The request it is about.
    #[must_use]
    pub fn request(&self) -> RequestId {
        match self {
            Event::Started { request, .. }
            | Event::PromptLogprobs { request, .. }
            | Event::Token { request, .. }
            | Event::Done { request, .. } => *request,
        }
    }
}

/// Why a text ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// This stop id was chosen.
    EndOfText(u32),
    /// This stop string (its place in the request) would have been next.
    StopString(usize),
    /// The text is complete by its grammar: nothing could follow.
    Complete,
    /// As many tokens as asked for.
    MaxTokens,
    /// The context is full.
    ContextFull,
    /// The caller cancelled it.
    Cancelled,
    /// Something went wrong.
    Failed(Failure),
}

impl StopReason {
    /// The word for it in JSON: `stop`, `length`, `cancelled` or `error`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            StopReason::EndOfText(_) | StopReason::StopString(_) | StopReason::Complete => "stop",
            StopReason::MaxTokens | StopReason::ContextFull => "length",
            StopReason::Cancelled => "cancelled",
            StopReason::Failed(_) => "error",
        }
    }

    /// The finer word: `end_of_text`, `stop_string`, `complete`, `max_tokens`, `context_full`, `cancelled`, `error`.
    #[must_use]
    pub fn detail(&self) -> &'static str {
        match self {
            StopReason::EndOfText(_) => "end_of_text",
            StopReason::StopString(_) => "stop_string",
            StopReason::Complete => "complete",
            StopReason::MaxTokens => "max_tokens",
            StopReason::ContextFull => "context_full",
            StopReason::Cancelled => "cancelled",
            StopReason::Failed(_) => "error",
        }
    }
}

/// What went wrong with one request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The runner refused its part of the batch.
    #[error(transparent)]
    Run(#[from] RunError),
    /// No token could be chosen.
    #[error(transparent)]
    Sample(#[from] SampleError),
    /// Code that ran for this request alone panicked, or the runner did while it held it.
    #[error("the engine failed in a way that it should not")]
    Panicked,
}

impl From<Failure> for crate::Error {
    fn from(failure: Failure) -> crate::Error {
        match failure {
            Failure::Run(error) => error.into(),
            Failure::Sample(error) => error.into(),
            Failure::Panicked => crate::Error::Panicked,
        }
    }
}

/// The figures of one request. Times count from when it was submitted.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Of these, how many were taken over from an earlier request.
    pub cached_tokens: usize,
    /// Tokens generated, a stop id included.
    pub generated_tokens: usize,
    /// Tokens it might have generated: less than asked for where the context is the nearer limit.
    pub max_tokens: usize,
    /// Tokens proposed by a draft.
    pub drafted_tokens: usize,
    /// Of these, how many were right.
    pub accepted_tokens: usize,
    /// Until it had a place.
    pub queue_ms: f64,
    /// Until the prompt was read.
    pub prompt_ms: f64,
    /// Until the first token.
    pub ttft_ms: Option<f64>,
    /// Until the end.
    pub total_ms: f64,
}

impl Usage {
    /// Tokens a second after the first one; `None` for fewer than two tokens.
    #[must_use]
    pub fn tokens_per_second(&self) -> Option<f64> {
        let seconds = (self.total_ms - self.ttft_ms?) / 1e3;
        let later = self
            .generated_tokens
            .checked_sub(1)
            .filter(|&tokens| tokens > 0)?;
        (seconds > 0.0).then(|| later as f64 / seconds)
    }
}
