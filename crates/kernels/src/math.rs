//! Exponential, sigmoid, SiLU, GELU and hyperbolic tangent over lanes, from one polynomial of the exponential.
//!
//! Layout: lane-wise. `exp` splits x = n ln 2 + r with |r| <= ln 2 / 2, evaluates a polynomial of
//! degree 7 in r (the minimax coefficients of Cephes' `expf`) and scales by 2^n.
//! Contract: NaN stays NaN. exp: at most 1 ulp from the exact value over the whole range, results
//! below the normal range included; exp(-inf) = 0, exp(x) = inf above 88.73. sigmoid: at most 3 ulp,
//! exactly 0 and 1 far out, no overflow. silu(x) = x sigmoid(x): at most 4 ulp; silu(-inf) is NaN,
//! as in the usual x / (1 + exp(-x)). `gelu` is x P(x), P being the normal distribution: with u = |x|,
//! P(-u) = exp(u q(u)) / 2 by a polynomial q of degree 9, fitted so that the error of u P(-u) on 0..6 is least; above 0 it
//! is 1 - P(-u). At most 3 ulp above 0, at most 1e-7 below; gelu(-inf) is NaN, as in the usual product. tanh: at most
//! 2e-7. The unit tests hold these limits on a grid.
//! Measured: not measured alone; see `attend` and `glu`, which are made of it.

use crate::lanes::Lanes;

pub(crate) const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// ln 2 in two parts; n times the first is exact.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;
/// Of r^7 down to r^2.
pub(crate) const EXP_POLY: [f32; 6] = [
    1.987_569_1e-4,
    1.398_199_9e-3,
    8.333_452e-3,
    4.166_579_6e-2,
    1.666_666_5e-1,
    0.5,
];
/// exp rounds to 0 below and to infinity above.
const EXP_MIN: f32 = -104.0;
const EXP_MAX: f32 = 89.0;

/// e^x.
#[inline(always)]
pub(crate) fn exp<L: Lanes>(x: L) -> L {
    // The constant stands first: `min` and `max` give their second operand where one is NaN.
    let x = L::splat(EXP_MIN).max(x);
    let x = L::splat(EXP_MAX).min(x);
    let n = x.mul(L::splat(LOG2_E)).round();
    let r = n.fma(L::splat(-LN2_HIGH), x);
    let r = n.fma(L::splat(-LN2_LOW), r);
    let mut p = L::splat(EXP_POLY[0]);
    for c in &EXP_POLY[1..] {
        p = p.fma(r, L::splat(*c));
    }
    let p = p.fma(r.mul(r), r).add(L::splat(1.0));
    p.scale2(n)
}

/// 2^y to 8e-5 of its value for y of at most 127, for results that are rounded to bf16; 0 below -150.
#[inline(always)]
pub(crate) fn exp2_coarse<L: Lanes>(y: L) -> L {
    // As in `exp`.
    let y = L::splat(-150.0).max(y);
    let n = y.round();
    let r = y.sub(n);
    let mut p = L::splat(0.055_171_773);
    for c in [0.242_611_38, 0.693_260_97, 0.999_928] {
        p = p.fma(r, L::splat(c));
    }
    p.scale2(n)
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub(crate) fn sigmoid<L: Lanes>(x: L) -> L {
    let one = L::splat(1.0);
    let e = exp(x.max(x.neg()).neg());
    let top = x.select_lt(L::zero(), e, one);
    top.div(e.add(one))
}

/// x / (1 + e^-x).
#[inline(always)]
pub(crate) fn silu<L: Lanes>(x: L) -> L {
    x.mul(sigmoid(x))
}

/// tanh(x).
#[inline(always)]
pub(crate) fn tanh<L: Lanes>(x: L) -> L {
    let two = L::splat(2.0);
    sigmoid(x.mul(two)).fma(two, L::splat(-1.0))
}

/// x (1 + erf(x / sqrt 2)) / 2.
#[inline(always)]
pub(crate) fn gelu<L: Lanes>(x: L) -> L {
    let u = x.max(x.neg());
    let mut q = L::splat(-2.589_985e-8);
    for c in [
        7.213_973e-7,
        -8.678_117e-6,
        5.769_612_5e-5,
        -2.049_463_4e-4,
        1.348_006e-5,
        4.808_888e-3,
        -3.635_103e-2,
        -3.183_055_6e-1,
        -7.978_85e-1,
    ] {
        q = q.fma(u, L::splat(c));
    }
    let below = exp(q.mul(u)).mul(L::splat(0.5));
    let above = L::splat(1.0).sub(below);
    x.mul(x.select_lt(L::zero(), below, above))
}

/// [`gelu`] to 4.9e-4, for outputs that are rounded to 8 bits: P(x) = 1/2 + x q(x^2) on -3.65..3.65, q fitted so
/// that the error of x P(x) is least, and 0 or 1 beyond. Step by step for all vectors, as each waits for its last.
#[inline(always)]
pub(crate) fn gelu_coarse<L: Lanes, const V: usize>(x: [L; V]) -> [L; V] {
    let (mut u, mut t, mut q) = (x, x, [L::splat(-4.985_608_4e-7); V]);
    for v in 0..V {
        // The constant stands first: `min` and `max` give their second operand where one is NaN.
        u[v] = L::splat(3.65).min(L::splat(-3.65).max(x[v]));
        t[v] = u[v].mul(u[v]);
    }
    for c in [
        2.721_102e-5,
        -6.219_446_7e-4,
        7.876_066e-3,
        -6.265_978_5e-2,
        3.965_35e-1,
    ] {
        for v in 0..V {
            q[v] = q[v].fma(t[v], L::splat(c));
        }
    }
    for v in 0..V {
        q[v] = x[v].mul(q[v].fma(u[v], L::splat(0.5)));
    }
    q
}

/// x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2.
#[inline(always)]
pub(crate) fn gelu_tanh<L: Lanes>(x: L) -> L {
    const TWO_SQRT_2_PI: f32 = 1.595_769;
    let inner = x.mul(x).fma(L::splat(0.044_715), L::splat(1.0)).mul(x);
    x.mul(sigmoid(inner.mul(L::splat(TWO_SQRT_2_PI))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lanes::{LANES, Scalar};

    fn one(f: fn(Scalar) -> Scalar, x: f32) -> f32 {
        f(Scalar::splat(x)).to_array()[0]
    }

    /// The distance of `found` from `exact` in units of the last place of `exact`.
    fn ulps(found: f32, exact: f64) -> f64 {
        let exponent = (exact.abs().log2().floor() as i32).max(-126);
        (f64::from(found) - exact).abs() / 2f64.powi(exponent - 23)
    }

    fn worst(f: fn(Scalar) -> Scalar, exact: fn(f64) -> f64, low: f32, high: f32) -> f64 {
        let steps = 400_000;
        let at = |i: usize| low + (high - low) * (i as f32 / steps as f32);
        let mut worst = 0f64;
        for i in (0..steps).step_by(LANES) {
            let x: [f32; LANES] = std::array::from_fn(|l| at(i + l));
            let y = f(Scalar::from_array(x)).to_array();
            for (x, y) in x.into_iter().zip(y) {
                worst = worst.max(ulps(y, exact(f64::from(x))));
            }
        }
        worst
    }

    #[test]
    fn exp_is_within_one_ulp() {
        let error = worst(exp, f64::exp, -103.9, 88.7);
        assert!(error <= 1.0, "{error}");
        assert!(worst(exp, f64::exp, -1.0, 1.0) <= 1.0);
    }

    #[test]
    fn the_coarse_exponential_is_close() {
        let relative = |y: f32| f64::from(one(exp2_coarse, y)) / f64::from(y).exp2() - 1.0;
        let error = (0..100_000).map(|i| relative(i as f32 * -1.2e-3).abs());
        let error = error.fold(0.0, f64::max);
        assert!(error <= 8e-5, "{error}");
        assert_eq!(one(exp2_coarse, f32::NEG_INFINITY), 0.0);
        assert!(one(exp2_coarse, f32::NAN).is_nan());
    }

    #[test]
    fn sigmoid_and_silu_are_close() {
        let error = worst(sigmoid, |x| 1.0 / (1.0 + (-x).exp()), -87.0, 30.0);
        assert!(error <= 3.0, "{error}");
        let error = worst(silu, |x| x / (1.0 + (-x).exp()), -80.0, 30.0);
        assert!(error <= 4.0, "{error}");
    }

    /// The greatest distance from `exact` itself.
    fn farthest(f: fn(Scalar) -> Scalar, exact: fn(f64) -> f64, low: f32, high: f32) -> f64 {
        let steps = 200_000;
        let at = |i: usize| low + (high - low) * (i as f32 / steps as f32);
        let distance = |i: usize| (f64::from(one(f, at(i))) - exact(f64::from(at(i)))).abs();
        (0..steps).map(distance).fold(0.0, f64::max)
    }

    fn exact_gelu(x: f64) -> f64 {
        0.5 * x * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
    }

    fn coarse(x: Scalar) -> Scalar {
        gelu_coarse([x])[0]
    }

    #[test]
    fn gelu_and_tanh_are_close() {
        let error = worst(gelu, exact_gelu, 1e-3, 20.0);
        assert!(error <= 3.0, "{error}");
        let error = farthest(gelu, exact_gelu, -30.0, 0.0);
        assert!(error <= 1e-7, "{error}");
        let error = farthest(coarse, exact_gelu, -30.0, 30.0);
        assert!(error <= 4.9e-4, "{error}");
        let error = farthest(tanh, f64::tanh, -12.0, 12.0);
        assert!(error <= 2e-7, "{error}");
        let by_tanh = |x: f64| {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
            0.5 * x * (1.0 + inner.tanh())
        };
        let error = farthest(gelu_tanh, by_tanh, -12.0, 4.0);
        assert!(error <= 1e-6, "{error}");
        for (x, y) in [
            (0.0, 0.0),
            (40.0, 40.0),
            (-40.0, 0.0),
            (f32::INFINITY, f32::INFINITY),
        ] {
            assert_eq!(one(gelu, x), y, "gelu of {x}");
        }
        assert!(
            one(coarse, f32::NAN).is_nan()
                && one(gelu, f32::NAN).is_nan()
                && one(tanh, f32::NAN).is_nan()
        );
    }

    #[test]
    fn the_far_ends_are_what_they_must_be() {
        assert_eq!(one(exp, f32::NEG_INFINITY), 0.0);
        assert_eq!(one(exp, -1e30), 0.0);
        assert_eq!(one(exp, 0.0), 1.0);
        assert_eq!(one(exp, 89.0), f32::INFINITY);
        assert_eq!(one(exp, f32::INFINITY), f32::INFINITY);
        assert!(one(exp, f32::NAN).is_nan() && one(exp, -f32::NAN).is_nan());
        assert_eq!(one(sigmoid, 100.0), 1.0);
        assert_eq!(one(sigmoid, f32::INFINITY), 1.0);
        assert!(one(sigmoid, -100.0) < 1e-43);
        assert_eq!(one(sigmoid, f32::NEG_INFINITY), 0.0);
        assert!(one(sigmoid, f32::NAN).is_nan() && one(silu, f32::NAN).is_nan());
        assert_eq!(one(silu, -200.0), 0.0);
        assert_eq!(one(silu, 200.0), 200.0);
    }
}
