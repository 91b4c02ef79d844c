//! A rendered prompt that remembers which of its characters came from people.

use std::ops::Range;

/// A prompt: text in which control tokens count, except inside the spans that came from people.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prompt {
    pub(crate) text: String,
    /// Byte positions in `text`, ascending. The character that ends at one of them came from a person and could
    /// begin, end or complete a control token: no control token may contain it.
    pub(super) plain_ends: Vec<usize>,
}

impl Prompt {
    /// A prompt all of whose text is trusted: every control token that it spells counts.
    pub fn trusted(text: impl Into<String>) -> Self {
        Prompt {
            text: text.into(),
            plain_ends: Vec::new(),
        }
    }

    /// The text, as the checkpoint's template writes it.
    pub fn display(&self) -> &str {
        &self.text
    }

    /// Whether a control token may stand at `span` (bytes of the text).
    pub(super) fn allows_control(&self, span: Range<usize>) -> bool {
        let next = self.plain_ends.partition_point(|&end| end <= span.start);
        self.plain_ends.get(next).is_none_or(|&end| end > span.end)
    }
}
