//! Products of rounded rows with panels of their format, by AMX.
//!
//! Layout: see [`super`]: operand A is 16 input rows by 64 bytes of columns (32 of bf16, 64 of int8), as
//! they lie; operand B is these columns by 16 outputs. So a tile of sums has the rows and columns of the outputs.
//! Contract: see [`bf16`] and [`int8`]. Rows that fill a tile up have no part in another row's sums.
//! Two tiles of input rows meet two of outputs at a time. Rows that a task meets again and again stay in the first cache: the
//! weight passes it by. What comes between the tiles' steps should be few instructions.
//! Measured: see [`super::product`].

mod bf16;
mod int8;
mod sums;

use super::product::Task;
use super::{CHUNK, CHUNK_VECTORS, LINE};
use crate::amx;
use crate::lanes::avx512::Avx512;
use crate::lanes::{LANES, Lanes as _};

pub(super) use bf16::run as run_bf16;
pub(super) use int8::run as run_int8;

/// Input rows of a tile.
const ROWS: usize = amx::ROWS;
/// Vectors of outputs that meet a tile of rows at a time.
const PAIR: usize = 2;

/// Two tiles of rows by two vectors of outputs: `[32, 32]`.
#[repr(align(64))]
struct Block<T>([[T; PAIR * LANES]; 2 * ROWS]);

/// The four tiles of a block, or the two of its first rows, to `out`.
///
/// # Safety
/// Configured tiles; a writable [`Block`].
#[inline(always)]
unsafe fn store<const BOTH: bool>(out: *mut u8) {
    let row = PAIR * LINE;
    // SAFETY: the caller's promise.
    unsafe {
        amx::store_strided::<0>(out, row);
        amx::store_strided::<1>(out.add(LINE), row);
        if BOTH {
            amx::store_strided::<2>(out.add(ROWS * row), row);
            amx::store_strided::<3>(out.add(ROWS * row + LINE), row);
        }
    }
}

/// Sums of two tiles of rows: `[32, 128]`.
#[repr(align(64))]
struct Wide([[f32; CHUNK]; 2 * ROWS]);

/// Makes outputs of the sums of `n` rows from `r` on.
#[inline(always)]
fn finish(task: &Task<'_>, sums: &Wide, r: usize, n: usize) {
    for (i, sums) in sums.0.iter().enumerate().take(n) {
        let mut lanes = [Avx512::zero(); CHUNK_VECTORS];
        for (v, lanes) in lanes.iter_mut().enumerate() {
            *lanes = Avx512::get(sums, v * LANES);
        }
        task.finish(&mut [lanes], r + i);
    }
}
