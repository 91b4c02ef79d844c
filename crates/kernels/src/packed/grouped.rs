//! Grouped weights, those of files of other makers: where their parts lie, and their products.
//!
//! Layout: see [`super`], whose formulas these are. Scales and minima are f32, which holds those of
//! f16 and of bf16.
//! Contract: an output is, from 0 on, group by group in order of columns, fma(f32(d), scale * s,
//! acc), where d is the dot product of the group's integers with the input's, exact and below 2^30,
//! and s the scale of the input's block; with minima then fma(f32(v), minimum * s, acc), where v is
//! the exact sum of the input's integers over the group. All sets of instructions give the same
//! bits. A tile of 4 bits is expanded to int8 once for all input rows of a task; one tile at a time
//! meets groups of input rows whose sums fill the registers. AMX leaves them to the vectors. The sum of an
//! input's integers over 16 columns is taken where it is needed, those over 32 with the input.
//! Measured: AMD EPYC (Zen 5, family 26 model 2), 3,584 x 1,024, one thread, best of many on a machine
//! that others use (`examples/rates.rs`), AVX-512 VNNI; operations as in [`super::linear`], q8 beside
//! it 1 row 40 GB/s, 64 rows 498 GOP/s. g8_32: 1 row 30 GB/s, 4 rows 28; 64 rows 245 GOP/s. g4_32:
//! 1 row 19 GB/s, 4 rows 11; 64 rows 243 GOP/s. g4_64m: 1 row 20 GB/s, 64 rows 297 GOP/s.

use std::ops::Range;

use super::activations::{BlockHead, HALF};
use super::dots::{Dots, Nibbles};
use super::product::{AHEAD, Product};
use super::{BLOCK, CHUNK, GroupBits, GroupColumns, TILE};
use crate::lanes::{LANES, Lanes as _};
use crate::linear::prefetch;

/// Columns of the smallest groups.
const QUARTER: usize = CHUNK / 4;

/// How groups are stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form {
    pub(crate) bits: GroupBits,
    /// Columns of a group.
    pub(crate) group: usize,
    /// Whether a minimum is added.
    pub(crate) minimum: bool,
}

impl Form {
    #[inline(always)]
    pub(crate) fn new(bits: GroupBits, group: GroupColumns, minimum: bool) -> Form {
        let group = group.columns();
        Form {
            bits,
            group,
            minimum,
        }
    }

    /// Floats of a tile for each group.
    #[inline(always)]
    fn floats(self) -> usize {
        if self.minimum { 2 * TILE } else { TILE }
    }

    /// Bytes of a tile's scales and minima.
    pub(crate) fn front_bytes(self, columns: usize) -> usize {
        columns.div_ceil(self.group) * self.floats() * size_of::<f32>()
    }

    /// The scale, and the minimum or 0, of row `lane` and group `g` of `tile`.
    pub(crate) fn scale(self, tile: &[u8], lane: usize, g: usize) -> (f32, f32) {
        let float = |i: usize| {
            let at = (g * self.floats() + i) * size_of::<f32>();
            f32::from_le_bytes([tile[at], tile[at + 1], tile[at + 2], tile[at + 3]])
        };
        let minimum = if self.minimum {
            float(TILE + lane)
        } else {
            0.0
        };
        (float(lane), minimum)
    }

    /// Writes them.
    pub(crate) fn put_scale(
        self,
        tile: &mut [u8],
        (lane, g): (usize, usize),
        (scale, minimum): (f32, f32),
    ) {
        let mut put = |i: usize, x: f32| {
            let at = (g * self.floats() + i) * size_of::<f32>();
            tile[at..at + size_of::<f32>()].copy_from_slice(&x.to_le_bytes());
        };
        put(lane, scale);
        if self.minimum {
            put(TILE + lane, minimum);
        }
    }

    /// The least and the largest integer.
    pub(crate) fn ends(self) -> (i8, i8) {
        match (self.bits, self.minimum) {
            (GroupBits::Eight, _) => (-128, 127),
            (GroupBits::Four, true) => (0, 15),
            (GroupBits::Four, false) => (-8, 7),
        }
    }

    /// The integer of row `lane` and `column` among the values of a tile.
    pub(crate) fn quant(self, values: &[u8], lane: usize, column: usize) -> i8 {
        match self.bits {
            GroupBits::Eight => values[column / 4 * CHUNK + lane * 4 + column % 4] as i8,
            GroupBits::Four => {
                let byte = values[column / 8 * CHUNK + lane * 4 + column % 4];
                (byte >> (column % 8 / 4 * 4) & 15) as i8 + self.ends().0
            }
        }
    }

    /// Writes it; the values were zero there.
    pub(crate) fn put_quant(self, values: &mut [u8], lane: usize, column: usize, quant: i8) {
        match self.bits {
            GroupBits::Eight => {
                values[column / 4 * CHUNK + lane * 4 + column % 4] = quant as u8;
            }
            GroupBits::Four => {
                let q = (quant - self.ends().0) as u8 & 15;
                values[column / 8 * CHUNK + lane * 4 + column % 4] |= q << (column % 8 / 4 * 4);
            }
        }
    }
}

/// A tile as the products read it: all groups of it, in order.
struct Operand {
    /// 64 bytes of int8 for each 4 columns; as stored, or expanded.
    values: *const i8,
    /// 16 scales for each group, and 16 minima behind them.
    front: *const f32,
    /// The rows of the weight it has.
    rows: Range<usize>,
}

impl Product<'_> {
    /// All input rows against the tiles.
    #[inline(always)]
    pub(super) fn grouped<D: Dots>(self, form: Form) {
        let shape = self.weight.shape();
        let parts = self.rows.len().div_ceil(D::ROWS).max(1);
        let height = self.rows.len().div_ceil(parts);
        for tile in self.tiles.clone() {
            let tile = self.weight.tile(tile);
            let (front, stored) = tile.bytes.split_at(shape.scales_bytes());
            let operand = Operand {
                values: match form.bits {
                    GroupBits::Eight => stored.as_ptr().cast(),
                    GroupBits::Four => expand::<D>(form, stored, self.expanded),
                },
                front: front.as_ptr().cast(),
                rows: tile.rows,
            };
            let mut r = self.rows.start;
            while r < self.rows.end {
                let n = height.min(self.rows.end - r);
                // What was expanded is near.
                let stored = operand.values == stored.as_ptr().cast::<i8>();
                let ahead = if stored && r == self.rows.start {
                    AHEAD
                } else {
                    0
                };
                match n {
                    1 => self.group_rows::<D, 1>(form, &operand, r, ahead),
                    2 => self.group_rows::<D, 2>(form, &operand, r, ahead),
                    3 => self.group_rows::<D, 3>(form, &operand, r, ahead),
                    4 if D::ROWS >= 4 => self.group_rows::<D, 4>(form, &operand, r, ahead),
                    5 if D::ROWS >= 5 => self.group_rows::<D, 5>(form, &operand, r, ahead),
                    _ if D::ROWS >= 6 => self.group_rows::<D, 6>(form, &operand, r, ahead),
                    _ => unreachable!("a group has at most {} rows", D::ROWS),
                }
                r += n;
            }
        }
    }

    /// Input rows `r..r + N` against one tile.
    #[inline(always)]
    fn group_rows<D: Dots, const N: usize>(
        &self,
        form: Form,
        tile: &Operand,
        r: usize,
        ahead: usize,
    ) {
        let shape = self.weight.shape();
        let mut heads: [&[BlockHead]; N] = [&[]; N];
        let mut planes = [std::ptr::null(); N];
        for n in 0..N {
            heads[n] = self.x.heads(r + n);
            planes[n] = self.x.row(r + n).as_ptr();
        }
        let (mut values, mut front) = (tile.values, tile.front);
        let mut acc = [D::Float::zero(); N];
        for b in 0..shape.blocks() {
            let width = shape.block_width(b);
            let columns = (shape.columns() - b * BLOCK).min(BLOCK);
            for start in (0..columns).step_by(form.group) {
                let end = width.min(start + form.group);
                let halves = start / HALF..end / HALF;
                // SAFETY: an operand has 16 bytes for each column of all its blocks; a row has 2.
                // Both pointers have moved on by the blocks before.
                let dots = unsafe {
                    match form.group {
                        QUARTER => dots::<D, N, QUARTER>(values, planes, start..end, ahead),
                        _ => dots::<D, N, HALF>(values, planes, start..end, ahead),
                    }
                };
                // As if the next tile followed, which in a part of a weight it may not.
                prefetch(front.wrapping_byte_add(shape.tile_bytes()));
                // SAFETY: an operand has 16 scales for each group, and as many minima behind them
                // where it has minima.
                let (scale, minimum) = unsafe {
                    let minimum = if form.minimum {
                        front.add(LANES)
                    } else {
                        front
                    };
                    (D::Float::load(front), D::Float::load(minimum))
                };
                for n in 0..N {
                    let head = &heads[n][b];
                    let sum = match form.group {
                        // SAFETY: as above.
                        QUARTER => unsafe { sum(planes[n], start) },
                        _ => head.sums[halves.clone()].iter().sum::<i32>(),
                    };
                    let s = D::Float::splat(head.scale);
                    acc[n] = dots[n].total(sum).fma(scale.mul(s), acc[n]);
                    if form.minimum {
                        acc[n] = D::Float::splat(sum as f32).fma(minimum.mul(s), acc[n]);
                    }
                }
                front = front.wrapping_add(form.floats());
            }
            values = values.wrapping_add(width * TILE);
            planes = planes.map(|planes| planes.wrapping_add(2 * width));
        }
        for n in 0..N {
            self.finish(acc[n], tile.rows.clone(), r + n);
        }
    }
}

/// Where the high plane of `column` stands in a row: both planes of 64 columns, then those of the next.
#[inline(always)]
fn place(column: usize) -> usize {
    column / CHUNK * 2 * CHUNK + column % CHUNK
}

/// The sum of the input's integers over the 16 columns from `start` on.
///
/// # Safety
/// Both planes of these columns are readable at `planes`.
#[inline(always)]
unsafe fn sum(planes: *const i8, start: usize) -> i32 {
    let at = planes.wrapping_add(place(start));
    let (mut high, mut low) = (0, 0);
    for i in 0..QUARTER {
        // SAFETY: the caller's promise.
        unsafe {
            high += i32::from(*at.add(i));
            low += i32::from(*at.add(CHUNK + i));
        }
    }
    128 * high + low
}

/// The dot products of the columns `columns` of a block of a tile with N rows, whole stretches of UNIT, 16 or 32.
///
/// # Safety
/// 16 readable bytes at `values` for each column of the block up to the last one, and 2 at each of
/// `planes`, in whole chunks of 128.
#[inline(always)]
unsafe fn dots<D: Dots, const N: usize, const UNIT: usize>(
    values: *const i8,
    planes: [*const i8; N],
    columns: Range<usize>,
    ahead: usize,
) -> [D; N] {
    let mut sums = [D::zero(); N];
    for column in columns.step_by(UNIT) {
        let x_at = place(column);
        for step in 0..UNIT / 4 {
            let at = values.wrapping_add((column + 4 * step) * TILE);
            prefetch(at.wrapping_add(ahead));
            // SAFETY: the caller's promise.
            let w = unsafe { D::weights(at) };
            for n in 0..N {
                // SAFETY: as above.
                let x = unsafe { D::inputs(planes[n].add(x_at + 4 * step)) };
                sums[n] = sums[n].step(w, x);
            }
        }
    }
    sums
}

/// A multiplier of 1 for two sub-blocks of 4-bit weights.
static ONES: [u8; TILE] = [0x11; TILE];
/// What 8 stands for in two sub-blocks of 32: itself, or nothing.
static MIDDLES: [[i8; 2 * TILE]; 2] = [[0; 2 * TILE], [8; 2 * TILE]];

/// Expands the values `stored` of a tile of 4 bits to int8, to the front of `out`: there they are.
/// Asks for what follows.
#[inline(always)]
fn expand<D: Dots>(form: Form, stored: &[u8], out: &mut [f32]) -> *const i8 {
    // SAFETY: as many bytes as the floats have; any bits are a float.
    let out =
        unsafe { std::slice::from_raw_parts_mut(out.as_mut_ptr().cast::<i8>(), size_of_val(out)) };
    let chunks = stored.chunks_exact(CHUNK * TILE / 2);
    for (q, out) in chunks.zip(out.chunks_exact_mut(CHUNK * TILE)) {
        for line in 0..q.len() / CHUNK {
            prefetch(q.as_ptr().wrapping_add(AHEAD + line * CHUNK));
        }
        let w = Nibbles {
            z: MIDDLES[usize::from(form.minimum)].as_ptr(),
            m: ONES.as_ptr(),
            q: q.as_ptr(),
        };
        let out = out.try_into().expect("a chunk has as many");
        // SAFETY: two sub-blocks of 32 have 32 bytes of z and 16 of m, and 64 columns 512 of q.
        unsafe { D::expand::<HALF>(w, out) };
    }
    out.as_ptr()
}
