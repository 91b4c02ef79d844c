//! The steps by a gradient in plain Rust, which define all others.

use super::plain::halved;
use super::{AdamStep, SgdStep};
use crate::math::sqrt;

/// Squares that are added in f32.
const BLOCK: usize = 1024;
/// Squares that are added side by side.
const SIDE: usize = 64;

/// `w -= rate g` with decay; with a velocity `v` by that.
pub(crate) fn sgd(step: SgdStep, sums: &[f32], v: &mut [f32], w: &mut [f32]) {
    let SgdStep {
        scale,
        rate,
        momentum,
        nesterov,
        decay,
    } = step;
    let each = w.iter_mut().zip(sums);
    if v.is_empty() {
        each.for_each(|(w, sum)| *w -= rate * (sum * scale + decay * *w));
        return;
    }
    for ((w, sum), v) in each.zip(v) {
        let g = sum * scale + decay * *w;
        *v = momentum * *v + g;
        *w -= rate * if nesterov { g + momentum * *v } else { *v };
    }
}

/// `w = keep w - step m / (sqrt(s) root + epsilon)` with the means `m` and `s` of gradients and squares.
pub(crate) fn adam(step: AdamStep, sums: &[f32], [m, s]: [&mut [f32]; 2], w: &mut [f32]) {
    let AdamStep { beta1, beta2, .. } = step;
    for ((w, sum), (m, s)) in w.iter_mut().zip(sums).zip(m.iter_mut().zip(s)) {
        let g = sum * step.scale;
        *m += (1.0 - beta1) * (g - *m);
        *s = beta2 * *s + (1.0 - beta2) * g * g;
        *w = step.keep * *w - step.step * *m / (sqrt(*s) * step.root + step.epsilon);
    }
}

/// The sum of squares; infinite where f32 cannot hold that of a block.
pub(crate) fn square_sum(x: &[f32]) -> f64 {
    let blocks = x.chunks(BLOCK).map(|block| {
        let mut sums = [0.0f32; SIDE];
        for side in block.chunks(SIDE) {
            sums.iter_mut().zip(side).for_each(|(sum, x)| *sum += x * x);
        }
        f64::from(halved(&mut sums))
    });
    blocks.fold(0.0, |total, block| total + block)
}
