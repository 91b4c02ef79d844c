//! Dot products by NEON: by widening multiplies, by `sdot`, or by `sdot` and `smmla`.
//!
//! Layout: rows 4i..4i + 4 in register i of each plane.
//! Contract: see [`super`]. `sdot` multiplies signed by signed bytes and adds four products in 32
//! bits; without it, products of 16 bits (at most 128 * 127) are added in pairs, twice. Two and more
//! input rows meet weights of int8 in `smmla` where there is one, see [`super::i8mm`].
//! Raw nibbles are as good a signed side as int8; a sub-block's sums of both planes, of which -8
//! times that of the input is the start, become one, which is multiplied in 32 bits.
//! Measured: not measured on hardware; bits under an emulator.

#![allow(
    unused_unsafe,
    reason = "most AArch64 targets have NEON on, and its intrinsics are safe there"
)]

use std::arch::aarch64::*;
use std::arch::asm;

use super::{ChunkSums, Dots, LOW, Nibbles, SubSum, i8mm, steps};
use crate::lanes::neon::Neon as Lanes4;
use crate::packed::int_isa::IntBody;
use crate::packed::{CHUNK, TILE};

/// Runs `body` with NEON on.
///
/// # Safety
/// The machine has NEON.
#[target_feature(enable = "neon")]
pub(crate) unsafe fn run<B: IntBody>(body: B) {
    body.run::<Neon<false, false>>();
}

/// Runs `body` with NEON and its dot products on.
///
/// # Safety
/// The machine has NEON and dotprod.
#[target_feature(enable = "neon,dotprod")]
pub(crate) unsafe fn run_dot<B: IntBody>(body: B) {
    body.run::<Neon<true, false>>();
}

/// Runs `body` with NEON, its dot products and its products of matrices on.
///
/// # Safety
/// The machine has NEON, dotprod and i8mm.
#[target_feature(enable = "neon,dotprod,i8mm")]
pub(crate) unsafe fn run_i8mm<B: IntBody>(body: B) {
    body.run::<Neon<true, true>>();
}

/// The sums of w hi and of w lo, by `sdot` and `smmla` or not.
#[derive(Clone, Copy)]
pub(crate) struct Neon<const SDOT: bool, const SMMLA: bool> {
    hi: [int32x4_t; 4],
    lo: [int32x4_t; 4],
}

/// Register-only intrinsics.
macro_rules! ops {
    ($e:expr) => {
        // SAFETY: a `Neon` exists only under `run`, `run_dot` or `run_i8mm`, whose callers checked
        // the features.
        unsafe { $e }
    };
}

impl<const SDOT: bool, const SMMLA: bool> Dots for Neon<SDOT, SMMLA> {
    type Float = Lanes4;
    type Weights = [int8x16_t; 4];
    type Inputs = (int8x16_t, int8x16_t);
    type Bytes = int8x16_t;
    const TILES: usize = 1;
    const ROWS: usize = if SMMLA { 6 } else { 3 };
    const NIBBLE_ROWS: usize = 2;

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
    unsafe fn bytes(p: *const i8) -> int8x16_t {
        // SAFETY: the caller promises 4 readable bytes.
        unsafe { vreinterpretq_s8_s32(vdupq_n_s32(p.cast::<i32>().read_unaligned())) }
    }

    #[inline(always)]
    fn step_bytes(mut self, w: [int8x16_t; 4], x: int8x16_t) -> Self {
        for i in 0..4 {
            self.hi[i] = match SDOT {
                true => sdot(self.hi[i], w[i], x),
                false => widened(self.hi[i], w[i], x),
            };
        }
        self
    }

    #[inline(always)]
    fn total_bytes(self) -> Lanes4 {
        Lanes4(self.hi.map(|hi| ops!(vcvtq_f32_s32(hi))))
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
    unsafe fn dots<const T: usize, const N: usize, const P: usize>(
        values: [*const i8; T],
        planes: [*const i8; N],
        chunks: usize,
        ahead: [usize; T],
    ) -> [[Self; N]; T] {
        if !SMMLA || N == 1 {
            // More sums of a row than two would not leave registers for the weights.
            // SAFETY: the caller's promise.
            return unsafe {
                match (N, P) {
                    (1, 2..) => steps::<Self, T, N, 2>(values, planes, chunks, ahead),
                    _ => steps::<Self, T, N, 1>(values, planes, chunks, ahead),
                }
            };
        }
        let mut all = [[Self::zero(); N]; T];
        for t in 0..T {
            // SAFETY: the caller's promise; with SMMLA, `run_i8mm`'s caller checked i8mm.
            let totals = unsafe { i8mm::totals(values[t], planes, chunks, ahead[t]) };
            for n in 0..N {
                all[t][n].lo = totals[n];
            }
        }
        all
    }

    #[inline(always)]
    unsafe fn nibbles<const SUB: usize, const N: usize>(
        acc: &mut [Self; N],
        w: Nibbles,
        x: [*const i8; N],
        sums: [*const ChunkSums; N],
    ) {
        for j in 0..CHUNK / SUB {
            // SAFETY: the caller's promise.
            let sums: [SubSum; N] = sums.map(|sums| unsafe { (*sums).of::<SUB>(j) });
            let mut sub = [Self::zero(); N];
            for n in 0..N {
                sub[n].hi = [ops!(vdupq_n_s32(sums[n].start[0])); 4];
                sub[n].lo = [ops!(vdupq_n_s32(sums[n].start[1])); 4];
            }
            for c in (j * SUB..(j + 1) * SUB).step_by(8) {
                // SAFETY: the caller's promise.
                let (low, high) = unsafe { halves(w.q.add(c * 8)) };
                for n in 0..N {
                    for (q, at) in [(low, c), (high, c + 4)] {
                        // SAFETY: the caller's promise.
                        let x = unsafe { Self::inputs(x[n].add(at)) };
                        sub[n] = sub[n].step(q, x);
                    }
                }
            }
            // SAFETY: the caller's promise.
            let (m, z) = unsafe { affine(w, j) };
            for n in 0..N {
                let both = sums[n].both;
                let sum = 128 * i32::from(both as i16) + (both >> 16);
                for i in 0..4 {
                    acc[n].lo[i] = ops!({
                        let dot = vmlaq_n_s32(sub[n].lo[i], sub[n].hi[i], 128);
                        vmlaq_n_s32(vmlaq_s32(acc[n].lo[i], dot, m[i]), z[i], sum)
                    });
                }
            }
        }
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
    // SAFETY: registers only; with SDOT a `Neon` exists only under `run_dot` and `run_i8mm`, whose
    // callers checked dotprod.
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

/// The low and the high nibbles of 64 bytes.
///
/// # Safety
/// 64 readable bytes at `p`.
#[inline(always)]
unsafe fn halves(p: *const u8) -> ([int8x16_t; 4], [int8x16_t; 4]) {
    let (mut low, mut high) = ([ops!(vdupq_n_s8(0)); 4], [ops!(vdupq_n_s8(0)); 4]);
    for i in 0..4 {
        // SAFETY: the caller's promise.
        let q = unsafe { vld1q_u8(p.add(16 * i)) };
        low[i] = ops!(vreinterpretq_s8_u8(vandq_u8(q, vdupq_n_u8(15))));
        high[i] = ops!(vreinterpretq_s8_u8(vshrq_n_u8::<4>(q)));
    }
    (low, high)
}

/// m and z of sub-block `j`, in 32 bits.
///
/// # Safety
/// As [`Dots::nibbles`].
#[inline(always)]
unsafe fn affine(w: Nibbles, j: usize) -> ([int32x4_t; 4], [int32x4_t; 4]) {
    // SAFETY: the caller's promise.
    let (m, z) = unsafe { (vld1q_u8(w.m.add(j / 2 * TILE)), vld1q_s8(w.z.add(j * TILE))) };
    let m = match j % 2 {
        0 => ops!(vandq_u8(m, vdupq_n_u8(15))),
        _ => ops!(vshrq_n_u8::<4>(m)),
    };
    (wide(ops!(vreinterpretq_s8_u8(m))), wide(z))
}

/// `x` in 32 bits.
#[inline(always)]
fn wide(x: int8x16_t) -> [int32x4_t; 4] {
    ops!({
        let (low, high) = (vmovl_s8(vget_low_s8(x)), vmovl_high_s8(x));
        [
            vmovl_s16(vget_low_s16(low)),
            vmovl_high_s16(low),
            vmovl_s16(vget_low_s16(high)),
            vmovl_high_s16(high),
        ]
    })
}
