//! How the value of a problem answers to its points and weights.
//!
//! In: a converged solution. Out: gradients. It does not know: how the potentials were found.
//!
//! At the optimum the potentials do not move the value (the envelope theorem), so the gradient is that of the costs
//! under the plan, and f and g are those of the weights. It holds as far as the solution has converged.

use lattice_kernels::Real;

use crate::cost::PointCost;
use crate::plan::Plan;
use crate::sinkhorn::{Problem, Solution};
use crate::{TransportError, Weights, Workers};

/// The gradient of [`Solution::objective`] with respect to the source's points: `[rows, dimension]`, row-major. For the
/// targets' points swap source and target.
///
/// ```
/// use lattice_transport::{Ground, PointCost, Points, Problem, SinkhornOptions, Weights, Workers};
/// use lattice_transport::{point_gradient, sinkhorn};
///
/// let workers = Workers::serial();
/// let (x, y) = (Points::new(vec![0.0, 1.0], 1)?, Points::new(vec![0.25, 1.25], 1)?);
/// let cost = PointCost::new(&x, &y, Ground::SquaredEuclidean)?;
/// let half = Weights::uniform(2)?;
/// let problem = Problem::new(&half, &half, &cost)?;
/// let solution = sinkhorn(&workers, &problem, &SinkhornOptions::new(0.5))?.converged()?;
/// let gradient = point_gradient(&workers, &problem, &solution)?;
/// let whole: f64 = gradient.iter().sum(); // 2 x (mean of x - mean of y)
/// assert!((whole + 0.5).abs() < 1e-5);
/// # Ok::<(), lattice_transport::TransportError>(())
/// ```
///
/// # Errors
/// A solution of another problem.
pub fn point_gradient<T: Real>(
    workers: &Workers,
    problem: &Problem<'_, PointCost<'_, T>>,
    solution: &Solution,
) -> Result<Vec<f64>, TransportError> {
    let plan = Plan::new(workers, problem, solution)?;
    let cost = problem.cost;
    let [x, y] = cost.points();
    let rows = plan.per_row(|i, masses| {
        let mut gradient = vec![0.0; x.dimension()];
        for (j, mass) in masses.iter().enumerate() {
            if *mass > 0.0 {
                cost.add_gradient(x.point(i), y.point(j), *mass, &mut gradient);
            }
        }
        gradient
    })?;
    Ok(rows.into_iter().flatten().collect())
}

/// The gradient of [`Solution::objective`] with respect to weights, from the potentials of their side: along changes
/// that keep the sum. Its weighted mean is 0; any constant may be added.
pub fn weight_gradient(weights: &Weights, potentials: &[f64]) -> Vec<f64> {
    let mean = weights.integral(potentials) / weights.mass();
    potentials.iter().map(|f| f - mean).collect()
}
