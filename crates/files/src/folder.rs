//! Folders and files that are made where others may have planted links.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use crate::{FilesError, check_relative};

/// Makes the folders of `relative` below `root`, and gives the path of the last one. No link is followed on the way.
///
/// # Errors
/// A name that is no plain one, a link or a file where a folder should be, what the system says.
pub fn make_folders(root: &Path, relative: &str) -> Result<PathBuf, FilesError> {
    check_relative(relative).map_err(|reason| FilesError::refused(&root.join(relative), reason))?;
    let mut path = root.to_owned();
    for part in relative.split('/') {
        path.push(part);
        match fs::create_dir(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            made => made.map_err(FilesError::io(&path, "create"))?,
        }
        let found = fs::symlink_metadata(&path).map_err(FilesError::io(&path, "look at"))?;
        if !found.is_dir() {
            let kind = if found.is_symlink() {
                "a link"
            } else {
                "a file"
            };
            return Err(FilesError::refused(
                &path,
                format!("is {kind} where a folder should be"),
            ));
        }
    }
    Ok(path)
}

/// Makes opening fail where the path's last part is a link.
pub fn no_follow(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        let flags = rustix::fs::OFlags::NOFOLLOW.bits();
        options.custom_flags(flags.cast_signed());
    }
    #[cfg(windows)]
    {
        use std::os::windows::fs::OpenOptionsExt as _;
        // FILE_FLAG_OPEN_REPARSE_POINT: the link itself is opened, and cannot be written.
        options.custom_flags(0x0020_0000);
    }
    options
}

/// Waits until a directory's entries are on the disk.
///
/// # Errors
/// [`FilesError::Io`].
pub fn sync_dir(dir: &Path) -> Result<(), FilesError> {
    if cfg!(windows) {
        // Directories cannot be opened there; the file system journals its entries.
        return Ok(());
    }
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(FilesError::io(dir, "sync"))
}

/// Bytes the file system of `dir` has left for us, where it tells.
pub fn available_bytes(dir: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let found = rustix::fs::statvfs(dir).ok()?;
        found.f_bavail.checked_mul(found.f_frsize)
    }
    #[cfg(not(unix))]
    {
        let _ = dir;
        None
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use lattice_testkit::ScratchDir;

    use super::*;

    #[test]
    fn planted_links_are_not_followed() {
        let dir = ScratchDir::new().unwrap();
        let (root, away) = (dir.path().join("root"), dir.path().join("away"));
        fs::create_dir_all(root.join("org")).unwrap();
        fs::create_dir(&away).unwrap();
        symlink(&away, root.join("org/name")).unwrap();
        let words = make_folders(&root, "org/name/x").unwrap_err().to_string();
        assert!(words.contains("is a link where a folder"), "{words}");
        assert!(make_folders(&root, "../away/x").is_err());
        assert!(fs::read_dir(&away).unwrap().next().is_none());
        assert!(make_folders(&root, "org/other/x").unwrap().is_dir());
        fs::write(away.join("file"), "kept").unwrap();
        symlink(away.join("file"), root.join("file")).unwrap();
        let mut options = OpenOptions::new();
        options.append(true);
        assert!(no_follow(&mut options).open(root.join("file")).is_err());
        assert!(no_follow(&mut options).open(away.join("file")).is_ok());
    }
}
