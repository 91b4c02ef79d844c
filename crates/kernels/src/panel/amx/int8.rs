//! Products of rows of int8.
//!
//! Layout: operand B is a line of each fourth of the panel's lines.
//! Contract: as [`super::super::bytes`], the same bits.
//! The integers of three chunks become floats together, so that the sums go through memory once for all of them.
//! Measured: see [`super::super::product`].

use std::arch::x86_64::*;

use super::super::bytes::CHUNK_LINES;
use super::super::product::Task;
use super::super::rows::PanelRows;
use super::super::{CHUNK, LINE, Line, PANEL, PanelFormat, VECTORS};
use super::sums::{AsIs, Coarse, Exact, Sums, WayOut, put_nothing};
use super::{Block, PAIR, ROWS, Wide, finish, store};
use crate::amx::{self, Tiles};
use crate::lanes::avx512::Avx512;
use crate::lanes::{LANES, Lanes as _};

/// Chunks whose integers become floats together, at most: those of a row of 384 columns.
const TOGETHER: usize = 3;
/// Tiles of columns of a chunk of int8.
const CHUNK_TILES: usize = CHUNK / amx::ROW_BYTES;

/// Runs `task` over the rows `x` of int8; its rows begin on a multiple of 16.
///
/// # Safety
/// The machine has [`crate::IntIsa::AmxInt8`].
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
pub(in super::super) unsafe fn run(task: &Task<'_>, x: &PanelRows) {
    // SAFETY: the caller's promise.
    unsafe {
        match (task.activation(), task.rounds()) {
            (None, _) | (_, Some(PanelFormat::Int8)) => byte_blocks(task, x, AsIs),
            (Some(other), Some(_)) => byte_blocks(task, x, Coarse(other)),
            (Some(other), None) => byte_blocks(task, x, Exact(other)),
        }
    }
}

/// All blocks of a task over rows of int8.
///
/// # Safety
/// As [`run`].
#[inline(always)]
unsafe fn byte_blocks<W: WayOut>(task: &Task<'_>, x: &PanelRows, way: W) {
    assert!(task.rows.start.is_multiple_of(ROWS) && task.rows.end <= x.rows());
    // SAFETY: the caller's promise.
    let tiles = unsafe { Tiles::configure([ROWS; 8]) };
    let mut sums = Wide([[0.0; CHUNK]; 2 * ROWS]);
    let mut dots = [const { Block([[0; PAIR * LANES]; 2 * ROWS]) }; TOGETHER];
    // Rounding to bytes takes all columns of a chunk.
    let at_once = task.rounds() == Some(PanelFormat::Int8);
    for r in task.rows.clone().step_by(2 * ROWS) {
        let n = (2 * ROWS).min(task.rows.end - r);
        let rows = Rows { x, r, n };
        for (i, panel) in task.panels.clone().enumerate() {
            let lines = task.lines(panel);
            assert_eq!(lines.len(), x.chunks() * CHUNK_LINES, "lines of a panel");
            for vector in (0..VECTORS).step_by(PAIR) {
                let at = (i * VECTORS + vector) * LANES;
                for c in (0..x.chunks()).step_by(TOGETHER) {
                    // SAFETY: the caller's promise; there are rows up to a multiple of 16.
                    unsafe { piece(lines, vector, rows, c, &mut dots, &mut sums, at) };
                }
                if at_once {
                    continue;
                }
                let place = (r..r + n, panel * PANEL + vector * LANES);
                let ends = Sums::new(task, std::ptr::null(), place, (way, 0));
                for (i, row) in sums.0.iter().enumerate().take(n) {
                    // SAFETY: the caller's promise; two vectors of a row.
                    unsafe {
                        let row = row.as_ptr().add(at);
                        ends.put(i, [Avx512::load(row), Avx512::load(row.add(LANES))]);
                    }
                }
            }
        }
        if at_once {
            finish(task, &sums, r, n);
        }
    }
    drop(tiles);
    if !at_once {
        put_nothing(task);
    }
}

/// Chunks `c..c + 3`, as far as there are, of a panel, to the sums from column `at` on.
///
/// # Safety
/// As [`multiply`].
#[inline(always)]
unsafe fn piece(
    panel: &[Line],
    vector: usize,
    rows: Rows<'_>,
    c: usize,
    dots: &mut [Block<i32>; TOGETHER],
    sums: &mut Wide,
    at: usize,
) {
    let count = TOGETHER.min(rows.x.chunks() - c);
    let panel = &panel[c * CHUNK_LINES..(c + count) * CHUNK_LINES];
    for (k, chunk) in panel.chunks_exact(CHUNK_LINES).enumerate() {
        // SAFETY: the caller's promise.
        unsafe {
            if rows.n > ROWS {
                multiply::<true>(chunk, vector, rows, c + k, &mut dots[k]);
            } else {
                multiply::<false>(chunk, vector, rows, c + k, &mut dots[k]);
            }
        }
    }
    match count {
        1 => add_up::<1>(&panel[vector..], rows, c, dots, sums, at),
        2 => add_up::<2>(&panel[vector..], rows, c, dots, sums, at),
        _ => add_up::<TOGETHER>(&panel[vector..], rows, c, dots, sums, at),
    }
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
/// As [`run`]; tiles are configured in full, and the rows fill 16, or 32 if BOTH.
#[inline(always)]
unsafe fn multiply<const BOTH: bool>(
    chunk: &[Line],
    vector: usize,
    rows: Rows<'_>,
    c: usize,
    dots: &mut Block<i32>,
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
            amx::load_passing::<6>(b, VECTORS * LINE);
            amx::load_passing::<7>(b.wrapping_add(LINE), VECTORS * LINE);
            if BOTH {
                amx::load_strided::<5>(other.wrapping_add(at), stride);
            }
            amx::dot_i8::<0, 4, 6>();
            amx::dot_i8::<1, 4, 7>();
            if BOTH {
                amx::dot_i8::<2, 5, 6>();
                amx::dot_i8::<3, 5, 7>();
            }
        }
        store::<BOTH>(dots.0.as_mut_ptr().cast());
    }
}

/// Adds the integers of N chunks from `c` on, by the scales of two vectors of their outputs, with which `scales` begins, and
/// those of the rows, to the sums from column `at` on.
#[inline(always)]
fn add_up<const N: usize>(
    scales: &[Line],
    rows: Rows<'_>,
    c: usize,
    dots: &[Block<i32>; TOGETHER],
    sums: &mut Wide,
    at: usize,
) {
    let chunks = rows.x.chunks();
    assert!(at + PAIR * LANES <= CHUNK && scales.len() >= (N - 1) * CHUNK_LINES + PAIR);
    let heads = &rows.x.heads()[rows.r * chunks..(rows.r + rows.n) * chunks];
    assert!(c + N <= chunks && rows.n <= 2 * ROWS);
    let mut of_outputs = [[Avx512::zero(); PAIR]; N];
    for k in 0..N {
        for v in 0..PAIR {
            let line = scales[k * CHUNK_LINES + v].0.as_ptr().cast();
            // SAFETY: a line is 16 floats.
            of_outputs[k][v] = unsafe { Avx512::load(line) };
        }
    }
    for i in 0..rows.n {
        // SAFETY: a head for each chunk of each row, and 16 integers of a row and a sum of each, as asserted.
        unsafe {
            let sum = sums.0.as_mut_ptr().add(i).cast::<f32>().add(at);
            let head = heads.as_ptr().add(i * chunks + c);
            let mut y = [Avx512::zero(); PAIR];
            if c > 0 {
                y = [Avx512::load(sum), Avx512::load(sum.add(LANES))];
            }
            for k in 0..N {
                let of_row = Avx512::splat((*head.add(k)).scale);
                let dot = dots[k].0.as_ptr().add(i).cast::<i32>();
                for v in 0..PAIR {
                    let dot = _mm512_load_si512(dot.add(v * LANES).cast());
                    let dot = Avx512(_mm512_cvtepi32_ps(dot));
                    y[v] = dot.fma(of_outputs[k][v].mul(of_row), y[v]);
                }
            }
            y[0].store(sum);
            y[1].store(sum.add(LANES));
        }
    }
}
