//! The rows of a text become one row.
//!
//! Layout: `[rows, width]`; a text is a range of rows, and texts ascend. Contract: a column's sum, or its greatest value, goes
//! through the rows in order, lane by lane; then it is divided by their number, by its square root, or by the sum of weights,
//! which are whole numbers, added exactly.
//! Measured: not measured; it reads each value once.

use std::ops::Range;

use crate::cpu::Cpu;
use crate::lanes::{Body, LANES, Lanes};
use crate::parts::Parts;
use crate::spans::check_rows;

/// How rows become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolKind {
    /// The first one.
    First,
    /// The last one.
    Last,
    /// Their mean.
    Mean,
    /// The greatest value of each column.
    Max,
    /// Their sum over the square root of their number.
    MeanSqrtLen,
    /// Their mean, a row counting as often as its position says, from 1.
    WeightedMean,
}

/// `out[t]` is the row that the rows `texts[t]` of `x` make. `x`: `[rows, width]`; `positions`: of each row, from 0; `out`:
/// `[texts.len(), width]`.
///
/// # Panics
/// If a length does not fit, a text has no row, or the texts' rows do not ascend inside of `x`.
pub fn pool_rows(
    cpu: &Cpu,
    kind: PoolKind,
    (texts, positions): (&[Range<usize>], &[u32]),
    x: &[f32],
    width: usize,
    out: &mut [f32],
) {
    assert!(
        width > 0 && x.len().is_multiple_of(width),
        "rows of {width} in {} values",
        x.len()
    );
    assert_eq!(out.len(), texts.len() * width, "output of pooling");
    assert_eq!(positions.len(), x.len() / width, "positions");
    assert!(
        texts.iter().all(|text| !text.is_empty()),
        "a text of no rows"
    );
    check_rows(texts.iter(), x.len() / width);
    let out = Parts::new(out);
    let rows: usize = texts.iter().map(Range::len).sum();
    let rows_of_text = rows.div_ceil(texts.len().max(1));
    cpu.run_ranges(texts.len(), rows_of_text * width, |range| {
        for t in range {
            // SAFETY: each text has a row of its own.
            let out = unsafe { out.part(t * width..(t + 1) * width) };
            let rows = &x[texts[t].start * width..texts[t].end * width];
            let positions = &positions[texts[t].clone()];
            let pool = Pool {
                kind,
                rows,
                positions,
                out,
            };
            cpu.isa().run(pool);
        }
    });
}

struct Pool<'a> {
    kind: PoolKind,
    rows: &'a [f32],
    positions: &'a [u32],
    out: &'a mut [f32],
}

impl Body for Pool<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let width = self.out.len();
        let count = self.rows.len() / width;
        match self.kind {
            PoolKind::First => self.out.copy_from_slice(&self.rows[..width]),
            PoolKind::Last => self.out.copy_from_slice(&self.rows[(count - 1) * width..]),
            PoolKind::Mean => self.sums::<L>(count as f32),
            PoolKind::MeanSqrtLen => self.sums::<L>((count as f32).sqrt()),
            PoolKind::Max => self.fold::<L>(|so_far, x| so_far.max(x), L::splat(1.0)),
            PoolKind::WeightedMean => self.weighted::<L>(),
        }
    }
}

impl Pool<'_> {
    #[inline(always)]
    fn sums<L: Lanes>(self, divisor: f32) {
        self.fold::<L>(|so_far, x| so_far.add(x), L::splat(divisor));
    }

    #[inline(always)]
    fn weighted<L: Lanes>(self) {
        let weight = |position: u32| f64::from(position) + 1.0;
        let all: f64 = self.positions.iter().map(|p| weight(*p)).sum();
        let divisor = L::splat(all as f32);
        let (width, positions) = (self.out.len(), self.positions);
        for i in (0..width).step_by(LANES) {
            let end = width.min(i + LANES);
            let rows = self.rows.chunks_exact(width).zip(positions);
            let sum = rows.fold(L::zero(), |sum, (row, position)| {
                L::get(&row[..end], i).fma(L::splat(weight(*position) as f32), sum)
            });
            sum.div(divisor).put(self.out, i);
        }
    }

    /// Column by column, over all rows; then divided.
    #[inline(always)]
    fn fold<L: Lanes>(self, join: impl Fn(L, L) -> L, divisor: L) {
        let width = self.out.len();
        for i in (0..width).step_by(LANES) {
            let end = width.min(i + LANES);
            let mut rows = self.rows.chunks_exact(width);
            let first = rows.next().map_or(L::zero(), |row| L::get(&row[..end], i));
            let all = rows.fold(first, |so_far, row| join(so_far, L::get(&row[..end], i)));
            all.div(divisor).put(self.out, i);
        }
    }
}
