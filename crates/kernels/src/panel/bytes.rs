//! Products of rows of int8 with panels of int8.
//!
//! Layout: see [`super`]. Contract: acc = 0; for each chunk of 64 columns in order, with the exact
//! integer dot product: acc = fma(f32(dot), S s, acc), S the weight's scale and s the row's.
//! Measured: see [`super::product`].

use std::marker::PhantomData;

use super::product::{Multiply, Task};
use super::rows::PanelRows;
use super::{CHUNK, LINE, Line, VECTORS};
use crate::lanes::Lanes as _;
use crate::linear::prefetch;
use crate::packed::{Dots, IntBody};

/// Bytes ahead of the weights in use that are asked for.
const AHEAD: usize = 4096;
/// Steps of 4 columns in a chunk.
const STEPS: usize = CHUNK / 4;
/// Lines of a chunk of a panel.
const CHUNK_LINES: usize = VECTORS + STEPS * VECTORS;

/// A task over rows of int8.
pub(super) struct ByteTask<'a> {
    pub(super) task: &'a Task<'a>,
    pub(super) x: &'a PanelRows,
}

impl IntBody for ByteTask<'_> {
    #[inline(always)]
    fn run<D: Dots>(self) {
        self.task.run(Bytes::<D> {
            x: self.x,
            dots: PhantomData,
        });
    }
}

/// Rows of int8.
struct Bytes<'a, D> {
    x: &'a PanelRows,
    dots: PhantomData<D>,
}

impl<D: Dots> Multiply for Bytes<'_, D> {
    type Float = D::Float;
    const WIDE: bool = D::Float::WIDE;

    #[inline(always)]
    fn sums<const V: usize, const N: usize>(
        &self,
        panel: &[Line],
        vector: usize,
        r: usize,
    ) -> [[D::Float; V]; N] {
        let chunks = self.x.chunks();
        assert!(panel.len() == chunks * CHUNK_LINES && vector + V <= VECTORS);
        let x: [*const i8; N] = std::array::from_fn(|n| self.x.row(r + n).cast());
        let heads = std::array::from_fn::<_, N, _>(|n| self.x.heads(r + n));
        let mut acc = [[D::Float::zero(); V]; N];
        let mut at = panel.as_ptr().wrapping_add(vector).cast::<i8>();
        for c in 0..chunks {
            let scales = at.cast::<f32>();
            at = at.wrapping_add(VECTORS * LINE);
            let mut sums = [[D::zero(); V]; N];
            for n in 0..N {
                sums[n] = [D::start_bytes(heads[n][c].start); V];
            }
            for step in 0..STEPS {
                // SAFETY: a chunk has four lines for each step in the panel, as asserted, and 64
                // bytes in each row.
                unsafe {
                    let mut w = [D::weights(at); V];
                    for v in 0..V {
                        prefetch(at.wrapping_add(AHEAD + v * LINE));
                        w[v] = D::weights(at.add(v * LINE));
                    }
                    for n in 0..N {
                        let x = D::bytes(x[n].add(c * CHUNK + step * 4));
                        for v in 0..V {
                            sums[n][v] = sums[n][v].step_bytes(w[v], x);
                        }
                    }
                }
                at = at.wrapping_add(VECTORS * LINE);
            }
            for v in 0..V {
                // SAFETY: a chunk begins with four lines of scales.
                let scale = unsafe { D::Float::load(scales.add(v * 16)) };
                for n in 0..N {
                    let scale = scale.mul(D::Float::splat(heads[n][c].scale));
                    acc[n][v] = sums[n][v].total_bytes().fma(scale, acc[n][v]);
                }
            }
        }
        acc
    }
}
