//! Sixteen running dot products of signed bytes, one for each row of a tile.
//!
//! Layout: a step takes 64 bytes of weight (4 columns of 16 rows, row r at 4 r) and 4 columns of an
//! input row in two planes, v = 128 hi + lo.
//! Contract: after the steps of a block (at most 64) [`Dots::total`] is the sum of w v as f32,
//! rounded once from the exact integer, which is below 2^30. What a type keeps in between is its
//! own affair: all of it is integers, so the order of steps does not matter. For any w, hi in
//! -127..=127 and lo in 0..=127.
//! Measured: see [`super::linear`].

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512_vnni;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx_vnni;
#[cfg(target_arch = "aarch64")]
mod i8mm;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
pub(crate) mod nibbles;
mod scalar;

pub(crate) use nibbles::{ChunkSums, Nibbles, SubSum};
pub(crate) use scalar::Scalar;

use super::{CHUNK, TILE};
use crate::lanes::Lanes;
use crate::linear::prefetch;

/// Bytes from the high plane of 4 columns to the low plane of the same.
pub(crate) const LOW: usize = CHUNK;

/// Sixteen running dot products.
pub(crate) trait Dots: Copy {
    /// The lanes of f32 that their totals come in.
    type Float: Lanes;
    /// 64 bytes of weight, made ready.
    type Weights: Copy;
    /// 4 columns of an input row, made ready.
    type Inputs: Copy;
    /// Tiles of weight that many input rows are multiplied with at once: 1 or 2.
    const TILES: usize;
    /// Input rows that stay in registers beside them: 1 to 6.
    const ROWS: usize;
    /// Input rows that raw weights of 4 bits are multiplied with at once: 1 to 4; 0 where they are
    /// expanded first.
    const NIBBLE_ROWS: usize = 0;

    fn zero() -> Self;

    /// # Safety
    /// 64 readable bytes at `p`.
    unsafe fn weights(p: *const i8) -> Self::Weights;

    /// # Safety
    /// 4 readable bytes at `p`, the high plane, and at `p` + [`LOW`], the low one.
    unsafe fn inputs(p: *const i8) -> Self::Inputs;

    /// Adds 4 columns.
    fn step(self, w: Self::Weights, x: Self::Inputs) -> Self;

    /// 4 columns of a row of bytes alone, made ready.
    type Bytes: Copy;

    /// Nothing added yet, for rows of bytes; `start` is -128 times the sum of the bytes to come.
    #[inline(always)]
    fn start_bytes(start: i32) -> Self {
        let _ = start;
        Self::zero()
    }

    /// # Safety
    /// 4 readable bytes at `p`.
    unsafe fn bytes(p: *const i8) -> Self::Bytes;

    /// Adds 4 columns of bytes in -127..=127.
    fn step_bytes(self, w: Self::Weights, x: Self::Bytes) -> Self;

    /// The totals of such steps.
    fn total_bytes(self) -> Self::Float;

    /// Adds what another accumulator has of the same rows.
    fn merge(self, other: Self) -> Self;

    /// The dot products of `chunks` times 64 columns of T tiles with N input rows, each in P sums or
    /// as it suits the type. While it reads the weights it asks for what lies `ahead` of each.
    ///
    /// # Safety
    /// `chunks` times 1,024 readable bytes at each of `values`, and 128 at each of `planes`.
    #[inline(always)]
    unsafe fn dots<const T: usize, const N: usize, const P: usize>(
        values: [*const i8; T],
        planes: [*const i8; N],
        chunks: usize,
        ahead: [usize; T],
    ) -> [[Self; N]; T] {
        // SAFETY: the caller's promise.
        unsafe { steps::<Self, T, N, P>(values, planes, chunks, ahead) }
    }

    /// Adds 64 columns of 4 bits in sub-blocks of SUB, 16 or 32, with N input rows. The totals of
    /// such sums are taken with a sum of 0. Asked only of types with [`Dots::NIBBLE_ROWS`].
    ///
    /// # Safety
    /// 16 readable bytes at `z` for each sub-block and at `m` for each two, 512 at `q`; 128 at each of
    /// `x`, and one at each of `sums`.
    #[inline(always)]
    unsafe fn nibbles<const SUB: usize, const N: usize>(
        _: &mut [Self; N],
        _: Nibbles,
        _: [*const i8; N],
        _: [*const ChunkSums; N],
    ) {
        unreachable!("weights are expanded for this type");
    }

    /// Expands 64 columns of 4 bits in sub-blocks of SUB, 16 or 32: 64 bytes for each 4 columns.
    ///
    /// # Safety
    /// As [`Dots::nibbles`], of the weight.
    #[inline(always)]
    unsafe fn expand<const SUB: usize>(w: Nibbles, out: &mut [i8; CHUNK * TILE]) {
        // SAFETY: the caller's promise.
        unsafe { nibbles::expand::<SUB>(w, out) };
    }

    /// The totals, `sum` being the sum of v over the block.
    fn total(self, sum: i32) -> Self::Float;
}

/// [`Dots::dots`] by steps.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn steps<D: Dots, const T: usize, const N: usize, const P: usize>(
    mut values: [*const i8; T],
    mut planes: [*const i8; N],
    chunks: usize,
    ahead: [usize; T],
) -> [[D; N]; T] {
    let mut sums = [[[D::zero(); P]; N]; T];
    for _ in 0..chunks {
        for step in (0..CHUNK / 4).step_by(P) {
            for p in 0..P {
                let (w_at, x_at) = ((step + p) * 4 * TILE, (step + p) * 4);
                // SAFETY: the caller's promise.
                let mut w = [unsafe { D::weights(values[0].add(w_at)) }; T];
                for t in 0..T {
                    let at = values[t].wrapping_add(w_at);
                    prefetch(at.wrapping_add(ahead[t]));
                    // SAFETY: as above.
                    w[t] = unsafe { D::weights(at) };
                }
                for n in 0..N {
                    // SAFETY: as above.
                    let x = unsafe { D::inputs(planes[n].add(x_at)) };
                    for t in 0..T {
                        sums[t][n][p] = sums[t][n][p].step(w[t], x);
                    }
                }
            }
        }
        for values in &mut values {
            *values = values.wrapping_add(CHUNK * TILE);
        }
        for planes in &mut planes {
            *planes = planes.wrapping_add(2 * CHUNK);
        }
    }
    let mut totals = [[D::zero(); N]; T];
    for t in 0..T {
        for n in 0..N {
            for p in 0..P {
                totals[t][n] = totals[t][n].merge(sums[t][n][p]);
            }
        }
    }
    totals
}
