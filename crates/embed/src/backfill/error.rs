//! What can go wrong with a store and its way to another model.

use std::path::Path;

use lattice_files::FilesError;
use lattice_vectors::VectorsError;

/// Why a store is not read, filled or changed. Each one's words are whole: reasons stand in them.
#[derive(Debug, thiserror::Error)]
pub enum BackfillError {
    /// A file of vectors cannot be read or written.
    #[error(transparent)]
    Vectors(#[from] VectorsError),
    /// A directory cannot be had.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The manifest or a shard is not what it should be.
    #[error("{path}: {reason}")]
    Broken {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The step does not follow from where the store is.
    #[error("{store}: cannot {step}: {reason}")]
    Step {
        /// The store.
        store: String,
        /// What was asked for.
        step: &'static str,
        /// Where the store is, and what comes first.
        reason: String,
    },
    /// The embedder is not the one the vectors are to be made by.
    #[error("{store}: generation {generation} is made by another model: {differs}")]
    Identity {
        /// The store.
        store: String,
        /// The generation.
        generation: u32,
        /// What differs, there and here.
        differs: String,
    },
    /// The new generation is not what it should be.
    #[error("{store}: generation {generation} does not hold: {reason}")]
    Verify {
        /// The store.
        store: String,
        /// The generation.
        generation: u32,
        /// What was found, with shard and row.
        reason: String,
    },
    /// Rows that a store cannot take.
    #[error("{store}: row {row}: {reason}")]
    Row {
        /// The store, or the file the rows come from.
        store: String,
        /// The row among those that were handed in, from 0.
        row: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The embedder failed.
    #[error("shard {shard}, row {row}: {reason}")]
    Embed {
        /// The shard.
        shard: usize,
        /// The first row of the batch, in its shard.
        row: u64,
        /// The embedder's words.
        reason: String,
    },
    /// Whoever watches stopped it. What is written is kept.
    #[error("stopped; what is done is kept, and the same command goes on")]
    Stopped,
}

impl BackfillError {
    pub(super) fn broken(path: &Path, reason: impl Into<String>) -> Self {
        Self::Broken {
            path: path.display().to_string(),
            reason: reason.into(),
        }
    }

    pub(super) fn io(path: &Path, action: &'static str) -> impl Fn(std::io::Error) -> Self {
        move |reason| FilesError::io(path, action)(reason).into()
    }
}
