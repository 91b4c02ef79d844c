//! The rotary embedding's numbers, from every place where configurations keep them.
//!
//! In: a [`Config`]. Out: one [`RopeConfig`], or an error that names the two places that disagree.
//! The places: `rope_parameters` (transformers 5), `rope_scaling` (transformers 4) and the plain
//! fields `rope_theta` and `partial_rotary_factor`, each in `text_config` and at the top level.
//! `mrope_section` and `mrope_interleaved` say how image axes share the frequencies; text has one
//! position, so they do not matter.
//! It does not know: frequencies, tables, head sizes.

use serde_json::{Map, Value};

use super::{Config, Found, field, positive};
use crate::checkpoint::LoadError;
use crate::checkpoint::json::expected;

const OBJECTS: [&str; 2] = ["rope_parameters", "rope_scaling"];
const PLAIN: [&str; 3] = ["rope_theta", "partial_rotary_factor", ORIGINAL];
const ORIGINAL: &str = "original_max_position_embeddings";

/// How positions turn queries and keys.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeConfig {
    /// The base of the frequencies.
    pub theta: f64,
    /// The share of each head's dimensions that turn: above 0, at most 1.
    pub partial: f64,
    /// How the frequencies are stretched for long contexts.
    pub scaling: RopeScaling,
}

/// How a model was stretched beyond the context it was first trained at.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// Every frequency divided by `factor`.
    Linear {
        /// At least 1.
        factor: f64,
    },
    /// Low frequencies divided by `factor`, high ones kept, those between blended (Llama 3.1).
    Llama3 {
        /// At least 1.
        factor: f64,
        /// Waves longer than the original context over this are low.
        low_freq_factor: f64,
        /// Waves shorter than the original context over this are high; above `low_freq_factor`.
        high_freq_factor: f64,
        /// Tokens of the original context.
        original_max_position: usize,
    },
    /// Every frequency divided by a number of its own: what GGUF files hold in place of the rule.
    Factors(Vec<f64>),
}

/// Whether a field holds an object of rotary numbers.
pub(super) fn is_object(key: &str) -> bool {
    OBJECTS.contains(&key)
}

/// Whether a field is compared here: a disagreement is an error, not a note.
pub(super) fn owns(key: &str) -> bool {
    OBJECTS.contains(&key) || PLAIN.contains(&key)
}

pub(super) fn gather(config: &Config, default_theta: Option<f64>) -> Result<RopeConfig, LoadError> {
    let rope = Places {
        config,
        objects: objects(config)?,
    };
    let theta = match rope.number("rope_theta", "a number above 0", positive)? {
        Some(theta) => theta,
        None => default_theta.ok_or_else(|| {
            let path = config.path_of_absent("rope_theta");
            field(
                &path,
                "is missing, in rope_parameters and in rope_scaling, too".to_owned(),
            )
        })?,
    };
    let share = |value: &Value| positive(value).filter(|share| *share <= 1.0);
    let partial = rope.number(
        "partial_rotary_factor",
        "a number above 0, at most 1",
        share,
    )?;
    Ok(RopeConfig {
        theta,
        partial: partial.unwrap_or(1.0),
        scaling: scaling(&rope)?,
    })
}

fn scaling(rope: &Places<'_>) -> Result<RopeScaling, LoadError> {
    let factor = || {
        let one_up = |value: &Value| positive(value).filter(|factor| *factor >= 1.0);
        rope.required("factor", "a number from 1 up", one_up)
    };
    let Some((path, kind)) = rope.kind()? else {
        // A factor without a kind is a wish that cannot be heard right.
        return match rope.find("factor")? {
            Some(found) => Err(field(&found.path, "stands without a rope_type".to_owned())),
            None => Ok(RopeScaling::None),
        };
    };
    match kind {
        "default" => Ok(RopeScaling::None),
        "linear" => Ok(RopeScaling::Linear { factor: factor()? }),
        "llama3" => llama3(rope, factor()?),
        "factors" => {
            let numbers = |value: &Value| value.as_array()?.iter().map(positive).collect();
            let factors = rope.required("factors", "a list of numbers above 0", numbers)?;
            Ok(RopeScaling::Factors(factors))
        }
        other => Err(field(
            &path,
            format!(
                "rope type {other:?} is not supported; default, linear, llama3 and factors are"
            ),
        )),
    }
}

fn llama3(rope: &Places<'_>, factor: f64) -> Result<RopeScaling, LoadError> {
    let low_freq_factor = rope.required("low_freq_factor", "a number above 0", positive)?;
    let high = |value: &Value| positive(value).filter(|high| *high > low_freq_factor);
    let above_low = format!("a number above low_freq_factor ({low_freq_factor})");
    let high_freq_factor = rope.required("high_freq_factor", &above_low, high)?;
    let original_max_position = rope.required(ORIGINAL, "an integer above 0", |value| {
        let tokens = value
            .as_u64()
            .and_then(|tokens| usize::try_from(tokens).ok());
        tokens.filter(|tokens| (1..=1 << 31).contains(tokens))
    })?;
    Ok(RopeScaling::Llama3 {
        factor,
        low_freq_factor,
        high_freq_factor,
        original_max_position,
    })
}

/// The objects of rotary numbers there are.
fn objects(config: &Config) -> Result<Vec<RopeObject<'_>>, LoadError> {
    let mut objects = Vec::new();
    for key in OBJECTS {
        config.known(&[key]);
        for Found { path, value } in config.places(key) {
            let Some(fields) = value.as_object() else {
                return Err(field(&path, expected("an object", value)));
            };
            if let Some((inner, _)) = fields.iter().find(|(_, value)| value.is_object()) {
                let path = format!("{path}.{inner}");
                let reason = "rotary numbers of single layer types are not supported";
                return Err(field(&path, reason.to_owned()));
            }
            objects.push(RopeObject { key, path, fields });
        }
    }
    config.known(&[
        "rope_parameters.mrope_section",
        "rope_parameters.mrope_interleaved",
    ]);
    config.known(&[
        "rope_scaling.mrope_section",
        "rope_scaling.mrope_interleaved",
    ]);
    Ok(objects)
}

struct RopeObject<'a> {
    key: &'static str,
    path: String,
    fields: &'a Map<String, Value>,
}

struct Places<'a> {
    config: &'a Config,
    objects: Vec<RopeObject<'a>>,
}

impl<'a> Places<'a> {
    /// The kind of scaling and where it stands. "mrope" is the default on text.
    fn kind(&self) -> Result<Option<(String, &'a str)>, LoadError> {
        let mut kinds: Vec<(String, &str)> = Vec::new();
        for key in ["rope_type", "type"] {
            for Found { path, value } in self.inside(key) {
                let Some(kind) = value.as_str() else {
                    return Err(field(&path, expected("a text", value)));
                };
                kinds.push((path, if kind == "mrope" { "default" } else { kind }));
            }
        }
        match kinds.iter().find(|(_, kind)| *kind != kinds[0].1) {
            Some((path, kind)) => Err(field(
                &kinds[0].0,
                format!("is {:?}, but {path} is {kind:?}", kinds[0].1),
            )),
            None => Ok(kinds.into_iter().next()),
        }
    }

    fn required<T>(
        &self,
        key: &str,
        what: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<T, LoadError> {
        self.number(key, what, read)?.ok_or_else(|| {
            let object = self
                .objects
                .first()
                .map_or(OBJECTS[0], |object| &object.path);
            field(&format!("{object}.{key}"), "is missing".to_owned())
        })
    }

    fn number<T>(
        &self,
        key: &str,
        what: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, LoadError> {
        let Some(found) = self.find(key)? else {
            return Ok(None);
        };
        let value = read(found.value);
        value
            .map(Some)
            .ok_or_else(|| field(&found.path, expected(what, found.value)))
    }

    /// The value of a field, which must be the same in every place where it stands.
    fn find(&self, key: &str) -> Result<Option<Found<'a>>, LoadError> {
        let mut places = self.inside(key);
        if PLAIN.contains(&key) {
            self.config.known(&[key]);
            places.extend(self.config.places(key));
        }
        let mut places = places.into_iter();
        let Some(first) = places.next() else {
            return Ok(None);
        };
        match places.find(|place| !same(first.value, place.value)) {
            Some(other) => Err(field(
                &first.path,
                format!("is {}, but {} is {}", first.value, other.path, other.value),
            )),
            None => Ok(Some(first)),
        }
    }

    /// The places of a field inside of the objects.
    fn inside(&self, key: &str) -> Vec<Found<'a>> {
        let mut places = Vec::new();
        for object in &self.objects {
            self.config.known(&[&format!("{}.{key}", object.key)]);
            if let Some(value) = object.fields.get(key).filter(|value| !value.is_null()) {
                places.push(Found {
                    path: format!("{}.{key}", object.path),
                    value,
                });
            }
        }
        places
    }
}

/// Whether two values say the same: 10000 and 10000.0 do.
fn same(a: &Value, b: &Value) -> bool {
    a == b || (a.is_number() && a.as_f64() == b.as_f64())
}
