//! Costs that are kept, by row and by column.
//!
//! In: a matrix, or any cost to compute once. Out: rows and columns without work; twice the matrix in memory.
//! It does not know: where the numbers come from.

use lattice_kernels::Real;

use super::{Cost, not_empty};
use crate::error::area;
use crate::workers::rows_per_task;
use crate::{TransportError, Workers};

/// A matrix of costs. It is kept twice, once transposed: both halves of an iteration then read along memory.
#[derive(Debug, Clone, PartialEq)]
pub struct DenseCost<T> {
    rows: usize,
    columns: usize,
    values: Vec<T>,
    transposed: Vec<T>,
}

impl<T: Real> DenseCost<T> {
    /// `values`: `[rows, columns]`, row-major.
    ///
    /// ```
    /// # use lattice_transport::DenseCost;
    /// let cost = DenseCost::new(2, 3, vec![0.0, 1.0, 2.0, 1.0, 0.0, 1.0])?;
    /// assert!(DenseCost::new(1, 2, vec![0.0, f32::NAN]).is_err());
    /// # Ok::<(), lattice_transport::TransportError>(())
    /// ```
    ///
    /// # Errors
    /// No rows or columns, a wrong number of values, NaN or infinite values.
    pub fn new(rows: usize, columns: usize, values: Vec<T>) -> Result<Self, TransportError> {
        not_empty(rows, columns)?;
        let expected = area::<T>("the cost", rows, columns)?;
        if values.len() != expected {
            return Err(TransportError::Length {
                what: "the cost",
                expected,
                found: values.len(),
            });
        }
        if let Some(index) = values.iter().position(|value| !value.finite()) {
            return Err(TransportError::CostNotFinite {
                row: index / columns,
                column: index % columns,
                value: values[index].to_f64(),
            });
        }
        let transposed = transpose(&values, rows, columns);
        Ok(DenseCost {
            rows,
            columns,
            values,
            transposed,
        })
    }

    /// All costs of `cost`, computed once.
    ///
    /// # Errors
    /// A size that cannot be addressed; what `cost` finds wrong.
    pub fn of(workers: &Workers, cost: &impl Cost<Real = T>) -> Result<Self, TransportError> {
        let values = matrix(workers, cost)?;
        DenseCost::new(cost.rows(), cost.columns(), values)
    }

    /// `[rows, columns]`, row-major.
    pub fn values(&self) -> &[T] {
        &self.values
    }
}

/// All costs of `cost`: `[rows, columns]`, row-major.
pub(crate) fn matrix<C: Cost>(workers: &Workers, cost: &C) -> Result<Vec<C::Real>, TransportError> {
    let (rows, columns) = (cost.rows(), cost.columns());
    not_empty(rows, columns)?;
    let mut values = vec![C::Real::ZERO; area::<C::Real>("the cost", rows, columns)?];
    let step = rows_per_task(columns);
    workers.parts(&mut values, step * columns, |start, out| {
        let mut buffer = Vec::new();
        for (i, out) in (start / columns..).zip(out.chunks_exact_mut(columns)) {
            out.copy_from_slice(cost.row(workers, i, &mut buffer)?);
        }
        Ok(())
    })?;
    Ok(values)
}

/// In tiles, so that neither side strides through memory line by line.
fn transpose<T: Real>(values: &[T], rows: usize, columns: usize) -> Vec<T> {
    const TILE: usize = 32;
    let mut out = vec![T::ZERO; values.len()];
    for top in (0..rows).step_by(TILE) {
        for left in (0..columns).step_by(TILE) {
            for i in top..(top + TILE).min(rows) {
                for j in left..(left + TILE).min(columns) {
                    out[j * rows + i] = values[i * columns + j];
                }
            }
        }
    }
    out
}

impl<T: Real> Cost for DenseCost<T> {
    type Real = T;

    fn rows(&self) -> usize {
        self.rows
    }

    fn columns(&self) -> usize {
        self.columns
    }

    fn row<'a>(
        &'a self,
        _: &Workers,
        i: usize,
        _: &'a mut Vec<T>,
    ) -> Result<&'a [T], TransportError> {
        Ok(&self.values[i * self.columns..][..self.columns])
    }

    fn column<'a>(
        &'a self,
        _: &Workers,
        j: usize,
        _: &'a mut Vec<T>,
    ) -> Result<&'a [T], TransportError> {
        Ok(&self.transposed[j * self.rows..][..self.rows])
    }
}
