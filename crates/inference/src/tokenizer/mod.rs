//! Text to ids and back.
//!
//! In: a checkpoint's tokenizer files and chat template. Out: ids for prompts, bytes for ids, complete UTF-8 deltas.
//! It does not know: models, backends, sampling.

/// A prompt: text in which control tokens count, except inside the spans that came from people.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prompt {
    pub(crate) text: String,
}

/// Turns text into ids and ids into bytes, as the checkpoint's own tokenizer does.
pub trait Tokenizer: Send + Sync {
    /// Ids of plain text. Nothing in it becomes a control token, whatever it spells.
    fn ids_from_text(&self, text: &str) -> Result<Vec<u32>, TextError>;
    /// Ids of a rendered prompt: control tokens count outside the spans that came from people.
    fn ids_from_prompt(&self, prompt: &Prompt) -> Result<Vec<u32>, TextError>;
    /// The bytes an id adds to the text: empty for a token marked special, `None` where no token has this id
    /// (padding rows of the vocabulary, which must never be sampled).
    fn bytes_from_id(&self, id: u32) -> Option<&[u8]>;
    /// The id of a token by its exact spelling, e.g. `<|im_end|>`.
    fn id_from_token(&self, token: &str) -> Option<u32>;
    /// One more than the highest id that has a token.
    fn ids_max(&self) -> usize;
    /// Whether the decoder drops one leading space of the whole text (SentencePiece styles).
    fn strips_leading_space(&self) -> bool {
        false
    }
}

/// Why text could not be turned into ids, or a tokenizer or template could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// A tokenizer file is wrong.
    #[error("{file}: {reason}")]
    Tokenizer {
        /// File name in the model directory.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The tokenizer refused a text.
    #[error("cannot tokenize: {0}")]
    Encode(String),
}
