//! A folder of one test.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fs, io, process};

/// A fresh empty folder in the system's temporary one, removed when dropped.
#[derive(Debug)]
pub struct ScratchDir(PathBuf);

impl ScratchDir {
    /// Makes the folder; no two calls get the same one, in this process or another.
    pub fn new() -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("lattice-test-{}-{count}", process::id());
        let path = std::env::temp_dir().join(name);
        // A process that had our id and died may have left its folder.
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        // A leftover in the temporary folder must not fail the test that made it.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_differ_and_go_with_their_owner() {
        let (one, two) = (
            ScratchDir::new().expect("made"),
            ScratchDir::new().expect("made"),
        );
        assert_ne!(one.path(), two.path());
        fs::write(one.path().join("file"), "x").expect("written");
        let path = one.path().to_owned();
        drop(one);
        assert!(!path.exists() && two.path().is_dir());
    }
}
