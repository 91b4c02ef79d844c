//! Cuts a row of scores to the tokens that may be drawn, and draws one.
//!
//! Nothing here sorts a whole vocabulary: one pass finds the value of the k-th best score, a second collects
//! what reaches it. Top-p grows its set (64, 1,024, 8,192, all) until it holds the share asked for, and finds
//! the border inside of it by halving; two or three passes over the row are the usual cost.
//! Results do not depend on the path taken: candidates are always walked in the order of their ids.

use super::SamplerOptions;

/// A score and its token id.
pub(super) type Candidate = (f32, u32);

/// Sizes of the sets in which top-p looks for its share, before it takes the whole row.
const STAGES: [usize; 3] = [64, 1024, 8192];

/// Buffers that live as long as the engine, so that a token allocates nothing.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    pub(super) kept: Vec<Candidate>,
    pub(super) best: Vec<f32>,
}

/// Probability relative to the best token's: `exp((score - max) / temperature)`.
#[derive(Clone, Copy)]
struct Weigh {
    max: f32,
    temperature: f32,
}

impl Weigh {
    fn weight(self, score: f32) -> f32 {
        libm::expf((score - self.max) / self.temperature)
    }
}

/// Draws a token from scores without NaN; `scores` is used up. `None` where all are negative infinity.
pub(super) fn draw(
    options: &SamplerOptions,
    scores: &mut [f32],
    uniform: f64,
    buffers: &mut Buffers,
) -> Option<u32> {
    let max = scores
        .iter()
        .fold(f32::NEG_INFINITY, |max, &score| max.max(score));
    if max == f32::NEG_INFINITY {
        return None;
    }
    let weigh = Weigh {
        max,
        temperature: options.temperature,
    };
    let cuts = options.top_p < 1.0 || (1..scores.len()).contains(&(options.top_k as usize));
    if cuts {
        keep(options, scores, weigh, buffers);
        let weights = buffers
            .kept
            .iter()
            .map(|&(score, id)| (weigh.weight(score), id));
        return pick(
            weights.filter(|&(weight, _)| weight >= options.min_p),
            uniform,
        );
    }
    for score in scores.iter_mut() {
        let weight = weigh.weight(*score);
        *score = if weight < options.min_p { 0.0 } else { weight };
    }
    pick(scores.iter().copied().zip(0..), uniform)
}

/// Inverts the cumulative distribution: the first token at which it exceeds `uniform`.
fn pick(weights: impl Iterator<Item = (f32, u32)> + Clone, uniform: f64) -> Option<u32> {
    let total: f64 = weights.clone().map(|(weight, _)| f64::from(weight)).sum();
    let target = uniform * total;
    let mut sum = 0.0;
    let mut last = None;
    for (weight, id) in weights {
        if weight > 0.0 {
            sum += f64::from(weight);
            last = Some(id);
            if sum > target {
                break;
            }
        }
    }
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
        return;
    }
    let total: f64 = scores
        .iter()
        .filter(|&&score| score >= floor)
        .map(|&score| f64::from(weigh.weight(score)))
        .sum();
    let share = f64::from(options.top_p) * total;
    for size in STAGES.into_iter().filter(|&size| size < k).chain([k]) {
        let least = if size == k {
            floor
        } else {
            kth_best(scores, size, &mut buffers.best)
        };
        collect(scores, least, &mut buffers.kept);
        if size == k || mass(&buffers.kept, weigh) >= share {
            cut_to_share(&mut buffers.kept, weigh, share);
            break;
        }
    }
    buffers.kept.sort_unstable_by_key(|&(_, id)| id);
}

fn mass(kept: &[Candidate], weigh: Weigh) -> f64 {
    kept.iter()
        .map(|&(score, _)| f64::from(weigh.weight(score)))
        .sum()
}

/// Keeps the fewest best tokens that hold `share`, at least one: halves the range in which the last of them
/// lies, and looks at the better half only.
fn cut_to_share(kept: &mut Vec<Candidate>, weigh: Weigh, share: f64) {
    let (mut low, mut high) = (0, kept.len());
    let mut held = 0.0;
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        let best_first = |a: &Candidate, b: &Candidate| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        kept[low..high].select_nth_unstable_by(middle - low, best_first);
        let better = mass(&kept[low..middle], weigh);
        if held + better >= share {
            high = middle;
        } else {
            held += better;
            low = middle;
        }
    }
    kept.truncate(high);
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
            let ids = block.iter().copied().zip(first..);
            kept.extend(ids.filter(|&(score, _)| score >= least && score > f32::NEG_INFINITY));
        }
    }
}
