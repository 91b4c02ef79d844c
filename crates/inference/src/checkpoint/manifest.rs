//! lattice.json: what `lattice quantize` says about the directory it wrote.
//!
//! In: a model's files. Out: whether the header of the weights is the one that was written, which vouches for every
//! tensor's place and checksum. It does not know: the other figures in it, which are for people.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::mmap::FileBytes;
use super::{LoadError, ModelFiles, json, safetensors};

/// Its name.
const FILE: &str = "lattice.json";
/// It names every tensor and every copied file: far below this.
const BYTES_MAX: u64 = 64 << 20;
/// What it says it is.
const FORMAT: &str = "lattice-packed";
/// The version of it that this program reads.
const VERSION: u64 = 1;

/// Checks `weights` against lattice.json, where there is one.
pub(super) fn check(files: &ModelFiles, weights: &FileBytes) -> Result<(), LoadError> {
    let Some(text) = files.text(FILE, BYTES_MAX)? else {
        return Ok(());
    };
    let manifest = json::object(FILE, &text)?;
    let refused = |field: &str, what: String| {
        let found = manifest.get(field).unwrap_or(&Value::Null);
        Err(LoadError::Field {
            file: FILE.to_owned(),
            field: field.to_owned(),
            reason: json::expected(&what, found),
        })
    };
    if manifest.get("format").and_then(Value::as_str) != Some(FORMAT) {
        return refused("format", format!("{FORMAT:?}"));
    }
    if manifest.get("version").and_then(Value::as_u64) != Some(VERSION) {
        return refused("version", VERSION.to_string());
    }
    let Some(expected) = manifest.get("header_sha256").and_then(Value::as_str) else {
        return refused("header_sha256", "hex digits".to_owned());
    };
    let found: String = Sha256::digest(safetensors::head(weights))
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if found == expected {
        return Ok(());
    }
    Err(LoadError::HeaderChecksum {
        file: weights.name().to_owned(),
        expected: expected.to_owned(),
        found,
    })
}
