//! Where the output stands: the directory asked for, the working directory beside it, and the way from one to the other.
//!
//! Everything is written into `<out>.partial`. When all of it is on the disk, one rename makes it `<out>`; so `<out>`
//! is absent, or the old one, or complete. An old one that is replaced steps aside to `<out>.replaced` first; if the
//! program dies between the two renames, the next run puts it back.
//! It does not know: what is written.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::{QuantizeError, journal, manifest};

/// Held by the process that writes.
const LOCK: &str = "lock";

/// An output directory that may be written, and the lock on it.
pub(super) struct Place {
    pub(super) out: PathBuf,
    pub(super) partial: PathBuf,
    replaced: PathBuf,
    parent: PathBuf,
    force: bool,
    lock: File,
}

impl Place {
    /// Checks that a copy of the model in `source` may go to `out`, makes the working directory and locks it.
    pub(super) fn take(
        source: Option<&Path>,
        out: &Path,
        force: bool,
    ) -> Result<Self, QuantizeError> {
        let refused = |reason: &str| QuantizeError::out(out, reason);
        let name = out
            .file_name()
            .ok_or_else(|| refused("names no directory that could be made"))?;
        let parent = match out.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let parent = parent
            .canonicalize()
            .map_err(QuantizeError::io(parent, "open"))?;
        let beside = |end: &str| {
            let mut name = name.to_owned();
            name.push(end);
            parent.join(name)
        };
        let (partial, replaced) = (beside(".partial"), beside(".replaced"));
        let out_path = parent.join(name);
        if let Some(source) = source {
            apart(source, &out_path, out)?;
            apart(source, &partial, out)?;
        }
        may_be_written(&out_path, force).map_err(|reason| refused(&reason))?;
        match fs::symlink_metadata(&partial) {
            Ok(found) if !found.is_dir() => {
                return Err(QuantizeError::out(&partial, "is no directory"));
            }
            _ => fs::create_dir_all(&partial).map_err(QuantizeError::io(&partial, "create"))?,
        }
        let place = Self {
            lock: lock(&partial)?,
            out: out_path,
            partial,
            replaced,
            parent,
            force,
        };
        place.put_back()?;
        // Another process may have finished while this one waited for nothing but the lock.
        may_be_written(&place.out, force).map_err(|reason| refused(&reason))?;
        Ok(place)
    }

    /// An old output that stepped aside, and for which no new one came.
    fn put_back(&self) -> Result<(), QuantizeError> {
        if exists(&self.replaced) && !exists(&self.out) {
            fs::rename(&self.replaced, &self.out)
                .map_err(QuantizeError::io(&self.replaced, "rename"))?;
        }
        Ok(())
    }

    /// Makes the working directory the output. Everything in it is on the disk.
    pub(super) fn publish(self) -> Result<(), QuantizeError> {
        sync_dir(&self.partial)?;
        may_be_written(&self.out, self.force)
            .map_err(|reason| QuantizeError::out(&self.out, reason))?;
        let aside = exists(&self.out);
        if aside {
            remove(&self.replaced)?;
            fs::rename(&self.out, &self.replaced)
                .map_err(QuantizeError::io(&self.out, "rename"))?;
        }
        // A directory that holds an open file cannot be renamed on Windows.
        let lock = (!cfg!(windows)).then_some(self.lock);
        fs::rename(&self.partial, &self.out).map_err(QuantizeError::io(&self.partial, "rename"))?;
        sync_dir(&self.parent)?;
        // Until here they were what a later run needs to go on; in a finished directory they mean nothing.
        for file in [journal::FILE, LOCK] {
            let path = self.out.join(file);
            fs::remove_file(&path).map_err(QuantizeError::io(&path, "remove"))?;
        }
        sync_dir(&self.out)?;
        drop(lock);
        if aside {
            remove(&self.replaced)?;
        }
        Ok(())
    }

    /// Bytes the file system has left for us, where it tells.
    #[cfg(unix)]
    pub(super) fn available_bytes(&self) -> Option<u64> {
        let found = rustix::fs::statvfs(&self.partial).ok()?;
        found.f_bavail.checked_mul(found.f_frsize)
    }

    /// Bytes the file system has left for us, where it tells.
    #[cfg(not(unix))]
    pub(super) fn available_bytes(&self) -> Option<u64> {
        None
    }
}

/// Refuses an output that is the source, in it or around it.
fn apart(source: &Path, target: &Path, out: &Path) -> Result<(), QuantizeError> {
    let source = source
        .canonicalize()
        .map_err(QuantizeError::io(source, "open"))?;
    // What is not there yet has no links in it.
    let target = target.canonicalize().unwrap_or_else(|_| target.to_owned());
    let reason = if source == target {
        "is the model to be packed; name another directory"
    } else if target.starts_with(&source) {
        "lies inside of the model to be packed"
    } else if source.starts_with(&target) {
        "holds the model to be packed"
    } else {
        return Ok(());
    };
    Err(QuantizeError::out(out, reason))
}

/// Whether nothing stands at `out`, or, with `force`, nothing but a packed model.
fn may_be_written(out: &Path, force: bool) -> Result<(), String> {
    let found = match fs::symlink_metadata(out) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("cannot look at it: {error}")),
        Ok(found) => found,
    };
    if found.is_symlink() {
        return Err("is a link; name the directory itself".to_owned());
    }
    if !found.is_dir() {
        return Err("is a file, the output is a directory".to_owned());
    }
    if !force {
        return Err("exists already; --force replaces it".to_owned());
    }
    let empty = fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_none());
    if empty || out.join(manifest::FILE).is_file() {
        Ok(())
    } else {
        Err(format!(
            "holds no {}, so it is no packed model and is not replaced",
            manifest::FILE
        ))
    }
}

/// The lock on a working directory; it goes with the process, however that ends.
fn lock(partial: &Path) -> Result<File, QuantizeError> {
    let path = partial.join(LOCK);
    let busy = || QuantizeError::Busy {
        partial: partial.display().to_string(),
    };
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    let file = options
        .open(&path)
        .map_err(QuantizeError::io(&path, "open"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(busy()),
        Err(TryLockError::Error(source)) => return Err(QuantizeError::io(&path, "lock")(source)),
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

fn remove(dir: &Path) -> Result<(), QuantizeError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(QuantizeError::io(dir, "remove")(error))
        }
        _ => Ok(()),
    }
}

/// Waits until a directory's entries are on the disk.
fn sync_dir(dir: &Path) -> Result<(), QuantizeError> {
    if cfg!(windows) {
        // Directories cannot be opened there; the file system journals its entries.
        return Ok(());
    }
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(QuantizeError::io(dir, "sync"))
}
