//! The rows of a matrix in pieces that can be packed each on its own, one behind the other.
//!
//! In: a packed shape. Out: its pieces, from the first row to the last; their bytes in this order are the matrix's.
//! It does not know: where rows come from or bytes go.

use std::ops::Range;

use lattice_kernels::{PackedError, PackedShape};

/// Values of a piece, about: half a MiB of f32.
const PIECE_VALUES: usize = 1 << 17;
/// Rows that pack together.
const TILE: usize = 16;

/// Rows that are packed in one go, whole tiles of whole segments or of one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece {
    pub(crate) first_row: usize,
    pub(crate) shape: PackedShape,
}

impl Piece {
    /// Its rows in the whole matrix.
    pub(crate) fn rows(&self) -> Range<usize> {
        self.first_row..self.first_row + self.shape.rows()
    }
}

/// The pieces of a matrix, from its first row to its last.
pub(crate) struct Pieces {
    whole: PackedShape,
    next_row: usize,
}

impl Pieces {
    pub(crate) fn of(whole: PackedShape) -> Self {
        Self { whole, next_row: 0 }
    }

    /// Rows that earlier pieces have.
    pub(crate) fn next_row(&self) -> usize {
        self.next_row
    }

    pub(crate) fn next(&mut self) -> Result<Option<Piece>, PackedError> {
        let (whole, first_row) = (self.whole, self.next_row);
        if first_row == whole.rows() {
            return Ok(None);
        }
        let (columns, segment) = (whole.columns(), whole.segment());
        let wanted = (PIECE_VALUES / columns / TILE).max(1) * TILE;
        let (rows, segment) = if segment <= wanted {
            let left = whole.rows() - first_row;
            ((wanted / segment * segment).min(left), segment)
        } else {
            let left = segment - first_row % segment;
            (wanted.min(left), wanted.min(left))
        };
        self.next_row += rows;
        let shape = PackedShape::new(whole.scheme(), rows, columns, segment)?;
        Ok(Some(Piece { first_row, shape }))
    }
}
