//! What an answer is held to, and the tools it may call.
//!
//! In: flags that name files, the fields of a JSON request. Out: a grammar, or tools with a choice. Ranges and
//! schemas are the library's.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use lattice_inference::grammar::Grammar;
use lattice_inference::tools::{Tool, ToolChoice};
use serde_json::Value;

use crate::args::FormArgs;

/// Bytes of a file with a schema, a grammar or tools.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Names of the fields that a request may have for it.
pub(crate) const FIELDS: [&str; 5] = [
    "response_format",
    "grammar",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
];

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
    /// Reads the files that the flags name.
    pub(crate) fn from_args(args: &FormArgs) -> anyhow::Result<Self> {
        let grammar = match (&args.schema, &args.regex, &args.grammar) {
            (Some(path), _, _) => Some(in_file(path, Grammar::schema_from_text)?),
            (_, Some(pattern), _) => Some(Grammar::Regex(pattern.clone())),
            (_, _, Some(path)) => {
                let extension = path.extension().and_then(|extension| extension.to_str());
                let extension = extension.unwrap_or_default();
                Some(in_file(path, |text| Grammar::from_file(extension, text))?)
            }
            _ => None,
        };
        let tools = match &args.tools {
            None => None,
            Some(path) => {
                let values = in_file(path, |text| serde_json::from_str::<Value>(text))?;
                let name = path.display();
                let choice = choice_from_flag(args.tool_choice.as_deref());
                let tools = Tools::new(values, &choice, true);
                Some(
                    tools
                        .map_err(anyhow::Error::msg)
                        .with_context(|| name.to_string())?,
                )
            }
        };
        Ok(Self { grammar, tools })
    }

    /// The fields of a request, over what the flags say; `None` where there are none of them.
    ///
    /// # Errors
    /// The field that is wrong, and how.
    pub(crate) fn from_fields(
        fields: &mut serde_json::Map<String, Value>,
    ) -> Result<Option<Self>, String> {
        let mut take = |name: &str| fields.remove(name).filter(|value| !value.is_null());
        let [format, grammar, tools, choice, parallel] = FIELDS.map(&mut take);
        if [&format, &grammar, &tools, &choice, &parallel]
            .iter()
            .all(|field| field.is_none())
        {
            return Ok(None);
        }
        let format = match &format {
            None => None,
            Some(value) => Grammar::from_response_format(value).map_err(|e| e.to_string())?,
        };
        let grammar = grammar.as_ref().map(Grammar::from_field).transpose();
        let grammar = grammar.map_err(|error| error.to_string())?;
        let parallel = match parallel {
            None => true,
            Some(Value::Bool(parallel)) => parallel,
            Some(_) => return Err("parallel_tool_calls: expected true or false".to_owned()),
        };
        let tools = match tools {
            None if choice
                .as_ref()
                .is_some_and(|choice| choice != "none" && choice != "auto") =>
            {
                return Err("tool_choice: there are no tools".to_owned());
            }
            None => None,
            Some(values) => Some(Tools::new(values, &choice.unwrap_or_default(), parallel)?),
        };
        match [format.is_some(), grammar.is_some(), tools.is_some()] {
            [true, true, _] | [true, _, true] | [_, true, true] => {
                Err("response_format, grammar and tools: only one of them".to_owned())
            }
            _ => Ok(Some(Self {
                grammar: format.or(grammar),
                tools,
            })),
        }
    }
}

impl Tools {
    fn new(values: Value, choice: &Value, parallel: bool) -> Result<Self, String> {
        let list = Tool::list_from_json(&values).map_err(|error| error.to_string())?;
        let choice = ToolChoice::from_json(choice, &list).map_err(|error| error.to_string())?;
        let values = match values {
            Value::Array(values) => values,
            _ => Vec::new(),
        };
        Ok(Self {
            values,
            list,
            choice,
            parallel,
        })
    }
}

/// `auto`, `none` and `required` are words, everything else is the name of a tool.
fn choice_from_flag(flag: Option<&str>) -> Value {
    match flag {
        None => Value::Null,
        Some(word @ ("auto" | "none" | "required")) => Value::from(word),
        Some(name) => serde_json::json!({"function": {"name": name}}),
    }
}

/// What `read` makes of the text of a file.
fn in_file<T, E>(path: &Path, read: impl Fn(&str) -> Result<T, E>) -> anyhow::Result<T>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let name = path.display();
    let file = std::fs::File::open(path).with_context(|| format!("cannot open {name}"))?;
    let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
    ensure!(is_file, "{name} is no regular file");
    let mut text = String::new();
    let mut limited = file.take(FILE_BYTES_MAX + 1);
    limited
        .read_to_string(&mut text)
        .with_context(|| format!("cannot read {name}"))?;
    let fits = text.len() as u64 <= FILE_BYTES_MAX;
    ensure!(fits, "{name} is larger than {FILE_BYTES_MAX} bytes");
    read(&text).with_context(|| name.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(fields: Value) -> Result<Option<Form>, String> {
        let Value::Object(mut fields) = fields else {
            panic!("an object");
        };
        Form::from_fields(&mut fields)
    }

    #[test]
    fn forms_are_read() {
        assert!(read(json!({"seed": 1})).unwrap().is_none());
        let form = read(json!({"response_format": {"type": "json_object"}}))
            .unwrap()
            .unwrap();
        assert_eq!(form.grammar, Some(Grammar::JsonObject));
        let form = read(json!({"grammar": {"regex": "a+"}})).unwrap().unwrap();
        assert_eq!(form.grammar, Some(Grammar::Regex("a+".to_owned())));
        let tools = json!([{"type": "function", "function": {"name": "f"}}]);
        let named = json!({"type": "function", "function": {"name": "f"}});
        let form = read(json!({"tools": tools, "tool_choice": named}))
            .unwrap()
            .unwrap();
        assert_eq!(
            form.tools.unwrap().choice,
            ToolChoice::Named("f".to_owned())
        );
        assert!(
            read(json!({"response_format": {"type": "text"}}))
                .unwrap()
                .unwrap()
                .grammar
                .is_none()
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let tools = json!([{"type": "function", "function": {"name": "f"}}]);
        for (fields, begins) in [
            (json!({"response_format": 1}), "response_format: "),
            (json!({"grammar": {"regex": 1}}), "grammar: "),
            (json!({"grammar": {}}), "grammar: "),
            (json!({"tools": 1}), "tools: "),
            (json!({"tool_choice": "required"}), "tool_choice: "),
            (json!({"tools": tools, "tool_choice": "f"}), "tool_choice: "),
            (
                json!({"tools": tools, "parallel_tool_calls": 1}),
                "parallel_tool_calls: ",
            ),
            (
                json!({"tools": tools, "grammar": {"regex": "a"}}),
                "response_format, grammar and tools",
            ),
        ] {
            let error = read(fields.clone()).err().unwrap();
            assert!(error.starts_with(begins), "{fields}: {error}");
        }
    }
}
