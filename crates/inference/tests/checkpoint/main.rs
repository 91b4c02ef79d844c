//! What a checkpoint may not be, and what comes out of one that is right.

mod files;
mod gguf;
mod header;
mod index;
mod packed;
mod store;
mod tensors;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use lattice_inference::checkpoint::{Checkpoint, LoadError, ModelFiles};

/// A tensor to write: name, dtype, shape, bytes.
type Written<'a> = (&'a str, &'a str, &'a [u64], &'a [u8]);

/// A safetensors file with that header, word for word.
fn file(header: impl AsRef<[u8]>, data: &[u8]) -> Vec<u8> {
    let header = header.as_ref();
    [&(header.len() as u64).to_le_bytes()[..], header, data].concat()
}

/// A right safetensors file.
fn safetensors(tensors: &[Written<'_>]) -> Vec<u8> {
    let (mut header, mut data) = (String::from("{"), Vec::new());
    for (name, dtype, shape, bytes) in tensors {
        let begin = data.len();
        data.extend_from_slice(bytes);
        let end = data.len();
        let comma = if header.len() > 1 { "," } else { "" };
        header.push_str(&format!(
            r#"{comma}"{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{begin},{end}]}}"#
        ));
    }
    header.push('}');
    file(header, &data)
}

/// Opens a file's bytes as `model.safetensors` of an embedded model. The bytes live as long as the test.
fn open(bytes: Vec<u8>) -> Result<Checkpoint, LoadError> {
    let bytes: &'static [u8] = bytes.leak();
    let files: &'static [(&str, &[u8])] = vec![("model.safetensors", bytes)].leak();
    Checkpoint::open(&ModelFiles::embedded("test", files))
}

/// The words with which a file's bytes are refused.
fn refusal(bytes: Vec<u8>) -> String {
    open(bytes).expect_err("must be refused").to_string()
}

/// Asserts that a text has all of these words in it.
fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{text:?} does not say {word:?}");
    }
}

/// A directory of its own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("checkpoint-{}-{number}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).expect("a temporary directory can be made");
        Self(path)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        let folder = path.parent().expect("a file has a folder");
        std::fs::create_dir_all(folder).expect("a folder can be made");
        std::fs::write(&path, bytes).expect("a file can be written");
        path
    }

    fn files(&self) -> ModelFiles {
        ModelFiles::open(&self.0).expect("the folder is there")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
