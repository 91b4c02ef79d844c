//! Dot products by NEON, with `sdot` or without.
//!
//! Layout: rows 4i..4i + 4 in register i of each plane.
//! Contract: see [`super`]. `sdot` multiplies signed by signed bytes and adds four products in 32
//! bits; without it, products of 16 bits (at most 128 * 127) are added in pairs, twice.
//! Measured: not measured.

#![allow(
    unused_unsafe,
    reason = "most AArch64 targets have NEON on, and its intrinsics are safe there"
)]

use std::arch::aarch64::*;
use std::arch::asm;

use super::{Dots, LOW};
use crate::lanes::neon::Neon as Lanes4;
use crate::packed::int_isa::IntBody;

/// Runs `body` with NEON on.
///
/// # Safety
/// The machine has NEON.
#[target_feature(enable = "neon")]
pub(crate) unsafe fn run<B: IntBody>(body: B) {
    body.run::<Neon<false>>();
}

/// Runs `body` with NEON and its dot products on.
///
/// # Safety
/// The machine has NEON and dotprod.
#[target_feature(enable = "neon,dotprod")]
pub(crate) unsafe fn run_dot<B: IntBody>(body: B) {
    body.run::<Neon<true>>();
}

/// The sums of w hi and of w lo, by `sdot` or not.
#[derive(Clone, Copy)]
pub(crate) struct Neon<const SDOT: bool> {
    hi: [int32x4_t; 4],
    lo: [int32x4_t; 4],
}

/// Register-only intrinsics.
macro_rules! ops {
    ($e:expr) => {
        // SAFETY: a `Neon` exists only under `run` or `run_dot`, whose callers checked the
        // features.
        unsafe { $e }
    };
}

impl<const SDOT: bool> Dots for Neon<SDOT> {
    type Float = Lanes4;
    type Weights = [int8x16_t; 4];
    type Inputs = (int8x16_t, int8x16_t);
    const TILES: usize = 1;
    const ROWS: usize = 3;

    #[inline(always)]
    fn zero() -> Self {
        let zero = [ops!(vdupq_n_s32(0)); 4];
        Neon { hi: zero, lo: zero }
    }

    #[inline(always)]
    unsafe fn weights(p: *const i8) -> [int8x16_t; 4] {
        // SAFETY: the caller promises 64 readable bytes.
        unsafe {
            [
                vld1q_s8(p),
                vld1q_s8(p.add(16)),
                vld1q_s8(p.add(32)),
                vld1q_s8(p.add(48)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn inputs(p: *const i8) -> (int8x16_t, int8x16_t) {
        // SAFETY: the caller promises 4 readable bytes here and 4 there.
        unsafe {
            let hi = p.cast::<i32>().read_unaligned();
            let lo = p.add(LOW).cast::<i32>().read_unaligned();
            (
                vreinterpretq_s8_s32(vdupq_n_s32(hi)),
                vreinterpretq_s8_s32(vdupq_n_s32(lo)),
            )
        }
    }

    #[inline(always)]
    fn step(mut self, w: [int8x16_t; 4], (hi, lo): (int8x16_t, int8x16_t)) -> Self {
        for i in 0..4 {
            if SDOT {
                self.hi[i] = sdot(self.hi[i], w[i], hi);
                self.lo[i] = sdot(self.lo[i], w[i], lo);
            } else {
                self.hi[i] = widened(self.hi[i], w[i], hi);
                self.lo[i] = widened(self.lo[i], w[i], lo);
            }
        }
        self
    }

    #[inline(always)]
    fn merge(mut self, other: Self) -> Self {
        for i in 0..4 {
            self.hi[i] = ops!(vaddq_s32(self.hi[i], other.hi[i]));
            self.lo[i] = ops!(vaddq_s32(self.lo[i], other.lo[i]));
        }
        self
    }

    #[inline(always)]
    fn total(self, _: i32) -> Lanes4 {
        let mut total = [ops!(vdupq_n_f32(0.0)); 4];
        for i in 0..4 {
            total[i] = ops!(vcvtq_f32_s32(vaddq_s32(
                vshlq_n_s32::<7>(self.hi[i]),
                self.lo[i]
            )));
        }
        Lanes4(total)
    }
}

/// sum + the four products of each lane.
#[inline(always)]
fn sdot(mut sum: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
    // The intrinsic is not stable yet.
    // SAFETY: registers only; `Neon<true>` exists only under `run_dot`, whose caller checked
    // dotprod.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {w:v}.16b, {x:v}.16b",
            sum = inout(vreg) sum,
            w = in(vreg) w,
            x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}

/// As [`sdot`], by widening multiplies.
#[inline(always)]
fn widened(sum: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
    ops!({
        let low = vpaddlq_s16(vmull_s8(vget_low_s8(w), vget_low_s8(x)));
        let high = vpaddlq_s16(vmull_high_s8(w, x));
        vaddq_s32(sum, vpaddq_s32(low, high))
    })
}
