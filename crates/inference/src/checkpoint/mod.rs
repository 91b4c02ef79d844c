//! Checkpoint bytes -> named tensors and a configuration.
//!
//! In: a model directory, a GGUF file, or the same files from memory. Out: [`Checkpoint`] (tensors as stored, by
//! name), [`Config`], [`GenerationDefaults`]; [`ModelStore`] finds directories by name.
//! Everything a file says is checked before it is believed, and sizes before anything is allocated.
//! It does not know: model families, the plan, devices. What a tensor's name means is the family's
//! business.
//!
//! ```
//! use lattice_inference::checkpoint::{Checkpoint, Config, LoadError, ModelFiles};
//!
//! const FILES: &[(&str, &[u8])] = &[
//!     ("config.json", br#"{"model_type": "llama", "hidden_size": 2, "rope_theta": 1e4}"#),
//!     (
//!         "model.safetensors",
//!         b"\x41\0\0\0\0\0\0\0\
//!           {\"norm.weight\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[0,4]}}\
//!           \x80\x3f\0\x40",
//!     ),
//! ];
//! let files = ModelFiles::embedded("tiny", FILES); // or ModelFiles::open(directory)?
//! let config = Config::open(&files)?;
//! let checkpoint = Checkpoint::open(&files)?;
//! let norm = checkpoint.require("norm.weight", &[config.size("hidden_size")?])?;
//! assert_eq!(norm.bytes, [0x80, 0x3f, 0, 0x40]);
//! assert_eq!(config.rope(None)?.theta, 1e4);
//! # Ok::<(), LoadError>(())
//! ```

mod blocks;
mod config;
mod error;
mod files;
mod generation;
mod gguf;
mod grouped;
mod index;
mod json;
mod load;
mod manifest;
mod mmap;
mod packed;
mod safetensors;
mod stack;
mod store;
mod tensor;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

pub use blocks::{AffineBlock, AffineLayout, BlockKind, Blocks, GgmlBlock, Order};
pub(crate) use blocks::{Bench, BlockBytes, Piece, Pieces, Rows, Run};
pub use config::{Config, Expected, Factors, RopeConfig, RopeScaling, Yarn};
pub use error::LoadError;
pub use files::ModelFiles;
pub use generation::GenerationDefaults;
pub(crate) use gguf::VOCABULARY;
pub use gguf::{GgufMetadata, Texts};
pub(crate) use json::{Fields, objects};
pub use mmap::{FileBytes, Mapping, guard_truncation};
use stack::Stacks;
pub use store::{Installed, ModelStore};
pub use tensor::{AlignedBytes, Dtype, Form, Kept, Tensor};

#[cfg(target_endian = "big")]
compile_error!("checkpoints are little-endian and are used where they lie");

/// The name of a checkpoint in one file.
const SINGLE: &str = "model.safetensors";

/// How to open a checkpoint.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenOptions {
    /// Whether files are mapped or copied.
    pub mapping: Mapping,
}

/// The tensors of a model, by name, as stored. Cloning it copies no weights.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    files: Vec<Arc<FileBytes>>,
    tensors: BTreeMap<String, Place>,
    ignored: Vec<(String, &'static str)>,
}

/// Where a tensor lies.
#[derive(Debug, Clone)]
struct Place {
    /// Its name in the file.
    original: String,
    form: Form,
    shape: Vec<usize>,
    /// Files by their numbers, and bytes of them. What lies in several places is in blocks.
    parts: Vec<(usize, Range<usize>)>,
    checksum: Option<u64>,
}

impl Place {
    /// The file and the bytes of a tensor that lies in one place.
    fn one(&self) -> (usize, Range<usize>) {
        let (file, range) = &self.parts[0];
        (*file, range.clone())
    }

    fn bytes(&self) -> usize {
        self.parts.iter().map(|(_, range)| range.len()).sum()
    }
}

/// A weight that somebody needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// The tensor's name.
    pub tensor: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// `Some` for what is read as a matrix, which may be packed: the rows that a segment must divide. `None` for what is
    /// read value by value.
    pub segment: Option<usize>,
}

/// What becomes of a tensor's name: see [`Checkpoint::rename`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Renamed<'a> {
    /// The tensor is used, under this name.
    Keep(Cow<'a, str>),
    /// The tensor is left out, and why.
    Ignore(&'static str),
    /// The tensor is one expert's part of a stack that checkpoints can also hold as one tensor.
    OfExpert(OfExpert),
}

/// A tensor's place in a stack `[experts, rows, columns]`: expert after expert, and of each, part after part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfExpert {
    /// The stack's name.
    pub stack: String,
    /// Whose part it is, from 0.
    pub expert: usize,
    /// What the parts of an expert are called, in the order of their rows.
    pub parts: &'static [&'static str],
    /// Which of them it is.
    pub part: usize,
}

impl Checkpoint {
    /// Opens `model.safetensors`, or else the shards that `model.safetensors.index.json` names,
    /// mapped into memory.
    ///
    /// # Errors
    /// Any file that is missing, may not be read, or breaks a rule of its format; see
    /// [`LoadError`].
    pub fn open(files: &ModelFiles) -> Result<Self, LoadError> {
        Self::open_with(files, OpenOptions::default())
    }

    /// [`Self::open`], with options.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(files: &ModelFiles, options: OpenOptions) -> Result<Self, LoadError> {
        let mut checkpoint = Self {
            files: Vec::new(),
            tensors: BTreeMap::new(),
            ignored: Vec::new(),
        };
        if let Some(gguf) = files.gguf_tensors(options.mapping) {
            let tensors = gguf?;
            return Ok(Self {
                files: tensors.files,
                tensors: tensors.places,
                ignored: tensors.ignored,
            });
        }
        if let Some(bytes) = files.bytes_as(SINGLE, options.mapping, safetensors::check_head)? {
            manifest::check(files, &bytes)?;
            checkpoint.add(bytes)?;
            grouped::undo(files, &mut checkpoint)?;
            return Ok(checkpoint);
        }
        let no_file = |model, file| LoadError::NoFile { model, file };
        let Some(map) = index::read(files)? else {
            return Err(no_file(
                files.name(),
                "model.safetensors or model.safetensors.index.json",
            ));
        };
        for shard in map.values().collect::<BTreeSet<_>>() {
            let bytes = files
                .bytes_as(shard, options.mapping, safetensors::check_head)?
                .ok_or_else(|| not_found(shard))?;
            checkpoint.add(bytes)?;
        }
        for (tensor, shard) in map {
            let found = checkpoint
                .tensor(&tensor)
                .is_some_and(|tensor| tensor.file == shard);
            if !found {
                let index = index::FILE.to_owned();
                return Err(LoadError::NotInShard {
                    index,
                    shard,
                    tensor,
                });
            }
        }
        grouped::undo(files, &mut checkpoint)?;
        Ok(checkpoint)
    }

    /// Reads one file's header into the table.
    fn add(&mut self, bytes: FileBytes) -> Result<(), LoadError> {
        let file = self.files.len();
        for (name, info) in safetensors::tensors(bytes.name(), &bytes, bytes.len())? {
            let place = Place {
                original: name.clone(),
                form: info.form,
                shape: info.shape,
                parts: vec![(file, info.range)],
                checksum: info.checksum,
            };
            if let Some(other) = self.tensors.get(&name) {
                let first = self.files[other.one().0].name().to_owned();
                let second = bytes.name().to_owned();
                return Err(LoadError::TensorTwice {
                    tensor: name,
                    first,
                    second,
                });
            }
            self.tensors.insert(name, place);
        }
        self.files.push(Arc::new(bytes));
        Ok(())
    }

    /// Adds the tensors of more files of the model, each with the text before its tensors' names.
    ///
    /// # Errors
    /// As [`Self::open`]; a file that is not there.
    pub(crate) fn beside(
        mut self,
        files: &ModelFiles,
        options: OpenOptions,
        more: &[(String, String)],
    ) -> Result<Self, LoadError> {
        for (file, prefix) in more {
            let bytes = files
                .bytes_as(file, options.mapping, safetensors::check_head)?
                .ok_or_else(|| not_found(file))?;
            let mut added = Self {
                files: std::mem::take(&mut self.files),
                tensors: BTreeMap::new(),
                ignored: Vec::new(),
            };
            added.add(bytes)?;
            self.files = added.files;
            for (name, place) in added.tensors {
                self.tensors.insert(format!("{prefix}{name}"), place);
            }
        }
        Ok(self)
    }

    /// Gives every tensor the name that `f` makes of its own, or leaves it out. Copies no weights.
    ///
    /// # Errors
    /// [`LoadError::TensorTwice`] if two tensors fall on one name; it names both as they were. [`LoadError::Stack`] or
    /// [`LoadError::Shape`] if the parts of a stack do not make one.
    pub fn rename(self, f: impl Fn(&str) -> Renamed<'_>) -> Result<Self, LoadError> {
        let Self {
            files,
            tensors,
            mut ignored,
        } = self;
        let mut renamed: BTreeMap<String, Place> = BTreeMap::new();
        let mut before: BTreeMap<String, String> = BTreeMap::new();
        let mut stacks = Stacks::default();
        for (name, place) in tensors {
            let new = match f(&name) {
                Renamed::Keep(new) => new.into_owned(),
                Renamed::OfExpert(of) => {
                    stacks.add(of, name, place)?;
                    continue;
                }
                Renamed::Ignore(why) => {
                    ignored.push((name, why));
                    continue;
                }
            };
            if let Some(first) = before.get(&new) {
                let first = first.clone();
                return Err(LoadError::TensorTwice {
                    tensor: new,
                    first,
                    second: name,
                });
            }
            before.insert(new.clone(), name);
            renamed.insert(new, place);
        }
        for (stack, place) in stacks.places(&files)? {
            if let Some(first) = before.get(&stack) {
                return Err(LoadError::TensorTwice {
                    tensor: stack,
                    first: first.clone(),
                    second: "tensors of single experts".to_owned(),
                });
            }
            renamed.insert(stack, place);
        }
        Ok(Self {
            files,
            tensors: renamed,
            ignored,
        })
    }

    /// The tensors that [`Self::rename`] left out, by their names in the file, and why.
    pub fn ignored(&self) -> &[(String, &'static str)] {
        &self.ignored
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// All tensors, sorted by name.
    pub fn tensors(&self) -> impl Iterator<Item = Tensor<'_>> {
        self.tensors
            .iter()
            .map(|(name, place)| self.at(name, place))
    }

    /// The tensor of that name.
    pub fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        self.tensors
            .get_key_value(name)
            .map(|(name, place)| self.at(name, place))
    }

    /// The name that a tensor has in its file, before [`Self::rename`].
    pub fn original(&self, name: &str) -> Option<&str> {
        Some(&self.tensors.get(name)?.original)
    }

    fn at<'a>(&'a self, name: &'a str, place: &'a Place) -> Tensor<'a> {
        let (file, range) = place.one();
        let file = &self.files[file];
        Tensor {
            name,
            form: place.form,
            shape: &place.shape,
            bytes: &file[range],
            stored_bytes: place.bytes(),
            file: file.name(),
        }
    }

    /// A tensor's bytes, to be held on to: aligned for its form, copied only where the file's place
    /// is not. Of blocks: those of the first place they lie in.
    pub fn aligned(&self, name: &str) -> Option<AlignedBytes> {
        let place = self.tensors.get(name)?;
        let (file, range) = place.one();
        Some(AlignedBytes::of(&self.files[file], range, place.form))
    }

    /// The tensor of that name, which must be a weight of that shape, packed or not.
    ///
    /// # Errors
    /// [`LoadError::Missing`], [`LoadError::Shape`], or [`LoadError::Dtype`] if it is neither packed nor F32, F16 or
    /// BF16.
    pub fn require(&self, name: &str, shape: &[usize]) -> Result<Tensor<'_>, LoadError> {
        let Some(tensor) = self.tensor(name) else {
            let near = near(name, self.names()).map(str::to_owned);
            return Err(LoadError::Missing {
                tensor: name.to_owned(),
                near,
            });
        };
        let (file, name) = (tensor.file.to_owned(), name.to_owned());
        if tensor.shape != shape {
            let (expected, found) = (shape.to_vec(), tensor.shape.to_vec());
            return Err(LoadError::Shape {
                file,
                tensor: name,
                expected,
                found,
            });
        }
        match tensor.form {
            Form::Dense(dtype) if !dtype.is_weight() => Err(LoadError::Dtype {
                file,
                tensor: name,
                dtype,
            }),
            Form::Dense(_) | Form::Packed(_) | Form::Blocks(_) => Ok(tensor),
        }
    }

    /// [`Self::require`], and whether it is stored as it can be read.
    fn require_as(&self, wanted: &Wanted) -> Result<Tensor<'_>, LoadError> {
        let tensor = self.require(&wanted.tensor, &wanted.shape)?;
        let Form::Packed(shape) = tensor.form else {
            return Ok(tensor);
        };
        let (file, name) = (tensor.file.to_owned(), tensor.name.to_owned());
        match wanted.segment {
            None => Err(LoadError::PackedVector {
                file,
                tensor: name,
                scheme: shape.scheme(),
            }),
            Some(expected) if !expected.is_multiple_of(shape.segment()) => {
                Err(LoadError::Segment {
                    file,
                    tensor: name,
                    expected,
                    found: shape.segment(),
                })
            }
            Some(_) => Ok(tensor),
        }
    }

    /// Looks whether every wanted tensor is there as it is wanted, and returns the names nobody wanted, sorted.
    ///
    /// # Errors
    /// [`LoadError::Tensors`] with one error for each tensor that does not fit: those of [`Self::require`],
    /// [`LoadError::PackedVector`] or [`LoadError::Segment`].
    pub fn check(&self, wanted: &[Wanted]) -> Result<Vec<String>, LoadError> {
        // Two halves of one tensor are two weights; what is wrong with it is said once.
        let wanted: BTreeSet<&Wanted> = wanted.iter().collect();
        let mut wrong = Vec::new();
        for wanted in &wanted {
            match self.tensor(&wanted.tensor) {
                // A hint looks at every name, so only the first few of many missing tensors get
                // one.
                None if wrong.len() >= error::LINES_MAX => {
                    wrong.push(LoadError::Missing {
                        tensor: wanted.tensor.clone(),
                        near: None,
                    });
                }
                _ => wrong.extend(self.require_as(wanted).err()),
            }
        }
        if !wrong.is_empty() {
            return Err(LoadError::Tensors(wrong));
        }
        let wanted: BTreeSet<&str> = wanted.iter().map(|w| w.tensor.as_str()).collect();
        Ok(self
            .names()
            .filter(|name| !wanted.contains(name))
            .map(str::to_owned)
            .collect())
    }

    /// Looks for NaN and infinity in a tensor: in every value of a dense weight, in the scales of a packed one.
    ///
    /// # Errors
    /// [`LoadError::NonFinite`] or [`LoadError::NonFiniteScale`]; [`LoadError::Missing`].
    pub fn check_finite(&self, name: &str) -> Result<(), LoadError> {
        let missing = || LoadError::Missing {
            tensor: name.to_owned(),
            near: None,
        };
        let tensor = self.tensor(name).ok_or_else(missing)?;
        let (file, name) = (tensor.file.to_owned(), tensor.name.to_owned());
        let bad_scales = match tensor.form {
            Form::Dense(_) => {
                return match tensor.non_finite() {
                    None => Ok(()),
                    Some((count, first)) => Err(LoadError::NonFinite {
                        file,
                        tensor: name,
                        count,
                        first,
                    }),
                };
            }
            Form::Blocks(_) => return self.check_blocks(&tensor),
            Form::Packed(_) => {
                let bytes = self.aligned(&name).ok_or_else(missing)?;
                let packed = Tensor {
                    bytes: &bytes,
                    ..tensor
                };
                packed.as_packed().and_then(|packed| packed.non_finite())
            }
        };
        match bad_scales {
            None => Ok(()),
            Some((count, row)) => Err(LoadError::NonFiniteScale {
                file,
                tensor: name,
                count,
                row,
            }),
        }
    }

    /// Reads a tensor and compares it with the checksum that its file has for it, if it has one.
    ///
    /// # Errors
    /// [`LoadError::Checksum`].
    pub fn check_sum(&self, name: &str) -> Result<(), LoadError> {
        let Some(place) = self.tensors.get(name) else {
            return Ok(());
        };
        let (file, range) = place.one();
        let (file, Some(expected)) = (&self.files[file], place.checksum) else {
            return Ok(());
        };
        let found = packed::checksum(&file[range]);
        if found == expected {
            return Ok(());
        }
        Err(LoadError::Checksum {
            file: file.name().to_owned(),
            tensor: name.to_owned(),
            expected,
            found,
        })
    }

    /// Whether every tensor has a checksum that loading must look at.
    pub fn has_checksums(&self) -> bool {
        self.tensors.values().any(|place| place.checksum.is_some())
    }

    /// Gives the memory of some bytes of a mapped tensor back to the system, for readers that pass once over a
    /// checkpoint larger than the memory. What is used again is read again.
    pub(crate) fn release(&self, name: &str, bytes: Range<usize>) {
        if let Some(place) = self.tensors.get(name) {
            let (file, range) = place.one();
            let start = range.start + bytes.start.min(range.len());
            let end = range.start + bytes.end.min(range.len());
            self.files[file].release(start..end);
        }
    }

    /// Bytes of all tensors, as stored.
    pub fn weight_bytes(&self) -> u64 {
        self.tensors
            .values()
            .map(|place| place.bytes() as u64)
            .sum()
    }

    /// Looks whether the mapped files are still as they were opened: their length and time of change, and whether all that
    /// was read of them was there. Cheap: a system call a file.
    ///
    /// Called before a step it keeps a program from going on with a file that was truncated or written in place; called
    /// after it, what was computed from such a file from being used. One rewritten within the clock's grain at the same
    /// length is not noticed. A file truncated while it is read ends the process with SIGBUS, unless the program called
    /// [`guard_truncation`]; then it is noticed here. A file removed, or replaced by renaming another over it, does no
    /// harm to the running program, as the old one lives as long as it is mapped. Who cannot trust the other programs on the
    /// machine opens with [`Mapping::Copied`].
    ///
    /// # Errors
    /// [`LoadError::Changed`] for the first file that is different.
    pub fn unchanged(&self) -> Result<(), LoadError> {
        self.files.iter().try_for_each(|file| file.unchanged())
    }
}

/// The name that shares the longest beginning and end with `wanted`, if these are more than half of
/// it.
fn near<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let shared = |name: &str| {
        let same = |(a, b): &(u8, u8)| a == b;
        let front = wanted.bytes().zip(name.bytes()).take_while(same).count();
        let back = wanted
            .bytes()
            .rev()
            .zip(name.bytes().rev())
            .take_while(same)
            .count();
        (front + back).min(wanted.len()).min(name.len())
    };
    let (length, name) = names
        .map(|name| (shared(name), name))
        .max_by_key(|(length, _)| *length)?;
    (length * 2 > wanted.len()).then_some(name)
}

/// A file that another one names, and that is not there.
pub(crate) fn not_found(file: &str) -> LoadError {
    LoadError::Io {
        file: file.to_owned(),
        action: "open",
        source: std::io::ErrorKind::NotFound.into(),
    }
}
