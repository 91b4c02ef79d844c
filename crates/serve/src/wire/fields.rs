//! The fields of a request, taken out one by one, each with its type and range.
//!
//! In: a JSON object. Out: values, errors that name the field, and at the end the names that nobody took.
//! `null` is as good as absent. What a reader asks for can be listened to: the document of the interface is made of it, so
//! that it says what is read and nothing else.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};

use lattice_inference::sample::SamplerOptions;
use serde_json::{Map, Value};

use super::ApiError;
use super::json::object_from_bytes;

/// Characters of a value that an error shows.
const SHOWN_CHARACTERS: usize = 40;

/// The fields of one object.
#[derive(Debug)]
pub(crate) struct Fields {
    map: Map<String, Value>,
    /// What stands before the names in errors: empty, or `stream_options.`
    path: String,
    /// Hears what is asked for.
    heard: Option<Heard>,
}

/// What a reader asks of a field.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Asked {
    /// Any value: what it has to be is looked at elsewhere.
    Any,
    Number(Option<RangeInclusive<f32>>),
    Count(RangeInclusive<u64>),
    Integer,
    Truth,
    Text,
    Word(Vec<String>),
    Texts,
    List,
    Object,
    Objects,
    /// A text, or objects.
    Content,
}

/// What was asked for, by paths without places in lists: `messages.content.type`. Of several asks the first counts.
pub(crate) type Heard = Arc<Mutex<BTreeMap<String, Asked>>>;

/// What is said: a text, or parts.
#[derive(Debug)]
pub(crate) enum Content {
    /// Plain text.
    Text(String),
    /// Objects, each with a `type`.
    Parts(Vec<Fields>),
}

impl Fields {
    /// The fields of a body.
    pub(crate) fn from_body(bytes: &[u8]) -> Result<Fields, ApiError> {
        Ok(Fields::from_map(object_from_bytes(bytes)?, None))
    }

    /// The fields of an object; `heard` hears what is asked for.
    pub(crate) fn from_map(map: Map<String, Value>, heard: Option<Heard>) -> Fields {
        let path = String::new();
        Fields { map, path, heard }
    }

    fn hear(&self, name: &str, asked: impl FnOnce() -> Asked) {
        if let Some(heard) = &self.heard {
            let path = without_places(&format!("{}{name}", self.path));
            let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            heard.entry(path).or_insert_with(asked);
        }
    }

    fn inner(&self, name: &str, map: Map<String, Value>) -> Fields {
        Fields {
            map,
            path: format!("{}{name}.", self.path),
            heard: self.heard.clone(),
        }
    }

    /// Puts a field in place of what was there: for fields that another interface calls otherwise.
    pub(crate) fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.map.insert(name.to_owned(), value.into());
    }

    /// What a field holds, which stays there; `null` where there is none.
    pub(crate) fn peek(&self, name: &str) -> Value {
        self.map.get(name).cloned().unwrap_or_default()
    }

    fn take<T>(
        &mut self,
        name: &str,
        expected: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let Some(value) = self.given(name) else {
            return Ok(None);
        };
        match read(&value) {
            Some(read) => Ok(Some(read)),
            None => Err(self.wrong(name, expected, &value)),
        }
    }

    fn wrong(&self, name: &str, expected: &str, found: &Value) -> ApiError {
        let found = shortened(&found.to_string());
        self.error(name, format!("expected {expected}, found {found}"))
    }

    /// An error about one of the fields.
    pub(crate) fn error(&self, name: &str, message: impl std::fmt::Display) -> ApiError {
        ApiError::field(format!("{}{name}", self.path), message)
    }

    /// Any value but `null`.
    pub(crate) fn value(&mut self, name: &str) -> Option<Value> {
        self.hear(name, || Asked::Any);
        self.given(name)
    }

    fn given(&mut self, name: &str) -> Option<Value> {
        self.map.remove(name).filter(|value| !value.is_null())
    }

    /// A number, whose range is the library's. One beyond f32 becomes infinite, which no range has.
    pub(crate) fn number(&mut self, name: &str) -> Result<Option<f32>, ApiError> {
        self.hear(name, || Asked::Number(SamplerOptions::range(name)));
        self.f32(name)
    }

    /// A number within a range.
    pub(crate) fn number_within(
        &mut self,
        name: &str,
        range: RangeInclusive<f32>,
    ) -> Result<Option<f32>, ApiError> {
        self.hear(name, || Asked::Number(Some(range.clone())));
        match self.f32(name)? {
            Some(number) if !range.contains(&number) => {
                let (least, most) = (range.start(), range.end());
                Err(self.error(name, format!("{number}, allowed is {least} to {most}")))
            }
            number => Ok(number),
        }
    }

    fn f32(&mut self, name: &str) -> Result<Option<f32>, ApiError> {
        self.take(name, "a number", |value| {
            value.as_f64().map(|value| value as f32)
        })
    }

    /// A whole number within a range.
    pub(crate) fn count(
        &mut self,
        name: &str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<usize>, ApiError> {
        self.hear(name, || Asked::Count(range.clone()));
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        self.take(name, &expected, |value| {
            let count = value.as_u64().filter(|count| range.contains(count))?;
            usize::try_from(count).ok()
        })
    }

    /// A whole number that may be negative.
    pub(crate) fn integer(&mut self, name: &str) -> Result<Option<i64>, ApiError> {
        self.hear(name, || Asked::Integer);
        let expected = "a whole number of 64 bits";
        // Seeds beyond i64 are taken bit by bit.
        let read = |value: &Value| value.as_i64().or(value.as_u64().map(u64::cast_signed));
        self.take(name, expected, read)
    }

    /// True or false.
    pub(crate) fn truth(&mut self, name: &str) -> Result<Option<bool>, ApiError> {
        self.hear(name, || Asked::Truth);
        self.take(name, "true or false", Value::as_bool)
    }

    /// A text.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        self.hear(name, || Asked::Text);
        self.take(name, "a text", |value| value.as_str().map(str::to_owned))
    }

    /// One of these words.
    pub(crate) fn word<'a>(
        &mut self,
        name: &str,
        words: &[&'a str],
    ) -> Result<Option<&'a str>, ApiError> {
        let owned = |word: &&str| (*word).to_owned();
        self.hear(name, || Asked::Word(words.iter().map(owned).collect()));
        let expected = format!("one of {}", words.join(", "));
        let read = |value: &Value| words.iter().find(|word| value == **word).copied();
        self.take(name, &expected, read)
    }

    /// A text, or a list of texts.
    pub(crate) fn texts(&mut self, name: &str) -> Result<Vec<String>, ApiError> {
        self.hear(name, || Asked::Texts);
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let texts = self.take(name, "a text or a list of texts", |value| match value {
            Value::Array(values) => values.iter().map(text).collect(),
            value => text(value).map(|text| vec![text]),
        })?;
        Ok(texts.unwrap_or_default())
    }

    /// A list.
    pub(crate) fn list(&mut self, name: &str) -> Result<Option<Vec<Value>>, ApiError> {
        self.hear(name, || Asked::List);
        self.take(name, "a list", |value| value.as_array().cloned())
    }

    /// An object, field by field.
    pub(crate) fn object(&mut self, name: &str) -> Result<Option<Fields>, ApiError> {
        self.hear(name, || Asked::Object);
        let map = self.take(name, "an object", |value| value.as_object().cloned())?;
        Ok(map.map(|map| self.inner(name, map)))
    }

    /// A list of objects, each field by field.
    pub(crate) fn objects(&mut self, name: &str) -> Result<Option<Vec<Fields>>, ApiError> {
        self.hear(name, || Asked::Objects);
        let Some(values) = self.list(name)? else {
            return Ok(None);
        };
        let object = |(index, value): (usize, Value)| match value {
            Value::Object(map) => Ok(self.inner(&format!("{name}[{index}]"), map)),
            other => Err(self.wrong(&format!("{name}[{index}]"), "an object", &other)),
        };
        let objects = values.into_iter().enumerate().map(object);
        objects.collect::<Result<_, _>>().map(Some)
    }

    /// A text, or a list of objects that say more than a text can.
    pub(crate) fn content(&mut self, name: &str) -> Result<Option<Content>, ApiError> {
        self.hear(name, || Asked::Content);
        match self.given(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(Content::Text(text))),
            Some(value @ Value::Array(_)) => {
                self.put(name, value);
                Ok(self.objects(name)?.map(Content::Parts))
            }
            Some(other) => Err(self.wrong(name, "a text or a list", &other)),
        }
    }

    /// A value that must be there.
    pub(crate) fn needed<T>(&self, name: &str, value: Option<T>) -> Result<T, ApiError> {
        value.ok_or_else(|| self.error(name, "missing"))
    }

    /// The whole object, as it is.
    pub(crate) fn into_map(self) -> Map<String, Value> {
        self.map
    }

    /// Adds the names that nobody took, without their places in lists and each once.
    pub(crate) fn ignored_into(self, names: &mut Vec<String>) {
        for name in self.ignored() {
            let name = without_places(&name);
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }

    /// The names that nobody took, sorted.
    pub(crate) fn ignored(self) -> Vec<String> {
        let left = self.map.into_iter().filter(|(_, value)| !value.is_null());
        let mut names: Vec<_> = left
            .map(|(name, _)| format!("{}{name}", self.path))
            .collect();
        names.sort();
        names
    }
}

/// A path without places in lists: `tools[1].name` as `tools.name`.
fn without_places(path: &str) -> String {
    let parts = path.split('[').map(|part| match part.split_once(']') {
        Some((_, after)) => after,
        None => part,
    });
    parts.collect()
}

/// A text as errors show it.
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}
