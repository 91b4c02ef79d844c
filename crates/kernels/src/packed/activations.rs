//! Input rows as integers of 15 bits.
//!
//! Layout: a row has 128 bytes for every 64 columns, the last ones filled up with zeros: 64 of the
//! high plane, then 64 of the low plane, v = 128 hi + lo with hi in -127..=127 and lo in 0..=127.
//! So one pointer reaches both planes, and the high (or low) planes of 16 rows are an AMX operand.
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
use crate::lanes::{Body, LANES, Lanes};
use crate::parts::Parts;

/// The largest |v|: 127 * 128.
const V_MAX: f32 = 16256.0;
/// 2^-100: below it the inverse of a scale would leave the normal numbers.
const TINY: f32 = 1.0 / (1u128 << 100) as f32;
/// Columns that have a sum of their own: half a chunk.
pub(crate) const HALF: usize = CHUNK / 2;
/// Bytes of both planes of 64 columns.
const CHUNK_BYTES: usize = 2 * CHUNK;

#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct Line(
    #[cfg_attr(
        not(target_arch = "x86_64"),
        expect(dead_code, reason = "read as bytes")
    )]
    pub(super) [i8; CHUNK],
);

/// What a block of a row has beside its bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct BlockHead {
    pub(crate) scale: f32,
    pub(crate) sum: i32,
    /// Of each 32 columns.
    pub(crate) sums: [i32; BLOCK / HALF],
}

/// Input rows quantised by [`quantise_rows`]. Used again, it allocates only to become larger.
#[derive(Debug, Clone, Default)]
pub struct Activations {
    rows: usize,
    columns: usize,
    lines: Vec<Line>,
    heads: Vec<BlockHead>,
    /// Of each 64 columns, or none.
    sums: Vec<ChunkSums>,
}

impl Activations {
    /// Without rows and without memory.
    pub fn new() -> Activations {
        Activations::default()
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
                let chunk = &self.row(r)[i / CHUNK * CHUNK_BYTES..];
                let (hi, lo) = (chunk[i % CHUNK], chunk[CHUNK + i % CHUNK]);
                let v = 128 * i32::from(hi) + i32::from(lo);
                out.push(self.heads(r)[i / BLOCK].scale * v as f32);
            }
        }
        out
    }

    fn row_bytes(&self) -> usize {
        self.columns.div_ceil(CHUNK) * CHUNK_BYTES
    }

    /// The bytes of row `r`.
    #[inline(always)]
    pub(crate) fn row(&self, r: usize) -> &[i8] {
        let bytes = self.row_bytes();
        assert!(r < self.rows, "row {r} of {}", self.rows);
        // SAFETY: lines are bytes without padding, and `resize` made enough of them for all rows.
        unsafe {
            std::slice::from_raw_parts(self.lines.as_ptr().cast::<i8>().add(r * bytes), bytes)
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

    fn resize(&mut self, rows: usize, columns: usize) {
        (self.rows, self.columns) = (rows, columns);
        let lines = rows * self.row_bytes() / CHUNK;
        if self.lines.len() < lines {
            self.lines.resize(lines, Line([0; CHUNK]));
        }
        self.heads
            .resize(rows * columns.div_ceil(BLOCK), BlockHead::default());
        let chunks = match rows <= FEW_ROWS {
            true => rows * columns.div_ceil(CHUNK),
            false => 0,
        };
        self.sums.resize(chunks, ChunkSums::ZERO);
    }

    fn parts_mut(&mut self) -> (&mut [i8], &mut [BlockHead], &mut [ChunkSums]) {
        let bytes = self.lines.len() * CHUNK;
        // SAFETY: lines are bytes without padding.
        let planes =
            unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), bytes) };
        (planes, &mut self.heads, &mut self.sums)
    }
}

/// Quantises all rows of `x`, `[rows, columns]`.
///
/// # Panics
/// If `x` is no whole number of rows.
pub fn quantise_rows(cpu: &Cpu, x: &[f32], columns: usize, out: &mut Activations) {
    let rows = rows_of(x, columns);
    quantise(cpu, rows, columns, out, |r| {
        &x[r * columns..(r + 1) * columns]
    });
}

/// Quantises the rows `picked` of `x`, `[rows, columns]`, in that order.
///
/// # Panics
/// If `x` is no whole number of rows, or a picked row is outside of it.
pub fn quantise_select(
    cpu: &Cpu,
    x: &[f32],
    columns: usize,
    picked: &[u32],
    out: &mut Activations,
) {
    let rows = rows_of(x, columns);
    let inside = picked.iter().all(|&r| (r as usize) < rows);
    assert!(inside, "a picked row is outside of {rows}");
    quantise(cpu, picked.len(), columns, out, |r| {
        let r = picked[r] as usize;
        &x[r * columns..(r + 1) * columns]
    });
}

fn rows_of(x: &[f32], columns: usize) -> usize {
    let whole = columns > 0 && x.len().is_multiple_of(columns);
    assert!(whole, "rows of {columns} in {}", x.len());
    x.len() / columns
}

fn quantise<'a>(
    cpu: &Cpu,
    rows: usize,
    columns: usize,
    out: &mut Activations,
    row: impl Fn(usize) -> &'a [f32] + Sync,
) {
    out.resize(rows, columns);
    let (bytes, blocks) = (out.row_bytes(), columns.div_ceil(BLOCK));
    let (planes, heads, sums) = out.parts_mut();
    // None where the rows are many.
    let chunks = sums.len() / rows.max(1);
    let (planes, heads, sums) = (Parts::new(planes), Parts::new(heads), Parts::new(sums));
    cpu.run_ranges(rows, columns, |rows| {
        for r in rows {
            // SAFETY: each row belongs to one range.
            let (planes, heads, sums) = unsafe {
                (
                    planes.part(r * bytes..(r + 1) * bytes),
                    heads.part(r * blocks..(r + 1) * blocks),
                    sums.part(r * chunks..(r + 1) * chunks),
                )
            };
            cpu.isa().run(QuantiseRow {
                x: row(r),
                planes,
                heads,
                sums,
            });
        }
    });
}

struct QuantiseRow<'a> {
    x: &'a [f32],
    planes: &'a mut [i8],
    heads: &'a mut [BlockHead],
    sums: &'a mut [ChunkSums],
}

impl Body for QuantiseRow<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let blocks = self.x.chunks(BLOCK).zip(self.planes.chunks_mut(2 * BLOCK));
        let mut sums = self.sums.chunks_mut(BLOCK / CHUNK);
        for ((x, planes), head) in blocks.zip(self.heads) {
            let mut v = [0.0; BLOCK];
            head.scale = rounded::<L>(x, &mut v);
            head.sums = split(&v, planes);
            head.sum = head.sums.iter().sum();
            if let Some(sums) = sums.next() {
                sum_chunks::<L>(&v, sums);
            }
        }
    }
}

/// The scale of block `x`; its integers, as floats, to the front of `v`, which is all zeros.
#[inline(always)]
fn rounded<L: Lanes>(x: &[f32], v: &mut [f32; BLOCK]) -> f32 {
    let (mut most, mut odd) = (L::zero(), L::zero());
    for i in (0..x.len()).step_by(LANES) {
        let x = L::get(x, i);
        most = x.max(x.neg()).max(most);
        // 0 as long as everything is finite, then NaN.
        odd = x.fma(L::zero(), odd);
    }
    let most = most.max_lane();
    if odd.sum().is_nan() {
        return f32::NAN;
    }
    if most < TINY {
        return 0.0;
    }
    let inverse = L::splat(V_MAX / most);
    for i in (0..x.len()).step_by(LANES) {
        L::get(x, i).mul(inverse).round().put(v, i);
    }
    most / V_MAX
}

/// Writes the two planes of as many values as they have room for; returns the sums of each 32.
#[inline(always)]
fn split(v: &[f32; BLOCK], planes: &mut [i8]) -> [i32; BLOCK / HALF] {
    let mut sums = [0; BLOCK / HALF];
    let chunks = v.chunks_exact(CHUNK).zip(sums.chunks_exact_mut(2));
    for ((v, sums), planes) in chunks.zip(planes.chunks_exact_mut(CHUNK_BYTES)) {
        let (hi, lo) = planes.split_at_mut(CHUNK);
        let halves = hi.chunks_exact_mut(HALF).zip(lo.chunks_exact_mut(HALF));
        for ((v, sum), (hi, lo)) in v.chunks_exact(HALF).zip(sums).zip(halves) {
            for ((v, hi), lo) in v.iter().zip(hi).zip(lo) {
                // SAFETY: an integer of at most 16,256: `rounded` left no NaN and nothing larger.
                let v = unsafe { v.to_int_unchecked::<i32>() };
                *hi = (v >> 7) as i8;
                *lo = (v & 127) as i8;
                *sum += v;
            }
        }
    }
    sums
}

/// The sums of each 64 values, as many as `sums` has room for. All are integers far below 2^24.
#[inline(always)]
fn sum_chunks<L: Lanes>(v: &[f32; BLOCK], sums: &mut [ChunkSums]) {
    const SHARE: f32 = 1.0 / 128.0;
    for (v, sums) in v.chunks_exact(CHUNK).zip(sums) {
        let (mut all, mut hi) = ([L::zero(); 4], [L::zero(); 4]);
        for i in 0..4 {
            all[i] = L::get(v, i * LANES);
            // Rounds v / 128 down: less half of what a remainder can be there are no ties.
            hi[i] = all[i].fma(L::splat(SHARE), L::splat(-63.5 * SHARE)).round();
        }
        let (all, hi) = (L::sum4(all), L::sum4(hi));
        let (mut high, mut low) = ([0; 4], [0; 4]);
        for i in 0..4 {
            // SAFETY: integers of at most 16 * 16,256.
            unsafe {
                high[i] = hi[i].to_int_unchecked::<i32>();
                low[i] = all[i].to_int_unchecked::<i32>() - 128 * high[i];
            }
        }
        *sums = ChunkSums::new(high, low);
    }
}
