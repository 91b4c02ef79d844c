//! Chores of the project, as a library so that tests can run them.
//!
//! In: the root of the working tree. Out: [`Finding`]s, each with its file and line.
//! [`tidy`] reads files only; [`deps`] asks cargo for the dependency graph.
//! [`peers`] runs built programs and writes what they say.
//! It does not know: any type of the engine.

pub mod deps;
mod licence;
pub mod peers;
mod settings;
mod source;
pub mod tidy;
mod tree;

use std::fmt;

/// One thing that the house does not accept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Path from the root, with forward slashes.
    pub file: String,
    /// First line is 1; 0 means the file as a whole.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl Finding {
    fn new(file: &str, line: usize, message: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            line,
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message),
            line => write!(f, "{}:{line}: {}", self.file, self.message),
        }
    }
}

/// One finding a line, for a terminal or a failing test.
pub fn listing(findings: &[Finding]) -> String {
    findings
        .iter()
        .map(|finding| format!("{finding}\n"))
        .collect()
}
