//! Rows of a matrix read a piece at a time, dense or in blocks: as values, or packed.
//!
//! It does not know: which rows, or what becomes of them.

use std::ops::Range;

use lattice_kernels::{PackError, pack, pack_grouped};

use super::{BlockBytes, Groups, Piece};
use crate::checkpoint::{Dtype, Tensor};

/// Rows of a tensor that can be read value by value.
pub(crate) enum Rows<'a> {
    /// One after the other.
    Dense {
        bytes: &'a [u8],
        dtype: Dtype,
        columns: usize,
    },
    Blocks(BlockBytes<'a>),
}

impl<'a> Rows<'a> {
    /// Those of a dense tensor of F32, F16 or BF16.
    pub(crate) fn of_dense(tensor: &Tensor<'a>) -> Option<Self> {
        let dtype = tensor.form.dtype().filter(|dtype| dtype.is_weight())?;
        let columns = tensor.shape.last().copied().unwrap_or(1);
        Some(Self::Dense {
            bytes: tensor.bytes,
            dtype,
            columns,
        })
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        match self {
            Self::Dense { bytes, .. } => bytes.len() / self.row_bytes().max(1),
            Self::Blocks(blocks) => blocks.blocks.rows(),
        }
    }

    /// Bytes of a dense row; 0 of blocks.
    pub(crate) fn row_bytes(&self) -> usize {
        match self {
            Self::Dense { dtype, columns, .. } => columns * dtype.bits() / 8,
            Self::Blocks(_) => 0,
        }
    }

    /// The values of some rows, exactly, in `bench`.
    pub(crate) fn values<'b>(&self, rows: Range<usize>, bench: &'b mut Bench) -> &'b [f32] {
        match self {
            Self::Dense { bytes, dtype, .. } => {
                let size = self.row_bytes();
                bench.values.clear();
                dtype.widen(
                    &bytes[rows.start * size..rows.end * size],
                    &mut bench.values,
                );
                &bench.values
            }
            Self::Blocks(blocks) => bench.values(blocks, rows),
        }
    }
}

/// Room for a piece, used again and again.
#[derive(Debug, Default)]
pub(crate) struct Bench {
    groups: Groups,
    values: Vec<f32>,
}

impl Bench {
    /// The values of some rows.
    pub(crate) fn values(&mut self, source: &BlockBytes<'_>, rows: Range<usize>) -> &[f32] {
        self.values.clear();
        source.values(rows, &mut self.groups, &mut self.values);
        &self.values
    }

    /// The values read last.
    pub(crate) fn into_values(self) -> Vec<f32> {
        self.values
    }

    /// How many scales and minima (of plain numbers: values) of a row are NaN or infinite, and the column of the first.
    pub(crate) fn non_finite(
        &mut self,
        source: &BlockBytes<'_>,
        row: usize,
    ) -> Option<(usize, usize)> {
        if source.blocks.scheme().is_some() {
            source.groups(row..row + 1, &mut self.groups);
            let (count, first) = self.groups.non_finite()?;
            return Some((count, first * self.groups.group));
        }
        let values = self.values(source, row..row + 1);
        let mut bad = values.iter().enumerate().filter(|(_, x)| !x.is_finite());
        let (first, _) = bad.next()?;
        Some((1 + bad.count(), first))
    }

    /// Packs a piece into `out`, which has its bytes. Where the shape's scheme is the blocks' own, their integers, scales and
    /// minima are kept; else values are packed.
    ///
    /// # Errors
    /// A value, or a scale or a minimum unless they are allowed, that is NaN or infinite; what has no packed form.
    pub(crate) fn pack(
        &mut self,
        rows: &Rows<'_>,
        piece: &Piece,
        allow_non_finite: bool,
        out: &mut [u8],
    ) -> Result<(), PackError> {
        let (shape, of) = (piece.shape, piece.rows());
        let source = match rows {
            Rows::Blocks(source) if source.blocks.scheme() == Some(shape.scheme()) => source,
            _ => return pack(rows.values(of, self), shape, out),
        };
        source.groups(of, &mut self.groups);
        let groups = &self.groups;
        if !allow_non_finite && let Some((_, first)) = groups.non_finite() {
            let per_row = shape.columns().div_ceil(groups.group);
            return Err(PackError::NonFinite {
                row: first / per_row,
                column: first % per_row * groups.group,
                value: groups.scales[first],
            });
        }
        let minima = (!groups.minima.is_empty()).then_some(&groups.minima[..]);
        pack_grouped(&groups.quants, &groups.scales, minima, shape, out)
    }
}
