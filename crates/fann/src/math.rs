//! Exponential, sigmoid and tanh in plain arithmetic that compilers turn into vectors.
//!
//! In: slices, changed in place. Out: the same bits on every machine and in every build: products are
//! rounded, then added; nothing asks for fused multiply-add, which the kernels' functions do. It does
//! not know: layers.
//! exp is within 2 ulp over its whole range (polynomial of Cephes' `expf`), sigmoid and tanh (Cephes'
//! `tanhf` below 0.625) within 4 ulp; the tests hold these limits. NaN stays NaN.

const LOG2_E: f32 = core::f32::consts::LOG2_E;
/// ln 2 in two parts; n times the first is exact.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;
/// exp rounds to 0 below and to infinity above.
const EXP_MIN: f32 = -104.0;
const EXP_MAX: f32 = 89.0;
/// e to this, and to minus this, is a normal number.
const NORMAL_MOST: f32 = 87.0;
/// 1.5 x 2^23: what is added to it becomes an integer, in its lowest bits.
const MAGIC: f32 = 12_582_912.0;

/// `f` of each element: eight or four at a time, so that the compiler sees the vectors.
#[inline(always)]
pub(crate) fn each(values: &mut [f32], f: impl Fn(f32) -> f32) {
    let (eights, rest) = values.as_chunks_mut::<8>();
    for eight in eights {
        eight.iter_mut().for_each(|x| *x = f(*x));
    }
    let (fours, rest) = rest.as_chunks_mut::<4>();
    for four in fours {
        four.iter_mut().for_each(|x| *x = f(*x));
    }
    // By patterns: a copy of unknown length is a call.
    match rest {
        [a, b, c] => {
            let mut four = [*a, *b, *c, 0.0];
            four.iter_mut().for_each(|x| *x = f(*x));
            [*a, *b, *c, _] = four;
        }
        few => few.iter_mut().for_each(|x| *x = f(*x)),
    }
}

/// e^x.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let (p, n) = parts(within(x, EXP_MIN, EXP_MAX));
    // In two steps: 2^n alone may be below or above what f32 has.
    let low = n >> 1;
    p * power_of_2(low) * power_of_2(n.wrapping_sub(low))
}

/// e^x, held within what is neither 0, subnormal nor infinite.
#[inline(always)]
fn exp_normal(x: f32) -> f32 {
    let (p, n) = parts(within(x, -NORMAL_MOST, NORMAL_MOST));
    p * power_of_2(n)
}

/// NaN stays NaN.
#[inline(always)]
fn within(x: f32, least: f32, most: f32) -> f32 {
    let x = if x < least { least } else { x };
    if x > most { most } else { x }
}

/// p and n of e^x = p 2^n, p being about 0.7 to 1.5.
#[inline(always)]
fn parts(x: f32) -> (f32, i32) {
    let shifted = x * LOG2_E + MAGIC;
    let n = shifted - MAGIC;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    let square = r * r;
    // In pairs, not one after the other: a short row waits for its last result.
    let low = 1.666_666_5e-1 * r + 0.5;
    let middle = 8.333_452e-3 * r + 4.166_579_6e-2;
    let high = 1.987_569_1e-4 * r + 1.398_199_9e-3;
    let p = (high * square + middle) * square + low;
    let p = p * square + r + 1.0;
    // Of NaN this is any number; p is NaN then.
    let n = (shifted.to_bits() as i32).wrapping_sub(MAGIC.to_bits() as i32);
    (p, n)
}

#[inline(always)]
fn power_of_2(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// 1 / (1 + e^-x); far below 0 it stays above 1e-38.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp_normal(-x))
}

/// tanh x.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let far = 1.0 - 2.0 / (exp_normal(2.0 * x.abs()) + 1.0);
    let square = x * x;
    let mut p = -5.704_988_7e-3;
    for c in [2.063_909e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328e-1] {
        p = p * square + c;
    }
    let near = p * square * x + x;
    let y = if x.abs() < 0.625 { near } else { far };
    y.copysign(x)
}

/// The square root, which IEEE 754 rounds the same everywhere.
#[cfg(all(test, feature = "simd"))]
pub(crate) fn sqrt(x: f32) -> f32 {
    x.sqrt()
}

/// The square root, which IEEE 754 rounds the same everywhere.
#[cfg(not(feature = "simd"))]
pub(crate) fn sqrt(x: f32) -> f32 {
    libm::sqrtf(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The distance from the exact value in units of its last place, at most, over a grid.
    fn worst(f: fn(f32) -> f32, exact: fn(f64) -> f64, low: f32, high: f32) -> f64 {
        let steps = 400_000;
        let mut worst = 0.0f64;
        for i in 0..=steps {
            let x = low + (high - low) * (i as f32 / steps as f32);
            let exact = exact(f64::from(x));
            let exponent = libm::floor(libm::log2(libm::fabs(exact))).max(-126.0);
            let unit = libm::exp2(exponent - 23.0);
            worst = worst.max(libm::fabs(f64::from(f(x)) - exact) / unit);
        }
        worst
    }

    #[test]
    fn errors_are_small() {
        let found = worst(exp, libm::exp, -103.9, 88.7);
        assert!(found <= 2.0, "exp {found}");
        let found = worst(sigmoid, |x| 1.0 / (1.0 + libm::exp(-x)), -87.0, 30.0);
        assert!(found <= 4.0, "sigmoid {found}");
        for (low, high) in [(-12.0, 12.0), (-0.7, 0.7), (-1e-3, 1e-3)] {
            let found = worst(tanh, libm::tanh, low, high);
            assert!(found <= 4.0, "tanh {found}");
        }
    }

    #[test]
    fn far_ends_are_what_they_must_be() {
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NAN).is_nan() && sigmoid(f32::NAN).is_nan() && tanh(f32::NAN).is_nan());
        assert_eq!([0.0, 200.0].map(sigmoid), [0.5, 1.0]);
        assert!((0.0..2e-38).contains(&sigmoid(-200.0)));
        assert_eq!([f32::NEG_INFINITY, 0.0, 200.0].map(tanh), [-1.0, 0.0, 1.0]);
        assert!(tanh(-0.0).is_sign_negative());
    }

    #[test]
    fn the_place_of_an_element_does_not_show() {
        let values: alloc::vec::Vec<f32> = (0..39).map(|i| i as f32 * 0.37 - 6.0).collect();
        for len in 0..values.len() {
            let mut found = values[..len].to_vec();
            each(&mut found, tanh);
            assert!(found.iter().zip(&values).all(|(y, x)| *y == tanh(*x)));
        }
    }
}
