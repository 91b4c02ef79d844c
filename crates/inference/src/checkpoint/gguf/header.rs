//! The header of a GGUF file, checked to the last byte.
//!
//! In: the first bytes of a file, and its length. Out: the metadata, what each tensor is and where it lies, every range
//! inside of the file.
//! Layout, little-endian: "GGUF", version u32 (2 or 3), number of tensors u64, number of keys u64; the keys (name, type
//! u32, value); the tensors (name, dimensions u32, each u64 with the fastest first, type u32, offset u64); then, from the
//! next multiple of `general.alignment` on, the data, each tensor at such a multiple behind the one before. A text is its
//! length, u64, and its bytes; a list its type, its length and its elements.
//! Refuses everything that ggml refuses, and bytes behind the data besides.
//! It does not know: which keys and tensors a model needs.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::metadata::{GgufMetadata, MetaValue, Texts};
use super::types::GgmlType;
use crate::checkpoint::LoadError;
use crate::checkpoint::mmap::{self, Opened};

/// What a file begins with.
pub(super) const MAGIC: &[u8; 4] = b"GGUF";
/// The versions that this program reads.
const VERSIONS: [u32; 2] = [2, 3];
/// Longer than any header: the vocabulary of a large model takes a tenth of it.
const HEADER_BYTES_MAX: u64 = 256 << 20;
/// What is read first; a longer header is read again with more.
const HEAD_BYTES: u64 = 1 << 20;
/// Bytes of a key or a tensor's name.
const NAME_BYTES_MAX: usize = 1 << 16;
/// More than the largest public models have.
const TENSORS_MAX: u64 = 1 << 18;
/// Far more than any file has.
const KEYS_MAX: u64 = 1 << 16;
/// Dimensions that the format allows.
const RANK_MAX: u32 = 4;
const ALIGNMENT: &str = "general.alignment";
const ALIGNMENT_DEFAULT: u64 = 32;

/// A whole header.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) metadata: GgufMetadata,
    /// In the order of the file.
    pub(super) tensors: Vec<TensorEntry>,
    /// Where the keys of the vocabulary and those about the file stand in it.
    pub(super) vocabulary: Vec<Range<usize>>,
}

/// What the header says of one tensor.
#[derive(Debug, Clone)]
pub(super) struct TensorEntry {
    pub(super) name: String,
    /// Slowest first.
    pub(super) shape: Vec<usize>,
    pub(super) kind: GgmlType,
    /// Bytes of the file.
    pub(super) range: Range<usize>,
}

impl Header {
    /// Reads and checks the header of an opened file; no more of the file than that.
    pub(super) fn read(opened: &Opened) -> Result<Self, LoadError> {
        let file_bytes = opened.metadata.len();
        let mut head_bytes = HEAD_BYTES;
        loop {
            let head = mmap::read_head(opened, head_bytes.min(file_bytes))?;
            match Self::parse(&opened.name, &head, file_bytes) {
                Err(Stop::MoreBytes) if head_bytes < HEADER_BYTES_MAX => head_bytes *= 16,
                Err(Stop::MoreBytes) => {
                    return Err(header(
                        &opened.name,
                        None,
                        0,
                        format!("header of more than {HEADER_BYTES_MAX} bytes"),
                    ));
                }
                Err(Stop::Error(error)) => return Err(error),
                Ok(header) => return Ok(header),
            }
        }
    }

    /// Reads the header at the front of `head`, the first bytes of `file`, which has `file_bytes` of them.
    fn parse(file: &str, head: &[u8], file_bytes: u64) -> Result<Self, Stop> {
        let mut reader = Reader {
            file,
            head,
            file_bytes,
            at: 0,
        };
        let magic = reader.take(4)?;
        if magic != MAGIC {
            return reader.refuse(
                0,
                format!("a GGUF file begins with \"GGUF\", found {magic:?}"),
            );
        }
        let version = reader.u32()?;
        if !VERSIONS.contains(&version) {
            let why = if version & 0xffff == 0 {
                ": its bytes are in the other order"
            } else {
                ""
            };
            return reader.refuse(
                4,
                format!("version {version}{why}; this program reads 2 and 3"),
            );
        }
        let tensors = reader.count("tensors", TENSORS_MAX, 24)?;
        let keys = reader.count("keys", KEYS_MAX, 13)?;
        let (mut values, mut vocabulary) = (BTreeMap::new(), Vec::new());
        for _ in 0..keys {
            let at = reader.at;
            let (key, value) = reader.entry()?;
            if key.starts_with("tokenizer.") || key.starts_with("general.") {
                vocabulary.push(at..reader.at);
            }
            if values.insert(key.clone(), value).is_some() {
                return reader.refuse(at, format!("key {key:?} stands twice"));
            }
        }
        let metadata = GgufMetadata::new(file, values);
        let alignment = alignment(&metadata).map_err(Stop::Error)?;
        let tensors = reader.tensors(tensors, alignment)?;
        Ok(Self {
            metadata,
            tensors,
            vocabulary,
        })
    }
}

/// A file of these keys, which stand at these places of `head`, and no tensors.
pub(super) fn file_of_keys(head: &[u8], keys: &[Range<usize>]) -> Option<Vec<u8>> {
    let mut file = head.get(..8)?.to_vec();
    file.extend(0u64.to_le_bytes());
    file.extend((keys.len() as u64).to_le_bytes());
    for key in keys {
        file.extend(head.get(key.clone())?);
    }
    Some(file)
}

/// Why reading ended before the header did.
#[derive(Debug)]
enum Stop {
    /// The file goes on behind the bytes at hand.
    MoreBytes,
    Error(LoadError),
}

fn header(file: &str, tensor: Option<&str>, byte: usize, reason: String) -> LoadError {
    LoadError::Header {
        file: file.to_owned(),
        tensor: tensor.map(str::to_owned),
        byte: byte as u64,
        reason,
    }
}

fn alignment(metadata: &GgufMetadata) -> Result<u64, LoadError> {
    let found = metadata.integer(ALIGNMENT, 1..=1 << 30)?;
    let found = found.unwrap_or(ALIGNMENT_DEFAULT);
    if found.is_power_of_two() {
        return Ok(found);
    }
    Err(metadata.refuse(ALIGNMENT, format!("{found} is no power of two")))
}

/// Reads numbers and texts one after the other; never beyond the file.
struct Reader<'a> {
    file: &'a str,
    head: &'a [u8],
    file_bytes: u64,
    at: usize,
}

impl<'a> Reader<'a> {
    fn refuse<T>(&self, byte: usize, reason: String) -> Result<T, Stop> {
        Err(Stop::Error(header(self.file, None, byte, reason)))
    }

    /// Bytes of the file from here on.
    fn left(&self) -> u64 {
        self.file_bytes.saturating_sub(self.at as u64)
    }

    fn take(&mut self, bytes: usize) -> Result<&'a [u8], Stop> {
        let Some(taken) = self.head[self.at..].get(..bytes) else {
            if bytes as u64 <= self.left() {
                return Err(Stop::MoreBytes);
            }
            let reason = format!(
                "header truncated: {bytes} bytes from here on, file has {}",
                self.file_bytes
            );
            return self.refuse(self.at, reason);
        };
        self.at += bytes;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u32(&mut self) -> Result<u32, Stop> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, Stop> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// How many of something follow, each of at least `bytes`.
    fn count(&mut self, what: &str, most: u64, bytes: u64) -> Result<usize, Stop> {
        let at = self.at;
        let count = self.u64()?;
        let most = most.min(self.left() / bytes);
        match usize::try_from(count) {
            Ok(found) if count <= most => Ok(found),
            _ => self.refuse(at, format!("{count} {what}, at most {most} here")),
        }
    }

    fn text(&mut self, bytes_max: usize) -> Result<&'a str, Stop> {
        let at = self.at;
        let length = self.u64()?;
        let bytes = match usize::try_from(length) {
            Ok(bytes) if bytes <= bytes_max => self.take(bytes)?,
            _ => return self.refuse(at, format!("a text of {length} bytes, at most {bytes_max}")),
        };
        std::str::from_utf8(bytes)
            .or_else(|error| self.refuse(at + 8 + error.valid_up_to(), "not UTF-8".to_owned()))
    }

    fn entry(&mut self) -> Result<(String, MetaValue), Stop> {
        let key = self.text(NAME_BYTES_MAX)?;
        let at = self.at;
        let kind = self.u32()?;
        let value = match kind {
            8 => MetaValue::Text(self.text(HEADER_BYTES_MAX as usize)?.to_owned()),
            9 => self.list(key)?,
            _ => match self.number(kind)? {
                Some(value) => value,
                None => {
                    return self.refuse(
                        at,
                        format!("key {key:?} has the type {kind}, which there is not"),
                    );
                }
            },
        };
        Ok((key.to_owned(), value))
    }

    /// A number or a flag; `None` for another type.
    fn number(&mut self, kind: u32) -> Result<Option<MetaValue>, Stop> {
        Ok(Some(match kind {
            0 => MetaValue::Integer(u8::from_le_bytes(self.array()?).into()),
            1 => MetaValue::Integer(i8::from_le_bytes(self.array()?).into()),
            2 => MetaValue::Integer(u16::from_le_bytes(self.array()?).into()),
            3 => MetaValue::Integer(i16::from_le_bytes(self.array()?).into()),
            4 => MetaValue::Integer(u32::from_le_bytes(self.array()?).into()),
            5 => MetaValue::Integer(i32::from_le_bytes(self.array()?).into()),
            6 => MetaValue::Float(f32::from_le_bytes(self.array()?).into()),
            7 => MetaValue::Flag(self.array::<1>()? != [0]),
            10 => MetaValue::Integer(u64::from_le_bytes(self.array()?).into()),
            11 => MetaValue::Integer(i64::from_le_bytes(self.array()?).into()),
            12 => MetaValue::Float(f64::from_le_bytes(self.array()?)),
            _ => return Ok(None),
        }))
    }

    fn list(&mut self, key: &str) -> Result<MetaValue, Stop> {
        let at = self.at;
        let kind = self.u32()?;
        let bytes = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            9 => return self.refuse(at, format!("key {key:?} is a list of lists")),
            _ => {
                return self.refuse(
                    at,
                    format!("key {key:?} is a list of the type {kind}, which there is not"),
                );
            }
        };
        let count = self.count("elements", u64::MAX, bytes)?;
        if kind == 8 {
            let mut texts = Texts::default();
            for _ in 0..count {
                texts.push(self.text(HEADER_BYTES_MAX as usize)?);
            }
            return Ok(MetaValue::Texts(texts));
        }
        let (mut integers, mut floats) = (Vec::new(), Vec::new());
        for _ in 0..count {
            match self.number(kind)? {
                Some(MetaValue::Float(value)) => floats.push(value),
                Some(MetaValue::Flag(flag)) => integers.push(flag.into()),
                Some(MetaValue::Integer(value)) => match i64::try_from(value) {
                    Ok(value) => integers.push(value),
                    Err(_too_large) => return self.refuse(at, format!("key {key:?} has {value}")),
                },
                _ => return self.refuse(at, format!("key {key:?} is a list of the type {kind}")),
            }
        }
        Ok(match kind {
            6 | 12 => MetaValue::Floats(floats),
            _ => MetaValue::Integers(integers),
        })
    }

    /// The tensors, and that they tile the data section in their order.
    fn tensors(&mut self, count: usize, alignment: u64) -> Result<Vec<TensorEntry>, Stop> {
        let mut raw = Vec::new();
        let mut names = BTreeSet::new();
        for _ in 0..count {
            let at = self.at;
            let tensor = self.tensor()?;
            if !names.insert(tensor.name) {
                return self.refuse(at, format!("tensor {} stands twice", tensor.name));
            }
            raw.push(tensor);
        }
        let mut end = self.at as u64;
        let data = end.next_multiple_of(alignment);
        let mut tensors = Vec::with_capacity(raw.len());
        for tensor in raw {
            let expected = (end.max(data)).next_multiple_of(alignment) - data;
            let checked = tensor.place(self, data, expected).map_err(Stop::Error)?;
            end = checked.range.end as u64;
            tensors.push(checked);
        }
        let filled = end.checked_next_multiple_of(alignment);
        if filled.is_none_or(|filled| self.file_bytes > filled) && !tensors.is_empty() {
            let behind = self.file_bytes - end;
            return self.refuse(
                end as usize,
                format!("{behind} bytes behind the last tensor"),
            );
        }
        Ok(tensors)
    }

    fn tensor(&mut self) -> Result<RawTensor<'a>, Stop> {
        let at = self.at;
        let name = self.text(NAME_BYTES_MAX)?;
        let refused =
            |reader: &Self, reason| Err(Stop::Error(header(reader.file, Some(name), at, reason)));
        let rank = self.u32()?;
        if rank > RANK_MAX {
            return refused(self, format!("{rank} dimensions, at most {RANK_MAX}"));
        }
        let mut shape = Vec::new();
        for _ in 0..rank {
            shape.push(self.u64()?);
        }
        shape.reverse();
        let number = self.u32()?;
        let Some(kind) = GgmlType::from_number(number) else {
            return refused(self, format!("unknown type {number}"));
        };
        let offset = self.u64()?;
        Ok(RawTensor {
            name,
            shape,
            kind,
            offset,
            at,
        })
    }
}

/// A tensor's entry with numbers as they stand.
struct RawTensor<'a> {
    name: &'a str,
    /// Slowest first.
    shape: Vec<u64>,
    kind: GgmlType,
    offset: u64,
    /// Byte of the header.
    at: usize,
}

impl RawTensor<'_> {
    /// Its place in the file, if it begins `expected` bytes into the data, which begins at `data`.
    fn place(
        &self,
        reader: &Reader<'_>,
        data: u64,
        expected: u64,
    ) -> Result<TensorEntry, LoadError> {
        let refused = |reason| header(reader.file, Some(self.name), self.at, reason);
        let (kind, shape) = (self.kind, &self.shape);
        let columns = shape.last().copied().unwrap_or(1);
        if !columns.is_multiple_of(kind.values as u64) {
            return Err(refused(format!(
                "rows of {columns} values are no whole blocks of {}, which have {}",
                kind.name, kind.values
            )));
        }
        let values = shape
            .iter()
            .try_fold(1u64, |values, dim| values.checked_mul(*dim));
        let blocks = values.map(|values| values / kind.values as u64);
        let Some(bytes) = blocks.and_then(|blocks| blocks.checked_mul(kind.bytes as u64)) else {
            return Err(refused(format!(
                "shape {shape:?} of {} overflows",
                kind.name
            )));
        };
        if self.offset != expected {
            return Err(LoadError::Layout {
                file: reader.file.to_owned(),
                tensor: self.name.to_owned(),
                byte: data.saturating_add(self.offset),
                reason: format!(
                    "begins {} bytes into the data, expected {expected}",
                    self.offset
                ),
            });
        }
        let begin = data.checked_add(expected);
        let end = begin.and_then(|begin| begin.checked_add(bytes));
        let inside =
            |at: Option<u64>| usize::try_from(at.filter(|at| *at <= reader.file_bytes)?).ok();
        let Some((begin, end)) = inside(begin).zip(inside(end)) else {
            return Err(LoadError::Truncated {
                file: reader.file.to_owned(),
                tensor: self.name.to_owned(),
                end: end.unwrap_or(u64::MAX),
                file_bytes: reader.file_bytes,
            });
        };
        let dims = shape.iter().map(|dim| usize::try_from(*dim));
        let shape = dims.collect::<Result<_, _>>().map_err(|_too_large| {
            refused("a dimension is larger than this machine's addresses".to_owned())
        })?;
        Ok(TensorEntry {
            name: self.name.to_owned(),
            shape,
            kind,
            range: begin..end,
        })
    }
}
