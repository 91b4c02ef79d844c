//! The lines of the journal of a packed copy: one for each finished tensor.
//!
//! In: a tensor's name, place and hashes. Out: them again, if the line is about the same tensor in the same place.

use serde::Deserialize;
use serde_json::json;

use super::hash::Hashes;

/// The journal's name in the working directory.
pub(super) const FILE: &str = "progress.jsonl";

/// A line: a tensor that is finished.
#[derive(Debug, Deserialize)]
pub(super) struct Line {
    name: String,
    offset: u64,
    bytes: u64,
    xxh3: String,
    sha256: String,
}

impl Line {
    pub(super) fn new(name: &str, place: &std::ops::Range<u64>, hashes: &Hashes) -> Self {
        Self {
            name: name.to_owned(),
            offset: place.start,
            bytes: place.end - place.start,
            xxh3: format!("{:016x}", hashes.xxh3),
            sha256: hashes.sha256.clone(),
        }
    }

    /// As it stands in the journal.
    pub(super) fn text(&self) -> String {
        let Self {
            name,
            offset,
            bytes,
            xxh3,
            sha256,
        } = self;
        json!({"name": name, "offset": offset, "bytes": bytes, "xxh3": xxh3, "sha256": sha256})
            .to_string()
    }

    /// The hashes, if the line is about this tensor in this place.
    pub(super) fn hashes(&self, name: &str, place: &std::ops::Range<u64>) -> Option<Hashes> {
        let same = self.name == name
            && self.offset == place.start
            && self.bytes == place.end - place.start;
        let xxh3 = u64::from_str_radix(&self.xxh3, 16).ok()?;
        same.then(|| Hashes {
            xxh3,
            sha256: self.sha256.clone(),
        })
    }
}
