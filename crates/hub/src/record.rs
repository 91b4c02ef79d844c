//! `lattice-pull.json`: where a directory came from, and what its files hash to.
//!
//! In: a directory. Out: the record, its names checked like those of a listing; and whether the files are still as it
//! says. It is written last, so where it stands everything else does.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use lattice_files::{PULL_RECORD, check_plain, no_follow};

use crate::hash::{Hash, Hashing, is_hex};
use crate::{HubError, Listing};

/// It names every file of a model: far below this.
const BYTES_MAX: u64 = 16 << 20;
/// What it says it is, and which version of that.
const FORMAT: &str = "lattice-pull";
const VERSION: u32 = 1;

/// What was pulled.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Record {
    format: String,
    version: u32,
    /// `org/name`.
    pub name: String,
    /// The revision asked for.
    pub revision: String,
    /// The commit it led to.
    pub commit: String,
    /// The hub.
    pub endpoint: String,
    /// Seconds since 1970.
    pub pulled_s: u64,
    /// The files, by path.
    pub files: Vec<RecordedFile>,
}

/// A file that was pulled.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RecordedFile {
    /// Its path in the directory.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, in hex.
    pub sha256: String,
}

impl Record {
    pub(crate) fn new(listing: &Listing, endpoint: &str, files: Vec<RecordedFile>) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            name: listing.name.repository().to_owned(),
            revision: listing.name.revision().to_owned(),
            commit: listing.commit.clone(),
            endpoint: endpoint.to_owned(),
            pulled_s: now.map_or(0, |since| since.as_secs()),
            files,
        }
    }

    /// The record of a directory, if it has one.
    ///
    /// # Errors
    /// [`HubError::Io`]; [`HubError::Record`] for one that is no such record.
    pub fn open(dir: &Path) -> Result<Option<Self>, HubError> {
        let path = dir.join(PULL_RECORD);
        let refused = |reason: String| HubError::Record {
            path: path.display().to_string(),
            reason,
        };
        let mut text = String::new();
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(HubError::io(&path, "look at", 0)(error)),
            Ok(found) if !found.is_file() => return Err(refused("is no file".to_owned())),
            Ok(found) if found.len() > BYTES_MAX => return Err(refused("is too long".to_owned())),
            Ok(_) => {}
        }
        File::open(&path)
            .and_then(|file| file.take(BYTES_MAX).read_to_string(&mut text))
            .map_err(HubError::io(&path, "read", 0))?;
        let record: Self =
            serde_json::from_str(&text).map_err(|error| refused(error.to_string()))?;
        if record.format != FORMAT || record.version != VERSION {
            let found = format!("{:?} {}", record.format, record.version);
            return Err(refused(format!(
                "is {found}, known is {FORMAT:?} {VERSION}"
            )));
        }
        for file in &record.files {
            check_plain(&file.file)
                .map_err(|reason| refused(format!("{:?}: {reason}", file.file)))?;
            if !is_hex(&file.sha256, 64) {
                return Err(refused(format!("{:?} has no SHA-256", file.file)));
            }
        }
        Ok(Some(record))
    }

    /// Writes it into a directory that has none, and waits until it is on the disk.
    pub(crate) fn write(&self, dir: &Path) -> Result<(), HubError> {
        let path = dir.join(PULL_RECORD);
        let text = serde_json::to_string_pretty(self).map_err(|error| HubError::Record {
            path: path.display().to_string(),
            reason: error.to_string(),
        })?;
        let failed = |action| HubError::io(&path, action, text.len() as u64);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        let mut file = no_follow(&mut options)
            .open(&path)
            .map_err(failed("create"))?;
        file.write_all(text.as_bytes())
            .and_then(|()| file.write_all(b"\n"))
            .map_err(failed("write"))?;
        file.sync_all().map_err(failed("sync"))
    }

    /// What it says of a file.
    pub fn file(&self, path: &str) -> Option<&RecordedFile> {
        self.files.iter().find(|file| file.file == path)
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files
            .iter()
            .fold(0, |sum, file| sum.saturating_add(file.bytes))
    }
}

impl RecordedFile {
    /// Whether the file in `dir` is there at its length; reads none of it.
    pub fn is_there(&self, dir: &Path) -> bool {
        let found = fs::metadata(dir.join(&self.file));
        found.is_ok_and(|found| found.is_file() && found.len() == self.bytes)
    }

    /// Reads the file in `dir` and compares it with its hash. `between` is told of every step's bytes; an error of its
    /// own ends it.
    ///
    /// # Errors
    /// [`HubError::Content`] for another length, [`HubError::Hash`], [`HubError::Io`].
    pub fn verify(
        &self,
        dir: &Path,
        between: impl FnMut(usize) -> Result<(), HubError>,
    ) -> Result<(), HubError> {
        let path = dir.join(&self.file);
        let found = fs::metadata(&path).map_err(HubError::io(&path, "open", 0))?;
        if !found.is_file() || found.len() != self.bytes {
            return Err(HubError::Content {
                file: self.file.clone(),
                reason: format!("has {} bytes, {} were pulled", found.len(), self.bytes),
                again: false,
            });
        }
        let expected = Hash::Sha256(self.sha256.clone());
        let (_, found) = hash_file(&path, self.bytes, &expected, between)?;
        if found == expected {
            return Ok(());
        }
        Err(HubError::Hash {
            file: self.file.clone(),
            expected: expected.to_string(),
            found: found.to_string(),
        })
    }
}

/// A file's SHA-256 and its hash of the expected kind.
pub(crate) fn hash_file(
    path: &Path,
    bytes: u64,
    expected: &Hash,
    between: impl FnMut(usize) -> Result<(), HubError>,
) -> Result<(String, Hash), HubError> {
    let failed = |action| HubError::io(path, action, 0);
    let mut options = OpenOptions::new();
    let file = no_follow(options.read(true))
        .open(path)
        .map_err(failed("open"))?;
    let mut hashing = Hashing::new(bytes);
    let failed = failed("read");
    hashing.read(file, expected, between, &failed)?;
    Ok(hashing.finish(expected))
}
