//! Costs that a function gives.
//!
//! In: a function of a row and a column. Out: costs, checked whenever they are asked for; no memory.
//! It does not know: what the function means.

use lattice_kernels::Real;

use super::{Cost, not_empty};
use crate::{TransportError, Workers};

/// A function of (row, column). It is called again in every iteration: [`super::DenseCost::of`] keeps its values.
#[derive(Debug, Clone, Copy)]
pub struct FnCost<F> {
    rows: usize,
    columns: usize,
    cost: F,
}

impl<T: Real, F: Fn(usize, usize) -> T + Sync> FnCost<F> {
    /// ```
    /// # use lattice_transport::FnCost;
    /// let cost = FnCost::new(4, 5, |i, j| (i as f64 - j as f64).abs())?;
    /// # Ok::<(), lattice_transport::TransportError>(())
    /// ```
    ///
    /// # Errors
    /// No rows or columns.
    pub fn new(rows: usize, columns: usize, cost: F) -> Result<Self, TransportError> {
        not_empty(rows, columns)?;
        Ok(FnCost {
            rows,
            columns,
            cost,
        })
    }

    fn at(&self, row: usize, column: usize) -> Result<T, TransportError> {
        let cost = (self.cost)(row, column);
        if cost.finite() {
            return Ok(cost);
        }
        Err(TransportError::CostNotFinite {
            row,
            column,
            value: cost.to_f64(),
        })
    }
}

impl<T: Real, F: Fn(usize, usize) -> T + Sync> Cost for FnCost<F> {
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
        buffer: &'a mut Vec<T>,
    ) -> Result<&'a [T], TransportError> {
        buffer.clear();
        for j in 0..self.columns {
            buffer.push(self.at(i, j)?);
        }
        Ok(buffer)
    }

    fn column<'a>(
        &'a self,
        _: &Workers,
        j: usize,
        buffer: &'a mut Vec<T>,
    ) -> Result<&'a [T], TransportError> {
        buffer.clear();
        for i in 0..self.rows {
            buffer.push(self.at(i, j)?);
        }
        Ok(buffer)
    }
}
