//! The part of the cache that is on the disk: files that are only ever appended to, the oldest one removed as a whole.
//!
//! In: keys and entries. Out: entries, each compared with its checksum whenever it is read.
//! A file begins with [`MAGIC`] and is a row of records: key, two counts of tokens, the number of dimensions, that many f32,
//! XXH3-64 of all of these, little-endian. Nothing is synced: what a power cut takes is computed again. A record that is
//! broken ends its file, as nothing behind it can be found; that is said, and what stood there is computed again.
//! It does not know: models, texts.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use lattice_files::{FilesError, lock, no_follow};
use twox_hash::XxHash3_64;

use super::key::Key;
use super::memory::Entry;
use crate::EmbedError;

/// What a file begins with; its last byte is the version of the format.
const MAGIC: [u8; 8] = *b"LATTVEC\x01";
const ENDING: &str = "vectors";
/// Key, tokens, tokens before, dims.
const HEAD_BYTES: usize = Key::BYTES + 12;
const SUM_BYTES: usize = 8;
/// More than any model has: a longer row is a broken one.
const DIMS_MAX: u32 = 1 << 20;
/// A full cache is so many files, of which the oldest goes when there is no room.
const FILES: u64 = 8;
/// Words that are kept until somebody asks.
const NOTES_MAX: usize = 32;

/// The store on the disk.
pub(super) struct Disk {
    dir: PathBuf,
    bytes_max: u64,
    /// Held while this is open: one process at a time.
    _lock: File,
    places: HashMap<Key, Place>,
    /// Oldest first.
    files: Vec<Segment>,
    corrupt: u64,
    notes: Vec<String>,
    /// Writing failed; it is not tried again.
    full: bool,
}

#[derive(Clone, Copy)]
struct Place {
    number: u64,
    offset: u64,
    dims: u32,
}

struct Segment {
    number: u64,
    file: File,
    bytes: u64,
}

/// How full it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct DiskFill {
    pub(super) entries: usize,
    pub(super) bytes: u64,
    pub(super) corrupt: u64,
}

impl Disk {
    /// Opens or makes the store in `dir`, and reads all of it once.
    pub(super) fn open(dir: &Path, bytes_max: u64) -> Result<Self, EmbedError> {
        fs::create_dir_all(dir).map_err(|reason| failed(dir, "create", &reason))?;
        let lock = lock(dir).map_err(|error| EmbedError::Cache {
            path: dir.display().to_string(),
            reason: match error {
                FilesError::Busy { .. } => "another process has this cache open".to_owned(),
                error => error.to_string(),
            },
        })?;
        let mut disk = Self {
            dir: dir.to_owned(),
            bytes_max,
            _lock: lock,
            places: HashMap::new(),
            files: Vec::new(),
            corrupt: 0,
            notes: Vec::new(),
            full: false,
        };
        for number in disk.numbers()? {
            disk.read_in(number)?;
        }
        disk.make_room(0);
        Ok(disk)
    }

    /// The numbers of the files that are there, in order.
    fn numbers(&self) -> Result<Vec<u64>, EmbedError> {
        let entries =
            fs::read_dir(&self.dir).map_err(|reason| failed(&self.dir, "list", &reason))?;
        let number = |entry: io::Result<fs::DirEntry>| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            let (number, ending) = name.split_once('.')?;
            (ending == ENDING).then(|| number.parse().ok()).flatten()
        };
        let mut numbers: Vec<u64> = entries.filter_map(number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        Ok(numbers)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:08}.{ENDING}"))
    }

    /// Takes in what a file has, up to the first record that is broken.
    fn read_in(&mut self, number: u64) -> Result<(), EmbedError> {
        let path = self.path(number);
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let file = no_follow(&mut options).open(&path);
        let file = file.map_err(|reason| failed(&path, "open", &reason))?;
        let length = file
            .metadata()
            .map_err(|reason| failed(&path, "look at", &reason))?
            .len();
        let mut reader = BufReader::with_capacity(1 << 18, &file);
        let mut magic = [0; MAGIC.len()];
        if reader.read_exact(&mut magic).is_err() || magic != MAGIC {
            self.say(&path, 0, "is no file of this version of the cache");
            drop(reader);
            drop(file);
            return fs::remove_file(&path).map_err(|reason| failed(&path, "remove", &reason));
        }
        let mut offset = MAGIC.len() as u64;
        let mut found = Vec::new();
        let mut reason = None;
        while offset < length {
            match read_record(&mut reader) {
                Ok((key, entry)) => {
                    let dims = entry.row.len() as u32;
                    found.push((
                        key,
                        Place {
                            number,
                            offset,
                            dims,
                        },
                    ));
                    offset += record_bytes(dims);
                }
                Err(words) => {
                    reason = Some(words);
                    break;
                }
            }
        }
        drop(reader);
        if let Some(reason) = reason {
            self.say(&path, offset, &reason);
            file.set_len(offset)
                .map_err(|reason| failed(&path, "cut", &reason))?;
        }
        self.places.extend(found);
        self.files.push(Segment {
            number,
            file,
            bytes: offset,
        });
        Ok(())
    }

    fn say(&mut self, path: &Path, byte: u64, reason: &str) {
        self.corrupt += 1;
        if self.notes.len() < NOTES_MAX {
            let path = path.display();
            self.notes.push(format!(
                "{path}: byte {byte}: {reason}; what stood there is computed again"
            ));
        }
    }

    /// The entry of a key, if there is one and its checksum is right.
    pub(super) fn get(&mut self, key: &Key) -> Option<Entry> {
        let place = *self.places.get(key)?;
        let segment = self
            .files
            .iter_mut()
            .find(|file| file.number == place.number)?;
        let mut record = vec![0; usize::try_from(record_bytes(place.dims)).ok()?];
        let read = segment
            .file
            .seek(SeekFrom::Start(place.offset))
            .and_then(|_| segment.file.read_exact(&mut record));
        let found = match read {
            Ok(()) => read_record(&mut record.as_slice()),
            Err(reason) => Err(reason.to_string()),
        };
        match found {
            Ok((found, entry)) if found == *key => Some(entry),
            other => {
                let reason = other
                    .err()
                    .unwrap_or_else(|| "holds another vector".to_owned());
                self.places.remove(key);
                let path = self.path(place.number);
                self.say(&path, place.offset, &reason);
                None
            }
        }
    }

    /// Keeps an entry. What cannot be written is not kept; the first time, that is said.
    pub(super) fn put(&mut self, key: Key, entry: &Entry) {
        let bytes = record_bytes(entry.row.len() as u32);
        if self.full || self.places.contains_key(&key) || bytes > self.bytes_max / FILES {
            return;
        }
        self.make_room(bytes);
        if let Err(error) = self.append(key, entry) {
            self.full = true;
            self.notes
                .push(format!("{error}; nothing more is kept on the disk"));
        }
    }

    fn append(&mut self, key: Key, entry: &Entry) -> Result<(), EmbedError> {
        let record = record(key, entry);
        let limit = self.bytes_max / FILES;
        let fits = |file: &Segment| file.bytes + record.len() as u64 <= limit;
        if !self.files.last().is_some_and(fits) {
            self.begin()?;
        }
        let Some(segment) = self.files.last_mut() else {
            return Ok(());
        };
        let place = Place {
            number: segment.number,
            offset: segment.bytes,
            dims: entry.row.len() as u32,
        };
        let written = segment
            .file
            .seek(SeekFrom::Start(segment.bytes))
            .and_then(|_| segment.file.write_all(&record));
        if let Err(reason) = written {
            let _ = segment.file.set_len(segment.bytes);
            return Err(failed(&self.path(place.number), "write", &reason));
        }
        segment.bytes += record.len() as u64;
        self.places.insert(key, place);
        Ok(())
    }

    /// Begins a file.
    fn begin(&mut self) -> Result<(), EmbedError> {
        let number = self.files.last().map_or(0, |file| file.number + 1);
        let path = self.path(number);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        let file = no_follow(&mut options).open(&path);
        let mut file = file.map_err(|reason| failed(&path, "create", &reason))?;
        file.write_all(&MAGIC)
            .map_err(|reason| failed(&path, "write", &reason))?;
        self.files.push(Segment {
            number,
            file,
            bytes: MAGIC.len() as u64,
        });
        Ok(())
    }

    /// Removes the oldest files until `bytes` more fit.
    fn make_room(&mut self, bytes: u64) {
        let needed = bytes + MAGIC.len() as u64;
        while self.bytes() + needed > self.bytes_max && !self.files.is_empty() {
            let oldest = self.files.remove(0);
            self.places.retain(|_, place| place.number != oldest.number);
            // One that cannot be removed is found and read again by the next run.
            let _ = fs::remove_file(self.path(oldest.number));
        }
    }

    fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    pub(super) fn fill(&self) -> DiskFill {
        DiskFill {
            entries: self.places.len(),
            bytes: self.bytes(),
            corrupt: self.corrupt,
        }
    }

    /// What is to be said, once.
    pub(super) fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }
}

fn failed(path: &Path, action: &str, reason: &io::Error) -> EmbedError {
    EmbedError::Cache {
        path: path.display().to_string(),
        reason: format!("cannot {action}: {reason}"),
    }
}

fn record_bytes(dims: u32) -> u64 {
    HEAD_BYTES as u64 + u64::from(dims) * 4 + SUM_BYTES as u64
}

fn record(key: Key, entry: &Entry) -> Vec<u8> {
    let dims = entry.row.len() as u32;
    let mut bytes = key.0.to_vec();
    for count in [entry.tokens, entry.tokens_before, dims] {
        bytes.extend(count.to_le_bytes());
    }
    bytes.extend(entry.row.iter().flat_map(|x| x.to_le_bytes()));
    let sum = XxHash3_64::oneshot(&bytes);
    bytes.extend(sum.to_le_bytes());
    bytes
}

fn read_record(reader: &mut impl Read) -> Result<(Key, Entry), String> {
    let short = |_end: io::Error| "ends within a vector".to_owned();
    let mut bytes = vec![0; HEAD_BYTES];
    reader.read_exact(&mut bytes).map_err(short)?;
    let (key, counts) = bytes.split_at(Key::BYTES);
    let key = Key(key.try_into().map_err(|_size| "no key".to_owned())?);
    let mut counts = counts.chunks_exact(4).map(u32_of);
    let mut count = || counts.next().unwrap_or(0);
    let (tokens, tokens_before, dims) = (count(), count(), count());
    if dims > DIMS_MAX {
        return Err(format!("a vector of {dims} numbers"));
    }
    bytes.resize(HEAD_BYTES + dims as usize * 4, 0);
    reader.read_exact(&mut bytes[HEAD_BYTES..]).map_err(short)?;
    let mut sum = [0; SUM_BYTES];
    reader.read_exact(&mut sum).map_err(short)?;
    if XxHash3_64::oneshot(&bytes) != u64::from_le_bytes(sum) {
        return Err("its checksum is wrong".to_owned());
    }
    let row = bytes[HEAD_BYTES..].chunks_exact(4).map(u32_of);
    let entry = Entry {
        row: row.map(f32::from_bits).collect(),
        tokens,
        tokens_before,
    };
    Ok((key, entry))
}

/// `bytes`: four of them.
fn u32_of(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .rev()
        .fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
