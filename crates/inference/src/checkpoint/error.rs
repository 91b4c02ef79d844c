//! What can go wrong between a path and named tensors with a configuration.

use std::path::PathBuf;

/// Lines of a list that an error message prints before it says how many are left.
pub(super) const LINES_MAX: usize = 20;

/// Why a checkpoint, a configuration or a model name was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The system refused to look at, open, read or map something.
    #[error("{file}: cannot {action}: {source}")]
    Io {
        /// The file or directory.
        file: String,
        /// What was tried: "open", "read", "map", ...
        action: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A model is a directory or a GGUF file; the path leads to something else.
    #[error(
        "{path}: is a {kind}, not a model directory{}",
        if *kind == "file" { " or a GGUF file: name the directory that holds its config.json" } else { "" }
    )]
    NotADirectory {
        /// The path given.
        path: String,
        /// What stands there.
        kind: &'static str,
    },
    /// A model's file is not a regular file.
    #[error("{file}: is a {kind}, not a regular file")]
    NotAFile {
        /// The file.
        file: String,
        /// What stands there.
        kind: &'static str,
    },
    /// A symbolic link leads out of the model's directory.
    #[error("{file}: leads outside of the model directory, to {target}")]
    Outside {
        /// The file.
        file: String,
        /// Where it leads.
        target: String,
    },
    /// A name that stands in a checkpoint, or was given for a model, and is not used as a path.
    #[error("{name:?}: {reason}")]
    Name {
        /// The name, as given.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A file the model cannot do without.
    #[error("{model}: has no {file}")]
    NoFile {
        /// The model.
        model: String,
        /// What was looked for.
        file: &'static str,
    },
    /// A file larger than anything this kind of file is.
    #[error("{file}: {bytes} bytes, at most {bytes_max}")]
    TooLarge {
        /// The file.
        file: String,
        /// Its length.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// A text file that is not UTF-8.
    #[error("{file}: not UTF-8 at byte {byte}")]
    Encoding {
        /// The file.
        file: String,
        /// First byte that fits no character.
        byte: usize,
    },
    /// A JSON file that does not parse, or is not shaped as it must be.
    #[error("{file}: line {line}, column {column}: {reason}")]
    Json {
        /// The file.
        file: String,
        /// From 1; 0 where the error has no place.
        line: usize,
        /// From 1; 0 where the error has no place.
        column: usize,
        /// The parser's words.
        reason: String,
    },
    /// A header of safetensors or GGUF that breaks a rule of the format.
    #[error(
        "{file}: {}header, byte {byte}: {reason}",
        .tensor.as_ref().map(|name| format!("tensor {name}: ")).unwrap_or_default()
    )]
    Header {
        /// The file.
        file: String,
        /// The tensor the header was describing.
        tensor: Option<String>,
        /// Byte of the file.
        byte: u64,
        /// The rule.
        reason: String,
    },
    /// A tensor's place in the data section breaks a rule of the format.
    #[error("{file}: tensor {tensor}: data, byte {byte}: {reason}")]
    Layout {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// Byte of the file.
        byte: u64,
        /// The rule.
        reason: String,
    },
    /// The file ends before a tensor does.
    #[error("{file}: tensor {tensor} ends at byte {end}, file has {file_bytes}")]
    Truncated {
        /// The file.
        file: String,
        /// The first tensor, in file order, that does not fit.
        tensor: String,
        /// Byte of the file where it should end.
        end: u64,
        /// Length of the file.
        file_bytes: u64,
    },
    /// Two shards hold one tensor.
    #[error("tensor {tensor} stands in {first} and in {second}")]
    TensorTwice {
        /// The tensor.
        tensor: String,
        /// A shard, or the tensor's name before renaming.
        first: String,
        /// Another one.
        second: String,
    },
    /// The index sends a tensor to a shard that does not hold it.
    #[error("{index}: says that {shard} holds tensor {tensor}; it does not")]
    NotInShard {
        /// The index.
        index: String,
        /// The shard it names.
        shard: String,
        /// The tensor.
        tensor: String,
    },
    /// A tensor the model needs is not there.
    #[error(
        "tensor {tensor} is missing{}",
        .near.as_ref().map(|name| format!("; there is {name}")).unwrap_or_default()
    )]
    Missing {
        /// The tensor.
        tensor: String,
        /// The name in the checkpoint that looks most like it.
        near: Option<String>,
    },
    /// A tensor has another shape than the configuration says.
    #[error("{file}: tensor {tensor}: shape {found:?}, expected {expected:?}")]
    Shape {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// What the configuration makes it.
        expected: Vec<usize>,
        /// What the header says.
        found: Vec<usize>,
    },
    /// The tensors of single experts do not make a stack.
    #[error("tensors of single experts for {stack}: {reason}")]
    Stack {
        /// The stack's name.
        stack: String,
        /// What is wrong.
        reason: String,
    },
    /// A tensor that is no F32, F16 or BF16.
    #[error("{file}: tensor {tensor}: stored as {dtype}; weights can be F32, F16 or BF16")]
    Dtype {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// How it is stored.
        dtype: super::Dtype,
    },
    /// A tensor in blocks that this program does not read.
    #[error("{file}: tensor {tensor}: stored as {kind}, which is not supported")]
    BlockType {
        /// The file.
        file: String,
        /// The tensor, as the file calls it.
        tensor: String,
        /// The kind of blocks.
        kind: &'static str,
    },
    /// A tensor in blocks that no packed form of ours holds.
    #[error("{file}: tensor {tensor}: cannot be repacked: {reason}")]
    Repack {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// Why not.
        reason: String,
    },
    /// What a file's `__metadata__` says of packed tensors breaks a rule of that format.
    #[error(
        "{file}: {}packed: {reason}",
        .tensor.as_ref().map(|name| format!("tensor {name}: ")).unwrap_or_default()
    )]
    Packed {
        /// The file.
        file: String,
        /// The tensor, as the file calls it.
        tensor: Option<String>,
        /// The rule.
        reason: String,
    },
    /// A packed tensor where the model reads single values.
    #[error("{file}: tensor {tensor}: packed as {scheme}; the model reads it value by value")]
    PackedVector {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// How it is packed.
        scheme: lattice_kernels::PackedScheme,
    },
    /// A packed tensor whose pieces are not those that the model reads.
    #[error(
        "{file}: tensor {tensor}: packed in segments of {found} rows, the model reads parts of {expected}"
    )]
    Segment {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// Rows that a segment must divide.
        expected: usize,
        /// Rows of a segment.
        found: usize,
    },
    /// A tensor's bytes are not those that were written.
    #[error(
        "{file}: tensor {tensor}: its bytes have changed: checksum {found:016x}, expected {expected:016x}"
    )]
    Checksum {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// XXH3-64 in the header.
        expected: u64,
        /// XXH3-64 of the bytes.
        found: u64,
    },
    /// A header is not the one that was written.
    #[error("{file}: its header has changed: SHA-256 {found}, lattice.json says {expected}")]
    HeaderChecksum {
        /// The file.
        file: String,
        /// SHA-256 that lattice.json names.
        expected: String,
        /// SHA-256 of the header.
        found: String,
    },
    /// Several tensors are missing or wrong: each one's own error.
    #[error("{} tensors do not fit the configuration:{}", .0.len(), listed(.0))]
    Tensors(Vec<LoadError>),
    /// NaN or infinity among the weights.
    #[error(
        "{file}: tensor {tensor}: {count} values are NaN or infinite, the first at index {first}"
    )]
    NonFinite {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// How many.
        count: usize,
        /// Row-major index of the first.
        first: usize,
    },
    /// NaN or infinity among the scales of a packed tensor.
    #[error("{file}: tensor {tensor}: {count} scales are NaN or infinite, the first in row {row}")]
    NonFiniteScale {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// How many; each stands for up to 256 values.
        count: usize,
        /// Row of the first, over all leading dimensions.
        row: usize,
    },
    /// A file is not the one that was opened.
    #[error("{file}: changed while it was in use: {how}")]
    Changed {
        /// The file.
        file: String,
        /// What is different.
        how: String,
    },
    /// A field of a configuration file is missing, out of range or contradicts another.
    #[error("{file}: {field}: {reason}")]
    Field {
        /// The file.
        file: String,
        /// The field, with the objects it stands in: "text_config.hidden_size".
        field: String,
        /// What is wrong.
        reason: String,
    },
    /// Neither a directory nor a model of the store.
    #[error(
        "no model {name:?} in {}: {}", .root.display(),
        if .installed.is_empty() { "there are none".to_owned() }
        else { format!("there are {}", .installed.join(", ")) }
    )]
    UnknownModel {
        /// The name asked for.
        name: String,
        /// The names there are.
        installed: Vec<String>,
        /// Where models were looked for.
        root: PathBuf,
    },
}

fn listed(errors: &[LoadError]) -> String {
    let mut lines: String = errors
        .iter()
        .take(LINES_MAX)
        .map(|error| format!("\n  {error}"))
        .collect();
    if errors.len() > LINES_MAX {
        lines.push_str(&format!("\n  and {} more", errors.len() - LINES_MAX));
    }
    lines
}
