//! Chooses the next token from a row of logits.
//!
//! In: one row of logits, the options of one request, the tokens so far, a mask of what may come next.
//! Out: one token id, or the reason why there is none; log probabilities where they are asked for.
//! It does not know: text, sequences, batches, devices.
//!
//! The order is that of `transformers`: bias, repetition penalty, presence and frequency penalty (as
//! OpenAI defines them), mask, temperature, top-k, top-p, min-p, draw. Each draw is a pure function of the
//! seed and of the number of tokens before it, so a request gives the same text alone and in a crowd,
//! and with or without drafts.

mod guide;
mod history;
mod logprobs;
mod mask;
mod ngram;
mod options;
mod random;
mod sampler;
mod select;

pub use guide::Guide;
pub use logprobs::{TokenLogprobs, logprobs_from_logits};
pub use mask::TokenMask;
pub use ngram::NgramDraft;
pub use options::{FieldError, SamplerOptions};
pub use random::uniform;
pub use sampler::{Sampler, Scratch};

/// Why no token could be chosen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SampleError {
    /// Every token is ruled out, by a guide or by a bias.
    #[error("no token may come next: all {width} are ruled out (generated token {index})")]
    DeadEnd {
        /// Columns of the row of logits.
        width: usize,
        /// Tokens generated before this one.
        index: u64,
    },
    /// The model returned NaN or positive infinity.
    #[error(
        "logit of token {id} is NaN or infinite, and so are {others} others (generated token {index})"
    )]
    NotFinite {
        /// The lowest such id.
        id: u32,
        /// How many more there are in the row.
        others: usize,
        /// Tokens generated before this one.
        index: u64,
    },
    /// A guide cannot say what may come next.
    #[error("the grammar cannot go on: {reason}")]
    Guide {
        /// Why.
        reason: String,
    },
    /// A guide demands an id that is no token of this model.
    #[error("token id {id} is demanded next, but no token has this id")]
    NoSuchToken {
        /// The id.
        id: u32,
    },
}
