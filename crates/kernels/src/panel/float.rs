//! Products of rows of f32 with panels of f32.
//!
//! Layout: see [`super`]. Contract: a fused chain over the columns in order, starting at 0.
//! Measured: see [`super::product`].

use std::marker::PhantomData;

use super::product::Multiply;
use super::{LINE, Line, VECTORS};
use crate::lanes::{LANES, Lanes};
use crate::linear::prefetch;

/// Bytes ahead of the weights in use that are asked for.
pub(super) const AHEAD: usize = 4096;

/// Rows of f32.
#[derive(Clone, Copy)]
pub(super) struct Floats<'a, L> {
    pub(super) x: &'a [f32],
    pub(super) columns: usize,
    pub(super) lanes: PhantomData<L>,
}

impl<L: Lanes> Multiply for Floats<'_, L> {
    type Float = L;
    const WIDE: bool = L::WIDE;

    #[inline(always)]
    fn sums<const V: usize, const N: usize>(
        &self,
        panel: &[Line],
        vector: usize,
        r: usize,
    ) -> [[L; V]; N] {
        let columns = self.columns;
        assert!(panel.len() == columns * VECTORS && vector + V <= VECTORS);
        let x: [*const f32; N] =
            std::array::from_fn(|n| self.x[(r + n) * columns..][..columns].as_ptr());
        let panel = panel.as_ptr().cast::<f32>().wrapping_add(vector * LANES);
        // SAFETY: column i has four vectors in the panel, and each row has all columns.
        unsafe { chain::<L, V, N, 1>(panel, VECTORS * LANES, x, columns) }
    }
}

/// V vectors of outputs of N rows: `w` has V vectors for each of `columns` columns, `stride` floats
/// apart, and a row's columns are `S` floats apart. Asks for what lies ahead of them.
///
/// # Safety
/// As many readable floats at `w`, and `columns` at each of `x`.
#[inline(always)]
pub(crate) unsafe fn chain<L: Lanes, const V: usize, const N: usize, const S: usize>(
    w: *const f32,
    stride: usize,
    x: [*const f32; N],
    columns: usize,
) -> [[L; V]; N] {
    let mut sums = [[L::zero(); V]; N];
    let mut at = w;
    for i in 0..columns {
        let mut w = [L::zero(); V];
        for v in 0..V {
            prefetch(at.cast::<u8>().wrapping_add(AHEAD + v * LINE));
            // SAFETY: the caller's promise.
            w[v] = unsafe { L::load(at.add(v * LANES)) };
        }
        for n in 0..N {
            // SAFETY: the caller's promise.
            let x = L::splat(unsafe { *x[n].add(i * S) });
            for v in 0..V {
                sums[n][v] = w[v].fma(x, sums[n][v]);
            }
        }
        at = at.wrapping_add(stride);
    }
    sums
}
