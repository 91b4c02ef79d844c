//! A baseline as bytes, so that tomorrow's vectors meet the same one.
//!
//! In: a set, or bytes that claim to be one. Out: bytes, or a checked set. It does not know: where bytes are kept.
//!
//! Layout, little-endian: `LATDRIFT`, version u32, dimension u32, count u64, named u32 (0 or 1), origin (a text; empty: not said),
//! [count, dimension] f32, with names a text for each, XXH3-64 of all before u64. A text is its length u32 and that much UTF-8.

use twox_hash::XxHash3_64;

use super::set::EmbeddingSet;
use crate::TransportError;

/// The version that is written, and the only one that is read.
pub const BASELINE_VERSION: u32 = 2;

const MAGIC: &[u8; 8] = b"LATDRIFT";

/// The set as bytes.
///
/// ```
/// use lattice_transport::{EmbeddingSet, baseline_from_bytes, bytes_from_baseline};
///
/// let set = EmbeddingSet::new(vec![0.5, 1.5, 2.5, 3.5], 2)?.with_ids(vec!["a".into(), "b".into()])?;
/// let set = set.made_by("all-minilm-l6-v2, no prompt".into());
/// let mut bytes = bytes_from_baseline(&set)?;
/// assert_eq!(baseline_from_bytes(&bytes)?, set);
/// bytes[30] ^= 1;
/// assert!(baseline_from_bytes(&bytes).is_err());
/// # Ok::<(), lattice_transport::TransportError>(())
/// ```
///
/// # Errors
/// A dimension, an origin or a name too long for the format.
pub fn bytes_from_baseline(set: &EmbeddingSet) -> Result<Vec<u8>, TransportError> {
    let small = |what: &str, size: usize| {
        u32::try_from(size).map_err(|error| wrong(&format!("{what} of {size}: {error}")))
    };
    let mut bytes = MAGIC.to_vec();
    bytes.extend(BASELINE_VERSION.to_le_bytes());
    bytes.extend(small("a dimension", set.dimension())?.to_le_bytes());
    bytes.extend((set.count() as u64).to_le_bytes());
    bytes.extend(u32::from(set.ids().is_some()).to_le_bytes());
    let origin = set.origin().unwrap_or_default();
    bytes.extend(small("an origin", origin.len())?.to_le_bytes());
    bytes.extend(origin.as_bytes());
    for value in set.points().values() {
        bytes.extend(value.to_le_bytes());
    }
    for id in set.ids().unwrap_or_default() {
        bytes.extend(small("an id", id.len())?.to_le_bytes());
        bytes.extend(id.as_bytes());
    }
    let hash = XxHash3_64::oneshot(&bytes);
    bytes.extend(hash.to_le_bytes());
    Ok(bytes)
}

/// The set that the bytes hold.
///
/// # Errors
/// [`TransportError::Baseline`]: no baseline, another version, cut, changed; what is wrong with its numbers.
pub fn baseline_from_bytes(bytes: &[u8]) -> Result<EmbeddingSet, TransportError> {
    let mut from = Reader { bytes, at: 0 };
    if from.take(8)? != MAGIC {
        return Err(wrong("the first bytes are not LATDRIFT"));
    }
    let version = from.u32()?;
    if version != BASELINE_VERSION {
        let words = format!("version {version}, expected {BASELINE_VERSION}");
        return Err(wrong(&words));
    }
    let (body, hash) = bytes
        .split_last_chunk::<8>()
        .ok_or_else(|| wrong("it is cut"))?;
    if XxHash3_64::oneshot(body) != u64::from_le_bytes(*hash) {
        return Err(wrong(
            "its checksum does not match: it is cut or was changed",
        ));
    }
    from.bytes = body;
    let dimension = from.u32()? as usize;
    let count =
        usize::try_from(from.u64()?).map_err(|error| wrong(&format!("its count: {error}")))?;
    let named = from.u32()?;
    let origin = from.text()?;
    let length = count.checked_mul(dimension).and_then(|n| n.checked_mul(4));
    let values = from.take(length.ok_or_else(|| wrong("its size overflows"))?)?;
    let values = values.as_chunks::<4>().0;
    let values = values.iter().map(|bytes| f32::from_le_bytes(*bytes));
    let set = EmbeddingSet::new(values.collect(), dimension)?;
    let set = match origin.is_empty() {
        true => set,
        false => set.made_by(origin),
    };
    let set = match named {
        0 => set,
        1 => {
            let ids = (0..count).map(|_| from.text());
            set.with_ids(ids.collect::<Result<_, _>>()?)?
        }
        other => return Err(wrong(&format!("named is {other}, expected 0 or 1"))),
    };
    if from.at != body.len() {
        let words = format!("{} bytes too many", body.len() - from.at);
        return Err(wrong(&words));
    }
    Ok(set)
}

fn wrong(words: &str) -> TransportError {
    TransportError::Baseline(words.to_owned())
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], TransportError> {
        let end = self.at.checked_add(count);
        let part = end.and_then(|end| self.bytes.get(self.at..end));
        let part = part.ok_or_else(|| {
            wrong(&format!(
                "{count} bytes expected at {}, there are fewer",
                self.at
            ))
        })?;
        self.at += count;
        Ok(part)
    }

    fn u32(&mut self) -> Result<u32, TransportError> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn u64(&mut self) -> Result<u64, TransportError> {
        let (low, high) = (self.u32()?, self.u32()?);
        Ok(u64::from(low) | u64::from(high) << 32)
    }

    fn text(&mut self) -> Result<String, TransportError> {
        let (length, at) = (self.u32()? as usize, self.at);
        let bytes = self.take(length)?.to_vec();
        String::from_utf8(bytes).map_err(|error| wrong(&format!("the text at byte {at}: {error}")))
    }
}
