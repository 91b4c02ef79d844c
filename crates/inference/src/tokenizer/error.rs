//! What can be wrong with tokenizer files, templates, conversations and texts.

/// The form that all tokenizers are brought into.
pub(super) const CANONICAL: &str = "tokenizer.json";

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
    /// A text is longer than any model here could read.
    #[error("cannot tokenize {bytes} bytes of text at once, the most is {bytes_max}")]
    TooLong {
        /// Length of the text, in bytes.
        bytes: usize,
        /// The longest text that is taken, in bytes.
        bytes_max: usize,
    },
    /// A chat template does not compile, or needs something that templates may not have.
    #[error("{file}: {reason}")]
    Template {
        /// The file that the template came from.
        file: String,
        /// What is wrong with it, with its line.
        reason: String,
    },
    /// The template itself refused the conversation by `raise_exception`.
    #[error("the chat template refuses this conversation: {0}")]
    Refused(String),
    /// The template used more steps or wrote more text than it may.
    #[error("the chat template exceeds its budget of {steps_max} steps")]
    TemplateBudget {
        /// The steps it was allowed; a step is an instruction or 64 bytes of text.
        steps_max: u64,
    },
    /// A message or an option of the conversation cannot be used.
    #[error("{field}: {reason}")]
    Conversation {
        /// The field, as in `messages[2].role`.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// A tokenizer file that is wrong.
pub(super) fn wrong_in(file: &str, reason: impl std::fmt::Display) -> TextError {
    TextError::Tokenizer {
        file: file.to_owned(),
        reason: reason.to_string(),
    }
}

impl TextError {
    pub(super) fn file(reason: impl std::fmt::Display) -> Self {
        wrong_in(CANONICAL, reason)
    }

    /// The same error, where what is wrong with the canonical form comes from `file`.
    pub(super) fn in_source(self, file: &str) -> Self {
        match self {
            TextError::Tokenizer {
                file: named,
                reason,
            } if named == CANONICAL => wrong_in(file, reason),
            other => other,
        }
    }

    pub(super) fn field(field: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        TextError::Conversation {
            field: field.into(),
            reason: reason.to_string(),
        }
    }
}
