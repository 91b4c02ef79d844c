//! Products of input rows with a packed weight.
//!
//! Layout: weights see [`super`], input rows see [`super::activations`], outputs `[rows, out]`.
//! Contract: acc = 0; for each block of 256 columns in order, with the exact integer dot product:
//! acc = fma(f32(dot), S s, acc), S the weight's scale and s the row's; then + bias. So an output
//! depends on its input row and weight row alone, whatever the instruction set, the number of
//! threads or the rows beside it. A row with a NaN or an infinity gives NaN.
//! A task has some tiles of weight and a block of input rows. While the rows are few, it reads the
//! tiles once, in the order they lie in memory, asks for them ahead, and keeps several sums of each
//! row so that no instruction waits for the one before. While they are many, one or two tiles stay
//! in the second cache, mostly the first, and the rows pass by in groups whose sums fill the
//! registers; the floats are touched once in 256 columns. The first two groups of rows ask for the
//! tiles that come next, so that memory and products overlap.
//! Measured: AMD EPYC (Zen 5, family 26 model 2), 3,584 x 1,024, one thread, best of many on a busy
//! machine (`examples/rates.rs`); operations are 2 x rows x 3,584 x 1,024, half of what the integer
//! units do for the two planes. AVX-512 VNNI: 1 row 44 GB/s and 4 rows 43 (a plain read 41 to 43);
//! 8 rows 478 GOP/s, 64 rows 485, 512 rows 486, which is 88 to 89 % of the peak of `vpdpbusd` (545,
//! 1,090 raw). AVX-VNNI: 1 row 38 GB/s, 512 rows 254 GOP/s. AVX2: 1 row 40 GB/s, 512 rows 121
//! GOP/s. Where nothing asks for the next tiles 8 rows reach 230 GOP/s and 64 rows 389; asking 4
//! KiB ahead instead of 8, 4 rows reach 38 GB/s. With two threads, others busy on the second core:
//! no more.

use std::cell::RefCell;
use std::ops::Range;

use super::activations::{Activations, BlockHead, quantise_rows};
use super::dots::Dots;
use super::int_isa::IntBody;
use super::{CHUNK, PackedQ8, PackedShape, TILE};
use crate::cpu::Cpu;
use crate::lanes::Lanes;
use crate::linear::prefetch;
use crate::parts::Parts;

/// Input rows that count as few.
const FEW_ROWS: usize = 4;
/// Bytes of weight in a task, about, while its rows are few.
const FEW_ROWS_BYTES: usize = 128 * 1024;
/// The same while they are many, at most.
const TASK_BYTES: usize = 256 * 1024;
/// Tasks for each thread, where the weight is large enough: so many that they end together.
const TASKS: usize = 12;
/// Bytes ahead of the weights in use that are asked for.
const AHEAD: usize = 8192;
/// Bytes of input rows in a task, about: they should lie in the second cache beside the tiles.
const ROWS_BYTES: usize = 512 * 1024;
/// What the rows of a task are a multiple of: groups of 3, 4 and 6 rows divide it.
const GROUPS: usize = 12;

thread_local! {
    static KEPT: RefCell<Activations> = RefCell::new(Activations::new());
}

/// `out = x weight^T + bias`. `x`: `[rows, columns]`, quantised on the way; `out`: `[rows,
/// outputs]`; `bias`: `[outputs]`.
///
/// # Panics
/// If a length does not fit.
pub fn linear_q8(
    cpu: &Cpu,
    weight: PackedQ8<'_>,
    bias: Option<&[f32]>,
    x: &[f32],
    out: &mut [f32],
) {
    // Taken out rather than borrowed: a nested call finds an empty one and allocates its own.
    let mut kept = KEPT.take();
    quantise_rows(cpu, x, weight.shape().columns(), &mut kept);
    linear_q8_quantised(cpu, weight, bias, &kept, out);
    KEPT.set(kept);
}

/// As [`linear_q8`] for rows already quantised, which several weights may share.
///
/// # Panics
/// If a length does not fit.
pub fn linear_q8_quantised(
    cpu: &Cpu,
    weight: PackedQ8<'_>,
    bias: Option<&[f32]>,
    x: &Activations,
    out: &mut [f32],
) {
    let (shape, rows) = (weight.shape(), x.rows());
    let outputs = shape.rows();
    assert_eq!(x.columns(), shape.columns(), "columns of input and weight");
    assert_eq!(out.len(), rows * outputs, "output [{rows}, {outputs}]");
    let fits = bias.is_none_or(|b| b.len() == outputs);
    assert!(fits, "bias of {outputs} outputs");
    let (tiles, block) = cut(cpu, shape, rows);
    let groups = shape.tiles().div_ceil(tiles);
    let out = Parts::new(out);
    cpu.run(groups * rows.div_ceil(block), &|i| {
        let (first, start) = (i % groups * tiles, i / groups * block);
        cpu.int_isa().run(Product {
            weight: weight.bytes(),
            shape,
            bias,
            x,
            out: &out,
            tiles: first..shape.tiles().min(first + tiles),
            rows: start..rows.min(start + block),
        });
    });
}

/// Tiles of weight and input rows of a task.
fn cut(cpu: &Cpu, shape: PackedShape, rows: usize) -> (usize, usize) {
    if rows <= FEW_ROWS {
        return ((FEW_ROWS_BYTES / shape.tile_bytes()).max(1), FEW_ROWS);
    }
    let block = ROWS_BYTES / (2 * shape.padded_columns());
    let block = block.next_multiple_of(GROUPS);
    let tasks = |tiles| shape.tiles().div_ceil(tiles) * rows.div_ceil(block);
    let mut tiles = (TASK_BYTES / shape.tile_bytes()).next_multiple_of(2).max(2);
    while tiles > 2 && tasks(tiles) < TASKS * cpu.threads() {
        tiles = (tiles / 2).next_multiple_of(2);
    }
    (tiles, block)
}

/// The input rows `rows` against the weight's tiles `tiles`.
struct Product<'a> {
    weight: &'a [u8],
    shape: PackedShape,
    bias: Option<&'a [f32]>,
    x: &'a Activations,
    out: &'a Parts<'a, f32>,
    tiles: Range<usize>,
    rows: Range<usize>,
}

impl IntBody for Product<'_> {
    #[inline(always)]
    fn run<D: Dots>(self) {
        let rows = self.rows.len();
        if self.x.rows() <= FEW_ROWS && rows <= D::ROWS {
            let r = self.rows.start;
            for tile in self.tiles.clone() {
                match (rows, D::TILES) {
                    (1, _) => self.group::<D, 1, 1, 4>(tile, r, [AHEAD]),
                    (2, _) => self.group::<D, 1, 2, 2>(tile, r, [AHEAD]),
                    // Two tiles say that there are registers for more sums.
                    (3, 2) => self.group::<D, 1, 3, 2>(tile, r, [AHEAD]),
                    (4, 2) => self.group::<D, 1, 4, 2>(tile, r, [AHEAD]),
                    (3, _) => self.group::<D, 1, 3, 1>(tile, r, [AHEAD]),
                    _ => self.group::<D, 1, 4, 1>(tile, r, [AHEAD]),
                }
            }
            return;
        }
        let mut tile = self.tiles.start;
        while D::TILES == 2 && self.tiles.end - tile >= 2 {
            self.all_rows::<D, 2>(tile);
            tile += 2;
        }
        while tile < self.tiles.end {
            self.all_rows::<D, 1>(tile);
            tile += 1;
        }
    }
}

impl Product<'_> {
    /// All input rows against T tiles from `tile` on, in groups of even height: 7 rows are 4 + 3,
    /// not 6 + 1.
    #[inline(always)]
    fn all_rows<D: Dots, const T: usize>(&self, tile: usize) {
        let groups = self.rows.len().div_ceil(D::ROWS).max(1);
        let height = self.rows.len().div_ceil(groups);
        let mut r = self.rows.start;
        while r < self.rows.end {
            let n = height.min(self.rows.end - r);
            let ahead = self.ahead::<T>(tile, (r - self.rows.start) / height, groups);
            match n {
                1 => self.group::<D, T, 1, 1>(tile, r, ahead),
                2 => self.group::<D, T, 2, 1>(tile, r, ahead),
                3 => self.group::<D, T, 3, 1>(tile, r, ahead),
                4 if D::ROWS >= 4 => self.group::<D, T, 4, 1>(tile, r, ahead),
                5 if D::ROWS >= 5 => self.group::<D, T, 5, 1>(tile, r, ahead),
                _ if D::ROWS >= 6 => self.group::<D, T, 6, 1>(tile, r, ahead),
                _ => unreachable!("a group has at most {} rows", D::ROWS),
            }
            r += n;
        }
    }

    /// How far beyond the weights in use of each of T tiles group `group` of `groups` asks for
    /// others. 0 asks for nothing new.
    #[inline(always)]
    fn ahead<const T: usize>(&self, tile: usize, group: usize, groups: usize) -> [usize; T] {
        let next = T * self.shape.tile_bytes();
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

    /// Input rows `r..r + N` against tiles `tile..tile + T`, each product in P sums.
    #[inline(always)]
    fn group<D: Dots, const T: usize, const N: usize, const P: usize>(
        &self,
        tile: usize,
        r: usize,
        ahead: [usize; T],
    ) {
        let shape = self.shape;
        let mut heads: [&[BlockHead]; N] = [&[]; N];
        let mut planes = [std::ptr::null(); N];
        for n in 0..N {
            heads[n] = self.x.heads(r + n);
            planes[n] = self.x.row(r + n).as_ptr();
        }
        let mut scales = [std::ptr::null::<u16>(); T];
        let mut values = [std::ptr::null::<i8>(); T];
        for t in 0..T {
            let start = (tile + t) * shape.tile_bytes();
            let bytes = &self.weight[start..start + shape.tile_bytes()];
            scales[t] = bytes.as_ptr().cast();
            values[t] = bytes[shape.scales_bytes()..].as_ptr().cast();
        }
        let mut acc = [[D::Float::zero(); N]; T];
        for b in 0..shape.blocks() {
            let chunks = shape.block_width(b) / CHUNK;
            // SAFETY: a tile has 16 scales for each block, and 16 bytes for each column of all its
            // blocks; a row has 2. Both pointers have moved on by the blocks before.
            let dots = unsafe { dots::<D, T, N, P>(values, planes, chunks, ahead) };
            for t in 0..T {
                // SAFETY: as above.
                let scale = unsafe { D::Float::load_f16(scales[t].add(b * TILE)) };
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
                self.finish(acc[t][n], tile + t, r + n);
            }
        }
    }

    /// Writes the outputs of `tile` for input row `r`.
    #[inline(always)]
    fn finish<L: Lanes>(&self, acc: L, tile: usize, r: usize) {
        let outputs = self.shape.rows();
        let (first, end) = (tile * TILE, outputs.min((tile + 1) * TILE));
        // SAFETY: a tile meets an input row in one task alone.
        let out = unsafe { self.out.part(r * outputs + first..r * outputs + end) };
        match self.bias {
            Some(bias) => acc.add(L::get(&bias[first..end], 0)).put(out, 0),
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
