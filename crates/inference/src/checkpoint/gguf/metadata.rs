//! What a GGUF file says of itself: values by key.
//!
//! In: values that the header's reader checked. Out: the same by key and type; an error names the file and the key.
//! Texts of a list lie one after the other in one piece of memory: a vocabulary has hundreds of thousands.
//! It does not know: which keys a model has.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::checkpoint::LoadError;

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum MetaValue {
    /// Any of the eight types of integers.
    Integer(i128),
    /// f32 or f64.
    Float(f64),
    Flag(bool),
    Text(String),
    /// A list of integers or flags.
    Integers(Vec<i64>),
    /// A list of f32 or f64.
    Floats(Vec<f64>),
    Texts(Texts),
}

impl MetaValue {
    /// What it is, for people.
    fn kind(&self) -> &'static str {
        match self {
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a number",
            Self::Flag(_) => "a flag",
            Self::Text(_) => "a text",
            Self::Integers(_) => "a list of integers",
            Self::Floats(_) => "a list of numbers",
            Self::Texts(_) => "a list of texts",
        }
    }
}

/// A list of texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Texts {
    all: String,
    /// Where each one ends in `all`.
    ends: Vec<usize>,
}

impl Texts {
    pub(super) fn push(&mut self, text: &str) {
        self.all.push_str(text);
        self.ends.push(self.all.len());
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Text `index`.
    pub fn get(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)?;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        Some(&self.all[start..end])
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

/// The metadata of a GGUF file.
#[derive(Debug, Clone, Default)]
pub struct GgufMetadata {
    file: String,
    values: BTreeMap<String, MetaValue>,
}

impl GgufMetadata {
    pub(super) fn new(file: &str, values: BTreeMap<String, MetaValue>) -> Self {
        Self {
            file: file.to_owned(),
            values,
        }
    }

    /// The file it stands in, as errors print it.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// All keys, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// A text, or `None` where the key is absent.
    ///
    /// # Errors
    /// [`LoadError::Field`] for a value of another type, as for all of the following.
    pub fn text(&self, key: &str) -> Result<Option<&str>, LoadError> {
        self.typed(key, "a text", |value| match value {
            MetaValue::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// An integer in a range.
    ///
    /// # Errors
    /// Beyond the range, too.
    pub fn integer(&self, key: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, LoadError> {
        let (least, most) = (range.start(), range.end());
        self.typed(
            key,
            &format!("an integer from {least} to {most}"),
            |value| {
                let MetaValue::Integer(value) = *value else {
                    return None;
                };
                u64::try_from(value)
                    .ok()
                    .filter(|value| range.contains(value))
            },
        )
    }

    /// A finite number.
    ///
    /// # Errors
    /// NaN and infinity, too.
    pub fn number(&self, key: &str) -> Result<Option<f64>, LoadError> {
        self.typed(key, "a finite number", |value| match *value {
            MetaValue::Float(value) => Some(value).filter(|value| value.is_finite()),
            MetaValue::Integer(value) => Some(value as f64),
            _ => None,
        })
    }

    /// A truth value.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn flag(&self, key: &str) -> Result<Option<bool>, LoadError> {
        self.typed(key, "a flag", |value| match *value {
            MetaValue::Flag(flag) => Some(flag),
            _ => None,
        })
    }

    /// A list of texts: the tokens, the merges.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn texts(&self, key: &str) -> Result<Option<&Texts>, LoadError> {
        self.typed(key, "a list of texts", |value| match value {
            MetaValue::Texts(texts) => Some(texts),
            _ => None,
        })
    }

    /// A list of integers or flags: the kinds of tokens.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn integers(&self, key: &str) -> Result<Option<&[i64]>, LoadError> {
        self.typed(key, "a list of integers", |value| match value {
            MetaValue::Integers(integers) => Some(integers.as_slice()),
            _ => None,
        })
    }

    /// A list of numbers: the scores of tokens. They may be any numbers.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn numbers(&self, key: &str) -> Result<Option<&[f64]>, LoadError> {
        self.typed(key, "a list of numbers", |value| match value {
            MetaValue::Floats(numbers) => Some(numbers.as_slice()),
            _ => None,
        })
    }

    /// An error about a key.
    pub fn refuse(&self, key: &str, reason: impl Into<String>) -> LoadError {
        LoadError::Field {
            file: self.file.clone(),
            field: key.to_owned(),
            reason: reason.into(),
        }
    }

    pub(super) fn required<T>(&self, key: &str, value: Option<T>) -> Result<T, LoadError> {
        value.ok_or_else(|| self.refuse(key, "is missing"))
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        what: &str,
        read: impl Fn(&'a MetaValue) -> Option<T>,
    ) -> Result<Option<T>, LoadError> {
        let Some(value) = self.values.get(key) else {
            return Ok(None);
        };
        read(value).map(Some).ok_or_else(|| {
            let found = match value {
                MetaValue::Integer(value) => format!("{value}"),
                MetaValue::Float(value) => format!("{value}"),
                other => other.kind().to_owned(),
            };
            self.refuse(key, format!("expected {what}, found {found}"))
        })
    }
}
