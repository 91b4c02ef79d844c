//! Texts, a piece at a time.
//!
//! In: arguments, lines, JSON lines or a Parquet file. Out: labels, each with a text, in their order; and what this input is, for
//! a run that goes on. Memory holds a piece, whatever the length of the whole.
//! It does not know: models, vectors.

use std::collections::HashMap;
use std::fs::File;
use std::hash::Hasher as _;
use std::io::{self, BufRead, BufReader, Read, Seek as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use lattice_vectors::{Format, Id, Label, ReadOptions, VectorReader, VectorSet, Vectors};
use twox_hash::XxHash3_64;

use super::args::Input;

/// Bytes of texts after which a piece ends.
const PIECE_BYTES: usize = 16 << 20;
/// Bytes of a line: more than a tokenizer takes.
const LINE_BYTES_MAX: usize = 16 << 20;
/// Bytes of stdin's first line that are looked at.
const LOOK_BYTES: usize = 1 << 16;
/// Ids that stand twice and are named.
const NAMED_MAX: u64 = 5;

/// Where texts come from.
pub(crate) struct Texts {
    kind: Kind,
    ids: Ids,
    /// Texts that were given out.
    read: u64,
    /// What they are, for a run that goes on.
    pub(crate) origin: String,
    /// How many there are, where that is known.
    pub(crate) total: Option<u64>,
    /// Whether they may have to be waited for.
    pub(crate) waits: bool,
}

enum Kind {
    Given(std::vec::IntoIter<String>),
    Lines(Lines),
    Set(Box<VectorReader>),
}

impl Texts {
    /// The texts of the command line.
    pub(crate) fn given(texts: Vec<String>) -> Self {
        Self {
            origin: "arguments".to_owned(),
            ..Self::of(Kind::Given(texts.into_iter()))
        }
    }

    /// The texts of a file; `-` is stdin.
    pub(crate) fn open(path: &Path, input: Option<Input>) -> anyhow::Result<Self> {
        if path.as_os_str() == "-" {
            return Self::stdin(input);
        }
        let name = path.display().to_string();
        let mut file = File::open(path).with_context(|| format!("cannot open {name}"))?;
        let metadata = file
            .metadata()
            .with_context(|| format!("cannot look at {name}"))?;
        if metadata.is_dir() {
            bail!("{name} is a directory, not a file of texts");
        }
        let format = match (Format::of(path), input) {
            (_, Some(Input::Lines)) | (Err(_), None) => None,
            (_, Some(Input::Jsonl)) => Some(Format::Jsonl),
            (Ok(format), None) => Some(format),
        };
        let (origin, lines) = match metadata.is_file() {
            true => looked_through(&mut file).with_context(|| format!("cannot read {name}"))?,
            // A pipe is read once.
            false => (name.clone(), None),
        };
        let (kind, total) = match format {
            Some(Format::Npy) => bail!("{name} has vectors, and no texts"),
            Some(Format::Parquet) => {
                let reader = VectorReader::open(path, &of_texts())?;
                (Kind::Set(Box::new(reader)), None)
            }
            other => {
                let reader = Box::new(BufReader::with_capacity(1 << 18, file));
                (Kind::reading(&name, reader, other.is_some()), lines)
            }
        };
        Ok(Self {
            origin,
            total,
            waits: !metadata.is_file(),
            ..Self::of(kind)
        })
    }

    /// The texts of stdin.
    pub(crate) fn stdin(input: Option<Input>) -> anyhow::Result<Self> {
        let mut reader = BufReader::with_capacity(LOOK_BYTES, io::stdin());
        let jsonl = match input {
            Some(input) => input == Input::Jsonl,
            None => has_text_field(reader.fill_buf().context("cannot read stdin")?),
        };
        let kind = Kind::reading("stdin", Box::new(reader), jsonl);
        Ok(Self {
            origin: "stdin".to_owned(),
            waits: true,
            ..Self::of(kind)
        })
    }

    fn of(kind: Kind) -> Self {
        Self {
            kind,
            ids: Ids::default(),
            read: 0,
            origin: String::new(),
            total: None,
            waits: false,
        }
    }

    /// The next texts, at most so many; none at the end. `warn` hears what is odd about them.
    pub(crate) fn next(
        &mut self,
        texts_max: usize,
        warn: &mut dyn FnMut(&str),
    ) -> anyhow::Result<Vec<Label>> {
        let labels = self.kind.next(texts_max)?;
        for (at, label) in (self.read..).zip(&labels) {
            if label.text.is_none() {
                bail!("row {at} has no `text`");
            }
            if let Some(id) = &label.id
                && let Some(words) = self.ids.check(id, at)
            {
                warn(&words);
            }
        }
        self.read += labels.len() as u64;
        Ok(labels)
    }
}

fn of_texts() -> ReadOptions {
    ReadOptions {
        vectors: Vectors::Skipped,
        text: Some("text".to_owned()),
        rest: true,
        ..ReadOptions::default()
    }
}

impl Kind {
    fn reading(name: &str, reader: Box<dyn BufRead + Send>, jsonl: bool) -> Self {
        if jsonl {
            let reader = Box::new(WithoutMark::new(reader));
            let reader = VectorReader::from_lines(name, reader, &of_texts());
            return Self::Set(Box::new(reader));
        }
        Self::Lines(Lines {
            name: name.to_owned(),
            reader,
            number: 0,
        })
    }

    fn next(&mut self, texts_max: usize) -> anyhow::Result<Vec<Label>> {
        let label = |text| Label {
            text: Some(text),
            ..Label::default()
        };
        match self {
            Self::Given(texts) => Ok(texts.by_ref().take(texts_max).map(label).collect()),
            Self::Lines(lines) => lines.piece(texts_max),
            Self::Set(reader) => rows(reader, texts_max),
        }
    }
}

/// The next rows of a set. Rows may be long: few are read before their length is known.
fn rows(reader: &mut VectorReader, texts_max: usize) -> anyhow::Result<Vec<Label>> {
    let (mut labels, mut bytes, mut more) = (Vec::new(), 0, 1);
    while labels.len() < texts_max && bytes < PIECE_BYTES {
        let mut set = VectorSet::new();
        if reader.read(more.min(texts_max - labels.len()), &mut set)? == 0 {
            break;
        }
        let texts = set.labels.iter().filter_map(|label| label.text.as_ref());
        bytes += texts.map(String::len).sum::<usize>();
        labels.append(&mut set.labels);
        more *= 2;
    }
    Ok(labels)
}

/// Text a line.
struct Lines {
    name: String,
    reader: Box<dyn BufRead + Send>,
    /// Lines that were read.
    number: u64,
}

impl Lines {
    fn piece(&mut self, texts_max: usize) -> anyhow::Result<Vec<Label>> {
        let (mut labels, mut bytes) = (Vec::new(), 0);
        while labels.len() < texts_max && bytes < PIECE_BYTES {
            let Some(text) = self.line()? else { break };
            bytes += text.len();
            labels.push(Label {
                text: Some(text),
                ..Label::default()
            });
        }
        Ok(labels)
    }

    /// The next line without its end. The last one need not have one.
    fn line(&mut self) -> anyhow::Result<Option<String>> {
        let (name, number) = (&self.name, self.number + 1);
        let mut line = Vec::new();
        let limit = LINE_BYTES_MAX as u64 + 2;
        let mut limited = (&mut self.reader).take(limit);
        let read = limited.read_until(b'\n', &mut line);
        read.with_context(|| format!("{name}, line {number}: cannot read"))?;
        if line.is_empty() {
            return Ok(None);
        }
        if line.last() == Some(&b'\n') {
            line.pop();
            if line.last() == Some(&b'\r') {
                line.pop();
            }
        }
        if line.len() > LINE_BYTES_MAX {
            bail!("{name}, line {number}: more than 16 MiB");
        }
        self.number = number;
        if number == 1 && line.starts_with(&MARK) {
            line.drain(..MARK.len());
        }
        match String::from_utf8(line) {
            Ok(text) => Ok(Some(text)),
            Err(error) => {
                let byte = error.utf8_error().valid_up_to();
                bail!("{name}, line {number}, byte {byte}: not UTF-8")
            }
        }
    }
}

/// What some programs write before UTF-8.
const MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// A reader without the mark that may stand at its beginning.
struct WithoutMark {
    inner: Box<dyn BufRead + Send>,
    begun: bool,
}

impl WithoutMark {
    fn new(inner: Box<dyn BufRead + Send>) -> Self {
        Self {
            inner,
            begun: false,
        }
    }
}

impl Read for WithoutMark {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.read(buffer)?;
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for WithoutMark {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if !self.begun {
            self.begun = true;
            if self.inner.fill_buf()?.starts_with(&MARK) {
                self.inner.consume(MARK.len());
            }
        }
        self.inner.fill_buf()
    }

    fn consume(&mut self, length: usize) {
        self.inner.consume(length);
    }
}

/// A hash of texts.
pub(crate) fn hash_of(labels: &[Label]) -> String {
    let mut hash = XxHash3_64::new();
    for text in labels.iter().filter_map(|label| label.text.as_ref()) {
        hash.write_u64(text.len() as u64);
        hash.write(text.as_bytes());
    }
    format!("{} texts, XXH3 {:016x}", labels.len(), hash.finish())
}

/// Whether the first line is a JSON object with a field `text`.
fn has_text_field(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(&MARK).unwrap_or(bytes);
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or(bytes);
    let object: Result<serde_json::Map<_, _>, _> = serde_json::from_slice(line);
    object.is_ok_and(|object| object.contains_key("text"))
}

/// What a file is, by its contents, and how many lines it has.
fn looked_through(file: &mut File) -> io::Result<(String, Option<u64>)> {
    let mut hash = XxHash3_64::new();
    let (mut bytes, mut lines, mut last) = (0u64, 0u64, b'\n');
    let mut buffer = vec![0; 1 << 18];
    loop {
        let length = match file.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        let Some(end) = buffer[..length].last() else {
            let lines = lines + u64::from(last != b'\n');
            file.rewind()?;
            let origin = format!("{bytes} bytes, XXH3 {:016x}", hash.finish());
            return Ok((origin, Some(lines)));
        };
        last = *end;
        hash.write(&buffer[..length]);
        bytes += length as u64;
        lines += buffer[..length]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count() as u64;
    }
}

/// The ids that were seen, by their hashes.
#[derive(Default)]
struct Ids {
    seen: HashMap<u64, u64>,
    twice: u64,
}

impl Ids {
    /// Words about an id that stood there before. Two ids of one hash, one among a million million, are taken for the same.
    fn check(&mut self, id: &Id, at: u64) -> Option<String> {
        let id = id.to_string();
        let before = self.seen.insert(XxHash3_64::oneshot(id.as_bytes()), at)?;
        self.twice += 1;
        match self.twice {
            1..NAMED_MAX => Some(format!(
                "id {id} stands there twice: texts {before} and {at}"
            )),
            NAMED_MAX => Some("more ids stand there twice".to_owned()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &'static [u8], jsonl: bool) -> Result<Vec<Label>, String> {
        let mut texts = Texts::of(Kind::reading("in", Box::new(text), jsonl));
        let mut all = Vec::new();
        loop {
            let piece = texts.next(3, &mut |_| ());
            let piece = piece.map_err(|error| format!("{error:#}"))?;
            if piece.is_empty() {
                return Ok(all);
            }
            all.extend(piece);
        }
    }

    fn lines(text: &'static [u8]) -> Result<Vec<String>, String> {
        let labels = read(text, false)?;
        Ok(labels
            .into_iter()
            .map(|label| label.text.unwrap())
            .collect())
    }

    #[test]
    fn a_line_is_a_text() {
        assert_eq!(lines(b"").unwrap(), [""; 0]);
        assert_eq!(lines(b"one\n\nthree").unwrap(), ["one", "", "three"]);
        assert_eq!(
            lines(b"\xef\xbb\xbfone\r\n two \r\n").unwrap(),
            ["one", " two "]
        );
        assert_eq!(lines(b"a\rb\n").unwrap(), ["a\rb"]);
        let words = lines(b"one\ntw\xff\n").unwrap_err();
        assert_eq!(words, "in, line 2, byte 2: not UTF-8");
    }

    #[test]
    fn json_lines_have_a_text() {
        let labels = read(
            b"\xef\xbb\xbf{\"id\":3,\"text\":\"a\"}\r\n{\"text\":\"\"}\n",
            true,
        )
        .unwrap();
        assert_eq!(labels[0].id, Some(Id::Int(3)));
        assert_eq!(labels[1].text.as_deref(), Some(""));
        let words = read(b"{\"text\":\"a\"}\n{\"txt\":\"b\"}\n", true).unwrap_err();
        assert!(words.contains("row 1") && words.contains("text"), "{words}");
        let words = read(b"{\"text\":null}\n", true).unwrap_err();
        assert!(words.contains("text"), "{words}");
    }

    #[test]
    fn what_the_first_line_says() {
        assert!(has_text_field(b"{\"text\": \"x\"}\n{"));
        assert!(has_text_field(b"\xef\xbb\xbf{\"id\": 1, \"text\": \"x\"}"));
        assert!(!has_text_field(b"{\"txt\": \"x\"}"));
        assert!(!has_text_field(b"text"));
        assert!(!has_text_field(b""));
    }

    #[test]
    fn ids_that_stand_twice_are_named() {
        let mut ids = Ids::default();
        let mut check = |id, at| ids.check(&Id::Int(id), at);
        assert_eq!(check(1, 0), None);
        let words = check(1, 7).unwrap();
        assert_eq!(words, "id 1 stands there twice: texts 0 and 7");
    }
}
