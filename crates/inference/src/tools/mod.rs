//! Calls of tools: what a model writes to make one, read as it streams, and held to by a grammar.
//!
//! In: the tools of a request as OpenAI writes them, the pieces of an answer. Out: text, calls whose arguments are JSON,
//! notes about what was no call after all; a [`Grammar`](crate::grammar::Grammar) where calls are demanded. [`Form`] is all
//! that a request may hold its answer to.
//! Which form a model writes is read off its chat template. It does not know: tokens, sampling, who runs a tool.
//!
//! ```
//! use lattice_inference::tools::{Tool, ToolEvent, ToolFormat, ToolStream};
//! use serde_json::json;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let parameters = json!({"type": "object", "properties": {"days": {"type": "integer"}}});
//! let tools = Tool::list_from_json(&json!([
//!     {"type": "function", "function": {"name": "forecast", "parameters": parameters}},
//! ]))?;
//! let mut stream = ToolStream::new(ToolFormat::QwenXml, tools);
//! let mut events = Vec::new();
//! let text = "Let me look.\n<tool_call>\n<function=forecast>\n<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>";
//! for piece in text.split_inclusive('>') {
//!     stream.push(piece, &mut events);
//! }
//! stream.finish(&mut events);
//! let arguments: String = events.iter().filter_map(ToolEvent::arguments).collect();
//! assert_eq!(arguments, r#"{"days":3}"#);
//! # Ok(())
//! # }
//! ```

mod form;
mod grammar;
mod hermes;
mod llama;
mod scan;
mod stream;
mod values;
mod xml;

use serde_json::{Map, Value};

pub use form::{Form, Tools};
pub use grammar::{ToolChoice, grammar_from_tools};
pub use stream::{ToolEvent, ToolStream};

/// Tools of one request.
const TOOLS_MAX: usize = 256;
/// Characters of a tool's name.
const NAME_CHARACTERS_MAX: usize = 128;

/// How a model writes a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolFormat {
    /// `<tool_call><function=NAME><parameter=KEY>VALUE</parameter></function></tool_call>`: Qwen3.5, Qwen3-Coder.
    QwenXml,
    /// `<tool_call>{"name": NAME, "arguments": {...}}</tool_call>`: Qwen2.5, Qwen3, Hermes.
    Hermes,
    /// `{"name": NAME, "parameters": {...}}`, alone or behind `<|python_tag|>`: Llama 3.1 and later.
    Llama3,
}

impl ToolFormat {
    /// The form that a chat template asks its model for; `None` where it takes no tools or another form.
    #[must_use]
    pub fn from_template(source: &str) -> Option<ToolFormat> {
        let has = |text: &str| source.contains(text);
        if !has("tools") {
            return None;
        }
        if has("<tool_call>") && has("<function=") {
            return Some(ToolFormat::QwenXml);
        }
        if has("<tool_call>") {
            return Some(ToolFormat::Hermes);
        }
        let bare = has("\"parameters\":") && has("\"name\":");
        (has("<|python_tag|>") || bare && has("<|eot_id|>")).then_some(ToolFormat::Llama3)
    }

    /// Its name in listings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ToolFormat::QwenXml => "qwen_xml",
            ToolFormat::Hermes => "hermes_json",
            ToolFormat::Llama3 => "llama3_json",
        }
    }

    /// What in it may be one token that adds no text: whoever has the tokens pushes the spelling instead.
    #[must_use]
    pub fn marks(self) -> &'static [&'static str] {
        match self {
            ToolFormat::QwenXml | ToolFormat::Hermes => &["<tool_call>", "</tool_call>"],
            ToolFormat::Llama3 => &["<|python_tag|>"],
        }
    }
}

/// A tool that may be called.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// Its name: letters, digits, `_`, `-`, `.`, `/` and `:`.
    pub name: String,
    /// The JSON schema of its arguments, an object.
    pub parameters: Value,
    /// Whether the arguments must be held to the schema.
    pub strict: bool,
}

/// What is wrong with the tools of a request, or with another field that says what its answer is held to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct ToolError {
    /// The field, as in `tools[1].function.name`.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

impl ToolError {
    fn new(field: impl Into<String>, reason: impl Into<String>) -> ToolError {
        ToolError {
            field: field.into(),
            reason: reason.into(),
        }
    }
}

impl Tool {
    /// The `tools` of a request, as OpenAI writes them.
    ///
    /// # Errors
    /// The field that is wrong: another type than `function`, a name with other signs or given twice, parameters that
    /// are no object.
    pub fn list_from_json(tools: &Value) -> Result<Vec<Tool>, ToolError> {
        let list = tools.as_array();
        let list = list.ok_or_else(|| ToolError::new("tools", "not a list"))?;
        if list.len() > TOOLS_MAX {
            let reason = format!("{} tools, allowed is {TOOLS_MAX}", list.len());
            return Err(ToolError::new("tools", reason));
        }
        let mut out: Vec<Tool> = Vec::with_capacity(list.len());
        for (at, value) in list.iter().enumerate() {
            let tool = Tool::from_json(value, &format!("tools[{at}]"))?;
            if out.iter().any(|other| other.name == tool.name) {
                let reason = format!("{:?} is given twice", tool.name);
                return Err(ToolError::new(format!("tools[{at}].function.name"), reason));
            }
            out.push(tool);
        }
        Ok(out)
    }

    fn from_json(value: &Value, field: &str) -> Result<Tool, ToolError> {
        if value["type"]
            .as_str()
            .is_some_and(|kind| kind != "function")
        {
            let reason = format!("{}, allowed is \"function\"", value["type"]);
            return Err(ToolError::new(format!("{field}.type"), reason));
        }
        let function = &value["function"];
        let name = function["name"].as_str().unwrap_or_default();
        let sign = |c: char| c.is_ascii_alphanumeric() || "_-.:/".contains(c);
        if name.is_empty() || name.len() > NAME_CHARACTERS_MAX || !name.chars().all(sign) {
            let reason =
                format!("allowed are 1 to {NAME_CHARACTERS_MAX} letters, digits, _ - . : /");
            return Err(ToolError::new(format!("{field}.function.name"), reason));
        }
        let parameters = match &function["parameters"] {
            Value::Null => Value::Object(Map::new()),
            Value::Object(fields) => Value::Object(fields.clone()),
            _ => {
                let field = format!("{field}.function.parameters");
                return Err(ToolError::new(field, "not an object"));
            }
        };
        let strict = match &function["strict"] {
            Value::Null => false,
            Value::Bool(strict) => *strict,
            _ => {
                let field = format!("{field}.function.strict");
                return Err(ToolError::new(field, "neither true nor false"));
            }
        };
        Ok(Tool {
            name: name.to_owned(),
            parameters,
            strict,
        })
    }
}
