//! How the learning rate changes over the epochs.

use crate::Error;
use crate::error::check_setting;

/// A factor on the learning rate, by epoch.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Schedule {
    /// Epochs over which the factor rises in a line to 1: epoch e of n has (e + 1) / (n + 1).
    pub warmup: usize,
    /// What follows.
    pub decay: Decay,
}

/// How the factor falls after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum Decay {
    /// It stays 1.
    #[default]
    Constant,
    /// Times `factor` every `epochs`.
    Step {
        /// Epochs of a step.
        epochs: usize,
        /// Within 0..=1.
        factor: f64,
    },
    /// Times `factor` every epoch.
    Exponential {
        /// Within 0..=1.
        factor: f64,
    },
    /// Half a cosine wave from 1 to `floor` in the last epoch (Loshchilov, Hutter 2016).
    Cosine {
        /// Within 0..=1.
        floor: f64,
    },
}

impl Schedule {
    /// The factor of epoch `epoch` of `epochs`.
    pub fn factor(&self, epoch: usize, epochs: usize) -> f64 {
        if epoch < self.warmup {
            return (epoch + 1) as f64 / (self.warmup as f64 + 1.0);
        }
        let after = epoch - self.warmup;
        match self.decay {
            Decay::Constant => 1.0,
            Decay::Step { epochs, factor } => power(factor, after / epochs.max(1)),
            Decay::Exponential { factor } => power(factor, after),
            Decay::Cosine { floor } => {
                let most = epochs.saturating_sub(self.warmup + 1).max(1);
                let share = (after as f64 / most as f64).min(1.0);
                let wave = 0.5 * (1.0 + libm::cos(core::f64::consts::PI * share));
                floor + (1.0 - floor) * wave
            }
        }
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        let (name, value) = match self.decay {
            Decay::Constant => return Ok(()),
            Decay::Step { epochs: 0, .. } => {
                return check_setting("schedule.epochs", 0.0, false, "at least 1 epoch");
            }
            Decay::Step { factor, .. } | Decay::Exponential { factor } => {
                ("schedule.factor", factor)
            }
            Decay::Cosine { floor } => ("schedule.floor", floor),
        };
        check_setting(name, value, (0.0..=1.0).contains(&value), "within 0..=1")
    }
}

fn power(factor: f64, times: usize) -> f64 {
    libm::pow(factor, times as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_go_where_they_should() {
        let cosine = Schedule {
            warmup: 4,
            decay: Decay::Cosine { floor: 0.1 },
        };
        let factors: [f64; 4] = [0, 3, 4, 13].map(|e| cosine.factor(e, 14));
        for (found, expected) in factors.into_iter().zip([0.2, 0.8, 1.0, 0.1]) {
            assert!((found - expected).abs() < 1e-12, "{factors:?}");
        }
        let decay = Decay::Step {
            epochs: 10,
            factor: 0.5,
        };
        let step = Schedule { warmup: 0, decay };
        assert_eq!(
            [0, 9, 10, 25].map(|e| step.factor(e, 100)),
            [1.0, 1.0, 0.5, 0.25]
        );
    }
}
