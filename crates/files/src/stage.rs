//! A directory that is complete or absent: the directory asked for, the working directory beside it, and the way from one
//! to the other.
//!
//! Everything is written into `<out>.partial`. When all of it is on the disk, one rename makes it `<out>`; so `<out>`
//! is absent, or the old one, or complete. An old one that is replaced steps aside to `<out>.replaced` first; if the
//! program dies between the two renames, the next run puts it back.
//! It does not know: what is written, or whether an old one may be replaced.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::{FilesError, folder};

/// Held by the process that writes.
const LOCK: &str = "lock";
/// Ends of the names beside the output.
const PARTIAL: &str = ".partial";
const REPLACED: &str = ".replaced";
const REMOVED: &str = ".removed";

/// Whether a directory of that name is work that is not finished, or an old output that stepped aside or is being removed.
pub fn is_unfinished(name: &str) -> bool {
    let ends = [PARTIAL, REPLACED, REMOVED];
    ends.iter().any(|end| name.ends_with(end))
}

/// The three names of an output.
#[derive(Debug, Clone)]
pub struct Paths {
    out: PathBuf,
    partial: PathBuf,
    replaced: PathBuf,
    parent: PathBuf,
}

impl Paths {
    /// The names for `out`. Makes nothing.
    ///
    /// # Errors
    /// A path without a name, a parent that is not there.
    pub fn of(out: &Path) -> Result<Self, FilesError> {
        let name = out
            .file_name()
            .ok_or_else(|| FilesError::refused(out, "names no directory that could be made"))?;
        let parent = match out.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let parent = parent
            .canonicalize()
            .map_err(FilesError::io(parent, "open"))?;
        let beside = |end: &str| {
            let mut name = name.to_owned();
            name.push(end);
            parent.join(name)
        };
        Ok(Self {
            out: parent.join(name),
            partial: beside(PARTIAL),
            replaced: beside(REPLACED),
            parent,
        })
    }

    /// Where the output will be, without links but for its own name.
    pub fn out(&self) -> &Path {
        &self.out
    }

    /// Where it is written.
    pub fn partial(&self) -> &Path {
        &self.partial
    }

    /// Makes the working directory and locks it. What an earlier run left in it is there.
    ///
    /// # Errors
    /// [`FilesError::Busy`] where another process holds it; something else in its place; what the system says.
    pub fn take(self) -> Result<Stage, FilesError> {
        match fs::symlink_metadata(&self.partial) {
            Ok(found) if !found.is_dir() => {
                return Err(FilesError::refused(&self.partial, "is no directory"));
            }
            _ => fs::create_dir_all(&self.partial)
                .map_err(FilesError::io(&self.partial, "create"))?,
        }
        let stage = Stage {
            lock: lock(&self.partial)?,
            paths: self,
        };
        stage.put_back()?;
        Ok(stage)
    }
}

/// A working directory, and the lock on it, which goes with the process, however that ends.
#[derive(Debug)]
pub struct Stage {
    paths: Paths,
    lock: File,
}

impl Stage {
    /// Where the output will be.
    pub fn out(&self) -> &Path {
        &self.paths.out
    }

    /// Where it is written.
    pub fn partial(&self) -> &Path {
        &self.paths.partial
    }

    /// Bytes the file system has left for us, where it tells.
    pub fn available_bytes(&self) -> Option<u64> {
        folder::available_bytes(&self.paths.partial)
    }

    /// Asks for the room that `needed` more bytes take, before hours of work fill it up. Where the file system does not tell,
    /// the write that fails will.
    ///
    /// # Errors
    /// [`FilesError::NoSpace`].
    pub fn check_room(&self, needed: u64) -> Result<(), FilesError> {
        match self.available_bytes() {
            Some(available) if available < needed => Err(FilesError::NoSpace {
                path: self.partial().display().to_string(),
                needed,
                available,
            }),
            _ => Ok(()),
        }
    }

    /// An old output that stepped aside, and for which no new one came.
    fn put_back(&self) -> Result<(), FilesError> {
        let (replaced, out) = (&self.paths.replaced, &self.paths.out);
        if exists(replaced) && !exists(out) {
            fs::rename(replaced, out).map_err(FilesError::io(replaced, "rename"))?;
        }
        Ok(())
    }

    /// Makes the working directory the output, in place of an old one. Every file in it is on the disk. `leftovers` are
    /// what only a later run would have needed to go on; in a finished directory they mean nothing, and are removed after
    /// the rename: a kill in between leaves them, where the other order would throw finished work away.
    ///
    /// # Errors
    /// What the system says; the old output is then in its place or one run away from it.
    pub fn publish(self, leftovers: &[&str]) -> Result<PathBuf, FilesError> {
        let Paths {
            out,
            partial,
            replaced,
            parent,
        } = self.paths;
        folder::sync_dir(&partial)?;
        let aside = exists(&out);
        if aside {
            remove(&replaced)?;
            fs::rename(&out, &replaced).map_err(FilesError::io(&out, "rename"))?;
        }
        // A directory that holds an open file cannot be renamed on Windows.
        let lock = (!cfg!(windows)).then_some(self.lock);
        fs::rename(&partial, &out).map_err(FilesError::io(&partial, "rename"))?;
        folder::sync_dir(&parent)?;
        for file in leftovers.iter().chain(&[LOCK]) {
            let path = out.join(file);
            fs::remove_file(&path).map_err(FilesError::io(&path, "remove"))?;
        }
        folder::sync_dir(&out)?;
        drop(lock);
        if aside {
            remove(&replaced)?;
        }
        Ok(out)
    }

    /// Makes one file of the working directory the output, in place of an old one, and removes the rest. The file is on the
    /// disk.
    ///
    /// # Errors
    /// What the system says; a directory in the output's place.
    pub fn publish_file(self, file: &str) -> Result<PathBuf, FilesError> {
        let Paths {
            out,
            partial,
            parent,
            ..
        } = self.paths;
        let whole = partial.join(file);
        fs::rename(&whole, &out).map_err(FilesError::io(&whole, "rename"))?;
        folder::sync_dir(&parent)?;
        let lock = (!cfg!(windows)).then_some(self.lock);
        remove(&partial)?;
        drop(lock);
        Ok(out)
    }

    /// Removes the output and the working directory. The output loses its name before its first file, so no part of it is
    /// ever taken for the whole.
    ///
    /// # Errors
    /// What the system says.
    pub fn remove_out(self) -> Result<(), FilesError> {
        let Paths {
            out,
            partial,
            parent,
            ..
        } = &self.paths;
        let mut name = out.file_name().unwrap_or_default().to_owned();
        name.push(REMOVED);
        let removed = parent.join(name);
        remove(&removed)?;
        if exists(out) {
            fs::rename(out, &removed).map_err(FilesError::io(out, "rename"))?;
            folder::sync_dir(parent)?;
            remove(&removed)?;
        }
        remove(partial)
    }

    /// Throws the working directory away.
    ///
    /// # Errors
    /// What the system says.
    pub fn discard(self) -> Result<(), FilesError> {
        remove(&self.paths.partial)
    }
}

/// Locks a directory for this process: a file in it, held until what is given back is dropped, however that ends.
///
/// # Errors
/// [`FilesError::Busy`] where another process holds it; what the system says.
pub fn lock(partial: &Path) -> Result<File, FilesError> {
    let path = partial.join(LOCK);
    let busy = || FilesError::Busy {
        partial: partial.display().to_string(),
    };
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    let file = folder::no_follow(&mut options)
        .open(&path)
        .map_err(FilesError::io(&path, "open"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(busy()),
        Err(TryLockError::Error(reason)) => return Err(FilesError::io(&path, "lock")(reason)),
    }
    // A process that finished between our opening and our locking took this file away with it.
    if is_at(&file, &path) {
        Ok(file)
    } else {
        Err(busy())
    }
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let (Ok(held), Ok(found)) = (file.metadata(), fs::metadata(path)) else {
        return false;
    };
    (held.dev(), held.ino()) == (found.dev(), found.ino())
}

#[cfg(not(unix))]
fn is_at(_file: &File, path: &Path) -> bool {
    path.is_file()
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn remove(dir: &Path) -> Result<(), FilesError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FilesError::io(dir, "remove")(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use lattice_testkit::ScratchDir;

    use super::*;

    fn take(out: &Path) -> Result<Stage, FilesError> {
        Paths::of(out)?.take()
    }

    #[test]
    fn absent_old_or_complete() {
        let dir = ScratchDir::new().unwrap();
        let out = dir.path().join("out");
        let stage = take(&out).unwrap();
        fs::write(stage.partial().join("file"), "one").unwrap();
        assert!(!out.exists() && is_unfinished("out.partial") && !is_unfinished("out"));
        assert!(matches!(take(&out), Err(FilesError::Busy { .. })));
        drop(stage);
        // What the first run left is there; the second one finishes it.
        let stage = take(&out).unwrap();
        assert!(stage.partial().join("file").is_file());
        fs::write(stage.partial().join("notes"), "x").unwrap();
        stage.publish(&["notes"]).unwrap();
        let names: Vec<_> = fs::read_dir(&out)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(names, ["file"]);
        let stage = take(&out).unwrap();
        fs::write(stage.partial().join("file"), "two").unwrap();
        assert_eq!(fs::read_to_string(out.join("file")).unwrap(), "one");
        stage.publish(&[]).unwrap();
        assert_eq!(fs::read_to_string(out.join("file")).unwrap(), "two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn one_file_is_absent_old_or_complete() {
        let dir = ScratchDir::new().unwrap();
        let out = dir.path().join("out.npy");
        for words in ["one", "two"] {
            let stage = take(&out).unwrap();
            fs::write(stage.partial().join("notes"), "x").unwrap();
            fs::write(stage.partial().join("data"), words).unwrap();
            assert_eq!(
                stage.publish_file("data").unwrap(),
                out.canonicalize().unwrap()
            );
            assert_eq!(fs::read_to_string(&out).unwrap(), words);
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn an_old_one_whose_replacer_died_comes_back() {
        let dir = ScratchDir::new().unwrap();
        let out = dir.path().join("out");
        fs::create_dir(dir.path().join("out.replaced")).unwrap();
        fs::write(dir.path().join("out.replaced/file"), "old").unwrap();
        let stage = take(&out).unwrap();
        assert_eq!(fs::read_to_string(out.join("file")).unwrap(), "old");
        stage.discard().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_removed_leaves_nothing() {
        let dir = ScratchDir::new().unwrap();
        let out = dir.path().join("out");
        for left in ["out", "out.removed", "out.partial"] {
            fs::create_dir(dir.path().join(left)).unwrap();
            fs::write(dir.path().join(left).join("file"), "x").unwrap();
        }
        take(&out).unwrap().remove_out().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        take(&out).unwrap().remove_out().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_stands_in_the_way_is_named() {
        let dir = ScratchDir::new().unwrap();
        fs::write(dir.path().join("out.partial"), "x").unwrap();
        let words = take(&dir.path().join("out")).unwrap_err().to_string();
        assert!(words.contains("out.partial: is no directory"), "{words}");
        let words = take(&dir.path().join("none/out")).unwrap_err().to_string();
        assert!(words.contains("cannot open"), "{words}");
        assert!(take(Path::new("/")).is_err());
    }
}
