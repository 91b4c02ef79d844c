//! What can go wrong with a directory.

use std::path::Path;

/// Why a directory cannot be had, filled or named. Each one's words are whole: reasons stand in them.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// Something is in the way.
    #[error("{path}: {reason}")]
    Refused {
        /// The directory or file.
        path: String,
        /// What is in the way.
        reason: String,
    },
    /// Another process is at work on the same directory.
    #[error("{partial}: another process is writing it")]
    Busy {
        /// The working directory that process holds.
        partial: String,
    },
    /// The file system has too little room.
    #[error("{path}: {needed} bytes are needed, the file system has {available} left")]
    NoSpace {
        /// Where the directory goes.
        path: String,
        /// Bytes still to be written.
        needed: u64,
        /// Bytes that may be written.
        available: u64,
    },
    /// The system refused.
    #[error("{path}: cannot {action}: {reason}")]
    Io {
        /// The file or directory.
        path: String,
        /// What was tried.
        action: &'static str,
        /// The system's answer.
        reason: std::io::Error,
    },
}

impl FilesError {
    /// Wraps the system's answer for `path`.
    pub fn io(path: &Path, action: &'static str) -> impl Fn(std::io::Error) -> Self {
        move |reason| Self::Io {
            path: path.display().to_string(),
            action,
            reason,
        }
    }

    /// A refusal of `path`.
    pub fn refused(path: &Path, reason: impl Into<String>) -> Self {
        Self::Refused {
            path: path.display().to_string(),
            reason: reason.into(),
        }
    }
}
