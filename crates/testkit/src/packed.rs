//! Files of packed tensors for tests, right until the test changes them.
//!
//! In: tensors. Out: a safetensors file as `lattice quantize` writes them, written here a second time so that reader and
//! writer do not share a mistake. It checks nothing: what a test puts in is what stands in the file.

use std::collections::BTreeMap;

use lattice_kernels::{PackedScheme, PackedShape, pack};
use serde_json::{Map, Value, json};

/// What packed tensors begin on, and are filled up to.
const PAGE: usize = 4096;

/// A tensor of a [`PackedFile`].
#[derive(Debug, Clone)]
pub struct StoredTensor {
    /// Its name.
    pub name: String,
    /// As the header has it.
    pub dtype: String,
    /// As the header has it.
    pub stored: Vec<usize>,
    /// Logical shape and how it is packed, for a packed one.
    pub packed: Option<(Vec<usize>, PackedShape)>,
    /// As stored.
    pub bytes: Vec<u8>,
}

impl StoredTensor {
    /// A tensor as other checkpoints have it.
    pub fn dense(name: &str, dtype: &str, shape: &[usize], bytes: &[u8]) -> Self {
        Self {
            name: name.to_owned(),
            dtype: dtype.to_owned(),
            stored: shape.to_vec(),
            packed: None,
            bytes: bytes.to_vec(),
        }
    }

    /// `values` of `shape`, packed in segments of `segment` rows.
    ///
    /// # Panics
    /// If they cannot be packed.
    pub fn packed(
        name: &str,
        scheme: PackedScheme,
        shape: &[usize],
        segment: usize,
        values: &[f32],
    ) -> Self {
        let columns = *shape.last().expect("a matrix has dimensions");
        let packed = PackedShape::new(scheme, values.len() / columns, columns, segment)
            .expect("tests pack what can be packed");
        let mut bytes = vec![0; packed.bytes().next_multiple_of(PAGE)];
        pack(values, packed, &mut bytes[..packed.bytes()]).expect("tests pack finite values");
        Self {
            name: name.to_owned(),
            dtype: "U8".to_owned(),
            stored: vec![bytes.len()],
            packed: Some((shape.to_vec(), packed)),
            bytes,
        }
    }
}

/// A file to be written.
#[derive(Debug, Clone)]
pub struct PackedFile {
    /// `__metadata__`.
    pub metadata: BTreeMap<String, String>,
    /// In the order they lie in the file.
    pub tensors: Vec<StoredTensor>,
}

impl PackedFile {
    /// The file of these tensors, packed ones first.
    pub fn new(mut tensors: Vec<StoredTensor>) -> Self {
        tensors.sort_by_key(|tensor| tensor.packed.is_none());
        let mut file = Self {
            metadata: BTreeMap::from([("lattice.packed".to_owned(), "1".to_owned())]),
            tensors,
        };
        for tensor in &file.tensors {
            let Some((shape, packed)) = &tensor.packed else {
                continue;
            };
            let (scheme, segment) = (packed.scheme().to_string(), packed.segment());
            let entry = json!({ "scheme": scheme, "shape": shape, "segment": segment });
            let key = format!("lattice.packed/{}", tensor.name);
            file.metadata.insert(key, entry.to_string());
        }
        file.sum();
        file
    }

    /// Writes every tensor's checksum into the metadata.
    pub fn sum(&mut self) {
        for tensor in &self.tensors {
            let sum = twox_hash::XxHash3_64::oneshot(&tensor.bytes);
            let key = format!("lattice.xxh3/{}", tensor.name);
            self.metadata.insert(key, format!("{sum:016x}"));
        }
    }

    /// The header, filled up so that the data begins on a page.
    pub fn header(&self) -> Vec<u8> {
        let mut header = Map::new();
        header.insert("__metadata__".to_owned(), json!(self.metadata));
        let mut at = 0;
        for tensor in &self.tensors {
            let end = at + tensor.bytes.len();
            let (dtype, shape) = (&tensor.dtype, &tensor.stored);
            let info = json!({ "dtype": dtype, "shape": shape, "data_offsets": [at, end] });
            header.insert(tensor.name.clone(), info);
            at = end;
        }
        let mut header = Value::Object(header).to_string().into_bytes();
        header.resize((8 + header.len()).next_multiple_of(PAGE) - 8, b' ');
        header
    }

    /// The whole file.
    pub fn bytes(&self) -> Vec<u8> {
        let header = self.header();
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(&header);
        for tensor in &self.tensors {
            file.extend_from_slice(&tensor.bytes);
        }
        file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_tensors_lie_on_pages_with_published_checksums() {
        let file = PackedFile::new(vec![
            StoredTensor::dense("empty", "F32", &[0], &[]),
            StoredTensor::packed("w", PackedScheme::Q8, &[3, 5], 3, &[1.0; 15]),
        ]);
        assert_eq!(file.tensors[0].name, "w");
        // XXH3-64 of nothing, from the algorithm's own test vectors.
        assert_eq!(file.metadata["lattice.xxh3/empty"], "2d06800538d394c2");
        let bytes = file.bytes();
        assert_eq!(bytes.len(), 8 + file.header().len() + PAGE);
        assert_eq!((8 + file.header().len()) % PAGE, 0);
    }
}
