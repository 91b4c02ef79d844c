//! Hermes's and Qwen3's calls: `<tool_call>\n{"name": NAME, "arguments": {...}}\n</tool_call>`.
//!
//! A call whose object begins with its name and its arguments, as models are asked to write it, comes out argument by
//! argument, each when it is whole; another one when all of it is. Of an argument that is given twice the first counts.

use serde_json::{Map, Value};

use super::scan::{MemberScan, ObjectScan};
use super::stream::{Found, Reader, ToolEvent};

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";
/// A name without an end is no name.
const NAME_BYTES_MAX: usize = 1024;

/// A call under way, read from the text that begins with its tag.
#[derive(Debug, Default)]
pub(super) struct Call {
    scan: ObjectScan,
    /// Where its object ends, once that is known.
    object_end: Option<usize>,
    at: At,
}

/// How its object is read.
#[derive(Debug, Default)]
enum At {
    /// It is not known how it begins.
    #[default]
    Head,
    /// When all of it is there.
    Whole,
    /// Argument by argument.
    Arguments(Arguments),
}

/// The arguments of a call that has begun.
#[derive(Debug)]
struct Arguments {
    index: usize,
    /// Where they begin, with the bracket.
    start: usize,
    members: MemberScan,
    keys: Vec<String>,
    /// Where they end, behind the bracket, once that is known.
    end: Option<usize>,
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
        if matches!(self.at, At::Head) {
            self.at = match head(object) {
                Head::More => return Found::More,
                Head::Known { name, bytes } if reader.tool(&name).is_some() => {
                    let index = reader.calls;
                    reader.calls += 1;
                    out.push(ToolEvent::Begin { index, name });
                    At::Arguments(Arguments::new(index, start + bytes - 1))
                }
                Head::Known { .. } | Head::Other => At::Whole,
            };
        }
        match &mut self.at {
            At::Arguments(arguments) => arguments.read(text, out),
            At::Head | At::Whole => self.read_whole(text, start, reader, out),
        }
    }

    fn read_whole(
        &mut self,
        text: &str,
        start: usize,
        reader: &mut Reader,
        out: &mut Vec<ToolEvent>,
    ) -> Found {
        if self.object_end.is_none() {
            self.object_end = self.scan.read(&text[start..]).map(|bytes| start + bytes);
        }
        let Some(end) = self.object_end else {
            return Found::More;
        };
        let taken = match closed(text, end) {
            Ok(taken) => taken,
            Err(found) => return found,
        };
        match call_from_object(&text[start..end], "arguments", reader) {
            Err(reason) => nothing(end, &reason),
            Ok((name, arguments)) => {
                reader.whole_call(name, arguments, out);
                Found::Whole(taken)
            }
        }
    }

    /// Ends the arguments of a call that breaks off here; its index, if it had begun.
    pub(super) fn close(self, out: &mut Vec<ToolEvent>) -> Option<usize> {
        let At::Arguments(arguments) = self.at else {
            return None;
        };
        if arguments.end.is_none() {
            out.push(arguments.closing());
        }
        Some(arguments.index)
    }
}

impl Arguments {
    fn new(index: usize, start: usize) -> Arguments {
        Arguments {
            index,
            start,
            members: MemberScan::default(),
            keys: Vec::new(),
            end: None,
        }
    }

    fn read(&mut self, text: &str, out: &mut Vec<ToolEvent>) -> Found {
        while self.end.is_none() {
            let Some((member, last)) = self.members.next(&text[self.start..]) else {
                return Found::More;
            };
            let end = self.start + member.end;
            if last && !text[end..].starts_with('}') {
                return nothing(end, "its arguments are no JSON");
            }
            let empty = last && self.keys.is_empty();
            let member = &text[self.start..][member];
            if !(empty && member.trim().is_empty()) {
                match argument(member) {
                    Some((key, json)) => self.tell(key, &json, out),
                    None => return nothing(end, "its arguments are no JSON"),
                }
            }
            if last {
                out.push(self.closing());
                self.end = Some(end + 1);
            }
        }
        let after = self.end.unwrap_or(text.len());
        let rest = text[after..].trim_start();
        if rest.is_empty() {
            return Found::More;
        }
        if !rest.starts_with('}') {
            return nothing(after, "something follows its arguments");
        }
        match closed(text, text.len() - rest.len() + 1) {
            Err(found) => found,
            Ok(taken) => {
                out.push(ToolEvent::End { index: self.index });
                Found::Whole(taken)
            }
        }
    }

    fn tell(&mut self, key: String, json: &str, out: &mut Vec<ToolEvent>) {
        if self.keys.contains(&key) {
            let note = format!("argument {key:?} is given twice: the first one counts");
            out.push(ToolEvent::Note(note));
            return;
        }
        let sign = if self.keys.is_empty() { '{' } else { ',' };
        out.push(ToolEvent::Arguments {
            index: self.index,
            json: format!("{sign}{}:{json}", Value::from(key.as_str())),
        });
        self.keys.push(key);
    }

    /// What makes an object of the arguments so far.
    fn closing(&self) -> ToolEvent {
        let json = if self.keys.is_empty() { "{}" } else { "}" };
        ToolEvent::Arguments {
            index: self.index,
            json: json.to_owned(),
        }
    }
}

/// How an object begins.
enum Head {
    /// It is not all there.
    More,
    /// With a name, and behind so many bytes its arguments, an object.
    Known { name: String, bytes: usize },
    /// Otherwise.
    Other,
}

/// Reads `{"name": NAME, "arguments": {`, with blanks between its parts.
fn head(object: &str) -> Head {
    let mut rest = object;
    let mut name = None;
    for part in ["{", "\"name\"", ":", "", ",", "\"arguments\"", ":", "{"] {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix(part).filter(|_| !part.is_empty()) {
            rest = after;
        } else if part.is_empty() && rest.starts_with('"') {
            let mut values = serde_json::Deserializer::from_str(rest).into_iter::<String>();
            match values.next() {
                Some(Ok(text)) => name = Some(text),
                Some(Err(error)) if error.is_eof() && rest.len() <= NAME_BYTES_MAX => {
                    return Head::More;
                }
                _ => return Head::Other,
            }
            rest = &rest[values.byte_offset()..];
        } else {
            let forming = rest.is_empty() || part.starts_with(rest);
            return if forming { Head::More } else { Head::Other };
        }
    }
    match name {
        Some(name) => Head::Known {
            name,
            bytes: object.len() - rest.len(),
        },
        None => Head::Other,
    }
}

/// The name and the value of one argument.
fn argument(member: &str) -> Option<(String, String)> {
    let object: Map<String, Value> = serde_json::from_str(&format!("{{{member}}}")).ok()?;
    let mut members = object.into_iter();
    let (key, value) = members.next()?;
    members.next().is_none().then(|| (key, value.to_string()))
}

/// The bytes of a call whose object ends at `end`, with the tag behind it; or what is to be said where it is not there.
fn closed(text: &str, end: usize) -> Result<usize, Found> {
    let rest = text[end..].trim_start();
    if rest.starts_with(CLOSE) {
        return Ok(text.len() - rest.len() + CLOSE.len());
    }
    if CLOSE.starts_with(rest) {
        return Err(Found::More);
    }
    Err(nothing(end, &format!("{CLOSE} is missing")))
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
