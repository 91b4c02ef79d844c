//! What each id adds to a text, in bytes.
//!
//! In: spellings by id and the `decoder` of tokenizer.json. Out: one flat buffer with an offset for each id, so that a
//! vocabulary of 248 k tokens costs about 2.5 MB.
//! It does not know about characters: the bytes of one token need not be UTF-8.

use serde_json::Value;

use super::TextError;

/// Bytes by id.
#[derive(Debug)]
pub(super) struct PieceTable {
    bytes: Vec<u8>,
    /// Where the bytes of an id end.
    ends: Vec<u32>,
}

impl PieceTable {
    /// A table of `pieces`, in the order of their ids.
    pub(super) fn new(pieces: impl Iterator<Item = Vec<u8>>) -> Result<Self, TextError> {
        let mut table = PieceTable {
            bytes: Vec::new(),
            ends: Vec::new(),
        };
        for piece in pieces {
            table.bytes.extend_from_slice(&piece);
            let end = u32::try_from(table.bytes.len()).map_err(TextError::file)?;
            table.ends.push(end);
        }
        table.bytes.shrink_to_fit();
        Ok(table)
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn get(&self, id: u32) -> Option<&[u8]> {
        let index = id as usize;
        let end = *self.ends.get(index)? as usize;
        let start = index
            .checked_sub(1)
            .map_or(0, |before| self.ends[before] as usize);
        Some(&self.bytes[start..end])
    }
}

/// The steps of a decoder that act on single tokens.
#[derive(Debug)]
pub(super) struct PieceDecoder {
    steps: Vec<Step>,
    /// Whether one leading space of the whole text is dropped.
    pub(super) strips_leading_space: bool,
}

#[derive(Debug)]
enum Step {
    /// Each character stands for a byte, as in GPT-2.
    ByteLevel,
    /// `<0x0A>` stands for a byte.
    ByteFallback,
    /// SentencePiece's mark for a space, or any other replacement.
    Replace(String, String),
    /// A token without the prefix begins a word.
    WordPiece(String),
    /// A token with the suffix ends a word.
    WordEnd(String),
}

impl PieceDecoder {
    /// The decoder of a `decoder` value.
    pub(super) fn from_json(value: &Value) -> Result<Self, TextError> {
        let mut decoder = PieceDecoder {
            steps: Vec::new(),
            strips_leading_space: false,
        };
        decoder.add(value)?;
        Ok(decoder)
    }

    fn add(&mut self, value: &Value) -> Result<(), TextError> {
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        match value.get("type").and_then(Value::as_str) {
            None if value.is_null() => {}
            Some("Sequence") => {
                let parts = value.get("decoders").and_then(Value::as_array);
                let parts = parts.ok_or_else(|| wrong("a Sequence needs a list `decoders`"))?;
                parts.iter().try_for_each(|part| self.add(part))?;
            }
            Some("ByteLevel") => self.steps.push(Step::ByteLevel),
            Some("ByteFallback") => self.steps.push(Step::ByteFallback),
            Some("Fuse" | "CTC") => {}
            Some("Replace") => self.add_replace(value)?,
            Some("Metaspace") => {
                let mark = text("replacement").unwrap_or_else(|| "\u{2581}".to_owned());
                self.steps.push(Step::Replace(mark, " ".to_owned()));
                let scheme = text("prepend_scheme").unwrap_or_else(|| "always".to_owned());
                let legacy = value
                    .get("add_prefix_space")
                    .is_none_or(|flag| flag == true);
                self.strips_leading_space |= legacy && scheme != "never";
            }
            Some("Strip") => {
                let count = value.get("start").and_then(Value::as_u64).unwrap_or(0);
                self.strips_leading_space |= count > 0 && text("content").as_deref() == Some(" ");
            }
            Some("WordPiece") => {
                let prefix = text("prefix").unwrap_or_else(|| "##".to_owned());
                self.steps.push(Step::WordPiece(prefix));
                self.strips_leading_space = true;
            }
            Some("BPEDecoder") => {
                let suffix = text("suffix").unwrap_or_else(|| "</w>".to_owned());
                self.steps.push(Step::WordEnd(suffix));
            }
            other => return Err(wrong(format!("unknown type {other:?}"))),
        }
        Ok(())
    }

    fn add_replace(&mut self, value: &Value) -> Result<(), TextError> {
        let pattern = value.pointer("/pattern/String").and_then(Value::as_str);
        let content = value.get("content").and_then(Value::as_str);
        let (Some(pattern), Some(content)) = (pattern, content) else {
            return Err(wrong(
                "a Replace needs a string as its pattern and its content",
            ));
        };
        self.steps
            .push(Step::Replace(pattern.to_owned(), content.to_owned()));
        Ok(())
    }

    /// The bytes of a token of the model's vocabulary.
    pub(super) fn bytes(&self, spelling: &str) -> Vec<u8> {
        let mut text = spelling.to_owned();
        for step in &self.steps {
            match step {
                Step::ByteLevel => return bytes_from_byte_level(&text),
                Step::ByteFallback => {
                    if let Some(byte) = byte_from_fallback(&text) {
                        return vec![byte];
                    }
                }
                Step::Replace(pattern, content) => {
                    if text.contains(pattern.as_str()) {
                        text = text.replace(pattern.as_str(), content);
                    }
                }
                Step::WordPiece(prefix) => {
                    text = match text.strip_prefix(prefix.as_str()) {
                        Some(rest) => rest.to_owned(),
                        None => format!(" {text}"),
                    }
                }
                Step::WordEnd(suffix) => text = text.replace(suffix.as_str(), " "),
            }
        }
        text.into_bytes()
    }
}

fn wrong(reason: impl std::fmt::Display) -> TextError {
    TextError::file(format!("decoder: {reason}"))
}

fn byte_from_fallback(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() == 2 {
        u8::from_str_radix(digits, 16).ok()
    } else {
        None
    }
}

/// Maps each character to its byte; a token with a character outside the map stands for its own UTF-8.
fn bytes_from_byte_level(token: &str) -> Vec<u8> {
    let bytes: Option<Vec<u8>> = token.chars().map(byte_from_char).collect();
    bytes.unwrap_or_else(|| token.as_bytes().to_vec())
}

/// GPT-2 writes printable bytes as themselves and the 68 others, in order, as U+0100 and up.
fn byte_from_char(c: char) -> Option<u8> {
    match u32::from(c) {
        code @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => u8::try_from(code).ok(),
        code @ 0x100..=0x120 => u8::try_from(code - 0x100).ok(),
        code @ 0x121..=0x142 => u8::try_from(code - 0x121 + 0x7f).ok(),
        0x143 => Some(0xad),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_byte_has_one_character_in_the_byte_level_alphabet() {
        let mut bytes: Vec<u8> = ('\0'..='\u{200}').filter_map(byte_from_char).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
    }

    #[test]
    fn sentence_piece_tokens_become_spaces_and_bytes() {
        let decoder = PieceDecoder::from_json(&json!({"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}))
        .unwrap();
        assert!(decoder.strips_leading_space);
        assert_eq!(decoder.bytes("\u{2581}a\u{2581}"), b" a ");
        assert_eq!(decoder.bytes("<0x0A>"), b"\n");
        assert_eq!(decoder.bytes("<0xZZ>"), b"<0xZZ>");
    }
}
