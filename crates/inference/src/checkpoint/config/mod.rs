//! `config.json`: the numbers a model family builds its plan from.
//!
//! In: the file's text. Out: fields by name, each with a type and a range; an error names the field
//! where it stands.
//! A model's fields may be nested under `text_config` (checkpoints with a vision tower); then the
//! nested ones count, and top-level ones where there is no nested one. `tie_word_embeddings` is the
//! exception: the top level wins.
//! Null counts as absent. Nothing is guessed: a default is the caller's word. Every access is
//! recorded, so that what nobody asked for can be listed.
//! It does not know: which fields a family needs, and how they go together.

mod labels;
mod rope;
mod without_effect;

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value};

pub use rope::{Factors, RopeConfig, RopeScaling, Yarn};

use super::generation::ids;
use super::json::{self, expected};
use super::{LoadError, ModelFiles};

const FILE: &str = "config.json";
const BYTES_MAX: u64 = 8 << 20;
/// Where checkpoints with towers keep the language model's fields.
const NESTED: &str = "text_config";
/// Where nested and top level disagree, public checkpoints mean the top level.
const TOP_WINS: &str = "tie_word_embeddings";
/// The largest width, count or length of anything in a model.
const SIZE_MAX: u64 = 1 << 24;
/// More layers than any model has; each costs a list of steps before a weight is looked at.
const LAYERS_MAX: u64 = 1024;

/// A model's configuration.
#[derive(Debug)]
pub struct Config {
    top: Map<String, Value>,
    model_type: String,
    notes: Vec<String>,
    /// Fields asked for; inside of an object as "object.field".
    read: Mutex<BTreeSet<String>>,
}

/// The one value of a field that is supported: see [`Config::must_be`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected<'a> {
    /// A text.
    Text(&'a str),
    /// A truth value.
    Flag(bool),
    /// An integer.
    Count(u64),
    /// A list with nothing in it.
    EmptyList,
}

impl<'a> From<&'a str> for Expected<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Expected<'_> {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<u64> for Expected<'_> {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl Expected<'_> {
    fn value(self) -> Value {
        match self {
            Self::Text(text) => text.into(),
            Self::Flag(flag) => flag.into(),
            Self::Count(count) => count.into(),
            Self::EmptyList => Value::Array(Vec::new()),
        }
    }
}

/// A field's value and where it stands: "text_config.hidden_size".
struct Found<'a> {
    path: String,
    value: &'a Value,
}

impl Config {
    /// The configuration of a model.
    ///
    /// # Errors
    /// [`LoadError::NoFile`] if it has none, and as [`Self::from_text`].
    pub fn open(files: &ModelFiles) -> Result<Self, LoadError> {
        let text = files.text(FILE, BYTES_MAX)?;
        let text = text.ok_or_else(|| LoadError::NoFile {
            model: files.name(),
            file: FILE,
        })?;
        Self::from_text(&text)
    }

    /// The configuration in the text of a `config.json`.
    ///
    /// # Errors
    /// [`LoadError::Json`] if it does not parse, has a key twice or is no object;
    /// [`LoadError::Field`] without a `model_type`.
    pub fn from_text(text: &str) -> Result<Self, LoadError> {
        let mut config = Self {
            top: json::object(FILE, text)?,
            model_type: String::new(),
            notes: Vec::new(),
            read: Mutex::new(BTreeSet::new()),
        };
        if let Some(value) = config.top.get(NESTED)
            && !value.is_object()
            && !value.is_null()
        {
            return Err(field(NESTED, expected("an object", value)));
        }
        config.model_type = config.text("model_type")?;
        config.notes = config.disagreements();
        Ok(config)
    }

    /// The kind of language model: `text_config`'s own ("qwen3_5_text") where there is one.
    pub fn model_type(&self) -> &str {
        &self.model_type
    }

    /// The kind of the whole model: "qwen3_5" where [`Self::model_type`] is "qwen3_5_text".
    pub fn top_model_type(&self) -> &str {
        self.top
            .get("model_type")
            .and_then(Value::as_str)
            .unwrap_or(&self.model_type)
    }

    /// The first of `architectures`.
    pub fn architecture(&self) -> Option<&str> {
        self.top.get("architectures")?.as_array()?.first()?.as_str()
    }

    /// Fields that stand in two places and disagree, and which of the two counts: a sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// A required integer in 1..=2^24: a width, a number of heads, a vocabulary.
    ///
    /// # Errors
    /// [`LoadError::Field`]; so do all the following where the value is missing, of another type or
    /// out of range.
    pub fn size(&self, key: &str) -> Result<usize, LoadError> {
        self.required(key, self.integer(key, 1, SIZE_MAX)?)
    }

    /// As [`Self::size`], or `default` where the field is absent.
    pub fn size_or(&self, key: &str, default: usize) -> Result<usize, LoadError> {
        Ok(self.integer(key, 1, SIZE_MAX)?.unwrap_or(default))
    }

    /// A required integer in 0..=2^24.
    pub fn count(&self, key: &str) -> Result<usize, LoadError> {
        self.required(key, self.integer(key, 0, SIZE_MAX)?)
    }

    /// As [`Self::count`], or `default` where the field is absent.
    pub fn count_or(&self, key: &str, default: usize) -> Result<usize, LoadError> {
        Ok(self.integer(key, 0, SIZE_MAX)?.unwrap_or(default))
    }

    /// A required integer in 1..=1024: how often something with weights of its own repeats.
    pub fn layers(&self, key: &str) -> Result<usize, LoadError> {
        self.required(key, self.integer(key, 1, LAYERS_MAX)?)
    }

    /// A required truth value.
    pub fn flag(&self, key: &str) -> Result<bool, LoadError> {
        self.required(key, self.typed(key, "true or false", Value::as_bool)?)
    }

    /// As [`Self::flag`], or `default` where the field is absent.
    pub fn flag_or(&self, key: &str, default: bool) -> Result<bool, LoadError> {
        Ok(self
            .typed(key, "true or false", Value::as_bool)?
            .unwrap_or(default))
    }

    /// A required finite number above 0: an epsilon, a scale.
    pub fn positive(&self, key: &str) -> Result<f64, LoadError> {
        self.required(key, self.typed(key, "a number above 0", positive)?)
    }

    /// As [`Self::positive`], or `default` where the field is absent.
    pub fn positive_or(&self, key: &str, default: f64) -> Result<f64, LoadError> {
        Ok(self
            .typed(key, "a number above 0", positive)?
            .unwrap_or(default))
    }

    /// A required text.
    pub fn text(&self, key: &str) -> Result<String, LoadError> {
        let text = self.typed(key, "a text", |value| value.as_str().map(str::to_owned))?;
        self.required(key, text)
    }

    /// As [`Self::text`], or `default` where the field is absent.
    pub fn text_or(&self, key: &str, default: &str) -> Result<String, LoadError> {
        let text = self.typed(key, "a text", |value| value.as_str().map(str::to_owned))?;
        Ok(text.unwrap_or_else(|| default.to_owned()))
    }

    /// Whether a field stands with the value null, and nowhere with another: for fields whose absence means a number.
    pub fn is_null(&self, key: &str) -> bool {
        self.find(key).is_none() && self.levels().any(|(_, fields)| fields.contains_key(key))
    }

    /// A list of texts (`layer_types`), or `None` where the field is absent.
    pub fn texts(&self, key: &str) -> Result<Option<Vec<String>>, LoadError> {
        self.typed(key, "a list of texts", |value| {
            value
                .as_array()?
                .iter()
                .map(|text| text.as_str().map(str::to_owned))
                .collect()
        })
    }

    /// A token id or a list of them (`eos_token_id`); empty where the field is absent.
    pub fn ids(&self, key: &str) -> Result<Vec<u32>, LoadError> {
        Ok(self
            .typed(key, "a token id or a list of them", ids)?
            .unwrap_or_default())
    }

    /// Refuses a field that is there with another value than the one supported; `why` ends the
    /// message.
    /// For fields whose absence means `value`.
    pub fn must_be<'e>(
        &self,
        key: &str,
        value: impl Into<Expected<'e>>,
        why: &str,
    ) -> Result<(), LoadError> {
        let supported = value.into().value();
        match self.find(key) {
            Some(found) if *found.value != supported => Err(field(
                &found.path,
                format!("{}: {why}", expected(&supported.to_string(), found.value)),
            )),
            _ => Ok(()),
        }
    }

    /// Counts fields as read that a family knows and has no use for.
    pub fn known(&self, keys: &[&str]) {
        self.reads()
            .extend(keys.iter().map(|key| (*key).to_owned()));
    }

    /// An error about a field, for a caller who found that it does not go together with others.
    pub fn refuse(&self, key: &str, reason: impl Into<String>) -> LoadError {
        let path = self
            .find(key)
            .map_or_else(|| self.path_of_absent(key), |found| found.path);
        field(&path, reason.into())
    }

    /// The rotary embedding's numbers, gathered from every place where they may stand; see
    /// [`RopeConfig`].
    /// `default_theta` is for families whose files may leave the base out.
    ///
    /// # Errors
    /// [`LoadError::Field`] if two places disagree, the base is missing, a number is out of range,
    /// or the kind of scaling is not supported.
    pub fn rope(&self, default_theta: Option<f64>) -> Result<RopeConfig, LoadError> {
        rope::gather(self, default_theta)
    }

    /// Fields that stand in the file and that nobody has asked for, without those that cannot
    /// change what is computed.
    /// Asked after a plan is built, it tells which wishes of the file were not heard.
    pub fn unread(&self) -> Vec<String> {
        let read = self.reads();
        let mut unread = Vec::new();
        for (prefix, fields) in self.levels() {
            // A map's own order depends on how serde_json was built.
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(key, _)| *key);
            for (key, value) in fields {
                let path = format!("{prefix}{key}");
                let without_effect = key == NESTED || without_effect::contains(key);
                if value.is_null() || without_effect {
                    continue;
                }
                if !read.contains(key) {
                    unread.push(path);
                } else if let (true, Value::Object(inner)) = (rope::is_object(key), value) {
                    let inner = inner
                        .keys()
                        .filter(|k| !read.contains(&format!("{key}.{k}")));
                    unread.extend(inner.map(|inner| format!("{path}.{inner}")));
                }
            }
        }
        unread
    }

    /// The objects in which a field may stand, the one that counts first, each with the prefix of
    /// its paths.
    fn levels(&self) -> impl Iterator<Item = (&'static str, &Map<String, Value>)> {
        let nested = self.top.get(NESTED).and_then(Value::as_object);
        nested
            .map(|fields| ("text_config.", fields))
            .into_iter()
            .chain([("", &self.top)])
    }

    /// Every place where a field stands with a value, the one that counts first.
    fn places(&self, key: &str) -> Vec<Found<'_>> {
        let mut places: Vec<Found<'_>> = self
            .levels()
            .filter_map(|(prefix, fields)| {
                let value = fields.get(key).filter(|value| !value.is_null())?;
                Some(Found {
                    path: format!("{prefix}{key}"),
                    value,
                })
            })
            .collect();
        if key == TOP_WINS {
            places.reverse();
        }
        places
    }

    fn find(&self, key: &str) -> Option<Found<'_>> {
        self.known(&[key]);
        self.places(key).into_iter().next()
    }

    fn typed<T>(
        &self,
        key: &str,
        what: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, LoadError> {
        let Some(found) = self.find(key) else {
            return Ok(None);
        };
        let value = read(found.value);
        value
            .map(Some)
            .ok_or_else(|| field(&found.path, expected(what, found.value)))
    }

    fn integer(&self, key: &str, min: u64, max: u64) -> Result<Option<usize>, LoadError> {
        self.typed(key, &format!("an integer from {min} to {max}"), |value| {
            let number = value
                .as_u64()
                .filter(|number| (min..=max).contains(number))?;
            usize::try_from(number).ok()
        })
    }

    fn required<T>(&self, key: &str, value: Option<T>) -> Result<T, LoadError> {
        value.ok_or_else(|| field(&self.path_of_absent(key), "is missing".to_owned()))
    }

    /// Where a field would stand.
    fn path_of_absent(&self, key: &str) -> String {
        let prefix = self.levels().next().map_or("", |(prefix, _)| prefix);
        format!("{prefix}{key}")
    }

    fn disagreements(&self) -> Vec<String> {
        let keys = self.top.keys().filter(|key| {
            key.as_str() != "model_type" && !without_effect::contains(key) && !rope::owns(key)
        });
        let disagree = keys.filter_map(|key| match self.places(key).as_slice() {
            [first, second] if first.value != second.value => Some(format!(
                "{} is {} and {} is {}: the first counts",
                first.path, first.value, second.path, second.value
            )),
            _ => None,
        });
        disagree.collect()
    }

    fn reads(&self) -> MutexGuard<'_, BTreeSet<String>> {
        // A set of names is whole whatever happened to the thread that held it.
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn positive(value: &Value) -> Option<f64> {
    value
        .as_f64()
        .filter(|number| number.is_finite() && *number > 0.0)
}

fn field(path: &str, reason: String) -> LoadError {
    LoadError::Field {
        file: FILE.to_owned(),
        field: path.to_owned(),
        reason,
    }
}
