//! Sequences of requests that ended, kept for prompts that start alike.
//!
//! In: the ids of a new request. Out: a sequence that holds as many of them as possible, always leaving at
//! least one to feed. Where sequences can be cut, any common prefix is reused; where a recurrent state
//! cannot go back, the whole sequence or a snapshot inside of the common prefix is.

use std::sync::Arc;

use crate::backend::{RunError, Runner, SequenceId, Snapshot};

/// A sequence for a request.
pub(super) struct Place {
    pub(super) sequence: SequenceId,
    /// Tokens it holds, the first ones of the request.
    pub(super) tokens: usize,
    /// States inside of these tokens.
    pub(super) snapshots: Vec<Arc<Snapshot>>,
}

/// A sequence that nobody runs.
struct Parked {
    sequence: SequenceId,
    ids: Vec<u32>,
    snapshots: Vec<Arc<Snapshot>>,
    used: u64,
}

impl Parked {
    /// How many of its tokens a request with these ids can take over.
    fn usable(&self, ids: &[u32], rewinds: bool) -> usize {
        let most = ids.len().saturating_sub(1);
        let common = self
            .ids
            .iter()
            .zip(&ids[..most])
            .take_while(|(ours, theirs)| ours == theirs);
        let common = common.count();
        if rewinds || common == self.ids.len() {
            return common;
        }
        let tokens = self.snapshots.iter().map(|state| state.tokens);
        tokens.filter(|&tokens| tokens <= common).max().unwrap_or(0)
    }
}

/// The parked sequences. They count among the runner's open ones.
#[derive(Default)]
pub(super) struct Shelf {
    parked: Vec<Parked>,
    clock: u64,
}

impl Shelf {
    pub(super) fn len(&self) -> usize {
        self.parked.len()
    }

    /// Keeps a sequence that holds `ids`.
    pub(super) fn park(
        &mut self,
        sequence: SequenceId,
        ids: Vec<u32>,
        snapshots: Vec<Arc<Snapshot>>,
    ) {
        let used = self.tick();
        self.parked.push(Parked {
            sequence,
            ids,
            snapshots,
            used,
        });
    }

    /// Closes the sequence used longest ago; false where none is parked.
    pub(super) fn close_oldest(&mut self, runner: &mut dyn Runner) -> bool {
        self.close_oldest_but(None, runner)
    }

    /// A sequence for a request with these ids, `None` where all are running.
    ///
    /// # Errors
    /// The runner opens no sequence although none is running or parked.
    pub(super) fn place(
        &mut self,
        runner: &mut dyn Runner,
        ids: &[u32],
        running: usize,
        snapshots_max: usize,
    ) -> Result<Option<Place>, RunError> {
        if let Some(place) = self.reuse(runner, ids, running, snapshots_max) {
            return Ok(Some(place));
        }
        self.open(runner, running)
    }

    /// An empty sequence, `None` where all are running.
    ///
    /// # Errors
    /// The runner opens no sequence although none is running or parked.
    pub(super) fn open(
        &mut self,
        runner: &mut dyn Runner,
        running: usize,
    ) -> Result<Option<Place>, RunError> {
        let sequences_max = runner.limits().sequences_max;
        if running >= sequences_max && running > 0 {
            return Ok(None);
        }
        while running + self.len() >= sequences_max && self.close_oldest(runner) {}
        match runner.open() {
            Ok(sequence) => Ok(Some(Place {
                sequence,
                tokens: 0,
                snapshots: Vec::new(),
            })),
            Err(RunError::SequencesFull(_)) if running > 0 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes over a parked sequence, whole or in part. A runner that refuses to go back costs the reuse,
    /// not the request.
    fn reuse(
        &mut self,
        runner: &mut dyn Runner,
        ids: &[u32],
        running: usize,
        snapshots_max: usize,
    ) -> Option<Place> {
        let limits = runner.limits();
        let best = |at: &usize| {
            let parked = &self.parked[*at];
            let tokens = parked.usable(ids, limits.rewinds);
            (tokens, tokens == parked.ids.len(), parked.used)
        };
        let at = (0..self.len()).max_by_key(best)?;
        let tokens = self.parked[at].usable(ids, limits.rewinds);
        if tokens == 0 || running >= limits.sequences_max {
            return None;
        }
        let Parked {
            sequence,
            snapshots,
            ..
        } = if tokens == self.parked[at].ids.len() {
            self.parked.remove(at)
        } else {
            self.share(at, runner, running)
        };
        let mut place = Place {
            sequence,
            tokens,
            snapshots,
        };
        match go_back(&mut place, runner, snapshots_max) {
            Ok(()) => Some(place),
            Err(_refused) => {
                runner.close(sequence);
                None
            }
        }
    }

    /// A second sequence with the past of the one at `at`, so that both conversations go on; the one itself
    /// where there is no place for two.
    fn share(&mut self, at: usize, runner: &mut dyn Runner, running: usize) -> Parked {
        self.parked[at].used = self.tick();
        let sequence = self.parked[at].sequence;
        let full = running + self.len() >= runner.limits().sequences_max;
        if !full || self.close_oldest_but(Some(sequence), runner) {
            let at = self
                .parked
                .iter()
                .position(|parked| parked.sequence == sequence);
            let at = at.expect("only others were closed");
            if let Ok(fork) = runner.fork(sequence) {
                let snapshots = self.parked[at].snapshots.clone();
                return Parked {
                    sequence: fork,
                    ids: Vec::new(),
                    snapshots,
                    used: 0,
                };
            }
            return self.parked.remove(at);
        }
        self.parked.remove(at)
    }

    fn close_oldest_but(&mut self, spared: Option<SequenceId>, runner: &mut dyn Runner) -> bool {
        let others = self.parked.iter().enumerate();
        let others = others.filter(|(_, parked)| Some(parked.sequence) != spared);
        let Some((at, _)) = others.min_by_key(|(_, parked)| parked.used) else {
            return false;
        };
        runner.close(self.parked.remove(at).sequence);
        true
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
}

/// Cuts a sequence to the tokens of its place.
fn go_back(
    place: &mut Place,
    runner: &mut dyn Runner,
    snapshots_max: usize,
) -> Result<(), RunError> {
    let tokens = place.tokens;
    place.snapshots.retain(|state| state.tokens <= tokens);
    let whole = runner.tokens(place.sequence)? == tokens;
    let known = place.snapshots.iter().find(|state| state.tokens == tokens);
    if runner.limits().rewinds {
        return runner.truncate(place.sequence, tokens);
    }
    match known {
        Some(state) if !whole => runner.restore(place.sequence, state),
        Some(_) => Ok(()),
        // The next request may part from this one right here.
        None => {
            let state = runner.snapshot(place.sequence)?;
            keep_snapshot(&mut place.snapshots, state, snapshots_max);
            Ok(())
        }
    }
}

/// Adds a snapshot; above `most` the one goes that lies least far behind the one before it, because a prompt
/// that wanted it has least to feed again. The longest stays.
pub(super) fn keep_snapshot(snapshots: &mut Vec<Arc<Snapshot>>, state: Snapshot, most: usize) {
    let at = snapshots.partition_point(|kept| kept.tokens < state.tokens);
    snapshots.insert(at, Arc::new(state));
    if snapshots.len() > most.max(1) {
        let gap = |at: &usize| {
            let before = at
                .checked_sub(1)
                .map_or(0, |before| snapshots[before].tokens);
            snapshots[*at].tokens - before
        };
        let closest = (0..snapshots.len() - 1).min_by_key(gap);
        snapshots.remove(closest.unwrap_or(0));
    }
}
