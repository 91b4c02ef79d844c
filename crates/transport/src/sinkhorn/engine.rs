//! What gives the sums of an iteration: exponentials, or a kept kernel.
//!
//! In: costs, logarithms of weights, potentials. Out: the sums of rows or of columns. It does not know: what is done
//! with them. Both ways answer the same question; the kernel's is only another way to compute it, and rows that it cannot
//! answer to rounding are answered by exponentials.

use super::Problem;
use super::kernel::{Kernel, Of, distance};
use super::options::Domain;
use super::pass::{Sum, Terms, log_pass};
use crate::cost::{Cost, Transposed};
use crate::{TransportError, Workers};

/// The potentials of rows and columns, in units of the cost.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Potentials {
    pub(crate) f: Vec<f64>,
    pub(crate) g: Vec<f64>,
}

/// Sums of one problem.
pub(crate) struct Engine<'a, C: Cost> {
    workers: &'a Workers,
    problem: Problem<'a, C>,
    terms: Terms<C::Real>,
    /// Whether there may be a kernel.
    keeps: bool,
    kernel: Option<Kernel<C::Real>>,
    /// The potentials of the last call without a kernel near: how far an iteration moves them.
    before: Option<Potentials>,
}

impl<'a, C: Cost> Engine<'a, C> {
    pub(crate) fn new(workers: &'a Workers, problem: Problem<'a, C>, domain: Domain) -> Self {
        Engine {
            workers,
            problem,
            terms: Terms::default(),
            keeps: domain.keeps::<C::Real>(problem.cost.rows(), problem.cost.columns()),
            kernel: None,
            before: None,
        }
    }

    /// The sums of the rows. `out`: `[rows]`.
    pub(crate) fn rows(
        &mut self,
        epsilon: f64,
        at: &Potentials,
        out: &mut [Sum],
    ) -> Result<(), TransportError> {
        let Problem { cost, target, .. } = self.problem;
        let workers = self.workers;
        out.fill(Sum::UNKNOWN);
        if let Some(kernel) = self.kernel(epsilon, at)? {
            kernel.sums(workers, Of::Rows, at, target, out)?;
        }
        if out.iter().all(Sum::is_known) {
            return Ok(());
        }
        self.terms
            .fill(epsilon, &at.f, &at.g, Some(target.logs()))?;
        log_pass(workers, cost, epsilon, &at.f, &self.terms, out)
    }

    /// The sums of the columns. `out`: `[columns]`.
    pub(crate) fn columns(
        &mut self,
        epsilon: f64,
        at: &Potentials,
        out: &mut [Sum],
    ) -> Result<(), TransportError> {
        let Problem { cost, source, .. } = self.problem;
        let workers = self.workers;
        out.fill(Sum::UNKNOWN);
        if let Some(kernel) = self.kernel(epsilon, at)? {
            kernel.sums(workers, Of::Columns, at, source, out)?;
        }
        if out.iter().all(Sum::is_known) {
            return Ok(());
        }
        self.terms
            .fill(epsilon, &at.g, &at.f, Some(source.logs()))?;
        let cost = Transposed(cost);
        log_pass(workers, &cost, epsilon, &at.g, &self.terms, out)
    }

    /// A kernel near `at`, if there may be one and potentials move slowly enough for it.
    fn kernel(
        &mut self,
        epsilon: f64,
        at: &Potentials,
    ) -> Result<Option<&Kernel<C::Real>>, TransportError> {
        if !self.keeps {
            return Ok(None);
        }
        if !self.kernel.as_ref().is_some_and(|k| k.is_near(epsilon, at)) {
            self.kernel = None;
            let before = self.before.replace(at.clone());
            let most = 0.5 * Kernel::<C::Real>::REACH * epsilon;
            if before.is_some_and(|before| distance(&before, at) <= most) {
                let cost = self.problem.cost;
                let kernel = Kernel::new(self.workers, cost, epsilon, at, &mut self.terms)?;
                self.kernel = Some(kernel);
            }
        }
        Ok(self.kernel.as_ref())
    }
}
