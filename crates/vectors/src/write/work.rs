//! The working directory of a set: the data, and the journal that says how much of it is safe.
//!
//! Order of what reaches the disk: a piece's bytes, then its line; at the end the last bytes, then the line of the end,
//! then the name. So a line's bytes are there, unless the disk lost what it had promised, and they are read again anyway.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use lattice_files::{Earlier, Journal, Stage, no_follow, sync_dir};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use twox_hash::XxHash3_64;

use super::encode::{Encoded, Ending, PieceLine};
use super::{Ids, WriteOptions};
use crate::VectorsError;

const DATA: &str = "data";
const JOURNAL: &str = "progress.jsonl";
/// Of the form of data and journal; another number is other work.
const VERSION: u64 = 1;
/// Bytes read at a time of what an earlier run wrote.
const READ_BYTES: usize = 1 << 20;

/// A line of the journal.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    /// A piece is written.
    Piece {
        rows: u64,
        bytes: u64,
        xxh3: u64,
        note: String,
    },
    /// All is written.
    End {
        head_xxh3: u64,
        tail_bytes: u64,
        tail_xxh3: u64,
    },
}

pub(super) struct Work {
    stage: Stage,
    journal: Journal,
    /// Absent once it has carried its name.
    data: Option<File>,
    path: PathBuf,
    head: Vec<u8>,
    pieces: Vec<PieceLine>,
    lines: usize,
    end: Option<Line>,
}

impl Work {
    /// Takes over what an earlier run of the same work left, as far as it is as its journal says.
    pub(super) fn open(
        stage: Stage,
        options: &WriteOptions,
        head: Vec<u8>,
    ) -> Result<Self, VectorsError> {
        let work = work_of(options);
        let (mut journal, earlier) =
            Journal::open(&stage.partial().join(JOURNAL), &work.to_string())?;
        let lines = match earlier {
            Earlier::Nothing => Vec::new(),
            Earlier::Lines(lines) => lines,
            // Without rows behind it, nothing is lost with it.
            Earlier::Other(_) if !has_rows(&stage) => {
                journal.begin()?;
                Vec::new()
            }
            Earlier::Other(there) => {
                return Err(VectorsError::Differs {
                    path: stage.partial().display().to_string(),
                    differs: differences(&there, &work),
                });
            }
        };
        let mut opened = Self {
            path: stage.partial().join(DATA),
            stage,
            journal,
            data: None,
            head,
            pieces: Vec::new(),
            lines: 0,
            end: None,
        };
        let lines: Vec<Line> = lines.iter().map_while(|line| unsealed(line)).collect();
        opened.go_on(&lines, options.piece_rows as u64)?;
        Ok(opened)
    }

    fn go_on(&mut self, lines: &[Line], piece_rows: u64) -> Result<(), VectorsError> {
        let begun = self.path.exists();
        let out = self.stage.out().to_owned();
        if begun && self.path.metadata().is_ok_and(|found| found.len() > 0) {
            let data = open(&self.path)?;
            let checked = self.check(&data, lines)?;
            self.data = Some(data);
            if checked {
                return Ok(());
            }
        } else if matches!(lines.last(), Some(Line::End { .. })) && out.is_file() {
            // It had its name, but the working directory outlived it.
            let data = File::open(&out).map_err(io(&out, "open"))?;
            if self.check(&data, lines)? {
                return Ok(());
            }
            self.pieces.clear();
        }
        // The last piece of an ended work is shorter: where more rows may follow, it is not a piece.
        while self
            .pieces
            .last()
            .is_some_and(|piece| piece.rows != piece_rows)
        {
            self.pieces.pop();
        }
        self.end = None;
        self.lines = self.pieces.len();
        self.journal.cut(self.lines)?;
        self.cut()?;
        sync_dir(self.stage.partial())?;
        Ok(())
    }

    /// Takes over the pieces that are as their lines say, and says whether that is the whole file.
    fn check(&mut self, data: &File, lines: &[Line]) -> Result<bool, VectorsError> {
        let file_bytes = data.metadata().map_err(io(&self.path, "look at"))?.len();
        let mut reading = data;
        let head_xxh3 = self.hash(&mut reading, 0, self.head.len() as u64)?;
        let mut at = self.head.len() as u64;
        for line in lines {
            match line {
                Line::Piece {
                    rows,
                    bytes,
                    xxh3,
                    note,
                } => {
                    let fits = at.checked_add(*bytes).is_some_and(|end| end <= file_bytes);
                    if !fits || self.hash(&mut reading, at, *bytes)? != Some(*xxh3) {
                        return Ok(false);
                    }
                    self.pieces.push(PieceLine {
                        rows: *rows,
                        begin: at,
                        bytes: *bytes,
                        note: note.clone(),
                    });
                    at += bytes;
                }
                Line::End {
                    head_xxh3: head,
                    tail_bytes,
                    tail_xxh3,
                } => {
                    let whole = at.checked_add(*tail_bytes) == Some(file_bytes)
                        && head_xxh3 == Some(*head)
                        && self.hash(&mut reading, at, *tail_bytes)? == Some(*tail_xxh3);
                    self.end = whole.then(|| line.clone());
                    return Ok(whole);
                }
            }
        }
        Ok(false)
    }

    /// The hash of a stretch, `None` if the file ends before it does.
    fn hash(&self, data: &mut &File, at: u64, bytes: u64) -> Result<Option<u64>, VectorsError> {
        use std::hash::Hasher as _;
        let mut hasher = XxHash3_64::new();
        data.seek(SeekFrom::Start(at))
            .map_err(io(&self.path, "seek in"))?;
        let mut left = data.take(bytes);
        let mut buffer = vec![0; READ_BYTES.min(bytes as usize)];
        loop {
            let read = left.read(&mut buffer).map_err(io(&self.path, "read"))?;
            if read == 0 {
                return Ok((left.limit() == 0).then(|| hasher.finish()));
            }
            hasher.write(&buffer[..read]);
        }
    }

    /// Cuts the data to the pieces that are taken over, with a head before them.
    fn cut(&mut self) -> Result<(), VectorsError> {
        let mut data = match self.data.take() {
            Some(data) => data,
            None => open(&self.path)?,
        };
        let end = self.end_of_pieces();
        data.set_len(end.max(self.head.len() as u64))
            .map_err(io(&self.path, "cut"))?;
        data.seek(SeekFrom::Start(0))
            .map_err(io(&self.path, "seek in"))?;
        data.write_all(&self.head)
            .map_err(io(&self.path, "write"))?;
        data.seek(SeekFrom::Start(end))
            .map_err(io(&self.path, "seek in"))?;
        data.sync_all().map_err(io(&self.path, "sync"))?;
        self.data = Some(data);
        Ok(())
    }

    fn end_of_pieces(&self) -> u64 {
        let last = self.pieces.last();
        last.map_or(self.head.len() as u64, |piece| piece.begin + piece.bytes)
    }

    pub(super) fn rows(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.rows).sum()
    }

    pub(super) fn pieces(&self) -> &[PieceLine] {
        &self.pieces
    }

    pub(super) fn is_whole(&self) -> bool {
        self.end.is_some()
    }

    /// Writes a piece, and its line when it is on the disk.
    pub(super) fn add(&mut self, rows: usize, encoded: &Encoded) -> Result<(), VectorsError> {
        let Encoded { bytes, note } = encoded;
        let begin = self.end_of_pieces();
        self.put(begin, bytes)?;
        self.write_down(&Line::Piece {
            rows: rows as u64,
            bytes: bytes.len() as u64,
            xxh3: XxHash3_64::oneshot(bytes),
            note: note.clone(),
        })?;
        self.pieces.push(PieceLine {
            rows: rows as u64,
            begin,
            bytes: bytes.len() as u64,
            note: note.clone(),
        });
        Ok(())
    }

    /// Writes what the file ends with, and the line of the end when all is on the disk.
    pub(super) fn end(&mut self, ending: &Ending) -> Result<(), VectorsError> {
        let Ending { head, tail } = ending;
        self.put(self.end_of_pieces(), tail)?;
        self.put(0, head)?;
        let line = Line::End {
            head_xxh3: XxHash3_64::oneshot(head),
            tail_bytes: tail.len() as u64,
            tail_xxh3: XxHash3_64::oneshot(tail),
        };
        self.write_down(&line)?;
        self.end = Some(line);
        Ok(())
    }

    fn put(&mut self, at: u64, bytes: &[u8]) -> Result<(), VectorsError> {
        let Some(data) = &mut self.data else {
            return Ok(());
        };
        data.seek(SeekFrom::Start(at))
            .and_then(|_| data.write_all(bytes))
            .map_err(io(&self.path, "write"))?;
        data.sync_data().map_err(io(&self.path, "sync"))
    }

    fn write_down(&mut self, line: &Line) -> Result<(), VectorsError> {
        let text = serde_json::to_string(line).map_err(|error| {
            VectorsError::file(&self.path.display().to_string(), error.to_string())
        })?;
        self.journal.add(&sealed(&text))?;
        self.lines += 1;
        Ok(())
    }

    /// Gives the data its name and removes the rest.
    pub(super) fn publish(mut self) -> Result<(), VectorsError> {
        if self.data.take().is_some() {
            self.stage.publish_file(DATA)?;
        } else {
            self.stage.discard()?;
        }
        Ok(())
    }
}

/// A line with its own hash behind it.
fn sealed(text: &str) -> String {
    format!("{text} {:016x}", XxHash3_64::oneshot(text.as_bytes()))
}

fn unsealed(line: &str) -> Option<Line> {
    let (text, _) = line.rsplit_once(' ')?;
    (sealed(text) == line).then(|| serde_json::from_str(text).ok())?
}

fn open(path: &Path) -> Result<File, VectorsError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    no_follow(&mut options).open(path).map_err(io(path, "open"))
}

fn io(path: &Path, action: &'static str) -> impl Fn(std::io::Error) -> VectorsError {
    VectorsError::io(path.display(), action)
}

fn has_rows(stage: &Stage) -> bool {
    let journal = std::fs::read_to_string(stage.partial().join(JOURNAL));
    journal.is_ok_and(|text| text.lines().count() > 1)
}

/// The journal's first line: all that the file's bytes depend on beside the rows.
fn work_of(options: &WriteOptions) -> Value {
    let pairs = options.fingerprint.iter();
    let ids = match options.ids {
        Ids::No => "none",
        Ids::Int => "int",
        Ids::Text => "text",
    };
    let mut work = json!({
        "version": VERSION,
        "format": format!("{:?}", options.format).to_ascii_lowercase(),
        "columns": options.columns,
        "stored": options.stored.name(),
        "ids": ids,
        "texts": options.texts,
        "piece_rows": options.piece_rows,
        "work": pairs.map(|(name, value)| json!([name, value])).collect::<Value>(),
    });
    if options.scales {
        work["scales"] = Value::Bool(true);
    }
    work
}

/// What of the work differs, there and here.
fn differences(there: &str, here: &Value) -> String {
    let Ok(there) = serde_json::from_str::<Value>(there) else {
        return "its journal is of another form".to_owned();
    };
    let flat =
        |work: &Value| {
            let mut fields: Vec<(String, String)> = Vec::new();
            for (name, value) in work.as_object().into_iter().flatten() {
                match value.as_array() {
                    None => fields.push((name.clone(), value.to_string())),
                    Some(pairs) => fields.extend(pairs.iter().filter_map(|pair| {
                        Some((pair[0].as_str()?.to_owned(), pair[1].to_string()))
                    })),
                }
            }
            fields
        };
    let (there, here) = (flat(&there), flat(here));
    let value = |fields: &[(String, String)], name: &str| {
        let found = fields.iter().find(|(there, _)| there == name);
        found.map_or("nothing".to_owned(), |(_, value)| value.clone())
    };
    let mut names: Vec<&String> = Vec::new();
    for (name, _) in there.iter().chain(&here) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.retain(|name| value(&there, name) != value(&here, name));
    let each = names.iter().map(|name| {
        let (there, here) = (value(&there, name), value(&here, name));
        format!("{name} was {there}, is {here}")
    });
    each.collect::<Vec<_>>().join("; ")
}
