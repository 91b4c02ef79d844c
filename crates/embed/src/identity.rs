//! What two vectors of one text must have in common to be the same to the bit.
//!
//! In: a loaded model, and its files. Out: a line of text: name, settings, hashes of the files, how it is computed.
//! A line that differs costs a computation; one that is the same where vectors differ would cost a wrong answer. So everything
//! counts that might matter, the version of this program included.

use std::hash::Hasher as _;

use lattice_inference::checkpoint::ModelFiles;
use lattice_kernels::{Bf16Isa, Isa};
use twox_hash::XxHash3_64;

use crate::{EmbedError, Embedder, EmbedderOptions};

/// Files that no vector depends on.
const WITHOUT_EFFECT: [&str; 5] = [
    "README",
    "LICENSE",
    "LICENCE",
    "NOTICE",
    "lattice-pull.json",
];

/// What must be the same for two vectors to lie in one space: name, hashes of the files, settings. Neither the program nor the
/// arithmetic is in it.
pub(crate) fn of_model(embedder: &Embedder, files: &ModelFiles) -> Result<String, EmbedError> {
    let (name, hash) = (embedder.name(), hash(files)?);
    Ok(format!("{name} | {hash:016x} | {:?}", embedder.settings()))
}

pub(crate) fn of(
    embedder: &Embedder,
    files: &ModelFiles,
    options: &EmbedderOptions,
) -> Result<String, EmbedError> {
    let mut load = options.load.clone();
    // Neither changes a bit of a vector.
    (load.threads, load.batch_tokens_max, load.sequences_max) = (0, 0, 0);
    let isa = load.isa.unwrap_or_else(Isa::detect);
    let bf16 = load.bf16_isa.unwrap_or_else(|| Bf16Isa::beside(isa));
    Ok(format!(
        "lattice {} | {} | {load:?} {bf16:?}",
        env!("CARGO_PKG_VERSION"),
        of_model(embedder, files)?,
    ))
}

/// XXH3-64 over the names and bytes of all files, of the modules' folders too. It tells copies apart, and is no proof against
/// somebody who forges files: he could change the vectors as well.
fn hash(files: &ModelFiles) -> Result<u64, EmbedError> {
    let mut hash = XxHash3_64::new();
    let mut names = files.names()?;
    names.retain(|name| {
        !WITHOUT_EFFECT
            .iter()
            .any(|without| name.starts_with(without))
    });
    for folder in module_folders(files)? {
        names.extend(["config.json", "model.safetensors"].map(|name| format!("{folder}/{name}")));
    }
    for name in names {
        if let Some(bytes) = files.bytes(&name)? {
            hash.write(name.as_bytes());
            hash.write_u64(bytes.len() as u64);
            hash.write(&bytes);
        }
    }
    if files.gguf().is_some()
        && let Some(path) = files.path()
    {
        hash.write(path.as_os_str().as_encoded_bytes());
    }
    Ok(hash.finish())
}

/// The folders that modules.json names. One that cannot be read is no error here: the model has been opened.
fn module_folders(files: &ModelFiles) -> Result<Vec<String>, EmbedError> {
    let text = files.text("modules.json", 1 << 20)?.unwrap_or_default();
    let modules: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap_or_default();
    let paths = modules
        .iter()
        .filter_map(|module| module.get("path")?.as_str());
    let folders = paths.filter(|path| !path.is_empty());
    Ok(folders.map(str::to_owned).collect())
}
