//! Reads an answer as it streams: text and calls.
//!
//! In: pieces of text, cut anywhere. Out: events that do not depend on the cuts. What may become a tag is held back, so
//! no half of one is ever text; white space before a call belongs to neither. What begins like a call and is none
//! comes out as text with a note.

use super::{Tool, ToolFormat, hermes, llama, xml};

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolEvent {
    /// Text that is no part of a call.
    Text(String),
    /// A call of a known tool begins.
    Begin {
        /// Its place among the calls of the answer, from 0.
        index: usize,
        /// The tool.
        name: String,
    },
    /// More of the arguments: the pieces of one call concatenate to a JSON object.
    Arguments {
        /// Which call.
        index: usize,
        /// The piece.
        json: String,
    },
    /// A call is whole.
    End {
        /// Which call.
        index: usize,
    },
    /// A call that had begun is none: it must not be made. Its arguments so far are a JSON object; its text, as the
    /// model wrote it, follows.
    Broken {
        /// Which call.
        index: usize,
    },
    /// Something to know about the text that follows, or about the call under way.
    Note(String),
}

impl ToolEvent {
    /// The piece of arguments that it brings, if it does.
    #[must_use]
    pub fn arguments(&self) -> Option<&str> {
        match self {
            ToolEvent::Arguments { json, .. } => Some(json),
            _ => None,
        }
    }
}

/// Where the reader is.
#[derive(Debug)]
enum State {
    /// Outside of calls.
    Text,
    Xml(xml::Call),
    Hermes(hermes::Call),
    Llama(llama::Call),
}

/// What a reader of one form found in the text it was given.
pub(super) enum Found {
    /// It needs more text.
    More,
    /// The call is whole and took so many bytes.
    Whole(usize),
    /// It is no call. Its first `bytes` are text; what follows them is read again.
    Nothing {
        bytes: usize,
        /// Why not; `None` where it only looked like one.
        reason: Option<String>,
    },
}

/// What the readers of all forms share.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) tools: Vec<Tool>,
    /// Calls that have begun.
    pub(super) calls: usize,
}

/// Reads one answer.
#[derive(Debug)]
pub struct ToolStream {
    format: ToolFormat,
    reader: Reader,
    /// Tags that are tokens without a text.
    marks: Vec<(u32, String)>,
    state: State,
    /// Text that is not certain yet: what may become a tag, or the call under way from its first sign.
    held: String,
    /// White space before the call under way.
    space: String,
    /// Something that is no white space was text.
    said: bool,
}

impl ToolStream {
    /// A reader at the start of an answer that may call `tools`.
    #[must_use]
    pub fn new(format: ToolFormat, tools: Vec<Tool>) -> ToolStream {
        ToolStream {
            format,
            reader: Reader { tools, calls: 0 },
            marks: Vec::new(),
            state: State::Text,
            held: String::new(),
            space: String::new(),
            said: false,
        }
    }

    /// The same reader, which knows that these tokens stand for tags, though they add no text.
    #[must_use]
    pub fn with_marks(mut self, marks: Vec<(u32, String)>) -> ToolStream {
        self.marks = marks;
        self
    }

    /// Reads a token of the answer and the text that came with it.
    pub fn push_token(&mut self, id: u32, text: &str, out: &mut Vec<ToolEvent>) {
        self.push(text, out);
        let mark = self.marks.iter().find(|(mark, _)| *mark == id);
        if let Some((_, spelling)) = mark.cloned() {
            self.push(&spelling, out);
        }
    }

    /// Calls so far.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.reader.calls
    }

    /// Reads a piece.
    pub fn push(&mut self, piece: &str, out: &mut Vec<ToolEvent>) {
        self.held.push_str(piece);
        while self.step(false, out) {}
    }

    /// The answer ended: what was held back comes out.
    pub fn finish(&mut self, out: &mut Vec<ToolEvent>) {
        while self.step(true, out) {}
        let rest = std::mem::take(&mut self.held);
        text(rest, out);
    }

    /// Goes on over what is held; whether there is more to do with it.
    fn step(&mut self, ended: bool, out: &mut Vec<ToolEvent>) -> bool {
        let reader = &mut self.reader;
        let found = match &mut self.state {
            State::Text => return self.read_text(ended, out),
            State::Xml(call) => call.read(&self.held, reader, out),
            State::Hermes(call) => call.read(&self.held, reader, out),
            State::Llama(call) => call.read(&self.held, ended, reader, out),
        };
        match found {
            Found::More if ended => {
                let reason = "the answer ended inside of a call".to_owned();
                self.give_up(self.held.len(), Some(reason), out);
                true
            }
            Found::More => false,
            Found::Whole(bytes) => {
                self.held.drain(..bytes);
                self.space.clear();
                self.state = State::Text;
                true
            }
            Found::Nothing { bytes, reason } => {
                self.give_up(bytes, reason, out);
                true
            }
        }
    }

    /// What looked like a call is text.
    fn give_up(&mut self, bytes: usize, reason: Option<String>, out: &mut Vec<ToolEvent>) {
        let begun = match std::mem::replace(&mut self.state, State::Text) {
            State::Xml(call) => call.close(out),
            State::Hermes(call) => call.close(out),
            State::Text | State::Llama(_) => None,
        };
        if let Some(index) = begun {
            out.push(ToolEvent::Broken { index });
        }
        if let Some(reason) = reason {
            out.push(ToolEvent::Note(format!("not a call of a tool: {reason}")));
        }
        self.said = true;
        let rest = self.held.split_off(bytes);
        let space = std::mem::take(&mut self.space);
        text(space + &std::mem::replace(&mut self.held, rest), out);
    }

    fn openers(&self) -> &'static [&'static str] {
        match self.format {
            // Some models leave the outer tag out.
            ToolFormat::QwenXml => &["<tool_call>", "<function="],
            ToolFormat::Hermes => &["<tool_call>"],
            ToolFormat::Llama3 => &["<|python_tag|>"],
        }
    }

    fn read_text(&mut self, ended: bool, out: &mut Vec<ToolEvent>) -> bool {
        if self.format == ToolFormat::Llama3 && !self.said {
            // A bare object is a call where nothing was said before it.
            let start = self.held.len() - self.held.trim_start().len();
            if self.held[start..].starts_with('{') {
                self.space = self.held.drain(..start).collect();
                self.state = State::Llama(llama::Call::default());
                return true;
            }
        }
        let openers = self.openers().iter();
        let first = openers.filter_map(|opener| self.held.find(opener)).min();
        if let Some(at) = first {
            let before: String = self.held.drain(..at).collect();
            let kept = before.trim_end();
            self.said |= !kept.is_empty();
            text(kept.to_owned(), out);
            self.space = before[kept.len()..].to_owned();
            self.state = match self.format {
                ToolFormat::QwenXml => State::Xml(xml::Call::default()),
                ToolFormat::Hermes => State::Hermes(hermes::Call::default()),
                ToolFormat::Llama3 => State::Llama(llama::Call::default()),
            };
            return true;
        }
        if ended {
            return false;
        }
        let forming = self.openers().iter();
        let forming = forming.map(|opener| super::scan::forming(&self.held, opener));
        let certain = self.held.len() - forming.max().unwrap_or(0);
        let certain = self.held[..certain].trim_end().len();
        let rest = self.held.split_off(certain);
        let certain = std::mem::replace(&mut self.held, rest);
        self.said |= !certain.trim().is_empty();
        text(certain, out);
        false
    }
}

fn text(text: String, out: &mut Vec<ToolEvent>) {
    if !text.is_empty() {
        out.push(ToolEvent::Text(text));
    }
}

impl Reader {
    pub(super) fn tool(&self, name: &str) -> Option<&Tool> {
        self.tools.iter().find(|tool| tool.name == name)
    }

    /// A call whose arguments are known at once.
    pub(super) fn whole_call(&mut self, name: String, json: String, out: &mut Vec<ToolEvent>) {
        let index = self.calls;
        self.calls += 1;
        out.push(ToolEvent::Begin { index, name });
        out.push(ToolEvent::Arguments { index, json });
        out.push(ToolEvent::End { index });
    }
}
