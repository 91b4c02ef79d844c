//! The files of the working tree.
//!
//! In: the root. Out: paths from the root, sorted. Git knows best what belongs to the project; a
//! source archive has no git, so the folders are walked instead.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

/// Folders that hold nothing of the project when there is no git to say so.
const SKIPPED: [&str; 4] = ["target", ".git", "__pycache__", "node_modules"];

/// Every file that is tracked, or new and not ignored.
pub(crate) fn files(root: &Path) -> Result<Vec<String>> {
    let mut files = match listed_by_git(root) {
        Some(files) => files,
        None => walked(root)?,
    };
    files.sort();
    files.dedup();
    Ok(files)
}

/// None without git, and in an archive unpacked inside somebody else's repository.
fn listed_by_git(root: &Path) -> Option<Vec<String>> {
    let arguments = [
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ];
    let output = Command::new("git")
        .args(arguments)
        .current_dir(root)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout)
        .ok()
        .filter(|_| output.status.success())?;
    let listed = text.split('\0').filter(|path| !path.is_empty());
    let files: Vec<String> = listed
        .filter(|path| root.join(path).is_file())
        .map(str::to_owned)
        .collect();
    files
        .iter()
        .any(|path| path == "Cargo.toml")
        .then_some(files)
}

fn walked(root: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let path = root.join(&folder);
        let entries = fs::read_dir(&path).with_context(|| format!("{}", path.display()))?;
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let child = if folder.is_empty() {
                name.clone()
            } else {
                format!("{folder}/{name}")
            };
            let kind = entry.file_type()?;
            if kind.is_file() {
                files.push(child);
            } else if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
                folders.push(child);
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_and_the_walk_find_this_file() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for files in [files(&root).unwrap(), walked(&root).unwrap()] {
            assert!(files.iter().any(|path| path == "xtask/src/tree.rs"));
            assert!(!files.iter().any(|path| path.starts_with("target/")));
        }
    }
}
