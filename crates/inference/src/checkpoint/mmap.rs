//! The bytes of one file: mapped, copied into memory, or part of the program.
//!
//! In: an opened regular file. Out: `&[u8]`, and the answer whether the file is still the one that
//! was opened.
//! It does not know: what the bytes mean.
#![allow(
    unsafe_code,
    reason = "a file can only be mapped by a promise that nobody changes it"
)]

use std::fs::{File, Metadata};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::ops::Deref;
use std::time::SystemTime;

use memmap2::{Mmap, MmapMut, MmapOptions};

use super::LoadError;
use guard::Watched;

#[cfg_attr(not(unix), path = "mmap/unguarded.rs")]
mod guard;

/// Memory of this size is asked for in large pages: fewer of them are cleared and looked up.
#[cfg(target_os = "linux")]
const HUGE_BYTES_MIN: usize = 8 << 20;

/// How a checkpoint's files come into memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mapping {
    /// Memory-mapped: nothing is read before it is used, and the page cache is shared with other
    /// processes.
    /// If another program truncates the file while it is mapped, touching the lost part ends this
    /// process with SIGBUS, unless it called [`guard_truncation`]; see
    /// [`Checkpoint::unchanged`](super::Checkpoint::unchanged).
    #[default]
    Mapped,
    /// Read into memory of our own: costs the file's size, and later changes of the file do no
    /// harm.
    Copied,
}

/// The bytes of one file of a model.
#[derive(Debug)]
pub struct FileBytes {
    name: String,
    bytes: Bytes,
}

#[derive(Debug)]
enum Bytes {
    Static(&'static [u8]),
    /// Anonymous memory, so that the bytes lie as in a mapped file: from a page's beginning on.
    Copied {
        memory: MmapMut,
        len: usize,
    },
    Mapped {
        /// Dropped before the map it watches.
        watched: Watched,
        map: Mmap,
        origin: Origin,
    },
}

/// Keeps this process alive when another program cuts a file short that is mapped here: the lost part reads as zeros,
/// and [`Checkpoint::unchanged`](super::Checkpoint::unchanged) refuses from then on. Runners ask it before and after every
/// batch, so nothing computed from the zeros comes out.
///
/// It is the whole process's: a handler of SIGBUS, which hands every signal that is not about a file of ours to the handler
/// that was there before. Programs call it once, at their start; a library leaves the choice to its program. Where mapped
/// files cannot be cut short (Windows), it does nothing.
///
/// # Errors
/// The system's answer, if no handler can be set.
pub fn guard_truncation() -> std::io::Result<()> {
    guard::install()
}

/// The file behind a mapping, as it was when it was mapped.
#[derive(Debug)]
struct Origin {
    file: File,
    stamp: Stamp,
}

/// What tells one state of a file from another without reading it.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    len: u64,
    modified: Option<SystemTime>,
}

/// An opened regular file and the name errors call it by. `metadata` is of the time it was opened.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) file: File,
    pub(crate) name: String,
    pub(crate) metadata: Metadata,
}

impl Opened {
    /// The same file once more, if it is still as it was: what its header says is about that one.
    pub(crate) fn again(&self) -> Result<Self, LoadError> {
        let io = |source| LoadError::Io {
            file: self.name.clone(),
            action: "open",
            source,
        };
        let file = self.file.try_clone().map_err(io)?;
        let found = Stamp::of(&file.metadata().map_err(io)?);
        if let Some(how) = Stamp::of(&self.metadata).difference(&found) {
            return Err(LoadError::Changed {
                file: self.name.clone(),
                how,
            });
        }
        Ok(Self {
            file,
            name: self.name.clone(),
            metadata: self.metadata.clone(),
        })
    }
}

impl FileBytes {
    pub(crate) fn from_static(name: String, bytes: &'static [u8]) -> Self {
        Self {
            name,
            bytes: Bytes::Static(bytes),
        }
    }

    /// A copy of `bytes`.
    pub(crate) fn from_memory(name: String, bytes: &[u8]) -> Result<Self, LoadError> {
        let fill = |memory: &mut [u8]| {
            memory.copy_from_slice(bytes);
            Ok(())
        };
        Self::filled(name, bytes.len(), fill)
    }

    /// Memory of `len` bytes, zero at first, that `fill` writes.
    pub(crate) fn filled(
        name: String,
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), LoadError>,
    ) -> Result<Self, LoadError> {
        let memory = MmapOptions::new().len(len.max(1)).map_anon();
        let mut memory = memory.map_err(|source| LoadError::Io {
            file: name.clone(),
            action: "find memory for",
            source,
        })?;
        #[cfg(target_os = "linux")]
        if len >= HUGE_BYTES_MIN {
            // Advice that was not taken costs time and nothing else.
            drop(memory.advise(memmap2::Advice::HugePage));
        }
        fill(&mut memory[..len])?;
        Ok(Self {
            name,
            bytes: Bytes::Copied { memory, len },
        })
    }

    pub(crate) fn from_file(opened: Opened, mapping: Mapping) -> Result<Self, LoadError> {
        // An empty file cannot be mapped on every system.
        let bytes = if mapping == Mapping::Mapped && opened.metadata.len() > 0 {
            let map = map(&opened)?;
            let stamp = Stamp::of(&opened.metadata);
            Bytes::Mapped {
                watched: Watched::new(&map),
                map,
                origin: Origin {
                    file: opened.file,
                    stamp,
                },
            }
        } else {
            copy(&opened)?
        };
        Ok(Self {
            name: opened.name,
            bytes,
        })
    }

    /// The file's name, as errors print it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the bytes are a view of a file that other programs can change.
    pub fn is_mapped(&self) -> bool {
        matches!(self.bytes, Bytes::Mapped { .. })
    }

    /// Gives the memory of a range of a mapped file back to the system; where it is used again, it is read again.
    /// Bytes that are not mapped stay.
    #[cfg(unix)]
    pub(crate) fn release(&self, range: std::ops::Range<usize>) {
        use memmap2::UncheckedAdvice;
        let Bytes::Mapped { map, .. } = &self.bytes else {
            return;
        };
        if range.end <= map.len() && !range.is_empty() {
            // SAFETY: the map is a read-only view of a file, and the range is inside of it: dropped pages come back
            // with the file's bytes, which `map` relies on to be the same anyway.
            let released = unsafe {
                map.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len())
            };
            // Advice that was not taken costs memory and nothing else.
            drop(released);
        }
    }

    /// Elsewhere the system takes memory of mapped files back by itself.
    #[cfg(not(unix))]
    pub(crate) fn release(&self, _range: std::ops::Range<usize>) {}

    /// Looks whether a mapped file is still as it was when it was mapped; bytes in memory always
    /// are.
    ///
    /// # Errors
    /// [`LoadError::Changed`] if the open file has another length or time of change, or if a part of it was read as
    /// zeros (see [`guard_truncation`]). A path that now leads elsewhere
    /// is no error: the mapped file lives as long as it is mapped.
    pub fn unchanged(&self) -> Result<(), LoadError> {
        let Bytes::Mapped {
            origin, watched, ..
        } = &self.bytes
        else {
            return Ok(());
        };
        let found = origin
            .file
            .metadata()
            .map_err(|source| self.io("look at", source))?;
        let lost = || "a part of it could not be read any more".to_owned();
        let different = origin.stamp.difference(&Stamp::of(&found));
        match different.or_else(|| watched.is_lost().then(lost)) {
            None => Ok(()),
            Some(how) => Err(LoadError::Changed {
                file: self.name.clone(),
                how,
            }),
        }
    }

    fn io(&self, action: &'static str, source: std::io::Error) -> LoadError {
        LoadError::Io {
            file: self.name.clone(),
            action,
            source,
        }
    }
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Static(bytes) => bytes,
            Bytes::Copied { memory, len } => &memory[..*len],
            Bytes::Mapped { map, .. } => map,
        }
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            len: metadata.len(),
            modified: metadata.modified().ok(),
        }
    }

    /// In which way a later one is another, in words.
    fn difference(&self, later: &Self) -> Option<String> {
        if later.len != self.len {
            return Some(format!("it had {} bytes, now {}", self.len, later.len));
        }
        (later.modified != self.modified).then(|| "its time of change moved".to_owned())
    }
}

/// Reads a whole file; refuses one longer than `bytes_max` before it allocates.
pub(crate) fn read(opened: &Opened, bytes_max: u64) -> Result<Vec<u8>, LoadError> {
    let bytes = opened.metadata.len();
    if bytes > bytes_max {
        return Err(LoadError::TooLarge {
            file: opened.name.clone(),
            bytes,
            bytes_max,
        });
    }
    read_head(opened, bytes)
}

/// Reads the first `bytes` of a file, or all that it has.
pub(crate) fn read_head(opened: &Opened, bytes: u64) -> Result<Vec<u8>, LoadError> {
    let io = |source| LoadError::Io {
        file: opened.name.clone(),
        action: "read",
        source,
    };
    let out_of_memory = || io(std::io::ErrorKind::OutOfMemory.into());
    let len = usize::try_from(bytes).ok().ok_or_else(out_of_memory)?;
    let mut read = Vec::new();
    read.try_reserve_exact(len).ok().ok_or_else(out_of_memory)?;
    let mut file = &opened.file;
    file.seek(SeekFrom::Start(0)).map_err(io)?;
    file.take(bytes).read_to_end(&mut read).map_err(io)?;
    Ok(read)
}

fn copy(opened: &Opened) -> Result<Bytes, LoadError> {
    let io = |source| LoadError::Io {
        file: opened.name.clone(),
        action: "read",
        source,
    };
    let len = usize::try_from(opened.metadata.len())
        .map_err(|_too_long| io(std::io::ErrorKind::OutOfMemory.into()))?;
    let mut memory = MmapOptions::new().len(len.max(1)).map_anon().map_err(io)?;
    let mut file = &opened.file;
    file.seek(SeekFrom::Start(0)).map_err(io)?;
    // A file that became shorter gives what it has; the header's check finds it out.
    let mut found = 0;
    while found < len {
        match file.read(&mut memory[found..len]) {
            Ok(0) => break,
            Ok(read) => found += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(io(error)),
        }
    }
    Ok(Bytes::Copied { memory, len: found })
}

fn map(opened: &Opened) -> Result<Mmap, LoadError> {
    let io = |source| LoadError::Io {
        file: opened.name.clone(),
        action: "map",
        source,
    };
    let len = usize::try_from(opened.metadata.len())
        .map_err(|_too_long| io(std::io::ErrorKind::OutOfMemory.into()))?;
    // SAFETY: the map is read-only, and nobody in this process writes to a model's files. That no
    // other program does is the user's promise; the system cannot give it. `Mapping` says what
    // breaking it does, and `unchanged` finds it out. Places and sizes come from a copy of the
    // header, and every bit pattern is a number, so changed bytes are other weights and no more;
    // so are the zeros that `guard` puts in the place of lost ones.
    unsafe { MmapOptions::new().len(len).map(&opened.file) }.map_err(io)
}
