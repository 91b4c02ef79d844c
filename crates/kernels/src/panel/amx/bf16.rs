//! Products of rows of bf16.
//!
//! Layout: operand B is 16 lines of the panel one after the other.
//! Contract: a sum adds 32 columns with each instruction, in order, starting at 0.
//! Beside each step some rows of the block before become outputs: the processor does both at once.
//! Measured: see [`super::super::product`].

use std::mem::MaybeUninit;

use super::super::product::Task;
use super::super::rows::PanelRows;
use super::super::{CHUNK, LINE, Line, PANEL, PanelFormat, VECTORS};
use super::sums::{AsIs, Coarse, Exact, Gelu, Sums, WayOut, put_nothing};
use super::{Block, PAIR, ROWS, Wide, finish, store};
use crate::amx::{self, Tiles};
use crate::elementwise::Activation;
use crate::lanes::LANES;

/// Pairs of columns of a step.
const PAIRS: usize = 16;

/// Runs `task`, whose weight lies in the order of tiles, over the rows `x` of bf16; its rows begin on a multiple of 16.
///
/// # Safety
/// The machine has [`crate::Bf16Isa::AmxBf16`].
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
pub(in super::super) unsafe fn run(task: &Task<'_>, x: &PanelRows) {
    // SAFETY: the caller's promise. A loop of its own for each activation keeps its constants in registers.
    unsafe {
        if task.rounds() == Some(PanelFormat::Int8) {
            return chunks(task, x);
        }
        match (task.activation(), task.rounds().is_some()) {
            (None, _) => blocks(task, x, AsIs),
            (Some(Activation::Gelu), true) => blocks(task, x, Gelu),
            (Some(other), true) => blocks(task, x, Coarse(other)),
            (Some(other), false) => blocks(task, x, Exact(other)),
        }
    }
}

/// All blocks of a task: while the tiles of one multiply, the vectors make outputs of the one before.
///
/// # Safety
/// As [`run`].
#[inline(always)]
unsafe fn blocks<W: WayOut>(task: &Task<'_>, x: &PanelRows, way: W) {
    let steps = x.chunks() * CHUNK / 2 / PAIRS;
    assert!(task.rows.start.is_multiple_of(ROWS) && task.rows.end <= x.rows());
    // SAFETY: the caller's promise.
    let tiles = unsafe { Tiles::configure([ROWS; 8]) };
    let mut room = MaybeUninit::<[Block<f32>; 2]>::uninit();
    let sums = room.as_mut_ptr().cast::<Block<f32>>();
    let each = (2 * ROWS).div_ceil(steps);
    let mut before = Sums::none(way, each);
    let mut turn = 0;
    for r in task.rows.clone().step_by(2 * ROWS) {
        let n = (2 * ROWS).min(task.rows.end - r);
        for panel in task.panels.clone() {
            let lines = task.lines(panel);
            assert_eq!(lines.len(), steps * PAIRS * VECTORS, "lines of a panel");
            for vector in (0..VECTORS).step_by(PAIR) {
                let rows = (x, r, n > ROWS);
                // SAFETY: the caller's promise; rows have all steps, and there are rows up to a multiple of 16. The room
                // is of two blocks: this one and the one before.
                unsafe {
                    multiply_beside(lines, vector, rows, sums.add(turn), &before);
                }
                let place = (r..r + n, panel * PANEL + vector * LANES);
                before = Sums::new(task, sums.wrapping_add(turn), place, (way, each));
                turn = 1 - turn;
            }
        }
    }
    drop(tiles);
    for i in 0..before.rows {
        // SAFETY: the caller's promise; its products are done.
        unsafe { before.row(i) };
    }
    put_nothing(task);
}

/// [`products`] of one tile of rows or two.
///
/// # Safety
/// As [`products`].
#[inline(always)]
unsafe fn multiply_beside<W: WayOut>(
    panel: &[Line],
    vector: usize,
    (x, r, both): (&PanelRows, usize, bool),
    sums: *mut Block<f32>,
    before: &Sums<W>,
) {
    // SAFETY: the caller's promise.
    unsafe {
        if both {
            products::<true, W>(panel, vector, (x, r), sums, before);
        } else {
            products::<false, W>(panel, vector, (x, r), sums, before);
        }
    }
}

/// As [`blocks`] where outputs are rounded to bytes, which takes all columns of a chunk.
///
/// # Safety
/// As [`run`].
#[inline(always)]
unsafe fn chunks(task: &Task<'_>, x: &PanelRows) {
    let steps = x.chunks() * CHUNK / 2 / PAIRS;
    assert!(task.rows.start.is_multiple_of(ROWS) && task.rows.end <= x.rows());
    // SAFETY: the caller's promise.
    let tiles = unsafe { Tiles::configure([ROWS; 8]) };
    let mut sums = Wide([[0.0; CHUNK]; 2 * ROWS]);
    let mut block = Block([[0.0; PAIR * LANES]; 2 * ROWS]);
    let none = Sums::none(AsIs, 0);
    for r in task.rows.clone().step_by(2 * ROWS) {
        let n = (2 * ROWS).min(task.rows.end - r);
        for (i, panel) in task.panels.clone().enumerate() {
            let lines = task.lines(panel);
            assert_eq!(lines.len(), steps * PAIRS * VECTORS, "lines of a panel");
            for vector in (0..VECTORS).step_by(PAIR) {
                // SAFETY: as in `blocks`; rows up to a multiple of 16 are there, and beyond them none is read.
                unsafe { multiply_beside(lines, vector, (x, r, n > ROWS), &raw mut block, &none) };
                let at = (i * VECTORS + vector) * LANES;
                for (sums, block) in sums.0.iter_mut().zip(&block.0) {
                    sums[at..at + PAIR * LANES].copy_from_slice(block);
                }
            }
        }
        finish(task, &sums, r, n);
    }
    drop(tiles);
}

/// The tile of rows from `r` on, and the next if BOTH, by the vectors `vector` and the next, to `sums`; beside
/// each step some rows of the block before.
///
/// # Safety
/// As [`run`]; tiles are configured in full, the rows and the panel have all steps.
#[inline(always)]
unsafe fn products<const BOTH: bool, W: WayOut>(
    panel: &[Line],
    vector: usize,
    (x, r): (&PanelRows, usize),
    sums: *mut Block<f32>,
    before: &Sums<W>,
) {
    let steps = x.chunks() * CHUNK / 2 / PAIRS;
    let stride = x.row_bytes();
    let one = x.row(r);
    let other = one.wrapping_add(ROWS * stride);
    let b = panel[vector / PAIR * steps * 2 * PAIRS..]
        .as_ptr()
        .cast::<u8>();
    // SAFETY: the caller's promise; a step has two tiles of each two vectors of a panel.
    unsafe {
        amx::zero::<0>();
        amx::zero::<1>();
        amx::zero::<2>();
        amx::zero::<3>();
        for step in 0..steps {
            let b = b.wrapping_add(step * 2 * PAIRS * LINE);
            let at = step * amx::ROW_BYTES;
            // All operands first: a tile that waits for one holds up what follows.
            amx::load_strided::<4>(one.wrapping_add(at), stride);
            amx::load_passing::<6>(b, LINE);
            amx::load_passing::<7>(b.wrapping_add(PAIRS * LINE), LINE);
            if BOTH {
                amx::load_strided::<5>(other.wrapping_add(at), stride);
            }
            amx::dot_bf16::<0, 4, 6>();
            amx::dot_bf16::<1, 4, 7>();
            if BOTH {
                amx::dot_bf16::<2, 5, 6>();
                amx::dot_bf16::<3, 5, 7>();
            }
            before.beside(step);
        }
        store::<BOTH>(sums.cast());
    }
}
