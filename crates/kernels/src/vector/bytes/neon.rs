//! The bytes in four NEON registers, multiplied by widening multiplies or by `sdot`.
//!
//! Layout: bytes 16q..16q + 16 in register q.
//! Contract: see [`super`]; products of 16 bits are added in pairs to 32 bits.
//! Measured: not measured on hardware; results under an emulator.

#![allow(
    unused_unsafe,
    reason = "most AArch64 targets have NEON on, and its intrinsics are safe there"
)]

use std::arch::aarch64::*;
use std::arch::asm;

use super::{Bytes, BytesBody, Task};

/// Runs `B` with NEON on.
///
/// # Safety
/// The machine has NEON; `n` readable bytes at `a` and at `b`.
#[target_feature(enable = "neon")]
pub(super) unsafe fn run<B: BytesBody>(a: *const i8, b: *const i8, n: usize) -> B::Out {
    // SAFETY: the caller's promise.
    unsafe { B::run::<Neon<false>>(a, b, n) }
}

/// Runs `task` with NEON on.
///
/// # Safety
/// The machine has NEON.
#[target_feature(enable = "neon")]
pub(super) unsafe fn run_task(task: impl Task) {
    // SAFETY: the features are on.
    unsafe { task.run::<Neon<false>>() }
}

/// Runs `B` with NEON and its dot products on.
///
/// # Safety
/// The machine has NEON and dotprod; `n` readable bytes at `a` and at `b`.
#[target_feature(enable = "neon,dotprod")]
pub(super) unsafe fn run_dot<B: BytesBody>(a: *const i8, b: *const i8, n: usize) -> B::Out {
    // SAFETY: the caller's promise.
    unsafe { B::run::<Neon<true>>(a, b, n) }
}

/// Runs `task` with NEON and its dot products on.
///
/// # Safety
/// The machine has NEON and dotprod.
#[target_feature(enable = "neon,dotprod")]
pub(super) unsafe fn run_task_dot(task: impl Task) {
    // SAFETY: the features are on.
    unsafe { task.run::<Neon<true>>() }
}

/// With `sdot` or without.
#[derive(Clone, Copy)]
struct Neon<const SDOT: bool>([int8x16_t; 4]);

/// Register-only intrinsics.
macro_rules! ops {
    ($e:expr) => {
        // SAFETY: a `Neon` exists only under `run` or `run_dot`, whose callers checked the features.
        unsafe { $e }
    };
}

impl<const SDOT: bool> Bytes for Neon<SDOT> {
    type Sum = int32x4_t;
    const BIAS: i32 = 0;

    #[inline(always)]
    fn zero() -> int32x4_t {
        ops!(vdupq_n_s32(0))
    }

    #[inline(always)]
    fn total(sum: int32x4_t) -> i32 {
        ops!(vaddvq_s32(sum))
    }

    #[inline(always)]
    fn plus_bias(a: int32x4_t, _: int32x4_t) -> int32x4_t {
        a
    }

    #[inline(always)]
    fn less_bias(a: int32x4_t, _: int32x4_t) -> int32x4_t {
        a
    }

    #[inline(always)]
    unsafe fn load(p: *const i8) -> Self {
        let mut x = [ops!(vdupq_n_s8(0)); 4];
        for q in 0..4 {
            // SAFETY: the caller promises 64 readable bytes.
            x[q] = unsafe { vld1q_s8(p.add(16 * q)) };
        }
        Neon(x)
    }

    #[inline(always)]
    fn dot(self, b: Self, mut sum: int32x4_t) -> int32x4_t {
        for q in 0..4 {
            let (a, b) = (self.0[q], b.0[q]);
            if SDOT {
                // SAFETY: `run_dot`'s caller checked dotprod; registers alone are touched.
                unsafe {
                    asm!(
                        "sdot {sum:v}.4s, {a:v}.16b, {b:v}.16b",
                        sum = inout(vreg) sum,
                        a = in(vreg) a,
                        b = in(vreg) b,
                        options(pure, nomem, nostack, preserves_flags),
                    );
                }
            } else {
                sum = ops!({
                    let low = vmull_s8(vget_low_s8(a), vget_low_s8(b));
                    vpadalq_s16(vpadalq_s16(sum, low), vmull_high_s8(a, b))
                });
            }
        }
        sum
    }

    #[inline(always)]
    fn sum(self, mut sum: int32x4_t) -> int32x4_t {
        for q in 0..4 {
            sum = ops!(vpadalq_s16(sum, vpaddlq_s8(self.0[q])));
        }
        sum
    }

    #[inline(always)]
    fn apart(mut self, b: Self) -> Self {
        for q in 0..4 {
            // The difference of the two, kept in 8 bits, is right as an unsigned number.
            self.0[q] = ops!(vabdq_s8(self.0[q], b.0[q]));
        }
        self
    }

    #[inline(always)]
    fn squares(self, sum: int32x4_t) -> int32x4_t {
        let mut sum = ops!(vreinterpretq_u32_s32(sum));
        for q in 0..4 {
            sum = ops!({
                let x = vreinterpretq_u8_s8(self.0[q]);
                let low = vmull_u8(vget_low_u8(x), vget_low_u8(x));
                vpadalq_u16(vpadalq_u16(sum, low), vmull_high_u8(x, x))
            });
        }
        ops!(vreinterpretq_s32_u32(sum))
    }

    #[inline(always)]
    fn sum_unsigned(self, sum: int32x4_t) -> int32x4_t {
        let mut sum = ops!(vreinterpretq_u32_s32(sum));
        for q in 0..4 {
            sum = ops!(vpadalq_u16(sum, vpaddlq_u8(vreinterpretq_u8_s8(self.0[q]))));
        }
        ops!(vreinterpretq_s32_u32(sum))
    }
}
