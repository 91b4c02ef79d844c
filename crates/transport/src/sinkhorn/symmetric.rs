//! The transport of a set to itself.
//!
//! In: weights and a symmetric cost. Out: the one potential that both sides share. It does not know: what it is for.
//!
//! f is drawn half-way to its update (Knight, Ruiz and Ucar, 2014; Feydy et al., 2019): a few dozen iterations where
//! f and g in turn take hundreds.

use super::solution::{Outcome, Solution, summarise};
use super::{Engine, Potentials, Problem, Progress, Side, SinkhornOptions, Sum};
use crate::cost::Cost;
use crate::{TransportError, Weights, Workers};

/// As [`super::sinkhorn`], for a cost that is symmetric and with both sides `weights`.
pub(crate) fn symmetric<C: Cost>(
    workers: &Workers,
    weights: &Weights,
    cost: &C,
    options: &SinkhornOptions<'_>,
) -> Result<Solution, TransportError> {
    let problem = Problem::new(weights, weights, cost)?;
    let epsilons = options.epsilons()?;
    let [source, target] = options.marginals.penalties()?;
    let mut engine = Engine::new(workers, problem, options.domain);
    let mut sums = vec![Sum::UNKNOWN; weights.len()];
    let zeros = || vec![0.0; weights.len()];
    let mut at = Potentials {
        f: zeros(),
        g: zeros(),
    };
    let mut end = (Outcome::IterationLimit, f64::INFINITY);
    let mut iterations = 0;
    for (stage, epsilon) in epsilons.iter().copied().enumerate() {
        // Of two penalties the mean: a set has one way to itself.
        let rho = 0.5 * (source + target);
        let side = Side { rho, epsilon };
        let last = stage + 1 == epsilons.len();
        let tolerance = match options.scaling {
            Some(scaling) if !last => scaling.tolerance,
            _ => options.tolerance,
        };
        loop {
            engine.rows(epsilon, &at, &mut sums)?;
            let error = side.error(weights, &at.f, &sums);
            let progress = Progress {
                iteration: iterations,
                epsilon,
                error,
            };
            end = (Outcome::Converged, error);
            if error <= tolerance {
                break;
            }
            end.0 = Outcome::IterationLimit;
            if iterations >= options.iterations_max {
                break;
            }
            if options
                .observer
                .is_some_and(|see| see(&progress).is_break())
            {
                end.0 = Outcome::Stopped;
                break;
            }
            side.update(0.5, &mut at.f, &sums);
            at.g.copy_from_slice(&at.f);
            iterations += 1;
        }
        if end.0 == Outcome::Stopped {
            break;
        }
    }
    let mut solution = summarise(workers, &problem, options, at)?;
    (solution.outcome, solution.error) = end;
    solution.iterations = iterations;
    Ok(solution)
}
