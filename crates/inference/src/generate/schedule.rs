//! Shares one batch out among the running requests.

/// What one request could use in the next batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    /// Tokens to feed, at least one.
    pub(super) tokens: usize,
    /// Whether the last of these tokens needs an output row.
    pub(super) row_at_end: bool,
    /// Whether each of these tokens needs an output row.
    pub(super) all_rows: bool,
}

impl Wish {
    fn rows(&self, tokens: usize) -> usize {
        if self.all_rows {
            tokens
        } else {
            usize::from(self.row_at_end && tokens == self.tokens)
        }
    }
}

/// What a batch still has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) tokens: usize,
    pub(super) rows: usize,
}

/// How many tokens of each wish are granted. Wishes come in the order of their turn: those served longest
/// ago first.
///
/// Each gets one token while there is room, so a text that is being written never waits for a long prompt. Of what is
/// left one half is for all, in equal parts, so none waits for ever; the other is for those that need least, first come
/// first: of many prompts at once the first are soon answered, where equal parts would let all wait for the last.
pub(super) fn share(wishes: &[Wish], room: &mut Room) -> Vec<usize> {
    let mut granted = vec![0; wishes.len()];
    for (wish, granted) in wishes.iter().zip(&mut granted) {
        *granted = grow(wish, 0, 1, room);
    }
    let mut unfilled: Vec<usize> = (0..wishes.len())
        .filter(|&at| granted[at] < wishes[at].tokens)
        .collect();
    unfilled.sort_by_key(|&at| wishes[at].tokens - granted[at]);
    let mut half = room.tokens / 2;
    for (done, &at) in unfilled.iter().enumerate() {
        let fair = half.div_ceil(unfilled.len() - done);
        let had = granted[at];
        granted[at] = grow(&wishes[at], had, fair, room);
        half -= granted[at] - had;
    }
    for at in unfilled {
        granted[at] = grow(&wishes[at], granted[at], room.tokens, room);
    }
    granted
}

/// Grants up to `more` tokens on top of `had`; returns the new sum.
fn grow(wish: &Wish, had: usize, more: usize, room: &mut Room) -> usize {
    let mut tokens = had + more.min(room.tokens).min(wish.tokens - had);
    if wish.all_rows {
        tokens = tokens.min(had + room.rows);
    } else if wish.rows(tokens) > room.rows {
        tokens -= 1;
    }
    let tokens = tokens.max(had);
    room.tokens -= tokens - had;
    room.rows -= wish.rows(tokens) - wish.rows(had);
    tokens
}
