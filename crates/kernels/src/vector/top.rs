//! The best of many scores, the same ones whoever looks in whatever order.
//!
//! In: scores with their indices. Out: the `count` best as [`Hit`]s, best first.
//! It does not know: what is scored.
//! Layout: a score and an index make one number of 64 bits, the larger the better: the score's bits in
//! an order that integers keep, then the index upside down.
//! Contract: better scores come first, of equal ones the lower index; NaN comes last. No two numbers
//! are equal, so the best are the same set in any order of arrival.
//! Measured: see [`super`]; a score that is worse than the best so far costs a comparison.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Scores that are looked at together.
const BLOCK: usize = 64;

/// A row that was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// The row.
    pub index: usize,
    /// Its score.
    pub score: f32,
}

/// Which scores are better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Better {
    Higher,
    Lower,
}

impl Better {
    /// The score and the index as one number, the larger the better.
    #[inline(always)]
    fn key(self, score: f32, index: usize) -> u64 {
        u64::from(self.rank(score)) << 32 | u64::from(!(index as u32))
    }

    #[inline(always)]
    fn rank(self, score: f32) -> u32 {
        if score.is_nan() {
            return 0;
        }
        // -0 is 0. Bits of floats are in order, but for the sign: infinities stay above 0.
        let bits = (score + 0.0).to_bits();
        let up = if bits >> 31 == 0 {
            bits | 1 << 31
        } else {
            !bits
        };
        match self {
            Better::Higher => up,
            Better::Lower => !up,
        }
    }

    /// Whether every score is worse than `bar`, and none NaN.
    #[inline(always)]
    fn all_worse(self, scores: &[f32], bar: f32) -> bool {
        // Without a way out: so it becomes a few comparisons of vectors.
        match self {
            Better::Higher => scores.iter().fold(true, |all, &x| all & (x < bar)),
            Better::Lower => scores.iter().fold(true, |all, &x| all & (x > bar)),
        }
    }

    fn hit(self, key: u64) -> Hit {
        let rank = (key >> 32) as u32;
        let up = match self {
            Better::Higher => rank,
            Better::Lower => !rank,
        };
        let bits = if up >> 31 == 1 { up & !(1 << 31) } else { !up };
        let score = if rank == 0 {
            f32::NAN
        } else {
            f32::from_bits(bits)
        };
        Hit {
            index: !(key as u32) as usize,
            score,
        }
    }
}

/// The best so far.
struct Best {
    count: usize,
    keys: Vec<u64>,
    /// The worst of the best when they were last cut: lower keys are of no use.
    floor: u64,
}

impl Best {
    fn new(count: usize) -> Best {
        Best {
            count,
            keys: Vec::new(),
            floor: 0,
        }
    }

    fn push(&mut self, key: u64) {
        self.keys.push(key);
        // Now and then the worse half goes: that costs a constant for each that came.
        if self.keys.len() >= self.count.saturating_mul(2).max(64) {
            self.cut();
        }
    }

    fn cut(&mut self) {
        if self.keys.len() > self.count {
            let last = self.count - 1;
            let (_, worst, _) = self.keys.select_nth_unstable_by(last, |a, b| b.cmp(a));
            self.floor = *worst;
            self.keys.truncate(self.count);
        }
    }
}

/// The best so far, for tasks of any thread.
pub(super) struct Top {
    better: Better,
    best: Mutex<Best>,
    /// Keys up to it are of no use; it only rises.
    floor: AtomicU64,
}

impl Top {
    /// `count`, above 0: how many are kept.
    pub(super) fn new(better: Better, count: usize) -> Top {
        Top {
            better,
            best: Mutex::new(Best::new(count)),
            floor: AtomicU64::new(0),
        }
    }

    /// Looks at the scores of the rows from `first` on.
    pub(super) fn offer(&self, first: usize, scores: &[f32]) {
        let mut floor = self.floor.load(Relaxed);
        let mut bar = self.better.hit(floor).score;
        let mut good = Vec::new();
        for (b, block) in scores.chunks(BLOCK).enumerate() {
            if floor > 0 && self.better.all_worse(block, bar) {
                continue;
            }
            let keys = block.iter().enumerate();
            let keys = keys.map(|(i, score)| self.better.key(*score, first + b * BLOCK + i));
            good.extend(keys.filter(|&key| key > floor));
            if good.len() >= BLOCK {
                floor = self.keep(&mut good);
                bar = self.better.hit(floor).score;
            }
        }
        if !good.is_empty() {
            self.keep(&mut good);
        }
    }

    /// Puts `good` with the best, and says what the floor is now.
    fn keep(&self, good: &mut Vec<u64>) -> u64 {
        let mut best = self.best.lock().expect("no holder panics");
        good.drain(..).for_each(|key| best.push(key));
        self.floor.fetch_max(best.floor, Relaxed);
        best.floor
    }

    /// The best, best first.
    pub(super) fn hits(self) -> Vec<Hit> {
        let mut best = self.best.into_inner().expect("no holder panics");
        best.cut();
        best.keys.sort_unstable_by(|a, b| b.cmp(a));
        best.keys.iter().map(|&key| self.better.hit(key)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_order_and_score() {
        let scores = [
            f32::NAN,
            f32::NEG_INFINITY,
            -2.0,
            -1e-40,
            0.0,
            1e-40,
            2.0,
            f32::INFINITY,
        ];
        for better in [Better::Higher, Better::Lower] {
            let key = |x: f32| better.key(x, 7);
            for pair in scores[1..].windows(2) {
                let rises = key(pair[0]) < key(pair[1]);
                assert_eq!(rises, better == Better::Higher, "{pair:?}");
            }
            assert!(scores[1..].iter().all(|&x| key(x) > key(f32::NAN)));
            assert_eq!(key(0.0), key(-0.0));
            assert!(better.key(1.0, 3) > better.key(1.0, 4));
            for score in scores {
                let hit = better.hit(key(score));
                assert_eq!(hit.index, 7);
                assert!(hit.score == score || hit.score.is_nan() && score.is_nan());
            }
        }
    }
}
