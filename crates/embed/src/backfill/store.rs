//! A store: its directory, its lock, and what its manifest says.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use lattice_files::no_follow;

use super::manifest::{FILE, Generation, Manifest, folder_name};
use super::{BackfillError, Identity, ShardForm, Stage};

const LOCK: &str = "lock";

/// A directory of texts and vectors.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
}

/// Where a store is.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// The kind of its files.
    pub shards: ShardForm,
    /// The generation that is read.
    pub current: GenerationStatus,
    /// The new one that is being made, or after the cut-over the old one.
    pub other: Option<GenerationStatus>,
    /// How far the new one is; `None` where there is one generation.
    pub stage: Option<Stage>,
    /// Folders of generations that the manifest does not name: a step was broken off. The next one removes them.
    pub leftovers: Vec<String>,
}

/// What there is of a generation.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerationStatus {
    /// Its number.
    pub number: u32,
    /// What its vectors are made by.
    pub made_by: Identity,
    /// Rows that are written.
    pub rows: u64,
    /// Shards that are written.
    pub shards_there: usize,
    /// Shards there will be.
    pub shards: usize,
    /// Its folder.
    pub folder: PathBuf,
}

impl Store {
    /// Makes an empty store.
    ///
    /// # Errors
    /// A store that is there already; dimensions that no vector has; what the system says.
    pub fn create(
        dir: &Path,
        shards: ShardForm,
        made_by: &Identity,
    ) -> Result<Self, BackfillError> {
        fs::create_dir_all(dir).map_err(BackfillError::io(dir, "create"))?;
        let store = Self {
            dir: dir.to_owned(),
        };
        let _lock = store.lock()?;
        if dir.join(FILE).exists() {
            return Err(store.step("create it", "there is one"));
        }
        let manifest = Manifest::new(shards, made_by.clone());
        manifest.check(&dir.join(FILE))?;
        manifest.write(dir)?;
        Ok(store)
    }

    /// Opens a store.
    ///
    /// # Errors
    /// A manifest that is absent or not one.
    pub fn open(dir: &Path) -> Result<Self, BackfillError> {
        Manifest::read(dir)?;
        Ok(Self {
            dir: dir.to_owned(),
        })
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the manifest says.
    ///
    /// # Errors
    /// A manifest that is absent or not one; what the system says.
    pub fn status(&self) -> Result<Status, BackfillError> {
        let manifest = self.manifest()?;
        let status = |generation: &Generation| GenerationStatus {
            number: generation.number,
            made_by: generation.made_by.clone(),
            rows: generation.rows(),
            shards_there: generation.shards_there(),
            shards: generation.shards.len(),
            folder: self.dir.join(folder_name(generation.number)),
        };
        Ok(Status {
            shards: manifest.shards,
            current: status(manifest.current()),
            other: manifest.other().map(status),
            stage: manifest.stage,
            leftovers: self.leftovers(&manifest)?,
        })
    }

    /// The files of the generation that is read, in the order of their rows.
    ///
    /// # Errors
    /// A manifest that is absent or not one.
    pub fn shard_files(&self) -> Result<Vec<PathBuf>, BackfillError> {
        let manifest = self.manifest()?;
        let shards = 0..manifest.current().shards.len();
        let path = |index| manifest.shard_path(&self.dir, manifest.current, index);
        Ok(shards.map(path).collect())
    }

    pub(super) fn manifest(&self) -> Result<Manifest, BackfillError> {
        Manifest::read(&self.dir)
    }

    /// Reads the manifest, changes it, and makes the change the truth, while nobody else does.
    pub(super) fn change<T>(
        &self,
        change: impl FnOnce(&mut Manifest) -> Result<T, BackfillError>,
    ) -> Result<T, BackfillError> {
        let _lock = self.lock()?;
        let before = self.manifest()?;
        let mut manifest = before.clone();
        let value = change(&mut manifest)?;
        if manifest != before {
            manifest.check(&self.dir.join(FILE))?;
            manifest.write(&self.dir)?;
        }
        Ok(value)
    }

    /// Waits for the lock on the manifest; it goes with the file, however the process ends.
    fn lock(&self) -> Result<File, BackfillError> {
        let path = self.dir.join(LOCK);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        let file = no_follow(&mut options)
            .open(&path)
            .map_err(BackfillError::io(&path, "open"))?;
        file.lock().map_err(BackfillError::io(&path, "lock"))?;
        Ok(file)
    }

    /// Folders of generations that the manifest does not name.
    fn leftovers(&self, manifest: &Manifest) -> Result<Vec<String>, BackfillError> {
        let known = |name: &String| {
            let named = |generation: &Generation| folder_name(generation.number) == *name;
            manifest.generations.iter().any(named)
        };
        let is_ours = |name: &String| {
            let digits = name.strip_prefix('g').unwrap_or_default();
            digits.len() >= 4 && digits.bytes().all(|byte| byte.is_ascii_digit())
        };
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(BackfillError::io(&self.dir, "list"))? {
            let entry = entry.map_err(BackfillError::io(&self.dir, "list"))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if is_ours(&name) && !known(&name) {
                found.push(name);
            }
        }
        found.sort();
        Ok(found)
    }

    /// Removes what a step that was broken off left. Called with the lock held.
    pub(super) fn sweep(&self, manifest: &Manifest) -> Result<(), BackfillError> {
        for name in self.leftovers(manifest)? {
            let folder = self.dir.join(name);
            fs::remove_dir_all(&folder).map_err(BackfillError::io(&folder, "remove"))?;
        }
        Ok(())
    }

    pub(super) fn step(&self, step: &'static str, reason: impl Into<String>) -> BackfillError {
        BackfillError::Step {
            store: self.dir.display().to_string(),
            step,
            reason: reason.into(),
        }
    }

    /// That a model is the one a generation is made by.
    pub(super) fn check_identity(
        &self,
        generation: &Generation,
        here: &Identity,
    ) -> Result<(), BackfillError> {
        match generation.made_by.differences(here) {
            None => Ok(()),
            Some(differs) => Err(BackfillError::Identity {
                store: self.dir.display().to_string(),
                generation: generation.number,
                differs,
            }),
        }
    }
}
