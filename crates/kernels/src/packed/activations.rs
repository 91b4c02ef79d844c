//! Input rows as integers of 15 bits.
//!
//! Layout: a row has 128 bytes for every 64 columns, the last ones filled up with zeros: 64 of the
//! high plane, then 64 of the low plane, v = 128 hi + lo with hi in -127..=127 and lo in 0..=127.
//! So one pointer reaches both planes. Rows may come in groups of one height, at most 16, the last
//! group filled up with zero rows: then each 64 bytes of a row stand beside the same ones of the
//! group's other rows, `[group][plane of 64 columns][row][64]`, so that the high (or low) planes of a
//! group are an operand of a tile product, contiguous: rows apart would each lie in another page of
//! memory, and looking pages up takes longer than multiplying. A group of one row is a plain row.
//! For each block of 256 columns a scale and the sum of v, which products with unsigned weights
//! take off, and the same of each 32 columns for grouped weights; while the rows are few, also the
//! sums of each plane that products with raw weights of 4 bits take.
//! Contract, in f32: a block's scale is s = max|x| / 16256 and v = round(x (16256 / max|x|)), to
//! nearest even. Where max|x| is below 2^-100 the block counts as zeros and s = 0. A block with a
//! NaN or an infinity has s = NaN and v = 0: every output of its row becomes NaN. All instruction
//! sets give the same bits.
//! Measured: AMD EPYC (Zen 5, family 26 model 2), AVX-512, one thread (`examples/rates.rs`): 0.3 us
//! for 1,024 values, a third of it for the sums of planes; 84 us for 512 rows of them.

use super::dots::ChunkSums;
use super::linear::FEW_ROWS;
use super::{BLOCK, CHUNK};
use crate::cpu::Cpu;
use crate::parts::Parts;

/// Columns that have a sum of their own: half a chunk.
pub(crate) const HALF: usize = CHUNK / 2;
/// Lines of a whole block of a row.
const BLOCK_LINES: usize = 2 * BLOCK / CHUNK;

/// 64 bytes of a plane of a row.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct Line(pub(super) [i8; CHUNK]);

impl Line {
    pub(super) const ZERO: Line = Line([0; CHUNK]);
}

/// What a block of a row has beside its bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct BlockHead {
    pub(crate) scale: f32,
    pub(crate) sum: i32,
    /// Of each 32 columns.
    pub(crate) sums: [i32; BLOCK / HALF],
}

/// Input rows as integers: 15 bits each, in two planes of int8, with a scale for each block of 256
/// columns. Used again, it allocates only to become larger.
#[derive(Debug, Clone, Default)]
pub struct Activations {
    rows: usize,
    columns: usize,
    /// Rows of a group.
    height: usize,
    lines: Vec<Line>,
    /// Of each row, `[rows, blocks]`.
    heads: Vec<BlockHead>,
    /// The same scales as tile products read them, `[groups, blocks, height]`.
    scales: Vec<f32>,
    /// Of each 64 columns, or none.
    sums: Vec<ChunkSums>,
}

impl Activations {
    /// Without rows and without memory.
    pub const fn new() -> Activations {
        Activations {
            rows: 0,
            columns: 0,
            height: 1,
            lines: Vec::new(),
            heads: Vec::new(),
            scales: Vec::new(),
            sums: Vec::new(),
        }
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The values the integers stand for, `[rows, columns]`: scale times v, rounded once.
    pub fn values(&self) -> Vec<f32> {
        let mut out = Vec::with_capacity(self.rows * self.columns);
        for r in 0..self.rows {
            for i in 0..self.columns {
                let plane = |plane| self.lines[self.line(r, i / CHUNK * 2 + plane)].0[i % CHUNK];
                let v = 128 * i32::from(plane(0)) + i32::from(plane(1));
                out.push(self.heads(r)[i / BLOCK].scale * v as f32);
            }
        }
        out
    }

    /// Where plane `plane` of row `r` lies: two for every 64 columns.
    fn line(&self, r: usize, plane: usize) -> usize {
        let (group, n) = (r / self.height, r % self.height);
        (group * self.planes() + plane) * self.height + n
    }

    /// Rows of each group.
    pub(super) fn height(&self) -> usize {
        self.height
    }

    /// Groups of rows.
    pub(super) fn groups(&self) -> usize {
        self.rows.div_ceil(self.height)
    }

    pub(super) fn blocks(&self) -> usize {
        self.columns.div_ceil(BLOCK)
    }

    /// Times 64 columns.
    pub(super) fn chunks(&self) -> usize {
        self.columns.div_ceil(CHUNK)
    }

    /// Lines of a row.
    fn planes(&self) -> usize {
        2 * self.chunks()
    }

    /// The bytes of row `r`, of rows that are not grouped.
    #[inline(always)]
    pub(crate) fn row(&self, r: usize) -> &[i8] {
        let lines = self.planes();
        assert!(
            self.height == 1 && r < self.rows,
            "row {r} of {}",
            self.rows
        );
        // SAFETY: lines are bytes without padding, and `resize` made enough of them for all rows.
        unsafe {
            let start = self.lines.as_ptr().add(r * lines);
            std::slice::from_raw_parts(start.cast::<i8>(), lines * CHUNK)
        }
    }

    /// The blocks' heads of row `r`.
    #[inline(always)]
    pub(crate) fn heads(&self, r: usize) -> &[BlockHead] {
        let blocks = self.columns.div_ceil(BLOCK);
        &self.heads[r * blocks..(r + 1) * blocks]
    }

    /// The sums of row `r` for each 64 columns, where the rows are few.
    #[inline(always)]
    pub(crate) fn sums(&self, r: usize) -> &[ChunkSums] {
        let chunks = self.columns.div_ceil(CHUNK);
        &self.sums[r * chunks..(r + 1) * chunks]
    }

    /// The lines of `group` from `block` on.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn operands(&self, group: usize, block: usize) -> &[Line] {
        let lines = self.planes() * self.height;
        let start = group * lines;
        &self.lines[start + block * BLOCK_LINES * self.height..start + lines]
    }

    /// The scales of the rows of `group` at `block`.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn scales(&self, group: usize, block: usize) -> &[f32] {
        let start = (group * self.blocks() + block) * self.height;
        &self.scales[start..start + self.height]
    }

    /// Makes room for `rows` of `columns` in groups of `height`.
    pub(super) fn resize(&mut self, rows: usize, columns: usize, height: usize) {
        (self.rows, self.columns, self.height) = (rows, columns, height);
        let rows_there = self.groups() * height;
        let (lines, scales) = (rows_there * self.planes(), rows_there * self.blocks());
        if self.lines.len() < lines {
            self.lines.resize(lines, Line::ZERO);
        }
        if self.scales.len() < scales {
            self.scales.resize(scales, 0.0);
        }
        self.heads
            .resize(rows * self.blocks(), BlockHead::default());
        let chunks = match rows <= FEW_ROWS {
            true => rows * self.chunks(),
            false => 0,
        };
        self.sums.resize(chunks, ChunkSums::ZERO);
    }

    /// Everything to write, in parts.
    pub(super) fn slots(&mut self) -> Slots<'_> {
        let (blocks, planes) = (self.blocks(), self.planes());
        let (rows, height) = (self.rows, self.height);
        let chunks = self.sums.len() / rows.max(1);
        Slots {
            rows,
            height,
            blocks,
            planes,
            chunks,
            lines: Parts::new(&mut self.lines),
            heads: Parts::new(&mut self.heads),
            scales: Parts::new(&mut self.scales),
            sums: Parts::new(&mut self.sums),
        }
    }

    /// The same rows in groups of `height`, to `out`.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn regroup(&self, cpu: &Cpu, height: usize, out: &mut Activations) {
        out.resize(self.rows, self.columns, height);
        out.sums.copy_from_slice(&self.sums);
        let slots = out.slots();
        cpu.run_ranges(slots.groups(), height * self.columns, |groups| {
            for (group, block) in groups.flat_map(|g| (0..slots.blocks).map(move |b| (g, b))) {
                // SAFETY: a group belongs to one range.
                let mut slot = unsafe { slots.block(group, block) };
                for n in 0..height {
                    let r = group * height + n;
                    if r >= self.rows {
                        slot.put_nothing(n);
                        continue;
                    }
                    let first = block * BLOCK_LINES;
                    slot.put(n, self.heads(r)[block], |plane, line| {
                        *line = self.lines[self.line(r, first + plane)];
                    });
                }
            }
        });
    }
}

/// The memory of some [`Activations`], to be written in parts.
pub(super) struct Slots<'a> {
    pub(super) rows: usize,
    pub(super) height: usize,
    pub(super) blocks: usize,
    planes: usize,
    /// Sums of 64 columns that a row has; none where the rows are many.
    chunks: usize,
    lines: Parts<'a, Line>,
    heads: Parts<'a, BlockHead>,
    scales: Parts<'a, f32>,
    sums: Parts<'a, ChunkSums>,
}

impl Slots<'_> {
    pub(super) fn groups(&self) -> usize {
        self.rows.div_ceil(self.height)
    }

    /// Block `block` of the rows of `group`.
    ///
    /// # Safety
    /// Nobody else has the same one at the same time.
    #[inline(always)]
    pub(super) unsafe fn block(&self, group: usize, block: usize) -> Slot<'_> {
        let (first, height) = (block * BLOCK_LINES, self.height);
        let lines = BLOCK_LINES.min(self.planes - first);
        let line = (group * self.planes + first) * height;
        let scale = (group * self.blocks + block) * height;
        // SAFETY: the caller's promise; blocks of a group do not overlap.
        let (lines, scales) = unsafe {
            (
                self.lines.part(line..line + lines * height),
                self.scales.part(scale..scale + height),
            )
        };
        Slot {
            slots: self,
            row: group * height,
            block,
            lines,
            scales,
        }
    }

    /// The sums that row `r` has for each 64 columns of `block`, if it has any.
    ///
    /// # Safety
    /// As [`Slots::block`], whose rows these are.
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "disjointness is the caller's promise")]
    pub(super) unsafe fn sums(&self, r: usize, block: usize) -> &mut [ChunkSums] {
        let first = (block * (BLOCK / CHUNK)).min(self.chunks);
        let end = (first + BLOCK / CHUNK).min(self.chunks);
        // SAFETY: the caller's promise.
        unsafe {
            self.sums
                .part(r * self.chunks + first..r * self.chunks + end)
        }
    }
}

/// One block of the rows of one group, to be written.
pub(super) struct Slot<'a> {
    slots: &'a Slots<'a>,
    row: usize,
    block: usize,
    lines: &'a mut [Line],
    scales: &'a mut [f32],
}

impl Slot<'_> {
    /// Row `n` of the group: what stands beside its bytes, and each of its lines by `fill`.
    #[inline(always)]
    pub(super) fn put(
        &mut self,
        n: usize,
        head: BlockHead,
        mut fill: impl FnMut(usize, &mut Line),
    ) {
        let height = self.scales.len();
        for (plane, lines) in self.lines.chunks_exact_mut(height).enumerate() {
            fill(plane, &mut lines[n]);
        }
        self.scales[n] = head.scale;
        let at = (self.row + n) * self.slots.blocks + self.block;
        // SAFETY: the head of this block of this row, which the slot's owner has alone.
        unsafe { self.slots.heads.part(at..at + 1)[0] = head };
    }

    /// Row `n` is none: zeros, where the last group has fewer rows.
    #[inline(always)]
    pub(super) fn put_nothing(&mut self, n: usize) {
        let height = self.scales.len();
        for lines in self.lines.chunks_exact_mut(height) {
            lines[n] = Line::ZERO;
        }
        self.scales[n] = 0.0;
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::packed::quantise_rows;
    use crate::{CpuOptions, Isa};

    #[test]
    fn rows_in_groups_are_the_same_rows() {
        let options = CpuOptions {
            isa: Some(Isa::Scalar),
            threads: 2,
            ..CpuOptions::default()
        };
        let cpu = Cpu::new(options).expect("plain code runs everywhere");
        for (rows, columns) in [(1, 64), (7, 300), (33, 512), (40, 100)] {
            let x: Vec<f32> = (0..rows * columns).map(|i| (i as f32).sin()).collect();
            let mut plain = Activations::new();
            quantise_rows(&cpu, &x, columns, &mut plain);
            let (mut groups, mut back) = (Activations::new(), Activations::new());
            // Used before, so that what fills a group up is not there by chance.
            groups.resize(64, 512, 16);
            groups.lines.fill(Line([3; CHUNK]));
            groups.scales.fill(2.0);
            for height in [2, 11, 16] {
                plain.regroup(&cpu, height, &mut groups);
                assert_eq!(groups.values(), plain.values());
                let scales = |r: usize| groups.scales(r / height, 0)[r % height];
                assert!((0..rows).all(|r| scales(r) == plain.heads(r)[0].scale));
                assert!((rows..groups.groups() * height).all(|r| scales(r) == 0.0));
                let planes = groups.planes();
                let line = |r: usize| groups.lines[groups.line(r, planes - 1)].0;
                assert!((rows..groups.groups() * height).all(|r| line(r) == [0; CHUNK]));
                groups.regroup(&cpu, 1, &mut back);
                assert_eq!(back.values(), plain.values());
                assert!((0..rows).all(|r| back.row(r) == plain.row(r)));
                assert_eq!(back.sums.len(), plain.sums.len());
            }
        }
    }
}
