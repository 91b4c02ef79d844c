//! Matrices in blocks, repacked into the kernels' tiles on all threads.
//!
//! In: blocks where they lie, a packed shape. Out: its bytes. Where the shape's scheme is the blocks' own, they hold the
//! same integers, scales and minima; else values are packed.
//! It does not know: files, or who keeps the bytes.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use lattice_kernels::PackedShape;

use super::{Bench, BlockBytes, Pieces, Rows};

/// Calls a task for each of a number of indices, in any order, on any threads.
pub(crate) type Run<'a> = dyn Fn(usize, &(dyn Fn(usize) + Sync)) + 'a;

/// Repacks a whole matrix as `shape` into `out`, which has its bytes; says of each stretch of rows when it is read. An error
/// is in words: what has no packed form, or is NaN or infinite and may not be.
pub(crate) fn repack(
    source: BlockBytes<'_>,
    shape: PackedShape,
    allow_non_finite: bool,
    out: &mut [u8],
    run: &Run<'_>,
    done: &(dyn Fn(Range<usize>) + Sync),
) -> Result<(), String> {
    let mut tasks = Vec::new();
    let (mut pieces, mut rest) = (Pieces::of(shape), out);
    while let Some(piece) = pieces.next().map_err(|error| error.to_string())? {
        let (bytes, after) = rest.split_at_mut(piece.shape.bytes());
        tasks.push((piece, Mutex::new((bytes, Ok(())))));
        rest = after;
    }
    let rows = Rows::Blocks(source);
    let benches: Mutex<Vec<Bench>> = Mutex::default();
    run(tasks.len(), &|index| {
        let (piece, task) = &tasks[index];
        let mut bench = lock(&benches).pop().unwrap_or_default();
        let (bytes, result) = &mut *lock(task);
        *result = bench.pack(&rows, piece, allow_non_finite, bytes);
        lock(&benches).push(bench);
        done(piece.rows());
    });
    tasks.into_iter().try_for_each(|(_, task)| {
        let (_, result) = task.into_inner().unwrap_or_else(PoisonError::into_inner);
        result.map_err(|error| error.to_string())
    })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
