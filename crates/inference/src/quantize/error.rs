//! What can go wrong between a model and its packed copy.

use std::path::Path;

use lattice_kernels::PackError;

/// Why nothing was packed, or why it stopped. Each one's words are whole: reasons stand in them and form no chain.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QuantizeError {
    /// The output directory cannot be where it was asked for.
    #[error("{out}: {reason}")]
    Out {
        /// The output directory.
        out: String,
        /// What is in the way.
        reason: String,
    },
    /// Another process is at work on the same output.
    #[error("{partial}: another process is writing it")]
    Busy {
        /// The directory that process holds.
        partial: String,
    },
    /// The file system has too little room.
    #[error("{path}: {needed} bytes are needed, the file system has {available} left")]
    NoSpace {
        /// Where the output goes.
        path: String,
        /// Bytes still to be written.
        needed: u64,
        /// Bytes that may be written.
        available: u64,
    },
    /// The system refused to write, sync, rename or look at something.
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
    /// A word that names no scheme.
    #[error("unknown scheme {found:?}: there are q8, q4, q4_32, and keep for as stored")]
    Scheme {
        /// What was given.
        found: String,
    },
    /// A pattern of a recipe that no matrix answers to.
    #[error("{pattern:?} matches no matrix of the model; there is {example}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// The name of one of its matrices.
        example: String,
    },
    /// A scheme for the head of a model whose head is the embedding.
    #[error("the model's head is its embedding table ({table}): say what becomes of the table")]
    TiedHead {
        /// The table.
        table: String,
    },
    /// The model is packed already.
    #[error("{file}: tensor {tensor} is packed already; pack the model it was made from")]
    AlreadyPacked {
        /// The file.
        file: String,
        /// The first packed tensor.
        tensor: String,
    },
    /// A value that no packed form and no run can use.
    #[error("{file}: tensor {tensor}: row {row}, column {column} is {value}")]
    NonFinite {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// The row, from 0, over all leading dimensions.
        row: usize,
        /// The column, from 0.
        column: usize,
        /// What stands there.
        value: f32,
    },
    /// A weight beyond what an f16 scale can reach.
    #[error("{file}: tensor {tensor}: row {row} has {value}, too large for a scale in f16")]
    TooLarge {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// The row, from 0, over all leading dimensions.
        row: usize,
        /// The largest magnitude.
        value: f32,
    },
    /// A tensor that cannot be packed for its shape.
    #[error("tensor {tensor}: {reason}")]
    Shape {
        /// The tensor.
        tensor: String,
        /// The packer's words.
        reason: lattice_kernels::PackedError,
    },
    /// What the packer says besides.
    #[error("tensor {tensor}: {reason}")]
    Pack {
        /// The tensor.
        tensor: String,
        /// The packer's words.
        reason: PackError,
    },
    /// The threads could not be had.
    #[error(transparent)]
    Cpu(#[from] lattice_kernels::CpuError),
    /// The caller asked to stop. What is done is kept.
    #[error("stopped with {done} of {count} tensors done; the same command goes on from there")]
    Stopped {
        /// Tensors that are finished.
        done: usize,
        /// Tensors in all.
        count: usize,
    },
}

impl QuantizeError {
    /// Wraps the system's answer for `path`.
    pub(super) fn io(path: &Path, action: &'static str) -> impl Fn(std::io::Error) -> Self {
        move |reason| Self::Io {
            path: path.display().to_string(),
            action,
            needed: 0,
            reason,
        }
    }

    /// A refusal of the output directory.
    pub(super) fn out(out: &Path, reason: impl Into<String>) -> Self {
        Self::Out {
            out: out.display().to_string(),
            reason: reason.into(),
        }
    }
}
