//! Input rows rounded to bf16.
//!
//! Layout: [`Rows::Plain`]: `[rows, columns]`, columns filled up with zeros to a multiple of 32.
//! [`Rows::Pairs`]: rows in groups of 16, the last filled up with zero rows; a group has for every
//! 32 columns `[16, 16, 2]`: pairs of columns by rows, a tile's operand B.
//! Contract: to nearest even; what lies beyond the largest number becomes an infinity, a NaN stays
//! one.
//! Measured: with the products.

use super::bf16_from_f32;
use crate::cpu::Cpu;
use crate::lanes::{Body, Lanes};
use crate::linear::Inputs;
use crate::parts::Parts;

/// Columns that a row is filled up to a multiple of: 64 bytes.
pub(super) const STEP: usize = 32;
/// Rows of a group of pairs.
pub(super) const GROUP: usize = 16;

/// How rows are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    Plain,
    Pairs,
}

#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct Line([u16; STEP]);

/// Rounded rows. Used again, it allocates only to become larger.
#[derive(Debug, Default)]
pub(super) struct Rounded {
    /// Lines of a row.
    steps: usize,
    lines: Vec<Line>,
}

impl Rounded {
    pub(super) const fn new() -> Rounded {
        Rounded {
            steps: 0,
            lines: Vec::new(),
        }
    }

    /// Times 32 columns of a row.
    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    /// The lines of row `r` of [`Rows::Plain`].
    #[inline(always)]
    pub(super) fn row(&self, r: usize) -> &[Line] {
        &self.lines[r * self.steps..(r + 1) * self.steps]
    }

    /// The lines of group `g` of [`Rows::Pairs`].
    #[inline(always)]
    pub(super) fn group(&self, g: usize) -> &[Line] {
        &self.lines[g * GROUP * self.steps..(g + 1) * GROUP * self.steps]
    }

    /// Takes the rows of `x`.
    pub(super) fn fill(&mut self, cpu: &Cpu, x: Inputs<'_>, layout: Rows) {
        self.steps = x.columns.div_ceil(STEP);
        let height = match layout {
            Rows::Plain => 1,
            Rows::Pairs => GROUP,
        };
        let groups = x.rows.div_ceil(height);
        let lines = height * self.steps;
        if self.lines.len() < groups * lines {
            self.lines.resize(groups * lines, Line([0; STEP]));
        }
        let all = Parts::new(&mut self.lines[..]);
        cpu.run_ranges(groups, height * x.columns, |groups| {
            for g in groups {
                // SAFETY: a group belongs to one range.
                let lines = unsafe { all.part(g * lines..(g + 1) * lines) };
                cpu.isa().run(Round {
                    x,
                    first: g * height,
                    layout,
                    lines,
                });
            }
        });
    }
}

/// Rounds a row, or a group of rows from `first` on, to `lines`.
struct Round<'a> {
    x: Inputs<'a>,
    first: usize,
    layout: Rows,
    lines: &'a mut [Line],
}

impl Body for Round<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        if self.layout == Rows::Plain {
            let x = self.x.row(self.first);
            for (x, line) in x.chunks(STEP).zip(self.lines) {
                *line = Line(round(x));
            }
            return;
        }
        for n in 0..GROUP {
            let r = self.first + n;
            let row = if r < self.x.rows { self.x.row(r) } else { &[] };
            for (step, pairs) in self.lines.chunks_exact_mut(GROUP).enumerate() {
                let end = row.len().min((step + 1) * STEP);
                let line = round(row.get(step * STEP..end).unwrap_or(&[]));
                for (pair, line) in pairs.iter_mut().zip(line.chunks_exact(2)) {
                    pair.0[2 * n..2 * n + 2].copy_from_slice(line);
                }
            }
        }
    }
}

/// Up to 32 values, then zeros.
#[inline(always)]
fn round(x: &[f32]) -> [u16; STEP] {
    let mut filled = [0.0; STEP];
    filled[..x.len()].copy_from_slice(x);
    filled.map(bf16_from_f32)
}
