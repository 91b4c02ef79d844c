//! Means with their standard errors, as llama.cpp's `tools/perplexity` computes them.
//!
//! In: figures of single tokens. Out: estimates. Tokens count as independent, which flatters the errors a little;
//! everybody's do.

use serde::Serialize;

use super::row::Pair;

/// A figure and its standard error.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// One standard error.
    pub error: f64,
}

impl Estimate {
    /// Of `exp(x)`, to first order.
    fn exp(self) -> Self {
        let value = libm::exp(self.value);
        Self {
            value,
            error: value * self.error,
        }
    }
}

/// How a model differs from its base on the same tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Divergence {
    /// Perplexity of the base.
    pub base_perplexity: Estimate,
    /// Perplexity of the model over that of the base; the error knows that both saw the same tokens.
    pub perplexity_ratio: Estimate,
    /// Mean of KL(base || model) in nats.
    pub kl_mean: Estimate,
    /// Below this lies the divergence of 99 % of the tokens.
    pub kl_q99: f64,
    /// The worst token.
    pub kl_max: f64,
    /// Share of tokens where both like the same successor best, 0 to 1.
    pub same_top: Estimate,
}

/// A running mean and spread.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    count: usize,
    sum: f64,
    squares: f64,
}

impl Tally {
    pub(super) fn add(&mut self, x: f64) {
        self.count += 1;
        self.sum += x;
        self.squares += x * x;
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn mean(&self) -> Estimate {
        let count = self.count as f64;
        let value = self.sum / count;
        // Rounding can take the variance of equal figures below zero.
        let variance = (self.squares / count - value * value).max(0.0);
        let error = if self.count > 1 {
            (variance / (count - 1.0)).sqrt()
        } else {
            0.0
        };
        Estimate { value, error }
    }

    /// exp(mean) of negative log-likelihoods.
    pub(super) fn perplexity(&self) -> Estimate {
        self.mean().exp()
    }
}

/// All that two models' rows are counted into.
#[derive(Debug, Default)]
pub(super) struct PairTally {
    pub(super) model: Tally,
    base: Tally,
    difference: Tally,
    kl: Tally,
    same_top: Tally,
    /// One per token: 4 bytes are little beside its logits, and quantiles need them all.
    kls: Vec<f32>,
}

impl PairTally {
    pub(super) fn add(&mut self, pair: &Pair) {
        self.model.add(pair.model_nll);
        self.base.add(pair.base_nll);
        self.difference.add(pair.model_nll - pair.base_nll);
        self.kl.add(pair.kl);
        self.same_top.add(f64::from(u8::from(pair.same_top)));
        self.kls.push(pair.kl as f32);
    }

    pub(super) fn divergence(&mut self) -> Divergence {
        self.kls.sort_unstable_by(f32::total_cmp);
        Divergence {
            base_perplexity: self.base.perplexity(),
            perplexity_ratio: self.difference.mean().exp(),
            kl_mean: self.kl.mean(),
            kl_q99: quantile(&self.kls, 0.99),
            kl_max: quantile(&self.kls, 1.0),
            same_top: self.same_top.mean(),
        }
    }
}

/// Linear between the two values around the place; 0 of nothing.
fn quantile(sorted: &[f32], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    let place = share * last as f64;
    let (below, rest) = (place as usize, place.fract());
    let (a, b) = (sorted[below], sorted[(below + 1).min(last)]);
    (1.0 - rest) * f64::from(a) + rest * f64::from(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_and_its_error_are_the_textbook_ones() {
        let mut tally = Tally::default();
        [1.0, 2.0, 3.0, 6.0].into_iter().for_each(|x| tally.add(x));
        let mean = tally.mean();
        // Sum of squared deviations 14, over count (count - 1).
        assert_eq!(mean.value, 3.0);
        assert!((mean.error - (14.0f64 / 12.0).sqrt()).abs() < 1e-12);
        let perplexity = tally.perplexity();
        assert!((perplexity.value - 3f64.exp()).abs() < 1e-9);
        assert!((perplexity.error - perplexity.value * mean.error).abs() < 1e-9);
    }

    #[test]
    fn quantiles_lie_between_their_neighbours() {
        let values: Vec<f32> = (0..=200u8).map(f32::from).collect();
        assert_eq!(quantile(&values, 0.99), 198.0);
        assert_eq!(quantile(&values, 1.0), 200.0);
        assert_eq!(quantile(&[1.0, 2.0], 0.25), 1.25);
        assert_eq!(quantile(&[], 0.5), 0.0);
    }
}
