//! Log probabilities of tokens.

use lattice_kernels::exp_shifted;

use super::select::{best_first, collect, kth_best, max_of, sum};
use super::{Scratch, TokenMask};

/// The log probability of one token and of the best alternatives.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprobs {
    /// The token.
    pub id: u32,
    /// Natural logarithm of its probability under the model.
    pub logprob: f32,
    /// The best tokens at this place, best first, whether or not the token is among them.
    pub top: Vec<(u32, f32)>,
}

/// Log softmax of the raw logits (no bias, penalty, mask or temperature) at `id` and at the `top` best ids.
///
/// The sum runs over the whole row, as `transformers` does it; ids without a token are left out of the
/// alternatives only. An id outside of the row has probability zero.
///
/// # Panics
/// If the mask is not as wide as the logits.
#[must_use]
pub fn logprobs_from_logits(
    logits: &[f32],
    id: u32,
    top: usize,
    tokens: &TokenMask,
    scratch: &mut Scratch,
) -> TokenLogprobs {
    assert_eq!(
        tokens.width(),
        logits.len(),
        "the mask is made for this row of logits"
    );
    let max = max_of(logits);
    scratch.scores.clear();
    scratch.scores.extend_from_slice(logits);
    exp_shifted(&mut scratch.scores, max, 1.0);
    let sum = sum(&scratch.scores);
    let normalizer = f64::from(max) + libm::log(sum);
    let logprob = |logit: f32| (f64::from(logit) - normalizer) as f32;
    let chosen = logits
        .get(id as usize)
        .map_or(f32::NEG_INFINITY, |&logit| logprob(logit));
    let mut best = Vec::new();
    if top > 0 {
        scratch.scores.clear();
        scratch.scores.extend_from_slice(logits);
        tokens.apply(&mut scratch.scores);
        let least = kth_best(&scratch.scores, top, &mut scratch.buffers.best);
        let kept = &mut scratch.buffers.kept;
        collect(&scratch.scores, least, kept);
        kept.sort_unstable_by(best_first);
        best.extend(
            kept.iter()
                .take(top)
                .map(|token| (token.id, logprob(token.score))),
        );
    }
    TokenLogprobs {
        id,
        logprob: chosen,
        top: best,
    }
}
