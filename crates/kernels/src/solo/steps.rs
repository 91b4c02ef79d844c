//! Steps of training on the calling thread: parameters after a gradient, and how long a gradient is.
//!
//! Layout: flat arrays of one length. Contract: each operation is rounded, in the order that the
//! documentation writes (no fused multiply-add): plain Rust gives the same bits. Sums of squares are
//! in f32 within a block of 1,024, 64 lanes that are halved; blocks are added in f64.
//! Measured: docs/bench/2026-11-tiny-networks.md.

use super::Solo;
use crate::lanes::{Body, LANES, Lanes};

/// Elements whose squares are added in f32.
const BLOCK: usize = 1024;
/// Vectors that are added side by side.
const SIDE: usize = 4;

/// A step of gradient descent: `g = scale sum + decay w`; with momentum `v = momentum v + g`, and `g`
/// is then `v` (Nesterov: `g + momentum v`); `w -= rate g`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SgdStep {
    /// Of the sums of gradients.
    pub scale: f32,
    /// Learning rate.
    pub rate: f32,
    /// How much of the velocity stays.
    pub momentum: f32,
    /// Whether the gradient looks ahead.
    pub nesterov: bool,
    /// Weight decay.
    pub decay: f32,
}

/// A step of Adam: `g = scale sum`; `m += (1 - beta1) (g - m)`; `s = beta2 s + ((1 - beta2) g) g`;
/// `w = keep w - (step m) / (sqrt(s) root + epsilon)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamStep {
    /// Of the sums of gradients.
    pub scale: f32,
    /// How long the mean remembers.
    pub beta1: f32,
    /// How long the mean square remembers.
    pub beta2: f32,
    /// Added to the root.
    pub epsilon: f32,
    /// Of the parameter: 1 less its decay.
    pub keep: f32,
    /// Learning rate, with the mean's correction.
    pub step: f32,
    /// The root's correction.
    pub root: f32,
}

impl Solo {
    /// One [`SgdStep`]. All of one length; `velocity` may be empty instead: no momentum.
    ///
    /// # Panics
    /// If a length does not fit.
    pub fn sgd(self, step: SgdStep, sums: &[f32], velocity: &mut [f32], parameters: &mut [f32]) {
        if velocity.is_empty() {
            self.steps(Plain(step), sums, [parameters]);
        } else {
            self.steps(Momentum(step), sums, [parameters, velocity]);
        }
    }

    /// One [`AdamStep`]. All of one length: means and mean squares of the gradients.
    ///
    /// # Panics
    /// If a length does not fit.
    pub fn adam(
        self,
        step: AdamStep,
        sums: &[f32],
        [mean, square]: [&mut [f32]; 2],
        parameters: &mut [f32],
    ) {
        self.steps(step, sums, [parameters, mean, square]);
    }

    fn steps<const N: usize>(self, rule: impl Rule<N>, sums: &[f32], kept: [&mut [f32]; N]) {
        for kept in &kept {
            assert_eq!(kept.len(), sums.len(), "{} gradients", sums.len());
        }
        self.0.run(Steps { rule, sums, kept });
    }

    /// The sum of squares; infinite where f32 cannot hold that of a block.
    pub fn square_sum(self, x: &[f32]) -> f64 {
        self.0.run(SquareSum(x))
    }
}

/// What becomes of N kept elements when a gradient is seen: parameter first.
trait Rule<const N: usize>: Copy {
    fn at<L: Lanes>(self, sum: L, kept: [L; N]) -> [L; N];
}

#[derive(Clone, Copy)]
struct Plain(SgdStep);

impl Rule<1> for Plain {
    #[inline(always)]
    fn at<L: Lanes>(self, sum: L, [w]: [L; 1]) -> [L; 1] {
        let g = decayed(self.0, sum, w);
        [w.sub(L::splat(self.0.rate).mul(g))]
    }
}

#[derive(Clone, Copy)]
struct Momentum(SgdStep);

impl Rule<2> for Momentum {
    #[inline(always)]
    fn at<L: Lanes>(self, sum: L, [w, v]: [L; 2]) -> [L; 2] {
        let momentum = L::splat(self.0.momentum);
        let g = decayed(self.0, sum, w);
        let v = momentum.mul(v).add(g);
        let ahead = if self.0.nesterov {
            g.add(momentum.mul(v))
        } else {
            v
        };
        [w.sub(L::splat(self.0.rate).mul(ahead)), v]
    }
}

#[inline(always)]
fn decayed<L: Lanes>(step: SgdStep, sum: L, w: L) -> L {
    sum.mul(L::splat(step.scale))
        .add(L::splat(step.decay).mul(w))
}

impl Rule<3> for AdamStep {
    #[inline(always)]
    fn at<L: Lanes>(self, sum: L, [w, m, s]: [L; 3]) -> [L; 3] {
        let g = sum.mul(L::splat(self.scale));
        let m = m.add(L::splat(1.0 - self.beta1).mul(g.sub(m)));
        let fresh = L::splat(1.0 - self.beta2).mul(g).mul(g);
        let s = L::splat(self.beta2).mul(s).add(fresh);
        let below = s
            .sqrt()
            .mul(L::splat(self.root))
            .add(L::splat(self.epsilon));
        let away = L::splat(self.step).mul(m).div(below);
        [L::splat(self.keep).mul(w).sub(away), m, s]
    }
}

struct Steps<'a, R, const N: usize> {
    rule: R,
    sums: &'a [f32],
    kept: [&'a mut [f32]; N],
}

impl<R: Rule<N>, const N: usize> Body for Steps<'_, R, N> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let whole = self.sums.len() / LANES * LANES;
        for i in (0..whole).step_by(LANES) {
            let mut old = [L::zero(); N];
            for n in 0..N {
                // SAFETY: `Solo::steps` checked that all have the length of the sums, and the 16 from
                // `i` on are inside.
                old[n] = unsafe { L::load(self.kept[n].as_ptr().add(i)) };
            }
            // SAFETY: as above.
            let sum = unsafe { L::load(self.sums.as_ptr().add(i)) };
            let new = self.rule.at(sum, old);
            for n in 0..N {
                // SAFETY: as above.
                unsafe { new[n].store(self.kept[n].as_mut_ptr().add(i)) };
            }
        }
        let mut old = [L::zero(); N];
        for n in 0..N {
            old[n] = L::get(self.kept[n], whole);
        }
        let new = self.rule.at(L::get(self.sums, whole), old);
        for n in 0..N {
            new[n].put(self.kept[n], whole);
        }
    }
}

struct SquareSum<'a>(&'a [f32]);

impl Body for SquareSum<'_> {
    type Out = f64;

    #[inline(always)]
    fn run<L: Lanes>(self) -> f64 {
        let mut total = 0.0;
        for block in self.0.chunks(BLOCK) {
            let mut sums = [L::zero(); SIDE];
            let (whole, rest) = block.as_chunks::<{ SIDE * LANES }>();
            for side in whole {
                for v in 0..SIDE {
                    // SAFETY: the vector is in the array of four.
                    let x = unsafe { L::load(side.as_ptr().add(v * LANES)) };
                    sums[v] = sums[v].add(x.mul(x));
                }
            }
            for v in 0..SIDE {
                let x = L::get(rest, v * LANES);
                sums[v] = sums[v].add(x.mul(x));
            }
            let [a, b, c, d] = sums;
            total += f64::from(a.add(c).add(b.add(d)).sum());
        }
        total
    }
}
