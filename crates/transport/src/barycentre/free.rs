//! The barycentre whose points are looked for.
//!
//! In: weighted sets of points, points to start from. Out: points. It does not know: how a single problem is solved.
//!
//! Each round moves every point to the mean of what the plans give it (Cuturi and Doucet, 2014), for squared distance.

use lattice_kernels::Real;

use crate::cost::{Ground, PointCost, Points};
use crate::error::above_zero;
use crate::exact::exact;
use crate::plan::Plan;
use crate::sinkhorn::{Outcome, Problem, SinkhornOptions, sinkhorn};
use crate::weights::equal_masses;
use crate::{TransportError, Weights, Workers};

/// How a plan is found in each round.
#[derive(Debug, Clone, Copy)]
pub enum Inner<'a> {
    /// Without entropy.
    Exact,
    /// With entropy; every run must converge.
    Sinkhorn(&'a SinkhornOptions<'a>),
}

/// How to look for points.
#[derive(Debug, Clone, Copy)]
pub struct FreeOptions<'a> {
    /// How plans are found.
    pub inner: Inner<'a>,
    /// One share for each measure; None: equal ones.
    pub shares: Option<&'a [f64]>,
    /// Rounds at the most.
    pub rounds_max: usize,
    /// The run ends when the sum of squared moves of all points is at most this.
    pub tolerance: f64,
}

impl Default for FreeOptions<'_> {
    fn default() -> Self {
        FreeOptions {
            inner: Inner::Exact,
            shares: None,
            rounds_max: 100,
            tolerance: 1e-7,
        }
    }
}

/// Points of a barycentre, converged or not.
#[derive(Debug, Clone, PartialEq)]
#[must_use = "whether it converged is for the caller to look at"]
pub struct FreeBarycentre<T> {
    /// The points; their weights are those that were given.
    pub points: Points<T>,
    /// How the run ended.
    pub outcome: Outcome,
    /// Rounds done.
    pub rounds: usize,
    /// Sum of squared moves in the last round.
    pub moved: f64,
}

/// Moves `start`, with `weights`, to a barycentre of `measures`. It is a local optimum: it depends on the start.
///
/// ```
/// use lattice_transport::{FreeOptions, Points, Weights, Workers, free_support_barycentre};
///
/// let (x, y) = (Points::new(vec![0.0, 1.0], 1)?, Points::new(vec![4.0, 5.0], 1)?);
/// let half = Weights::uniform(2)?;
/// let start = Points::new(vec![-1.0, 1.0], 1)?;
/// let measures = [(&x, &half), (&y, &half)];
/// let found = free_support_barycentre(&Workers::serial(), &measures, (start, &half), &FreeOptions::default())?;
/// assert_eq!(found.points.values(), [2.0, 3.0]);
/// # Ok::<(), lattice_transport::TransportError>(())
/// ```
///
/// # Errors
/// No measures; weights that do not fit their points; masses that differ; weights of 0 in the barycentre; as the inner
/// solver.
pub fn free_support_barycentre<T: Real>(
    workers: &Workers,
    measures: &[(&Points<T>, &Weights)],
    start: (Points<T>, &Weights),
    options: &FreeOptions<'_>,
) -> Result<FreeBarycentre<T>, TransportError> {
    above_zero("the tolerance", options.tolerance)?;
    let shares = super::shares(options.shares, measures.len())?;
    let (mut points, weights) = start;
    if let Some(index) = weights.values().iter().position(|w| *w == 0.0) {
        return Err(TransportError::Setting {
            name: "a weight of the barycentre",
            value: weights.values()[index],
            expected: "a number above 0",
        });
    }
    for (_, measure) in measures {
        equal_masses(weights.mass(), measure.mass())?;
    }
    let mut rounds = 0;
    loop {
        let mut next = vec![0.0; points.values().len()];
        for (measure, share) in measures.iter().zip(&shares) {
            let carried = carry(workers, (&points, weights), *measure, options.inner)?;
            next.iter_mut()
                .zip(carried)
                .for_each(|(n, c)| *n += share * c);
        }
        let apart = next.iter().zip(points.values());
        let moved = apart.map(|(n, p)| (n - p.to_f64()).powi(2)).sum::<f64>();
        let values = next.into_iter().map(T::from_f64).collect();
        points = Points::new(values, points.dimension())?;
        rounds += 1;
        let outcome = if moved <= options.tolerance {
            Outcome::Converged
        } else if rounds >= options.rounds_max {
            Outcome::IterationLimit
        } else {
            continue;
        };
        return Ok(FreeBarycentre {
            points,
            outcome,
            rounds,
            moved,
        });
    }
}

/// Where the plan to `target` sends each of the `source`'s points on average.
fn carry<T: Real>(
    workers: &Workers,
    source: (&Points<T>, &Weights),
    target: (&Points<T>, &Weights),
    inner: Inner<'_>,
) -> Result<Vec<f64>, TransportError> {
    let width = source.0.dimension();
    let cost = PointCost::new(source.0, target.0, Ground::SquaredEuclidean)?;
    let problem = Problem::new(source.1, target.1, &cost)?;
    match inner {
        Inner::Sinkhorn(options) => {
            let solution = sinkhorn(workers, &problem, options)?.converged()?;
            let values: Vec<f64> = target.0.values().iter().map(|y| y.to_f64()).collect();
            Plan::new(workers, &problem, &solution)?.carry(&values, width)
        }
        Inner::Exact => {
            let mut out = vec![0.0; source.0.values().len()];
            for entry in exact(workers, &problem)?.entries {
                let share = entry.mass / source.1.values()[entry.row];
                let mean = &mut out[entry.row * width..][..width];
                for (mean, y) in mean.iter_mut().zip(target.0.point(entry.column)) {
                    *mean += share * y.to_f64();
                }
            }
            Ok(out)
        }
    }
}
