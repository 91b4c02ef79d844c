//! One run of one engine, and what many of them say together.
//!
//! In: figures. Out: medians, the best, ratios.

use super::machine::Shares;
use super::shape::Shape;

/// Others' share of the processors above which a run is marked.
pub(super) const OTHERS_MAX: f64 = 0.05;

/// Who ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Engine {
    Lattice,
    Peer,
}

impl Engine {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Lattice => "lattice",
            Self::Peer => "peer",
        }
    }
}

/// What an engine said about a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Answer {
    /// Tokens a second, over all sequences.
    pub(super) tok_s: f64,
    pub(super) load_s: Option<f64>,
    pub(super) memory_gib: Option<f64>,
    /// Weights a decoded token reads, in bytes; Lattice alone tells.
    pub(super) weight_bytes: Option<u64>,
    /// 10^9 bytes a second that decoding read; Lattice alone tells.
    pub(super) gbps: Option<f64>,
    pub(super) version: Option<String>,
}

/// One run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    /// Which pair of models, counted from 0.
    pub(super) pair: usize,
    pub(super) shape: Shape,
    pub(super) round: usize,
    pub(super) engine: Engine,
    /// Or why there is none.
    pub(super) answer: Result<Answer, String>,
    /// The memory's read speed before and after.
    pub(super) read_gbps: [f64; 2],
    pub(super) shares: Shares,
}

impl Sample {
    pub(super) fn tok_s(&self) -> Option<f64> {
        self.answer.as_ref().ok().map(|answer| answer.tok_s)
    }

    pub(super) fn read_gbps(&self) -> f64 {
        (self.read_gbps[0] + self.read_gbps[1]) / 2.0
    }

    /// For somebody who watches.
    pub(super) fn line(&self, model: &str) -> String {
        let said = match &self.answer {
            Ok(answer) => format!("{:.2} tok/s", answer.tok_s),
            Err(reason) => reason.clone(),
        };
        format!(
            "{} {model}, {}, {}: {said}; memory {:.1} GB/s, others {:.1} %",
            self.round + 1,
            self.shape.name(),
            self.engine.name(),
            self.read_gbps(),
            100.0 * self.shares.others
        )
    }
}

/// The runs of one engine on one shape of one pair.
pub(super) fn of(samples: &[Sample], pair: usize, shape: Shape, engine: Engine) -> Vec<&Sample> {
    let wanted = |s: &&Sample| (s.pair, s.shape, s.engine) == (pair, shape, engine);
    samples.iter().filter(wanted).collect()
}

/// Lattice over the peer, round by round: the memory's speed moves from minute to minute, so neighbours compare best.
pub(super) fn ratios(lattice: &[&Sample], peer: &[&Sample]) -> Vec<f64> {
    let ratio = |ours: &&Sample| {
        let theirs = peer.iter().find(|theirs| theirs.round == ours.round)?;
        Some(ours.tok_s()? / theirs.tok_s()?)
    };
    lattice.iter().filter_map(ratio).collect()
}

/// `None` of nothing; the mean of the two in the middle of an even number.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    Some((sorted[last / 2] + sorted[sorted.len() / 2]) / 2.0)
}

/// Smallest and largest.
pub(super) fn range(values: &[f64]) -> Option<(f64, f64)> {
    let least = values.iter().copied().min_by(f64::total_cmp)?;
    let most = values.iter().copied().max_by(f64::total_cmp)?;
    Some((least, most))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A run of `prompt:512` on the first pair.
    pub(crate) fn sample(round: usize, engine: Engine, tok_s: Option<f64>) -> Sample {
        let answer = |tok_s| Answer {
            tok_s,
            ..Answer::default()
        };
        Sample {
            pair: 0,
            shape: Shape::Prompt(512),
            round,
            engine,
            answer: tok_s.map(answer).ok_or_else(|| "out of, memory".to_owned()),
            read_gbps: [40.0, 44.0],
            shares: Shares::default(),
        }
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
        assert_eq!(range(&[2.0, 1.0, 3.0]), Some((1.0, 3.0)));
        assert_eq!(range(&[]), None);
    }

    #[test]
    fn ratios_pair_runs_of_one_round_and_pass_over_failures() {
        let ours = [(0, Some(10.0)), (1, Some(30.0)), (2, None), (3, Some(1.0))];
        let theirs = [(1, Some(10.0)), (0, Some(20.0)), (2, Some(1.0))];
        let all = |runs: &[(usize, Option<f64>)], engine| -> Vec<Sample> {
            let one = |&(round, tok_s): &(usize, Option<f64>)| sample(round, engine, tok_s);
            runs.iter().map(one).collect()
        };
        let samples = [all(&ours, Engine::Lattice), all(&theirs, Engine::Peer)].concat();
        let of = |engine| of(&samples, 0, Shape::Prompt(512), engine);
        assert_eq!(ratios(&of(Engine::Lattice), &of(Engine::Peer)), [0.5, 3.0]);
    }
}
