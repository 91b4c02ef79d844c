//! What gives the sums of an iteration: the log domain, or a kept kernel.
//!
//! In: costs, logarithms of weights, potentials. Out: the sums of rows or of columns. It does not know: what is done
//! with them. Both engines answer the same question; the kernel's is only another way to compute it.

use lattice_kernels::{Real, dot_real, exp_row};

use super::Problem;
use super::options::Domain;
use super::pass::{Sum, Terms, log_pass};
use crate::cost::{Cost, Transposed};
use crate::error::area;
use crate::workers::rows_per_task;
use crate::{TransportError, Weights, Workers};

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
    domain: Domain,
    kernel: Option<Kernel<C::Real>>,
    /// The potentials of the last call: how far an iteration moves them.
    before: Option<Potentials>,
}

/// exp((f_i + g_j - C_ij) / epsilon) for potentials that were, and its transpose.
struct Kernel<T> {
    at: Potentials,
    epsilon: f64,
    rows: Vec<T>,
    columns: Vec<T>,
}

impl<'a, C: Cost> Engine<'a, C> {
    pub(crate) fn new(workers: &'a Workers, problem: Problem<'a, C>, domain: Domain) -> Self {
        Engine {
            workers,
            problem,
            terms: Terms::default(),
            domain,
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
        if let Some(kernel) = self.kernel(epsilon, at)? {
            let own = [&at.f, &kernel.at.f];
            let other = [&at.g, &kernel.at.g];
            return kernel.sums(workers, &kernel.rows, own, other, target, out);
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
        if let Some(kernel) = self.kernel(epsilon, at)? {
            let own = [&at.g, &kernel.at.g];
            let other = [&at.f, &kernel.at.f];
            return kernel.sums(workers, &kernel.columns, own, other, source, out);
        }
        self.terms
            .fill(epsilon, &at.g, &at.f, Some(source.logs()))?;
        let cost = Transposed(cost);
        log_pass(workers, &cost, epsilon, &at.g, &self.terms, out)
    }

    /// A kernel near `at`, if this is the domain for it and there can be one.
    fn kernel(
        &mut self,
        epsilon: f64,
        at: &Potentials,
    ) -> Result<Option<&Kernel<C::Real>>, TransportError> {
        if self.domain == Domain::Log {
            return Ok(None);
        }
        // How far potentials may leave the kernel's, over epsilon: what underflowed in it stays nothing.
        let reach = if C::Real::DIGITS < 30 { 16.0 } else { 64.0 };
        let near = |kernel: &Kernel<C::Real>| {
            kernel.epsilon == epsilon && distance(&kernel.at, at) <= reach * epsilon
        };
        if !self.kernel.as_ref().is_some_and(near) {
            self.kernel = None;
            let before = self.before.replace(at.clone());
            let slow = before.is_some_and(|before| distance(&before, at) <= 0.5 * reach * epsilon);
            if slow {
                self.kernel = self.build(epsilon, at)?;
            }
        }
        Ok(self.kernel.as_ref())
    }

    /// None: it would hold numbers too large for the type.
    fn build(
        &mut self,
        epsilon: f64,
        at: &Potentials,
    ) -> Result<Option<Kernel<C::Real>>, TransportError> {
        let (workers, cost) = (self.workers, self.problem.cost);
        self.terms.fill(epsilon, &at.f, &at.g, None)?;
        let rows = exponentials(workers, cost, epsilon, &at.f, &self.terms)?;
        self.terms.fill(epsilon, &at.g, &at.f, None)?;
        let columns = exponentials(workers, &Transposed(cost), epsilon, &at.g, &self.terms)?;
        let largest = if C::Real::DIGITS < 30 { 1e30 } else { 1e290 };
        let fits = rows.iter().all(|e| e.to_f64() < largest);
        Ok(fits.then(|| Kernel {
            at: at.clone(),
            epsilon,
            rows,
            columns,
        }))
    }
}

/// The largest move of any potential.
fn distance(a: &Potentials, b: &Potentials) -> f64 {
    let pairs = a.f.iter().zip(&b.f).chain(a.g.iter().zip(&b.g));
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

fn exponentials<C: Cost>(
    workers: &Workers,
    cost: &C,
    epsilon: f64,
    own: &[f64],
    terms: &Terms<C::Real>,
) -> Result<Vec<C::Real>, TransportError> {
    let columns = cost.columns();
    let elements = area::<C::Real>("the kernel", cost.rows(), columns)?;
    let mut out = vec![C::Real::ZERO; elements];
    let step = rows_per_task(columns);
    workers.parts(&mut out, step * columns, |start, out| {
        let mut buffer = Vec::new();
        for (i, out) in (start / columns..).zip(out.chunks_exact_mut(columns)) {
            let costs = cost.row(workers, i, &mut buffer)?;
            exp_row(workers.cpu(), terms.row(costs, own[i] / epsilon), out);
        }
        Ok(())
    })?;
    Ok(out)
}

impl<T: Real> Kernel<T> {
    /// `own` and `other`: the potentials of each side, now and in the kernel. `matrix`: `[own, other]`.
    fn sums(
        &self,
        workers: &Workers,
        matrix: &[T],
        own: [&Vec<f64>; 2],
        other: [&Vec<f64>; 2],
        weights: &Weights,
        out: &mut [Sum],
    ) -> Result<(), TransportError> {
        let moved = |side: [&Vec<f64>; 2], i: usize| (side[0][i] - side[1][i]) / self.epsilon;
        let scaled = weights.values().iter().enumerate().map(|(j, b)| {
            // Nothing times whatever the potential of an atom without mass is.
            T::from_f64(if *b > 0.0 {
                b * moved(other, j).exp()
            } else {
                0.0
            })
        });
        let scaled: Vec<T> = scaled.collect();
        workers.parts(out, rows_per_task(scaled.len()), |start, out| {
            for (i, out) in (start..).zip(out) {
                let row = &matrix[i * scaled.len()..][..scaled.len()];
                let sum = dot_real(workers.cpu(), row, &scaled).to_f64();
                *out = Sum::from_log(sum.ln() + moved(own, i));
            }
            Ok(())
        })
    }
}
