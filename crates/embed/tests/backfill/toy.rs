//! Models that need no model: a text's vector is made of its hash.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::collections::BTreeMap;
use std::hash::Hasher as _;
use std::path::Path;

use lattice_embed::backfill::{
    Dtype, Identity, Numbers, Row, ShardForm, ShardIds, ShardKind, Store,
};
use lattice_testkit::SplitMix64;
use lattice_vectors::Id;
use twox_hash::XxHash3_64;

pub(crate) const PARQUET: ShardForm = ShardForm {
    kind: ShardKind::Parquet,
    ids: ShardIds::Int,
};
pub(crate) const JSONL: ShardForm = ShardForm {
    kind: ShardKind::Jsonl,
    ids: ShardIds::Int,
};

pub(crate) fn identity(model: &str, dims: usize, dtype: Dtype) -> Identity {
    Identity {
        model: model.to_owned(),
        revision: "1".to_owned(),
        dims,
        dtype,
        settings: vec![("prompt".to_owned(), String::new())],
    }
}

pub(crate) fn old() -> Identity {
    identity("old", 3, Dtype::F32)
}

pub(crate) fn new() -> Identity {
    identity("new", 5, Dtype::F32)
}

/// The vectors of an identity.
pub(crate) fn embedder(of: Identity) -> impl FnMut(&[&str]) -> Result<Numbers, String> {
    move |texts| {
        let mut numbers = Vec::new();
        for text in texts {
            let mut hasher = XxHash3_64::new();
            hasher.write(of.model.as_bytes());
            hasher.write(text.as_bytes());
            numbers.extend(SplitMix64::new(hasher.finish()).normals(of.columns(), 1.0));
        }
        let bytes = numbers.iter().map(|number| (number * 20.0) as i8);
        Ok(match of.dtype {
            Dtype::F32 => Numbers::F32(numbers),
            Dtype::I8 => Numbers::I8 {
                values: bytes.collect(),
                scales: texts.iter().map(|text| 0.1 + text.len() as f32).collect(),
            },
            Dtype::Binary => Numbers::Binary(bytes.map(|byte| byte.cast_unsigned()).collect()),
        })
    }
}

pub(crate) fn rows(range: std::ops::Range<usize>) -> Vec<Row> {
    let row = |index: usize| Row {
        id: Some(Id::Int(index as i64)),
        text: format!("text {index} é"),
        rest: Vec::new(),
    };
    range.map(row).collect()
}

/// A store of the old model: shards of `rows_each`.
pub(crate) fn store(dir: &Path, form: ShardForm, shards: usize, rows_each: usize) -> Store {
    let store = Store::create(dir, form, &old()).unwrap();
    for index in 0..shards {
        let rows = rows(index * rows_each..(index + 1) * rows_each);
        store.append(&rows, &mut embedder(old()), None).unwrap();
    }
    store
}

/// All files but the lock, by their path in the store.
pub(crate) fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().unwrap() != "lock" {
                let name = path.strip_prefix(dir).unwrap().display().to_string();
                files.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    files
}
