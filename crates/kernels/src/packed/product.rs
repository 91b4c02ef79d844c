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
use super::q4::Block;
use super::view::Tile;
use super::{CHUNK, GroupBits, Packed, PackedScheme, PackedShape, SubBlock, TILE};
use crate::lanes::Lanes;
use crate::linear::prefetch;
use crate::parts::Parts;

/// Bytes ahead of the weights in use that are asked for.
pub(super) const AHEAD: usize = 8192;
/// Lines asked for at each 64 columns of raw 4-bit weights: a block has 38 for 4 times as many.
const NIBBLE_LINES: usize = 10;
/// Tiles that meet a group of input rows at once, at most.
const TILES_MAX: usize = 2;

/// The input rows `rows` against the weight's tiles `tiles`.
pub(super) struct Product<'a> {
    pub(super) weight: Packed<'a>,
    pub(super) bias: Option<&'a [f32]>,
    pub(super) x: &'a Activations,
    pub(super) out: &'a Parts<'a, f32>,
    pub(super) tiles: Range<usize>,
    pub(super) rows: Range<usize>,
    /// Room for expanded tiles, of [`Product::floats`] floats.
    pub(super) expanded: &'a mut [f32],
}

/// A tile as the products read it: all blocks of it, in order.
#[derive(Clone, Copy)]
struct Operand {
    /// Where it is stored.
    stored: *const i8,
    /// 64 bytes of int8 for each 4 columns; there, or expanded.
    values: *const i8,
    /// 16 of f16 for each block.
    scales: *const u16,
    /// The first row of the weight it has, and how many.
    first: usize,
    rows: usize,
}

impl IntBody for Product<'_> {
    #[inline(always)]
    fn run<D: Dots>(mut self) {
        if let Some(form) = self.weight.shape().scheme().grouped() {
            return self.grouped::<D>(form);
        }
        if self.x.rows() <= FEW_ROWS {
            match self.weight.shape().scheme() {
                PackedScheme::Q4 { sub } if D::NIBBLE_ROWS > 0 => {
                    return match sub {
                        SubBlock::Of16 => self.few_nibbles::<D, 16>(sub),
                        SubBlock::Of32 => self.few_nibbles::<D, 32>(sub),
                    };
                }
                _ if self.rows.len() <= D::ROWS => {
                    for tile in self.tiles.clone() {
                        let tile = self.operand::<D>(tile, 0);
                        self.few_rows::<D>([tile]);
                    }
                    return;
                }
                _ => {}
            }
        }
        let mut tile = self.tiles.start;
        while D::TILES == 2 && self.tiles.end - tile >= 2 {
            let tiles = [self.operand::<D>(tile, 0), self.operand::<D>(tile + 1, 1)];
            self.all_rows::<D, 2>(tile, tiles);
            tile += 2;
        }
        while tile < self.tiles.end {
            let tiles = [self.operand::<D>(tile, 0)];
            self.all_rows::<D, 1>(tile, tiles);
            tile += 1;
        }
    }
}

impl Product<'_> {
    /// Floats of memory that it needs for expanded tiles.
    pub(super) fn floats(&self) -> usize {
        match self.weight.shape().scheme() {
            PackedScheme::Q8 => 0,
            PackedScheme::Q4 { .. } => TILES_MAX * self.values_bytes() / size_of::<f32>(),
            PackedScheme::Grouped { bits, .. } => match bits {
                GroupBits::Four => self.values_bytes() / size_of::<f32>(),
                GroupBits::Eight => 0,
            },
        }
    }

    /// Bytes of the values of a tile as int8.
    #[inline(always)]
    fn values_bytes(&self) -> usize {
        TILE * self.weight.shape().padded_columns()
    }

    /// Tile `tile` of the weight as int8, expanded to place `place` where it is stored otherwise.
    #[inline(always)]
    fn operand<D: Dots>(&mut self, tile: usize, place: usize) -> Operand {
        let (shape, tile) = (self.weight.shape(), self.weight.tile(tile));
        let (scales, values) = tile.bytes.split_at(shape.scales_bytes());
        let mut operand = Operand {
            stored: values.as_ptr().cast(),
            values: values.as_ptr().cast(),
            scales: scales.as_ptr().cast(),
            first: tile.rows.start,
            rows: tile.rows.len(),
        };
        if let PackedScheme::Q4 { sub } = shape.scheme() {
            let bytes = self.values_bytes();
            let floats = bytes / size_of::<f32>();
            let expanded = &mut self.expanded[place * floats..(place + 1) * floats];
            // SAFETY: as many bytes as the floats have; any bits are a float.
            let expanded = unsafe {
                std::slice::from_raw_parts_mut(expanded.as_mut_ptr().cast::<i8>(), bytes)
            };
            match sub {
                SubBlock::Of16 => expand::<D, 16>(tile.bytes, shape, sub, expanded),
                SubBlock::Of32 => expand::<D, 32>(tile.bytes, shape, sub, expanded),
            }
            operand.values = expanded.as_ptr();
        }
        operand
    }

    /// All input rows, of which there are few, against tiles of raw 4-bit weights.
    #[inline(always)]
    fn few_nibbles<D: Dots, const SUB: usize>(&self, sub: SubBlock) {
        for tile in self.tiles.clone() {
            let tile = self.weight.tile(tile);
            let (mut r, end) = (self.rows.start, self.rows.end);
            while r < end {
                let n = D::NIBBLE_ROWS.min(end - r);
                match n {
                    1 => self.nibbles::<D, SUB, 1>(&tile, sub, r),
                    2 => self.nibbles::<D, SUB, 2>(&tile, sub, r),
                    3 if D::NIBBLE_ROWS >= 3 => self.nibbles::<D, SUB, 3>(&tile, sub, r),
                    _ if D::NIBBLE_ROWS >= 4 => self.nibbles::<D, SUB, 4>(&tile, sub, r),
                    _ => unreachable!("at most {} rows at once", D::NIBBLE_ROWS),
                }
                r += n;
            }
        }
    }

    /// Input rows `r..r + N` against a tile of raw 4-bit weights.
    #[inline(always)]
    fn nibbles<D: Dots, const SUB: usize, const N: usize>(
        &self,
        tile: &Tile<'_>,
        sub: SubBlock,
        r: usize,
    ) {
        let shape = self.weight.shape();
        let mut x = [std::ptr::null(); N];
        let mut x_sums = [std::ptr::null(); N];
        for n in 0..N {
            x[n] = self.x.row(r + n).as_ptr();
            x_sums[n] = self.x.sums(r + n).as_ptr();
        }
        let mut acc = [D::Float::zero(); N];
        for b in 0..shape.blocks() {
            let block = Block::new(shape, sub, b);
            let chunks = shape.block_width(b) / CHUNK;
            let mut w = block.chunk(tile.bytes, 0);
            let mut ahead = w.z.wrapping_add(AHEAD);
            let mut sums = [D::zero(); N];
            for _ in 0..chunks {
                for _ in 0..NIBBLE_LINES {
                    prefetch(ahead);
                    ahead = ahead.wrapping_add(CHUNK);
                }
                // SAFETY: a block has all parts of each of its chunks of 64 columns, and a row its
                // planes and sums; all pointers have moved on by the chunks before.
                unsafe { D::nibbles::<SUB, N>(&mut sums, w, x, x_sums) };
                w.z = w.z.wrapping_add(CHUNK / SUB * TILE);
                w.m = w.m.wrapping_add(CHUNK / SUB * TILE / 2);
                w.q = w.q.wrapping_add(CHUNK * TILE / 2);
                x = x.map(|x| x.wrapping_add(2 * CHUNK));
                x_sums = x_sums.map(|sums| sums.wrapping_add(1));
            }
            // SAFETY: a tile has 16 scales for each block.
            let scale = unsafe {
                let scales = tile.bytes.as_ptr().cast::<u16>();
                D::Float::load_f16(scales.add(b * TILE))
            };
            for n in 0..N {
                let scale = scale.mul(D::Float::splat(self.x.heads(r + n)[b].scale));
                acc[n] = sums[n].total(0).fma(scale, acc[n]);
            }
        }
        for n in 0..N {
            self.finish(acc[n], tile.rows.clone(), r + n);
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
            let ahead = self.ahead(tile, tiles, group, groups);
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
    fn ahead<const T: usize>(
        &self,
        tile: usize,
        tiles: [Operand; T],
        group: usize,
        groups: usize,
    ) -> [usize; T] {
        let mut next = [0; T];
        for t in 0..T {
            let stored = tiles[t].stored as usize + T * self.weight.shape().tile_bytes();
            next[t] = stored.wrapping_sub(tiles[t].values as usize);
        }
        // Where the tiles were expanded, that has asked for what follows closely.
        let close = match self.weight.shape().scheme() {
            PackedScheme::Q8 | PackedScheme::Grouped { .. } => [AHEAD; T],
            PackedScheme::Q4 { .. } => next,
        };
        match (tile == self.tiles.start, group) {
            _ if groups == 1 => close,
            // Nobody has asked for a task's first tiles.
            (true, 0) => close,
            (true, 1) => next,
            // Half of the next tiles in each of two groups: so memory and products overlap longest.
            (false, 0 | 1) => {
                let mut ahead = [0; T];
                ahead[group % T] = next[group % T];
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
            let dots = unsafe { D::dots::<T, N, P>(values, planes, chunks, ahead) };
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
                let outputs = tiles[t].first..tiles[t].first + tiles[t].rows;
                self.finish(acc[t][n], outputs, r + n);
            }
        }
    }

    /// Writes the outputs `outputs`, those of a tile, of input row `r`.
    #[inline(always)]
    pub(super) fn finish<L: Lanes>(&self, acc: L, outputs: Range<usize>, r: usize) {
        let start = r * self.weight.rows();
        // SAFETY: a tile meets an input row in one task alone.
        let out = unsafe { self.out.part(start + outputs.start..start + outputs.end) };
        match self.bias {
            Some(bias) => acc.add(L::get(&bias[outputs], 0)).put(out, 0),
            None => acc.put(out, 0),
        }
    }
}

/// Expands `tile` to int8: 64 bytes for each 4 columns, to the front of `out`. Asks for what follows.
#[inline(always)]
pub(super) fn expand<D: Dots, const SUB: usize>(
    tile: &[u8],
    shape: PackedShape,
    sub: SubBlock,
    out: &mut [i8],
) {
    let mut out = out.chunks_exact_mut(CHUNK * TILE);
    for b in 0..shape.blocks() {
        let block = Block::new(shape, sub, b);
        for c in (0..shape.block_width(b)).step_by(CHUNK) {
            let w = block.chunk(tile, c);
            for line in 0..8 {
                prefetch(w.q.wrapping_add(AHEAD + line * CHUNK));
            }
            let out = out.next().expect("1,024 bytes for each 64 columns");
            let out = out.try_into().expect("a chunk has as many");
            // SAFETY: a block has all parts of each of its chunks of 64 columns.
            unsafe { D::expand::<SUB>(w, out) };
        }
    }
}
