//! Parameters that are written as plain text, as JSON of the type that the tool's schema gives them.

use serde_json::{Map, Value};

/// Schemas that refer to each other, followed this far.
const DEPTH_MAX: usize = 16;

/// The value of parameter `key` as JSON.
///
/// Where the schema admits a text, it is one, unless what is written is of another admitted type that no text would be
/// meant by (`null`). A text that is of no admitted type is kept as a text.
pub(super) fn value_from_text(text: &str, key: &str, parameters: &Value) -> Value {
    let schema = &parameters["properties"][key];
    let mut types = Vec::new();
    collect(schema, parameters, 0, &mut types);
    let admits = |name: &str| types.contains(&name);
    let trimmed = text.trim();
    if admits("null") && trimmed == "null" {
        return Value::Null;
    }
    // Models write the words of Python too.
    if admits("boolean") {
        match trimmed {
            "true" | "True" => return Value::Bool(true),
            "false" | "False" => return Value::Bool(false),
            _ => {}
        }
    }
    let parsed = serde_json::from_str::<Value>(trimmed).ok();
    let fits = |value: &Value| match value {
        Value::Number(number) => {
            let whole = number.is_i64() || number.is_u64();
            admits("number") || admits("integer") && whole
        }
        Value::Object(_) => admits("object"),
        Value::Array(_) => admits("array"),
        _ => false,
    };
    if admits("string") && !admits("object") && !admits("array") {
        return Value::String(text.to_owned());
    }
    match parsed {
        Some(value) if fits(&value) => value,
        _ => Value::String(text.to_owned()),
    }
}

/// The names of the types that a schema admits; none where it says nothing.
pub(super) fn types<'a>(schema: &'a Value, root: &'a Value) -> Vec<&'a str> {
    let mut types = Vec::new();
    collect(schema, root, 0, &mut types);
    types
}

fn collect<'a>(schema: &'a Value, root: &'a Value, depth: usize, types: &mut Vec<&'a str>) {
    let Some(fields) = schema.as_object().filter(|_| depth < DEPTH_MAX) else {
        return;
    };
    match fields.get("type") {
        Some(Value::String(name)) => types.push(name),
        Some(Value::Array(names)) => types.extend(names.iter().filter_map(Value::as_str)),
        _ => by_other_keywords(fields, root, depth, types),
    }
}

fn by_other_keywords<'a>(
    fields: &'a Map<String, Value>,
    root: &'a Value,
    depth: usize,
    types: &mut Vec<&'a str>,
) {
    for name in ["anyOf", "oneOf", "allOf"] {
        let options = fields.get(name).and_then(Value::as_array);
        for option in options.into_iter().flatten() {
            collect(option, root, depth + 1, types);
        }
    }
    let constants = fields.get("enum").and_then(Value::as_array);
    let constants = constants.into_iter().flatten().chain(fields.get("const"));
    types.extend(constants.map(|constant| -> &'a str { type_of(constant) }));
    if let Some(schema) = target(fields.get("$ref"), root) {
        collect(schema, root, depth + 1, types);
    }
}

/// The schema that another one refers to, without what stands beside the reference; itself where it refers to nothing.
pub(super) fn referred<'a>(mut schema: &'a Value, root: &'a Value) -> &'a Value {
    for _ in 0..DEPTH_MAX {
        match target(schema.get("$ref"), root) {
            Some(next) => schema = next,
            None => break,
        }
    }
    schema
}

fn target<'a>(reference: Option<&Value>, root: &'a Value) -> Option<&'a Value> {
    let pointer = reference?.as_str()?.strip_prefix('#')?;
    root.pointer(pointer)
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
