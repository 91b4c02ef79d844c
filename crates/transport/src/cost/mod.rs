//! What it costs to move a unit of mass from a row to a column.
//!
//! In: numbers, points or a function. Out: rows and columns of costs, as solvers ask for them.
//! It does not know: weights and solvers.

mod dense;
mod function;
mod points;

pub use dense::DenseCost;
pub(crate) use dense::matrix;
pub use function::FnCost;
pub use points::{Ground, PointCost, Points};

use lattice_kernels::Real;

use crate::{TransportError, Workers};

/// Costs of moving from `rows()` sources to `columns()` targets.
pub trait Cost: Sync {
    /// f32 or f64: what costs and exponentials are computed in. Potentials and weights are f64 always.
    type Real: Real;

    /// How many sources.
    fn rows(&self) -> usize;

    /// How many targets.
    fn columns(&self) -> usize;

    /// The costs of row `i`: `[columns]`, all finite. `buffer` may hold them; what it held before is of no interest.
    ///
    /// # Errors
    /// A cost that is NaN or infinite.
    fn row<'a>(
        &'a self,
        workers: &Workers,
        i: usize,
        buffer: &'a mut Vec<Self::Real>,
    ) -> Result<&'a [Self::Real], TransportError>;

    /// The costs of column `j`: `[rows]`, otherwise as [`Cost::row`].
    ///
    /// # Errors
    /// A cost that is NaN or infinite.
    fn column<'a>(
        &'a self,
        workers: &Workers,
        j: usize,
        buffer: &'a mut Vec<Self::Real>,
    ) -> Result<&'a [Self::Real], TransportError>;
}

/// The same costs seen from the targets.
pub(crate) struct Transposed<'a, C>(pub(crate) &'a C);

impl<C: Cost> Cost for Transposed<'_, C> {
    type Real = C::Real;

    fn rows(&self) -> usize {
        self.0.columns()
    }

    fn columns(&self) -> usize {
        self.0.rows()
    }

    fn row<'a>(
        &'a self,
        workers: &Workers,
        i: usize,
        buffer: &'a mut Vec<C::Real>,
    ) -> Result<&'a [C::Real], TransportError> {
        self.0.column(workers, i, buffer)
    }

    fn column<'a>(
        &'a self,
        workers: &Workers,
        j: usize,
        buffer: &'a mut Vec<C::Real>,
    ) -> Result<&'a [C::Real], TransportError> {
        self.0.row(workers, j, buffer)
    }
}

/// Checks that there is something on both sides.
pub(crate) fn not_empty(rows: usize, columns: usize) -> Result<(), TransportError> {
    if rows == 0 || columns == 0 {
        return Err(TransportError::Empty { what: "the cost" });
    }
    Ok(())
}
