//! Follows thinking blocks: ends them when their budget is used up, and holds what comes after them to a grammar.

use super::{Constraint, Part, Thinking};
use crate::sample::{Guide, SampleError, TokenMask};

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

/// Holds the answer to a constraint, and leaves the thinking block before it free.
pub(super) struct AfterThinking {
    guide: Box<dyn Guide>,
    blocks: Option<Blocks>,
    /// The id that may still open a block.
    begin: Option<u32>,
    stop_ids: Vec<u32>,
}

impl AfterThinking {
    pub(super) fn new(
        constraint: Constraint,
        thinking: Option<&Thinking>,
        stop_ids: &[u32],
    ) -> AfterThinking {
        let begin = thinking.map_or(&[][..], |thinking| &thinking.begin);
        let begin = match begin {
            &[id] if constraint.may_think => Some(id),
            _ => None,
        };
        let blocks = thinking.filter(|thinking| thinking.open || begin.is_some());
        AfterThinking {
            guide: constraint.guide,
            blocks: blocks.map(Blocks::new),
            begin,
            stop_ids: stop_ids.to_vec(),
        }
    }

    fn thinks(&self) -> bool {
        self.blocks.as_ref().is_some_and(|blocks| blocks.open)
    }
}

impl Guide for AfterThinking {
    fn prepare(&mut self) {
        if !self.thinks() {
            self.guide.prepare();
        }
    }

    fn mask(&mut self, allowed: &mut TokenMask) -> Result<(), SampleError> {
        if self.thinks() {
            // A text that ends here would have no answer.
            self.stop_ids.iter().for_each(|&id| allowed.forbid(id));
            return Ok(());
        }
        let begin = self.begin.filter(|&id| allowed.allows(id));
        self.guide.mask(allowed)?;
        begin.into_iter().for_each(|id| allowed.allow(id));
        Ok(())
    }

    fn forced(&mut self) -> Option<u32> {
        if self.thinks() || self.begin.is_some() {
            return None;
        }
        self.guide.forced()
    }

    fn accept(&mut self, id: u32) {
        let part = self
            .blocks
            .as_mut()
            .map_or(Part::Answer, |blocks| blocks.push(id));
        // One block, before the answer.
        self.begin = None;
        if part == Part::Answer {
            self.blocks = None;
            self.guide.accept(id);
        }
    }

    fn complete(&mut self) -> bool {
        !self.thinks() && self.guide.complete()
    }

    fn cut_off(&mut self) -> bool {
        self.thinks() || self.guide.cut_off()
    }

    fn usable(&mut self, proposed: &[u32]) -> usize {
        if self.thinks() || self.begin.is_some() {
            return proposed.len();
        }
        self.guide.usable(proposed)
    }
}
