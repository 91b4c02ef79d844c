//! Products of rows of f32 with panels of f32.
//!
//! Layout: see [`super`]. Contract: a fused chain over the columns in order, starting at 0.
//! Measured: see [`super::product`].

use std::marker::PhantomData;

use super::product::Multiply;
use super::{Line, VECTORS};
use crate::lanes::Lanes;
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
        let x: [&[f32]; N] = std::array::from_fn(|n| &self.x[(r + n) * columns..][..columns]);
        let mut sums = [[L::zero(); V]; N];
        let mut at = panel.as_ptr().cast::<f32>().wrapping_add(vector * 16);
        for i in 0..columns {
            let mut w = [L::zero(); V];
            for v in 0..V {
                prefetch(at.cast::<u8>().wrapping_add(AHEAD + v * 64));
                // SAFETY: column i has four vectors of 16 in the panel, as asserted.
                w[v] = unsafe { L::load(at.add(v * 16)) };
            }
            for n in 0..N {
                // SAFETY: i < columns, the length of all rows.
                let x = L::splat(unsafe { *x[n].get_unchecked(i) });
                for v in 0..V {
                    sums[n][v] = w[v].fma(x, sums[n][v]);
                }
            }
            at = at.wrapping_add(VECTORS * 16);
        }
        sums
    }
}
