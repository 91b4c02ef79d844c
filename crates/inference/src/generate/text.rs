//! From the bytes of tokens to deltas of text.

use super::Part;
use super::stop::StopFinder;
use crate::tokenizer::TextStream;

/// The text of one request, as far as it is certain.
pub(super) struct TextOut {
    characters: TextStream,
    stops: StopFinder,
    part: Part,
}

impl TextOut {
    pub(super) fn new(stops: Vec<String>, characters: TextStream, part: Part) -> TextOut {
        let stops = StopFinder::new(stops);
        TextOut {
            characters,
            stops,
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
        let delta = self.characters.push_bytes(bytes);
        if part != Part::Answer {
            out.push_str(&delta);
            return None;
        }
        self.stops.push(&delta, out)
    }

    /// The text, or a part of it, ended: what was held back goes to `out`.
    pub(super) fn finish(&mut self, out: &mut String) {
        self.stops.finish(out);
        out.push_str(&self.characters.finish());
    }
}
