//! Entropic optimal transport by Sinkhorn's iterations.
//!
//! In: weights, costs, options. Out: potentials, values, and whether they converged. It does not know: where costs come
//! from; how sums are computed (`engine`).
//!
//! The problem: the least <P, C> + epsilon KL(P | a x b) over plans P with row sums a and column sums b, or with a penalty
//! on their divergence from them. P_ij = a_i b_j exp((f_i + g_j - C_ij) / epsilon). An iteration updates f, then g (Cuturi,
//! 2013; Peyre and Cuturi, Computational Optimal Transport, 2019, chapter 4).

mod engine;
mod kernel;
mod options;
mod pass;
mod relax;
mod solution;
mod symmetric;

pub use options::{
    Acceleration, Domain, EpsilonScaling, Marginals, Observer, Progress, SinkhornOptions,
};
pub use solution::{Outcome, Solution};

pub(crate) use engine::{Engine, Potentials};
pub(crate) use pass::{Sum, Terms, log_pass, row_sum};
pub(crate) use symmetric::symmetric;

use relax::Relaxation;

use crate::cost::Cost;
use crate::weights::{equal_masses, sum};
use crate::{TransportError, Weights, Workers};

/// Two weighted sets and what it costs to move between them.
#[derive(Debug)]
pub struct Problem<'a, C> {
    /// Weights of the rows.
    pub source: &'a Weights,
    /// Weights of the columns.
    pub target: &'a Weights,
    /// What moving costs.
    pub cost: &'a C,
}

impl<C> Clone for Problem<'_, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for Problem<'_, C> {}

impl<'a, C: Cost> Problem<'a, C> {
    /// # Errors
    /// Weights of other lengths than the cost has rows and columns.
    pub fn new(
        source: &'a Weights,
        target: &'a Weights,
        cost: &'a C,
    ) -> Result<Self, TransportError> {
        let sides = [
            ("the source's weights", source.len(), cost.rows()),
            ("the target's weights", target.len(), cost.columns()),
        ];
        for (what, found, expected) in sides {
            if found != expected {
                return Err(TransportError::Length {
                    what,
                    expected,
                    found,
                });
            }
        }
        Ok(Problem {
            source,
            target,
            cost,
        })
    }
}

/// Solves one problem.
///
/// ```
/// use lattice_transport::{DenseCost, Problem, SinkhornOptions, Weights, Workers, sinkhorn};
///
/// let cost = DenseCost::new(2, 2, vec![0.0, 1.0, 1.0, 0.0])?;
/// let half = Weights::uniform(2)?;
/// let problem = Problem::new(&half, &half, &cost)?;
/// let solution = sinkhorn(&Workers::serial(), &problem, &SinkhornOptions::new(0.05))?.converged()?;
/// assert!(solution.transport_cost < 1e-8); // all mass stays where it is
/// # Ok::<(), lattice_transport::TransportError>(())
/// ```
///
/// # Errors
/// Masses that differ in a balanced problem; options out of their range; costs that are no numbers; an epsilon so small
/// that potentials leave the number type. Not to converge is no error here: ask [`Solution::converged`].
pub fn sinkhorn<C: Cost>(
    workers: &Workers,
    problem: &Problem<'_, C>,
    options: &SinkhornOptions<'_>,
) -> Result<Solution, TransportError> {
    let epsilons = options.epsilons()?;
    let penalties = options.marginals.penalties()?;
    if penalties == [f64::INFINITY; 2] {
        equal_masses(problem.source.mass(), problem.target.mass())?;
    }
    let mut run = Run {
        problem: *problem,
        options,
        penalties,
        engine: Engine::new(workers, *problem, options.domain),
        at: start(problem, options)?,
        iterations: 0,
    };
    let mut end = (Outcome::IterationLimit, f64::INFINITY);
    for (stage, epsilon) in epsilons.iter().enumerate() {
        let last = stage + 1 == epsilons.len();
        end = run.stage(*epsilon, last)?;
        if end.0 == Outcome::Stopped {
            break;
        }
    }
    let (outcome, error) = end;
    let (at, iterations) = (run.at, run.iterations);
    solution::summarise(workers, problem, options, at).map(|mut solution| {
        solution.outcome = outcome;
        solution.error = error;
        solution.iterations = iterations;
        solution
    })
}

/// Solves many problems, each on one thread, as many at a time as there are threads.
///
/// # Errors
/// Each problem has its own, as [`sinkhorn`].
pub fn sinkhorn_batch<C: Cost>(
    workers: &Workers,
    problems: &[Problem<'_, C>],
    options: &SinkhornOptions<'_>,
) -> Vec<Result<Solution, TransportError>> {
    let mut out: Vec<Option<Result<Solution, TransportError>>> = Vec::new();
    out.resize_with(problems.len(), || None);
    let done = workers.parts(&mut out, 1, |i, out| {
        out[0] = Some(sinkhorn(workers, &problems[i], options));
        Ok(())
    });
    debug_assert!(done.is_ok(), "a task of the batch reports in its own place");
    out.into_iter().flatten().collect()
}

fn start<C: Cost>(
    problem: &Problem<'_, C>,
    options: &SinkhornOptions<'_>,
) -> Result<Potentials, TransportError> {
    let (rows, columns) = (problem.source.len(), problem.target.len());
    let Some((f, g)) = options.start else {
        return Ok(Potentials {
            f: vec![0.0; rows],
            g: vec![0.0; columns],
        });
    };
    let what = "potentials to start from";
    for (values, expected) in [(f, rows), (g, columns)] {
        if values.len() != expected {
            return Err(TransportError::Length {
                what,
                expected,
                found: values.len(),
            });
        }
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            let value = values[index];
            return Err(TransportError::NotFinite { what, index, value });
        }
    }
    Ok(Potentials {
        f: f.to_vec(),
        g: g.to_vec(),
    })
}

struct Run<'a, C: Cost> {
    problem: Problem<'a, C>,
    options: &'a SinkhornOptions<'a>,
    penalties: [f64; 2],
    engine: Engine<'a, C>,
    at: Potentials,
    iterations: usize,
}

impl<C: Cost> Run<'_, C> {
    /// Iterates with one epsilon; says how it ended, and with which error.
    fn stage(&mut self, epsilon: f64, last: bool) -> Result<(Outcome, f64), TransportError> {
        let (tolerance, most) = self.limits(last);
        let [rows, columns] = self.penalties.map(|rho| Side { rho, epsilon });
        let mut relaxation = Relaxation::new(self.options.acceleration, self.problem.source.mass());
        let mut sums = vec![Sum::UNKNOWN; self.at.f.len()];
        let mut column_sums = vec![Sum::UNKNOWN; self.at.g.len()];
        // The error of the columns before they are updated; after a plain update they are met.
        let mut column_error = 0.0;
        let mut done = 0;
        loop {
            // The sums that the next update needs are also the row sums under the potentials as they are.
            self.engine.rows(epsilon, &self.at, &mut sums)?;
            if done > 0 {
                let error = rows.error(self.problem.source, &self.at.f, &sums);
                if let Some(outcome) = self.look(epsilon, error) {
                    return Ok((outcome, error));
                }
                let plain = relaxation.factor() == 1.0;
                if error <= tolerance && plain {
                    return Ok((Outcome::Converged, error));
                }
                if done == most {
                    return Ok((Outcome::IterationLimit, error));
                }
                relaxation.see(error + column_error);
                if error + column_error <= tolerance {
                    relaxation.end();
                }
            }
            let factor = relaxation.factor();
            rows.update(factor, &mut self.at.f, &sums);
            self.engine.columns(epsilon, &self.at, &mut column_sums)?;
            column_error = if factor == 1.0 {
                0.0
            } else {
                columns.error(self.problem.target, &self.at.g, &column_sums)
            };
            columns.update(factor, &mut self.at.g, &column_sums);
            done += 1;
            self.iterations += 1;
        }
    }

    /// The tolerance of a stage and its iterations, at least one.
    fn limits(&self, last: bool) -> (f64, usize) {
        let left = self.options.iterations_max.saturating_sub(self.iterations);
        let (tolerance, most) = match self.options.scaling {
            // One is kept for the last stage: it ends with its own epsilon.
            Some(scaling) if !last => {
                let most = scaling.iterations_max.min(left.saturating_sub(1));
                (scaling.tolerance, most)
            }
            _ => (self.options.tolerance, left),
        };
        (tolerance, most.max(1))
    }

    /// Shows the observer where the run stands.
    fn look(&self, epsilon: f64, error: f64) -> Option<Outcome> {
        let progress = Progress {
            iteration: self.iterations,
            epsilon,
            error,
        };
        let flow = self.options.observer.map(|see| see(&progress));
        flow.is_some_and(|flow| flow.is_break())
            .then_some(Outcome::Stopped)
    }
}

/// How the potentials of one side are updated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Side {
    /// Penalty of the marginal; infinite where it is held exactly.
    pub(crate) rho: f64,
    pub(crate) epsilon: f64,
}

impl Side {
    /// Moves the potentials to where their side is met, or `factor` times that far.
    pub(crate) fn update(self, factor: f64, own: &mut [f64], sums: &[Sum]) {
        let damp = if self.rho == f64::INFINITY {
            1.0
        } else {
            self.rho / (self.rho + self.epsilon)
        };
        for (f, sum) in own.iter_mut().zip(sums) {
            let met = damp * (*f - self.epsilon * sum.log);
            *f = if factor == 1.0 {
                met
            } else {
                *f + factor * (met - *f)
            };
        }
    }

    /// L1 distance of the side's sums from what they are to be.
    pub(crate) fn error(self, weights: &Weights, own: &[f64], sums: &[Sum]) -> f64 {
        let wanted = |f: f64| {
            if self.rho == f64::INFINITY {
                1.0
            } else {
                (-f / self.rho).exp()
            }
        };
        let atoms = weights.values().iter().zip(own).zip(sums);
        let atoms = atoms.filter(|((w, _), _)| **w > 0.0);
        sum(atoms.map(|((w, f), sum)| w * (sum.value - wanted(*f)).abs()))
    }
}
