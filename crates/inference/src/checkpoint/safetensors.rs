//! The header of a safetensors file, checked to the last byte.
//!
//! In: a whole file's bytes. Out: what each tensor is and where it lies, every range inside of the
//! file.
//! Layout: 8 bytes little-endian header length, the header (a JSON object), the data section.
//! The tensors tile the data section: no hole, no overlap, nothing behind the last one.
//! Of `__metadata__` only what packed tensors have there is read, by [`super::packed`].
//! Refuses everything that the format's own library refuses, and double keys and unknown fields
//! besides.
//! It does not know: which tensors a model needs.
//! Source: the format section of the safetensors README, version 0.8.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserializer as _, MapAccess, Visitor};

use super::json::{UniqueMap, twice, without_place};
use super::mmap::{self, Opened};
use super::{Dtype, Form, LoadError, packed};

/// Header bytes that the format allows.
const HEADER_BYTES_MAX: u64 = 100_000_000;
/// More than the largest public models have; with [`RANK_MAX`] it bounds what a header can make us
/// allocate.
const TENSORS_MAX: usize = 1 << 18;
/// More dimensions than any weight has.
pub(super) const RANK_MAX: usize = 8;

/// What the header says of one tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TensorInfo {
    pub(crate) form: Form,
    /// Of the numbers, packed or not.
    pub(crate) shape: Vec<usize>,
    /// Bytes of the file.
    pub(crate) range: Range<usize>,
    /// XXH3-64 of these bytes, where the file says it.
    pub(crate) checksum: Option<u64>,
}

/// Checks a file's header before its data is read.
pub(crate) fn check_head(opened: &Opened) -> Result<(), LoadError> {
    let file_bytes = opened.metadata.len();
    let mut head = mmap::read_head(opened, 8)?;
    if let Some((length, _)) = head.split_first_chunk::<8>() {
        let length = u64::from_le_bytes(*length);
        if length <= HEADER_BYTES_MAX && length + 8 <= file_bytes {
            head = mmap::read_head(opened, length + 8)?;
        }
    }
    let file_bytes = usize::try_from(file_bytes).unwrap_or(usize::MAX);
    tensors(&opened.name, &head, file_bytes).map(|_tensors| ())
}

/// Reads and checks the header of `file`, which has `file_bytes` bytes; `bytes` are the first of
/// them, the header and maybe more.
pub(crate) fn tensors(
    file: &str,
    bytes: &[u8],
    file_bytes: usize,
) -> Result<BTreeMap<String, TensorInfo>, LoadError> {
    let text = &header_text(file, bytes, file_bytes)?;
    let data_begin = 8 + text.len();
    let (mut raw, mut metadata) = (BTreeMap::new(), None);
    let mut current = None;
    let mut parser = serde_json::Deserializer::from_str(text);
    parser
        .deserialize_map(HeaderVisitor {
            raw: &mut raw,
            metadata: &mut metadata,
            current: &mut current,
        })
        .and_then(|()| parser.end())
        .map_err(|error| LoadError::Header {
            file: file.to_owned(),
            tensor: current,
            byte: 8 + byte_of(text, error.line(), error.column()),
            reason: without_place(&error),
        })?;
    let mut tensors = lay_out(file, raw, data_begin, file_bytes)?;
    packed::apply(file, metadata.unwrap_or_default(), &mut tensors)?;
    Ok(tensors)
}

/// The bytes in front of the data section: the header and its length.
pub(crate) fn head(bytes: &[u8]) -> &[u8] {
    let length = bytes
        .first_chunk()
        .map(|length| u64::from_le_bytes(*length));
    let length = length.and_then(|length| usize::try_from(length).ok());
    let end = length.and_then(|length| length.checked_add(8));
    end.and_then(|end| bytes.get(..end)).unwrap_or(bytes)
}

/// The header as text, copied: in a mapped file another program could change it under the parser.
fn header_text(file: &str, bytes: &[u8], file_bytes: usize) -> Result<String, LoadError> {
    let refused = |byte: u64, reason: String| LoadError::Header {
        file: file.to_owned(),
        tensor: None,
        byte,
        reason,
    };
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        let reason = format!("header truncated: file has {file_bytes} bytes, a length takes 8");
        return Err(refused(bytes.len() as u64, reason));
    };
    let length = u64::from_le_bytes(*length);
    if length == 0 {
        return Err(refused(0, "header truncated: its length is 0".to_owned()));
    }
    if length > HEADER_BYTES_MAX {
        return Err(refused(
            0,
            format!("header of {length} bytes, at most {HEADER_BYTES_MAX}"),
        ));
    }
    let header = usize::try_from(length)
        .ok()
        .and_then(|length| rest.get(..length));
    let Some(header) = header else {
        let reason = format!("header truncated: it has {length} bytes, the file {file_bytes}");
        return Err(refused(0, reason));
    };
    let text = String::from_utf8(header.to_vec()).map_err(|error| {
        refused(
            8 + error.utf8_error().valid_up_to() as u64,
            "not UTF-8".to_owned(),
        )
    })?;
    if !text.starts_with('{') {
        return Err(refused(8, "a header begins with \"{\"".to_owned()));
    }
    Ok(text)
}

/// The byte of `text` at a parser's line and column, both from 1 (0: no place is known).
fn byte_of(text: &str, line: usize, column: usize) -> u64 {
    let before: usize = text
        .split_inclusive('\n')
        .take(line.saturating_sub(1))
        .map(str::len)
        .sum();
    (before + column.saturating_sub(1)) as u64
}

/// A tensor's entry with numbers as they stand.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawInfo {
    dtype: String,
    shape: Dims,
    data_offsets: (u64, u64),
}

/// A shape whose length is bounded while it is read.
#[derive(Debug)]
struct Dims(Vec<u64>);

impl<'de> serde::Deserialize<'de> for Dims {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(DimsVisitor)
    }
}

struct DimsVisitor;

impl<'de> Visitor<'de> for DimsVisitor {
    type Value = Dims;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {RANK_MAX} dimensions")
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut access: A) -> Result<Dims, A::Error> {
        let mut dims = Vec::new();
        while let Some(dim) = access.next_element()? {
            if dims.len() == RANK_MAX {
                return Err(serde::de::Error::invalid_length(RANK_MAX + 1, &self));
            }
            dims.push(dim);
        }
        Ok(Dims(dims))
    }
}

/// Fills `raw`; `current` is the key being read, for the error.
struct HeaderVisitor<'a> {
    raw: &'a mut BTreeMap<String, RawInfo>,
    metadata: &'a mut Option<BTreeMap<String, String>>,
    current: &'a mut Option<String>,
}

impl<'de> Visitor<'de> for HeaderVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        while let Some(key) = access.next_key::<String>()? {
            *self.current = Some(key.clone());
            if key == "__metadata__" {
                if self.metadata.is_some() {
                    return Err(twice(&key));
                }
                let found = access.next_value::<Option<UniqueMap<String>>>()?;
                *self.metadata = Some(found.map_or_else(BTreeMap::new, |map| map.0));
                continue;
            }
            if self.raw.contains_key(&key) {
                return Err(twice(&key));
            }
            if self.raw.len() == TENSORS_MAX {
                return Err(serde::de::Error::custom(format_args!(
                    "more than {TENSORS_MAX} tensors"
                )));
            }
            let info = access.next_value()?;
            self.raw.insert(key, info);
        }
        *self.current = None;
        Ok(())
    }
}

/// Checks sizes and that the tensors tile the data section, in the order they lie in it.
fn lay_out(
    file: &str,
    raw: BTreeMap<String, RawInfo>,
    data_begin: usize,
    file_bytes: usize,
) -> Result<BTreeMap<String, TensorInfo>, LoadError> {
    let mut order: Vec<(String, RawInfo)> = raw.into_iter().collect();
    order.sort_by_key(|(_, info)| info.data_offsets);
    let mut at = data_begin;
    let mut previous = String::new();
    let mut checked = BTreeMap::new();
    for (tensor, info) in order {
        let place = Place {
            file,
            tensor: &tensor,
            data_begin,
            file_bytes,
        };
        let info = place.check(info)?;
        let refused = |reason| Err(place.layout(at, reason));
        if info.range.start < at {
            let overlap = at - info.range.start;
            return refused(format!("overlaps {previous} by {overlap} bytes"));
        }
        if info.range.start > at {
            let hole = info.range.start - at;
            return refused(format!("{hole} bytes before it belong to no tensor"));
        }
        at = info.range.end;
        previous.clone_from(&tensor);
        checked.insert(tensor, info);
    }
    if at != file_bytes {
        return Err(LoadError::Header {
            file: file.to_owned(),
            tensor: None,
            byte: at as u64,
            reason: format!("{} bytes behind the last tensor", file_bytes - at),
        });
    }
    Ok(checked)
}

/// One tensor in one file, for its checks and their errors.
struct Place<'a> {
    file: &'a str,
    tensor: &'a str,
    data_begin: usize,
    file_bytes: usize,
}

impl Place<'_> {
    fn check(&self, info: RawInfo) -> Result<TensorInfo, LoadError> {
        let (begin, end) = info.data_offsets;
        let Some(dtype) = Dtype::from_name(&info.dtype) else {
            return Err(self.header(format!("unknown dtype {:?}", info.dtype)));
        };
        if begin > end {
            return Err(self.header(format!("data_offsets begin at {begin} and end at {end}")));
        }
        let Some(bytes) = bytes_of(dtype, &info.shape.0) else {
            let shape = &info.shape.0;
            return Err(self.header(format!(
                "shape {shape:?} of {dtype} overflows or is not whole bytes"
            )));
        };
        if bytes != end - begin {
            return Err(self.header(format!(
                "shape {:?} of {dtype} takes {bytes} bytes, data_offsets span {}",
                info.shape.0,
                end - begin
            )));
        }
        let truncated = || LoadError::Truncated {
            file: self.file.to_owned(),
            tensor: self.tensor.to_owned(),
            end: end.saturating_add(self.data_begin as u64),
            file_bytes: self.file_bytes as u64,
        };
        let data_bytes = self.file_bytes - self.data_begin;
        let inside = |offset: u64| {
            usize::try_from(offset)
                .ok()
                .filter(|offset| *offset <= data_bytes)
        };
        let (begin, end) = inside(begin).zip(inside(end)).ok_or_else(truncated)?;
        let dims = info.shape.0.iter().map(|dim| usize::try_from(*dim));
        let shape = dims.collect::<Result<_, _>>().map_err(|_too_large| {
            self.header("a dimension is larger than this machine's addresses".to_owned())
        })?;
        Ok(TensorInfo {
            form: Form::Dense(dtype),
            shape,
            range: self.data_begin + begin..self.data_begin + end,
            checksum: None,
        })
    }

    fn header(&self, reason: String) -> LoadError {
        LoadError::Header {
            file: self.file.to_owned(),
            tensor: Some(self.tensor.to_owned()),
            byte: 8,
            reason,
        }
    }

    fn layout(&self, byte: usize, reason: String) -> LoadError {
        LoadError::Layout {
            file: self.file.to_owned(),
            tensor: self.tensor.to_owned(),
            byte: byte as u64,
            reason,
        }
    }
}

/// Bytes that a tensor takes; `None` if that overflows or is not whole.
fn bytes_of(dtype: Dtype, shape: &[u64]) -> Option<u64> {
    let count = shape
        .iter()
        .try_fold(1u64, |count, dim| count.checked_mul(*dim))?;
    let bits = count.checked_mul(dtype.bits() as u64)?;
    (bits % 8 == 0).then_some(bits / 8)
}
