//! Drafts from the text itself: what followed the last few tokens when they stood there before.

use super::Guide;

/// Proposes the continuation of the latest earlier place where the last `length` tokens occurred.
#[derive(Debug, Clone, Copy)]
pub struct NgramDraft {
    length: usize,
}

impl NgramDraft {
    /// How far back it looks, so that a long text does not make every token slower.
    const WINDOW_TOKENS: usize = 8192;

    /// Drafts after a match of `length` tokens, at least one.
    #[must_use]
    pub fn new(length: usize) -> NgramDraft {
        NgramDraft {
            length: length.max(1),
        }
    }
}

impl Guide for NgramDraft {
    fn propose(&mut self, ids: &[u32], max: usize, out: &mut Vec<u32>) {
        let ids = &ids[ids.len().saturating_sub(Self::WINDOW_TOKENS)..];
        let Some(split) = ids.len().checked_sub(self.length) else {
            return;
        };
        let last = &ids[split..];
        let found = ids[..ids.len() - 1]
            .windows(self.length)
            .rposition(|window| window == last);
        if let Some(at) = found {
            out.extend(ids[at + self.length..].iter().take(max));
        }
    }
}
