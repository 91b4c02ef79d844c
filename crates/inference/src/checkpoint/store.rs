//! Models on disk, by name.
//!
//! In: the directory that holds them, and a name or a path. Out: [`ModelFiles`].
//! It does not know: where the directory is by default, downloads, what stands in a model.

use std::fs::DirEntry;
use std::path::{Path, PathBuf};

use super::files::check_relative;
use super::{LoadError, ModelFiles};

/// Names that Windows keeps for devices, whatever follows the first dot.
const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];

/// A directory of models: `name/config.json` and `org/name/config.json`.
#[derive(Debug, Clone)]
pub struct ModelStore {
    /// The directory; it need not exist.
    pub root: PathBuf,
}

/// A model of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// `name` or `org/name`: what [`ModelStore::resolve`] takes.
    pub name: String,
    /// Its directory.
    pub path: PathBuf,
    /// Bytes of the files in it.
    pub bytes: u64,
}

impl ModelStore {
    /// The models there are, by name. A root that does not exist holds none.
    ///
    /// # Errors
    /// [`LoadError::Io`] if the root cannot be read. A model's folder that cannot be read is no
    /// model.
    pub fn list(&self) -> Result<Vec<Installed>, LoadError> {
        let real = match self.root.canonicalize() {
            Ok(real) => real,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(self.io(source)),
        };
        let mut found = Vec::new();
        for (name, path) in folders(&self.root).map_err(|source| self.io(source))? {
            if let Some(model) = installed(&real, &name, &path) {
                found.push(model);
                continue;
            }
            for (inner, path) in folders(&path).unwrap_or_default() {
                found.extend(installed(&real, &format!("{name}/{inner}"), &path));
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// The model at a path, if a directory stands there, or else the model of that name in the
    /// store.
    ///
    /// # Errors
    /// [`LoadError::NotADirectory`] for a path to something else, [`LoadError::Name`] for what is
    /// neither a directory nor could be a model's name, [`LoadError::UnknownModel`] for a name that
    /// is not there; it lists what is.
    pub fn resolve(&self, name_or_path: &str) -> Result<ModelFiles, LoadError> {
        let path = Path::new(name_or_path);
        if path.is_dir() {
            return ModelFiles::open(path);
        }
        let name = check_name(name_or_path);
        if name.is_ok()
            && let Some(model) = self.find(name_or_path)
        {
            return ModelFiles::open(&model.path);
        }
        if path.exists() {
            return ModelFiles::open(path);
        }
        name.map_err(|reason| LoadError::Name {
            name: name_or_path.to_owned(),
            reason,
        })?;
        let installed = self.list()?.into_iter().map(|model| model.name).collect();
        let (name, root) = (name_or_path.to_owned(), self.root.clone());
        Err(LoadError::UnknownModel {
            name,
            installed,
            root,
        })
    }

    fn find(&self, name: &str) -> Option<Installed> {
        installed(&self.root.canonicalize().ok()?, name, &self.root.join(name))
    }

    fn io(&self, source: std::io::Error) -> LoadError {
        LoadError::Io {
            file: self.root.display().to_string(),
            action: "list",
            source,
        }
    }
}

/// The model in `path`, if there is one, its name is one, and no link leads it out of `root`, a
/// path without links.
fn installed(root: &Path, name: &str, path: &Path) -> Option<Installed> {
    check_name(name).ok()?;
    let real = path.canonicalize().ok()?;
    if !real.starts_with(root) || !path.join("config.json").is_file() {
        return None;
    }
    let bytes = std::fs::read_dir(path)
        .ok()?
        .flatten()
        .map(|entry| file_bytes(&entry))
        .sum();
    Some(Installed {
        name: name.to_owned(),
        path: path.to_owned(),
        bytes,
    })
}

/// Length of the file an entry leads to, and 0 for what is no file.
fn file_bytes(entry: &DirEntry) -> u64 {
    let metadata = std::fs::metadata(entry.path()).ok();
    metadata
        .filter(std::fs::Metadata::is_file)
        .map_or(0, |metadata| metadata.len())
}

/// The folders in `path` whose names are text.
fn folders(path: &Path) -> std::io::Result<Vec<(String, PathBuf)>> {
    let entries = std::fs::read_dir(path)?.collect::<std::io::Result<Vec<_>>>()?;
    let named = entries
        .into_iter()
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())));
    Ok(named.filter(|(_, path)| path.is_dir()).collect())
}

/// Refuses what is no `name` or `org/name`: a part begins with a letter or a digit and goes on with
/// these, spaces or `-_.+`.
fn check_name(name: &str) -> Result<(), &'static str> {
    check_relative(name)?;
    if name.split('/').count() > 2 {
        return Err("neither a directory nor a model's name, which has one or two parts");
    }
    for part in name.split('/') {
        let known = |c: char| c.is_alphanumeric() || " -_.+".contains(c);
        if !part.starts_with(char::is_alphanumeric) || !part.chars().all(known) {
            return Err("a model's name has letters, digits, spaces and -_.+ in it");
        }
        if part.ends_with(['.', ' ']) {
            return Err("a model's name does not end with a dot or a space");
        }
        let stem = part
            .split('.')
            .next()
            .unwrap_or(part)
            .trim_end()
            .to_ascii_lowercase();
        let port = stem
            .strip_prefix("com")
            .or_else(|| stem.strip_prefix("lpt"));
        let port = port.is_some_and(|rest| rest.len() == 1 && rest != "0");
        if port && stem.ends_with(|c: char| c.is_ascii_digit()) || DEVICES.contains(&stem.as_str())
        {
            return Err("the name belongs to a device on some systems");
        }
    }
    Ok(())
}
