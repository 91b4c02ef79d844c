//! The bytes in plain Rust: what the other implementations must equal.
//!
//! Layout: an array. Contract: see [`super`]. Measured: not measured; right, not fast.

use super::{Bytes, WIDTH};

#[derive(Clone, Copy)]
pub(super) struct Scalar([i8; WIDTH]);

impl Scalar {
    #[inline(always)]
    fn unsigned(self) -> impl Iterator<Item = i32> {
        self.0.into_iter().map(|x| i32::from(x as u8))
    }
}

impl Bytes for Scalar {
    type Sum = i32;
    const BIAS: i32 = 0;

    #[inline(always)]
    fn zero() -> i32 {
        0
    }

    #[inline(always)]
    fn total(sum: i32) -> i32 {
        sum
    }

    #[inline(always)]
    fn plus_bias(a: i32, _: i32) -> i32 {
        a
    }

    #[inline(always)]
    fn less_bias(a: i32, _: i32) -> i32 {
        a
    }

    #[inline(always)]
    unsafe fn load(p: *const i8) -> Self {
        // SAFETY: the caller promises 64 readable bytes.
        Scalar(unsafe { p.cast::<[i8; WIDTH]>().read_unaligned() })
    }

    #[inline(always)]
    fn dot(self, b: Self, sum: i32) -> i32 {
        let products = self.0.into_iter().zip(b.0);
        sum + products
            .map(|(a, b)| i32::from(a) * i32::from(b))
            .sum::<i32>()
    }

    #[inline(always)]
    fn sum(self, sum: i32) -> i32 {
        sum + self.0.into_iter().map(i32::from).sum::<i32>()
    }

    #[inline(always)]
    fn apart(mut self, b: Self) -> Self {
        for (a, b) in self.0.iter_mut().zip(b.0) {
            *a = a.abs_diff(b) as i8;
        }
        self
    }

    #[inline(always)]
    fn squares(self, sum: i32) -> i32 {
        sum + self.unsigned().map(|x| x * x).sum::<i32>()
    }

    #[inline(always)]
    fn sum_unsigned(self, sum: i32) -> i32 {
        sum + self.unsigned().sum::<i32>()
    }
}
