//! Cuts a row of scores to the tokens that may be drawn, and draws one.
//!
//! Nothing here sorts a whole vocabulary: one pass finds the value of the k-th best score, a second collects
//! what reaches it. Top-p grows its set (64, 1,024, 8,192, all) until it holds the share asked for, and finds
//! the border inside of it by halving; two or three passes over the row are the usual cost.
//! Weights are rounded to multiples of 2^-33, so that sums of up to a million of them are exact in f64:
//! results do not depend on the path taken, nor on the order of adding. What is below 2^-34 of the best
//! token's probability is never drawn.
//! Measured over 248,320 logits, AMD EPYC (Zen 5), AVX-512, best of 60 beside other work: a plain draw
//! 0.11 ms (1.42 with libm's exp, one value at a time), top-p 0.95 of a flat row 2.9 ms (6.9), top-k
//! 20 0.17 ms.

use std::cmp::Ordering;

use lattice_kernels::exp_shifted;

use super::SamplerOptions;

/// A token that may be drawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) score: f32,
    pub(super) id: u32,
    /// As [`Weigh`] defines it, once something was weighed.
    weight: f32,
}

/// Sizes of the sets in which top-p looks for its share, before it takes the whole row.
const STAGES: [usize; 3] = [64, 1024, 8192];
/// Tokens whose weights are added up before the draw looks at them one by one.
const BLOCK: usize = 1024;

/// Buffers that live as long as the engine, so that a token allocates nothing.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    pub(super) kept: Vec<Candidate>,
    pub(super) best: Vec<f32>,
    weights: Vec<f32>,
}

/// Probability relative to the best token's: `exp((score - max) / temperature)`, rounded.
#[derive(Clone, Copy)]
struct Weigh {
    max: f32,
    temperature: f32,
}

impl Weigh {
    /// Turns scores into weights.
    fn apply(self, scores: &mut [f32]) {
        /// Between here and twice this an f32 is a multiple of 2^-33.
        const FINE: f32 = 1.0 / 1024.0;
        exp_shifted(scores, self.max, self.temperature);
        for weight in scores {
            let rounded = (*weight + FINE) - FINE;
            *weight = if *weight < FINE { rounded } else { *weight };
        }
    }

    /// Weighs every token of `kept`.
    fn weigh(self, kept: &mut [Candidate], weights: &mut Vec<f32>) {
        weights.clear();
        weights.extend(kept.iter().map(|token| token.score));
        self.apply(weights);
        for (token, &weight) in kept.iter_mut().zip(weights.iter()) {
            token.weight = weight;
        }
    }
}

/// The sum of weights, exact in any order; of other values, in one fixed order.
pub(super) fn sum(weights: &[f32]) -> f64 {
    let mut lanes = [0f64; 8];
    let mut chunks = weights.chunks_exact(8);
    for chunk in &mut chunks {
        for (lane, &weight) in lanes.iter_mut().zip(chunk) {
            *lane += f64::from(weight);
        }
    }
    let rest = chunks.remainder().iter().map(|&weight| f64::from(weight));
    lanes.into_iter().chain(rest).sum()
}

/// Draws a token from scores without NaN; `scores` is used up. `None` where all are negative infinity.
pub(super) fn draw(
    options: &SamplerOptions,
    scores: &mut [f32],
    uniform: f64,
    buffers: &mut Buffers,
) -> Option<u32> {
    let max = max_of(scores);
    if max == f32::NEG_INFINITY {
        return None;
    }
    let weigh = Weigh {
        max,
        temperature: options.temperature,
    };
    let cuts = options.top_p < 1.0 || (1..scores.len()).contains(&(options.top_k as usize));
    if !cuts {
        weigh.apply(scores);
        drop_below(options.min_p, scores);
        return pick(scores, uniform).and_then(|at| u32::try_from(at).ok());
    }
    keep(options, scores, weigh, buffers);
    let Buffers { kept, weights, .. } = buffers;
    weights.clear();
    weights.extend(kept.iter().map(|token| token.weight));
    drop_below(options.min_p, weights);
    pick(weights, uniform).map(|at| kept[at].id)
}

/// The highest score; negative infinity of none.
pub(super) fn max_of(scores: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 16];
    let mut chunks = scores.chunks_exact(16);
    for chunk in &mut chunks {
        for (lane, &score) in lanes.iter_mut().zip(chunk) {
            *lane = if score > *lane { score } else { *lane };
        }
    }
    let rest = chunks.remainder().iter();
    lanes
        .iter()
        .chain(rest)
        .fold(f32::NEG_INFINITY, |max, &score| max.max(score))
}

fn drop_below(min_p: f32, weights: &mut [f32]) {
    if min_p > 0.0 {
        for weight in weights {
            *weight = if *weight < min_p { 0.0 } else { *weight };
        }
    }
}

/// Inverts the cumulative distribution: the first place at which it exceeds `uniform`.
fn pick(weights: &[f32], uniform: f64) -> Option<usize> {
    let target = uniform * sum(weights);
    let mut before = 0.0;
    let mut last = None;
    for (block, start) in weights.chunks(BLOCK).zip((0..).step_by(BLOCK)) {
        let after = before + sum(block);
        if after > target {
            for (at, &weight) in (start..).zip(block) {
                before += f64::from(weight);
                if before > target {
                    return Some(at);
                }
            }
        }
        before = after;
        last = block
            .iter()
            .rposition(|&weight| weight > 0.0)
            .map_or(last, |at| Some(start + at));
    }
    // Where the target was rounded up to the whole.
    last
}

/// Leaves in `buffers.kept` what top-k and top-p keep, in the order of the ids.
fn keep(options: &SamplerOptions, scores: &[f32], weigh: Weigh, buffers: &mut Buffers) {
    let k = match options.top_k as usize {
        0 => scores.len(),
        k => k.min(scores.len()),
    };
    let floor = kth_best(scores, k, &mut buffers.best);
    if options.top_p >= 1.0 {
        collect(scores, floor, &mut buffers.kept);
        weigh.weigh(&mut buffers.kept, &mut buffers.weights);
        return;
    }
    let Buffers {
        kept,
        best,
        weights,
    } = buffers;
    weights.clear();
    weights.extend_from_slice(scores);
    weigh.apply(weights);
    for (weight, &score) in weights.iter_mut().zip(scores) {
        *weight = if score < floor { 0.0 } else { *weight };
    }
    let total = sum(weights);
    let share = f64::from(options.top_p) * total;
    for size in STAGES.into_iter().filter(|&size| size < k).chain([k]) {
        let least = if size == k {
            floor
        } else {
            kth_best(scores, size, best)
        };
        collect(scores, least, kept);
        weigh.weigh(kept, weights);
        if size == k || mass(kept) >= share {
            cut_to_share(kept, share);
            break;
        }
    }
    kept.sort_unstable_by_key(|token| token.id);
}

fn mass(kept: &[Candidate]) -> f64 {
    kept.iter().map(|token| f64::from(token.weight)).sum()
}

/// Keeps the fewest best tokens that hold `share`, at least one: halves the range in which the last of them
/// lies, and looks at the better half only.
fn cut_to_share(kept: &mut Vec<Candidate>, share: f64) {
    let (mut low, mut high) = (0, kept.len());
    let mut held = 0.0;
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        kept[low..high].select_nth_unstable_by(middle - low, best_first);
        let better = mass(&kept[low..middle]);
        if held + better >= share {
            high = middle;
        } else {
            held += better;
            low = middle;
        }
    }
    kept.truncate(high);
}

/// The order of tokens by score, then by id.
pub(super) fn best_first(a: &Candidate, b: &Candidate) -> Ordering {
    b.score.total_cmp(&a.score).then(a.id.cmp(&b.id))
}

/// The value of the k-th best score; negative infinity where fewer are above it, or where k is all of them.
pub(super) fn kth_best(scores: &[f32], k: usize, best: &mut Vec<f32>) -> f32 {
    best.clear();
    if k == 0 || k >= scores.len() {
        return f32::NEG_INFINITY;
    }
    let room = (2 * k).max(256);
    let mut floor = f32::NEG_INFINITY;
    for block in scores.chunks(32) {
        // Nearly all blocks hold nothing above the floor, and this test is one vector comparison.
        if !block
            .iter()
            .fold(false, |any, &score| any | (score > floor))
        {
            continue;
        }
        best.extend(block.iter().filter(|&&score| score > floor));
        if best.len() >= room {
            floor = *best.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1;
            best.truncate(k);
        }
    }
    if best.len() < k {
        return floor;
    }
    *best.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1
}

/// Everything that reaches `least` and is not ruled out, in the order of the ids.
pub(super) fn collect(scores: &[f32], least: f32, kept: &mut Vec<Candidate>) {
    kept.clear();
    for (block, first) in scores.chunks(32).zip((0u32..).step_by(32)) {
        if block
            .iter()
            .fold(false, |any, &score| any | (score >= least))
        {
            let tokens = block.iter().zip(first..).map(|(&score, id)| Candidate {
                score,
                id,
                weight: 0.0,
            });
            let reaches = |score: f32| score >= least && score > f32::NEG_INFINITY;
            kept.extend(tokens.filter(|token| reaches(token.score)));
        }
    }
}
