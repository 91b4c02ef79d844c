//! The manifest: which generations there are, what they were made by, and how far the way to the next one is.
//!
//! It is the only truth about a store. Files that it does not name are not there, and one rename changes it.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use lattice_files::sync_dir;
use lattice_vectors::Stored;
use serde::{Deserialize, Serialize};

use super::BackfillError;

pub(super) const FILE: &str = "manifest.json";
const FORMAT: &str = "lattice-store";
const VERSION: u32 = 1;
/// Bytes of a manifest: a million shards are less.
const BYTES_MAX: u64 = 256 << 20;
/// Numbers in a row that anybody could mean.
const DIMS_MAX: usize = 1 << 20;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    format: String,
    version: u32,
    pub(super) shards: ShardForm,
    /// The generation that is read.
    pub(super) current: u32,
    /// Where the other one is on its way; absent where there is none.
    pub(super) stage: Option<Stage>,
    /// One or two, by their numbers.
    pub(super) generations: Vec<Generation>,
}

/// The kind of file all shards are, and the ids in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct ShardForm {
    /// The kind of file.
    pub kind: ShardKind,
    /// The type of its ids, which Parquet files fix.
    pub ids: ShardIds,
}

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShardKind {
    /// Parquet: ids and texts beside the vectors.
    Parquet,
    /// JSON lines: any other fields, too.
    Jsonl,
}

/// The type of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShardIds {
    /// None.
    None,
    /// Whole numbers.
    Int,
    /// Texts.
    Text,
}

/// How far the new generation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Shards are missing.
    Filling,
    /// No shard is missing; nobody has looked at them.
    Filled,
    /// Its rows were looked at.
    Verified,
    /// It is the one that is read; the other one is kept.
    CutOver,
}

/// What vectors are made by. Two that are equal make the same bits of the same text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The model's name.
    pub model: String,
    /// Its revision or the hash of its files.
    pub revision: String,
    /// Dimensions of a vector.
    pub dims: usize,
    /// How numbers are kept: `f32`, `i8`, or `binary`, eight dimensions to a byte.
    pub dtype: Dtype,
    /// Whatever else the bits depend on, as pairs of name and value: the prompt, the way it is computed.
    #[serde(default)]
    pub settings: Vec<(String, String)>,
}

/// How the numbers of a generation are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dtype {
    /// Single precision.
    F32,
    /// Signed bytes.
    I8,
    /// The signs, eight to a byte.
    Binary,
}

impl Identity {
    /// Numbers in a row as it is stored.
    pub fn columns(&self) -> usize {
        match self.dtype {
            Dtype::F32 | Dtype::I8 => self.dims,
            Dtype::Binary => self.dims.div_ceil(8),
        }
    }

    pub(super) fn stored(&self) -> Stored {
        match self.dtype {
            Dtype::F32 => Stored::F32,
            Dtype::I8 => Stored::I8,
            Dtype::Binary => Stored::U8,
        }
    }

    /// All of it, as pairs.
    pub(super) fn pairs(&self) -> Vec<(String, String)> {
        let mut pairs = vec![
            ("model".to_owned(), self.model.clone()),
            ("revision".to_owned(), self.revision.clone()),
            ("dims".to_owned(), self.dims.to_string()),
            (
                "dtype".to_owned(),
                format!("{:?}", self.dtype).to_lowercase(),
            ),
        ];
        pairs.extend(self.settings.iter().cloned());
        pairs
    }

    /// What of it differs from another one, there and here; `None` if nothing does.
    pub(super) fn differences(&self, here: &Self) -> Option<String> {
        let (there, here) = (self.pairs(), here.pairs());
        let value = |pairs: &[(String, String)], name: &str| {
            let found = pairs.iter().find(|(there, _)| there == name);
            found.map_or("nothing".to_owned(), |(_, value)| format!("{value:?}"))
        };
        let mut words = Vec::new();
        for (name, _) in there.iter().chain(&here) {
            let (was, is) = (value(&there, name), value(&here, name));
            let line = format!("{name} is {was} there, {is} here");
            if was != is && !words.contains(&line) {
                words.push(line);
            }
        }
        (!words.is_empty()).then(|| words.join("; "))
    }
}

/// The vectors of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Generation {
    pub(super) number: u32,
    pub(super) made_by: Identity,
    /// By their index; those that are missing are not written yet. Shard n of every generation has the same rows.
    pub(super) shards: Vec<Option<Shard>>,
}

/// A file of rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shard {
    pub(super) rows: u64,
    pub(super) bytes: u64,
    /// XXH3-64 of the file, in hex.
    pub(super) xxh3: String,
}

impl Generation {
    pub(super) fn new(number: u32, made_by: Identity, shards: usize) -> Self {
        Self {
            number,
            made_by,
            shards: vec![None; shards],
        }
    }

    /// Rows of the shards that are there.
    pub(super) fn rows(&self) -> u64 {
        let there = self.shards.iter().flatten();
        there.map(|shard| shard.rows).sum()
    }

    pub(super) fn shards_there(&self) -> usize {
        self.shards.iter().flatten().count()
    }
}

impl Manifest {
    pub(super) fn new(shards: ShardForm, made_by: Identity) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            shards,
            current: 1,
            stage: None,
            generations: vec![Generation::new(1, made_by, 0)],
        }
    }

    pub(super) fn read(dir: &Path) -> Result<Self, BackfillError> {
        let path = dir.join(FILE);
        let found = fs::metadata(&path).map_err(BackfillError::io(&path, "open"))?;
        if found.len() > BYTES_MAX {
            let bytes = found.len();
            return Err(BackfillError::broken(
                &path,
                format!("{bytes} bytes are no manifest"),
            ));
        }
        let text = fs::read(&path).map_err(BackfillError::io(&path, "read"))?;
        let manifest: Self = serde_json::from_slice(&text)
            .map_err(|error| BackfillError::broken(&path, error.to_string()))?;
        manifest.check(&path)?;
        Ok(manifest)
    }

    /// Refuses what no manifest of ours says.
    pub(super) fn check(&self, path: &Path) -> Result<(), BackfillError> {
        match self.wrong() {
            Some(reason) => Err(BackfillError::broken(path, reason)),
            None => Ok(()),
        }
    }

    fn wrong(&self) -> Option<String> {
        if self.format != FORMAT || self.version != VERSION {
            let (format, version) = (&self.format, self.version);
            return Some(format!(
                "is {format:?} {version}; {FORMAT:?} {VERSION} is known"
            ));
        }
        let numbers: Vec<u32> = self.generations.iter().map(|one| one.number).collect();
        let fits = match numbers[..] {
            [_] => self.stage.is_none(),
            [one, two] => self.stage.is_some() && one != two,
            _ => false,
        };
        if !fits || !numbers.contains(&self.current) {
            return Some(format!(
                "generations {numbers:?}, {} of them current, at stage {:?}",
                self.current, self.stage
            ));
        }
        let shards = self.generations[0].shards.len();
        for generation in &self.generations {
            let number = generation.number;
            if !(1..=DIMS_MAX).contains(&generation.made_by.dims) {
                return Some(format!(
                    "generation {number} has {} dims",
                    generation.made_by.dims
                ));
            }
            if generation.shards.len() != shards {
                return Some(format!("generation {number} has another number of shards"));
            }
            let may_lack = self.stage == Some(Stage::Filling) && number != self.current;
            if !may_lack && generation.shards_there() != shards {
                return Some(format!("generation {number} lacks shards at this stage"));
            }
        }
        None
    }

    /// Makes this the truth: absent, old or whole at any moment.
    pub(super) fn write(&self, dir: &Path) -> Result<(), BackfillError> {
        let (path, new) = (dir.join(FILE), dir.join("manifest.json.new"));
        let mut text = serde_json::to_vec_pretty(self)
            .map_err(|error| BackfillError::broken(&path, error.to_string()))?;
        text.push(b'\n');
        let mut file = File::create(&new).map_err(BackfillError::io(&new, "create"))?;
        file.write_all(&text)
            .and_then(|()| file.sync_all())
            .map_err(BackfillError::io(&new, "write"))?;
        drop(file);
        fs::rename(&new, &path).map_err(BackfillError::io(&new, "rename"))?;
        Ok(sync_dir(dir)?)
    }

    pub(super) fn current(&self) -> &Generation {
        let mut all = self.generations.iter();
        all.find(|one| one.number == self.current)
            .unwrap_or(&self.generations[0])
    }

    /// The generation that is not the current one.
    pub(super) fn other(&self) -> Option<&Generation> {
        let mut all = self.generations.iter();
        all.find(|one| one.number != self.current)
    }

    pub(super) fn other_mut(&mut self) -> Option<&mut Generation> {
        let current = self.current;
        let mut all = self.generations.iter_mut();
        all.find(|one| one.number != current)
    }

    /// Where a shard lies, whether it is there or not.
    pub(super) fn shard_path(&self, dir: &Path, generation: u32, index: usize) -> PathBuf {
        let ending = match self.shards.kind {
            ShardKind::Parquet => "parquet",
            ShardKind::Jsonl => "jsonl",
        };
        dir.join(folder_name(generation))
            .join(format!("{index:06}.{ending}"))
    }
}

pub(super) fn folder_name(generation: u32) -> String {
    format!("g{generation:04}")
}
