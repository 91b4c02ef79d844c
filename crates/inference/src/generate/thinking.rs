//! Follows thinking blocks, and ends them when their budget is used up.

use super::{Part, Thinking};
use crate::sample::Guide;

/// Where in the output the next token stands.
pub(super) struct Blocks {
    begin: Vec<u32>,
    close: Vec<u32>,
    open: bool,
    /// Ids since the block was opened or closed: marks are not looked for across that border.
    since: Vec<u32>,
}

impl Blocks {
    pub(super) fn new(thinking: &Thinking) -> Blocks {
        let Thinking {
            open, begin, close, ..
        } = thinking.clone();
        Blocks {
            begin,
            close,
            open,
            since: Vec::new(),
        }
    }

    pub(super) fn part(&self) -> Part {
        if self.open {
            Part::Thinking
        } else {
            Part::Answer
        }
    }

    /// The part that `id` belongs to. Of a mark of several ids the last one is the mark.
    pub(super) fn push(&mut self, id: u32) -> Part {
        let mark = if self.open { &self.close } else { &self.begin };
        self.since.push(id);
        if !mark.is_empty() && self.since.ends_with(mark) {
            self.open = !self.open;
            self.since.clear();
            return Part::Mark;
        }
        let longest = self.begin.len().max(self.close.len());
        if self.since.len() > longest {
            self.since.remove(0);
        }
        self.part()
    }
}

/// Forces the ids that close a block once `budget` tokens were spent inside of blocks.
pub(super) struct ThinkingBudget {
    blocks: Blocks,
    budget: usize,
    spent: usize,
    forced: usize,
}

impl ThinkingBudget {
    pub(super) fn new(thinking: &Thinking, budget: usize) -> ThinkingBudget {
        ThinkingBudget {
            blocks: Blocks::new(thinking),
            budget,
            spent: 0,
            forced: 0,
        }
    }
}

impl Guide for ThinkingBudget {
    fn forced(&mut self) -> Option<u32> {
        let used_up = self.blocks.open && self.spent >= self.budget;
        used_up.then(|| self.blocks.close[self.forced])
    }

    fn accept(&mut self, id: u32) {
        if self.forced() == Some(id) {
            self.forced += 1;
        }
        match self.blocks.push(id) {
            Part::Thinking => self.spent += 1,
            Part::Mark => self.forced = 0,
            Part::Answer => {}
        }
    }
}
