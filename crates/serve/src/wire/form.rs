//! What an answer is held to: a response format or a grammar, or tools.
//!
//! In: fields. Out: a grammar, or tools with a choice. They exclude each other.

use lattice_inference::grammar::Grammar;
use lattice_inference::tools::{Tool, ToolChoice};
use serde_json::{Map, Value, json};

use super::{ApiError, Fields};

/// What an answer is held to. The default is nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Form {
    pub(crate) grammar: Option<Grammar>,
    pub(crate) tools: Option<Tools>,
}

/// Tools that may be called.
#[derive(Debug, Clone)]
pub(crate) struct Tools {
    /// As they were written, for the template.
    pub(crate) values: Vec<Value>,
    pub(crate) list: Vec<Tool>,
    pub(crate) choice: ToolChoice,
    pub(crate) parallel: bool,
}

impl Form {
    /// Takes `response_format`, `grammar`, `tools`, `tool_choice` and `parallel_tool_calls`.
    pub(crate) fn take(fields: &mut Fields) -> Result<Form, ApiError> {
        let grammar = grammar(fields)?;
        let tools = Tools::take(fields)?;
        if grammar.is_some() && tools.is_some() {
            return Err(fields.error("response_format", EXCLUDED));
        }
        Ok(Form { grammar, tools })
    }
}

const EXCLUDED: &str = "response_format, grammar and tools exclude each other";

/// Takes `response_format` and `grammar`.
pub(crate) fn grammar(fields: &mut Fields) -> Result<Option<Grammar>, ApiError> {
    let format = match fields.value("response_format") {
        None => None,
        Some(value) => Grammar::from_response_format(&value)
            .map_err(|error| fields.error("response_format", error))?,
    };
    let Some(value) = fields.value("grammar") else {
        return Ok(format);
    };
    if format.is_some() {
        return Err(fields.error("response_format", EXCLUDED));
    }
    let grammar = Grammar::from_field(&value);
    grammar
        .map(Some)
        .map_err(|error| fields.error("grammar", error))
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

impl Tools {
    fn take(fields: &mut Fields) -> Result<Option<Tools>, ApiError> {
        let values = fields.list("tools")?.unwrap_or_default();
        let choice = fields.value("tool_choice").unwrap_or_default();
        let parallel = fields.truth("parallel_tool_calls")?.unwrap_or(true);
        let all = Value::Array(values);
        let wrong =
            |error: lattice_inference::tools::ToolError| ApiError::field(error.field, error.reason);
        let list = Tool::list_from_json(&all).map_err(wrong)?;
        let choice = ToolChoice::from_json(&choice, &list).map_err(wrong)?;
        let (false, Value::Array(values)) = (list.is_empty(), all) else {
            return Ok(None);
        };
        // What is not to be called is not shown to the model.
        Ok((choice != ToolChoice::None).then_some(Tools {
            values,
            list,
            choice,
            parallel,
        }))
    }
}
