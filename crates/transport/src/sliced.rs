//! Sliced Wasserstein distance: the mean of one-dimensional distances along many directions.
//!
//! In: two weighted sets, directions. Out: a distance. It does not know: plans or potentials.
//! Rabin, Peyre, Delon and Bernot, 2011. Along a line, transport is a merge of two sorted lists.

use lattice_kernels::Real;

use crate::cost::Points;
use crate::random::Random;
use crate::weights::{equal_masses, sum};
use crate::{TransportError, Weights, Workers};

/// Unit vectors to project on: `[count, dimension]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Directions(Points<f64>);

impl Directions {
    /// `count` of them, evenly likely everywhere, the same for the same seed.
    ///
    /// # Errors
    /// None asked for, or none possible: a count or a dimension of 0.
    pub fn random(count: usize, dimension: usize, seed: u64) -> Result<Self, TransportError> {
        let mut random = Random::new(seed);
        let numbers = crate::error::area::<f64>("directions", count, dimension)?;
        let values = std::iter::repeat_with(|| random.normal()).take(numbers);
        Directions::new(values.collect(), dimension)
    }

    /// Those of `values`, `[count, dimension]`, scaled to length 1.
    ///
    /// # Errors
    /// As [`Points::new`]; a direction of length 0.
    pub fn new(values: Vec<f64>, dimension: usize) -> Result<Self, TransportError> {
        Points::new(values, dimension)?.directions().map(Directions)
    }
}

/// The order of the distance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Mean of |x - y|.
    One,
    /// Root of the mean of |x - y|^2.
    Two,
}

/// (the mean over directions of W_p^p)^(1/p).
///
/// ```
/// use lattice_transport::{Directions, Order, Points, Weights, Workers, sliced_wasserstein};
///
/// let x = Points::new(vec![0.0, 0.0, 1.0, 0.0], 2)?;
/// let y = Points::new(vec![3.0, 0.0, 4.0, 0.0], 2)?;
/// let half = Weights::uniform(2)?;
/// let along = Directions::new(vec![1.0, 0.0], 2)?;
/// let found = sliced_wasserstein(&Workers::serial(), (&x, &half), (&y, &half), &along, Order::Two)?;
/// assert!((found - 3.0).abs() < 1e-12);
/// # Ok::<(), lattice_transport::TransportError>(())
/// ```
///
/// # Errors
/// Sets of two dimensions, weights that do not fit them, masses that differ.
pub fn sliced_wasserstein<T: Real>(
    workers: &Workers,
    source: (&Points<T>, &Weights),
    target: (&Points<T>, &Weights),
    directions: &Directions,
    order: Order,
) -> Result<f64, TransportError> {
    let directions = &directions.0;
    for (points, weights) in [source, target] {
        let pairs = [
            ("weights", points.count(), weights.len()),
            ("a direction", points.dimension(), directions.dimension()),
        ];
        for (what, expected, found) in pairs {
            if expected != found {
                return Err(TransportError::Length {
                    what,
                    expected,
                    found,
                });
            }
        }
    }
    equal_masses(source.1.mass(), target.1.mass())?;
    let mut values = vec![0.0; directions.count()];
    workers.parts(&mut values, 1, |i, out| {
        let direction = directions.point(i);
        let line = [project(source, direction), project(target, direction)];
        out[0] = line_cost(&line[0], &line[1], order);
        Ok(())
    })?;
    let mean = sum(values.iter().copied()) / values.len() as f64;
    Ok(match order {
        Order::One => mean,
        Order::Two => mean.sqrt(),
    })
}

/// (place, share of the mass) of each atom with mass, by place.
fn project<T: Real>(set: (&Points<T>, &Weights), direction: &[f64]) -> Vec<(f64, f64)> {
    let (points, weights) = set;
    let place = |i: usize| {
        let terms = points.point(i).iter().zip(direction);
        terms.map(|(x, d)| x.to_f64() * d).sum::<f64>()
    };
    let atoms = weights.values().iter().enumerate();
    let atoms = atoms.filter(|(_, w)| **w > 0.0);
    let mut line: Vec<(f64, f64)> = atoms.map(|(i, w)| (place(i), w / weights.mass())).collect();
    line.sort_by(|a, b| a.0.total_cmp(&b.0));
    line
}

/// The cost of the monotone plan between two sorted lines of mass 1.
fn line_cost(x: &[(f64, f64)], y: &[(f64, f64)], order: Order) -> f64 {
    let (mut i, mut j) = (0, 0);
    let (mut left_x, mut left_y) = (x[0].1, y[0].1);
    let mut total = 0.0;
    loop {
        let moved = left_x.min(left_y);
        let apart = (x[i].0 - y[j].0).abs();
        total += moved
            * if order == Order::One {
                apart
            } else {
                apart * apart
            };
        left_x -= moved;
        left_y -= moved;
        // One of both is used up; rounding may leave crumbs on the other at the very end.
        if left_x <= left_y {
            i += 1;
            match x.get(i) {
                Some(atom) => left_x = atom.1,
                None => return total,
            }
        } else {
            j += 1;
            match y.get(j) {
                Some(atom) => left_y = atom.1,
                None => return total,
            }
        }
    }
}
