//! What can go wrong between a name and a directory of files.

use std::path::Path;

use lattice_files::FilesError;

use crate::url;

/// Why a model was not had. Each one's words are whole: reasons stand in them and form no chain.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// What cannot be a model's name, or a revision.
    #[error("{name:?}: {reason}")]
    Name {
        /// As given.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A setting that cannot be used.
    #[error("{option}: {found:?}: {reason}")]
    Option {
        /// Which.
        option: &'static str,
        /// As given; never a token.
        found: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The network may not be used.
    #[error("{name}: is not here, and the network may not be used")]
    Offline {
        /// The model.
        name: String,
    },
    /// The hub has no such model, or does not show it to us.
    #[error("{name}: {endpoint} has no such model, or it is private and wants a token")]
    NoModel {
        /// The model.
        name: String,
        /// The hub.
        endpoint: String,
    },
    /// The model has no such revision.
    #[error("{name}: has no revision {revision}")]
    NoRevision {
        /// The model.
        name: String,
        /// The revision.
        revision: String,
    },
    /// The model is given only to those who asked.
    #[error(
        "{name}: its owners give it to those who accepted their terms on {endpoint}/{name}, and come with a token"
    )]
    Gated {
        /// The model.
        name: String,
        /// The hub.
        endpoint: String,
    },
    /// An answer that is a refusal.
    #[error("{url}: answers {status}{}", if message.is_empty() { String::new() } else { format!(": {message}") })]
    Status {
        /// Asked for.
        url: String,
        /// The number.
        status: u16,
        /// The server's words, if it has some.
        message: String,
        /// Seconds after which it wants to be asked again.
        retry_s: Option<u64>,
    },
    /// No answer came, or it broke off.
    #[error("{url}: {reason}")]
    Network {
        /// Asked for.
        url: String,
        /// What happened.
        reason: String,
    },
    /// An answer that is not what the protocol says.
    #[error("{url}: {reason}")]
    Answer {
        /// Asked for.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Something else came in place of a file: a web page, a compressed stream, more or fewer bytes than it has.
    #[error("{file}: {reason}")]
    Content {
        /// The file.
        file: String,
        /// What came.
        reason: String,
        /// Whether asking again may help.
        again: bool,
    },
    /// A file's bytes are not those that they should be.
    #[error("{file}: its bytes are others: {found}, expected {expected}")]
    Hash {
        /// The file.
        file: String,
        /// What was promised or recorded.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The model has no weights that could be chosen.
    #[error("{name}: {reason}")]
    Choice {
        /// The model.
        name: String,
        /// What there is, and what to do.
        reason: String,
    },
    /// The system refused to open, write or look at something.
    #[error(
        "{path}: cannot {action}{}: {reason}",
        if *needed > 0 { format!(" ({needed} bytes are needed)") } else { String::new() }
    )]
    Io {
        /// The file or directory.
        path: String,
        /// What was tried.
        action: &'static str,
        /// Bytes that the whole file takes; 0 where that does not matter.
        needed: u64,
        /// The system's answer.
        reason: std::io::Error,
    },
    /// The record of an earlier download cannot be read.
    #[error("{path}: {reason}")]
    Record {
        /// The record.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A directory cannot be had, filled or named.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The caller asked to stop. What is done is kept.
    #[error("stopped; the same command goes on from there")]
    Stopped,
}

impl HubError {
    pub(crate) fn name(name: &str, reason: &'static str) -> Self {
        Self::Name {
            name: name.to_owned(),
            reason,
        }
    }

    pub(crate) fn answer(url: &str, reason: impl Into<String>) -> Self {
        Self::Answer {
            url: url::shown(url),
            reason: reason.into(),
        }
    }

    pub(crate) fn network(url: &str, reason: impl ToString) -> Self {
        Self::Network {
            url: url::shown(url),
            reason: reason.to_string(),
        }
    }

    /// Something else in place of a file; asking again may help.
    pub(crate) fn content(file: &str, reason: impl Into<String>) -> Self {
        Self::Content {
            file: file.to_owned(),
            reason: reason.into(),
            again: true,
        }
    }

    /// Wraps the system's answer for `path`, whose file takes `needed` bytes.
    pub(crate) fn io(
        path: &Path,
        action: &'static str,
        needed: u64,
    ) -> impl Fn(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |reason| Self::Io {
            path: path.display().to_string(),
            action,
            needed,
            reason,
        }
    }

    /// Whether the same request may go well a little later.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Network { .. } => true,
            Self::Content { again, .. } => *again,
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            _ => false,
        }
    }
}
