//! Does the work of a shape and takes the time.
//!
//! In: a runner. Out: seconds. Ids are pseudo-random, the same in every run.

use std::time::Instant;

use lattice_inference::backend::{Batch, Entry, OutputRows, RunError, Runner, SequenceId, Spent};

use super::shapes::{Rates, Shape};

/// Tokens of the probe's prompt.
pub(super) const PROBE_TOKENS: usize = 64;
/// Tokens the probe decodes.
const PROBE_STEPS: usize = 4;

/// What the runs of a shape took.
#[derive(Debug, Clone, Default)]
pub(super) struct Timed {
    /// Of each run, in order.
    pub(super) seconds: Vec<f64>,
    /// Of all runs, by kind of work; empty unless the runner keeps clocks.
    pub(super) spent: Vec<Spent>,
}

/// A runner at work.
pub(super) struct Work {
    runner: Box<dyn Runner>,
    /// Tokens each sequence decodes in a run.
    steps: usize,
}

impl Work {
    pub(super) fn new(runner: Box<dyn Runner>, steps: usize) -> Self {
        Self { runner, steps }
    }

    /// A first look at the speed, which also brings the weights into memory.
    pub(super) fn rates(&mut self) -> Result<Rates, RunError> {
        let shape = Shape::Prompt {
            tokens: PROBE_TOKENS,
        };
        let prompt = self.time(shape, 2)?.seconds[1];
        let steps = std::mem::replace(&mut self.steps, PROBE_STEPS);
        let decode = self.decode(0, 1, 1);
        self.steps = steps;
        Ok(Rates {
            prompt: PROBE_TOKENS as f64 / prompt,
            decode: PROBE_STEPS as f64 / decode?.seconds[0],
        })
    }

    /// Times `runs` of a shape.
    pub(super) fn time(&mut self, shape: Shape, runs: usize) -> Result<Timed, RunError> {
        match shape {
            Shape::Prompt { tokens } => self.prompt(tokens, runs),
            Shape::Decode { depth, sequences } => self.decode(depth, sequences, runs),
        }
    }

    fn prompt(&mut self, tokens: usize, runs: usize) -> Result<Timed, RunError> {
        let ids = random_ids(tokens, self.runner.limits().vocab, 0);
        let sequence = self.runner.open()?;
        let mut seconds = Vec::with_capacity(runs);
        self.runner.take_profile();
        for _ in 0..runs {
            self.runner.truncate(sequence, 0)?;
            let started = Instant::now();
            self.feed(sequence, &ids, OutputRows::Last)?;
            seconds.push(started.elapsed().as_secs_f64());
        }
        self.runner.close(sequence);
        let spent = self.runner.take_profile();
        Ok(Timed { seconds, spent })
    }

    fn decode(&mut self, depth: usize, count: usize, runs: usize) -> Result<Timed, RunError> {
        let vocab = self.runner.limits().vocab;
        let mut sequences = Vec::with_capacity(count);
        for seed in 0..count {
            let sequence = self.runner.open()?;
            self.feed(
                sequence,
                &random_ids(depth, vocab, seed as u64),
                OutputRows::None,
            )?;
            sequences.push((sequence, self.runner.snapshot(sequence)?));
        }
        let names: Vec<SequenceId> = sequences.iter().map(|(sequence, _)| *sequence).collect();
        let mut seconds = Vec::with_capacity(runs);
        // One step before the first run: the runner makes room for a batch of this shape once.
        self.steps_together(&names, 1)?;
        self.runner.take_profile();
        for _ in 0..runs {
            for (sequence, snapshot) in &sequences {
                self.runner.restore(*sequence, snapshot)?;
            }
            seconds.push(self.steps_together(&names, self.steps)?);
        }
        names.iter().for_each(|name| self.runner.close(*name));
        let spent = self.runner.take_profile();
        Ok(Timed { seconds, spent })
    }

    /// Seconds of `steps` tokens in each sequence, the likeliest each time.
    fn steps_together(&mut self, names: &[SequenceId], steps: usize) -> Result<f64, RunError> {
        let limits = self.runner.limits();
        let mut ids = random_ids(names.len(), limits.vocab, u64::MAX);
        let started = Instant::now();
        for _ in 0..steps {
            let entry = |(&sequence, id)| Entry {
                sequence,
                ids: std::slice::from_ref(id),
                types: &[],
                outputs: OutputRows::Last,
            };
            let entries: Vec<Entry<'_>> = names.iter().zip(&ids).map(entry).collect();
            let outputs = self.runner.run(&Batch { entries: &entries })?;
            let rows = outputs.rows.chunks_exact(outputs.width);
            ids = rows.map(likeliest).collect();
        }
        Ok(started.elapsed().as_secs_f64())
    }

    /// Feeds ids in pieces as large as the runner takes; only the last one may want a row.
    fn feed(
        &mut self,
        sequence: SequenceId,
        ids: &[u32],
        last: OutputRows,
    ) -> Result<(), RunError> {
        let pieces = ids.chunks(self.runner.limits().batch_tokens_max);
        let count = pieces.len();
        for (index, ids) in pieces.enumerate() {
            let outputs = if index + 1 == count {
                last
            } else {
                OutputRows::None
            };
            let entries = [Entry {
                sequence,
                ids,
                types: &[],
                outputs,
            }];
            self.runner.run(&Batch { entries: &entries })?;
        }
        Ok(())
    }
}

/// The column of the largest logit; 0 of none.
fn likeliest(logits: &[f32]) -> u32 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let column = logits.iter().position(|&x| x == max).unwrap_or(0);
    column as u32
}

/// Ids below `vocab` by Steele, Lea and Flood's SplitMix64.
pub(super) fn random_ids(count: usize, vocab: usize, seed: u64) -> Vec<u32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    (0..count).map(|_| (next() % vocab as u64) as u32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_the_same_each_time_and_below_the_vocabulary() {
        let ids = random_ids(1000, 37, 5);
        assert_eq!(ids, random_ids(1000, 37, 5));
        assert_ne!(ids, random_ids(1000, 37, 6));
        assert!(ids.iter().all(|&id| id < 37));
        assert!((0..37).all(|id| ids.contains(&id)));
    }

    #[test]
    fn the_likeliest_is_the_first_of_the_largest() {
        assert_eq!(likeliest(&[0.0, 3.0, -1.0, 3.0]), 1);
        assert_eq!(likeliest(&[f32::NAN, f32::NAN]), 0);
    }
}
