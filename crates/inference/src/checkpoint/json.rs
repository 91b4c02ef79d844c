//! JSON read strictly: a key that stands twice is an error and not a silent choice.
//!
//! In: text. Out: [`Value`]s and [`UniqueMap`]s. Depth is bounded by the parser (128 levels).
//! It does not know: which fields a file has.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::LoadError;

/// Parses a whole file whose outermost value is an object.
pub(crate) fn object(file: &str, text: &str) -> Result<Map<String, Value>, LoadError> {
    let Strict(value) = parse(file, text)?;
    match value {
        Value::Object(map) => Ok(map),
        _ => Err(LoadError::Json {
            file: file.to_owned(),
            line: 1,
            column: 1,
            reason: "the file's value is not an object".to_owned(),
        }),
    }
}

/// Parses a whole file whose outermost value is a list of objects.
pub(crate) fn objects(file: &str, text: &str) -> Result<Vec<Map<String, Value>>, LoadError> {
    let Strict(value) = parse(file, text)?;
    let refuse = |index: usize, reason: &str| LoadError::Field {
        file: file.to_owned(),
        field: format!("[{index}]"),
        reason: reason.to_owned(),
    };
    let Value::Array(values) = value else {
        return Err(LoadError::Json {
            file: file.to_owned(),
            line: 1,
            column: 1,
            reason: "the file's value is not a list".to_owned(),
        });
    };
    let object = |(index, value)| match value {
        Value::Object(map) => Ok(map),
        _ => Err(refuse(index, "is not an object")),
    };
    values.into_iter().enumerate().map(object).collect()
}

/// Parses a whole file.
pub(crate) fn parse<'a, T: Deserialize<'a>>(file: &str, text: &'a str) -> Result<T, LoadError> {
    let failed = |line, column, reason: String| LoadError::Json {
        file: file.to_owned(),
        line,
        column,
        reason,
    };
    if text.starts_with('\u{feff}') {
        return Err(failed(
            1,
            1,
            "the file begins with a byte order mark".to_owned(),
        ));
    }
    serde_json::from_str(text)
        .map_err(|error| failed(error.line(), error.column(), without_place(&error)))
}

/// The fields of a file's object that have not been read yet.
pub(crate) struct Fields {
    file: String,
    left: Map<String, Value>,
}

impl Fields {
    /// Those of a whole file.
    pub(crate) fn of(file: &str, text: &str) -> Result<Self, LoadError> {
        Ok(Self {
            file: file.to_owned(),
            left: object(file, text)?,
        })
    }

    /// Those of an object that stands in `file`.
    pub(crate) fn in_object(file: &str, left: Map<String, Value>) -> Self {
        Self {
            file: file.to_owned(),
            left,
        }
    }

    /// Takes a field; `None` where it is absent or null. `expected` says what it must be for `read` to give a value.
    pub(crate) fn take<T>(
        &mut self,
        field: &str,
        expected: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, LoadError> {
        let value = self.left.remove(field).filter(|value| !value.is_null());
        let Some(value) = value else { return Ok(None) };
        let value_read = read(&value);
        value_read
            .map(Some)
            .ok_or_else(|| self.refuse(field, self::expected(expected, &value)))
    }

    /// Takes a truth value.
    pub(crate) fn flag(&mut self, field: &str) -> Result<Option<bool>, LoadError> {
        self.take(field, "true or false", Value::as_bool)
    }

    /// Takes a text.
    pub(crate) fn text(&mut self, field: &str) -> Result<Option<String>, LoadError> {
        self.take(field, "a text", |value| value.as_str().map(str::to_owned))
    }

    /// Takes an integer from 1 up to 2^24.
    pub(crate) fn size(&mut self, field: &str) -> Result<Option<usize>, LoadError> {
        self.take(field, "an integer from 1 to 16777216", |value| {
            let size = value.as_u64().filter(|size| (1..=1 << 24).contains(size))?;
            usize::try_from(size).ok()
        })
    }

    /// Takes a number that is `allowed`.
    pub(crate) fn number(
        &mut self,
        field: &str,
        expected: &str,
        allowed: impl Fn(f64) -> bool,
    ) -> Result<Option<f64>, LoadError> {
        self.take(field, expected, |value| {
            value.as_f64().filter(|value| allowed(*value))
        })
    }

    /// An error about a field.
    pub(crate) fn refuse(&self, field: &str, reason: impl Into<String>) -> LoadError {
        LoadError::Field {
            file: self.file.clone(),
            field: field.to_owned(),
            reason: reason.into(),
        }
    }

    /// What nobody took, without nulls, private fields and those `without_effect`.
    pub(crate) fn left(self, without_effect: &[&str]) -> Vec<String> {
        let heard = |field: &str| field.starts_with('_') || without_effect.contains(&field);
        self.left
            .into_iter()
            .filter(|(field, value)| !value.is_null() && !heard(field))
            .map(|(field, _)| field)
            .collect()
    }
}

/// The parser's words without " at line 1 column 2", which the error that carries them says itself.
pub(crate) fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place).unwrap_or(&text).to_owned()
}

/// A JSON object with values of one type, sorted by key.
#[derive(Debug)]
pub(crate) struct UniqueMap<V>(pub(crate) BTreeMap<String, V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for UniqueMap<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UniqueMapVisitor(PhantomData))
    }
}

struct UniqueMapVisitor<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for UniqueMapVisitor<V> {
    type Value = UniqueMap<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut map = BTreeMap::new();
        while let Some(key) = access.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(twice(&key));
            }
            map.insert(key, access.next_value()?);
        }
        Ok(UniqueMap(map))
    }
}

/// The error for a key that stands twice in one object.
pub(crate) fn twice<E: serde::de::Error>(key: &str) -> E {
    E::custom(format_args!("key {key:?} stands twice"))
}

/// Any JSON value without double keys.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        serde_json::Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Strict(value)) = access.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(twice(&key));
            }
            let Strict(value) = access.next_value()?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

/// "expected WHAT, found VALUE", with a long value cut.
pub(crate) fn expected(what: &str, found: &Value) -> String {
    const CHARS_MAX: usize = 60;
    let text = found.to_string();
    match text.char_indices().nth(CHARS_MAX) {
        Some((cut, _)) => format!("expected {what}, found {}…", &text[..cut]),
        None => format!("expected {what}, found {text}"),
    }
}
