//! Runs a plan on a device.
//!
//! In: a checked plan, its weights, ragged batches of token ids. Out: the output rows asked for.
//! It does not know: model families, tokenizers, sampling.

#![deny(clippy::wildcard_enum_match_arm)]

pub mod cpu;
mod options;
mod profile;
pub mod reference;
mod table;
mod weights;

use std::sync::Arc;

use crate::Error;
use crate::checkpoint::Checkpoint;
use crate::plan::Plan;

pub use options::{Compute, KvFormat, LoadOptions};
pub use profile::Spent;
pub(crate) use weights::{stored_bytes, wanted};

/// A device that can load plans.
pub trait Backend {
    /// Its name, as `--device` takes it.
    fn name(&self) -> &'static str;
    /// Loads a plan's weights and reserves the memory that [`LoadOptions`] asks for.
    ///
    /// # Errors
    /// Missing or misshaped tensors, values that are not finite (unless allowed), memory that is not there.
    fn load(
        &self,
        plan: Arc<Plan>,
        weights: Arc<Checkpoint>,
        options: &LoadOptions,
    ) -> Result<Box<dyn Runner>, Error>;
}

/// Names an open sequence of one [`Runner`]. Ids are not reused while the runner lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId(pub u64);

/// Names what a [`Runner`] keeps of a sequence, see [`Runner::keep`]. Ids are not reused while the runner lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PrefixId(pub u64);

/// Which rows of an entry the caller wants the plan's output for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputRows {
    /// No row: the tokens only extend the sequence.
    None,
    /// The last row: what the next token is sampled from. Of a plan that pools, the one row that there is.
    Last,
    /// Every row, in order. A plan that pools has no such rows.
    All,
}

/// Tokens that extend one sequence.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// The sequence to extend. A sequence stands at most once in a batch.
    pub sequence: SequenceId,
    /// The token ids, at least one.
    pub ids: &'a [u32],
    /// The type of each token, for models that tell texts of a pair apart by it; empty: all are 0.
    pub types: &'a [u32],
    /// Which of these tokens want an output row.
    pub outputs: OutputRows,
}

impl Entry<'_> {
    /// Output rows it asks for.
    pub fn output_rows(&self) -> usize {
        match self.outputs {
            OutputRows::None => 0,
            OutputRows::Last => 1,
            OutputRows::All => self.ids.len(),
        }
    }
}

/// A ragged batch: prompt pieces and single decode steps side by side, with no padding.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// One entry per sequence, at least one.
    pub entries: &'a [Entry<'a>],
}

/// The output rows of a batch, in the order of its entries.
#[derive(Debug, Clone, Copy)]
pub struct Outputs<'a> {
    /// `[rows, width]`, row-major.
    pub rows: &'a [f32],
    /// Columns of a row: the vocabulary size for a language model.
    pub width: usize,
}

/// What a runner was built to hold; fixed at load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Open sequences at a time.
    pub sequences_max: usize,
    /// Tokens one sequence may hold.
    pub context_tokens_max: usize,
    /// Tokens one batch may hold, over all entries.
    pub batch_tokens_max: usize,
    /// Output rows one batch may ask for.
    pub output_rows_max: usize,
    /// Columns of an output row.
    pub output_width: usize,
    /// Ids must be below this.
    pub vocab: usize,
    /// Types must be below this; 0 and 1: only type 0 is known.
    pub types: usize,
    /// Whether a sequence is one entry of one batch: nothing is kept of it, and it is empty again afterwards.
    pub whole: bool,
    /// Whether an entry has one output row at most, made of all of its rows.
    pub pools: bool,
    /// Whether a sequence may be cut to any shorter length without a snapshot
    /// (false where a recurrent state is part of it).
    pub rewinds: bool,
}

/// A copy of a sequence's recurrent state at one length. Attention keys and values are not in it: they
/// stay with the sequence, which on restore is cut back to `tokens`.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Tokens the sequence held when this was taken.
    pub tokens: usize,
    pub(crate) state: Box<[f32]>,
}

impl Snapshot {
    /// Bytes of memory it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.state)
    }
}

/// Runs batches and owns the memory of its sequences.
///
/// ```
/// use lattice_inference::Model;
/// use lattice_inference::backend::{Backend, Batch, Entry, LoadOptions, OutputRows, cpu::Cpu};
/// use lattice_inference::checkpoint::{ModelFiles, OpenOptions};
///
/// # fn main() -> Result<(), lattice_inference::Error> {
/// let files = ModelFiles::open("../../models/lattice-tiny".as_ref())?;
/// let model = Model::open(&files, &OpenOptions::default())?;
/// let mut runner = Cpu.load(model.plan, model.checkpoint, &LoadOptions::default())?;
/// let sequence = runner.open()?;
/// let entries = [Entry { sequence, ids: &[8167, 291, 3], types: &[], outputs: OutputRows::Last }];
/// let logits = runner.run(&Batch { entries: &entries })?;
/// assert_eq!(logits.rows.len(), logits.width);
/// # Ok(())
/// # }
/// ```
pub trait Runner: Send {
    /// The limits fixed at load.
    fn limits(&self) -> Limits;
    /// Opens an empty sequence.
    fn open(&mut self) -> Result<SequenceId, RunError>;
    /// Keeps the keys and values of the first `tokens` tokens of a sequence, at most those it holds: they stay whatever
    /// becomes of the sequence, and take no sequence's place. Of a recurrent state nothing is kept; see [`Self::snapshot`].
    fn keep(&mut self, sequence: SequenceId, tokens: usize) -> Result<PrefixId, RunError>;
    /// Opens a sequence that begins with the first `tokens` tokens of `prefix`. Where [`Limits::rewinds`] does not hold and
    /// `tokens > 0`, `state` is the recurrent state after them, else [`RunError::CannotRewind`]. The caller promises
    /// that the snapshot was taken over the same tokens.
    fn open_from(
        &mut self,
        prefix: PrefixId,
        tokens: usize,
        state: Option<&Snapshot>,
    ) -> Result<SequenceId, RunError>;
    /// Lets go of what is kept; sequences opened from it stay. What is not kept is let go already.
    fn release(&mut self, prefix: PrefixId);
    /// Opens a second sequence with the same past; neither sees what the other does afterwards.
    fn fork(&mut self, sequence: SequenceId) -> Result<SequenceId, RunError> {
        let tokens = self.tokens(sequence)?;
        let state = self.snapshot(sequence)?;
        let prefix = self.keep(sequence, tokens)?;
        let copy = self.open_from(prefix, tokens, Some(&state));
        self.release(prefix);
        copy
    }
    /// Tokens the sequence holds.
    fn tokens(&self, sequence: SequenceId) -> Result<usize, RunError>;
    /// Cuts the sequence to its first `tokens` tokens. `tokens == 0` and the current length always work;
    /// in between only where [`Limits::rewinds`] holds, else [`RunError::CannotRewind`].
    fn truncate(&mut self, sequence: SequenceId, tokens: usize) -> Result<(), RunError>;
    /// Copies the recurrent state at the current length.
    fn snapshot(&mut self, sequence: SequenceId) -> Result<Snapshot, RunError>;
    /// Cuts the sequence back to `snapshot.tokens` and puts the recurrent state back. The caller promises that
    /// the first `snapshot.tokens` tokens of the sequence are those the snapshot was taken over.
    fn restore(&mut self, sequence: SequenceId, snapshot: &Snapshot) -> Result<(), RunError>;
    /// Frees the sequence. Closing a sequence that is not open does nothing.
    fn close(&mut self, sequence: SequenceId);
    /// Runs one batch: extends each entry's sequence by its ids and computes the rows asked for. Where [`Limits::whole`]
    /// holds, the sequences are as long afterwards as before: empty.
    /// Allocates nothing. On an error no sequence has changed its length.
    fn run(&mut self, batch: &Batch<'_>) -> Result<Outputs<'_>, RunError>;
    /// What the batches since the last call took, by kind of work, the longest first. Nothing unless
    /// [`LoadOptions::profile`] asked for clocks and the backend has them.
    fn take_profile(&mut self) -> Vec<Spent> {
        Vec::new()
    }
}

/// Why a runner refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The sequence is not open.
    #[error("sequence {0} is not open")]
    UnknownSequence(u64),
    /// Nothing is kept under this id.
    #[error("prefix {0} is not kept")]
    UnknownPrefix(u64),
    /// As many sequences are open as the runner was built for.
    #[error("all {0} sequences are open")]
    SequencesFull(usize),
    /// A sequence stands twice in one batch.
    #[error("sequence {0} stands twice in one batch")]
    SequenceTwice(u64),
    /// A batch without entries, or an entry without ids.
    #[error("a batch needs at least one entry, and each entry at least one id")]
    EmptyBatch,
    /// More tokens in the batch than the runner was built for.
    #[error("batch of {found} tokens, at most {max}")]
    BatchTooLong {
        /// Tokens in the batch.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// More output rows than the runner was built for.
    #[error("batch asks for {found} output rows, at most {max}")]
    TooManyOutputs {
        /// Rows asked for.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// The sequence would outgrow its context.
    #[error("sequence would hold {found} tokens, the context holds {max}")]
    ContextFull {
        /// Tokens it would hold.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// An id outside of the embedding table.
    #[error("token id {id} is outside of the vocabulary of {vocab}")]
    TokenOutOfRange {
        /// The id.
        id: u32,
        /// Rows of the embedding table.
        vocab: usize,
    },
    /// A type that the model has no row for.
    #[error("token type {found} is outside of the {types} that the model tells apart")]
    TypeOutOfRange {
        /// The type.
        found: u32,
        /// Types there are.
        types: usize,
    },
    /// An entry with types for more or fewer tokens than it has.
    #[error("an entry has {ids} ids and {types} token types")]
    TypesLength {
        /// Its ids.
        ids: usize,
        /// Its types.
        types: usize,
    },
    /// Every row of a plan that makes one row of a text.
    #[error("a text has one output row, and every token's was asked for")]
    OneRow,
    /// A recurrent state cannot go back.
    #[error(
        "sequence holds {tokens} tokens and cannot be cut to {wanted}: its recurrent state needs a snapshot"
    )]
    CannotRewind {
        /// Tokens it holds.
        tokens: usize,
        /// Tokens asked for.
        wanted: usize,
    },
    /// A cut or a restore to more tokens than there are, or a snapshot of another plan.
    #[error("sequence holds {tokens} tokens: no snapshot or cut to {wanted} fits it")]
    BadRestore {
        /// Tokens it holds.
        tokens: usize,
        /// Tokens asked for.
        wanted: usize,
    },
    /// No page of the key/value memory is free.
    #[error("key/value memory is full: {0} tokens")]
    CacheFull(usize),
    /// The device could not be set up.
    #[error("{0}")]
    Device(String),
    /// A weight file changed under the engine.
    #[error("{0}")]
    FileChanged(String),
}
