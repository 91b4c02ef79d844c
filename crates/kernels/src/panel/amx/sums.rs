//! From sums to outputs: bias, activation, residual, and the way into memory.
//!
//! Layout: a block of 32 rows by two vectors of outputs. Contract: see [`super::super::product`]; outputs of bf16 are rounded
//! by the processor's own instruction. Measured: see [`super::super::product`].

use std::arch::x86_64::*;
use std::ops::Range;

use super::super::product::{Ends, SPAN, Task};
use super::super::{LINE, Line, PANEL};
use super::{Block, PAIR};
use crate::elementwise::Activation;
use crate::lanes::avx512::Avx512;
use crate::lanes::{LANES, Lanes};
use crate::math;

/// What happens to an output between bias and residual. No closure: only what is always inlined has the
/// instructions of the loop around it.
pub(super) trait WayOut: Copy {
    fn apply<L: Lanes, const V: usize>(self, y: [L; V]) -> [L; V];
}

/// No activation.
#[derive(Clone, Copy)]
pub(super) struct AsIs;

/// GELU of outputs that are rounded.
#[derive(Clone, Copy)]
pub(super) struct Gelu;

/// Any activation of outputs that are rounded.
#[derive(Clone, Copy)]
pub(super) struct Coarse(pub(super) Activation);

/// Any activation.
#[derive(Clone, Copy)]
pub(super) struct Exact(pub(super) Activation);

impl WayOut for AsIs {
    #[inline(always)]
    fn apply<L: Lanes, const V: usize>(self, y: [L; V]) -> [L; V] {
        y
    }
}

impl WayOut for Gelu {
    #[inline(always)]
    fn apply<L: Lanes, const V: usize>(self, y: [L; V]) -> [L; V] {
        math::gelu_coarse(y)
    }
}

impl WayOut for Coarse {
    #[inline(always)]
    fn apply<L: Lanes, const V: usize>(self, y: [L; V]) -> [L; V] {
        self.0.apply_coarse(y)
    }
}

impl WayOut for Exact {
    #[inline(always)]
    fn apply<L: Lanes, const V: usize>(self, mut y: [L; V]) -> [L; V] {
        for v in 0..V {
            y[v] = self.0.apply(y[v]);
        }
        y
    }
}

/// A block of sums that becomes outputs.
pub(super) struct Sums<W> {
    sums: *const Block<f32>,
    pub(super) rows: usize,
    ends: Ends,
    masks: [__mmask16; PAIR],
    way: W,
    /// Rows beside each step.
    each: usize,
}

impl<W: WayOut> Sums<W> {
    /// None.
    pub(super) fn none(way: W, each: usize) -> Self {
        Sums {
            sums: std::ptr::null(),
            rows: 0,
            ends: Ends::none(),
            masks: [0; PAIR],
            way,
            each,
        }
    }

    /// Makes outputs of the rows beside step `step`.
    ///
    /// # Safety
    /// As [`Sums::row`], of all rows.
    #[inline(always)]
    pub(super) unsafe fn beside(&self, step: usize) {
        let end = self.rows.min((step + 1) * self.each);
        let mut i = step * self.each;
        while i < end {
            // SAFETY: the caller's promise.
            unsafe { self.row(i) };
            i += 1;
        }
    }

    /// Those at `sums` of `rows`, from column `column` on.
    pub(super) fn new(
        task: &Task<'_>,
        sums: *const Block<f32>,
        (rows, column): (Range<usize>, usize),
        (way, each): (W, usize),
    ) -> Self {
        let n = rows.len();
        let ends = task.ends(rows, column);
        let mask = |from: usize| {
            let lanes = ends.width.saturating_sub(from).min(LANES);
            ((1u32 << lanes) - 1) as __mmask16
        };
        Sums {
            sums,
            rows: n,
            masks: [mask(0), mask(LANES)],
            ends,
            way,
            each,
        }
    }

    /// Makes outputs of row `i`.
    ///
    /// # Safety
    /// As [`super::run_bf16`]; the sums of the row are there.
    #[inline(always)]
    pub(super) unsafe fn row(&self, i: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            let sums = (&raw const (*self.sums).0[i]).cast::<f32>();
            self.put(i, [Avx512::load(sums), Avx512::load(sums.add(LANES))]);
        }
    }

    /// Makes outputs of the sums `y` of row `i`.
    ///
    /// # Safety
    /// As [`super::run_bf16`]; the block has the row.
    #[inline(always)]
    pub(super) unsafe fn put(&self, i: usize, mut y: [Avx512; PAIR]) {
        let ends = &self.ends;
        // SAFETY: the caller's promise; the ends are those of all rows, as wide as the masks, and a panel meets an input
        // row in one task alone.
        unsafe {
            for v in 0..PAIR {
                let bias = Avx512::load(ends.bias.as_ptr().add(v * LANES));
                y[v] = y[v].add(bias);
            }
            y = self.way.apply(y);
            if !ends.residual.is_null() {
                let row = ends.residual.wrapping_add(i * ends.outputs);
                for v in 0..PAIR {
                    let x = _mm512_maskz_loadu_ps(self.masks[v], row.wrapping_add(v * LANES));
                    y[v] = y[v].add(Avx512(x));
                }
            }
            if ends.line.is_null() {
                let row = ends.out.wrapping_add(i * ends.outputs);
                for v in 0..PAIR {
                    _mm512_mask_storeu_ps(row.wrapping_add(v * LANES), self.masks[v], y[v].0);
                }
            } else {
                let bits = _mm512_cvtne2ps_pbh(y[1].0, y[0].0);
                let bits = std::mem::transmute::<__m512bh, __m512i>(bits);
                _mm512_store_si512(ends.line.wrapping_add(i * ends.lines).cast(), bits);
            }
        }
    }
}

/// Fills what outputs are rounded to up with zeros where the task's chunk of columns lacks a panel.
pub(super) fn put_nothing(task: &Task<'_>) {
    if task.rounds().is_none() {
        return;
    }
    let end = task.panels.end.next_multiple_of(SPAN) * PANEL;
    for column in (task.panels.end * PANEL..end).step_by(PAIR * LANES) {
        let ends = task.ends(task.rows.clone(), column);
        for i in 0..task.rows.len() {
            // SAFETY: the lines are those of all rows, and no other task has them.
            unsafe { *ends.line.wrapping_add(i * ends.lines) = Line([0; LINE]) };
        }
    }
}
