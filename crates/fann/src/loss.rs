//! Losses, and their gradients by the last layer's sums.
//!
//! In: sums, outputs and target of one row. Out: its loss in f64, its gradient. It does not know:
//! layers, batches.

use core::fmt;

use crate::{Activation, Error, Samples};

/// What a network is to make small. Losses are means over the rows, as those of PyTorch with
/// `reduction="mean"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The mean of (y - t)^2 over the outputs too.
    Mse,
    /// -sum of t ln y, for an output of softmax. Targets are probabilities or labels.
    CrossEntropy,
    /// The mean of -t ln y - (1 - t) ln(1 - y) over the outputs too, for an output of sigmoid.
    /// Targets are probabilities.
    BinaryCrossEntropy,
}

impl Loss {
    /// Checks that the last layer and the targets are what this loss is defined for.
    pub(crate) fn check(self, found: Activation, samples: &Samples<'_>) -> Result<(), Error> {
        let needs = match self {
            Loss::Mse => return Ok(()),
            Loss::CrossEntropy => Activation::Softmax,
            Loss::BinaryCrossEntropy => Activation::Sigmoid,
        };
        if needs != found {
            return Err(Error::OutputNeeds {
                loss: self,
                needs,
                found,
            });
        }
        match samples.no_probability() {
            None => Ok(()),
            Some((row, value)) => Err(Error::NoProbability {
                row,
                value,
                loss: self,
            }),
        }
    }

    /// The loss of one row with sums `z` and outputs `y`.
    ///
    /// Cross-entropies are taken from the sums: an output that rounds to 0 has no logarithm.
    pub(crate) fn value(self, z: &[f32], y: &[f32], target: &[f32]) -> f64 {
        let width = y.len() as f64;
        match self {
            Loss::Mse => {
                let square = |(y, t): (&f32, &f32)| {
                    let d = f64::from(*y) - f64::from(*t);
                    d * d
                };
                y.iter().zip(target).map(square).sum::<f64>() / width
            }
            Loss::CrossEntropy => {
                let most = z.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                // The softmax of the greatest sum is 1 / (sum of e^(z - greatest)).
                let share = y.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let log_sum = f64::from(most) - libm::log(f64::from(share));
                let each = z.iter().zip(target).filter(|(_, t)| **t != 0.0);
                each.map(|(z, t)| f64::from(*t) * (log_sum - f64::from(*z)))
                    .sum()
            }
            Loss::BinaryCrossEntropy => {
                // ln(1 + e^z) - t z, without overflow.
                let each = z.iter().zip(target).map(|(z, t)| {
                    let (z, t) = (f64::from(*z), f64::from(*t));
                    z.max(0.0) + libm::log1p(libm::exp(-libm::fabs(z))) - t * z
                });
                each.sum::<f64>() / width
            }
        }
    }

    /// The gradient of one row's loss by its sums: into `out`.
    pub(crate) fn gradient(
        self,
        activation: Activation,
        [z, y, target]: [&[f32]; 3],
        out: &mut [f32],
    ) {
        let each = out.iter_mut().zip(y.iter().zip(target));
        match self {
            Loss::Mse => {
                let scale = 2.0 / y.len() as f32;
                each.for_each(|(g, (y, t))| *g = scale * (y - t));
                activation.back(z, y, out);
            }
            Loss::CrossEntropy => {
                let sum: f32 = target.iter().sum();
                each.for_each(|(g, (y, t))| *g = y * sum - t);
            }
            Loss::BinaryCrossEntropy => {
                let scale = 1.0 / y.len() as f32;
                each.for_each(|(g, (y, t))| *g = scale * (y - t));
            }
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Loss::Mse => "mean squared error",
            Loss::CrossEntropy => "cross-entropy",
            Loss::BinaryCrossEntropy => "binary cross-entropy",
        })
    }
}
