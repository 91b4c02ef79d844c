//! `model.safetensors.index.json`: which shard holds which tensor.
//!
//! In: the index's text. Out: its map, every shard's name a plain name inside of the model's
//! directory.
//! It does not know: whether the shards are there.

use std::collections::{BTreeMap, BTreeSet};

use super::files::check_relative;
use super::json::{self, UniqueMap};
use super::{LoadError, ModelFiles};

pub(crate) const FILE: &str = "model.safetensors.index.json";
/// A name of 100 bytes for each of the tensors that a header may hold takes less.
const BYTES_MAX: u64 = 64 << 20;
/// Each shard stays open; more would exhaust a process's files.
const SHARDS_MAX: usize = 1024;

/// Fields other than the map (a `metadata` with the total size) say nothing that the shards do not
/// say themselves.
#[derive(serde::Deserialize)]
struct Index {
    weight_map: UniqueMap<String>,
}

/// Tensor name to shard name, or `None` where the model has no index.
pub(crate) fn read(files: &ModelFiles) -> Result<Option<BTreeMap<String, String>>, LoadError> {
    let Some(text) = files.text(FILE, BYTES_MAX)? else {
        return Ok(None);
    };
    let Index {
        weight_map: UniqueMap(map),
    } = json::parse(FILE, &text)?;
    let shards: BTreeSet<&String> = map.values().collect();
    let refused = |field: &str, reason: String| LoadError::Field {
        file: FILE.to_owned(),
        field: field.to_owned(),
        reason,
    };
    if shards.is_empty() {
        return Err(refused("weight_map", "names no tensor".to_owned()));
    }
    if shards.len() > SHARDS_MAX {
        let reason = format!("names {} files, at most {SHARDS_MAX}", shards.len());
        return Err(refused("weight_map", reason));
    }
    for (tensor, shard) in &map {
        if let Err(reason) = check_relative(shard) {
            let reason = format!("{shard:?}: {reason}");
            return Err(refused(&format!("weight_map.{tensor}"), reason));
        }
    }
    Ok(Some(map))
}
