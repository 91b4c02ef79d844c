//! Angles of rotary embeddings.

use std::f64::consts::TAU;

use crate::checkpoint::{RopeConfig, RopeScaling, Yarn};

/// More than any model's context: a configuration may multiply two numbers to get one.
const CONTEXT_TOKENS_MAX: usize = 1 << 24;

/// How a family turns its heads.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Turns {
    /// Radians per token of each pair of the turned dimensions.
    pub(super) inv_freq: Vec<f64>,
    /// Multiplies cosine and sine.
    pub(super) factor: f64,
    /// Tokens for which these angles hold.
    pub(super) context_tokens: usize,
}

/// The angles, in f64, as transformers' `modeling_rope_utils` computes them: linear (Chen et al. 2023, "position
/// interpolation"), llama3 (frequencies below `low_freq_factor` turns of the original context are divided by `factor`,
/// those above `high_freq_factor` stay, between them a linear blend), YaRN (Peng et al. 2023), LongRoPE (Ding et al. 2024).
///
/// What depends on the length of the whole sequence would change the past when a token comes; dynamic and LongRoPE hold
/// for the original context, in which they do not. `context_tokens` is the model's own; YaRN's can be longer.
///
/// # Errors
/// What is wrong with a list of factors.
pub(super) fn turns(
    rope: &RopeConfig,
    head_dim: usize,
    context_tokens: usize,
) -> Result<Turns, String> {
    let turned = (head_dim as f64 * rope.partial) as usize;
    let pairs = turned / 2;
    let plain = |pair: usize| libm::pow(rope.theta, -(2.0 * pair as f64) / turned as f64);
    let each = |f: &dyn Fn(usize, f64) -> f64| -> Vec<f64> {
        (0..pairs).map(|pair| f(pair, plain(pair))).collect()
    };
    let (inv_freq, factor, context_tokens) = match &rope.scaling {
        RopeScaling::None | RopeScaling::Dynamic => (each(&|_, freq| freq), 1.0, context_tokens),
        RopeScaling::Linear { factor } => (each(&|_, freq| freq / factor), 1.0, context_tokens),
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position,
        } => {
            let scaled = |_, freq: f64| {
                let turns = *original_max_position as f64 * freq / TAU;
                let blend = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
                let keep = blend.clamp(0.0, 1.0);
                keep * freq + (1.0 - keep) * freq / factor
            };
            (each(&scaled), 1.0, context_tokens)
        }
        RopeScaling::Yarn(yarn) => {
            let (from, to) = blended(yarn, rope.theta, turned);
            let scaled = |pair: usize, freq: f64| {
                let divided = ((pair as f64 - from) / (to - from)).clamp(0.0, 1.0);
                divided * freq / yarn.factor + (1.0 - divided) * freq
            };
            let stretched = yarn.original_max_position as f64 * yarn.factor;
            let context_tokens = context_tokens.max((stretched as usize).min(CONTEXT_TOKENS_MAX));
            (each(&scaled), yarn.attention_factor, context_tokens)
        }
        RopeScaling::Factors(factors) => {
            if factors.each.len() != pairs {
                return Err(format!("{} must have {pairs} numbers", factors.field));
            }
            let scaled = |pair: usize, freq: f64| freq / factors.each[pair];
            let context_tokens = context_tokens.min(factors.context_tokens.unwrap_or(usize::MAX));
            (each(&scaled), factors.attention_factor, context_tokens)
        }
    };
    Ok(Turns {
        inv_freq,
        factor,
        context_tokens,
    })
}

/// The places of the first pair that YaRN does not keep as it is, and of the first one that it divides wholly.
fn blended(yarn: &Yarn, theta: f64, turned: usize) -> (f64, f64) {
    let place = |turns: f64| {
        let original = yarn.original_max_position as f64;
        turned as f64 * libm::log(original / (turns * TAU)) / (2.0 * libm::log(theta))
    };
    let (mut from, mut to) = (place(yarn.beta_fast), place(yarn.beta_slow));
    if yarn.truncate {
        (from, to) = (from.floor(), to.ceil());
    }
    let (from, to) = (from.max(0.0), to.min(turned as f64 - 1.0));
    if from == to {
        (from, to + 0.001)
    } else {
        (from, to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_scaling_divides_slow_turns_and_keeps_fast_ones() {
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position: 8192,
        };
        let rope = RopeConfig {
            theta: 500_000.0,
            partial: 1.0,
            scaling,
        };
        let plain = RopeConfig {
            scaling: RopeScaling::None,
            ..rope.clone()
        };
        let inv_freq = |rope| turns(rope, 128, 9).unwrap().inv_freq;
        let (found, base) = (inv_freq(&rope), inv_freq(&plain));
        assert_eq!(found.len(), 64);
        assert_eq!(found[0], base[0]);
        assert!((found[63] - base[63] / 8.0).abs() < 1e-18);
    }

    #[test]
    fn a_quarter_of_the_head_turns() {
        let rope = RopeConfig {
            theta: 1e7,
            partial: 0.25,
            scaling: RopeScaling::None,
        };
        let found = turns(&rope, 256, 9).unwrap().inv_freq;
        assert_eq!(found.len(), 32);
        assert!((found[1] - 1e7f64.powf(-2.0 / 64.0)).abs() < 1e-12);
    }
}
