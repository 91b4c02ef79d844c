//! What is done so far, so that a later run can go on: one line for each finished tensor, on the disk before the next
//! one begins.
//!
//! In: what identifies the work, and hashes. Out: the finished tensors of an earlier run of the same work.
//! A line that was not written to its end counts for nothing. The tensors' own bytes may have been lost with the power
//! all the same: who goes on checks them against the line.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::QuantizeError;
use super::hash::Hashes;

/// The journal's name in the working directory.
pub(super) const FILE: &str = "progress.jsonl";

/// A line: a tensor that is finished.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Line {
    name: String,
    offset: u64,
    bytes: u64,
    xxh3: String,
    sha256: String,
}

impl Line {
    pub(super) fn new(name: &str, place: &std::ops::Range<u64>, hashes: &Hashes) -> Self {
        Self {
            name: name.to_owned(),
            offset: place.start,
            bytes: place.end - place.start,
            xxh3: format!("{:016x}", hashes.xxh3),
            sha256: hashes.sha256.clone(),
        }
    }

    /// The hashes, if the line is about this tensor in this place.
    pub(super) fn hashes(&self, name: &str, place: &std::ops::Range<u64>) -> Option<Hashes> {
        let same = self.name == name
            && self.offset == place.start
            && self.bytes == place.end - place.start;
        let xxh3 = u64::from_str_radix(&self.xxh3, 16).ok()?;
        same.then(|| Hashes {
            xxh3,
            sha256: self.sha256.clone(),
        })
    }
}

/// What a journal said when it was opened.
pub(super) enum Found {
    /// There was none.
    Nothing,
    /// It is about other work.
    Other,
    /// Tensors that are finished, in order.
    Lines(Vec<Line>),
}

/// The open journal.
pub(super) struct Journal {
    file: File,
    path: PathBuf,
    /// Where each whole line ends, the first one's included.
    ends: Vec<u64>,
}

impl Journal {
    /// Opens the journal of `work` in `dir`, and begins it anew if it is about other work.
    pub(super) fn open(dir: &Path, work: &Value) -> Result<(Self, Found), QuantizeError> {
        let path = dir.join(FILE);
        let io = QuantizeError::io(&path, "open");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(io)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)
            .map_err(QuantizeError::io(&path, "read"))?;
        let mut journal = Self {
            file,
            path,
            ends: Vec::new(),
        };
        let found = journal.read(&bytes, work);
        match found {
            Found::Lines(_) => journal.cut(journal.ends.len() - 1)?,
            Found::Nothing | Found::Other => journal.begin(work)?,
        }
        Ok((journal, found))
    }

    fn read(&mut self, bytes: &[u8], work: &Value) -> Found {
        let mut at = 0;
        let mut lines = Vec::new();
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let whole = line.ends_with(b"\n");
            if self.ends.is_empty() {
                let head: Option<Value> = serde_json::from_slice(line).ok();
                match head {
                    Some(head) if whole && head == *work => {}
                    Some(_) if whole => return Found::Other,
                    _ => return Found::Nothing,
                }
            } else {
                match serde_json::from_slice(line) {
                    Ok(line) if whole => lines.push(line),
                    _ => break,
                }
            }
            at += line.len() as u64;
            self.ends.push(at);
        }
        if self.ends.is_empty() {
            Found::Nothing
        } else {
            Found::Lines(lines)
        }
    }

    fn begin(&mut self, work: &Value) -> Result<(), QuantizeError> {
        self.ends.clear();
        self.set_len(0)?;
        self.append(&work.to_string())
    }

    /// Keeps the first `lines` tensors.
    pub(super) fn cut(&mut self, lines: usize) -> Result<(), QuantizeError> {
        self.ends.truncate(lines + 1);
        let end = self.ends.last().copied().unwrap_or(0);
        self.set_len(end)
    }

    /// Writes a finished tensor down and waits until it is on the disk.
    pub(super) fn add(&mut self, line: &Line) -> Result<(), QuantizeError> {
        let text = serde_json::to_string(line).map_err(|error| QuantizeError::Io {
            path: self.path.display().to_string(),
            action: "write",
            needed: 0,
            reason: error.into(),
        })?;
        self.append(&text)
    }

    fn append(&mut self, text: &str) -> Result<(), QuantizeError> {
        let line = format!("{text}\n");
        let end = self.ends.last().copied().unwrap_or(0) + line.len() as u64;
        self.file
            .write_all(line.as_bytes())
            .map_err(QuantizeError::io(&self.path, "write"))?;
        self.file
            .sync_data()
            .map_err(QuantizeError::io(&self.path, "sync"))?;
        self.ends.push(end);
        Ok(())
    }

    fn set_len(&mut self, bytes: u64) -> Result<(), QuantizeError> {
        self.file
            .set_len(bytes)
            .and_then(|()| self.file.seek(SeekFrom::Start(bytes)))
            .map(drop)
            .map_err(QuantizeError::io(&self.path, "cut"))
    }
}
