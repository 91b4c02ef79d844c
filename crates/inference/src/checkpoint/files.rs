//! Where a model's files come from: a directory, a GGUF file that stands for one, or tables of bytes that are part of the
//! program.
//!
//! In: a path, or a name and its files. Out: the text or bytes of a file by its name.
//! Only regular files inside of the directory are opened; a name that a checkpoint mentions is
//! never a way out.
//! It does not know: what stands in the files.

use std::borrow::Cow;
use std::fs::File;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::LoadError;
use super::gguf::{self, Gguf, GgufMetadata, Tensors};
use super::mmap::{self, FileBytes, Mapping, Opened};

/// Bytes of one part of a file or model name: what file systems accept.
const PART_BYTES_MAX: usize = 255;

/// The files of one model.
#[derive(Debug, Clone)]
pub struct ModelFiles {
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    Directory(Directory),
    Gguf(Arc<Gguf>),
    Embedded {
        name: &'static str,
        files: &'static [(&'static str, &'static [u8])],
    },
}

#[derive(Debug, Clone)]
struct Directory {
    /// As the user wrote it: for errors and for opening.
    path: PathBuf,
    /// Without links: what a file's real path must begin with.
    real: PathBuf,
    /// A hub cache keeps the contents of `snapshots/<revision>/` in `blobs/` and links to them.
    blobs: Option<PathBuf>,
}

impl ModelFiles {
    /// The model in a directory, of which it opens no file yet, or in a GGUF file, of which it reads the header.
    ///
    /// # Errors
    /// [`LoadError::NotADirectory`] for a path to anything else, [`LoadError::Io`] where there is
    /// nothing; whatever is wrong with a GGUF file's header.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let io = |source| LoadError::Io {
            file: shown(path),
            action: "open",
            source,
        };
        let metadata = std::fs::metadata(path).map_err(io)?;
        if metadata.is_file() && gguf::is_gguf(path) {
            return Ok(Self {
                source: Source::Gguf(Arc::new(Gguf::open(path)?)),
            });
        }
        if !metadata.is_dir() {
            let kind = kind_of(metadata.file_type());
            return Err(LoadError::NotADirectory {
                path: shown(path),
                kind,
            });
        }
        let real = path.canonicalize().map_err(io)?;
        let blobs = hub_repository(&real).and_then(|hub| hub.join("blobs").canonicalize().ok());
        Ok(Self {
            source: Source::Directory(Directory {
                path: path.to_owned(),
                real,
                blobs,
            }),
        })
    }

    /// The model in `files`: pairs of a file's name and its contents.
    /// Weights are used where they lie; see [`Checkpoint::aligned`](super::Checkpoint::aligned) for
    /// what happens if the compiler placed them at an odd address.
    pub fn embedded(name: &'static str, files: &'static [(&'static str, &'static [u8])]) -> Self {
        Self {
            source: Source::Embedded { name, files },
        }
    }

    /// A short name: the directory's own, `org/name` inside of a hub cache, or what was embedded.
    pub fn name(&self) -> String {
        match &self.source {
            Source::Embedded { name, .. } => (*name).to_owned(),
            Source::Gguf(gguf) => gguf.name(),
            Source::Directory(directory) => hub_repository(&directory.real)
                .and_then(hub_name)
                .unwrap_or_else(|| {
                    let last = directory.real.file_name();
                    last.map_or_else(|| shown(&directory.real), |name| shown(Path::new(name)))
                }),
        }
    }

    /// The directory, or the GGUF file, unless the files are part of the program.
    pub fn path(&self) -> Option<&Path> {
        match &self.source {
            Source::Directory(directory) => Some(&directory.path),
            Source::Gguf(gguf) => Some(gguf.path()),
            Source::Embedded { .. } => None,
        }
    }

    /// Where the file of that name stands, unless it is part of the program or made of another one.
    pub(crate) fn path_of(&self, file: &str) -> Option<PathBuf> {
        match &self.source {
            Source::Directory(directory) => Some(directory.path.join(file)),
            Source::Gguf(gguf) => gguf.file_path(file).map(Path::to_owned),
            Source::Embedded { .. } => None,
        }
    }

    /// What a GGUF file says of itself; `None` for a directory.
    pub fn gguf(&self) -> Option<&GgufMetadata> {
        match &self.source {
            Source::Gguf(gguf) => Some(gguf.metadata()),
            Source::Directory(_) | Source::Embedded { .. } => None,
        }
    }

    /// The metadata that has a vocabulary of GGUF: that of a GGUF file, or of the `tokenizer.gguf` of a directory.
    ///
    /// # Errors
    /// There is such a file in the directory, and something is wrong with it.
    pub fn gguf_vocabulary(&self) -> Result<Option<Cow<'_, GgufMetadata>>, LoadError> {
        match &self.source {
            Source::Gguf(gguf) => Ok(Some(Cow::Borrowed(gguf.metadata()))),
            Source::Directory(directory) => {
                let opened = directory.file(gguf::VOCABULARY)?;
                let metadata = opened.map(|opened| gguf::metadata(&opened)).transpose()?;
                Ok(metadata.map(Cow::Owned))
            }
            Source::Embedded { .. } => Ok(None),
        }
    }

    /// The files of a GGUF model and the tensors in them; `None` for a directory.
    pub(super) fn gguf_tensors(&self, mapping: Mapping) -> Option<Result<Tensors, LoadError>> {
        match &self.source {
            Source::Gguf(gguf) => Some(gguf.tensors(mapping)),
            Source::Directory(_) | Source::Embedded { .. } => None,
        }
    }

    /// The revision, for the snapshot of a hub cache.
    pub fn revision(&self) -> Option<String> {
        let Source::Directory(directory) = &self.source else {
            return None;
        };
        hub_repository(&directory.real)?;
        Some(directory.real.file_name()?.to_str()?.to_owned())
    }

    /// The names of the regular files, sorted; links count as what they lead to. Folders are not looked into.
    ///
    /// # Errors
    /// [`LoadError::Io`] if the directory cannot be read.
    pub fn names(&self) -> Result<Vec<String>, LoadError> {
        let directory = match &self.source {
            Source::Embedded { files, .. } => {
                return Ok(files.iter().map(|(name, _)| (*name).to_owned()).collect());
            }
            Source::Gguf(gguf) => return Ok(gguf.names().map(str::to_owned).collect()),
            Source::Directory(directory) => directory,
        };
        let io = |source| LoadError::Io {
            file: shown(&directory.path),
            action: "list",
            source,
        };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&directory.path).map_err(io)? {
            let entry = entry.map_err(io)?;
            if entry.path().is_file() {
                // A name that is no text is none that a model's files call each other by.
                names.extend(entry.file_name().into_string().ok());
            }
        }
        names.sort();
        Ok(names)
    }

    /// A text file of at most `bytes_max` bytes, or `None` where there is none of that name.
    ///
    /// # Errors
    /// Everything that [`Self::bytes`] refuses, a longer file, and one that is not UTF-8.
    pub fn text(&self, file: &str, bytes_max: u64) -> Result<Option<String>, LoadError> {
        let Some(bytes) = self.read(file, bytes_max)? else {
            return Ok(None);
        };
        let text = String::from_utf8(bytes).map_err(|error| LoadError::Encoding {
            file: file.to_owned(),
            byte: error.utf8_error().valid_up_to(),
        })?;
        Ok(Some(text))
    }

    /// The bytes of a file, mapped where it stands on a disk, or `None` where there is none of that
    /// name.
    ///
    /// # Errors
    /// [`LoadError::Name`] for a name that could lead out of the directory, [`LoadError::Outside`]
    /// for a link that does, [`LoadError::NotAFile`] for a directory, a pipe, a socket or a device,
    /// [`LoadError::Io`] for a file that may not be read.
    /// None of these waits for anything.
    pub fn bytes(&self, file: &str) -> Result<Option<FileBytes>, LoadError> {
        self.bytes_as(file, Mapping::Mapped, |_opened| Ok(()))
    }

    /// [`Self::bytes`], mapped or copied; a file to be copied must pass `check` first.
    pub(crate) fn bytes_as(
        &self,
        file: &str,
        mapping: Mapping,
        check: fn(&Opened) -> Result<(), LoadError>,
    ) -> Result<Option<FileBytes>, LoadError> {
        match &self.source {
            Source::Embedded { files, .. } => {
                Ok(embedded(files, file)
                    .map(|bytes| FileBytes::from_static(file.to_owned(), bytes)))
            }
            Source::Gguf(gguf) => match gguf.text(file) {
                Some(text) => FileBytes::from_memory(file.to_owned(), text.as_bytes()).map(Some),
                None => gguf.file(file, mapping),
            },
            Source::Directory(directory) => {
                let Some(opened) = directory.file(file)? else {
                    return Ok(None);
                };
                if mapping == Mapping::Copied {
                    check(&opened)?;
                }
                FileBytes::from_file(opened, mapping).map(Some)
            }
        }
    }

    fn read(&self, file: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, LoadError> {
        let found = match &self.source {
            Source::Embedded { files, .. } => embedded(files, file),
            Source::Gguf(gguf) => gguf.text(file).map(str::as_bytes),
            Source::Directory(directory) => {
                let opened = directory.file(file)?;
                return opened
                    .map(|opened| mmap::read(&opened, bytes_max))
                    .transpose();
            }
        };
        match found {
            Some(found) if found.len() as u64 > bytes_max => Err(LoadError::TooLarge {
                file: file.to_owned(),
                bytes: found.len() as u64,
                bytes_max,
            }),
            found => Ok(found.map(<[u8]>::to_vec)),
        }
    }
}

impl Directory {
    fn file(&self, name: &str) -> Result<Option<Opened>, LoadError> {
        check_relative(name).map_err(|reason| LoadError::Name {
            name: name.to_owned(),
            reason,
        })?;
        let path = self.path.join(name);
        let io = |action| {
            move |source| LoadError::Io {
                file: name.to_owned(),
                action,
                source,
            }
        };
        // A link to nowhere is an error; only a name that is not there at all is an absent file.
        match std::fs::symlink_metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            found => found.map_err(io("look at"))?,
        };
        let real = path.canonicalize().map_err(io("follow"))?;
        if !self.holds(&real) {
            return Err(LoadError::Outside {
                file: name.to_owned(),
                target: shown(&real),
            });
        }
        let not_a_file = |kind| LoadError::NotAFile {
            file: name.to_owned(),
            kind,
        };
        // Opening a pipe would wait for its writer, so the kind is asked first.
        let metadata = std::fs::metadata(&real).map_err(io("look at"))?;
        if !metadata.is_file() {
            return Err(not_a_file(kind_of(metadata.file_type())));
        }
        let file = open(&real).map_err(io("open"))?;
        let metadata = file.metadata().map_err(io("look at"))?;
        if !metadata.is_file() {
            return Err(not_a_file(kind_of(metadata.file_type())));
        }
        Ok(Some(Opened {
            file,
            name: name.to_owned(),
            metadata,
        }))
    }

    fn holds(&self, real: &Path) -> bool {
        real.starts_with(&self.real)
            || self
                .blobs
                .as_ref()
                .is_some_and(|blobs| real.parent() == Some(blobs))
    }
}

/// Opens what was found to be a regular file. If it has become a link or a pipe since, it is not followed and not
/// waited for.
fn open(real: &Path) -> std::io::Result<File> {
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(
        &mut options,
        libc::O_NOFOLLOW | libc::O_NONBLOCK,
    );
    options.open(real)
}

/// Refuses a name that is not a plain relative path on any system: rooted, with a drive, with `..`,
/// `.` or empty parts.
pub(crate) fn check_relative(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("the name is empty");
    }
    if name.starts_with('/') {
        return Err("an absolute path is no name");
    }
    if name.contains(['\\', ':', '\0']) {
        return Err("a name holds no backslash, colon or NUL");
    }
    for part in name.split('/') {
        match part {
            "" => return Err("a part of the name is empty"),
            "." | ".." => return Err("a name does not go up or stay"),
            _ if part.len() > PART_BYTES_MAX => return Err("a part of the name is too long"),
            _ => {}
        }
    }
    // What the rules above let through is plain to this system's own reading of paths, too.
    let plain = Path::new(name)
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if plain {
        Ok(())
    } else {
        Err("the name is no plain relative path")
    }
}

/// The repository folder of a hub cache if `real` is one of its `snapshots/<revision>` folders.
fn hub_repository(real: &Path) -> Option<&Path> {
    let snapshots = real.parent()?;
    if snapshots.file_name()? != "snapshots" {
        None
    } else {
        snapshots.parent()
    }
}

/// `org/name` from `models--org--name`.
fn hub_name(repository: &Path) -> Option<String> {
    let name = repository.file_name()?.to_str()?.strip_prefix("models--")?;
    Some(name.replacen("--", "/", 1))
}

fn embedded(files: &[(&str, &'static [u8])], wanted: &str) -> Option<&'static [u8]> {
    files
        .iter()
        .find(|(name, _)| *name == wanted)
        .map(|(_, bytes)| *bytes)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(unix)]
pub(super) fn kind_of(kind: std::fs::FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt as _;
    if kind.is_fifo() {
        "named pipe"
    } else if kind.is_socket() {
        "socket"
    } else if kind.is_char_device() || kind.is_block_device() {
        "device"
    } else {
        kind_of_any(kind)
    }
}

#[cfg(not(unix))]
pub(super) fn kind_of(kind: std::fs::FileType) -> &'static str {
    kind_of_any(kind)
}

fn kind_of_any(kind: std::fs::FileType) -> &'static str {
    if kind.is_dir() {
        "directory"
    } else if kind.is_file() {
        "file"
    } else {
        "special file"
    }
}
