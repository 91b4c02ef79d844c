//! Models on disk, by name.
//!
//! In: the directory that holds them, another program's cache of them, and a name or a path. Out: [`ModelFiles`].
//! It does not know: where the directories are by default, downloads, what stands in a model.

use std::fs::DirEntry;
use std::path::{Path, PathBuf};

use lattice_files::{check_model_name, is_unfinished};

use super::files::hub_name;
use super::{LoadError, ModelFiles, index};

/// The revision that is meant where a name has none.
const MAIN: &str = "main";
/// A commit's name and a newline; anything longer is none.
const REF_BYTES_MAX: u64 = 256;

/// A directory of models: `name/config.json` and `org/name/config.json`.
#[derive(Debug, Clone, Default)]
pub struct ModelStore {
    /// The directory; it need not exist.
    pub root: PathBuf,
    /// A cache in the layout of the Hugging Face libraries, `models--org--name/snapshots/<commit>`: only read.
    pub hub_cache: Option<PathBuf>,
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
    /// Whether it lies in the cache of other programs.
    pub shared: bool,
}

impl ModelStore {
    /// The models there are, by name. A root that does not exist holds none; one that lies in both places stands there
    /// once, as ours.
    ///
    /// # Errors
    /// [`LoadError::Io`] if the root cannot be read. A model's folder that cannot be read is no
    /// model.
    pub fn list(&self) -> Result<Vec<Installed>, LoadError> {
        let mut found = self.own()?;
        for model in self.shared() {
            if !found.iter().any(|own| own.name == model.name) {
                found.push(model);
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn own(&self) -> Result<Vec<Installed>, LoadError> {
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
        Ok(found)
    }

    /// Those of the other programs' cache, at the commit that `main` leads to.
    fn shared(&self) -> Vec<Installed> {
        let folders = self.hub_cache.as_deref().map(folders);
        let folders = folders.and_then(Result::ok).unwrap_or_default();
        let named = folders
            .iter()
            .filter_map(|(_, path)| self.shared_at(&hub_name(path)?));
        named.collect()
    }

    /// The model at a path, if a directory stands there, or else the model of that name in the
    /// store, or else in the cache of other programs. There, `name@revision` names another revision than `main`.
    ///
    /// # Errors
    /// [`LoadError::NotADirectory`] for a path to something else, [`LoadError::Name`] for what is
    /// neither a directory nor could be a model's name, [`LoadError::UnknownModel`] for a name that
    /// is not there; it lists what is.
    pub fn resolve(&self, name_or_path: &str) -> Result<ModelFiles, LoadError> {
        let path = Path::new(name_or_path);
        if path.is_dir() {
            return open(path);
        }
        let name = check_model_name(name_or_path);
        if name.is_ok()
            && let Some(model) = self.find(name_or_path)
        {
            return open(&model.path);
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

    /// The model of that name, if there is one.
    pub fn find(&self, name: &str) -> Option<Installed> {
        let own = || installed(&self.root.canonicalize().ok()?, name, &self.root.join(name));
        own().or_else(|| self.shared_at(name))
    }

    /// The model of that name in the cache of other programs, if it is complete there.
    fn shared_at(&self, name: &str) -> Option<Installed> {
        check_model_name(name).ok()?;
        let (repository, revision) = name.split_once('@').unwrap_or((name, MAIN));
        let cache = self.hub_cache.as_ref()?;
        let folder = cache.join(format!("models--{}", repository.replace('/', "--")));
        let snapshots = folder.join("snapshots");
        let commit = match read_ref(&folder.join("refs").join(revision)) {
            Some(commit) => commit,
            None => revision.to_owned(),
        };
        check_model_name(&commit).ok()?;
        let path = snapshots.join(commit);
        let real = path.canonicalize().ok()?;
        let inside = real.starts_with(snapshots.canonicalize().ok()?);
        (inside && is_model(&path) && is_complete(&path)).then(|| Installed {
            name: name.to_owned(),
            bytes: bytes_of(&path),
            path,
            shared: true,
        })
    }

    fn io(&self, source: std::io::Error) -> LoadError {
        LoadError::Io {
            file: self.root.display().to_string(),
            action: "list",
            source,
        }
    }
}

/// The files of a model's directory; one that holds a GGUF file in place of others is that file.
fn open(path: &Path) -> Result<ModelFiles, LoadError> {
    let mut weights = file_names(path);
    weights.retain(|name| is_weights(name));
    let gguf = weights.iter().all(|name| name.ends_with(".gguf"));
    match weights.as_slice() {
        [first, rest @ ..] if gguf => {
            let one = rest.is_empty() || is_first_of(first, weights.len());
            match one {
                true => ModelFiles::open(&path.join(first)),
                false => Err(LoadError::Name {
                    name: path.display().to_string(),
                    reason: "holds several GGUF files; give the path of one of them",
                }),
            }
        }
        _ => ModelFiles::open(path),
    }
}

/// Whether a file is called the first of so many: `x-00001-of-00003.gguf`.
fn is_first_of(name: &str, count: usize) -> bool {
    name.ends_with(&format!("-00001-of-{count:05}.gguf"))
}

/// The model in `path`, if there is one, its name is one, and no link leads it out of `root`, a
/// path without links.
fn installed(root: &Path, name: &str, path: &Path) -> Option<Installed> {
    check_model_name(name).ok()?;
    let real = path.canonicalize().ok()?;
    if is_unfinished(name) || !real.starts_with(root) || !is_model(path) {
        return None;
    }
    Some(Installed {
        name: name.to_owned(),
        path: path.to_owned(),
        bytes: bytes_of(path),
        shared: false,
    })
}

fn is_model(path: &Path) -> bool {
    path.join("config.json").is_file()
        || file_names(path).iter().any(|name| name.ends_with(".gguf"))
}

/// Whether all weights are there that a directory's names speak of.
fn is_complete(path: &Path) -> bool {
    let names = file_names(path);
    let weights = names.iter().filter(|name| is_weights(name));
    let shards = |name: &String| {
        let stem = name.rsplit_once('.')?.0;
        let (stem, count) = stem.rsplit_once("-of-")?;
        Some((
            stem.rsplit_once('-')?.0.to_owned(),
            count.parse::<usize>().ok()?,
        ))
    };
    let whole = |name: &String| match shards(name) {
        None => true,
        Some(set) => {
            names
                .iter()
                .filter(|n| shards(n).as_ref() == Some(&set))
                .count()
                == set.1
        }
    };
    let indexed = names.iter().any(|name| name == index::FILE);
    let mut weights = weights.peekable();
    weights.peek().is_some() && weights.all(whole) && (!indexed || index_is_met(path))
}

/// Whether every file that the index names is there.
fn index_is_met(path: &Path) -> bool {
    let map = ModelFiles::open(path).and_then(|files| index::read(&files));
    map.is_ok_and(|map| {
        let shards = map.iter().flat_map(|map| map.values());
        shards.into_iter().all(|shard| path.join(shard).is_file())
    })
}

fn is_weights(name: &str) -> bool {
    name.ends_with(".safetensors") || name.ends_with(".gguf")
}

/// The commit that a reference of a cache leads to.
fn read_ref(path: &Path) -> Option<String> {
    let found = std::fs::metadata(path).ok()?;
    if !found.is_file() || found.len() > REF_BYTES_MAX {
        return None;
    }
    Some(std::fs::read_to_string(path).ok()?.trim().to_owned())
}

/// The names of the files in a folder, sorted; links count as what they lead to.
fn file_names(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let files = entries.filter(|entry| entry.path().is_file());
    let mut names: Vec<String> = files
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// Bytes of the files in a folder and in those right below it.
fn bytes_of(path: &Path) -> u64 {
    let inner = folders(path).unwrap_or_default();
    let all = std::iter::once(path.to_owned()).chain(inner.into_iter().map(|(_, path)| path));
    let entries = all.flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten().flatten());
    entries.map(|entry| file_bytes(&entry)).sum()
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
