//! From the bytes of tokens to deltas of text.

use super::Part;
use super::stop::StopFinder;

/// Turns the bytes of tokens into complete characters.
#[derive(Debug)]
struct Characters {
    pending: Vec<u8>,
    strip_space: bool,
}

impl Characters {
    /// Adds bytes; complete characters go to `out`. Bytes that can be no part of a character become U+FFFD,
    /// as in [`String::from_utf8_lossy`] of the whole text.
    fn push(&mut self, bytes: &[u8], out: &mut String) {
        let from = out.len();
        self.pending.extend_from_slice(bytes);
        let mut keep = 0;
        let mut chunks = self.pending.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            out.push_str(chunk.valid());
            let invalid = chunk.invalid();
            if chunks.peek().is_none() && may_complete(invalid) {
                keep = invalid.len();
            } else if !invalid.is_empty() {
                out.push(char::REPLACEMENT_CHARACTER);
            }
        }
        self.pending.drain(..self.pending.len() - keep);
        if self.strip_space && out.len() > from {
            self.strip_space = false;
            if out[from..].starts_with(' ') {
                out.remove(from);
            }
        }
    }

    fn finish(&mut self, out: &mut String) {
        if !self.pending.is_empty() {
            out.push(char::REPLACEMENT_CHARACTER);
            self.pending.clear();
        }
    }
}

/// Whether more bytes could make the bytes at the end of a text a character.
fn may_complete(bytes: &[u8]) -> bool {
    !bytes.is_empty() && std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

/// The text of one request, as far as it is certain.
pub(super) struct TextOut {
    characters: Characters,
    stops: StopFinder,
    part: Part,
}

impl TextOut {
    pub(super) fn new(stops: Vec<String>, strip_space: bool, part: Part) -> TextOut {
        let characters = Characters {
            pending: Vec::new(),
            strip_space,
        };
        TextOut {
            characters,
            stops: StopFinder::new(stops),
            part,
        }
    }

    /// The part that text belongs to now.
    pub(super) fn part(&self) -> Part {
        self.part
    }

    /// Adds a token's bytes; text that is certain goes to `out`. The index of a stop string is returned when
    /// it is complete.
    pub(super) fn push(&mut self, bytes: &[u8], part: Part, out: &mut String) -> Option<usize> {
        if part != self.part {
            // No character and no stop string runs from one part into the next.
            self.finish(out);
            self.part = part;
        }
        if part != Part::Answer {
            self.characters.push(bytes, out);
            return None;
        }
        let mut delta = String::new();
        self.characters.push(bytes, &mut delta);
        self.stops.push(&delta, out)
    }

    /// The text, or a part of it, ended: what was held back goes to `out`.
    pub(super) fn finish(&mut self, out: &mut String) {
        let mut rest = String::new();
        self.characters.finish(&mut rest);
        self.stops.finish(out);
        out.push_str(&rest);
    }
}
