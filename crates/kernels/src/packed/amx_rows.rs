//! Input rows as operands of tile products.
//!
//! Layout: rows in groups of one height, at most 16, the last group filled up with zero rows. A
//! group has for every 64 columns `[2, height, 64]` bytes, the high planes of its rows and then
//! the low ones: two A operands, each contiguous. Of [`Activations`] itself each row of an operand
//! would lie in another page of memory, and looking pages up would take longer than multiplying.
//! Its scales are `[blocks, height]`.
//! Contract: the values are those of the [`Activations`].
//! Measured: see [`super::linear`], which includes this copy.

use super::activations::{Activations, Line};
use super::{BLOCK, CHUNK, TILE};
use crate::cpu::Cpu;
use crate::parts::Parts;

/// Input rows in groups. Used again, it allocates only to become larger.
#[derive(Debug, Default)]
pub(super) struct GroupedRows {
    rows: usize,
    columns: usize,
    groups: usize,
    height: usize,
    lines: Vec<Line>,
    scales: Vec<f32>,
}

impl GroupedRows {
    /// Without rows and without memory.
    pub(super) const fn new() -> GroupedRows {
        GroupedRows {
            rows: 0,
            columns: 0,
            groups: 0,
            height: 0,
            lines: Vec::new(),
            scales: Vec::new(),
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn groups(&self) -> usize {
        self.groups
    }

    /// Rows of each group.
    pub(super) fn height(&self) -> usize {
        self.height
    }

    pub(super) fn blocks(&self) -> usize {
        self.columns.div_ceil(BLOCK)
    }

    /// Times 64 columns.
    pub(super) fn chunks(&self) -> usize {
        self.columns.div_ceil(CHUNK)
    }

    fn group_lines(&self) -> usize {
        2 * self.chunks() * self.height
    }

    /// The operands of `group` from `block` on.
    pub(super) fn operands(&self, group: usize, block: usize) -> &[Line] {
        let start = group * self.group_lines();
        let end = start + self.group_lines();
        &self.lines[start + 2 * block * (BLOCK / CHUNK) * self.height..end]
    }

    /// The scales of the rows of `group` at `block`.
    pub(super) fn scales(&self, group: usize, block: usize) -> &[f32] {
        let start = (group * self.blocks() + block) * self.height;
        &self.scales[start..start + self.height]
    }

    /// Takes the rows of `x`, of which there must be some.
    pub(super) fn fill(&mut self, cpu: &Cpu, x: &Activations) {
        (self.rows, self.columns) = (x.rows(), x.columns());
        self.groups = self.rows.div_ceil(TILE);
        self.height = self.rows.div_ceil(self.groups);
        let (lines, scales) = (self.group_lines(), self.blocks() * self.height);
        if self.lines.len() < self.groups * lines {
            self.lines.resize(self.groups * lines, Line([0; CHUNK]));
        }
        if self.scales.len() < self.groups * scales {
            self.scales.resize(self.groups * scales, 0.0);
        }
        let (rows, height) = (self.rows, self.height);
        let (all_lines, all_scales) = (
            Parts::new(&mut self.lines[..]),
            Parts::new(&mut self.scales[..]),
        );
        cpu.run_ranges(self.groups, self.height * self.columns, |groups| {
            for g in groups {
                // SAFETY: a group belongs to one range.
                let (lines, scales) = unsafe {
                    (
                        all_lines.part(g * lines..(g + 1) * lines),
                        all_scales.part(g * scales..(g + 1) * scales),
                    )
                };
                for n in 0..height {
                    let r = g * height + n;
                    copy_row(x, (r < rows).then_some(r), (n, height), lines, scales);
                }
            }
        });
    }
}

/// Row `r` of `x` (zeros without one) becomes row n of a group of `height` rows.
fn copy_row(
    x: &Activations,
    r: Option<usize>,
    (n, height): (usize, usize),
    lines: &mut [Line],
    scales: &mut [f32],
) {
    let Some(r) = r else {
        for plane in lines.chunks_exact_mut(height) {
            plane[n] = Line([0; CHUNK]);
        }
        for scales in scales.chunks_exact_mut(height) {
            scales[n] = 0.0;
        }
        return;
    };
    let from = x.row(r).chunks_exact(CHUNK);
    for (plane, from) in lines.chunks_exact_mut(height).zip(from) {
        plane[n].0.copy_from_slice(from);
    }
    for (scales, head) in scales.chunks_exact_mut(height).zip(x.heads(r)) {
        scales[n] = head.scale;
    }
}
