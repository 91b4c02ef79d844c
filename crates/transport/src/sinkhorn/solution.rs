//! What a run ends with.
//!
//! In: potentials. Out: values of the plan that they stand for. It does not know: how they were found.

use lattice_kernels::{Real, exp_sum_weighted};

use super::options::SinkhornOptions;
use super::pass::{Sum, Terms, log_pass};
use super::{Potentials, Problem};
use crate::cost::{Cost, Transposed};
use crate::weights::sum;
use crate::workers::rows_per_task;
use crate::{TransportError, Weights, Workers};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The marginals are as close as was asked.
    Converged,
    /// The iterations were used up before.
    IterationLimit,
    /// The observer ended it.
    Stopped,
}

/// Potentials and what they say, converged or not.
#[derive(Debug, Clone, PartialEq)]
#[must_use = "whether it converged is for the caller to look at"]
pub struct Solution {
    /// Potentials of the rows, in units of the cost.
    pub f: Vec<f64>,
    /// Potentials of the columns, in units of the cost.
    pub g: Vec<f64>,
    /// The epsilon they belong to.
    pub epsilon: f64,
    /// How the run ended.
    pub outcome: Outcome,
    /// Iterations, those of all stages; one is f, then g.
    pub iterations: usize,
    /// L1 error of the row marginal.
    pub error: f64,
    /// Row sums of the plan.
    pub row_mass: Vec<f64>,
    /// Column sums of the plan.
    pub column_mass: Vec<f64>,
    /// <P, C>.
    pub transport_cost: f64,
    /// KL(P | a x b): the sum of P ln(P / (a x b)) - P + a x b.
    pub kl: f64,
    /// <P, C> + epsilon KL, plus the penalties of an unbalanced problem.
    pub objective: f64,
}

impl Solution {
    /// The solution if it converged.
    ///
    /// # Errors
    /// [`TransportError::NotConverged`] and [`TransportError::Stopped`] otherwise.
    pub fn converged(self) -> Result<Solution, TransportError> {
        match self.outcome {
            Outcome::Converged => Ok(self),
            Outcome::IterationLimit => Err(TransportError::NotConverged {
                iterations: self.iterations,
                error: self.error,
            }),
            Outcome::Stopped => Err(TransportError::Stopped {
                iterations: self.iterations,
            }),
        }
    }

    /// Mass of the whole plan.
    pub fn mass(&self) -> f64 {
        sum(self.row_mass.iter().copied())
    }
}

/// Everything but how the run ended, which the caller fills in.
pub(crate) fn summarise<C: Cost>(
    workers: &Workers,
    problem: &Problem<'_, C>,
    options: &SinkhornOptions<'_>,
    at: Potentials,
) -> Result<Solution, TransportError> {
    let epsilon = options.epsilon;
    let (row_mass, costs) = rows(workers, problem, epsilon, &at)?;
    let column_mass = columns(workers, problem, epsilon, &at)?;
    let transport_cost = sum(costs.iter().copied());
    let paid = |mass: &[f64], potentials: &[f64]| {
        let atoms = mass.iter().zip(potentials).filter(|(m, _)| **m > 0.0);
        sum(atoms.map(|(m, f)| m * f))
    };
    let entropy = paid(&row_mass, &at.f) + paid(&column_mass, &at.g) - transport_cost;
    let mass = sum(row_mass.iter().copied());
    let kl = entropy / epsilon - mass + problem.source.mass() * problem.target.mass();
    let [source, target] = options.marginals.penalties()?;
    let penalties =
        penalty(source, &row_mass, problem.source) + penalty(target, &column_mass, problem.target);
    Ok(Solution {
        f: at.f,
        g: at.g,
        epsilon,
        outcome: super::Outcome::IterationLimit,
        iterations: 0,
        error: f64::INFINITY,
        row_mass,
        column_mass,
        transport_cost,
        kl,
        objective: transport_cost + epsilon * kl + penalties,
    })
}

/// rho KL(mass | weights); nothing for a marginal that is held exactly.
fn penalty(rho: f64, mass: &[f64], weights: &Weights) -> f64 {
    if rho == f64::INFINITY {
        return 0.0;
    }
    let atoms = mass.iter().zip(weights.values());
    let terms = atoms
        .filter(|(m, _)| **m > 0.0)
        .map(|(m, w)| m * (m / w).ln() - m);
    rho * (sum(terms) + weights.mass())
}

/// Row sums of the plan, and of the plan times the cost.
fn rows<C: Cost>(
    workers: &Workers,
    problem: &Problem<'_, C>,
    epsilon: f64,
    at: &Potentials,
) -> Result<(Vec<f64>, Vec<f64>), TransportError> {
    let mut terms = Terms::<C::Real>::default();
    terms.fill(epsilon, &at.f, &at.g, Some(problem.target.logs()))?;
    let mut out = vec![(0.0, 0.0); at.f.len()];
    workers.parts(&mut out, rows_per_task(at.g.len()), |start, out| {
        let mut buffer = Vec::new();
        for (i, out) in (start..).zip(out) {
            let weight = problem.source.values()[i];
            let costs = problem.cost.row(workers, i, &mut buffer)?;
            let row = terms.row(costs, at.f[i] / epsilon);
            let (mass, paid) = exp_sum_weighted(workers.cpu(), row);
            // The potential of an atom without mass may be anything.
            if weight > 0.0 {
                *out = (weight * mass.to_f64(), weight * paid.to_f64());
            }
        }
        Ok(())
    })?;
    Ok(out.into_iter().unzip())
}

fn columns<C: Cost>(
    workers: &Workers,
    problem: &Problem<'_, C>,
    epsilon: f64,
    at: &Potentials,
) -> Result<Vec<f64>, TransportError> {
    let mut terms = Terms::<C::Real>::default();
    terms.fill(epsilon, &at.g, &at.f, Some(problem.source.logs()))?;
    let mut sums = vec![Sum::UNKNOWN; at.g.len()];
    let cost = Transposed(problem.cost);
    log_pass(workers, &cost, epsilon, &at.g, &terms, &mut sums)?;
    let atoms = problem.target.values().iter().zip(sums);
    Ok(atoms
        .map(|(w, sum)| if *w > 0.0 { w * sum.value } else { 0.0 })
        .collect())
}
