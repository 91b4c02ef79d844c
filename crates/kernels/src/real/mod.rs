//! The two floating-point types that optimal transport is written over, and their exponential.
//!
//! Layout: lane-wise; loops over arrays of [`REAL_LANES`] elements, which the compiler turns into the vectors of the
//! instruction set that [`crate::Isa::run`] chose: one body for f32 and f64, and no intrinsics.
//! Contract: every operation is IEEE 754 with fused multiply-add, so the bits are the same on every instruction
//! set. `exp` is within 2 ulp where the result is a normal number, exactly 0 below that (under -87 in f32, under -708
//! in f64), at most e^88 and e^709 above; NaN stays NaN.
//! Measured: see `logsum`.

mod distance;
mod logsum;

use std::fmt::{Debug, Display};
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

pub use distance::{dot_panel, squared_distance_panel};
pub use logsum::{LogRow, dot_real, exp_most, exp_row, exp_sum, exp_sum_weighted};

/// Elements that a body works on at a time.
pub const REAL_LANES: usize = 16;

/// f32 or f64.
pub trait Real:
    Copy
    + PartialOrd
    + Debug
    + Display
    + Default
    + Send
    + Sync
    + Add<Output = Self>
    + AddAssign
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + sealed::Sealed
    + 'static
{
    /// 0.
    const ZERO: Self;
    /// Minus infinity.
    const LEAST: Self;
    /// Digits of the significand, in bits.
    const DIGITS: i32;
    /// The nearest value.
    fn from_f64(x: f64) -> Self;
    /// The same value.
    fn to_f64(self) -> f64;
    /// self * b + c, rounded once.
    fn fma(self, b: Self, c: Self) -> Self;
    /// e^self, within the limits of the module's contract.
    fn exp_fast(self) -> Self;
    /// The square root, rounded once.
    fn root(self) -> Self;
    /// Neither infinite nor NaN.
    fn finite(self) -> bool;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

macro_rules! real {
    ($t:ty, least $min:expr, most $max:expr, magic $magic:expr, ln2 $high:expr, $low:expr, shift $shift:expr, one $one:expr, poly $poly:expr) => {
        impl Real for $t {
            const ZERO: $t = 0.0;
            const LEAST: $t = <$t>::NEG_INFINITY;
            const DIGITS: i32 = <$t>::MANTISSA_DIGITS as i32;

            #[inline(always)]
            fn from_f64(x: f64) -> $t {
                x as $t
            }

            #[inline(always)]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }

            #[inline(always)]
            fn fma(self, b: $t, c: $t) -> $t {
                self.mul_add(b, c)
            }

            #[inline(always)]
            fn exp_fast(self) -> $t {
                const MIN: $t = $min;
                const MAX: $t = $max;
                // 1.5 * 2^(digits - 1): adding it leaves the nearest integer in the low bits.
                const MAGIC: $t = $magic;
                let x = if self < MIN { MIN } else { self };
                let x = if x > MAX { MAX } else { x };
                let t = x.mul_add(std::f64::consts::LOG2_E as $t, MAGIC);
                let n = t - MAGIC;
                let r = n.mul_add(-$high, x);
                let r = n.mul_add(-$low, r);
                let mut p = $poly[0];
                for c in &$poly[1..] {
                    p = p.mul_add(r, *c);
                }
                let p = p.mul_add(r * r, r) + 1.0;
                let scale = <$t>::from_bits((t.to_bits() << $shift).wrapping_add($one));
                if self < MIN { 0.0 } else { p * scale }
            }

            #[inline(always)]
            fn root(self) -> $t {
                self.sqrt()
            }

            #[inline(always)]
            fn finite(self) -> bool {
                self.is_finite()
            }
        }
    };
}

real!(f32, least -87.0, most 88.0, magic 12_582_912.0, ln2 0.693_359_4_f32, -2.121_944_4e-4_f32,
    shift 23, one 127 << 23, poly crate::math::EXP_POLY);
real!(f64, least -708.0, most 709.0, magic 6_755_399_441_055_744.0,
    ln2 f64::from_bits(0x3fe6_2e42_fee0_0000), f64::from_bits(0x3dea_39ef_3579_3c76),
    shift 52, one 1023 << 52, poly EXP_POLY_64);

/// 1 / k! for k from 13 down to 2: what is left out is below 1e-17 of the result for |r| <= ln 2 / 2.
const EXP_POLY_64: [f64; 12] = [
    1.0 / 6_227_020_800.0,
    1.0 / 479_001_600.0,
    1.0 / 39_916_800.0,
    1.0 / 3_628_800.0,
    1.0 / 362_880.0,
    1.0 / 40_320.0,
    1.0 / 5_040.0,
    1.0 / 720.0,
    1.0 / 120.0,
    1.0 / 24.0,
    1.0 / 6.0,
    0.5,
];

/// The lanes added along one fixed tree.
#[inline(always)]
fn tree<T: Real>(mut x: [T; REAL_LANES]) -> T {
    let mut width = REAL_LANES / 2;
    while width > 0 {
        for l in 0..width {
            x[l] += x[l + width];
        }
        width /= 2;
    }
    x[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_within_two_ulp() {
        for i in 0..200_000 {
            let x = -86.9 + 174.0 * f64::from(i) / 200_000.0;
            let exact = f64::from(x as f32).exp();
            let found = f64::from((x as f32).exp_fast());
            assert!((found / exact - 1.0).abs() < 2.4e-7, "{x}");
            assert!((x.exp_fast() / x.exp() - 1.0).abs() < 6e-16, "{x}");
            let far = x * 8.0;
            assert!((far.exp_fast() / far.exp() - 1.0).abs() < 6e-16, "{far}");
        }
    }

    #[test]
    fn the_far_ends_are_what_they_must_be() {
        assert_eq!(f32::NEG_INFINITY.exp_fast(), 0.0);
        assert_eq!(f64::NEG_INFINITY.exp_fast(), 0.0);
        assert_eq!((-1e30f32).exp_fast(), 0.0);
        assert_eq!((-709.0f64).exp_fast(), 0.0);
        assert_eq!((0.0f32.exp_fast(), 0.0f64.exp_fast()), (1.0, 1.0));
        assert!(f32::NAN.exp_fast().is_nan() && f64::NAN.exp_fast().is_nan());
        assert!(f32::INFINITY.exp_fast() > 1e38 && f64::INFINITY.exp_fast() > 1e307);
    }
}
