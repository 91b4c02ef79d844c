//! What can go wrong between a text and its vector.

use std::sync::Arc;

/// Why there is no vector.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbedError {
    /// A name that is none of the nine, no path, and no name of a model.
    #[error(
        "{name:?} is no embedding model that is known by a short name (those are {known}), no org/name and no path"
    )]
    UnknownModel {
        /// As given.
        name: String,
        /// Short names there are.
        known: String,
    },
    /// A number of dimensions that the model cannot give.
    #[error("{model}: cannot give {dims} dimensions: {reason}")]
    Dims {
        /// The model.
        model: String,
        /// As asked for.
        dims: usize,
        /// Why not.
        reason: String,
    },
    /// The model is not on this machine, and the network may not be used.
    #[error(
        "{model}: is not here, and the network may not be used; `lattice pull {model}` gets it"
    )]
    NotHere {
        /// The model.
        model: String,
    },
    /// There is no home directory to keep models in.
    #[error("there is no home directory to keep models in; say where they are to be")]
    NoHome,
    /// A text that is longer than the model reads, where that is not to be cut.
    #[error(
        "text {text} has {tokens} tokens, {model} reads {tokens_max}; it can be cut, if that is asked for"
    )]
    TooLong {
        /// The model.
        model: String,
        /// Which text, counted from 0.
        text: usize,
        /// Its tokens, special ones included.
        tokens: usize,
        /// How many are read.
        tokens_max: usize,
    },
    /// A prompt that the model does not have.
    #[error("{model}: has no prompt {prompt:?}{}", if known.is_empty() { String::new() } else { format!("; there are {known}") })]
    Prompt {
        /// The model.
        model: String,
        /// As asked for.
        prompt: String,
        /// The prompts there are.
        known: String,
    },
    /// Vectors that are bytes or bits already, where others were asked for.
    #[error("vectors of bytes or bits cannot be made into others")]
    Encoding,
    /// Calibration vectors that say nothing.
    #[error("calibration: {reason}")]
    Calibration {
        /// What is wrong with them.
        reason: String,
    },
    /// In a model's files, or while it ran.
    #[error(transparent)]
    Model(#[from] lattice_inference::Error),
    /// While getting a model.
    #[error(transparent)]
    Hub(#[from] lattice_hub::HubError),
    /// The system would not start a thread.
    #[error("could not start a thread: {0}")]
    Thread(std::io::Error),
    /// The caller asked to stop.
    #[error("stopped")]
    Stopped,
    /// The thread that ran the model is gone.
    #[error("{model}: the thread that ran the model ended without an answer")]
    Gone {
        /// The model.
        model: String,
    },
    /// A model that gives a pair several scores ranks nothing.
    #[error("the model gives {labels} for a document: documents are ranked by one score")]
    Labels {
        /// The names of its scores.
        labels: String,
    },
    /// The cache on the disk cannot be used.
    #[error("{path}: {reason}")]
    Cache {
        /// The directory or file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// What went wrong for several requests at once.
    #[error(transparent)]
    Shared(Arc<EmbedError>),
}

impl EmbedError {
    /// The error behind one that several requests share.
    pub fn root(&self) -> &EmbedError {
        match self {
            Self::Shared(inner) => inner.root(),
            own => own,
        }
    }
}

impl From<lattice_inference::checkpoint::LoadError> for EmbedError {
    fn from(error: lattice_inference::checkpoint::LoadError) -> Self {
        Self::Model(error.into())
    }
}
