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
    /// As they were understood.
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
    /// The tools of a request; `None` where there are none, or none is to be called: the model is not shown them.
    ///
    /// # Errors
    /// The field that is wrong, and how.
    pub fn new(values: Value, choice: &Value, parallel: bool) -> Result<Option<Tools>, ToolError> {
        let list = Tool::list_from_json(&values)?;
        let choice = ToolChoice::from_json(choice, &list)?;
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
    ToolError::new(
        field,
        "response_format, grammar and tools exclude each other",
    )
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
