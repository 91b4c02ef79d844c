//! Products of rounded rows with panels of their format, by AMX.
//!
//! Layout: see [`super`]: operand A is 16 input rows by 64 bytes of columns (32 of bf16, 64 of int8), as
//! they lie; operand B is these columns by 16 outputs, a line of each fourth of the panel's lines. So a
//! tile of sums has the rows and columns of the outputs.
//! Contract: bf16: a sum adds 32 columns with each instruction, in order, starting at 0. int8: as
//! [`super::bytes`], the same bits. Rows that fill a tile up have no part in another row's sums.
//! Two tiles of input rows meet two of outputs at a time. The integers of a chunk of columns become floats
//! while the tiles of the next chunk multiply: the processor does both at once.
//! Measured: see [`super::product`].

use std::arch::x86_64::{_mm512_cvtepi32_ps, _mm512_load_si512};

use super::bytes::CHUNK_LINES;
use super::product::Task;
use super::rows::PanelRows;
use super::{CHUNK, CHUNK_VECTORS, LINE, Line, VECTORS};
use crate::amx::{self, Tiles};
use crate::lanes::avx512::Avx512;
use crate::lanes::{LANES, Lanes as _};

/// Input rows of a tile.
pub(super) const ROWS: usize = amx::ROWS;
/// Pairs of columns of a step.
const PAIRS: usize = 16;

/// Sums of two tiles of rows: `[32, 128]`.
#[repr(align(64))]
struct Sums([[f32; CHUNK]; 2 * ROWS]);

/// Runs `task` over the rows `x` of bf16; its rows begin on a multiple of 16.
///
/// # Safety
/// The machine has [`crate::Bf16Isa::AmxBf16`].
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn run_bf16(task: &Task<'_>, x: &PanelRows) {
    let steps = x.chunks() * CHUNK / 2 / PAIRS;
    assert!(task.rows.start.is_multiple_of(ROWS) && task.rows.end <= x.rows());
    // SAFETY: the caller's promise.
    let tiles = unsafe { Tiles::configure([ROWS; 8]) };
    let mut sums = Sums([[0.0; CHUNK]; 2 * ROWS]);
    for r in task.rows.clone().step_by(2 * ROWS) {
        let n = (2 * ROWS).min(task.rows.end - r);
        for (i, panel) in task.panels.clone().enumerate() {
            let panel = task.lines(panel);
            assert_eq!(panel.len(), steps * PAIRS * VECTORS, "lines of a panel");
            for vector in (0..VECTORS).step_by(2) {
                let out = &mut sums.0.as_flattened_mut()[(i * VECTORS + vector) * LANES..];
                // SAFETY: the caller's promise; rows have all steps, and there are rows up to a multiple of 16.
                unsafe {
                    if n > ROWS {
                        products::<true>(panel, vector, (x, r), steps, out);
                    } else {
                        products::<false>(panel, vector, (x, r), steps, out);
                    }
                }
            }
        }
        finish(task, &sums, r, n);
    }
    drop(tiles);
}

/// Makes outputs of the sums of `n` rows from `r` on.
#[inline(always)]
fn finish(task: &Task<'_>, sums: &Sums, r: usize, n: usize) {
    for (i, sums) in sums.0.iter().enumerate().take(n) {
        let mut lanes = [Avx512::zero(); CHUNK_VECTORS];
        for (v, lanes) in lanes.iter_mut().enumerate() {
            *lanes = Avx512::get(sums, v * LANES);
        }
        task.finish(&mut [lanes], r + i);
    }
}

/// The tile of rows from `r` on, and the next if BOTH, by the vectors `vector` and the next, to `sums`,
/// whose rows are a chunk apart.
///
/// # Safety
/// As [`run`]; tiles are configured in full, the rows and the panel have all steps, and `sums` 32 lanes of
/// 16 or 32 rows.
#[inline(always)]
unsafe fn products<const BOTH: bool>(
    panel: &[Line],
    vector: usize,
    (x, r): (&PanelRows, usize),
    steps: usize,
    sums: &mut [f32],
) {
    let stride = x.row_bytes();
    let one = x.row(r);
    let other = one.wrapping_add(ROWS * stride);
    let b = panel.as_ptr().cast::<u8>().wrapping_add(vector * LINE);
    // SAFETY: the caller's promise; a step has 16 pairs of four lines in the panel.
    unsafe {
        amx::zero::<0>();
        amx::zero::<1>();
        amx::zero::<2>();
        amx::zero::<3>();
        for step in 0..steps {
            let b = b.wrapping_add(step * PAIRS * VECTORS * LINE);
            let at = step * amx::ROW_BYTES;
            amx::load_strided::<4>(one.wrapping_add(at), stride);
            amx::load_strided::<6>(b, VECTORS * LINE);
            amx::dot_bf16::<0, 4, 6>();
            amx::load_strided::<7>(b.wrapping_add(LINE), VECTORS * LINE);
            amx::dot_bf16::<1, 4, 7>();
            if BOTH {
                amx::load_strided::<5>(other.wrapping_add(at), stride);
                amx::dot_bf16::<2, 5, 6>();
                amx::dot_bf16::<3, 5, 7>();
            }
        }
        let row = CHUNK * size_of::<f32>();
        let out = sums.as_mut_ptr().cast::<u8>();
        amx::store_strided::<0>(out, row);
        amx::store_strided::<1>(out.add(LINE), row);
        if BOTH {
            amx::store_strided::<2>(out.add(ROWS * row), row);
            amx::store_strided::<3>(out.add(ROWS * row + LINE), row);
        }
    }
}

/// Vectors of outputs that meet a tile of rows at a time.
const PAIR: usize = 2;
/// Tiles of columns of a chunk of int8.
const CHUNK_TILES: usize = CHUNK / amx::ROW_BYTES;

/// Integers of a chunk: `[32, 32]`.
#[repr(align(64))]
struct Dots([[i32; PAIR * LANES]; 2 * ROWS]);

/// Runs `task` over the rows `x` of int8; its rows begin on a multiple of 16.
///
/// # Safety
/// The machine has [`crate::IntIsa::AmxInt8`].
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn run_int8(task: &Task<'_>, x: &PanelRows) {
    assert!(task.rows.start.is_multiple_of(ROWS) && task.rows.end <= x.rows());
    // SAFETY: the caller's promise.
    let tiles = unsafe { Tiles::configure([ROWS; 8]) };
    let mut sums = Sums([[0.0; CHUNK]; 2 * ROWS]);
    let mut dots = [const { Dots([[0; PAIR * LANES]; 2 * ROWS]) }; 2];
    for r in task.rows.clone().step_by(2 * ROWS) {
        let n = (2 * ROWS).min(task.rows.end - r);
        let rows = Rows { x, r, n };
        for (i, panel) in task.panels.clone().enumerate() {
            let panel = task.lines(panel);
            assert_eq!(panel.len(), x.chunks() * CHUNK_LINES, "lines of a panel");
            for vector in (0..VECTORS).step_by(PAIR) {
                let at = (i * VECTORS + vector) * LANES;
                for (c, chunk) in panel.chunks_exact(CHUNK_LINES).enumerate() {
                    let [even, odd] = &mut dots;
                    let (now, before) = if c % 2 == 0 { (even, odd) } else { (odd, even) };
                    // SAFETY: the caller's promise; there are rows up to a multiple of 16.
                    unsafe {
                        if n > ROWS {
                            multiply::<true>(chunk, vector, rows, c, now);
                        } else {
                            multiply::<false>(chunk, vector, rows, c, now);
                        }
                    }
                    if c > 0 {
                        let scales = &panel[(c - 1) * CHUNK_LINES + vector..][..PAIR];
                        add_up(scales, rows, c - 1, before, &mut sums, at);
                    }
                }
                let last = x.chunks() - 1;
                let scales = &panel[last * CHUNK_LINES + vector..][..PAIR];
                add_up(scales, rows, last, &dots[last % 2], &mut sums, at);
            }
        }
        finish(task, &sums, r, n);
    }
    drop(tiles);
}

/// Rows `r..r + n` of `x`.
#[derive(Clone, Copy)]
struct Rows<'a> {
    x: &'a PanelRows,
    r: usize,
    n: usize,
}

/// The tile of rows, and the next if BOTH, by two vectors of a chunk, from `vector` on.
///
/// # Safety
/// As [`run_int8`]; tiles are configured in full, and the rows fill 16, or 32 if BOTH.
#[inline(always)]
unsafe fn multiply<const BOTH: bool>(
    chunk: &[Line],
    vector: usize,
    rows: Rows<'_>,
    c: usize,
    dots: &mut Dots,
) {
    let stride = rows.x.row_bytes();
    let one = rows.x.row(rows.r).wrapping_add(c * CHUNK);
    let other = one.wrapping_add(ROWS * stride);
    let b = chunk[VECTORS + vector..].as_ptr().cast::<u8>();
    // SAFETY: the caller's promise; a chunk has its scales and then two tiles of 16 times four lines.
    unsafe {
        amx::zero::<0>();
        amx::zero::<1>();
        amx::zero::<2>();
        amx::zero::<3>();
        for tile in 0..CHUNK_TILES {
            let b = b.wrapping_add(tile * ROWS * VECTORS * LINE);
            let at = tile * amx::ROW_BYTES;
            amx::load_strided::<4>(one.wrapping_add(at), stride);
            amx::load_strided::<6>(b, VECTORS * LINE);
            amx::dot_i8::<0, 4, 6>();
            amx::load_strided::<7>(b.wrapping_add(LINE), VECTORS * LINE);
            amx::dot_i8::<1, 4, 7>();
            if BOTH {
                amx::load_strided::<5>(other.wrapping_add(at), stride);
                amx::dot_i8::<2, 5, 6>();
                amx::dot_i8::<3, 5, 7>();
            }
        }
        let row = PAIR * LINE;
        let out = dots.0.as_mut_ptr().cast::<u8>();
        amx::store_strided::<0>(out, row);
        amx::store_strided::<1>(out.add(LINE), row);
        if BOTH {
            amx::store_strided::<2>(out.add(ROWS * row), row);
            amx::store_strided::<3>(out.add(ROWS * row + LINE), row);
        }
    }
}

/// Adds the integers of chunk `c`, by the scales of two vectors of its outputs and those of the rows, to the sums
/// from column `at` on.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
fn add_up(scales: &[Line], rows: Rows<'_>, c: usize, dots: &Dots, sums: &mut Sums, at: usize) {
    let chunks = rows.x.chunks();
    let heads = &rows.x.heads()[rows.r * chunks..(rows.r + rows.n) * chunks];
    let of_outputs = scales.as_ptr().cast::<f32>();
    for (i, head) in heads.iter().skip(c).step_by(chunks).enumerate() {
        let of_row = Avx512::splat(head.scale);
        for v in 0..PAIR {
            // SAFETY: two lines of scales, and 16 integers of a row for each vector.
            let (scale, dot) = unsafe {
                let dot = _mm512_load_si512(dots.0[i].as_ptr().add(v * LANES).cast());
                (
                    Avx512::load(of_outputs.add(v * LANES)),
                    Avx512(_mm512_cvtepi32_ps(dot)),
                )
            };
            let sum = &mut sums.0[i][at + v * LANES..][..LANES];
            let before = match c {
                0 => Avx512::zero(),
                _ => Avx512::get(sum, 0),
            };
            dot.fma(scale.mul(of_row), before).put(sum, 0);
        }
    }
}
