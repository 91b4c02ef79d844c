//! `lattice.json`: what a packed model was made from, how, and what is in it.
//!
//! In: a source, a recipe, hashes. Out: JSON. The manifest is written last, so where it stands everything else does.
//! It does not know: how anything is packed or written.

use std::time::UNIX_EPOCH;

use lattice_files::PULL_RECORD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::hash::{Hashes, hex, sha256};
use super::layout::{self, VERSION};
use super::{QuantizeError, Recipe, Source, Target};
use crate::Error;
use crate::checkpoint::{FileBytes, VOCABULARY};

/// The manifest's name.
pub(super) const FILE: &str = "lattice.json";
/// Bytes of each source file hashed between two looks at whether to go on.
const STEP_BYTES: usize = 32 << 20;
/// Bytes in front of a file that are its header, or a good part of it.
const HEAD_BYTES: usize = 1 << 20;
/// Larger files than this are weights, whatever their name says.
const COPIED_BYTES_MAX: usize = 64 << 20;
/// Endings of files that hold weights, or say which file does.
const WEIGHT_ENDINGS: [&str; 11] = [
    ".safetensors",
    ".index.json",
    ".bin",
    ".gguf",
    ".pt",
    ".pth",
    ".h5",
    ".msgpack",
    ".onnx",
    ".npz",
    ".ot",
];

/// A file of the source beside its weights.
pub(super) struct Copied {
    pub(super) name: String,
    pub(super) bytes: FileBytes,
}

impl Copied {
    pub(super) fn as_json(&self) -> Value {
        json!({"file": self.name, "sha256": sha256(&self.bytes)})
    }
}

/// The files that a packed model takes along as they are: all that hold no weights, and those of the modules that follow an
/// encoder, whose weights are few. What a download wrote down is about
/// its source, not about it.
pub(super) fn copied(source: &Source) -> Result<Vec<Copied>, Error> {
    let mut copied = Vec::new();
    for name in &source.model.more_files {
        if let Some(bytes) = source.files().bytes(name)? {
            let name = name.clone();
            copied.push(Copied { name, bytes });
        }
    }
    for name in source.files().names()? {
        let weights = |end: &str| name.ends_with(end) && name != VOCABULARY;
        if name == FILE || name == PULL_RECORD || WEIGHT_ENDINGS.iter().any(|end| weights(end)) {
            continue;
        }
        if let Some(bytes) = source.files().bytes(&name)?
            && bytes.len() < COPIED_BYTES_MAX
        {
            copied.push(Copied { name, bytes });
        }
    }
    Ok(copied)
}

/// The files that hold the source's weights, by name.
fn weight_files(source: &Source) -> Result<Vec<FileBytes>, Error> {
    let mut names: Vec<&str> = source.stored.tensors().map(|tensor| tensor.file).collect();
    names.sort_unstable();
    names.dedup();
    let mut files = Vec::new();
    for name in names {
        files.extend(source.files().bytes(name)?);
    }
    Ok(files)
}

/// What tells this work from other work: the same value means that an earlier run can be gone on with. It reads headers
/// and times of change, no weights.
pub(super) fn work(source: &Source, recipe: &Recipe, targets: &[Target]) -> Result<Value, Error> {
    let mut files = Vec::new();
    for file in weight_files(source)? {
        let length = file.first_chunk::<8>().copied().map(u64::from_le_bytes);
        let head = length.and_then(|length| usize::try_from(length).ok());
        let head = head.and_then(|length| file.get(8..length.checked_add(8)?));
        // Files of another format: what stands in front.
        let head = head.or_else(|| file.get(..file.len().min(HEAD_BYTES)));
        let path = source.files().path_of(file.name());
        let modified = path.and_then(|path| path.metadata().ok()?.modified().ok());
        let modified = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        files.push(json!({
            "file": file.name(),
            "bytes": file.len(),
            "header_sha256": sha256(head.unwrap_or(&[])),
            "modified_ns": modified.map(|since| since.as_nanos().to_string()),
        }));
    }
    let head = layout::head(targets, &vec![0; targets.len()]);
    Ok(json!({
        "work": "lattice quantize",
        "version": VERSION,
        "lattice": env!("CARGO_PKG_VERSION"),
        "source": files,
        "recipe": recipe.as_json(),
        "layout_sha256": sha256(&head),
    }))
}

/// The `source` part: names and SHA-256 of the weight files. Reads all of them; `between` is asked now and then.
pub(super) fn source(
    source: &Source,
    cpu: &lattice_kernels::Cpu,
    mut between: impl FnMut() -> Result<(), QuantizeError>,
) -> Result<Value, Error> {
    let files = weight_files(source)?;
    let hashing: Vec<std::sync::Mutex<Sha256>> = files.iter().map(|_| Default::default()).collect();
    let longest = files.iter().map(|file| file.len()).max().unwrap_or(0);
    for at in (0..longest).step_by(STEP_BYTES) {
        cpu.run(files.len(), &|index| {
            let rest = files[index].get(at..).unwrap_or(&[]);
            let step = &rest[..rest.len().min(STEP_BYTES)];
            let mut hashing = hashing[index]
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            hashing.update(step);
            files[index].release(at..at + step.len());
        });
        between()?;
    }
    let entries = files.iter().zip(hashing).map(|(file, hashing)| {
        let hashing = hashing
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        json!({
            "file": file.name(),
            "sha256": hex(&hashing.finalize()),
            "bytes": file.len(),
        })
    });
    Ok(json!({
        "name": source.files().name(),
        "files": entries.collect::<Vec<_>>(),
        "revision": source.files().revision(),
    }))
}

/// The `tensors` part.
pub(super) fn tensors(targets: &[Target], hashes: &[Hashes]) -> Value {
    let entries = targets.iter().zip(hashes).map(|(target, hashes)| {
        json!({
            "name": target.name,
            "scheme": target.scheme(),
            "shape": target.shape,
            "bytes": target.stored_bytes(),
            "sha256": hashes.sha256,
        })
    });
    entries.collect()
}
