//! Which sequences are open and how long they are: the bookkeeping that every runner shares.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{Batch, Entry, Limits, OutputRows, PrefixId, RunError, SequenceId, Snapshot};

/// One open sequence and the memory `M` its runner keeps for it.
#[derive(Debug)]
pub(super) struct Slot<M> {
    /// Tokens it holds.
    pub(super) tokens: usize,
    /// What the runner keeps.
    pub(super) memory: M,
}

/// All open sequences of a runner, and what is kept of others as `K`.
#[derive(Debug)]
pub(super) struct SequenceTable<M, K> {
    limits: Limits,
    open: BTreeMap<SequenceId, Slot<M>>,
    kept: BTreeMap<PrefixId, Slot<K>>,
    next: u64,
}

/// An entry of a batch, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    /// Its sequence.
    pub(super) sequence: SequenceId,
    /// Its rows among the batch's token rows.
    pub(super) rows: Range<usize>,
    /// Position of its first row in the sequence.
    pub(super) first_position: usize,
}

/// A checked batch as rows. Buffers are reused from batch to batch.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// One per entry.
    pub(super) spans: Vec<Span>,
    /// Token id of each row.
    pub(super) ids: Vec<u32>,
    /// Position of each row in its sequence.
    pub(super) positions: Vec<u32>,
    /// Type of each row; none where the plan reads none.
    pub(super) types: Vec<u32>,
    /// Rows that want an output, ascending.
    pub(super) outputs: Vec<u32>,
    /// Of a plan that pools, the rows that make each output.
    pub(super) pooled: Vec<Range<usize>>,
}

impl Layout {
    /// Room for the largest batch, so that later ones allocate nothing.
    pub(super) fn for_limits(limits: &Limits) -> Self {
        Self {
            spans: Vec::with_capacity(limits.sequences_max),
            ids: Vec::with_capacity(limits.batch_tokens_max),
            positions: Vec::with_capacity(limits.batch_tokens_max),
            types: Vec::with_capacity(if limits.types > 0 {
                limits.batch_tokens_max
            } else {
                0
            }),
            outputs: Vec::with_capacity(limits.output_rows_max),
            pooled: Vec::with_capacity(if limits.pools {
                limits.output_rows_max
            } else {
                0
            }),
        }
    }
}

impl<M, K> SequenceTable<M, K> {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            open: BTreeMap::new(),
            kept: BTreeMap::new(),
            next: 0,
        }
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// Whether another sequence may be opened.
    pub(super) fn admit(&self) -> Result<(), RunError> {
        if self.open.len() < self.limits.sequences_max {
            return Ok(());
        }
        Err(RunError::SequencesFull(self.limits.sequences_max))
    }

    /// Adds a sequence that [`Self::admit`] let in.
    pub(super) fn insert(&mut self, tokens: usize, memory: M) -> SequenceId {
        let id = SequenceId(self.next);
        self.next += 1;
        self.open.insert(id, Slot { tokens, memory });
        id
    }

    /// Whether the sequence holds `tokens` tokens to keep.
    pub(super) fn check_keep(&self, id: SequenceId, tokens: usize) -> Result<(), RunError> {
        let held = self.get(id)?.tokens;
        if tokens <= held {
            return Ok(());
        }
        Err(RunError::BadRestore {
            tokens: held,
            wanted: tokens,
        })
    }

    /// Keeps what [`Self::check_keep`] let in.
    pub(super) fn keep(&mut self, tokens: usize, memory: K) -> PrefixId {
        let id = PrefixId(self.next);
        self.next += 1;
        self.kept.insert(id, Slot { tokens, memory });
        id
    }

    pub(super) fn release(&mut self, id: PrefixId) -> Option<Slot<K>> {
        self.kept.remove(&id)
    }

    pub(super) fn kept(&self, id: PrefixId) -> Result<&Slot<K>, RunError> {
        self.kept.get(&id).ok_or(RunError::UnknownPrefix(id.0))
    }

    /// Whether a sequence may begin with `tokens` tokens of what is kept, and `state` after them, of `fixed` values.
    pub(super) fn check_open_from(
        &self,
        id: PrefixId,
        tokens: usize,
        state: Option<&Snapshot>,
        fixed: usize,
    ) -> Result<(), RunError> {
        let held = self.kept(id)?.tokens;
        let fits = |state: &Snapshot| state.tokens == tokens && state.state.len() == fixed;
        if tokens > held || state.is_some_and(|state| !fits(state)) {
            return Err(RunError::BadRestore {
                tokens: held,
                wanted: tokens,
            });
        }
        if state.is_none() && tokens > 0 && !self.limits.rewinds {
            return Err(RunError::CannotRewind {
                tokens: held,
                wanted: tokens,
            });
        }
        self.admit()
    }

    pub(super) fn remove(&mut self, id: SequenceId) -> Option<Slot<M>> {
        self.open.remove(&id)
    }

    pub(super) fn get(&self, id: SequenceId) -> Result<&Slot<M>, RunError> {
        self.open.get(&id).ok_or(RunError::UnknownSequence(id.0))
    }

    pub(super) fn get_mut(&mut self, id: SequenceId) -> Result<&mut Slot<M>, RunError> {
        self.open
            .get_mut(&id)
            .ok_or(RunError::UnknownSequence(id.0))
    }

    /// Whether a sequence may be cut to `tokens` without a snapshot.
    pub(super) fn check_cut(&self, id: SequenceId, tokens: usize) -> Result<(), RunError> {
        let held = self.get(id)?.tokens;
        if tokens > held {
            return Err(RunError::BadRestore {
                tokens: held,
                wanted: tokens,
            });
        }
        if tokens != 0 && tokens != held && !self.limits.rewinds {
            return Err(RunError::CannotRewind {
                tokens: held,
                wanted: tokens,
            });
        }
        Ok(())
    }

    /// Checks a batch against the limits and lays it out as rows. Nothing changes on an error.
    pub(super) fn lay_out(&self, batch: &Batch<'_>, layout: &mut Layout) -> Result<(), RunError> {
        self.check(batch)?;
        let Layout {
            spans,
            ids,
            positions,
            types,
            outputs,
            pooled,
        } = layout;
        spans.clear();
        ids.clear();
        positions.clear();
        types.clear();
        outputs.clear();
        pooled.clear();
        for entry in batch.entries {
            let (first, start) = (self.get(entry.sequence)?.tokens, ids.len());
            ids.extend_from_slice(entry.ids);
            positions.extend((first..first + entry.ids.len()).map(|position| position as u32));
            let rows = start..ids.len();
            if self.limits.types > 0 {
                types.extend_from_slice(entry.types);
                types.resize(rows.end, 0);
            }
            if self.limits.pools && entry.outputs == OutputRows::Last {
                pooled.push(rows.clone());
            }
            match entry.outputs {
                OutputRows::None => {}
                OutputRows::Last => outputs.push(rows.end as u32 - 1),
                OutputRows::All => outputs.extend(rows.clone().map(|row| row as u32)),
            }
            spans.push(Span {
                sequence: entry.sequence,
                rows,
                first_position: first,
            });
        }
        Ok(())
    }

    fn check(&self, batch: &Batch<'_>) -> Result<(), RunError> {
        let limits = &self.limits;
        if batch.entries.is_empty() || batch.entries.iter().any(|entry| entry.ids.is_empty()) {
            return Err(RunError::EmptyBatch);
        }
        let tokens: usize = batch.entries.iter().map(|entry| entry.ids.len()).sum();
        if tokens > limits.batch_tokens_max {
            return Err(RunError::BatchTooLong {
                found: tokens,
                max: limits.batch_tokens_max,
            });
        }
        let outputs: usize = batch.entries.iter().map(|entry| entry.output_rows()).sum();
        if outputs > limits.output_rows_max {
            return Err(RunError::TooManyOutputs {
                found: outputs,
                max: limits.output_rows_max,
            });
        }
        check_twice(batch)?;
        for entry in batch.entries {
            self.check_types(entry)?;
            let found = self.get(entry.sequence)?.tokens + entry.ids.len();
            if found > limits.context_tokens_max {
                return Err(RunError::ContextFull {
                    found,
                    max: limits.context_tokens_max,
                });
            }
            if let Some(&id) = entry.ids.iter().find(|id| **id as usize >= limits.vocab) {
                return Err(RunError::TokenOutOfRange {
                    id,
                    vocab: limits.vocab,
                });
            }
        }
        Ok(())
    }

    /// Whether the plan has a row for every type, and one output for the entry.
    fn check_types(&self, entry: &Entry<'_>) -> Result<(), RunError> {
        let Limits { types, pools, .. } = self.limits;
        if pools && entry.outputs == OutputRows::All {
            return Err(RunError::OneRow);
        }
        if !entry.types.is_empty() && entry.types.len() != entry.ids.len() {
            return Err(RunError::TypesLength {
                ids: entry.ids.len(),
                types: entry.types.len(),
            });
        }
        let types = types.max(1);
        let unknown = entry.types.iter().find(|of| **of as usize >= types);
        unknown.map_or(Ok(()), |found| {
            let found = *found;
            Err(RunError::TypeOutOfRange { found, types })
        })
    }

    /// Extends each span's sequence by its rows, unless nothing of them is kept.
    pub(super) fn commit(&mut self, spans: &[Span]) {
        if self.limits.whole {
            return;
        }
        for span in spans {
            if let Some(slot) = self.open.get_mut(&span.sequence) {
                slot.tokens = span.first_position + span.rows.len();
            }
        }
    }
}

/// Refuses a sequence that stands twice in a batch.
fn check_twice(batch: &Batch<'_>) -> Result<(), RunError> {
    // A batch of many sequences mostly names them in order.
    if batch.entries.is_sorted_by(|a, b| a.sequence < b.sequence) {
        return Ok(());
    }
    for (index, entry) in batch.entries.iter().enumerate() {
        let before = &batch.entries[..index];
        if before.iter().any(|other| other.sequence == entry.sequence) {
            return Err(RunError::SequenceTwice(entry.sequence.0));
        }
    }
    Ok(())
}
