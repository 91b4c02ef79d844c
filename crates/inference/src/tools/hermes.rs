//! Hermes's and Qwen3's calls: `<tool_call>\n{"name": NAME, "arguments": {...}}\n</tool_call>`.
//!
//! A call comes out when it is whole.

use serde_json::{Map, Value};

use super::scan::ObjectScan;
use super::stream::{Found, Reader, ToolEvent};

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";

/// A call under way, read from the text that begins with its tag.
#[derive(Debug, Default)]
pub(super) struct Call {
    scan: ObjectScan,
    /// Where its object ends, once that is known.
    object_end: Option<usize>,
}

impl Call {
    pub(super) fn read(
        &mut self,
        text: &str,
        reader: &mut Reader,
        out: &mut Vec<ToolEvent>,
    ) -> Found {
        let object = text[OPEN.len()..].trim_start();
        let start = text.len() - object.len();
        if object.is_empty() {
            return Found::More;
        }
        if !object.starts_with('{') {
            return nothing(start, "no JSON object follows the tag");
        }
        if self.object_end.is_none() {
            self.object_end = self.scan.read(object).map(|bytes| start + bytes);
        }
        let Some(end) = self.object_end else {
            return Found::More;
        };
        let rest = text[end..].trim_start();
        if !rest.starts_with(CLOSE) {
            if CLOSE.starts_with(rest) {
                return Found::More;
            }
            return nothing(end, &format!("{CLOSE} is missing"));
        }
        match call_from_object(&text[start..end], "arguments", reader) {
            Err(reason) => nothing(end, &reason),
            Ok((name, arguments)) => {
                reader.whole_call(name, arguments, out);
                Found::Whole(text.len() - rest.len() + CLOSE.len())
            }
        }
    }
}

/// No call, but `bytes` of text.
pub(super) fn nothing(bytes: usize, reason: &str) -> Found {
    Found::Nothing {
        bytes,
        reason: Some(reason.to_owned()),
    }
}

/// The name and the arguments, as JSON, of an object that calls a known tool.
pub(super) fn call_from_object(
    object: &str,
    arguments: &str,
    reader: &Reader,
) -> Result<(String, String), String> {
    let object: Map<String, Value> =
        serde_json::from_str(object).map_err(|error| format!("not JSON: {error}"))?;
    let name = object.get("name").and_then(Value::as_str);
    let name = name.ok_or_else(|| "it has no name".to_owned())?;
    if reader.tool(name).is_none() {
        return Err(format!("there is no tool {name:?}"));
    }
    let arguments = match object.get(arguments) {
        None | Some(Value::Null) => "{}".to_owned(),
        Some(Value::Object(arguments)) => Value::Object(arguments.clone()).to_string(),
        Some(Value::String(text)) => match serde_json::from_str::<Map<String, Value>>(text) {
            Ok(arguments) => Value::Object(arguments).to_string(),
            Err(_) => return Err(format!("its {arguments} are no object")),
        },
        Some(_) => return Err(format!("its {arguments} are no object")),
    };
    Ok((name.to_owned(), arguments))
}
