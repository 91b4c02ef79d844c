//! Products of rows of bf16 with panels of bf16, by AMX.
//!
//! Layout: see [`super`]: operand A is 16 input rows by 32 columns, as they lie; operand B is 16 pairs of
//! columns by 16 outputs, a line of each fourth of the panel's lines. So a tile of sums has the rows
//! and columns of the outputs.
//! Contract: a sum adds 32 columns with each instruction, in order, starting at 0. Rows that fill a tile
//! up have no part in another row's sums.
//! Two tiles of input rows meet two of outputs at a time.
//! Measured: see [`super::product`].

use super::product::Task;
use super::rows::PanelRows;
use super::{CHUNK, LINE, Line, VECTORS};
use crate::amx::{self, Tiles};
use crate::lanes::avx512::Avx512;
use crate::lanes::{LANES, Lanes as _};

/// Input rows of a tile.
pub(super) const ROWS: usize = amx::ROWS;
/// Pairs of columns of a step.
const PAIRS: usize = 16;

/// Sums of two tiles of rows: `[32, 64]`.
#[repr(align(64))]
struct Sums([[f32; VECTORS * LANES]; 2 * ROWS]);

/// Runs `task` over the rows `x`; its rows begin on a multiple of 16.
///
/// # Safety
/// The machine has [`crate::Bf16Isa::AmxBf16`].
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn run(task: &Task<'_>, x: &PanelRows) {
    let panel = task.lines();
    let steps = x.chunks() * CHUNK / 2 / PAIRS;
    assert_eq!(panel.len(), steps * PAIRS * VECTORS, "lines of a panel");
    assert!(task.rows.start.is_multiple_of(ROWS) && task.rows.end <= x.rows());
    // SAFETY: the caller's promise.
    let tiles = unsafe { Tiles::configure([ROWS; 8]) };
    let mut sums = Sums([[0.0; VECTORS * LANES]; 2 * ROWS]);
    for r in task.rows.clone().step_by(2 * ROWS) {
        let n = (2 * ROWS).min(task.rows.end - r);
        for vector in (0..VECTORS).step_by(2) {
            // SAFETY: the caller's promise; rows have all steps, and there are rows up to a multiple of 16.
            unsafe {
                if n > ROWS {
                    products::<true>(panel, vector, (x, r), steps, &mut sums);
                } else {
                    products::<false>(panel, vector, (x, r), steps, &mut sums);
                }
            }
        }
        for (i, sums) in sums.0.iter().enumerate().take(n) {
            let mut lanes = [Avx512::zero(); VECTORS];
            for (v, lanes) in lanes.iter_mut().enumerate() {
                *lanes = Avx512::get(sums, v * LANES);
            }
            task.finish(&[lanes], r + i);
        }
    }
    drop(tiles);
}

/// The tile of rows from `r` on, and the next if BOTH, by the vectors `vector` and the next.
///
/// # Safety
/// As [`run`]; tiles are configured in full, and the rows have all steps.
#[inline(always)]
unsafe fn products<const BOTH: bool>(
    panel: &[Line],
    vector: usize,
    (x, r): (&PanelRows, usize),
    steps: usize,
    sums: &mut Sums,
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
        let row = VECTORS * LINE;
        let out = sums.0.as_mut_ptr().cast::<u8>().add(vector * LINE);
        amx::store_strided::<0>(out, row);
        amx::store_strided::<1>(out.add(LINE), row);
        if BOTH {
            amx::store_strided::<2>(out.add(ROWS * row), row);
            amx::store_strided::<3>(out.add(ROWS * row + LINE), row);
        }
    }
}
