//! JSON schemas before they are compiled: bounds, what would be held to only in part, how JSON is written.
//!
//! In: a schema as somebody sent it. Out: the same schema, refused where it is too large or asks for what llguidance
//! does not hold to. White space is bounded, so that no model writes it for ever.

use serde_json::{Value, json};

use super::compile::bounded;
use super::{GrammarError, GrammarLimits};

const KIND: &str = "json_schema";
/// Values of a schema, of all kinds.
const VALUES_MAX: usize = 50_000;
/// Where llguidance reads how JSON is written. A request may not set it: some of it makes wrong JSON right.
const OPTIONS: &str = "x-guidance";
/// Between two signs: a line break with an indent of up to 64, or up to two spaces.
const WHITE_SPACE: &str = r"\r?\n[\x20\t]{0,64}|[\x20\t]{1,2}";
/// Properties of one object: each may be followed by any of those after it.
const PROPERTIES_MAX: usize = 1000;
/// Keywords with a number that repeats something.
const REPEATS: [&str; 6] = [
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "minProperties",
    "maxProperties",
];

/// The schema of any object.
pub(super) fn any_object() -> Value {
    bounded_white_space(json!({"type": "object"}))
}

/// The schema as llguidance takes it.
pub(super) fn prepared(schema: &Value, limits: &GrammarLimits) -> Result<Value, GrammarError> {
    let mut values = 0;
    check(schema, 0, &mut values, limits)?;
    match schema {
        Value::Object(_) => Ok(bounded_white_space(schema.clone())),
        Value::Bool(true) => Ok(bounded_white_space(json!({}))),
        Value::Bool(false) => Err(GrammarError::Unsatisfiable {
            kind: KIND,
            reason: "the schema is false".to_owned(),
        }),
        _ => Err(refused("neither an object nor true or false")),
    }
}

/// A schema whose JSON has bounded white space between its signs.
pub(crate) fn bounded_white_space(schema: Value) -> Value {
    with_option(schema, json!({"whitespace_pattern": WHITE_SPACE}))
}

/// A schema whose JSON has no white space between its signs.
pub(crate) fn no_white_space(schema: Value) -> Value {
    with_option(schema, json!({"whitespace_flexible": false}))
}

fn with_option(mut schema: Value, options: Value) -> Value {
    if let Some(fields) = schema.as_object_mut() {
        fields.insert(OPTIONS.to_owned(), options);
    }
    schema
}

fn refused(reason: impl Into<String>) -> GrammarError {
    GrammarError::Refused {
        kind: KIND,
        reason: reason.into(),
    }
}

fn check(
    value: &Value,
    depth: usize,
    values: &mut usize,
    limits: &GrammarLimits,
) -> Result<(), GrammarError> {
    *values += 1;
    bounded(KIND, "the number of its values", *values, VALUES_MAX)?;
    bounded(KIND, "its depth", depth, limits.depth_max)?;
    match value {
        Value::Array(items) => items
            .iter()
            .try_for_each(|item| check(item, depth + 1, values, limits)),
        Value::Object(fields) => fields.iter().try_for_each(|(name, field)| {
            check_field(name, field, limits)?;
            check(field, depth + 1, values, limits)
        }),
        _ => Ok(()),
    }
}

/// Looks at every field that is spelled like a keyword. A property of that name whose schema is no number passes.
fn check_field(name: &str, field: &Value, limits: &GrammarLimits) -> Result<(), GrammarError> {
    if REPEATS.contains(&name)
        && let Some(number) = field.as_f64()
    {
        let count = if number >= 0.0 { number as usize } else { 0 };
        bounded(
            KIND,
            "a number of items, characters or properties",
            count,
            limits.repeat_max,
        )?;
    }
    if matches!(name, "properties" | "patternProperties")
        && let Some(properties) = field.as_object()
    {
        bounded(
            KIND,
            "the number of an object's properties",
            properties.len(),
            PROPERTIES_MAX,
        )?;
    }
    let remote = |text: &str| !text.starts_with('#') && text.contains("://");
    if name == "$ref" && field.as_str().is_some_and(remote) {
        return Err(refused(format!(
            "$ref {field}: only references within the schema are followed"
        )));
    }
    Ok(())
}
