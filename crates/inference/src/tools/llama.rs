//! Llama 3's calls: `{"name": NAME, "parameters": {...}}`, at the start of an answer or behind `<|python_tag|>`, several
//! of them divided by `;`.
//!
//! A call comes out when it is whole. An object that names no tool is an answer.

use serde_json::Value;

use super::hermes::{call_from_object, nothing};
use super::scan::ObjectScan;
use super::stream::{Found, Reader, ToolEvent};

const OPEN: &str = "<|python_tag|>";

/// A call under way, read from the text that begins with its tag or its object.
#[derive(Debug, Default)]
pub(super) struct Call {
    scan: ObjectScan,
    /// Where its object ends, once that is known; it came out then.
    object_end: Option<usize>,
}

impl Call {
    pub(super) fn read(
        &mut self,
        text: &str,
        ended: bool,
        reader: &mut Reader,
        out: &mut Vec<ToolEvent>,
    ) -> Found {
        if let Some(end) = self.object_end {
            return after(text, end, ended);
        }
        let tagged = text.starts_with(OPEN);
        let object = text.strip_prefix(OPEN).unwrap_or(text).trim_start();
        let start = text.len() - object.len();
        if object.is_empty() {
            return Found::More;
        }
        if !object.starts_with('{') {
            return nothing(start, "no JSON object follows the tag");
        }
        let Some(bytes) = self.scan.read(object) else {
            // An answer that is JSON may end before its object does.
            return if ended && !tagged && !looks_like_a_call(object) {
                just_text(text.len())
            } else {
                Found::More
            };
        };
        let object = &object[..bytes];
        match call_from_object(object, "parameters", reader) {
            Ok((name, parameters)) => {
                reader.whole_call(name, parameters, out);
                self.object_end = Some(start + bytes);
                after(text, start + bytes, ended)
            }
            Err(_) if !tagged && !looks_like_a_call(object) => just_text(start + bytes),
            Err(reason) => nothing(start + bytes, &reason),
        }
    }
}

fn just_text(bytes: usize) -> Found {
    Found::Nothing {
        bytes,
        reason: None,
    }
}

fn looks_like_a_call(object: &str) -> bool {
    match serde_json::from_str::<Value>(object) {
        Ok(value) => value["name"].is_string() && !value["parameters"].is_null(),
        Err(_) => object.contains("\"name\"") && object.contains("\"parameters\""),
    }
}

/// Takes the divider before a next call along; without one the call ends where its object does.
fn after(text: &str, end: usize, ended: bool) -> Found {
    let rest = text[end..].trim_start();
    let next = rest.strip_prefix(';').map(str::trim_start);
    match next {
        Some(next) if next.starts_with('{') => Found::Whole(text.len() - next.len()),
        Some("") if !ended => Found::More,
        None if rest.is_empty() && !ended => Found::More,
        _ => Found::Whole(end),
    }
}
