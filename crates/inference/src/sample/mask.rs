//! A set of token ids as one bit per column of the logits.

use super::select::max_of;
use crate::tokenizer::Tokenizer;

/// Which tokens may be chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenMask {
    words: Vec<u64>,
    width: usize,
}

impl TokenMask {
    /// No id of `width` columns is allowed.
    #[must_use]
    pub fn none(width: usize) -> TokenMask {
        TokenMask {
            words: vec![0; width.div_ceil(64)],
            width,
        }
    }

    /// Every id of `width` columns is allowed.
    #[must_use]
    pub fn all(width: usize) -> TokenMask {
        let mut mask = TokenMask {
            words: vec![!0; width.div_ceil(64)],
            width,
        };
        if !width.is_multiple_of(64)
            && let Some(last) = mask.words.last_mut()
        {
            *last = (1 << (width % 64)) - 1;
        }
        mask
    }

    /// The ids below `width` that have a token: vocabularies are padded with rows that mean nothing.
    #[must_use]
    pub fn from_tokenizer(tokenizer: &dyn Tokenizer, width: usize) -> TokenMask {
        let mut mask = TokenMask::none(width);
        let ids = width.min(tokenizer.ids_max());
        for id in (0..ids).filter_map(|id| u32::try_from(id).ok()) {
            if tokenizer.bytes_from_id(id).is_some() {
                mask.allow(id);
            }
        }
        mask
    }

    /// Columns of the logits this mask is for.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Whether the id may be chosen; false outside of the width.
    #[must_use]
    pub fn allows(&self, id: u32) -> bool {
        let id = id as usize;
        id < self.width && self.words[id / 64] >> (id % 64) & 1 == 1
    }

    /// Allows an id; nothing happens outside of the width.
    pub fn allow(&mut self, id: u32) {
        let id = id as usize;
        if id < self.width {
            self.words[id / 64] |= 1 << (id % 64);
        }
    }

    /// Rules an id out; nothing happens outside of the width.
    pub fn forbid(&mut self, id: u32) {
        let id = id as usize;
        if id < self.width {
            self.words[id / 64] &= !(1 << (id % 64));
        }
    }

    /// Keeps what both masks allow. Ids outside of the other mask's width are ruled out.
    pub fn intersect(&mut self, other: &TokenMask) {
        for (at, word) in self.words.iter_mut().enumerate() {
            *word &= other.words.get(at).copied().unwrap_or(0);
        }
    }

    /// Keeps what is set in `words`, 32 ids in each from the lowest bit up, and what is among `others`. Ids
    /// beyond the last word are ruled out.
    pub(crate) fn keep(&mut self, words: &[u32], others: &[u32]) {
        let others: Vec<u32> = others
            .iter()
            .copied()
            .filter(|&id| self.allows(id))
            .collect();
        let word = |at: usize| u64::from(words.get(at).copied().unwrap_or(0));
        for (at, own) in self.words.iter_mut().enumerate() {
            *own &= word(2 * at) | word(2 * at + 1) << 32;
        }
        others.into_iter().for_each(|id| self.allow(id));
    }

    /// Keeps the ids for which `keep` holds, asking only for those still allowed.
    pub fn retain(&mut self, mut keep: impl FnMut(u32) -> bool) {
        for (word, first) in self.words.iter_mut().zip((0u32..).step_by(64)) {
            let mut left = *word;
            while left != 0 {
                let bit = left.trailing_zeros();
                left &= left - 1;
                if !keep(first + bit) {
                    *word &= !(1 << bit);
                }
            }
        }
    }

    /// Becomes a copy of a mask of the same width, without allocating.
    ///
    /// # Panics
    /// If the widths differ.
    pub fn copy_from(&mut self, other: &TokenMask) {
        assert_eq!(self.width, other.width, "masks of one model have one width");
        self.words.copy_from_slice(&other.words);
    }

    /// How many ids are allowed.
    #[must_use]
    pub fn count(&self) -> usize {
        self.words
            .iter()
            .map(|word| word.count_ones() as usize)
            .sum()
    }

    /// Sets the scores of everything ruled out to negative infinity.
    pub(super) fn apply(&self, scores: &mut [f32]) {
        for (&word, scores) in self.words.iter().zip(scores.chunks_mut(64)) {
            if word == !0 {
                continue;
            }
            for (bit, score) in scores.iter_mut().enumerate() {
                if word >> bit & 1 == 0 {
                    *score = f32::NEG_INFINITY;
                }
            }
        }
    }

    /// The allowed id with the highest score, the lowest such id where several have it, `None` where nothing
    /// is allowed or all of it is negative infinity.
    pub(super) fn best(&self, scores: &[f32]) -> Option<u32> {
        let mut best = f32::NEG_INFINITY;
        let mut best_at = None;
        for (block, (&word, scores)) in self.words.iter().zip(scores.chunks(64)).enumerate() {
            // Whole blocks are compared at once; few of them hold a new best.
            if word == 0 || max_of(scores) <= best {
                continue;
            }
            for (bit, &score) in scores.iter().enumerate() {
                if score > best && word >> bit & 1 == 1 {
                    best = score;
                    best_at = Some(block * 64 + bit);
                }
            }
        }
        best_at.and_then(|at| u32::try_from(at).ok())
    }
}
