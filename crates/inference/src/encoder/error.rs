//! Why a text has no vector, or a pair no score.

/// What an encoder refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncoderError {
    /// The model has another purpose.
    #[error("this is {0}: it does not make vectors of texts")]
    NoVectors(String),
    /// The model has another purpose.
    #[error("this is {0}: it does not score pairs of texts")]
    NoScores(String),
    /// The model has another purpose.
    #[error("this is {0}: it does not generate text")]
    NoText(String),
    /// A text without ids.
    #[error("text {text} has no tokens")]
    NoTokens {
        /// Place among the texts given.
        text: usize,
    },
    /// A text longer than the model reads.
    #[error("text {text} has {tokens} tokens, at most {tokens_max}")]
    TooManyTokens {
        /// Place among the texts given.
        text: usize,
        /// Tokens it has.
        tokens: usize,
        /// The limit.
        tokens_max: usize,
    },
    /// An id that is none of the vocabulary's.
    #[error("no token has the id {id}")]
    UnknownId {
        /// The id.
        id: u32,
    },
    /// Ids of a text before which a prompt is to stand.
    #[error(
        "a prompt stands before the text, and cannot be put before token ids: its end and the beginning of the text may be \
         one token; the text itself can be sent"
    )]
    IdsAfterPrompt,
    /// Texts are to end with a token that the tokenizer does not have.
    #[error("an end token is asked for, and the tokenizer has none")]
    NoEnd,
    /// A prompt that the model's files do not have.
    #[error("no prompt {name:?}: {}", if .known.is_empty() { "the model has none".to_owned() } else { format!("there are {}", .known.join(", ")) })]
    UnknownPrompt {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
}
