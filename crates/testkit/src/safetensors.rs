//! Safetensors files: a reader for our own goldens, a writer for checkpoints that tests need.
//!
//! The reader trusts its input. The writer lays tensors one after the other and checks nothing: a
//! shape that its bytes do not fill is the caller's wish.

use std::path::Path;
use std::{fs, io};

use half::{bf16, f16};
use serde_json::{Map, Value, json};

/// Name, dtype (`"F32"`, `"BF16"`, ...), shape and little-endian bytes of one tensor.
pub type TensorBytes<'a> = (&'a str, &'a str, &'a [usize], &'a [u8]);

/// One file in memory, for goldens only.
pub(crate) struct Tensors {
    header: Value,
    data: Vec<u8>,
}

impl Tensors {
    pub(crate) fn read(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let (length, rest) = bytes
            .split_first_chunk()
            .expect("goldens have a header length");
        let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
        let header = serde_json::from_slice(header).expect("goldens have a JSON header");
        Self {
            header,
            data: data.to_vec(),
        }
    }

    /// The four-byte words and the shape of a tensor, if the file has it.
    fn words(
        &self,
        name: &str,
        dtype: &str,
    ) -> Option<(impl Iterator<Item = [u8; 4]>, Vec<usize>)> {
        let info = self.header.get(name)?;
        assert_eq!(info["dtype"], dtype, "{name}");
        let numbers = |key: &str| -> Vec<usize> {
            serde_json::from_value(info[key].clone()).expect("goldens have whole numbers here")
        };
        let offsets = numbers("data_offsets");
        let (words, _) = self.data[offsets[0]..offsets[1]].as_chunks::<4>();
        Some((words.iter().copied(), numbers("shape")))
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let header = self.header.as_object();
        header
            .expect("goldens have an object here")
            .keys()
            .map(String::as_str)
    }

    pub(crate) fn f32s(&self, name: &str) -> Option<(Vec<f32>, Vec<usize>)> {
        self.words(name, "F32")
            .map(|(w, shape)| (w.map(f32::from_le_bytes).collect(), shape))
    }

    pub(crate) fn u32s(&self, name: &str) -> Option<Vec<u32>> {
        self.words(name, "U32")
            .map(|(w, _)| w.map(u32::from_le_bytes).collect())
    }
}

/// Writes `config.json` (as given, valid or not) and `model.safetensors` into an existing folder.
pub fn write_checkpoint(
    dir: &Path,
    config_json: &str,
    tensors: &[TensorBytes<'_>],
) -> io::Result<()> {
    fs::write(dir.join("config.json"), config_json)?;
    let mut header = Map::new();
    let mut data = Vec::new();
    for (name, dtype, shape, bytes) in tensors {
        let offsets = [data.len(), data.len() + bytes.len()];
        let info = json!({ "dtype": dtype, "shape": shape, "data_offsets": offsets });
        header.insert((*name).to_owned(), info);
        data.extend_from_slice(bytes);
    }
    let header = Value::Object(header).to_string();
    write_safetensors(&dir.join("model.safetensors"), header.as_bytes(), &data)
}

/// Writes a file from a header in any state, preceded by its true length, and the data.
pub fn write_safetensors(path: &Path, header: &[u8], data: &[u8]) -> io::Result<()> {
    let length = (header.len() as u64).to_le_bytes();
    fs::write(path, [length.as_slice(), header, data].concat())
}

/// The values as an `F32` tensor has them.
pub fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// The values rounded to nearest, as an `F16` tensor has them.
pub fn f16_bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|&v| f16::from_f32(v).to_le_bytes())
        .collect()
}

/// The values rounded to nearest, as a `BF16` tensor has them.
pub fn bf16_bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|&v| bf16::from_f32(v).to_le_bytes())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ScratchDir;

    #[test]
    fn what_is_written_is_read() {
        let dir = ScratchDir::new().expect("made");
        let (values, ids) = (
            [1.5, -2.0, 0.25],
            [7u32.to_le_bytes(), 9u32.to_le_bytes()].concat(),
        );
        let floats = f32_bytes(&values);
        let tensors = [
            ("b", "F32", &[1, 3][..], &floats[..]),
            ("a", "U32", &[2], &ids),
        ];
        write_checkpoint(dir.path(), "{}", &tensors).expect("written");
        let file = Tensors::read(&dir.path().join("model.safetensors"));
        assert_eq!(file.f32s("b"), Some((values.to_vec(), vec![1, 3])));
        assert_eq!(file.u32s("a"), Some(vec![7, 9]));
        assert_eq!(file.u32s("absent"), None);
        let config = fs::read_to_string(dir.path().join("config.json")).expect("there");
        assert_eq!(config, "{}");
    }

    #[test]
    fn half_formats_have_two_bytes_a_value() {
        assert_eq!(bf16_bytes(&[1.0, -2.0]), [0x80, 0x3f, 0x00, 0xc0]);
        assert_eq!(f16_bytes(&[1.0, -2.0]), [0x00, 0x3c, 0x00, 0xc0]);
    }
}
