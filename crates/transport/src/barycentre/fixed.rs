//! The barycentre of measures on one support that is given.
//!
//! In: measures, and a kernel on their support. Out: weights on it. It does not know: what the kernel is made of.
//!
//! Iterative Bregman projections (Benamou, Carlier, Cuturi, Nenna and Peyre, 2015) on logarithms throughout: in the plain domain
//! the kernel of a small epsilon is 0 between far points, and the answer is wrong without a word.

use crate::cost::{Cost, Transposed};
use crate::error::above_zero;
use crate::sinkhorn::{Observer, Outcome, Progress, Sum, Terms, log_pass};
use crate::weights::{equal_masses, sum};
use crate::{TransportError, Weights, Workers};

/// A product with exp(-C / epsilon), on logarithms.
pub trait LogKernel: Sync {
    /// Points of the support.
    fn size(&self) -> usize;

    /// The regularisation.
    fn epsilon(&self) -> f64;

    /// `out_i` = ln of the sum over j of exp(`logs_j` - C_ij / epsilon). `logs`, `out`: `[size]`; a logarithm may be minus
    /// infinity, not all of them.
    ///
    /// # Errors
    /// Costs that are no numbers, or too large beside epsilon.
    fn product(
        &self,
        workers: &Workers,
        logs: &[f64],
        out: &mut [f64],
    ) -> Result<(), TransportError>;

    /// The same with C transposed.
    ///
    /// # Errors
    /// As [`LogKernel::product`].
    fn product_transposed(
        &self,
        workers: &Workers,
        logs: &[f64],
        out: &mut [f64],
    ) -> Result<(), TransportError>;
}

/// The kernel of any cost between the points of a support: `[support, support]`.
#[derive(Debug, Clone, Copy)]
pub struct CostKernel<'a, C> {
    cost: &'a C,
    epsilon: f64,
}

impl<'a, C: Cost> CostKernel<'a, C> {
    /// # Errors
    /// An epsilon that is not above 0, a cost that is not square.
    pub fn new(cost: &'a C, epsilon: f64) -> Result<Self, TransportError> {
        above_zero("epsilon", epsilon)?;
        if cost.rows() != cost.columns() {
            return Err(TransportError::Length {
                what: "a row of the cost",
                expected: cost.rows(),
                found: cost.columns(),
            });
        }
        Ok(CostKernel { cost, epsilon })
    }

    fn through<D: Cost>(
        &self,
        workers: &Workers,
        cost: &D,
        logs: &[f64],
        out: &mut [f64],
    ) -> Result<(), TransportError> {
        let mut terms = Terms::<D::Real>::default();
        // The terms of a pass are potentials over epsilon; these logarithms are that already.
        let zeros = vec![0.0; out.len()];
        terms.fill(self.epsilon, &zeros, &vec![0.0; logs.len()], Some(logs))?;
        let mut sums = vec![Sum::UNKNOWN; out.len()];
        log_pass(workers, cost, self.epsilon, &zeros, &terms, &mut sums)?;
        out.iter_mut().zip(sums).for_each(|(o, sum)| *o = sum.log);
        Ok(())
    }
}

impl<C: Cost> LogKernel for CostKernel<'_, C> {
    fn size(&self) -> usize {
        self.cost.rows()
    }

    fn epsilon(&self) -> f64 {
        self.epsilon
    }

    fn product(
        &self,
        workers: &Workers,
        logs: &[f64],
        out: &mut [f64],
    ) -> Result<(), TransportError> {
        self.through(workers, self.cost, logs, out)
    }

    fn product_transposed(
        &self,
        workers: &Workers,
        logs: &[f64],
        out: &mut [f64],
    ) -> Result<(), TransportError> {
        self.through(workers, &Transposed(self.cost), logs, out)
    }
}

/// How to look for a barycentre.
#[derive(Clone, Copy)]
pub struct BarycentreOptions<'a> {
    /// The run ends when no measure's plan misses the barycentre by more than this: L1 error.
    pub tolerance: f64,
    /// Iterations at the most.
    pub iterations_max: usize,
    /// One share for each measure; None: equal ones.
    pub shares: Option<&'a [f64]>,
    /// Sees each iteration.
    pub observer: Option<Observer<'a>>,
}

impl Default for BarycentreOptions<'_> {
    fn default() -> Self {
        BarycentreOptions {
            tolerance: 1e-9,
            iterations_max: 10_000,
            shares: None,
            observer: None,
        }
    }
}

/// A barycentre, converged or not.
#[derive(Debug, Clone, PartialEq)]
#[must_use = "whether it converged is for the caller to look at"]
pub struct Barycentre {
    /// Weights on the support.
    pub weights: Vec<f64>,
    /// How the run ended.
    pub outcome: Outcome,
    /// Iterations done.
    pub iterations: usize,
    /// The largest L1 distance of a plan's marginal from the barycentre.
    pub error: f64,
}

impl Barycentre {
    /// The barycentre if it converged.
    ///
    /// # Errors
    /// [`TransportError::NotConverged`] and [`TransportError::Stopped`] otherwise.
    pub fn converged(self) -> Result<Barycentre, TransportError> {
        let (iterations, error) = (self.iterations, self.error);
        match self.outcome {
            Outcome::Converged => Ok(self),
            Outcome::IterationLimit => Err(TransportError::NotConverged { iterations, error }),
            Outcome::Stopped => Err(TransportError::Stopped { iterations }),
        }
    }
}

/// The entropic barycentre of measures on the support of `kernel`.
///
/// ```
/// use lattice_transport::{BarycentreOptions, GridKernel, Weights, Workers, fixed_support_barycentre};
///
/// let line = GridKernel::new(vec![vec![0.0, 0.5, 1.0]], 0.02)?;
/// let (left, right) = (Weights::new(vec![1.0, 0.0, 0.0])?, Weights::new(vec![0.0, 0.0, 1.0])?);
/// let options = BarycentreOptions::default();
/// let found = fixed_support_barycentre(&Workers::serial(), &line, &[left, right], &options)?.converged()?;
/// assert!(found.weights[1] > 0.99); // half-way between them
/// # Ok::<(), lattice_transport::TransportError>(())
/// ```
///
/// # Errors
/// No measures, measures of other sizes or masses, shares that are no weights; what the kernel finds wrong.
pub fn fixed_support_barycentre(
    workers: &Workers,
    kernel: &impl LogKernel,
    measures: &[Weights],
    options: &BarycentreOptions<'_>,
) -> Result<Barycentre, TransportError> {
    above_zero("the tolerance", options.tolerance)?;
    let shares = super::shares(options.shares, measures.len())?;
    for measure in measures {
        if measure.len() != kernel.size() {
            return Err(TransportError::Length {
                what: "a measure",
                expected: kernel.size(),
                found: measure.len(),
            });
        }
        equal_masses(measures[0].mass(), measure.mass())?;
    }
    let size = kernel.size();
    let mut v = vec![vec![0.0; size]; measures.len()];
    let mut carried = v.clone();
    let mut row = vec![0.0; size];
    let mut mean = vec![0.0; size];
    let mut iterations = 0;
    loop {
        mean.fill(0.0);
        for (k, measure) in measures.iter().enumerate() {
            kernel.product(workers, &v[k], &mut row)?;
            let u = measure.logs().iter().zip(&row);
            let u: Vec<f64> = u.map(|(log, sum)| log - sum).collect();
            kernel.product_transposed(workers, &u, &mut carried[k])?;
            for (mean, carried) in mean.iter_mut().zip(&carried[k]) {
                *mean += shares[k] * carried;
            }
        }
        let mut error = 0.0f64;
        for (v, carried) in v.iter_mut().zip(&carried) {
            let atoms = v.iter().zip(carried).zip(&mean);
            let missed = atoms.map(|((v, c), m)| ((v + c).exp() - m.exp()).abs());
            error = error.max(sum(missed));
            let new = mean.iter().zip(carried);
            v.iter_mut().zip(new).for_each(|(v, (m, c))| *v = m - c);
        }
        iterations += 1;
        let progress = Progress {
            iteration: iterations,
            epsilon: kernel.epsilon(),
            error,
        };
        let outcome = if options
            .observer
            .is_some_and(|see| see(&progress).is_break())
        {
            Outcome::Stopped
        } else if error <= options.tolerance {
            Outcome::Converged
        } else if iterations >= options.iterations_max {
            Outcome::IterationLimit
        } else {
            continue;
        };
        return Ok(Barycentre {
            weights: mean.iter().map(|log| log.exp()).collect(),
            outcome,
            iterations,
            error,
        });
    }
}
