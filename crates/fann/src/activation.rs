//! What stands between layers, and its slope.
//!
//! In: sums of a layer. Out: its outputs, in place; on the way back, gradients. It does not know:
//! weights, losses. The functions are our own (`math` has their errors) and, for gelu, `erfc` of the
//! `libm` crate, within 1 ulp; so the bits are the same on every machine.

use core::fmt;

use crate::math;

/// sqrt(1 / 2) and sqrt(1 / (2 pi)).
const SQRT_HALF: f32 = core::f32::consts::FRAC_1_SQRT_2;
const INV_SQRT_TAU: f32 = 0.398_942_3;

/// The function on a layer's sums z.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Activation {
    /// z.
    Linear,
    /// 1 / (1 + e^-z).
    Sigmoid,
    /// tanh z.
    Tanh,
    /// z above 0, else 0.
    Relu,
    /// z above 0, else the slope times z.
    LeakyRelu(f32),
    /// z times the normal distribution's share below z (Hendrycks, Gimpel 2016), by `erf`.
    Gelu,
    /// e^z over the sum of e^z of the row.
    Softmax,
}

impl Activation {
    /// The name that files and errors use.
    pub fn name(self) -> &'static str {
        match self {
            Activation::Linear => "linear",
            Activation::Sigmoid => "sigmoid",
            Activation::Tanh => "tanh",
            Activation::Relu => "relu",
            Activation::LeakyRelu(_) => "leaky_relu",
            Activation::Gelu => "gelu",
            Activation::Softmax => "softmax",
        }
    }

    /// Replaces the sums of whole rows, `[rows, width]`, by the outputs. NaN stays NaN.
    #[inline(always)]
    pub(crate) fn apply(self, rows: &mut [f32], width: usize) {
        match self {
            Activation::Linear => {}
            Activation::Sigmoid => math::each(rows, math::sigmoid),
            Activation::Tanh => math::each(rows, math::tanh),
            Activation::Relu => {
                for z in rows {
                    *z = if *z < 0.0 { 0.0 } else { *z };
                }
            }
            Activation::LeakyRelu(slope) => {
                for z in rows {
                    *z = if *z < 0.0 { slope * *z } else { *z };
                }
            }
            Activation::Gelu => rows.iter_mut().for_each(|z| *z *= normal_below(*z)),
            Activation::Softmax => rows.chunks_exact_mut(width).for_each(softmax),
        }
    }

    /// Turns the gradient of one row's outputs y into that of its sums z.
    pub(crate) fn back(self, z: &[f32], y: &[f32], gradient: &mut [f32]) {
        let each = gradient.iter_mut().zip(z.iter().zip(y));
        match self {
            Activation::Linear => {}
            Activation::Sigmoid => each.for_each(|(g, (_, y))| *g *= y * (1.0 - y)),
            Activation::Tanh => each.for_each(|(g, (_, y))| *g *= 1.0 - y * y),
            Activation::Relu => each.for_each(|(g, (z, _))| *g = if *z > 0.0 { *g } else { 0.0 }),
            Activation::LeakyRelu(slope) => {
                each.for_each(|(g, (z, _))| *g = if *z > 0.0 { *g } else { slope * *g });
            }
            Activation::Gelu => each.for_each(|(g, (z, _))| {
                let density = INV_SQRT_TAU * math::exp(-0.5 * z * z);
                *g *= normal_below(*z) + z * density;
            }),
            Activation::Softmax => {
                let dot: f32 = gradient.iter().zip(y).map(|(g, y)| g * y).sum();
                let each = gradient.iter_mut().zip(y);
                each.for_each(|(g, y)| *g = y * (*g - dot));
            }
        }
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Activation::LeakyRelu(slope) => write!(f, "leaky_relu({slope})"),
            _ => f.pad(self.name()),
        }
    }
}

/// The share of a standard normal distribution below z.
fn normal_below(z: f32) -> f32 {
    // Not 1 + erf: below -1 that would lose the digits of a small share.
    0.5 * libm::erfcf(-z * SQRT_HALF)
}

fn softmax(row: &mut [f32]) {
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    math::each(row, |z| math::exp(z - most));
    let scale = 1.0 / row.iter().sum::<f32>();
    row.iter_mut().for_each(|y| *y *= scale);
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Activation; 7] = [
        Activation::Linear,
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Relu,
        Activation::LeakyRelu(0.01),
        Activation::Gelu,
        Activation::Softmax,
    ];

    #[test]
    fn far_ends_and_nan_are_what_they_must_be() {
        for activation in ALL {
            let mut row = [f32::NAN, 1.0];
            activation.apply(&mut row, 2);
            assert!(row[0].is_nan(), "{activation}");
        }
        let mut row = [1e30, 1e30];
        Activation::Softmax.apply(&mut row, 2);
        assert_eq!(row, [0.5, 0.5]);
        let mut row = [-40.0, 40.0];
        Activation::Gelu.apply(&mut row, 2);
        assert_eq!(row, [0.0, 40.0]);
    }
}
