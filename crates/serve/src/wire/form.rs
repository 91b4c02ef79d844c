//! What an answer is held to, as requests say it.
//!
//! In: fields. Out: a grammar, or tools with a choice, as the library reads them.

use lattice_inference::tools::{Form, ToolError};
use serde_json::{Map, Value, json};

use super::{ApiError, Fields};

/// Takes the fields of [`Form::FIELDS`].
pub(crate) fn form(fields: &mut Fields) -> Result<Form, ApiError> {
    of_fields(fields, &Form::FIELDS)
}

/// Takes `response_format` and `grammar`.
pub(crate) fn grammar(fields: &mut Fields) -> Result<Form, ApiError> {
    of_fields(fields, &Form::FIELDS[..2])
}

fn of_fields(fields: &mut Fields, names: &[&str]) -> Result<Form, ApiError> {
    let mut take = |name: &str| match names.contains(&name) {
        true => fields.value(name),
        false => None,
    };
    let form = Form::from_fields(&mut take).map_err(wrong)?;
    Ok(form.unwrap_or_default())
}

fn wrong(error: ToolError) -> ApiError {
    ApiError::field(error.field, error.reason)
}

/// Moves a tool that another interface writes flat into the form of the chat: `schema` is what it calls the parameters.
pub(crate) fn function_tool(tool: &mut Fields, schema: &str) -> Value {
    let mut function = Map::new();
    for (from, to) in [
        ("name", "name"),
        ("description", "description"),
        (schema, "parameters"),
        ("strict", "strict"),
    ] {
        if let Some(value) = tool.value(from) {
            function.insert(to.to_owned(), value);
        }
    }
    json!({"type": "function", "function": function})
}
