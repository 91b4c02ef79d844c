//! What can go wrong with a set of vectors.

use std::fmt::Display;
use std::path::Path;

use lattice_files::FilesError;

/// Why a set cannot be read or written. Each one's words are whole: reasons stand in them.
#[derive(Debug, thiserror::Error)]
pub enum VectorsError {
    /// The system refused.
    #[error("{path}: cannot {action}: {reason}")]
    Io {
        /// The file.
        path: String,
        /// What was tried.
        action: &'static str,
        /// The system's answer.
        reason: std::io::Error,
    },
    /// Something is in the way of the output, or another process is writing it.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The file as a whole is not what it says.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// What is wrong, with the byte where there is one.
        reason: String,
    },
    /// There is no such column or field, or it is of another type.
    #[error("{path}: {reason}; there are: {found}")]
    Column {
        /// The file.
        path: String,
        /// What was looked for.
        reason: String,
        /// The columns that are there, with their types.
        found: String,
    },
    /// A row is not what it should be. Rows count from 0, as numpy's do.
    #[error("{path}: row {row}{place}: {reason}")]
    Row {
        /// The file.
        path: String,
        /// The row, from 0.
        row: u64,
        /// Where in it: column, line and byte, as far as they are known.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// An earlier run left rows of other work.
    #[error("{path}: an earlier run left work that does not fit: {differs}")]
    Differs {
        /// The working directory.
        path: String,
        /// What differs, there and here.
        differs: String,
    },
    /// The rows handed to a writer do not fit it.
    #[error("{path}: {reason}")]
    Input {
        /// The output.
        path: String,
        /// What does not fit.
        reason: String,
    },
}

impl VectorsError {
    pub(crate) fn io(path: impl Display, action: &'static str) -> impl Fn(std::io::Error) -> Self {
        move |reason| Self::Io {
            path: path.to_string(),
            action,
            reason,
        }
    }

    pub(crate) fn file(path: &str, reason: impl Into<String>) -> Self {
        Self::File {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }

    pub(crate) fn input(path: &Path, reason: impl Into<String>) -> Self {
        Self::Input {
            path: path.display().to_string(),
            reason: reason.into(),
        }
    }
}
