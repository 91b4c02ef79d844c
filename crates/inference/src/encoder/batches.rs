//! Rows of ids through a runner, in batches.
//!
//! In: rows of ids, of any mix of lengths. Out: the plan's output row of each.
//! A model that reads a text as a whole gets whole texts side by side; a causal one may get a long text in pieces.
//! It does not know: what the output means.

use std::sync::Arc;

use super::{EncodedText, EncoderError};
use crate::Error;
use crate::backend::{
    Backend, Batch, Entry, Limits, LoadOptions, OutputRows, RunError, Runner, SequenceId, Spent,
};
use crate::model::Model;

/// Keys and values lie in pages of so many tokens; each text may leave one unfilled.
const PAGE_TOKENS: usize = 64;

/// A row of ids.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) ids: &'a [u32],
    /// Their types: none where all are 0.
    pub(super) types: &'a [u32],
    /// The first one that is pooled, where they are.
    pub(super) from: usize,
}

impl<'a> Row<'a> {
    /// Ids of one type, all of which count.
    pub(super) fn of_ids(ids: &'a [u32]) -> Self {
        let types = &[];
        Self {
            ids,
            types,
            from: 0,
        }
    }
}

impl<'a> From<&'a EncodedText> for Row<'a> {
    fn from(text: &'a EncodedText) -> Self {
        Self {
            ids: &text.ids,
            types: &text.type_ids,
            from: text.prompt_tokens,
        }
    }
}

/// A loaded model that gives one output row for each row of ids.
pub(super) struct Batches {
    runner: Box<dyn Runner>,
    /// Open for good: place `i` of a batch is `sequences[i]`.
    sequences: Vec<SequenceId>,
    tokens_max: usize,
}

impl Batches {
    /// Loads `model` for rows of up to `tokens_max` ids.
    pub(super) fn load(
        model: &Model,
        backend: &dyn Backend,
        options: &LoadOptions,
        tokens_max: usize,
    ) -> Result<Self, Error> {
        let (plan, checkpoint) = (Arc::clone(&model.plan), Arc::clone(&model.checkpoint));
        let mut options = options.clone();
        options.context_tokens_max = tokens_max;
        options.rearrange = true;
        if plan.is_whole() {
            options.batch_tokens_max = options.batch_tokens_max.max(tokens_max);
        }
        let sequences = options
            .sequences_max
            .clamp(1, options.batch_tokens_max.max(1));
        options.sequences_max = sequences;
        options.output_rows_max = sequences;
        let most = tokens_max.max(options.batch_tokens_max);
        let room = most.saturating_add(sequences.saturating_mul(PAGE_TOKENS));
        options.kv_tokens_max.get_or_insert(room);
        let mut runner = backend.load(plan, checkpoint, &options)?;
        let open = (0..runner.limits().sequences_max).map(|_| runner.open());
        let sequences = open.collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            runner,
            sequences,
            tokens_max,
        })
    }

    pub(super) fn limits(&self) -> Limits {
        self.runner.limits()
    }

    pub(super) fn take_profile(&mut self) -> Vec<Spent> {
        self.runner.take_profile()
    }

    /// The output rows of `rows`, in their order.
    pub(super) fn run<'a>(
        &mut self,
        rows: impl ExactSizeIterator<Item = Row<'a>> + Clone,
    ) -> Result<Vec<f32>, Error> {
        for (text, row) in rows.clone().enumerate() {
            self.check(text, row.ids)?;
        }
        let Limits {
            batch_tokens_max,
            sequences_max,
            output_width,
            ..
        } = self.limits();
        let mut out = Vec::with_capacity(rows.len().saturating_mul(output_width));
        let mut batch: Vec<Row<'a>> = Vec::new();
        let mut tokens = 0;
        for row in rows {
            let more = row.ids.len();
            let full = tokens + more > batch_tokens_max || batch.len() == sequences_max;
            if full && !batch.is_empty() {
                self.batch(&batch, &mut out)?;
                batch.clear();
                tokens = 0;
            }
            if more > batch_tokens_max {
                self.in_pieces(row, &mut out)?;
                continue;
            }
            tokens += more;
            batch.push(row);
        }
        if !batch.is_empty() {
            self.batch(&batch, &mut out)?;
        }
        Ok(out)
    }

    fn check(&self, text: usize, ids: &[u32]) -> Result<(), EncoderError> {
        let (tokens, tokens_max) = (ids.len(), self.tokens_max);
        if tokens == 0 {
            return Err(EncoderError::NoTokens { text });
        }
        if tokens > tokens_max {
            return Err(EncoderError::TooManyTokens {
                text,
                tokens,
                tokens_max,
            });
        }
        Ok(())
    }

    /// One batch of whole rows.
    fn batch(&mut self, rows: &[Row<'_>], out: &mut Vec<f32>) -> Result<(), RunError> {
        let entries: Vec<Entry<'_>> = rows
            .iter()
            .zip(&self.sequences)
            .map(|(row, sequence)| Entry {
                sequence: *sequence,
                ids: row.ids,
                types: row.types,
                outputs: OutputRows::LastFrom(row.from),
            })
            .collect();
        let ran = self.runner.run(&Batch { entries: &entries });
        ran.map(|outputs| out.extend_from_slice(outputs.rows))?;
        self.forget(rows.len())
    }

    /// One row that is longer than a batch.
    fn in_pieces(&mut self, row: Row<'_>, out: &mut Vec<f32>) -> Result<(), RunError> {
        let Row { ids, types, .. } = row;
        let sequence = self.sequences[0];
        let size = self.runner.limits().batch_tokens_max;
        let mut first = 0;
        while first < ids.len() {
            let end = ids.len().min(first + size);
            let last = end == ids.len();
            let entries = [Entry {
                sequence,
                ids: &ids[first..end],
                types: types.get(first..end).unwrap_or_default(),
                outputs: if last {
                    OutputRows::Last
                } else {
                    OutputRows::None
                },
            }];
            let ran = self.runner.run(&Batch { entries: &entries });
            let ran = ran.map(|outputs| out.extend_from_slice(outputs.rows));
            if ran.is_err() || last {
                self.forget(1)?;
            }
            ran?;
            first = end;
        }
        Ok(())
    }

    /// Empties the first `count` sequences again.
    fn forget(&mut self, count: usize) -> Result<(), RunError> {
        let mut sequences = self.sequences[..count].iter();
        sequences.try_for_each(|sequence| self.runner.truncate(*sequence, 0))
    }
}
