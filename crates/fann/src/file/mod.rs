//! Networks as files: our own format, FANN's text, safetensors.
//!
//! In: bytes or text. Out: networks, and the other way round. It does not know: file systems.
//! Nothing is believed: lengths are compared with what is there before anything is allocated.

mod fann;
mod native;
#[cfg(feature = "safetensors")]
mod tensors;

use alloc::string::String;

use crate::Error;

pub use fann::{Stepwise, fann_text_from_network, network_from_fann_text};
pub use native::{bytes_from_int8, bytes_from_network, int8_from_bytes, network_from_bytes};
#[cfg(feature = "safetensors")]
pub use tensors::{network_from_safetensors, safetensors_from_network};

/// Why a file is no network, or a network no file of a format.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It begins otherwise.
    #[error("this is no {expected}")]
    Format {
        /// What was asked for.
        expected: &'static str,
    },
    /// Written by a later version, or none.
    #[error("format version {found}, this library knows {known}")]
    Version {
        /// What the file says.
        found: u32,
        /// What is known.
        known: u32,
    },
    /// Cut short, or with more behind its end.
    #[error("the file has {found} bytes, its header says {expected}")]
    Length {
        /// By the header.
        expected: usize,
        /// What there is.
        found: usize,
    },
    /// What was read is not what was written.
    #[error("checksum {found:016x}, the file says {expected:016x}")]
    Checksum {
        /// At the end of the file.
        expected: u64,
        /// Of what was read.
        found: u64,
    },
    /// A field of a header is wrong.
    #[error("byte {at}: {field}: {problem}")]
    Field {
        /// Where it stands.
        at: usize,
        /// Its name.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A line of text is wrong.
    #[error("{field}: {problem}")]
    Text {
        /// The line's key.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Something the format has and this library has not, or the other way round.
    #[error("{what} has no place in {format}")]
    Unsupported {
        /// What it is.
        what: String,
        /// Where it is missing.
        format: &'static str,
    },
    /// The header of a safetensors file.
    #[error("safetensors: {0}")]
    Tensors(String),
    /// A tensor is wrong.
    #[error("tensor {tensor}: {problem}")]
    Tensor {
        /// Its name.
        tensor: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The network itself is.
    #[error(transparent)]
    Network(#[from] Error),
}
