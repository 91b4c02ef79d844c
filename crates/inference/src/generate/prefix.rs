//! What requests have read, kept for prompts that start alike.
//!
//! In: the ids of a new request, the requests that run. Out: a sequence that holds as many of its first ids as possible,
//! always leaving at least one to feed. Where sequences can be cut, any common beginning is reused; where a recurrent
//! state cannot go back, the common beginning up to a state that is kept. Pages of keys and values are shared, not copied.

use std::sync::Arc;

use super::CacheUse;
use super::disk::{PrefixFiles, Stored};
use super::running::Running;
use crate::backend::{PrefixId, RunError, Runner, SequenceId, Snapshot};

/// Tokens that are worth reading a file.
const WORTH_FETCHING: usize = 64;
/// States that an entry may keep before others give way.
const FEW: usize = 4;

/// A sequence for a request.
pub(super) struct Place {
    pub(super) sequence: SequenceId,
    /// Tokens it holds, the first ones of the request.
    pub(super) tokens: usize,
    /// States inside of these tokens.
    pub(super) snapshots: Vec<Arc<Snapshot>>,
}

/// The beginning of a text that somebody has read.
struct Kept {
    prefix: PrefixId,
    ids: Vec<u32>,
    snapshots: Vec<Arc<Snapshot>>,
    used: u64,
    /// Whether a file has it as it is.
    in_file: bool,
}

/// How many ids two texts begin with alike.
pub(super) fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// How many tokens of a past a request with these ids can take over.
fn usable(past: &[u32], snapshots: &[Arc<Snapshot>], ids: &[u32], rewinds: bool) -> usize {
    let common = common(past, &ids[..ids.len().saturating_sub(1)]);
    if rewinds {
        return common;
    }
    let tokens = snapshots.iter().map(|state| state.tokens);
    tokens.filter(|&tokens| tokens <= common).max().unwrap_or(0)
}

/// The kept beginnings.
pub(super) struct PrefixCache {
    kept: Vec<Kept>,
    clock: u64,
    prefixes_max: usize,
    snapshot_bytes_max: usize,
    files: Option<PrefixFiles>,
}

impl PrefixCache {
    pub(super) fn new(prefixes_max: usize, snapshot_bytes_max: usize) -> PrefixCache {
        PrefixCache {
            kept: Vec::new(),
            clock: 0,
            prefixes_max,
            snapshot_bytes_max,
            files: None,
        }
    }

    /// What earlier processes kept counts as kept from now on.
    pub(super) fn use_files(&mut self, files: PrefixFiles) {
        self.files = Some(files);
    }

    /// Writes one of those that are kept and not written yet, the one used longest ago; false where there is none. One that
    /// the runner does not export counts as written.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn save_next(&mut self, runner: &dyn Runner) -> std::io::Result<bool> {
        let Some(files) = &mut self.files else {
            return Ok(false);
        };
        let new = self.kept.iter_mut().filter(|kept| !kept.in_file);
        let Some(kept) = new.min_by_key(|kept| kept.used) else {
            return Ok(false);
        };
        if let Ok(memory) = runner.export(kept.prefix) {
            files.write(&Stored {
                ids: kept.ids.clone(),
                snapshots: kept.snapshots.clone(),
                memory,
            })?;
            files.trim()?;
        }
        kept.in_file = true;
        Ok(true)
    }

    /// Takes in the file that a request with these ids begins with, where that saves it much. A runner that refuses costs
    /// the reuse.
    fn fetch(&mut self, runner: &mut dyn Runner, ids: &[u32], running: &[Running]) {
        let rewinds = runner.limits().rewinds;
        let best = self
            .files
            .as_ref()
            .and_then(|files| files.best(ids, rewinds));
        let Some((at, tokens)) = best.filter(|best| best.1 >= WORTH_FETCHING) else {
            return;
        };
        if tokens < WORTH_FETCHING + self.reach(ids, running, rewinds) {
            return;
        }
        if let Some(files) = &mut self.files
            && let Some(stored) = files.read(at)
            && let Ok(prefix) = runner.import(stored.ids.len(), &stored.memory)
        {
            let read = Kept {
                prefix,
                ids: stored.ids,
                snapshots: stored.snapshots,
                used: self.tick(),
                in_file: true,
            };
            self.insert(read, runner);
        }
    }

    /// What is kept; states that several hold count once.
    pub(super) fn figures(&self, running: &[Running]) -> CacheUse {
        let kept = self.kept.iter().map(|kept| &kept.snapshots);
        let live = running.iter().map(|running| &running.snapshots);
        let mut states: Vec<&Arc<Snapshot>> = kept.chain(live).flatten().collect();
        states.sort_unstable_by_key(|state| Arc::as_ptr(state));
        states.dedup_by_key(|state| Arc::as_ptr(state));
        CacheUse {
            prefixes: self.kept.len(),
            tokens: self.kept.iter().map(|kept| kept.ids.len()).sum(),
            snapshots: states.len(),
            snapshot_bytes: states.iter().map(|state| state.bytes()).sum(),
        }
    }

    /// Keeps what `running` has read, and closes its sequence. A runner that refuses costs a later reuse, no more.
    pub(super) fn park(&mut self, mut running: Running, runner: &mut dyn Runner) {
        let (sequence, tokens) = (running.sequence, running.fed);
        if self.prefixes_max > 0
            && let Ok(prefix) = runner.keep(sequence, tokens)
        {
            let mut ids = std::mem::take(&mut running.job.ids);
            ids.truncate(tokens);
            let mut snapshots = running.snapshots;
            let known = snapshots.last().is_some_and(|state| state.tokens == tokens);
            if !known
                && !runner.limits().rewinds
                && let Ok(state) = runner.snapshot(sequence)
            {
                keep_snapshot(&mut snapshots, Arc::new(state));
            }
            let read = Kept {
                prefix,
                ids,
                snapshots,
                used: self.tick(),
                in_file: false,
            };
            self.insert(read, runner);
        }
        runner.close(sequence);
    }

    /// Adds a beginning, or makes one of it and of those that continue each other.
    fn insert(&mut self, read: Kept, runner: &mut dyn Runner) {
        let mut read = read;
        let mut at = 0;
        while at < self.kept.len() {
            let other = &self.kept[at];
            let alike = common(&other.ids, &read.ids);
            if alike < other.ids.len().min(read.ids.len()) {
                at += 1;
                continue;
            }
            let (mut longer, shorter) = match self.kept.swap_remove(at) {
                other if other.ids.len() >= read.ids.len() => (other, read),
                other => (read, other),
            };
            let states = longer.snapshots.len();
            for state in shorter.snapshots {
                keep_snapshot(&mut longer.snapshots, state);
            }
            runner.release(shorter.prefix);
            longer.in_file &= longer.snapshots.len() == states;
            longer.used = longer.used.max(shorter.used);
            read = longer;
        }
        self.kept.push(read);
        while self.kept.len() > self.prefixes_max && self.close_oldest(runner) {}
    }

    /// Lets go of the beginning used longest ago; false where none is kept.
    pub(super) fn close_oldest(&mut self, runner: &mut dyn Runner) -> bool {
        let oldest = (0..self.kept.len()).min_by_key(|&at| self.kept[at].used);
        let Some(at) = oldest else { return false };
        runner.release(self.kept.swap_remove(at).prefix);
        true
    }

    /// How many tokens a request with these ids could take over now.
    pub(super) fn reach(&self, ids: &[u32], running: &[Running], rewinds: bool) -> usize {
        let kept = self
            .kept
            .iter()
            .map(|kept| (&kept.ids[..], &kept.snapshots));
        let live = running.iter().map(|it| (it.read(), &it.snapshots));
        let tokens = kept
            .chain(live)
            .map(|(past, states)| usable(past, states, ids, rewinds));
        tokens.max().unwrap_or(0)
    }

    /// A sequence for a request with these ids, `None` where all are running.
    ///
    /// # Errors
    /// The runner opens no sequence although none is running.
    pub(super) fn place(
        &mut self,
        runner: &mut dyn Runner,
        ids: &[u32],
        running: &[Running],
    ) -> Result<Option<Place>, RunError> {
        let sequences_max = runner.limits().sequences_max;
        if running.len() < sequences_max {
            self.fetch(runner, ids, running);
            if let Some(place) = self.reuse(runner, ids, running) {
                return Ok(Some(place));
            }
        }
        open(runner, running.len())
    }

    /// A sequence that begins as somebody's text does. A runner that refuses costs the reuse, not the request.
    fn reuse(
        &mut self,
        runner: &mut dyn Runner,
        ids: &[u32],
        running: &[Running],
    ) -> Option<Place> {
        let rewinds = runner.limits().rewinds;
        let kept = (0..self.kept.len())
            .map(|at| {
                let Kept {
                    ids: past,
                    snapshots,
                    used,
                    ..
                } = &self.kept[at];
                (usable(past, snapshots, ids, rewinds), *used, at)
            })
            .max();
        let live = (0..running.len())
            .map(|at| {
                (
                    usable(running[at].read(), &running[at].snapshots, ids, rewinds),
                    at,
                )
            })
            .max();
        let (of_kept, of_live) = (kept.map_or(0, |best| best.0), live.map_or(0, |best| best.0));
        let tokens = of_kept.max(of_live);
        if tokens == 0 {
            return None;
        }
        if of_kept == tokens {
            let used = self.tick();
            let kept = &mut self.kept[kept?.2];
            kept.used = used;
            return begin(runner, kept.prefix, tokens, &kept.snapshots);
        }
        let source = &running[live?.1];
        let prefix = runner.keep(source.sequence, tokens).ok()?;
        let place = begin(runner, prefix, tokens, &source.snapshots);
        runner.release(prefix);
        place
    }

    /// Lets go of states until they take no more bytes than may be kept: first of entries that have many, then of whole
    /// entries, the one used longest ago first. Two states stay, whatever they take.
    pub(super) fn bound_snapshots(&mut self, running: &mut [Running], runner: &mut dyn Runner) {
        loop {
            let states = self.figures(running);
            if states.snapshots <= 2 || states.snapshot_bytes <= self.snapshot_bytes_max {
                return;
            }
            let thinner = self.thin(FEW, running)
                || (self.kept.len() > 1 && self.close_oldest(runner))
                || self.thin(1, running);
            if !thinner {
                return;
            }
        }
    }

    /// Takes a state out of the first entry that has more than `few`, those used longest ago first, running requests
    /// last; false where none has.
    fn thin(&mut self, few: usize, running: &mut [Running]) -> bool {
        self.kept.sort_unstable_by_key(|kept| kept.used);
        let kept = self.kept.iter_mut().map(|kept| &mut kept.snapshots);
        let live = running.iter_mut().map(|running| &mut running.snapshots);
        let many = kept.chain(live).find(|states| states.len() > few);
        many.map(thin_closest).is_some()
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
}

/// An empty sequence, `None` where all are running.
///
/// # Errors
/// The runner opens no sequence although none is running.
pub(super) fn open(runner: &mut dyn Runner, running: usize) -> Result<Option<Place>, RunError> {
    if running >= runner.limits().sequences_max && running > 0 {
        return Ok(None);
    }
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

/// A sequence of the first `tokens` tokens of what is kept.
fn begin(
    runner: &mut dyn Runner,
    prefix: PrefixId,
    tokens: usize,
    snapshots: &[Arc<Snapshot>],
) -> Option<Place> {
    let within = |state: &&Arc<Snapshot>| state.tokens <= tokens;
    let snapshots: Vec<_> = snapshots.iter().filter(within).cloned().collect();
    let state = snapshots.iter().find(|state| state.tokens == tokens);
    let state = state.map(|state| &**state);
    let sequence = runner.open_from(prefix, tokens, state).ok()?;
    Some(Place {
        sequence,
        tokens,
        snapshots,
    })
}

/// Adds a state, in the order of their lengths; one of a length that is there already is not needed.
pub(super) fn keep_snapshot(snapshots: &mut Vec<Arc<Snapshot>>, state: Arc<Snapshot>) {
    let place = snapshots.binary_search_by_key(&state.tokens, |kept| kept.tokens);
    if let Err(at) = place {
        snapshots.insert(at, state);
    }
}

/// Takes out the state that lies least far behind the one before it, because a prompt that wanted it has least to feed
/// again. The longest stays.
fn thin_closest(snapshots: &mut Vec<Arc<Snapshot>>) {
    let before = |at: usize| at.checked_sub(1).map_or(0, |at| snapshots[at].tokens);
    let gap = |at: &usize| snapshots[*at].tokens - before(*at);
    let closest = (0..snapshots.len().saturating_sub(1)).min_by_key(gap);
    snapshots.remove(closest.unwrap_or(0));
}
