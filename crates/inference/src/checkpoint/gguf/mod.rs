//! GGUF files as model directories.
//!
//! In: the path of a GGUF file, or of the first of several that belong together. Out: the texts a directory of the same
//! model would hold, made of the metadata; the metadata itself, for the tokenizer; and its tensors under the names that
//! checkpoints of the hub have, matrices in the blocks they are stored in.
//! It does not know: plans, backends, how a vocabulary becomes a tokenizer.

mod arch;
mod config;
mod header;
mod metadata;
mod tensors;
mod types;

use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::LoadError;
use super::mmap::{FileBytes, Mapping, Opened};
use arch::Sizes;
use header::{Header, TensorEntry};
pub use metadata::{GgufMetadata, Texts};
pub(super) use tensors::Tensors;

/// The texts that a GGUF file stands for.
const CONFIG: &str = "config.json";
const GENERATION: &str = "generation_config.json";
const TOKENIZER: &str = "tokenizer_config.json";
/// The vocabulary of a GGUF file in a file of its own, without tensors.
pub(crate) const VOCABULARY: &str = "tokenizer.gguf";
/// More files than any model is cut into.
const SHARDS_MAX: u64 = 1000;

/// An opened model of one or more GGUF files: headers read and checked, no weights.
#[derive(Debug)]
pub(super) struct Gguf {
    path: PathBuf,
    metadata: GgufMetadata,
    sizes: Sizes,
    shards: Vec<Shard>,
    texts: [(&'static str, String); 3],
    /// Where the vocabulary stands in the first file.
    vocabulary: Vec<Range<usize>>,
}

#[derive(Debug)]
struct Shard {
    path: PathBuf,
    opened: Opened,
    tensors: Vec<TensorEntry>,
}

/// The metadata of an opened file that holds a vocabulary and perhaps nothing else.
pub(super) fn metadata(opened: &Opened) -> Result<GgufMetadata, LoadError> {
    Ok(Header::read(opened)?.metadata)
}

/// Whether a regular file begins as GGUF files do.
pub(super) fn is_gguf(path: &Path) -> bool {
    let mut magic = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    read.is_ok() && magic == *header::MAGIC
}

impl Gguf {
    /// Opens the file at `path`, which must be a regular one, and those that belong to it.
    pub(super) fn open(path: &Path) -> Result<Self, LoadError> {
        let (first, metadata, vocabulary) = Shard::open(path)?;
        let mut shards = vec![first];
        rest(path, &metadata, &mut shards)?;
        let entries: Vec<&TensorEntry> = shards.iter().flat_map(|shard| &shard.tensors).collect();
        let sizes = Sizes::of(&metadata, &entries)?;
        let factors = rope_factors(&shards)?;
        let texts = [
            (
                CONFIG,
                config::config(&metadata, &sizes, factors.as_deref())?,
            ),
            (GENERATION, config::generation(&metadata)?),
            (TOKENIZER, config::tokenizer(&metadata)?),
        ];
        Ok(Self {
            path: path.to_owned(),
            metadata,
            sizes,
            shards,
            texts,
            vocabulary,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn metadata(&self) -> &GgufMetadata {
        &self.metadata
    }

    /// The file's name without its ending and its number.
    pub(super) fn name(&self) -> String {
        let name = self
            .path
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        numbered(&name).map_or(name.clone(), |(front, _, _)| front.to_owned())
    }

    /// The names of its texts, and of its vocabulary.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        let texts = self.texts.iter().map(|(name, _)| *name);
        texts.chain([VOCABULARY])
    }

    /// One of its texts.
    pub(super) fn text(&self, file: &str) -> Option<&str> {
        let found = self.texts.iter().find(|(name, _)| *name == file);
        found.map(|(_, text)| text.as_str())
    }

    /// The path of one of its files, by its name.
    pub(super) fn file_path(&self, file: &str) -> Option<&Path> {
        let shard = self.shards.iter().find(|shard| shard.opened.name == file);
        shard.map(|shard| shard.path.as_path())
    }

    /// The bytes of one of its files, or of its vocabulary.
    pub(super) fn file(
        &self,
        file: &str,
        mapping: Mapping,
    ) -> Result<Option<FileBytes>, LoadError> {
        if file == VOCABULARY {
            return self.vocabulary_file().map(Some);
        }
        let shard = self.shards.iter().find(|shard| shard.opened.name == file);
        shard
            .map(|shard| FileBytes::from_file(shard.opened.again()?, mapping))
            .transpose()
    }

    fn vocabulary_file(&self) -> Result<FileBytes, LoadError> {
        let opened = self.shards[0].opened.again()?;
        let end = self.vocabulary.iter().map(|key| key.end).max().unwrap_or(0);
        let head = super::mmap::read_head(&opened, end.max(8) as u64)?;
        let file = header::file_of_keys(&head, &self.vocabulary);
        let file = file.ok_or_else(|| LoadError::Changed {
            file: opened.name.clone(),
            how: "it became shorter".to_owned(),
        })?;
        FileBytes::from_memory(VOCABULARY.to_owned(), &file)
    }

    /// The files and what is in them.
    pub(super) fn tensors(&self, mapping: Mapping) -> Result<Tensors, LoadError> {
        let mut files = Vec::new();
        for shard in &self.shards {
            let bytes = FileBytes::from_file(shard.opened.again()?, mapping)?;
            files.push(Arc::new(bytes));
        }
        let shards = self.shards.iter();
        let entries: Vec<&[TensorEntry]> = shards.map(|shard| &shard.tensors[..]).collect();
        tensors::tensors(&self.sizes, &entries, files)
    }
}

impl Shard {
    fn open(path: &Path) -> Result<(Self, GgufMetadata, Vec<Range<usize>>), LoadError> {
        let name = path.file_name().map_or_else(
            || path.display().to_string(),
            |name| name.to_string_lossy().into_owned(),
        );
        let io = |source| LoadError::Io {
            file: name.clone(),
            action: "open",
            source,
        };
        // Opening a pipe would wait for its writer, so the kind is asked first.
        let found = std::fs::metadata(path).map_err(io)?;
        if !found.is_file() {
            return Err(LoadError::NotAFile {
                file: name,
                kind: super::files::kind_of(found.file_type()),
            });
        }
        let file = File::open(path).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        let opened = Opened {
            file,
            name,
            metadata,
        };
        let Header {
            metadata,
            tensors,
            vocabulary,
        } = Header::read(&opened)?;
        let shard = Self {
            path: path.to_owned(),
            opened,
            tensors,
        };
        Ok((shard, metadata, vocabulary))
    }
}

/// Opens the files behind the first one, where there are any.
fn rest(path: &Path, metadata: &GgufMetadata, shards: &mut Vec<Shard>) -> Result<(), LoadError> {
    const COUNT: &str = "split.count";
    const NUMBER: &str = "split.no";
    let count = metadata.integer(COUNT, 0..=SHARDS_MAX)?.unwrap_or(0);
    if count < 2 {
        return Ok(());
    }
    let stem = path
        .file_stem()
        .map(|stem| stem.to_string_lossy().into_owned())
        .unwrap_or_default();
    let parts = numbered(&stem).filter(|(_, _, of)| *of == count);
    let Some((front, number, _)) = parts else {
        let reason =
            format!("is {count}, and the file is not called NAME-00001-of-{count:05}.gguf");
        return Err(metadata.refuse(COUNT, reason));
    };
    if number != 1 || metadata.integer(NUMBER, 0..=SHARDS_MAX)? != Some(0) {
        let reason =
            format!("one of {count} files; name the first, {front}-00001-of-{count:05}.gguf");
        return Err(metadata.refuse(NUMBER, reason));
    }
    for number in 1..count {
        let name = format!("{front}-{:05}-of-{count:05}.gguf", number + 1);
        let (shard, more, _) = Shard::open(&path.with_file_name(name))?;
        if more.integer(NUMBER, 0..=SHARDS_MAX)? != Some(number) {
            return Err(more.refuse(NUMBER, format!("expected {number}")));
        }
        if more.integer(COUNT, 0..=SHARDS_MAX)? != Some(count) {
            return Err(more.refuse(COUNT, format!("expected {count}")));
        }
        shards.push(shard);
    }
    let found: usize = shards.iter().map(|shard| shard.tensors.len()).sum();
    match metadata.integer("split.tensors.count", 0..=u64::MAX)? {
        Some(expected) if expected != found as u64 => {
            let reason = format!("is {expected}, the {count} files have {found} tensors");
            Err(metadata.refuse("split.tensors.count", reason))
        }
        _ => Ok(()),
    }
}

/// `NAME-00001-of-00003`: NAME, 1 and 3.
fn numbered(stem: &str) -> Option<(&str, u64, u64)> {
    let (rest, of) = stem.rsplit_once("-of-")?;
    let (front, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| -> Option<u64> {
        let plain = text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| text.parse().ok()).flatten()
    };
    Some((front, digits(number)?, digits(of)?))
}

/// What the angles of the rotary embedding are divided by, where the file says it.
fn rope_factors(shards: &[Shard]) -> Result<Option<Vec<f32>>, LoadError> {
    /// Wider than any head's half.
    const FACTORS_MAX: usize = 1 << 12;
    for shard in shards {
        let Some(entry) = shard
            .tensors
            .iter()
            .find(|entry| entry.name == "rope_freqs.weight")
        else {
            continue;
        };
        let place = |reason| LoadError::Layout {
            file: shard.opened.name.clone(),
            tensor: entry.name.clone(),
            byte: entry.range.start as u64,
            reason,
        };
        let count: usize = entry.shape.iter().product();
        if count > FACTORS_MAX {
            return Err(place(format!("{count} factors, at most {FACTORS_MAX}")));
        }
        let bytes = FileBytes::from_file(shard.opened.again()?, Mapping::Mapped)?;
        let factors = tensors::values(&bytes, entry)?;
        if let Some(bad) = factors
            .iter()
            .find(|factor| !(factor.is_finite() && **factor > 0.0))
        {
            return Err(place(format!(
                "a factor of {bad}, expected a number above 0"
            )));
        }
        return Ok(Some(factors));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names() {
        assert_eq!(numbered("a-b-00002-of-00010"), Some(("a-b", 2, 10)));
        for name in ["a", "a-1-of-3", "a-00001-of-3", "a-0000x-of-00003"] {
            assert_eq!(numbered(name), None, "{name}");
        }
    }
}
