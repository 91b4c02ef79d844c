//! A request that holds a sequence of the runner.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::Failure;
use super::job::{Job, Shared};
use super::prefix::{Place, common, keep_snapshot};
use super::schedule::{Room, Wish};
use crate::backend::{Entry, OutputRows, RunError, Runner, SequenceId, Snapshot};
use crate::tokenizer::Tokenizer;

/// What a request feeds in the batch at hand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    /// Tokens, proposed ones included.
    tokens: usize,
    /// How many of them, at the end, are proposed.
    proposed: usize,
    outputs: OutputRows,
}

/// A request and its sequence.
pub(super) struct Running {
    pub(super) job: Job,
    pub(super) sequence: SequenceId,
    /// Tokens the sequence holds: always the first ones of the job's ids.
    pub(super) fed: usize,
    pub(super) snapshots: Vec<Arc<Snapshot>>,
    /// The step in which it was last served.
    pub(super) served: u64,
    pub(super) piece: Option<Piece>,
    /// The state from before the latest proposals, where the sequence cannot be cut.
    rollback: Option<Snapshot>,
    /// Where the sequence must be cut after proposals that were wrong.
    cut: Option<usize>,
}

impl Running {
    pub(super) fn new(job: Job, place: Place) -> Running {
        Running {
            job,
            sequence: place.sequence,
            fed: place.tokens,
            snapshots: place.snapshots,
            served: 0,
            piece: None,
            rollback: None,
            cut: None,
        }
    }

    /// What its sequence holds.
    pub(super) fn read(&self) -> &[u32] {
        &self.job.ids[..self.fed]
    }

    /// Whether it has not come to the end of its prompt.
    pub(super) fn is_reading(&self) -> bool {
        self.fed < self.job.prompt_tokens
    }

    /// How many of the tokens that `ids` begins with it will have read, with a state after them where one is needed, when
    /// it comes to the end of its prompt.
    pub(super) fn will_share(&self, ids: &[u32], rewinds: bool, snapshot_every: usize) -> usize {
        let most = ids.len().saturating_sub(1);
        let common = common(&self.job.ids[..self.job.prompt_tokens], &ids[..most]);
        if rewinds {
            return common;
        }
        let marks = &self.job.marks;
        let at = marks.partition_point(|&mark| mark <= common);
        let asked = at.checked_sub(1).map_or(0, |at| marks[at]);
        let regular = common.checked_rem(snapshot_every);
        asked.max(regular.map_or(0, |rest| common - rest))
    }

    /// The next length at which a state is wanted, above `tokens`.
    fn next_mark(&self, tokens: usize, every: usize) -> Option<usize> {
        let marks = &self.job.marks;
        let asked = marks.get(marks.partition_point(|&mark| mark <= tokens));
        let regular = (tokens + 1).checked_next_multiple_of(every.max(1));
        let regular = regular.filter(|_| every > 0);
        asked.copied().into_iter().chain(regular).min()
    }

    /// What it could use of the next batch. Where states matter, a piece ends where the next one is wanted.
    pub(super) fn wish(&self, rewinds: bool, snapshot_every: usize) -> Wish {
        let pending = self.job.ids.len() - self.fed;
        let tokens = match self.next_mark(self.fed, snapshot_every) {
            Some(mark) if !rewinds => pending.min(mark - self.fed),
            _ => pending,
        };
        let row_at_end = tokens == pending;
        Wish {
            tokens,
            row_at_end,
            all_rows: self.job.wants_prompt_rows(),
        }
    }

    /// Takes its part of the next batch.
    pub(super) fn grant(&mut self, wish: &Wish, tokens: usize) {
        let outputs = if wish.all_rows {
            OutputRows::All
        } else if wish.row_at_end && tokens == wish.tokens {
            OutputRows::Last
        } else {
            OutputRows::None
        };
        self.piece = (tokens > 0).then_some(Piece {
            tokens,
            proposed: 0,
            outputs,
        });
    }

    /// Puts proposals behind the next token, as far as there is room. Only while an answer is being written:
    /// the end of a prompt is worth a snapshot of its own.
    pub(super) fn draft(
        &mut self,
        runner: &mut dyn Runner,
        shared: &Shared,
        most: usize,
        room: &mut Room,
        proposals: &mut Vec<u32>,
    ) {
        let Some(piece) = &mut self.piece else { return };
        if piece.outputs != OutputRows::Last || self.fed < self.job.prompt_tokens {
            return;
        }
        // All rows of the entry come back: those of tokens fed again after a wrong proposal too.
        let rows = room.rows.saturating_sub(piece.tokens - 1);
        let most = most
            .min(room.tokens)
            .min(rows)
            .min(self.job.tokens_left().saturating_sub(1));
        if most == 0 {
            return;
        }
        self.job.propose(most, &shared.tokens, proposals);
        if proposals.is_empty() {
            return;
        }
        if !runner.limits().rewinds
            && self
                .rollback
                .as_ref()
                .is_none_or(|state| state.tokens != self.fed)
        {
            // Without a way back there are no proposals; the text does not depend on them.
            let Ok(state) = runner.snapshot(self.sequence) else {
                return;
            };
            self.rollback = Some(state);
        }
        room.tokens -= proposals.len();
        room.rows -= piece.tokens - 1 + proposals.len();
        piece.tokens += proposals.len();
        piece.proposed = proposals.len();
        piece.outputs = OutputRows::All;
        self.job.usage.drafted_tokens += proposals.len();
        self.job.ids.extend_from_slice(proposals);
    }

    /// Its entry of the batch is about to run.
    pub(super) fn prepare(&mut self) {
        if self.rows() > 0 {
            self.job.prepare();
        }
    }

    /// Its entry of the batch.
    pub(super) fn entry(&self) -> Option<Entry<'_>> {
        let piece = self.piece?;
        let ids = &self.job.ids[self.fed..self.fed + piece.tokens];
        Some(Entry {
            sequence: self.sequence,
            ids,
            types: &[],
            outputs: piece.outputs,
        })
    }

    /// Output rows that its entry asks for.
    pub(super) fn rows(&self) -> usize {
        match self.piece {
            None => 0,
            Some(piece) => match piece.outputs {
                OutputRows::None => 0,
                OutputRows::Last | OutputRows::LastFrom(_) => 1,
                OutputRows::All => piece.tokens,
            },
        }
    }

    /// Takes its proposals out of the batch; whether there were any.
    pub(super) fn drop_proposals(&mut self) -> bool {
        let Some(piece) = self.piece.as_mut().filter(|piece| piece.proposed > 0) else {
            return false;
        };
        self.job.ids.truncate(self.job.ids.len() - piece.proposed);
        self.job.usage.drafted_tokens -= piece.proposed;
        piece.tokens -= piece.proposed;
        piece.proposed = 0;
        piece.outputs = OutputRows::Last;
        true
    }

    /// Gives up its part of the batch.
    pub(super) fn withdraw(&mut self) {
        self.drop_proposals();
        self.piece = None;
    }

    /// Its piece was run: it takes its rows. A panic in what is its own (guides above all) ends this request and no
    /// other.
    pub(super) fn take_rows(
        &mut self,
        rows: &[f32],
        tokenizer: &dyn Tokenizer,
        shared: &mut Shared,
    ) {
        // Of what is shared, each token makes the masks and buffers anew, and events are whole when they are pushed.
        let take = AssertUnwindSafe(|| self.read_rows(rows, tokenizer, shared));
        if catch_unwind(take).is_err() {
            // What the sequence holds is not known any more.
            self.fed = 0;
            self.cut = None;
            self.job.fail(Failure::Panicked);
        }
    }

    /// Reads its rows, chooses the next token, and goes on over the proposals for as long as they are what it would
    /// have chosen anyway.
    fn read_rows(&mut self, rows: &[f32], tokenizer: &dyn Tokenizer, shared: &mut Shared) {
        let Some(piece) = self.piece.take() else {
            return;
        };
        if self.job.wants_prompt_rows() && piece.outputs == OutputRows::All {
            self.job.read_prompt_rows(self.fed, rows, shared);
        }
        self.fed += piece.tokens;
        if self.fed < self.job.ids.len() {
            return;
        }
        if self.job.usage.generated_tokens == 0 {
            self.job.usage.prompt_ms = self.job.elapsed_ms();
        }
        self.job.end_at_limit();
        if self.job.ended.is_some() {
            return;
        }
        let width = shared.tokens.width();
        let wanted = rows.len().saturating_sub((piece.proposed + 1) * width);
        let known = self.job.ids.len() - piece.proposed;
        for (at, row) in (known..).zip(rows[wanted..].chunks_exact(width)) {
            if !self.take_token(at, row, tokenizer, shared) {
                break;
            }
        }
        let right = self.job.ids.len() - 1;
        self.cut = (right < self.fed).then_some(right);
        self.fast_forward(tokenizer, shared);
    }

    /// Takes in what must come next whatever the model says: it is fed with the last chosen token.
    fn fast_forward(&mut self, tokenizer: &dyn Tokenizer, shared: &mut Shared) {
        let job = &mut self.job;
        while job.ended.is_none() {
            match job.forced_without_row(&shared.tokens) {
                Ok(None) => return,
                Ok(Some(id)) => {
                    job.ids.push(id);
                    job.accept(id, None, tokenizer, shared);
                }
                Err(error) => job.fail(error),
            }
        }
    }

    /// Chooses the token at `at`; whether the proposal there was right and the next row counts too.
    fn take_token(
        &mut self,
        at: usize,
        row: &[f32],
        tokenizer: &dyn Tokenizer,
        shared: &mut Shared,
    ) -> bool {
        let job = &mut self.job;
        let id = match job.choose(row, shared) {
            Ok(id) => id,
            Err(error) => {
                job.ids.truncate(at);
                job.fail(error);
                return false;
            }
        };
        let right = job.ids.get(at) == Some(&id);
        if !right {
            job.ids.truncate(at);
            job.ids.push(id);
        }
        job.usage.accepted_tokens += usize::from(right);
        job.accept(id, Some(row), tokenizer, shared);
        if job.ended.is_some() {
            job.ids.truncate(at + 1);
            return false;
        }
        right
    }

    /// After a batch: takes wrong proposals back and keeps a snapshot where one is wanted; whether it did.
    pub(super) fn settle(
        &mut self,
        runner: &mut dyn Runner,
        snapshot_every: usize,
    ) -> Result<bool, RunError> {
        let rewinds = runner.limits().rewinds;
        if let Some(tokens) = self.cut.take() {
            match &self.rollback {
                Some(state) if !rewinds => {
                    // The tokens after it are right, but have to be fed again.
                    runner.restore(self.sequence, state)?;
                    self.fed = state.tokens;
                }
                _ => {
                    runner.truncate(self.sequence, tokens)?;
                    self.fed = tokens;
                }
            }
        }
        if self
            .rollback
            .as_ref()
            .is_some_and(|state| state.tokens != self.fed)
        {
            self.rollback = None;
        }
        let wanted = self.fed.checked_sub(1);
        let wanted = wanted.and_then(|before| self.next_mark(before, snapshot_every));
        let known = self.snapshots.iter().any(|state| state.tokens == self.fed);
        let keeps = !rewinds && !known && wanted == Some(self.fed);
        if keeps {
            let state = runner.snapshot(self.sequence)?;
            keep_snapshot(&mut self.snapshots, Arc::new(state));
        }
        Ok(keeps)
    }
}
