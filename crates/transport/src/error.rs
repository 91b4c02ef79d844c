//! What can be wrong with a transport problem.
//!
//! In: nothing. Out: one error type; every variant names the input and the place. It does not know: how problems are solved.

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// Nothing to transport.
    #[error("{what} has no elements")]
    Empty {
        /// The input.
        what: &'static str,
    },
    /// Two inputs do not fit each other.
    #[error("{what} has {found} elements, expected {expected}")]
    Length {
        /// The input.
        what: &'static str,
        /// What the other inputs ask for.
        expected: usize,
        /// What it has.
        found: usize,
    },
    /// More elements than can be addressed.
    #[error("{what} of {rows} x {columns} is too large")]
    Size {
        /// The input.
        what: &'static str,
        /// Rows.
        rows: usize,
        /// Columns.
        columns: usize,
    },
    /// NaN or infinite.
    #[error("{what} {index} is {value}")]
    NotFinite {
        /// The input.
        what: &'static str,
        /// Which element, row-major.
        index: usize,
        /// What stands there.
        value: f64,
    },
    /// A cost function gave NaN or infinity.
    #[error("the cost of row {row}, column {column} is {value}")]
    CostNotFinite {
        /// Source.
        row: usize,
        /// Target.
        column: usize,
        /// What it gave.
        value: f64,
    },
    /// A value too large for what is computed with it.
    #[error("{what} {index} is {value}: distances from it overflow")]
    TooLarge {
        /// The input.
        what: &'static str,
        /// Which element, row-major.
        index: usize,
        /// What stands there.
        value: f64,
    },
    /// A weight below 0.
    #[error("{what} {index} is {value}, below 0")]
    Negative {
        /// The input.
        what: &'static str,
        /// Which weight.
        index: usize,
        /// What stands there.
        value: f64,
    },
    /// All weights are 0, or their sum is not a number.
    #[error("{what} have a sum of {mass}")]
    NoMass {
        /// The input.
        what: &'static str,
        /// Their sum.
        mass: f64,
    },
    /// Balanced transport of unequal masses.
    #[error(
        "the source has mass {source_mass} and the target {target_mass}: balanced transport needs them equal"
    )]
    Masses {
        /// Sum of the source's weights.
        source_mass: f64,
        /// Sum of the target's weights.
        target_mass: f64,
    },
    /// An option out of its range.
    #[error("{name} is {value}, expected {expected}")]
    Setting {
        /// The option.
        name: &'static str,
        /// What it is.
        value: f64,
        /// What it may be.
        expected: &'static str,
    },
    /// Cosine distance to a vector of length 0.
    #[error("{what} {index} has length 0: it has no direction")]
    ZeroVector {
        /// The input.
        what: &'static str,
        /// Which point.
        index: usize,
    },
    /// The potentials left what the number type can hold.
    #[error(
        "epsilon {epsilon} is too small beside the costs: potentials leave the range of the number type"
    )]
    Range {
        /// The regularisation.
        epsilon: f64,
    },
    /// The marginals were not reached.
    #[error("not converged: L1 marginal error {error:e} after {iterations} iterations")]
    NotConverged {
        /// Iterations done.
        iterations: usize,
        /// L1 error of the marginals.
        error: f64,
    },
    /// An observer ended it.
    #[error("stopped after {iterations} iterations")]
    Stopped {
        /// Iterations done.
        iterations: usize,
    },
    /// Two items of one set have the same name.
    #[error("the id {0:?} is there twice")]
    TwiceNamed(String),
    /// Two sets of vectors that two models made.
    #[error("the baseline was made by {baseline:?}, the new vectors by {new:?}")]
    Origins {
        /// What made the baseline.
        baseline: String,
        /// What made the new vectors.
        new: String,
    },
    /// The threads could not be started.
    #[error("threads: {0}")]
    Threads(String),
    /// What is stored is not a baseline.
    #[error("baseline: {0}")]
    Baseline(String),
}

/// Checks that a setting is a normal number above 0.
pub(crate) fn above_zero(name: &'static str, value: f64) -> Result<f64, TransportError> {
    if value.is_normal() && value > 0.0 {
        return Ok(value);
    }
    Err(TransportError::Setting {
        name,
        value,
        expected: "a number above 0",
    })
}

/// rows x columns, if that can be addressed and reserved.
pub(crate) fn area<T>(
    what: &'static str,
    rows: usize,
    columns: usize,
) -> Result<usize, TransportError> {
    let elements = rows.checked_mul(columns);
    let bytes = elements.and_then(|n| n.checked_mul(size_of::<T>().max(1)));
    match (elements, bytes) {
        (Some(elements), Some(bytes)) if isize::try_from(bytes).is_ok() => Ok(elements),
        _ => Err(TransportError::Size {
            what,
            rows,
            columns,
        }),
    }
}
