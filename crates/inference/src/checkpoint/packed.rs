//! What a safetensors file's `__metadata__` says of packed tensors.
//!
//! In: the metadata and the checked header. Out: the header with each packed tensor's form and logical shape, and every
//! tensor's checksum.
//!
//! A file that `lattice quantize` wrote has `lattice.packed`, the version of these rules. There, `lattice.packed/NAME` makes
//! the U8 tensor NAME a packed matrix: `{"scheme":"q8","shape":[3584,1024],"segment":3584}`, its bytes those of
//! [`PackedShape`], filled up with zeros to whole pages of 4,096. `lattice.xxh3/NAME`, which every tensor has, is XXH3-64
//! (seed 0) of its bytes with what fills them up, in 16 lower-case hex digits. All other keys pass unread.
//! It does not know: which tensors a model needs.

use std::collections::BTreeMap;

use lattice_kernels::{PackedScheme, PackedShape};
use serde::Deserialize;

use super::json;
use super::safetensors::{RANK_MAX, TensorInfo};
use super::{Dtype, Form, LoadError};

/// The version of the rules that this program reads.
const VERSION: &str = "1";
/// The key of the version; with a slash and a tensor's name, the key of its form.
const PACKED: &str = "lattice.packed";
/// With a slash and a tensor's name, the key of its checksum.
const XXH3: &str = "lattice.xxh3";
/// What a packed tensor's bytes are filled up to a multiple of.
const PAGE: usize = 4096;

/// The value of a tensor's `lattice.packed/NAME`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    scheme: String,
    shape: Vec<usize>,
    segment: usize,
}

/// XXH3-64 with seed 0.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    twox_hash::XxHash3_64::oneshot(bytes)
}

/// Gives the tensors their forms and checksums.
pub(super) fn apply(
    file: &str,
    metadata: BTreeMap<String, String>,
    tensors: &mut BTreeMap<String, TensorInfo>,
) -> Result<(), LoadError> {
    let version = metadata.get(PACKED).map(String::as_str);
    let refused = |reason| Err(error(file, None, reason));
    if version.is_some_and(|version| version != VERSION) {
        let found = version.unwrap_or_default();
        return refused(format!(
            "version {found:?} of the format; this program reads {VERSION:?}"
        ));
    }
    for (key, text) in &metadata {
        let entry = |prefix| key.strip_prefix(prefix)?.strip_prefix('/');
        let packed = entry(PACKED);
        let Some(name) = packed.or_else(|| entry(XXH3)) else {
            continue;
        };
        if version.is_none() {
            return refused(format!(
                "there is {key:?}, and no {PACKED:?} with a version"
            ));
        }
        let Some(info) = tensors.get_mut(name) else {
            return refused(format!("{key:?} names a tensor that is not there"));
        };
        if packed.is_some() {
            pack(info, text)
        } else {
            digits(text).map(|sum| info.checksum = Some(sum))
        }
        .map_err(|reason| error(file, Some(name), reason))?;
    }
    if version.is_some() {
        let without = tensors.iter().find(|(_, info)| info.checksum.is_none());
        if let Some((name, _)) = without {
            let reason = format!("it has no {XXH3:?}");
            return Err(error(file, Some(name), reason));
        }
    }
    Ok(())
}

fn error(file: &str, tensor: Option<&str>, reason: String) -> LoadError {
    LoadError::Packed {
        file: file.to_owned(),
        tensor: tensor.map(str::to_owned),
        reason,
    }
}

/// Makes a tensor of bytes the packed matrix that `text` says it is.
fn pack(info: &mut TensorInfo, text: &str) -> Result<(), String> {
    let entry: Entry = serde_json::from_str(text)
        .map_err(|error| format!("its entry is broken: {}", json::without_place(&error)))?;
    let scheme: PackedScheme = entry.scheme.parse().map_err(|error| format!("{error}"))?;
    if info.form != Form::Dense(Dtype::U8) || info.shape.len() != 1 {
        return Err(format!(
            "stored as {} {:?}; packed bytes are U8 and one dimension",
            info.form, info.shape
        ));
    }
    let (&[ref leading @ .., columns], 2..=RANK_MAX) = (&entry.shape[..], entry.shape.len()) else {
        return Err(format!("{:?} is no shape of matrices", entry.shape));
    };
    let rows = leading
        .iter()
        .try_fold(1usize, |rows, dim| rows.checked_mul(*dim))
        .ok_or_else(|| format!("shape {:?} overflows", entry.shape))?;
    let shape = PackedShape::new(scheme, rows, columns, entry.segment)
        .map_err(|error| error.to_string())?;
    let expected = shape.bytes().next_multiple_of(PAGE);
    if info.range.len() != expected {
        return Err(format!(
            "{:?} as {scheme} in segments of {} rows takes {expected} bytes, it has {}",
            entry.shape,
            entry.segment,
            info.range.len()
        ));
    }
    info.form = Form::Packed(shape);
    info.shape = entry.shape;
    Ok(())
}

fn digits(text: &str) -> Result<u64, String> {
    let plain = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let sum = (text.len() == 16 && text.bytes().all(plain))
        .then(|| u64::from_str_radix(text, 16).ok())
        .flatten();
    sum.ok_or_else(|| format!("its checksum {text:?} is not 16 lower-case hex digits"))
}
