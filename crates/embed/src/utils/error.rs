//! What can be wrong with vectors.

/// Lengths that do not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VectorError {
    /// Two vectors that should have one length.
    #[error("vectors of {left} and {right} elements")]
    Lengths {
        /// Elements of the first.
        left: usize,
        /// Elements of the second.
        right: usize,
    },
    /// A matrix that is not whole rows of one column or more.
    #[error("{elements} elements are no whole rows of {columns}")]
    NoRows {
        /// Elements there are.
        elements: usize,
        /// Elements of a row.
        columns: usize,
    },
    /// Vectors of i8 that are too long for sums of 32 bits.
    #[error("{columns} elements of i8, at most {most} in a search")]
    TooLong {
        /// Elements of a vector.
        columns: usize,
        /// As many as a search takes.
        most: usize,
    },
    /// More rows than a search can number, or more scores than memory can hold.
    #[error("too many rows: {rows}")]
    TooManyRows {
        /// Rows there are.
        rows: usize,
    },
}
