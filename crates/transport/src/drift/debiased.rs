//! The divergence of both samples, and how often mixed labels reach it.
//!
//! In: all distances. Out: the divergence; a p-value if one is asked for. It does not know: vectors.
//!
//! A permutation draws other old items from the same matrix of distances and solves the three problems anew: much more work
//! than a permutation of the energy distance, so it is done only where it is asked for.

use super::DriftOptions;
use super::pooled::Pooled;
use crate::divergence::{Divergence, unchecked};
use crate::random::Random;
use crate::sinkhorn::{Acceleration, EpsilonScaling, SinkhornOptions};
use crate::{TransportError, Weights, Workers};

/// L1 error of the marginals at which the divergence counts as converged.
pub(super) const DIVERGENCE_TOLERANCE: f64 = 1e-4;

/// The debiased divergence. Far clusters may keep it from converging; then the report says so.
pub(super) fn divergence(
    workers: &Workers,
    pooled: &Pooled,
    options: &DriftOptions,
) -> Result<Divergence, TransportError> {
    let places: Vec<usize> = (0..pooled.count()).collect();
    labelled(workers, pooled, options, &places)
}

/// The share of labellings, the given one among them, whose divergence is at least `observed`; None without permutations.
pub(super) fn p_value(
    workers: &Workers,
    pooled: &Pooled,
    options: &DriftOptions,
    observed: f64,
    random: &mut Random,
) -> Result<Option<f64>, TransportError> {
    let permutations = options.divergence_permutations;
    if permutations == 0 {
        return Ok(None);
    }
    let mut places: Vec<usize> = (0..pooled.count()).collect();
    let mut values = Vec::new();
    for _ in 0..permutations {
        random.shuffle(&mut places);
        values.push(labelled(workers, pooled, options, &places)?.value);
    }
    let reached = observed - 1e-7 * observed.abs();
    let as_large = values.iter().filter(|value| **value >= reached).count();
    Ok(Some((1 + as_large) as f64 / (1 + permutations) as f64))
}

/// The divergence if the first of `places` were the old items.
fn labelled(
    workers: &Workers,
    pooled: &Pooled,
    options: &DriftOptions,
    places: &[usize],
) -> Result<Divergence, TransportError> {
    let (old, new) = places.split_at(pooled.old);
    let pairs = [(old, new), (old, old), (new, new)];
    let [between, own, other] = pairs.map(|(from, to)| pooled.between(from, to, options.ground));
    // The given labels' mean: epsilon is part of the statistic, and the same for all labels.
    let mean = pooled.mean_between(options.ground);
    // Sets that are one point each have no scale; any epsilon gives 0.
    let scale = if mean > 1e-12 { mean } else { 1.0 };
    let epsilon = scale * options.epsilon_share;
    let [a, b] = [Weights::uniform(pooled.old)?, Weights::uniform(pooled.new)?];
    let solve = SinkhornOptions {
        tolerance: DIVERGENCE_TOLERANCE,
        acceleration: Acceleration::OverRelaxation,
        scaling: Some(EpsilonScaling::from(scale)),
        ..SinkhornOptions::new(epsilon)
    };
    unchecked(workers, (&a, &b), [&between, &own, &other], &solve)
}
