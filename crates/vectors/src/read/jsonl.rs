//! Reads JSON lines: an object with a list of numbers, perhaps an id and a text, and whatever else.

use std::borrow::Cow;
use std::fmt;
use std::io::{BufRead, Read as _};

use serde::Deserialize;
use serde::de::{Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Place, ReadOptions, VECTOR_NAMES, Vectors};
use crate::set::SCALE;
use crate::{Field, Id, Label, Stored, VectorSet, VectorsError};

/// Bytes of a line: far more than any vector with its text, and far less than all memory.
const LINE_BYTES_MAX: u64 = 64 << 20;

pub(super) struct JsonlReader {
    place: Place,
    lines: Box<dyn BufRead + Send>,
    vectors: Vectors,
    id: Name,
    text: Name,
    scales: bool,
    /// Numbers in a row, once there was one.
    columns: Option<usize>,
    line: Vec<u8>,
    /// The line's number from 1, and its first byte.
    number: u64,
    byte: u64,
}

/// A field's name, and whether each line must have it.
struct Name {
    name: String,
    asked: bool,
}

impl Name {
    fn new(asked: Option<&String>, usual: &str) -> Self {
        Self {
            name: asked.map_or_else(|| usual.to_owned(), Clone::clone),
            asked: asked.is_some(),
        }
    }
}

impl JsonlReader {
    pub(super) fn new(name: &str, lines: Box<dyn BufRead + Send>, options: &ReadOptions) -> Self {
        Self {
            place: Place::new(name, options),
            lines,
            vectors: options.vectors.clone(),
            id: Name::new(options.id.as_ref(), "id"),
            text: Name::new(options.text.as_ref(), "text"),
            scales: options.scales,
            columns: None,
            line: Vec::new(),
            number: 0,
            byte: 0,
        }
    }

    pub(super) fn stored(&self) -> Option<Stored> {
        (self.vectors != Vectors::Skipped).then_some(Stored::F32)
    }

    pub(super) fn read(
        &mut self,
        rows_max: usize,
        piece: &mut VectorSet,
    ) -> Result<(), VectorsError> {
        piece.first_row = self.place.row;
        piece.stored = Stored::F32;
        while piece.rows < rows_max && self.next_line()? {
            let line = std::mem::take(&mut self.line);
            self.row(&line, piece)?;
            self.byte += line.len() as u64;
            self.line = line;
            piece.rows += 1;
            self.place.row += 1;
        }
        piece.columns = self.columns.unwrap_or(0);
        Ok(())
    }

    /// Reads the next line that is not empty; its newline stays on it.
    fn next_line(&mut self) -> Result<bool, VectorsError> {
        loop {
            self.line.clear();
            self.number += 1;
            let mut limited = (&mut self.lines).take(LINE_BYTES_MAX);
            let length = limited
                .read_until(b'\n', &mut self.line)
                .map_err(VectorsError::io(&self.place.name, "read"))?;
            if length as u64 == LINE_BYTES_MAX {
                return Err(self.wrong(0, "a line of more than 64 MiB"));
            }
            if length == 0 || !self.line.trim_ascii().is_empty() {
                return Ok(length > 0);
            }
            self.byte += length as u64;
        }
    }

    fn row(&mut self, line: &[u8], piece: &mut VectorSet) -> Result<(), VectorsError> {
        let text = std::str::from_utf8(line)
            .map_err(|error| self.wrong(error.valid_up_to(), "bytes that are not UTF-8"))?;
        let object: Object<'_> = serde_json::from_str(text)
            .map_err(|error| self.wrong(error.column().saturating_sub(1), no_json(&error)))?;
        let mut label = Label::default();
        let mut vector = None;
        if self.vectors == Vectors::Usual {
            self.vectors = Vectors::Named(usual_name(&object).to_owned());
        }
        for (name, value) in &object.0 {
            let at = value.get().as_ptr() as usize - text.as_ptr() as usize;
            if self.is_vector(name) {
                vector = Some((at, value.get()));
            } else if **name == *self.id.name {
                label.id = self.id_of(at, value.get())?;
            } else if **name == *self.text.name {
                label.text = serde_json::from_str(value.get())
                    .map_err(|_no_text| self.wrong(at, "a text that is no JSON string"))?;
            } else if self.scales && **name == *SCALE {
                label.scale = serde_json::from_str(value.get())
                    .map_err(|_no_number| self.wrong(at, "a scale that is no number"))?;
            } else {
                label.rest.push(Field {
                    name: name.clone().into_owned(),
                    value: (*value).to_owned(),
                });
            }
        }
        let lacks = |name: &Name, there: bool| (name.asked && !there).then(|| name.name.clone());
        let lacking =
            lacks(&self.id, label.id.is_some()).or_else(|| lacks(&self.text, label.text.is_some()));
        if let Some(name) = lacking {
            return Err(self.lacks(&name, &object));
        }
        match (vector, &self.vectors) {
            (_, Vectors::Skipped) => {}
            (Some((at, json)), _) => self.numbers(at, json, &mut piece.values)?,
            (None, Vectors::Named(name)) => return Err(self.lacks(name, &object)),
            (None, Vectors::Usual) => {}
        }
        piece.labels.push(label);
        Ok(())
    }

    fn is_vector(&self, name: &str) -> bool {
        match &self.vectors {
            Vectors::Named(vectors) => name == vectors,
            Vectors::Usual | Vectors::Skipped => VECTOR_NAMES.contains(&name),
        }
    }

    fn id_of(&self, at: usize, json: &str) -> Result<Option<Id>, VectorsError> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Any {
            Int(i64),
            Text(String),
            None(()),
        }
        match serde_json::from_str(json) {
            Ok(Any::Int(id)) => Ok(Some(Id::Int(id))),
            Ok(Any::Text(id)) => Ok(Some(Id::Text(id))),
            Ok(Any::None(())) => Ok(None),
            Err(_other) => Err(self.wrong(at, "an id that is neither a string nor a whole number")),
        }
    }

    /// Reads a list of numbers, each rounded once from its digits. `json` is valid JSON already.
    fn numbers(
        &mut self,
        at: usize,
        json: &str,
        values: &mut Vec<f32>,
    ) -> Result<(), VectorsError> {
        let list = json
            .strip_prefix('[')
            .and_then(|list| list.strip_suffix(']'));
        let Some(list) = list else {
            return Err(self.wrong(at, "the vector is no list of numbers"));
        };
        let before = values.len();
        for word in list.split(',') {
            let number = word.trim_ascii();
            let begins = number.as_bytes().first().copied().unwrap_or(b' ');
            let value = match number {
                _ if begins == b'-' || begins.is_ascii_digit() => number.parse().ok(),
                "null" if self.place.allow_non_finite => Some(f32::NAN),
                _ => None,
            };
            let finite = |value: &f32| self.place.allow_non_finite || value.is_finite();
            let Some(value) = value.filter(finite) else {
                let column = values.len() - before;
                let at = at + (word.as_ptr() as usize - json.as_ptr() as usize);
                let shown: String = number.chars().take(40).collect();
                let reason = format!("column {column}: {shown:?} is no finite number");
                return Err(self.wrong(at, reason));
            };
            values.push(value);
        }
        let found = values.len() - before;
        let columns = *self.columns.get_or_insert(found);
        if found == columns {
            return Ok(());
        }
        let reason = format!("{found} numbers, the rows before have {columns}");
        Err(self.wrong(at, reason))
    }

    fn lacks(&self, name: &str, object: &Object<'_>) -> VectorsError {
        let there: Vec<&str> = object.0.iter().map(|(name, _)| &**name).take(20).collect();
        let reason = format!("no field {name:?}; there are: {}", there.join(", "));
        self.wrong(0, reason)
    }

    /// An error at `at` in the line.
    fn wrong(&self, at: usize, reason: impl Into<String>) -> VectorsError {
        let byte = self.byte + at as u64;
        let place = format!(", line {}, byte {byte}", self.number);
        self.place.wrong(self.place.row, place, reason)
    }
}

fn usual_name<'a>(object: &Object<'_>) -> &'a str {
    let has = |wanted: &&str| object.0.iter().any(|(name, _)| name == wanted);
    VECTOR_NAMES
        .into_iter()
        .find(has)
        .unwrap_or(VECTOR_NAMES[0])
}

/// The library's words without its line and column, which count within our line.
fn no_json(error: &serde_json::Error) -> String {
    let words = error.to_string();
    let end = words.rfind(" at line ").unwrap_or(words.len());
    format!("no JSON object: {}", &words[..end])
}

/// Fields in their order, each name once.
struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields: Vec<(Cow<'de, str>, &'de RawValue)> = Vec::new();
                while let Some(Key(name)) = map.next_key()? {
                    if fields.iter().any(|(before, _)| *before == name) {
                        return Err(A::Error::custom(format!("the field {name:?} twice")));
                    }
                    fields.push((name, map.next_value()?));
                }
                Ok(Object(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// A name, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);
