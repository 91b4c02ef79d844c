//! Memory that a task needs only while it runs.
//!
//! In: a size. Out: 64-byte aligned floats with whatever was last in them. Each thread keeps its
//! largest, so that after the first call of a shape nothing is allocated.

use std::cell::RefCell;

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[expect(dead_code, reason = "read as floats")] [f32; 16]);

thread_local! {
    static KEPT: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// Calls `f` with `floats` floats of unspecified value.
pub(crate) fn with<R>(floats: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    // Taken out rather than borrowed: a nested call finds an empty one and allocates its own.
    let mut lines = KEPT.take();
    if lines.len() < floats.div_ceil(16) {
        lines.resize(floats.div_ceil(16), Line([0.0; 16]));
    }
    // SAFETY: a `Line` is 16 floats without padding, and there are enough lines.
    let slice = unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), floats) };
    let result = f(slice);
    KEPT.set(lines);
    result
}
