//! The Sinkhorn divergence: transport without the blur that entropy brings.
//!
//! In: two weighted sets. Out: a value that is 0 for equal sets, and its gradients. It does not know: how problems are
//! solved.
//!
//! S(a, b) = OT(a, b) - OT(a, a) / 2 - OT(b, b) / 2, with OT = <P, C> + epsilon KL(P | a x b) (Genevay, Peyre and Cuturi, 2018;
//! Feydy et al., 2019). For unbalanced problems epsilon (mass a - mass b)^2 / 2 is added (Sejourne et al., 2019).

use lattice_kernels::Real;

use crate::cost::{Cost, Ground, PointCost, Points};
use crate::gradient::point_gradient;
use crate::sinkhorn::{Marginals, Problem, SinkhornOptions, Solution, sinkhorn, symmetric};
use crate::{TransportError, Weights, Workers};

/// A divergence and the three problems it is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Divergence {
    /// S(a, b).
    pub value: f64,
    /// a to b.
    pub between: Solution,
    /// a to itself.
    pub source: Solution,
    /// b to itself.
    pub target: Solution,
}

/// The divergence of two weighted sets of points. Every part must converge.
///
/// ```
/// use lattice_transport::{Ground, Points, SinkhornOptions, Weights, Workers, divergence};
///
/// let x = Points::new(vec![0.0, 1.0, 2.0], 1)?;
/// let y = Points::new(vec![0.25, 1.25, 2.25], 1)?;
/// let third = Weights::uniform(3)?;
/// let options = SinkhornOptions::new(0.5);
/// let found = divergence(&Workers::serial(), (&x, &third), (&y, &third), Ground::SquaredEuclidean, &options)?;
/// assert!((found.value - 0.0625).abs() < 1e-6); // a translation by 0.25 costs 0.25^2
/// # Ok::<(), lattice_transport::TransportError>(())
/// ```
///
/// # Errors
/// As [`sinkhorn`], and a part that does not converge.
pub fn divergence<T: Real>(
    workers: &Workers,
    source: (&Points<T>, &Weights),
    target: (&Points<T>, &Weights),
    ground: Ground,
    options: &SinkhornOptions<'_>,
) -> Result<Divergence, TransportError> {
    let between = PointCost::new(source.0, target.0, ground)?;
    let own = PointCost::new(source.0, source.0, ground)?;
    let other = PointCost::new(target.0, target.0, ground)?;
    divergence_of_costs(
        workers,
        (source.1, target.1),
        [&between, &own, &other],
        options,
    )
}

/// The divergence from costs: source to target, source to source, target to target; the last two symmetric.
///
/// # Errors
/// As [`divergence`].
pub fn divergence_of_costs<C: Cost>(
    workers: &Workers,
    weights: (&Weights, &Weights),
    costs: [&C; 3],
    options: &SinkhornOptions<'_>,
) -> Result<Divergence, TransportError> {
    let found = unchecked(workers, weights, costs, options)?;
    Ok(Divergence {
        value: found.value,
        between: found.between.converged()?,
        source: found.source.converged()?,
        target: found.target.converged()?,
    })
}

/// The divergence, its parts converged or not.
pub(crate) fn unchecked<C: Cost>(
    workers: &Workers,
    weights: (&Weights, &Weights),
    costs: [&C; 3],
    options: &SinkhornOptions<'_>,
) -> Result<Divergence, TransportError> {
    let (a, b) = weights;
    let problem = Problem::new(a, b, costs[0])?;
    let between = sinkhorn(workers, &problem, options)?;
    let alone = SinkhornOptions {
        start: None,
        ..*options
    };
    let source = symmetric(workers, a, costs[1], &alone)?;
    let target = symmetric(workers, b, costs[2], &alone)?;
    let mut value = between.objective - 0.5 * source.objective - 0.5 * target.objective;
    if options.marginals != Marginals::Balanced {
        value += 0.5 * options.epsilon * (a.mass() - b.mass()).powi(2);
    }
    Ok(Divergence {
        value,
        between,
        source,
        target,
    })
}

/// The gradient of a balanced divergence with respect to the source's points: `[rows, dimension]`, row-major.
///
/// # Errors
/// A divergence of other sets.
pub fn divergence_gradient<T: Real>(
    workers: &Workers,
    source: (&Points<T>, &Weights),
    target: (&Points<T>, &Weights),
    ground: Ground,
    divergence: &Divergence,
) -> Result<Vec<f64>, TransportError> {
    let between = PointCost::new(source.0, target.0, ground)?;
    let problem = Problem::new(source.1, target.1, &between)?;
    let mut gradient = point_gradient(workers, &problem, &divergence.between)?;
    let own = PointCost::new(source.0, source.0, ground)?;
    let problem = Problem::new(source.1, source.1, &own)?;
    // Both sides of the source's own problem move: half of it, twice.
    let inner = point_gradient(workers, &problem, &divergence.source)?;
    gradient.iter_mut().zip(inner).for_each(|(g, i)| *g -= i);
    Ok(gradient)
}
