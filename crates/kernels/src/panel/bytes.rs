//! Products of rows of int8 with panels of int8.
//!
//! Layout: see [`super`]. Contract: acc = 0; for each chunk of 128 columns in order, with the exact
//! integer dot product: acc = fma(f32(dot), S s, acc), S the weight's scale and s the row's.
//! Measured: AMD EPYC (Zen 5, family 26 model 2), one thread, loops of their own over 480 rows: 950 GOP/s at 384
//! columns and 920 at 1,536 where the instruction alone keeps 1,070; without the floats of each chunk of columns 1,020
//! and 990. Tiles of five rows 910 and 900 to 920, of six 880 and 910, of three 960 and 880. A scale for each 64
//! columns instead costs 8 %: the sums in f32 have no room in registers.

use std::marker::PhantomData;

use super::product::{Multiply, Task};
use super::rows::{Head, PanelRows};
use super::{CHUNK, LINE, Line, VECTORS};
use crate::lanes::Lanes as _;
use crate::linear::prefetch;
use crate::packed::{Dots, IntBody};

/// Bytes ahead of the weights in use that are asked for.
const AHEAD: usize = 4096;
/// Rows of a tile: beside their sums in f32, which no register has room for, those of four are fastest.
pub(super) const ROWS: usize = 4;
/// Steps of 4 columns in a chunk.
const STEPS: usize = CHUNK / 4;
/// Steps that are written out: a loop around each costs a tenth.
const UNROLLED: usize = 4;
/// Lines of a chunk of a panel.
pub(super) const CHUNK_LINES: usize = VECTORS + STEPS * VECTORS;

/// A task over rows of int8.
pub(super) struct ByteTask<'a> {
    pub(super) task: &'a Task<'a>,
    pub(super) x: &'a PanelRows,
    /// For sums.
    pub(super) room: &'a mut [f32],
}

impl IntBody for ByteTask<'_> {
    #[inline(always)]
    fn run<D: Dots>(self) {
        let rows = Bytes::<D> {
            x: self.x.row(0).cast(),
            heads: self.x.heads(),
            row_bytes: self.x.row_bytes(),
            chunks: self.x.chunks(),
            rows: PhantomData,
        };
        self.task.run(rows, self.room);
    }
}

/// Rows of int8.
struct Bytes<'a, D> {
    x: *const i8,
    /// Those of a row and then of the next.
    heads: &'a [Head],
    row_bytes: usize,
    /// Of a row.
    chunks: usize,
    rows: PhantomData<(&'a PanelRows, D)>,
}

impl<D: Dots> Multiply for Bytes<'_, D> {
    type Float = D::Float;
    const WIDE: bool = D::Float::WIDE;
    const ROWS: usize = ROWS;

    #[inline(always)]
    fn sums<const V: usize, const N: usize>(
        &self,
        panel: &[Line],
        vector: usize,
        r: usize,
    ) -> [[D::Float; V]; N] {
        let chunks = self.chunks;
        assert!(panel.len() == chunks * CHUNK_LINES && vector + V <= VECTORS);
        let heads = &self.heads[r * chunks..(r + N) * chunks];
        let x = self.x.wrapping_add(r * self.row_bytes);
        let x: [*const i8; N] = std::array::from_fn(|n| x.wrapping_add(n * self.row_bytes));
        let heads: [*const Head; N] =
            std::array::from_fn(|n| heads.as_ptr().wrapping_add(n * chunks));
        let mut acc = [[D::Float::zero(); V]; N];
        let mut at = panel.as_ptr().wrapping_add(vector).cast::<i8>();
        for c in 0..chunks {
            let scales = at.cast::<f32>();
            at = at.wrapping_add(VECTORS * LINE);
            let mut sums = [[D::zero(); V]; N];
            for n in 0..N {
                // SAFETY: a row has a head for each chunk.
                sums[n] = [D::start_bytes(unsafe { (*heads[n].add(c)).start }); V];
            }
            for steps in (0..STEPS).step_by(UNROLLED) {
                for step in steps..steps + UNROLLED {
                    // SAFETY: a chunk has four lines for each step in the panel, as asserted, and 128
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
            }
            for v in 0..V {
                // SAFETY: a chunk begins with four lines of scales.
                let scale = unsafe { D::Float::load(scales.add(v * 16)) };
                for n in 0..N {
                    // SAFETY: as above.
                    let of_row = unsafe { (*heads[n].add(c)).scale };
                    let scale = scale.mul(D::Float::splat(of_row));
                    acc[n][v] = sums[n][v].total_bytes().fma(scale, acc[n][v]);
                }
            }
        }
        acc
    }
}
