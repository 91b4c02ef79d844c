//! A file that is being fetched: what came so far, on the disk and in the hash.
//!
//! It is called by the hash that its content must have and by its path, so it can be gone on with under any later commit,
//! and never be mistaken for another one. Beside it lies the tag of the answer it came from. Links in its place are not followed.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use lattice_files::no_follow;

use crate::hash::Hashing;
use crate::{HubError, RemoteFile};

/// A tag longer than this is not kept.
const TAG_BYTES_MAX: u64 = 512;

/// An unfinished file.
pub(crate) struct Part<'a> {
    target: &'a RemoteFile,
    path: PathBuf,
    tag_path: PathBuf,
    file: File,
    have: u64,
    hashing: Hashing,
    tag: Option<String>,
}

impl<'a> Part<'a> {
    /// Opens the unfinished file in `dir`, with what an earlier run left. `between` is asked while that is hashed.
    pub(crate) fn open(
        dir: &Path,
        target: &'a RemoteFile,
        mut between: impl FnMut() -> Result<(), HubError>,
    ) -> Result<Self, HubError> {
        let path = dir.join(target.hash.part_name(&target.path));
        let tag_path = path.with_extension("tag");
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        let file = no_follow(&mut options).open(&path).map_err(HubError::io(
            &path,
            "open",
            target.bytes,
        ))?;
        let mut part = Self {
            target,
            path,
            tag: None,
            tag_path,
            file,
            have: 0,
            hashing: Hashing::new(target.bytes),
        };
        let found = part.file.metadata().map_err(part.failed("look at"))?;
        if !found.is_file() || found.len() > target.bytes {
            part.restart()?;
            return Ok(part);
        }
        part.tag = part.read_tag();
        let mut read = 0;
        let failed = HubError::io(&part.path, "read", target.bytes);
        let (file, hashing) = (&part.file, &mut part.hashing);
        let between = |bytes| {
            read += bytes as u64;
            between()
        };
        hashing.read(file, &target.hash, between, &failed)?;
        part.have = read;
        Ok(part)
    }

    /// Bytes that are there.
    pub(crate) fn have(&self) -> u64 {
        self.have
    }

    /// The tag of the answer they came from.
    pub(crate) fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Keeps the tag of an answer, if it is a strong one: a promise about every byte.
    pub(crate) fn keep_tag(&mut self, tag: Option<&str>) -> Result<(), HubError> {
        let strong = tag.filter(|tag| {
            tag.starts_with('"') && tag.ends_with('"') && (tag.len() as u64) < TAG_BYTES_MAX
        });
        if strong == self.tag.as_deref() {
            return Ok(());
        }
        self.tag = strong.map(str::to_owned);
        self.write_tag()
    }

    fn read_tag(&self) -> Option<String> {
        let mut options = OpenOptions::new();
        let file = no_follow(options.read(true)).open(&self.tag_path).ok()?;
        let mut text = String::new();
        file.take(TAG_BYTES_MAX).read_to_string(&mut text).ok()?;
        let graphic = text.bytes().all(|byte| byte.is_ascii_graphic());
        (text.len() > 1 && graphic && text.ends_with('"')).then_some(text)
    }

    fn write_tag(&self) -> Result<(), HubError> {
        let failed = || HubError::io(&self.tag_path, "write", 0);
        let Some(tag) = &self.tag else {
            return match fs::remove_file(&self.tag_path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed()(error)),
                _ => Ok(()),
            };
        };
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        no_follow(&mut options)
            .open(&self.tag_path)
            .and_then(|mut file| file.write_all(tag.as_bytes()))
            .map_err(failed())
    }

    /// Takes in what came. The caller has seen to it that it is not too much.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), HubError> {
        self.file.write_all(bytes).map_err(self.failed("write"))?;
        self.hashing.update(bytes, &self.target.hash);
        self.have += bytes.len() as u64;
        Ok(())
    }

    /// Throws away what is there.
    pub(crate) fn restart(&mut self) -> Result<(), HubError> {
        self.file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .map_err(self.failed("cut"))?;
        self.have = 0;
        self.hashing = Hashing::new(self.target.bytes);
        self.keep_tag(None)
    }

    /// Whether the whole content hashes to what it must; an error says to what it does.
    pub(crate) fn check(&self) -> Result<(), HubError> {
        let (_, found) = self.hashing.clone().finish(&self.target.hash);
        if found == self.target.hash {
            return Ok(());
        }
        Err(HubError::Hash {
            file: self.target.path.clone(),
            expected: self.target.hash.to_string(),
            found: found.to_string(),
        })
    }

    /// Gives the checked content its name, once it is on the disk. Out: its SHA-256.
    pub(crate) fn finish(self, to: &Path) -> Result<String, HubError> {
        self.file.sync_all().map_err(self.failed("sync"))?;
        fs::rename(&self.path, to).map_err(HubError::io(&self.path, "rename", 0))?;
        // Without its file the tag means nothing, and goes with the folder in the end.
        let _ = fs::remove_file(&self.tag_path);
        Ok(self.hashing.finish(&self.target.hash).0)
    }

    fn failed(&self, action: &'static str) -> impl Fn(std::io::Error) -> HubError + use<> {
        HubError::io(&self.path, action, self.target.bytes)
    }
}
