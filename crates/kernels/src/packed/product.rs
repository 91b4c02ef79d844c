//! What one task of a packed product does: some input rows against some tiles.
//!
//! Layout: see [`super`] and [`super::activations`]; a tile as [`Operand`], int8 and f16 scales.
//! Contract: see [`super::linear`].
//! While the rows are few, the tiles are read once, in the order they lie in memory, asked for
//! ahead, with several sums of each row so that no instruction waits for the one before. While they
//! are many, one or two tiles stay in the second cache, mostly the first, and the rows pass by in
//! groups whose sums fill the registers; the floats are touched once in 256 columns. The first two
//! groups of rows ask for the tiles that come next, so that memory and products overlap.
//! Measured: see [`super::linear`].

use std::ops::Range;

use super::activations::{Activations, BlockHead};
use super::dots::Dots;
use super::int_isa::IntBody;
use super::linear::FEW_ROWS;
use super::{CHUNK, Packed, TILE};
use crate::lanes::Lanes;
use crate::linear::prefetch;
use crate::parts::Parts;

/// Bytes ahead of the weights in use that are asked for.
const AHEAD: usize = 8192;

/// The input rows `rows` against the weight's tiles `tiles`.
pub(super) struct Product<'a> {
    pub(super) weight: Packed<'a>,
    pub(super) bias: Option<&'a [f32]>,
    pub(super) x: &'a Activations,
    pub(super) out: &'a Parts<'a, f32>,
    pub(super) tiles: Range<usize>,
    pub(super) rows: Range<usize>,
}

/// A tile as the products read it: all blocks of it, in order.
#[derive(Clone, Copy)]
struct Operand {
    /// 64 bytes for each 4 columns.
    values: *const i8,
    /// 16 of f16 for each block.
    scales: *const u16,
    /// The first row of the weight it has, and how many.
    first: usize,
    rows: usize,
}

impl IntBody for Product<'_> {
    #[inline(always)]
    fn run<D: Dots>(self) {
        if self.x.rows() <= FEW_ROWS && self.rows.len() <= D::ROWS {
            for tile in self.tiles.clone() {
                self.few_rows::<D>([self.operand(tile)]);
            }
            return;
        }
        let mut tile = self.tiles.start;
        while D::TILES == 2 && self.tiles.end - tile >= 2 {
            let tiles = [self.operand(tile), self.operand(tile + 1)];
            self.all_rows::<D, 2>(tile, tiles);
            tile += 2;
        }
        while tile < self.tiles.end {
            self.all_rows::<D, 1>(tile, [self.operand(tile)]);
            tile += 1;
        }
    }
}

impl Product<'_> {
    /// Tile `tile` of the weight.
    #[inline(always)]
    fn operand(&self, tile: usize) -> Operand {
        let tile = self.weight.tile(tile);
        let (scales, values) = tile.bytes.split_at(self.weight.shape().scales_bytes());
        Operand {
            values: values.as_ptr().cast(),
            scales: scales.as_ptr().cast(),
            first: tile.rows.start,
            rows: tile.rows.len(),
        }
    }

    /// All input rows, of which there are few, against one tile.
    #[inline(always)]
    fn few_rows<D: Dots>(&self, tile: [Operand; 1]) {
        let r = self.rows.start;
        match (self.rows.len(), D::TILES) {
            (1, _) => self.group::<D, 1, 1, 4>(tile, r, [AHEAD]),
            (2, _) => self.group::<D, 1, 2, 2>(tile, r, [AHEAD]),
            // Two tiles say that there are registers for more sums.
            (3, 2) => self.group::<D, 1, 3, 2>(tile, r, [AHEAD]),
            (4, 2) => self.group::<D, 1, 4, 2>(tile, r, [AHEAD]),
            (3, _) => self.group::<D, 1, 3, 1>(tile, r, [AHEAD]),
            _ => self.group::<D, 1, 4, 1>(tile, r, [AHEAD]),
        }
    }

    /// All input rows against T tiles, `tile` and those behind it, in groups of even height: 7 rows
    /// are 4 + 3, not 6 + 1.
    #[inline(always)]
    fn all_rows<D: Dots, const T: usize>(&self, tile: usize, tiles: [Operand; T]) {
        let groups = self.rows.len().div_ceil(D::ROWS).max(1);
        let height = self.rows.len().div_ceil(groups);
        let mut r = self.rows.start;
        while r < self.rows.end {
            let n = height.min(self.rows.end - r);
            let group = (r - self.rows.start) / height;
            let ahead = self.ahead::<T>(tile, group, groups);
            match n {
                1 => self.group::<D, T, 1, 1>(tiles, r, ahead),
                2 => self.group::<D, T, 2, 1>(tiles, r, ahead),
                3 => self.group::<D, T, 3, 1>(tiles, r, ahead),
                4 if D::ROWS >= 4 => self.group::<D, T, 4, 1>(tiles, r, ahead),
                5 if D::ROWS >= 5 => self.group::<D, T, 5, 1>(tiles, r, ahead),
                _ if D::ROWS >= 6 => self.group::<D, T, 6, 1>(tiles, r, ahead),
                _ => unreachable!("a group has at most {} rows", D::ROWS),
            }
            r += n;
        }
    }

    /// How far beyond the weights in use of each of T tiles group `group` of `groups` asks for
    /// others: as if the next ones followed, which in a part of a weight they may not. 0 asks for
    /// nothing new.
    #[inline(always)]
    fn ahead<const T: usize>(&self, tile: usize, group: usize, groups: usize) -> [usize; T] {
        let next = T * self.weight.shape().tile_bytes();
        if groups == 1 {
            return [AHEAD; T];
        }
        match (tile == self.tiles.start, group) {
            // Nobody has asked for a task's first tiles.
            (true, 0) => [AHEAD; T],
            (true, 1) => [next; T],
            // Half of the next tiles in each of two groups: so memory and products overlap longest.
            (false, 0 | 1) => {
                let mut ahead = [0; T];
                ahead[group % T] = next;
                ahead
            }
            _ => [0; T],
        }
    }

    /// Input rows `r..r + N` against T tiles, each product in P sums.
    #[inline(always)]
    fn group<D: Dots, const T: usize, const N: usize, const P: usize>(
        &self,
        tiles: [Operand; T],
        r: usize,
        ahead: [usize; T],
    ) {
        let shape = self.weight.shape();
        let mut heads: [&[BlockHead]; N] = [&[]; N];
        let mut planes = [std::ptr::null(); N];
        for n in 0..N {
            heads[n] = self.x.heads(r + n);
            planes[n] = self.x.row(r + n).as_ptr();
        }
        let mut values = [std::ptr::null::<i8>(); T];
        for t in 0..T {
            values[t] = tiles[t].values;
        }
        let mut acc = [[D::Float::zero(); N]; T];
        for b in 0..shape.blocks() {
            let chunks = shape.block_width(b) / CHUNK;
            // SAFETY: an operand has 16 bytes for each column of all its blocks; a row has 2. Both
            // pointers have moved on by the blocks before.
            let dots = unsafe { dots::<D, T, N, P>(values, planes, chunks, ahead) };
            for t in 0..T {
                // SAFETY: an operand has 16 scales for each block.
                let scale = unsafe { D::Float::load_f16(tiles[t].scales.add(b * TILE)) };
                for n in 0..N {
                    let head = heads[n][b];
                    let scale = scale.mul(D::Float::splat(head.scale));
                    acc[t][n] = dots[t][n].total(head.sum).fma(scale, acc[t][n]);
                }
            }
            for values in &mut values {
                *values = values.wrapping_add(chunks * CHUNK * TILE);
            }
            for planes in &mut planes {
                *planes = planes.wrapping_add(chunks * 2 * CHUNK);
            }
        }
        for t in 0..T {
            for n in 0..N {
                self.finish(acc[t][n], tiles[t], r + n);
            }
        }
    }

    /// Writes the outputs of a tile for input row `r`.
    #[inline(always)]
    fn finish<L: Lanes>(&self, acc: L, tile: Operand, r: usize) {
        let start = r * self.weight.rows() + tile.first;
        // SAFETY: a tile meets an input row in one task alone.
        let out = unsafe { self.out.part(start..start + tile.rows) };
        match self.bias {
            Some(bias) => {
                let bias = &bias[tile.first..tile.first + tile.rows];
                acc.add(L::get(bias, 0)).put(out, 0);
            }
            None => acc.put(out, 0),
        }
    }
}

/// The dot products of `chunks` times 64 columns of T tiles with N rows.
///
/// # Safety
/// `chunks` times 1,024 readable bytes at each of `values`, and 128 at each of `planes`.
#[inline(always)]
unsafe fn dots<D: Dots, const T: usize, const N: usize, const P: usize>(
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
