//! Dot products of a tile with pairs of input rows, by `smmla`.
//!
//! Layout: the instruction multiplies two rows of 8 columns with two others and adds the four
//! results. Two neighbouring lines of a tile, zipped by their 4 columns, are two rows of weight in a
//! register; input rows are loaded two by two. The sums of a tile and a pair of input rows are
//! [`Squares`].
//! Contract: integers, exact modulo 2^32. Two input rows take both planes at once and so read the
//! weights once. More of them take the high plane first and, on top of its sums times 128, the low
//! one: so the sums of six rows fit in the registers.
//! Measured: not measured on hardware; bits under an emulator.

#![allow(
    unused_unsafe,
    reason = "most AArch64 targets have NEON on, and its intrinsics are safe there"
)]

use std::arch::aarch64::*;
use std::arch::asm;

use super::LOW;
use crate::linear::prefetch;
use crate::packed::{CHUNK, TILE};

/// Of the rows 2k and 2k + 1 of a tile, w and w', with two input rows x and x', in register k:
/// `[w x, w x', w' x, w' x']`.
type Squares = [int32x4_t; 8];

/// Register-only intrinsics.
macro_rules! ops {
    ($e:expr) => {
        // SAFETY: the callers of this file's functions checked the features.
        unsafe { $e }
    };
}

/// The dot products of `chunks` times 64 columns of a tile with N input rows, 2 to 6: the rows
/// 4i..4i + 4 of the tile in register i.
///
/// # Safety
/// The machine has i8mm. `chunks` times 1,024 readable bytes at `values`, and 128 at each of
/// `planes`.
#[inline(always)]
pub(super) unsafe fn totals<const N: usize>(
    values: *const i8,
    planes: [*const i8; N],
    chunks: usize,
    ahead: usize,
) -> [[int32x4_t; 4]; N] {
    // SAFETY: the caller's promise.
    unsafe {
        match N {
            2 => together(values, planes, chunks, ahead),
            3 | 4 => by_planes::<N, 2>(values, planes, chunks, ahead),
            _ => by_planes::<N, 3>(values, planes, chunks, ahead),
        }
    }
}

/// [`totals`] of two rows, both planes at once.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn together<const N: usize>(
    values: *const i8,
    planes: [*const i8; N],
    chunks: usize,
    ahead: usize,
) -> [[int32x4_t; 4]; N] {
    let high = pairs::<N, 1>(planes)[0];
    let low = high.map(|x| x.wrapping_add(LOW));
    let mut sums = [[ops!(vdupq_n_s32(0)); 8]; 2];
    // SAFETY: the caller's promise.
    unsafe { add(&mut sums, values, [high, low], chunks, ahead) };
    let mut both = sums[1];
    for k in 0..8 {
        both[k] = ops!(vaddq_s32(both[k], vshlq_n_s32::<7>(sums[0][k])));
    }
    rows([both])
}

/// [`totals`] of at most PAIRS pairs of rows, one plane after the other.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn by_planes<const N: usize, const PAIRS: usize>(
    values: *const i8,
    planes: [*const i8; N],
    chunks: usize,
    ahead: usize,
) -> [[int32x4_t; 4]; N] {
    let high = pairs::<N, PAIRS>(planes);
    let low = high.map(|x| x.map(|x| x.wrapping_add(LOW)));
    let mut sums = [[ops!(vdupq_n_s32(0)); 8]; PAIRS];
    // SAFETY: the caller's promise.
    unsafe { add(&mut sums, values, high, chunks, ahead) };
    for p in 0..PAIRS {
        for k in 0..8 {
            sums[p][k] = ops!(vshlq_n_s32::<7>(sums[p][k]));
        }
    }
    // SAFETY: as above; the weights are in the first cache now.
    unsafe { add(&mut sums, values, low, chunks, 0) };
    rows(sums)
}

/// N rows two by two; the last one stands in for those that are missing.
#[inline(always)]
fn pairs<const N: usize, const PAIRS: usize>(planes: [*const i8; N]) -> [[*const i8; 2]; PAIRS] {
    let mut x = [[planes[0]; 2]; PAIRS];
    for p in 0..PAIRS {
        for i in 0..2 {
            x[p][i] = planes[(2 * p + i).min(N - 1)];
        }
    }
    x
}

/// The sums of each of N input rows.
#[inline(always)]
fn rows<const N: usize, const PAIRS: usize>(sums: [Squares; PAIRS]) -> [[int32x4_t; 4]; N] {
    let mut rows = [[ops!(vdupq_n_s32(0)); 4]; N];
    for n in 0..N {
        let sums = sums[(n / 2).min(PAIRS - 1)];
        for i in 0..4 {
            let (a, b) = (sums[2 * i], sums[2 * i + 1]);
            rows[n][i] = match n % 2 {
                0 => ops!(vuzp1q_s32(a, b)),
                _ => ops!(vuzp2q_s32(a, b)),
            };
        }
    }
    rows
}

/// Adds the products of one plane of PAIRS pairs of input rows, those at `x`.
///
/// # Safety
/// As [`totals`], and 64 readable bytes in every 128 at each of `x`.
#[inline(always)]
unsafe fn add<const PAIRS: usize>(
    sums: &mut [Squares; PAIRS],
    mut values: *const i8,
    mut x: [[*const i8; 2]; PAIRS],
    chunks: usize,
    ahead: usize,
) {
    for _ in 0..chunks {
        for c in (0..CHUNK).step_by(8) {
            let (w, next) = (
                values.wrapping_add(c * TILE),
                values.wrapping_add(c * TILE + CHUNK),
            );
            prefetch(w.wrapping_add(ahead));
            prefetch(next.wrapping_add(ahead));
            let mut inputs = [ops!(vdupq_n_s8(0)); PAIRS];
            for p in 0..PAIRS {
                // SAFETY: the caller's promise.
                inputs[p] =
                    unsafe { vcombine_s8(vld1_s8(x[p][0].add(c)), vld1_s8(x[p][1].add(c))) };
            }
            for i in 0..4 {
                // SAFETY: the caller's promise.
                let [first, second] = unsafe { zipped(w.add(16 * i), next.add(16 * i)) };
                for p in 0..PAIRS {
                    sums[p][2 * i] = smmla(sums[p][2 * i], first, inputs[p]);
                    sums[p][2 * i + 1] = smmla(sums[p][2 * i + 1], second, inputs[p]);
                }
            }
        }
        values = values.wrapping_add(CHUNK * TILE);
        x = x.map(|x| x.map(|x| x.wrapping_add(2 * CHUNK)));
    }
}

/// 8 columns of two rows of weight, and of the two below, of which `p` has the first four columns
/// and `next` the others.
///
/// # Safety
/// 16 readable bytes at each.
#[inline(always)]
unsafe fn zipped(p: *const i8, next: *const i8) -> [int8x16_t; 2] {
    // SAFETY: the caller's promise.
    unsafe {
        let (p, next) = (
            vreinterpretq_s32_s8(vld1q_s8(p)),
            vreinterpretq_s32_s8(vld1q_s8(next)),
        );
        [
            vreinterpretq_s8_s32(vzip1q_s32(p, next)),
            vreinterpretq_s8_s32(vzip2q_s32(p, next)),
        ]
    }
}

/// `sum` and the products of two rows of weight with two input rows, over 8 columns.
#[inline(always)]
fn smmla(mut sum: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
    // The intrinsic is not stable yet.
    // SAFETY: registers only; the caller of `totals` checked i8mm.
    unsafe {
        asm!(
            "smmla {sum:v}.4s, {w:v}.16b, {x:v}.16b",
            sum = inout(vreg) sum,
            w = in(vreg) w,
            x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}
