//! One vector against rows of others, in one go of an instruction set.
//!
//! Layout: rows one behind the other; the vector as [`Prepared`] has it.
//! Contract: each row's sums are those of the two vectors alone, see [`super::float`],
//! [`super::brain`] and [`super::bytes`]: the same bits.
//! Asks for the rows that come next: they come from memory.
//! Measured: see [`super`].

use std::marker::PhantomData;

use super::element::Aligned;
use super::float::{self, Absolute, Dot, Measure, Squared, Sums};
use super::{VectorIsa, brain, bytes};
use crate::dense::Format;
use crate::lanes::{Body, Lanes};
use crate::linear::{LINE_BYTES, prefetch};

/// Bytes ahead of a row that are asked for.
const AHEAD: usize = 4096;

/// What is added up of the vector and each row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowMeasure {
    Dot,
    Squared,
    Absolute,
    /// The dot product, and that of the row by itself.
    DotAndSquare,
}

/// Rows, and where their sums go.
pub(super) struct RowTask<'a, T, R> {
    pub(super) measure: RowMeasure,
    /// `[sums.len(), columns]`.
    pub(super) rows: &'a [T],
    pub(super) columns: usize,
    pub(super) sums: &'a mut [R],
    /// Those of rows by themselves: as many, or none if they are not asked for.
    pub(super) squares: &'a mut [R],
}

impl<T, R> RowTask<'_, T, R> {
    /// Calls `row(where it begins, its number)` for each row, asking for those ahead.
    #[inline(always)]
    fn each(&mut self, mut row: impl FnMut(*const T, &mut R, Option<&mut R>)) {
        let bytes = self.columns * size_of::<T>();
        let rows = self.rows.chunks_exact(self.columns);
        let mut squares = self.squares.iter_mut();
        for (x, sum) in rows.zip(&mut *self.sums) {
            let ahead = x.as_ptr().cast::<u8>().wrapping_add(AHEAD);
            for line in (0..bytes).step_by(LINE_BYTES) {
                prefetch(ahead.wrapping_add(line));
            }
            row(x.as_ptr(), sum, squares.next());
        }
    }
}
