//! Keeps control tokens out of text that came from people.
//!
//! In: strings of a conversation, before a template sees them. Out: the same strings with invisible marks, and, after
//! rendering, a [`Prompt`] that knows where the marks stood.
//!
//! A mark follows each character that could begin, end or complete a control token, so that none can contain a
//! character of a person: not one spelled in a message, nor one made of a message's end and the template's next words.
//! Marks are U+FDD0. Nobody can forge or lose one: U+FDD0 and U+FDD1 in a string are written as U+FDD1 and a digit.
//! It does not know templates.

use std::collections::HashSet;

use aho_corasick::AhoCorasick;
use serde_json::{Map, Value};

use super::Prompt;

/// The character before this one belongs to a person.
pub(super) const MARK: char = '\u{fdd0}';
/// Begins an escaped noncharacter.
pub(super) const ESCAPE: char = '\u{fdd1}';

/// How much is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// Also strings that are the inside of a control token as a whole: a template might write the rest around them.
    Whole,
    /// Only first and last characters of control tokens.
    Edges,
}

/// The spellings that must not come from people.
#[derive(Debug, Clone, Default)]
pub struct ControlTokens {
    all: Spellings,
    /// Those that not even the model may have written in its earlier answers.
    special: Spellings,
    /// Finds the others, which templates look for in earlier answers.
    ordinary: Option<AhoCorasick>,
}

#[derive(Debug, Clone, Default)]
struct Spellings {
    tokens: Vec<String>,
    bytes_max: usize,
    /// First and last characters.
    edges: HashSet<char>,
    /// The first two characters, and the last two; a second is missing in tokens of one character.
    heads: HashSet<(char, Option<char>)>,
    tails: HashSet<(Option<char>, char)>,
}

impl Spellings {
    fn new(tokens: Vec<String>) -> Self {
        let mut spellings = Spellings {
            bytes_max: 0,
            ..Spellings::default()
        };
        for token in &tokens {
            spellings.bytes_max = spellings.bytes_max.max(token.len());
            let (mut from_front, mut from_back) = (token.chars(), token.chars().rev());
            let (Some(first), Some(last)) = (from_front.next(), from_back.next()) else {
                continue;
            };
            spellings.edges.extend([first, last]);
            spellings.heads.insert((first, from_front.next()));
            spellings.tails.insert((from_back.next(), last));
        }
        spellings.tokens = tokens;
        spellings
    }

    fn is_inside_one(&self, text: &str) -> bool {
        let text = text.trim();
        let fits = !text.is_empty() && text.len() <= self.bytes_max;
        fits && self.tokens.iter().any(|token| token.contains(text))
    }

    fn begins(&self, c: char) -> bool {
        self.heads.iter().any(|&(first, _)| first == c)
    }

    fn ends(&self, c: char) -> bool {
        self.tails.iter().any(|&(_, last)| last == c)
    }
}

impl ControlTokens {
    /// The tokens as pairs of spelling and whether they are marked special.
    pub fn new(tokens: impl IntoIterator<Item = (String, bool)>) -> Self {
        let (special, ordinary): (Vec<_>, Vec<_>) =
            tokens.into_iter().partition(|(_, special)| *special);
        let texts = |list: &[(String, bool)]| list.iter().map(|(text, _)| text.clone()).collect();
        let (special, ordinary): (Vec<String>, Vec<String>) = (texts(&special), texts(&ordinary));
        ControlTokens {
            ordinary: AhoCorasick::new(&ordinary)
                .ok()
                .filter(|_| !ordinary.is_empty()),
            all: Spellings::new([special.as_slice(), &ordinary].concat()),
            special: Spellings::new(special),
        }
    }

    /// Marks a string of a person or a tool.
    pub(super) fn mark_person(&self, text: &str, level: Level) -> String {
        let inside = level == Level::Whole && self.all.is_inside_one(text);
        mark_where(text, inside, |_, c| self.all.edges.contains(&c))
    }

    /// Marks what the model said earlier. Only special tokens are kept out: templates look for the others in it.
    pub(super) fn mark_assistant(&self, text: &str, level: Level) -> String {
        let inside = level == Level::Whole && self.special.is_inside_one(text);
        let (mut starts, mut ends) = (HashSet::new(), HashSet::new());
        for found in self
            .ordinary
            .iter()
            .flat_map(|tokens| tokens.find_overlapping_iter(text))
        {
            starts.insert(found.start());
            ends.insert(found.end());
        }
        let (trimmed_start, trimmed_end) =
            (text.len() - text.trim_start().len(), text.trim_end().len());
        mark_where(text, inside, |at, c| {
            let end = at + c.len_utf8();
            let (before, after) = (text[..at].chars().next_back(), text[end..].chars().next());
            let begins = self.special.heads.contains(&(c, after))
                || self.special.heads.contains(&(c, None))
                || (end == trimmed_end && self.special.begins(c));
            let closes = self.special.tails.contains(&(before, c))
                || self.special.tails.contains(&(None, c))
                || (at == trimmed_start && self.special.ends(c));
            (begins && !starts.contains(&at)) || (closes && !ends.contains(&end))
        })
    }

    /// Marks all strings in a value of a person: a schema, arguments, further variables of the template.
    pub(super) fn mark_value(&self, value: &Value, level: Level) -> Value {
        match value {
            // Templates compare such strings, types above all, with their own words.
            Value::String(text) => Value::String(self.mark_person(text, Level::Edges)),
            Value::Array(items) => items
                .iter()
                .map(|item| self.mark_value(item, level))
                .collect(),
            Value::Object(map) => Value::Object(self.mark_map(map, level)),
            other => other.clone(),
        }
    }

    fn mark_map(&self, map: &Map<String, Value>, level: Level) -> Map<String, Value> {
        let mark = |(key, value): (&String, &Value)| {
            let key_level = if SCHEMA_WORDS.contains(&key.as_str()) {
                Level::Edges
            } else {
                level
            };
            let value = match value {
                Value::String(name) if key == "name" => {
                    Value::String(self.mark_person(name, level))
                }
                value => self.mark_value(value, level),
            };
            (self.mark_person(key, key_level), value)
        };
        map.iter().map(mark).collect()
    }

    /// Marks one message as a template reads it.
    pub(super) fn mark_message(
        &self,
        message: &Map<String, Value>,
        level: Level,
    ) -> Map<String, Value> {
        let from_assistant = message.get("role").is_some_and(|role| role == "assistant");
        let mark_text = |text: &str| match from_assistant {
            true => self.mark_assistant(text, level),
            false => self.mark_person(text, level),
        };
        let mark = |(key, value): (&String, &Value)| {
            let value = match (key.as_str(), value) {
                ("role", role) => role.clone(),
                ("name" | "tool_call_id", Value::String(text)) => {
                    Value::String(self.mark_person(text, level))
                }
                ("content", Value::Array(parts)) => parts
                    .iter()
                    .map(|part| mark_part(part, &mark_text))
                    .collect(),
                (_, Value::String(text)) => Value::String(mark_text(text)),
                (_, value) => self.mark_value(value, level),
            };
            (key.clone(), value)
        };
        message.iter().map(mark).collect()
    }
}

/// Words of tool schemas and calls, which templates look up.
const SCHEMA_WORDS: [&str; 16] = [
    "additionalProperties",
    "arguments",
    "default",
    "description",
    "enum",
    "function",
    "id",
    "items",
    "name",
    "parameters",
    "properties",
    "required",
    "return",
    "strict",
    "title",
    "type",
];

fn mark_part(part: &Value, mark_text: &dyn Fn(&str) -> String) -> Value {
    let mut part = part.clone();
    if let Some(text) = part["text"].as_str().map(mark_text) {
        part["text"] = Value::String(text);
    }
    part
}

/// Escapes noncharacters and writes a mark after each character that `wants` one (its place in bytes, and itself), and
/// after the first that is not white space if the text is `inside` a token.
fn mark_where(text: &str, inside: bool, wants: impl Fn(usize, char) -> bool) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 16);
    let mut inside = inside;
    for (at, c) in text.char_indices() {
        match c {
            MARK => out.extend([ESCAPE, '0']),
            ESCAPE => out.extend([ESCAPE, '1']),
            c => out.push(c),
        }
        let first = inside && !c.is_whitespace();
        inside &= !first;
        if first || wants(at, c) {
            out.push(MARK);
        }
    }
    out
}

impl Prompt {
    /// A prompt from rendered text with marks.
    pub(super) fn from_marked(marked: &str) -> Self {
        let mut prompt = Prompt {
            text: String::with_capacity(marked.len()),
            plain_ends: Vec::new(),
        };
        let mut chars = marked.chars().peekable();
        while let Some(c) = chars.next() {
            let escaped = if c == ESCAPE {
                chars.peek().copied()
            } else {
                None
            };
            match (c, escaped) {
                (MARK, _) => prompt.plain_ends.push(prompt.text.len()),
                (_, Some('0')) => prompt.text.push(MARK),
                (_, Some('1')) => prompt.text.push(ESCAPE),
                _ => prompt.text.push(c),
            }
            if matches!(escaped, Some('0' | '1')) {
                chars.next();
            }
        }
        prompt
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tokens() -> ControlTokens {
        let list = [
            ("<|end|>", true),
            ("<s>", true),
            ("<think>", false),
            ("</think>", false),
        ];
        ControlTokens::new(list.map(|(text, special)| (text.to_owned(), special)))
    }

    #[test]
    fn the_models_own_think_block_stays_readable_for_templates() {
        let text = "<think>a<|end|></think>b <s";
        let marked = tokens().mark_assistant(text, Level::Whole);
        assert!(marked.starts_with("<think>a<\u{fdd0}|end|>\u{fdd0}</think>b <\u{fdd0}s"));
    }

    proptest! {
        #[test]
        fn marking_loses_nothing(text in "[<>|ends/think \u{fdd0}\u{fdd1}01]{0,40}") {
            for level in [Level::Whole, Level::Edges] {
                let person = Prompt::from_marked(&tokens().mark_person(&text, level));
                let assistant = Prompt::from_marked(&tokens().mark_assistant(&text, level));
                prop_assert_eq!(person.display(), &text);
                prop_assert_eq!(assistant.display(), &text);
            }
        }
    }
}
