//! Where the output stands: the directory asked for, and whether it may be made or replaced.
//!
//! In: the source's directory, the output's. Out: a working directory under a lock, and at the end its name.
//! It does not know: what is written.

use std::fs;
use std::io;
use std::path::Path;

use lattice_files::{FilesError, Paths, Stage};

use super::{QuantizeError, journal, manifest};

/// An output directory that may be written, and the lock on it.
pub(super) struct Place {
    stage: Stage,
    force: bool,
}

impl Place {
    /// Checks that a copy of the model in `source` may go to `out`, makes the working directory and locks it.
    pub(super) fn take(
        source: Option<&Path>,
        out: &Path,
        force: bool,
    ) -> Result<Self, QuantizeError> {
        let paths = Paths::of(out)?;
        if let Some(source) = source {
            apart(source, paths.out(), out)?;
            apart(source, paths.partial(), out)?;
        }
        may_be_written(paths.out(), force).map_err(|reason| QuantizeError::out(out, reason))?;
        let place = Self {
            stage: paths.take()?,
            force,
        };
        // Another process may have finished while this one waited for nothing but the lock.
        place.check()?;
        Ok(place)
    }

    fn check(&self) -> Result<(), QuantizeError> {
        let out = self.stage.out();
        may_be_written(out, self.force).map_err(|reason| QuantizeError::out(out, reason))
    }

    /// Where the output will be.
    pub(super) fn out(&self) -> &Path {
        self.stage.out()
    }

    /// Where it is written.
    pub(super) fn partial(&self) -> &Path {
        self.stage.partial()
    }

    /// Makes the working directory the output. Everything in it is on the disk.
    pub(super) fn publish(self) -> Result<(), QuantizeError> {
        self.check()?;
        self.stage.publish(&[journal::FILE])?;
        Ok(())
    }

    /// Asks the file system for the room before hours of work fill it up.
    pub(super) fn check_room(&self, needed: u64) -> Result<(), QuantizeError> {
        Ok(self.stage.check_room(needed)?)
    }
}

impl From<FilesError> for QuantizeError {
    fn from(error: FilesError) -> Self {
        match error {
            FilesError::Busy { partial } => Self::Busy { partial },
            FilesError::Refused { path, reason } => Self::Out { out: path, reason },
            FilesError::NoSpace {
                path,
                needed,
                available,
            } => Self::NoSpace {
                path,
                needed,
                available,
            },
            FilesError::Io {
                path,
                action,
                reason,
            } => Self::Io {
                path,
                action,
                needed: 0,
                reason,
            },
        }
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
