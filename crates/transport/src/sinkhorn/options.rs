//! How a Sinkhorn problem is to be solved.
//!
//! In: nothing. Out: options with their defaults, checked; what a run tells while it goes on.
//! It does not know: the costs.

use std::fmt;
use std::ops::ControlFlow;

use crate::TransportError;
use crate::error::above_zero;

/// What iterations are made of. All give the same potentials after the same number of iterations, up to rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Domain {
    /// As [`Domain::Kernel`] where both copies of the matrix fit into so many bytes, else as [`Domain::Log`].
    Auto {
        /// Bytes of both copies together.
        kernel_bytes_max: usize,
    },
    /// Sums of exponentials, anew in every iteration: memory of one row.
    Log,
    /// Products with a kept matrix of exponentials, rebuilt when the potentials have moved away from it (Schmitzer, 2019).
    /// Iterations that move them too far for that are done in the log domain, and so is every row of which the matrix holds
    /// too little to give its sum to rounding. It takes twice the matrix in memory and is several times faster.
    Kernel,
}

impl Domain {
    /// The default of `kernel_bytes_max`: 256 MiB, some 5,700 x 5,700 in f32 or 4,000 x 4,000 in f64.
    pub const KERNEL_BYTES_MAX: usize = 256 << 20;

    /// Whether a kernel of this size may be kept.
    pub(crate) fn keeps<T>(self, rows: usize, columns: usize) -> bool {
        let bytes = rows
            .checked_mul(columns)
            .and_then(|elements| elements.checked_mul(2 * size_of::<T>()));
        match self {
            Domain::Auto { kernel_bytes_max } => bytes.is_some_and(|b| b <= kernel_bytes_max),
            Domain::Log => false,
            Domain::Kernel => true,
        }
    }
}

impl Default for Domain {
    fn default() -> Self {
        Domain::Auto {
            kernel_bytes_max: Domain::KERNEL_BYTES_MAX,
        }
    }
}

/// How marginals are held.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Marginals {
    /// Exactly: both masses must be equal.
    #[default]
    Balanced,
    /// By a penalty of `source` x KL(row sums | a) + `target` x KL(column sums | b)
    /// (Chizat, Peyre, Schmitzer and Vialard, 2018); infinity holds a side exactly.
    Unbalanced {
        /// Penalty of the source's marginal.
        source: f64,
        /// Penalty of the target's marginal.
        target: f64,
    },
}

impl Marginals {
    /// [`Marginals::Unbalanced`] with the same penalty on both sides.
    pub fn unbalanced(penalty: f64) -> Marginals {
        Marginals::Unbalanced {
            source: penalty,
            target: penalty,
        }
    }

    /// The penalties of rows and columns; infinite where they are held exactly.
    pub(crate) fn penalties(self) -> Result<[f64; 2], TransportError> {
        let Marginals::Unbalanced { source, target } = self else {
            return Ok([f64::INFINITY; 2]);
        };
        for value in [source, target] {
            if value != f64::INFINITY {
                above_zero("the penalty of a marginal", value)?;
            }
        }
        Ok([source, target])
    }
}

/// Whether iterations are helped along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acceleration {
    /// Plain iterations.
    #[default]
    None,
    /// Every update is drawn out by a factor found from the rate at which the error falls (the adaptive successive
    /// over-relaxation of Hageman and Young, for Sinkhorn: Lehmann, von Renesse, Sambale and Uschmajew, 2022). When the
    /// error grows to ten times its least, it begins anew from plain iterations, four times at the most, and then stays
    /// with them: they converge from anywhere. The last iterations are plain ones too, so it ends where they end.
    OverRelaxation,
}

/// Larger epsilons first, each starting from the potentials of the one before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EpsilonScaling {
    /// The first epsilon; the solver's own ends the row.
    pub start: f64,
    /// Each epsilon is the one before times this, above 0 and below 1.
    pub factor: f64,
    /// Where a stage before the last may end: L1 error of the marginal.
    pub tolerance: f64,
    /// Iterations of a stage before the last.
    pub iterations_max: usize,
}

impl EpsilonScaling {
    /// From `start` by halves, each to an error of 0.01.
    pub fn from(start: f64) -> EpsilonScaling {
        EpsilonScaling {
            start,
            factor: 0.5,
            tolerance: 1e-2,
            iterations_max: 1000,
        }
    }
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Iterations done, those of all stages.
    pub iteration: usize,
    /// The epsilon of this stage.
    pub epsilon: f64,
    /// L1 error of the row marginal.
    pub error: f64,
}

/// Sees each iteration; [`ControlFlow::Break`] ends the run.
pub type Observer<'a> = &'a (dyn Fn(&Progress) -> ControlFlow<()> + Sync);

/// How to solve.
#[derive(Clone, Copy)]
pub struct SinkhornOptions<'a> {
    /// Weight of the entropy, in units of the cost.
    pub epsilon: f64,
    /// The run ends when the L1 error of the row marginal is at most this (columns are met exactly then). For
    /// unbalanced problems: the distance of the row sums from those that the potentials ask for.
    pub tolerance: f64,
    /// Iterations at the most, all stages together.
    pub iterations_max: usize,
    /// What iterations are made of.
    pub domain: Domain,
    /// How marginals are held.
    pub marginals: Marginals,
    /// Whether iterations are helped along.
    pub acceleration: Acceleration,
    /// Larger epsilons first.
    pub scaling: Option<EpsilonScaling>,
    /// Potentials to start from: `[rows]` and `[columns]`, in units of the cost.
    pub start: Option<(&'a [f64], &'a [f64])>,
    /// Sees each iteration.
    pub observer: Option<Observer<'a>>,
}

impl SinkhornOptions<'_> {
    /// Balanced, plain, with a kernel where it fits ([`Domain::default`]), to 1e-6, in at most 10,000 iterations.
    pub fn new(epsilon: f64) -> Self {
        SinkhornOptions {
            epsilon,
            tolerance: 1e-6,
            iterations_max: 10_000,
            domain: Domain::default(),
            marginals: Marginals::Balanced,
            acceleration: Acceleration::None,
            scaling: None,
            start: None,
            observer: None,
        }
    }

    /// The epsilons to go through, the last one being the solver's own.
    pub(crate) fn epsilons(&self) -> Result<Vec<f64>, TransportError> {
        let last = above_zero("epsilon", self.epsilon)?;
        above_zero("the tolerance", self.tolerance)?;
        if self.iterations_max == 0 {
            return Err(TransportError::Setting {
                name: "the number of iterations",
                value: 0.0,
                expected: "at least 1",
            });
        }
        let mut epsilons = Vec::new();
        if let Some(scaling) = self.scaling {
            let factor = scaling.factor;
            if !(1e-6..=0.999).contains(&factor) {
                return Err(TransportError::Setting {
                    name: "the factor of epsilon",
                    value: factor,
                    expected: "a number from 0.000001 to 0.999",
                });
            }
            above_zero("the tolerance of a stage", scaling.tolerance)?;
            let mut epsilon = above_zero("the first epsilon", scaling.start)?;
            while epsilon > last {
                epsilons.push(epsilon);
                epsilon *= factor;
            }
        }
        epsilons.push(last);
        Ok(epsilons)
    }
}

impl fmt::Debug for SinkhornOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SinkhornOptions")
            .field("epsilon", &self.epsilon)
            .field("tolerance", &self.tolerance)
            .field("iterations_max", &self.iterations_max)
            .field("domain", &self.domain)
            .field("marginals", &self.marginals)
            .field("acceleration", &self.acceleration)
            .field("scaling", &self.scaling)
            .field("start", &self.start.map(|(f, g)| (f.len(), g.len())))
            .field("observer", &self.observer.is_some())
            .finish()
    }
}
