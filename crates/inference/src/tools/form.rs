//! What an answer is held to, as requests say it: a response format or a grammar, or tools with a choice.
//!
//! In: the fields of a request. Out: a grammar, or tools. They exclude each other.

use serde_json::Value;

use super::{Tool, ToolChoice, ToolError};
use crate::grammar::{Grammar, GrammarError};

/// What an answer is held to. The default is nothing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Form {
    /// The grammar that it is in.
    pub grammar: Option<Grammar>,
    /// The field that the grammar comes from.
    pub grammar_field: &'static str,
    /// The tools that it may call, unless it is to call none.
    pub tools: Option<Tools>,
}

/// Tools that may be called.
#[derive(Debug, Clone, PartialEq)]
pub struct Tools {
    /// As they were written, for the template.
    pub values: Vec<Value>,
    /// Those that may be called, as they were understood.
    pub list: Vec<Tool>,
    /// Which of them are called; never [`ToolChoice::None`].
    pub choice: ToolChoice,
    /// Whether there may be several calls.
    pub parallel: bool,
}

const FORMAT: &str = "response_format";
const GRAMMAR: &str = "grammar";

impl Form {
    /// The fields of a request that say it.
    pub const FIELDS: [&str; 5] = [
        FORMAT,
        GRAMMAR,
        "tools",
        "tool_choice",
        "parallel_tool_calls",
    ];

    /// What the fields of a request say; `take` gives one by its name, and `None` where it is absent or `null`. `None`
    /// where there are none of them.
    ///
    /// # Errors
    /// The field that is wrong, and how.
    pub fn from_fields(
        take: &mut dyn FnMut(&str) -> Option<Value>,
    ) -> Result<Option<Form>, ToolError> {
        let fields = Form::FIELDS.map(take);
        if fields.iter().all(Option::is_none) {
            return Ok(None);
        }
        let [format, grammar, tools, choice, parallel] = fields;
        let (grammar, grammar_field) = grammar_from_fields(format.as_ref(), grammar.as_ref())?;
        let parallel = match parallel {
            None => true,
            Some(Value::Bool(parallel)) => parallel,
            Some(_) => {
                let reason = "expected true or false";
                return Err(ToolError::new("parallel_tool_calls", reason));
            }
        };
        let tools = tools.unwrap_or_else(|| Value::Array(Vec::new()));
        let tools = Tools::new(tools, &choice.unwrap_or_default(), parallel)?;
        if grammar.is_some() && tools.is_some() {
            return Err(exclusive(grammar_field));
        }
        Ok(Some(Form {
            grammar,
            grammar_field,
            tools,
        }))
    }
}

impl Tools {
    /// The tools of a request; `None` where there are none, or none is to be called: the model is not shown them. A choice
    /// of `allowed_tools` leaves some of those that are shown.
    ///
    /// # Errors
    /// The field that is wrong, and how.
    pub fn new(values: Value, choice: &Value, parallel: bool) -> Result<Option<Tools>, ToolError> {
        let mut list = Tool::list_from_json(&values)?;
        let mode = allowed(choice, &mut list)?;
        let choice = ToolChoice::from_json(mode, &list)?;
        let (Value::Array(values), false) = (values, list.is_empty()) else {
            return Ok(None);
        };
        Ok((choice != ToolChoice::None).then_some(Tools {
            values,
            list,
            choice,
            parallel,
        }))
    }
}

/// Leaves the tools that a choice of `allowed_tools` names, as OpenAI writes it: `{"type": "allowed_tools", "allowed_tools":
/// {"mode": "auto" or "required", "tools": [...]}}`. What is to be done with them.
fn allowed<'a>(choice: &'a Value, list: &mut Vec<Tool>) -> Result<&'a Value, ToolError> {
    if choice["type"] != "allowed_tools" {
        return Ok(choice);
    }
    let wrong = |field: &str, reason: String| {
        ToolError::new(format!("tool_choice.allowed_tools.{field}"), reason)
    };
    let (mode, tools) = (
        &choice["allowed_tools"]["mode"],
        &choice["allowed_tools"]["tools"],
    );
    if mode != "auto" && mode != "required" {
        let reason = format!("{mode}, allowed is auto or required");
        return Err(wrong("mode", reason));
    }
    let tools = tools.as_array().filter(|tools| !tools.is_empty());
    let tools = tools.ok_or_else(|| wrong("tools", "not a list, or empty".to_owned()))?;
    let mut names = Vec::with_capacity(tools.len());
    for (at, tool) in tools.iter().enumerate() {
        let name = tool["function"]["name"].as_str().unwrap_or_default();
        if !list.iter().any(|known| known.name == name) {
            let reason = format!("there is no tool {name:?}");
            return Err(wrong(&format!("tools[{at}]"), reason));
        }
        names.push(name);
    }
    list.retain(|tool| names.contains(&tool.name.as_str()));
    Ok(mode)
}

fn grammar_from_fields(
    format: Option<&Value>,
    grammar: Option<&Value>,
) -> Result<(Option<Grammar>, &'static str), ToolError> {
    let format = format.map(Grammar::from_response_format).transpose();
    let format = format.map_err(|error| wrong(FORMAT, error))?.flatten();
    let grammar = grammar.map(Grammar::from_field).transpose();
    let grammar = grammar.map_err(|error| wrong(GRAMMAR, error))?;
    match (format, grammar) {
        (Some(_), Some(_)) => Err(exclusive(FORMAT)),
        (None, Some(grammar)) => Ok((Some(grammar), GRAMMAR)),
        (format, None) => Ok((format, FORMAT)),
    }
}

fn exclusive(field: &str) -> ToolError {
    ToolError::new(field, "only one of response_format, grammar and tools")
}

/// The error of a grammar whose kind is called as the field is.
fn wrong(field: &str, error: GrammarError) -> ToolError {
    match error {
        GrammarError::Refused { kind, reason } if kind == field => ToolError::new(field, reason),
        other => ToolError::new(field, other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(fields: Value) -> Result<Option<Form>, ToolError> {
        let mut take = |name: &str| fields.get(name).filter(|value| !value.is_null()).cloned();
        Form::from_fields(&mut take)
    }

    #[test]
    fn forms_are_read() {
        assert!(read(json!({"seed": 1, "tools": null})).unwrap().is_none());
        let grammar = |fields: Value| {
            let form = read(fields).unwrap().unwrap();
            (form.grammar, form.grammar_field)
        };
        let object = json!({"response_format": {"type": "json_object"}});
        assert_eq!(grammar(object), (Some(Grammar::JsonObject), FORMAT));
        let regex = json!({"grammar": {"regex": "a+"}});
        assert_eq!(
            grammar(regex),
            (Some(Grammar::Regex("a+".to_owned())), GRAMMAR)
        );
        assert_eq!(
            grammar(json!({"response_format": {"type": "text"}})).0,
            None
        );
        let tools = json!([{"type": "function", "function": {"name": "f"}}]);
        let named = json!({"type": "function", "function": {"name": "f"}});
        let choice = |choice: &Value| {
            let form = read(json!({"tools": tools, "tool_choice": choice}));
            form.unwrap().unwrap().tools.map(|tools| tools.choice)
        };
        assert_eq!(choice(&named), Some(ToolChoice::Named("f".to_owned())));
        assert_eq!(choice(&json!("none")), None);
        let two = json!([{"function": {"name": "f"}}, {"function": {"name": "g"}}]);
        let of = |mode: &str, name: &str| {
            let tools = json!([{"type": "function", "function": {"name": name}}]);
            let allowed = json!({"mode": mode, "tools": tools});
            json!({"type": "allowed_tools", "allowed_tools": allowed})
        };
        let form = read(json!({"tools": two, "tool_choice": of("required", "g")}));
        let tools = form.unwrap().unwrap().tools.unwrap();
        assert_eq!((tools.values.len(), tools.list.len()), (2, 1));
        assert_eq!(
            (tools.list[0].name.as_str(), tools.choice),
            ("g", ToolChoice::Required)
        );
        for (choice, field) in [
            (of("none", "g"), "mode"),
            (of("auto", "h"), "tools[0]"),
            (json!({"type": "allowed_tools"}), "mode"),
        ] {
            let error = read(json!({"tools": two, "tool_choice": choice})).unwrap_err();
            assert_eq!(error.field, format!("tool_choice.allowed_tools.{field}"));
        }
        assert_eq!(read(json!({"tools": []})).unwrap().unwrap().tools, None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let tools = json!([{"type": "function", "function": {"name": "f"}}]);
        for (fields, field) in [
            (json!({"response_format": 1}), "response_format"),
            (json!({"grammar": {"regex": 1}}), "grammar"),
            (json!({"grammar": {}}), "grammar"),
            (json!({"tools": 1}), "tools"),
            (json!({"tool_choice": "required"}), "tool_choice"),
            (json!({"tools": tools, "tool_choice": "f"}), "tool_choice"),
            (
                json!({"tools": tools, "parallel_tool_calls": 1}),
                "parallel_tool_calls",
            ),
            (
                json!({"tools": tools, "grammar": {"regex": "a"}}),
                "grammar",
            ),
            (
                json!({"response_format": {"type": "json_object"}, "grammar": {"regex": "a"}}),
                "response_format",
            ),
        ] {
            let error = read(fields.clone()).unwrap_err();
            assert_eq!(error.field, field, "{fields}: {error}");
            assert!(!error.reason.starts_with(field), "{error}");
        }
    }
}
