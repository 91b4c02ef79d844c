//! How well a model predicts a text, and how far it is from another one.
//!
//! In: a runner, or two, and the ids of a text. Out: perplexity by llama-perplexity's rules; against a base also
//! the Kullback-Leibler divergence, how often both like the same token best, and the ratio of perplexities.
//! Logits are looked at row by row as a batch gives them, and never kept.
//! It does not know: tokenizers, files, formats, devices, clocks.

mod row;
mod rule;
mod tally;

use serde::Serialize;

use crate::Error;
use crate::backend::{Batch, Entry, OutputRows, RunError, Runner, SequenceId};

pub use rule::{Rule, Window};
pub use tally::{Divergence, Estimate};

use row::{Pair, negative_log_likelihood};
use tally::{PairTally, Tally};

/// Why nothing was measured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QualityError {
    /// A window too short to score anything in.
    #[error("a context of {context} tokens is too short to measure in: at least {min}")]
    ContextTooShort {
        /// Tokens of a window.
        context: usize,
        /// The least that works.
        min: usize,
    },
    /// A stride that scores what has no past, or moves nowhere.
    #[error("a stride of {stride} does not fit a context of {context}: 1 to {}", context - 1)]
    Stride {
        /// Tokens from one window to the next.
        stride: usize,
        /// Tokens of a window.
        context: usize,
    },
    /// Less text than one window.
    #[error("a text of {found} tokens does not fill one context of {context}")]
    TextTooShort {
        /// Tokens of the text.
        found: usize,
        /// Tokens of a window.
        context: usize,
    },
    /// A window longer than the model takes.
    #[error("a context of {context} tokens, the model holds {max}")]
    ContextTooLong {
        /// Tokens of a window.
        context: usize,
        /// What the runner was built for.
        max: usize,
    },
    /// Two models whose output rows differ in width.
    #[error("the model has a vocabulary of {found}, the base of {expected}: nothing to compare")]
    Vocabulary {
        /// Columns of the base.
        expected: usize,
        /// Columns of the model.
        found: usize,
    },
    /// A row of logits that is NaN, or that gives the text's token no probability.
    #[error("token {position} of the text has no finite log-probability")]
    NotFinite {
        /// Its place in the ids.
        position: usize,
    },
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measurement {
    /// exp(mean negative log-likelihood), with its standard error.
    pub perplexity: Estimate,
    /// Windows read.
    pub windows: usize,
    /// Tokens the model was fed, each window's past included.
    pub tokens_read: usize,
    /// Predictions that count.
    pub tokens_scored: usize,
    /// Against the base, where there is one.
    pub against: Option<Divergence>,
}

/// How far a measurement is, after each window.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Windows done.
    pub windows_done: usize,
    /// Windows in all.
    pub windows: usize,
    /// Perplexity so far.
    pub perplexity: Estimate,
}

/// Measures `model` on `ids` by `rule`, and against `base` on the same ids. Each runner needs one free sequence.
///
/// ```
/// use lattice_inference::Model;
/// use lattice_inference::backend::{Backend, LoadOptions, cpu::Cpu};
/// use lattice_inference::checkpoint::{ModelFiles, OpenOptions};
/// use lattice_inference::quality::{Rule, measure};
///
/// # fn main() -> Result<(), lattice_inference::Error> {
/// let files = ModelFiles::open("../../models/lattice-tiny".as_ref())?;
/// let model = Model::open(&files, &OpenOptions::default())?;
/// let mut runner = Cpu.load(model.plan, model.checkpoint, &LoadOptions::default())?;
/// let rule = Rule { context_tokens: 8, ..Rule::default() };
/// let ids: Vec<u32> = (100..116).collect();
/// let measured = measure(&mut *runner, None, &ids, &rule, |_progress| ())?;
/// assert_eq!(measured.tokens_scored, 2 * 3);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`QualityError`] for a rule that does not fit text or model; what the runners say.
pub fn measure(
    model: &mut dyn Runner,
    base: Option<&mut dyn Runner>,
    ids: &[u32],
    rule: &Rule,
    mut progress: impl FnMut(Progress),
) -> Result<Measurement, Error> {
    let windows = rule.windows(ids.len())?;
    let mut model = Reader::open(model, rule)?;
    let mut base = base.map(|runner| Reader::open(runner, rule)).transpose()?;
    if let Some(base) = &base {
        check_widths(base, &model)?;
    }
    let mut tally = PairTally::default();
    let mut window_ids = Vec::with_capacity(rule.context_tokens);
    for (index, window) in windows.iter().enumerate() {
        window_ids.clear();
        window_ids.extend_from_slice(&ids[window.start..window.end]);
        if let Some(bos) = rule.bos {
            window_ids[0] = bos;
        }
        match &mut base {
            None => score(&mut model, &window_ids, window, &mut tally.model)?,
            Some(base) => compare(&mut model, base, &window_ids, window, &mut tally)?,
        }
        progress(Progress {
            windows_done: index + 1,
            windows: windows.len(),
            perplexity: tally.model.perplexity(),
        });
    }
    Ok(Measurement {
        perplexity: tally.model.perplexity(),
        windows: windows.len(),
        tokens_read: windows.len() * (rule.context_tokens - 1),
        tokens_scored: tally.model.count(),
        against: base.is_some().then(|| tally.divergence()),
    })
}

fn check_widths(base: &Reader<'_>, model: &Reader<'_>) -> Result<(), QualityError> {
    let (expected, found) = (base.width, model.width);
    if expected == found {
        Ok(())
    } else {
        Err(QualityError::Vocabulary { expected, found })
    }
}

/// Feeds one window and counts what its scored tokens cost.
fn score(
    model: &mut Reader<'_>,
    ids: &[u32],
    window: &Window,
    tally: &mut Tally,
) -> Result<(), Error> {
    model.begin(&ids[..window.first_scored])?;
    let mut at = window.first_scored;
    while at + 1 < ids.len() {
        let end = (at + model.rows_max).min(ids.len() - 1);
        let rows = model.rows(&ids[at..end])?;
        for (logits, next) in rows.zip(at + 1..) {
            let nll = negative_log_likelihood(logits, ids[next]);
            tally.add(finite(nll, window.start + next)?);
        }
        at = end;
    }
    Ok(())
}

/// Feeds one window to both and counts how their rows differ.
fn compare(
    model: &mut Reader<'_>,
    base: &mut Reader<'_>,
    ids: &[u32],
    window: &Window,
    pairs: &mut PairTally,
) -> Result<(), Error> {
    model.begin(&ids[..window.first_scored])?;
    base.begin(&ids[..window.first_scored])?;
    let rows_max = model.rows_max.min(base.rows_max);
    let mut at = window.first_scored;
    while at + 1 < ids.len() {
        let end = (at + rows_max).min(ids.len() - 1);
        let rows = base.rows(&ids[at..end])?.zip(model.rows(&ids[at..end])?);
        for ((base, model), next) in rows.zip(at + 1..) {
            let pair = Pair::of(base, model, ids[next]);
            finite(
                pair.base_nll + pair.model_nll + pair.kl,
                window.start + next,
            )?;
            pairs.add(&pair);
        }
        at = end;
    }
    Ok(())
}

fn finite(value: f64, position: usize) -> Result<f64, QualityError> {
    if value.is_finite() {
        Ok(value)
    } else {
        Err(QualityError::NotFinite { position })
    }
}

/// A runner with one sequence, read window after window.
struct Reader<'a> {
    runner: &'a mut dyn Runner,
    sequence: SequenceId,
    batch_max: usize,
    /// Rows asked for at once.
    rows_max: usize,
    width: usize,
}

impl<'a> Reader<'a> {
    fn open(runner: &'a mut dyn Runner, rule: &Rule) -> Result<Self, Error> {
        let limits = runner.limits();
        let (context, max) = (rule.context_tokens, limits.context_tokens_max);
        if context > max {
            return Err(QualityError::ContextTooLong { context, max }.into());
        }
        Ok(Self {
            sequence: runner.open()?,
            batch_max: limits.batch_tokens_max,
            rows_max: limits.output_rows_max.min(limits.batch_tokens_max),
            width: limits.output_width,
            runner,
        })
    }

    /// Empties the sequence and feeds a window's past.
    fn begin(&mut self, past: &[u32]) -> Result<(), RunError> {
        self.runner.truncate(self.sequence, 0)?;
        for ids in past.chunks(self.batch_max) {
            self.run(ids, OutputRows::None)?;
        }
        Ok(())
    }

    /// Feeds `ids` and gives the row after each of them.
    fn rows(&mut self, ids: &[u32]) -> Result<std::slice::ChunksExact<'_, f32>, RunError> {
        let width = self.width;
        Ok(self.run(ids, OutputRows::All)?.chunks_exact(width))
    }

    fn run(&mut self, ids: &[u32], outputs: OutputRows) -> Result<&[f32], RunError> {
        let sequence = self.sequence;
        let entries = [Entry {
            sequence,
            ids,
            types: &[],
            outputs,
        }];
        Ok(self.runner.run(&Batch { entries: &entries })?.rows)
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        self.runner.close(self.sequence);
    }
}
