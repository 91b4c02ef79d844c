//! Kept beginnings as files, so that a restart need not read them again.
//!
//! In: what is kept, a folder. Out: the same, to another process that runs the same model in the same form.
//! Layout of a file, little-endian: [`MAGIC`]; key, ids, states, values of a state, bytes of keys and values, u64 each; the
//! length at which each state was taken, u64; ids, u32; states, f32; keys and values as the runner has them; XXH3-64 of
//! all of it.
//! A file that is cut, changed, of another version, model or form of memory is no error: it is as if it were not there.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use twox_hash::XxHash3_64;

use super::prefix::common;
use crate::backend::Snapshot;

const MAGIC: [u8; 8] = *b"LATTPRE1";
/// Bytes before the lengths of the states.
const HEAD: usize = 48;
const ENDING: &str = "prefix";

/// A beginning, to be written or as it was read.
pub(super) struct Stored {
    pub(super) ids: Vec<u32>,
    pub(super) snapshots: Vec<Arc<Snapshot>>,
    /// Keys and values of all ids.
    pub(super) memory: Vec<u8>,
}

/// What is known of a file without its memory.
struct Entry {
    path: PathBuf,
    ids: Vec<u32>,
    states: Vec<usize>,
}

/// The files of one model.
pub(super) struct PrefixFiles {
    folder: PathBuf,
    key: u64,
    bytes_max: u64,
    entries: Vec<Entry>,
}

/// Where the parts of a file lie.
struct Parts {
    states: usize,
    ids: Range<usize>,
    values: Range<usize>,
    state_len: usize,
    memory: Range<usize>,
}

impl Parts {
    /// `None` where the head does not describe a file of `len` bytes with this key.
    fn of(head: &[u8], key: u64, len: usize) -> Option<Parts> {
        let number = |at: usize| {
            let bytes = head.get(8 + 8 * at..16 + 8 * at)?;
            Some(u64::from_le_bytes(bytes.try_into().ok()?))
        };
        let size = |at: usize| usize::try_from(number(at)?).ok();
        if head.get(..8)? != MAGIC || number(0)? != key {
            return None;
        }
        let (ids, states, state_len) = (size(1)?, size(2)?, size(3)?);
        let ids_at = HEAD.checked_add(states.checked_mul(8)?)?;
        let values_at = ids_at.checked_add(ids.checked_mul(4)?)?;
        let values = states.checked_mul(state_len)?.checked_mul(4)?;
        let memory_at = values_at.checked_add(values)?;
        let end = memory_at.checked_add(size(4)?)?;
        (end.checked_add(8)? == len).then_some(Parts {
            states,
            ids: ids_at..values_at,
            values: values_at..memory_at,
            state_len,
            memory: memory_at..end,
        })
    }
}

impl PrefixFiles {
    /// The files of `folder`, which is made where it is not there.
    pub(super) fn open(folder: &Path, key: u64, bytes_max: u64) -> io::Result<PrefixFiles> {
        fs::create_dir_all(folder)?;
        let mut files = PrefixFiles {
            folder: folder.to_owned(),
            key,
            bytes_max,
            entries: Vec::new(),
        };
        for (path, _, _) in files.listed()? {
            files.entries.extend(look_at(&path, key));
        }
        Ok(files)
    }

    /// The file that serves a request with these ids best, and how many of its tokens.
    pub(super) fn best(&self, ids: &[u32], rewinds: bool) -> Option<(usize, usize)> {
        let most = ids.len().saturating_sub(1);
        let usable = |entry: &Entry| {
            let common = common(&entry.ids, &ids[..most]);
            let states = entry.states.iter().copied();
            let state = states.filter(|&tokens| tokens <= common).max();
            if rewinds { common } else { state.unwrap_or(0) }
        };
        let found = self.entries.iter().map(usable).enumerate();
        found.max_by_key(|&(_, tokens)| tokens)
    }

    /// Reads a file; one that is not whole is removed.
    pub(super) fn read(&mut self, at: usize) -> Option<Stored> {
        let stored = read(&self.entries[at].path, self.key);
        if stored.is_none() {
            let entry = self.entries.swap_remove(at);
            // Whatever it was, it is of no use to anybody.
            let _ = fs::remove_file(&entry.path);
        }
        stored
    }

    /// Writes a beginning; files that it continues go.
    pub(super) fn write(&mut self, stored: &Stored) -> io::Result<()> {
        let bytes = bytes_of(stored, self.key);
        let name = format!("{:016x}", XxHash3_64::oneshot(&bytes[8..]));
        let path = self.folder.join(name).with_extension(ENDING);
        let partial = path.with_extension("partial");
        let mut file = File::create(&partial)?;
        file.write_all(&bytes)?;
        fs::rename(&partial, &path)?;
        let is_begun = |entry: &Entry| entry.path != path && stored.ids.starts_with(&entry.ids);
        for old in self.entries.extract_if(.., |entry| is_begun(entry)) {
            fs::remove_file(old.path)?;
        }
        self.entries.extend(look_at(&path, self.key));
        Ok(())
    }

    /// Removes the oldest files, of all models, until the rest takes no more bytes than it may.
    pub(super) fn trim(&mut self) -> io::Result<()> {
        let mut files = self.listed()?;
        files.sort_by_key(|(_, written, _)| *written);
        let mut bytes: u64 = files.iter().map(|(_, _, bytes)| bytes).sum();
        for (path, _, of_file) in files {
            if bytes <= self.bytes_max {
                break;
            }
            fs::remove_file(&path)?;
            bytes -= of_file;
            self.entries.retain(|entry| entry.path != path);
        }
        Ok(())
    }

    /// The folder's files: where, when written, how large.
    fn listed(&self) -> io::Result<Vec<(PathBuf, SystemTime, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let (path, known) = (entry.path(), entry.metadata()?);
            if known.is_file() && path.extension().is_some_and(|ending| ending == ENDING) {
                files.push((path, known.modified()?, known.len()));
            }
        }
        Ok(files)
    }
}

/// What a file holds, by its head alone.
fn look_at(path: &Path, key: u64) -> Option<Entry> {
    let mut file = File::open(path).ok()?;
    let len = usize::try_from(file.metadata().ok()?.len()).ok()?;
    let mut head = [0; HEAD];
    file.read_exact(&mut head).ok()?;
    let parts = Parts::of(&head, key, len)?;
    // No longer than the file, which was checked.
    let mut rest = vec![0; parts.ids.end - HEAD];
    file.read_exact(&mut rest).ok()?;
    let (states, ids) = rest.split_at(8 * parts.states);
    Some(Entry {
        path: path.to_owned(),
        ids: words(ids),
        states: lengths(states)?,
    })
}

fn read(path: &Path, key: u64) -> Option<Stored> {
    let bytes = fs::read(path).ok()?;
    let parts = Parts::of(&bytes, key, bytes.len())?;
    let (body, sum) = bytes.split_at(bytes.len() - 8);
    if XxHash3_64::oneshot(body).to_le_bytes() != sum {
        return None;
    }
    let ids = words(&body[parts.ids.clone()]);
    let tokens = lengths(&body[HEAD..parts.ids.start])?;
    let values: Vec<f32> = words(&body[parts.values.clone()])
        .into_iter()
        .map(f32::from_bits)
        .collect();
    let states = values.chunks_exact(parts.state_len.max(1));
    let snapshots = tokens.into_iter().zip(states);
    let snapshots = snapshots.map(|(tokens, state)| {
        Arc::new(Snapshot {
            tokens,
            state: state.into(),
        })
    });
    Some(Stored {
        ids,
        snapshots: snapshots.collect(),
        memory: body[parts.memory].to_vec(),
    })
}

fn bytes_of(stored: &Stored, key: u64) -> Vec<u8> {
    let states = &stored.snapshots;
    let state_len = states.first().map_or(0, |state| state.state.len());
    let sizes = [
        stored.ids.len(),
        states.len(),
        state_len,
        stored.memory.len(),
    ];
    let mut bytes = MAGIC.to_vec();
    bytes.extend(key.to_le_bytes());
    let lengths = states.iter().map(|state| state.tokens);
    for size in sizes.into_iter().chain(lengths) {
        bytes.extend((size as u64).to_le_bytes());
    }
    bytes.extend(stored.ids.iter().flat_map(|id| id.to_le_bytes()));
    for state in states {
        bytes.extend(state.state.iter().flat_map(|value| value.to_le_bytes()));
    }
    bytes.extend(&stored.memory);
    bytes.extend(XxHash3_64::oneshot(&bytes).to_le_bytes());
    bytes
}

fn words(bytes: &[u8]) -> Vec<u32> {
    let words = bytes.as_chunks().0.iter();
    words.map(|word| u32::from_le_bytes(*word)).collect()
}

fn lengths(bytes: &[u8]) -> Option<Vec<usize>> {
    let lengths = bytes.as_chunks().0.iter();
    lengths
        .map(|length| usize::try_from(u64::from_le_bytes(*length)).ok())
        .collect()
}
