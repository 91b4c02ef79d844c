//! What is done so far, so that a later run can go on: one line for each finished piece, on the disk before the next one
//! begins.
//!
//! In: a line that says which work it is, and lines of what is finished. Out: those of an earlier run of the same work.
//! A line that was not written to its end counts for nothing. The pieces' own bytes may have been lost with the power
//! all the same: who goes on checks them against the line.
//! It does not know: what stands in the lines.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crate::{FilesError, no_follow};

/// What a journal said when it was opened.
#[derive(Debug, PartialEq, Eq)]
pub enum Earlier {
    /// There was none, or no whole line of one.
    Nothing,
    /// It is about other work: its first line.
    Other(String),
    /// The same work: its other lines, in order.
    Lines(Vec<String>),
}

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    head: String,
    /// Where each whole line ends, the first one's included.
    ends: Vec<u64>,
}

impl Journal {
    /// Opens the journal of the work that `head`, one line, describes. One that is about other work stays as it is until
    /// [`begin`](Self::begin); otherwise what follows its last whole line is cut off.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path, head: &str) -> Result<(Self, Earlier), FilesError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = no_follow(&mut options)
            .open(path)
            .map_err(FilesError::io(path, "open"))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)
            .map_err(FilesError::io(path, "read"))?;
        let mut journal = Self {
            file,
            path: path.to_owned(),
            head: head.to_owned(),
            ends: Vec::new(),
        };
        let earlier = journal.read(&bytes);
        match &earlier {
            Earlier::Nothing => journal.begin()?,
            Earlier::Other(_) => {}
            Earlier::Lines(lines) => journal.cut(lines.len())?,
        }
        Ok((journal, earlier))
    }

    fn read(&mut self, bytes: &[u8]) -> Earlier {
        let mut at = 0;
        let mut lines = Vec::new();
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            at += line.len() as u64;
            let Some(Ok(line)) = line.strip_suffix(b"\n").map(std::str::from_utf8) else {
                break;
            };
            if !self.ends.is_empty() {
                lines.push(line.to_owned());
            } else if line != self.head {
                return Earlier::Other(line.to_owned());
            }
            self.ends.push(at);
        }
        if self.ends.is_empty() {
            Earlier::Nothing
        } else {
            Earlier::Lines(lines)
        }
    }

    /// Throws all lines away and begins with the first one.
    ///
    /// # Errors
    /// What the system says.
    pub fn begin(&mut self) -> Result<(), FilesError> {
        self.ends.clear();
        self.set_len(0)?;
        let head = self.head.clone();
        self.add(&head)
    }

    /// Keeps the first `lines` behind the head.
    ///
    /// # Errors
    /// What the system says.
    pub fn cut(&mut self, lines: usize) -> Result<(), FilesError> {
        self.ends.truncate(lines + 1);
        let end = self.ends.last().copied().unwrap_or(0);
        self.set_len(end)
    }

    /// Writes a line down and waits until it is on the disk. It holds no newline.
    ///
    /// # Errors
    /// What the system says.
    pub fn add(&mut self, line: &str) -> Result<(), FilesError> {
        debug_assert!(!line.contains('\n'), "a line of a journal is one line");
        let line = format!("{line}\n");
        let end = self.ends.last().copied().unwrap_or(0) + line.len() as u64;
        self.file
            .write_all(line.as_bytes())
            .map_err(FilesError::io(&self.path, "write"))?;
        self.file
            .sync_data()
            .map_err(FilesError::io(&self.path, "sync"))?;
        self.ends.push(end);
        Ok(())
    }

    fn set_len(&mut self, bytes: u64) -> Result<(), FilesError> {
        self.file
            .set_len(bytes)
            .and_then(|()| self.file.seek(SeekFrom::Start(bytes)))
            .map(drop)
            .map_err(FilesError::io(&self.path, "cut"))
    }
}

#[cfg(test)]
mod tests {
    use lattice_testkit::ScratchDir;

    use super::*;

    #[test]
    fn whole_lines_of_the_same_work_are_kept() {
        let dir = ScratchDir::new().unwrap();
        let path = dir.path().join("progress");
        let (mut journal, earlier) = Journal::open(&path, "work").unwrap();
        assert_eq!(earlier, Earlier::Nothing);
        for line in ["one", "two", "three"] {
            journal.add(line).unwrap();
        }
        journal.cut(2).unwrap();
        journal.add("four").unwrap();
        drop(journal);
        let whole = std::fs::read_to_string(&path).unwrap();
        assert_eq!(whole, "work\none\ntwo\nfour\n");
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let (mut journal, earlier) = Journal::open(&path, "work").unwrap();
            let lines = whole[..cut].matches('\n').count();
            match earlier {
                Earlier::Nothing => assert_eq!(lines, 0),
                Earlier::Lines(earlier) => assert_eq!(earlier, ["one", "two", "four"][..lines - 1]),
                Earlier::Other(head) => panic!("{head}"),
            }
            journal.add("five").unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(
                text.starts_with("work\n") && text.ends_with("five\n"),
                "{text:?}"
            );
        }
    }

    #[test]
    fn other_work_is_left_alone_until_it_is_told_to_go() {
        let dir = ScratchDir::new().unwrap();
        let path = dir.path().join("progress");
        std::fs::write(&path, "other\none\n").unwrap();
        let (mut journal, earlier) = Journal::open(&path, "work").unwrap();
        assert_eq!(earlier, Earlier::Other("other".to_owned()));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "other\none\n");
        journal.begin().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "work\n");
    }
}
