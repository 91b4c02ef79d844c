//! Qwen3.5's calls: `<tool_call>\n<function=NAME>\n<parameter=KEY>\nVALUE\n</parameter>\n</function>\n</tool_call>`.
//!
//! A parameter comes out when it is whole. A value is text up to the next `</parameter>`, less one line break on each
//! side; its type is the schema's. Of a parameter that is given twice the first value counts.

use serde_json::Value;

use super::scan::TagScan;
use super::stream::{Found, Reader, ToolEvent};
use super::values::value_from_text;

/// What comes next.
#[derive(Debug, Default, PartialEq, Eq)]
enum Next {
    #[default]
    Open,
    Function,
    Parameter,
    Value {
        key: String,
    },
    Close,
}

/// A call under way. It is read from the text that begins with its first tag, which is handed in whole each time.
#[derive(Debug, Default)]
pub(super) struct Call {
    next: Next,
    /// Bytes that are understood.
    read: usize,
    tag: TagScan,
    /// Whether the outer tag was there.
    wrapped: bool,
    /// The call's index and its parameters, once its name is known.
    begun: Option<Begun>,
}

#[derive(Debug)]
struct Begun {
    index: usize,
    parameters: Value,
    keys: Vec<String>,
}

/// What one look at the text gave.
enum Look<T> {
    More,
    Wrong(String),
    Is(T),
}

impl Call {
    pub(super) fn read(
        &mut self,
        text: &str,
        reader: &mut Reader,
        out: &mut Vec<ToolEvent>,
    ) -> Found {
        loop {
            let looked = match self.next {
                Next::Open => self.open(text),
                Next::Function => self.function(text, reader, out),
                Next::Parameter => self.parameter(text, out),
                Next::Value { .. } => self.value(text, out),
                Next::Close => self.end(text, out),
            };
            match looked {
                Look::More => return Found::More,
                Look::Wrong(reason) => {
                    return Found::Nothing {
                        // The sign that a tag begins with, at least: the rest is read again.
                        bytes: self.read.max(1),
                        reason: Some(reason),
                    };
                }
                Look::Is(true) => return Found::Whole(self.read),
                Look::Is(false) => {}
            }
        }
    }

    /// Ends the arguments of a call that breaks off here; its index, if it had begun.
    pub(super) fn close(self, out: &mut Vec<ToolEvent>) -> Option<usize> {
        let begun = self.begun?;
        if self.next != Next::Close {
            out.push(begun.closing());
        }
        Some(begun.index)
    }

    fn open(&mut self, text: &str) -> Look<bool> {
        const OUTER: &str = "<tool_call>";
        if let Some(rest) = text.strip_prefix(OUTER) {
            self.read = text.len() - rest.len();
            self.wrapped = true;
        }
        self.next = Next::Function;
        Look::Is(false)
    }

    fn function(
        &mut self,
        text: &str,
        reader: &mut Reader,
        out: &mut Vec<ToolEvent>,
    ) -> Look<bool> {
        let name = match self.tag_with_name(text, "<function=") {
            Look::Is(name) => name,
            Look::More => return Look::More,
            Look::Wrong(reason) => return Look::Wrong(reason),
        };
        let Some(tool) = reader.tool(&name) else {
            return Look::Wrong(format!("there is no tool {name:?}"));
        };
        let begun = Begun {
            index: reader.calls,
            parameters: tool.parameters.clone(),
            keys: Vec::new(),
        };
        reader.calls += 1;
        let index = begun.index;
        out.push(ToolEvent::Begin { index, name });
        self.begun = Some(begun);
        self.next = Next::Parameter;
        Look::Is(false)
    }

    fn parameter(&mut self, text: &str, out: &mut Vec<ToolEvent>) -> Look<bool> {
        const END: &str = "</function>";
        let rest = self.after_space(text);
        if rest.starts_with(END) {
            self.read += END.len();
            out.extend(self.begun.as_ref().map(Begun::closing));
            self.next = Next::Close;
            return Look::Is(false);
        }
        if !rest.is_empty() && END.starts_with(rest) {
            return Look::More;
        }
        match self.tag_with_name(text, "<parameter=") {
            Look::More => Look::More,
            Look::Wrong(reason) => Look::Wrong(reason),
            Look::Is(key) => {
                self.tag = TagScan::default();
                self.next = Next::Value { key };
                Look::Is(false)
            }
        }
    }

    fn value(&mut self, text: &str, out: &mut Vec<ToolEvent>) -> Look<bool> {
        const END: &str = "</parameter>";
        let rest = &text[self.read..];
        let Some(bytes) = self.tag.find(rest, END) else {
            return Look::More;
        };
        let value = &rest[..bytes];
        let value = value.strip_prefix('\n').unwrap_or(value);
        let value = value.strip_suffix('\n').unwrap_or(value);
        self.read += bytes + END.len();
        if let (Next::Value { key }, Some(begun)) = (&self.next, &mut self.begun)
            && begun.keys.contains(key)
        {
            let note = format!("parameter {key:?} is given twice: the first value counts");
            out.push(ToolEvent::Note(note));
        } else if let (Next::Value { key }, Some(begun)) = (&self.next, &mut self.begun) {
            let json = value_from_text(value, key, &begun.parameters);
            let sign = if begun.keys.is_empty() { '{' } else { ',' };
            out.push(ToolEvent::Arguments {
                index: begun.index,
                json: format!("{sign}{}:{json}", Value::from(key.as_str())),
            });
            begun.keys.push(key.clone());
        }
        self.next = Next::Parameter;
        Look::Is(false)
    }

    fn end(&mut self, text: &str, out: &mut Vec<ToolEvent>) -> Look<bool> {
        const END: &str = "</tool_call>";
        let finished = |call: &Call, out: &mut Vec<ToolEvent>| {
            let begun = call.begun.as_ref();
            out.extend(begun.map(|begun| ToolEvent::End { index: begun.index }));
            Look::Is(true)
        };
        if !self.wrapped {
            return finished(self, out);
        }
        let rest = self.after_space(text);
        if rest.starts_with(END) {
            self.read += END.len();
            return finished(self, out);
        }
        if END.starts_with(rest) {
            return Look::More;
        }
        Look::Wrong(format!("{END} is missing"))
    }

    /// What follows the white space, which is understood.
    fn after_space<'a>(&mut self, text: &'a str) -> &'a str {
        let rest = text[self.read..].trim_start();
        self.read = text.len() - rest.len();
        rest
    }

    /// The name in a tag `<start=NAME>`.
    fn tag_with_name(&mut self, text: &str, start: &str) -> Look<String> {
        /// A name without an end is no name.
        const NAME_BYTES_MAX: usize = 256;
        let rest = self.after_space(text);
        let Some(name) = rest.strip_prefix(start) else {
            if start.starts_with(rest) {
                return Look::More;
            }
            return Look::Wrong(format!("{start}...> is missing"));
        };
        match name.find('>') {
            Some(bytes) if bytes <= NAME_BYTES_MAX => {
                self.read += start.len() + bytes + 1;
                Look::Is(name[..bytes].trim().to_owned())
            }
            None if name.len() <= NAME_BYTES_MAX => Look::More,
            _ => Look::Wrong(format!("a name of more than {NAME_BYTES_MAX} bytes")),
        }
    }
}

impl Begun {
    /// What makes an object of the arguments so far.
    fn closing(&self) -> ToolEvent {
        let json = if self.keys.is_empty() { "{}" } else { "}" };
        ToolEvent::Arguments {
            index: self.index,
            json: json.to_owned(),
        }
    }
}
