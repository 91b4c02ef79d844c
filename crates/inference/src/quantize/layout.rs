//! The written file: where each tensor lies in it, and its header.
//!
//! In: targets. Out: places, and the bytes in front of the data, which begin on a page as every packed tensor does.
//! The header's length does not depend on the hashes in it, so that it can be written when they are known.
//!
//! `__metadata__` holds `lattice.packed` (the version of this format), for each packed tensor `lattice.packed/<name>`
//! (scheme, logical shape, rows of a segment), and for every tensor `lattice.xxh3/<name>` (XXH3-64 of its stored bytes,
//! 16 hex digits).

use std::ops::Range;

use serde_json::{Value, json};

use super::targets::{PAGE, Target};
use crate::checkpoint::Kept;

/// The version of the packed format.
pub(super) const VERSION: u32 = 1;

/// Where everything lies.
pub(super) struct Layout {
    /// Bytes of the file, one range for each target.
    pub(super) places: Vec<Range<u64>>,
    /// Bytes of the whole file.
    pub(super) file_bytes: u64,
    /// Bytes in front of the data.
    pub(super) data_begin: u64,
}

impl Layout {
    pub(super) fn of(targets: &[Target]) -> Self {
        let data_begin = head(targets, &vec![0; targets.len()]).len() as u64;
        let mut at = data_begin;
        let places = targets.iter().map(|target| {
            let begin = at;
            at += target.stored_bytes();
            begin..at
        });
        Self {
            places: places.collect(),
            file_bytes: at,
            data_begin,
        }
    }
}

/// The file's bytes up to its data: the header's length, the header, and spaces up to a whole page.
pub(super) fn head(targets: &[Target], xxh3: &[u64]) -> Vec<u8> {
    let mut metadata = vec![entry("lattice.packed", &VERSION.to_string().into())];
    for (target, xxh3) in targets.iter().zip(xxh3) {
        let name = &target.name;
        if let Kept::Packed(shape) = target.form {
            let packed = json!({
                "scheme": shape.scheme().to_string(),
                "shape": target.shape,
                "segment": shape.segment(),
            });
            let text = packed.to_string().into();
            metadata.push(entry(&format!("lattice.packed/{name}"), &text));
        }
        let digits = format!("{xxh3:016x}").into();
        metadata.push(entry(&format!("lattice.xxh3/{name}"), &digits));
    }
    let mut entries = vec![format!("\"__metadata__\":{{{}}}", metadata.join(","))];
    let mut at = 0;
    for target in targets {
        let end = at + target.stored_bytes();
        let info = match target.form {
            Kept::Packed(_) => json!({
                "dtype": "U8", "shape": [target.stored_bytes()], "data_offsets": [at, end],
            }),
            Kept::Dense(dtype) => json!({
                "dtype": dtype.name(), "shape": target.shape, "data_offsets": [at, end],
            }),
        };
        entries.push(entry(&target.name, &info));
        at = end;
    }
    let header = format!("{{{}}}", entries.join(","));
    let bytes = (8 + header.len() as u64).next_multiple_of(PAGE);
    let mut head = (bytes - 8).to_le_bytes().to_vec();
    head.extend_from_slice(header.as_bytes());
    head.resize(bytes as usize, b' ');
    head
}

fn entry(key: &str, value: &Value) -> String {
    format!("{}:{value}", Value::from(key))
}
