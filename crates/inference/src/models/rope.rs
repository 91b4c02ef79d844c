//! Angles of rotary embeddings.

use std::f64::consts::TAU;

use crate::checkpoint::{RopeConfig, RopeScaling};

/// Radians per token of each pair of the turned dimensions, in f64.
///
/// Scaling as transformers' `modeling_rope_utils` computes it: linear (Chen et al. 2023, "position interpolation")
/// and llama3 (frequencies below `low_freq_factor` turns of the original context are divided by `factor`,
/// those above `high_freq_factor` stay, between them a linear blend).
pub(super) fn inv_freq(rope: &RopeConfig, head_dim: usize) -> Vec<f64> {
    let turned = (head_dim as f64 * rope.partial) as usize;
    let pairs = turned / 2;
    let plain = |pair: usize| libm::pow(rope.theta, -(2.0 * pair as f64) / turned as f64);
    (0..pairs)
        .map(|pair| scaled(plain(pair), pair, &rope.scaling))
        .collect()
}

/// Whether there is a factor for each of `pairs` pairs, where factors are listed at all.
pub(super) fn has_factors(scaling: &RopeScaling, pairs: usize) -> bool {
    match scaling {
        RopeScaling::Factors(factors) => factors.len() == pairs,
        RopeScaling::None | RopeScaling::Linear { .. } | RopeScaling::Llama3 { .. } => true,
    }
}

/// The frequency of a pair, stretched.
fn scaled(freq: f64, pair: usize, scaling: &RopeScaling) -> f64 {
    match *scaling {
        RopeScaling::Factors(ref factors) => freq / factors.get(pair).copied().unwrap_or(1.0),
        RopeScaling::None => freq,
        RopeScaling::Linear { factor } => freq / factor,
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position,
        } => {
            let turns = original_max_position as f64 * freq / TAU;
            let blend = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
            let keep = blend.clamp(0.0, 1.0);
            keep * freq + (1.0 - keep) * freq / factor
        }
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
        let (found, base) = (inv_freq(&rope, 128), inv_freq(&plain, 128));
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
        let found = inv_freq(&rope, 256);
        assert_eq!(found.len(), 32);
        assert!((found[1] - 1e7f64.powf(-2.0 / 64.0)).abs() < 1e-12);
    }
}
