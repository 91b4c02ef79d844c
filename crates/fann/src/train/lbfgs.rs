//! L-BFGS: a direction from the last steps, a length by line search.
//!
//! In: parameters, and a function that gives loss and gradient there. Out: new parameters, their loss
//! and gradient. It does not know: samples, networks.
//! Two-loop recursion after Liu, Nocedal 1989; the length by bisection for the weak Wolfe conditions
//! (Lewis, Overton 2013), which keep the curvature of each kept pair positive. Inner products are in
//! f64.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// The loss must fall by this share of what the slope promises.
const ENOUGH: f64 = 1e-4;
/// The slope must rise to this share of what it was.
const FLATTER: f64 = 0.9;
/// Trials of a line search.
const TRIALS: usize = 40;

/// Loss and gradient at some parameters.
#[derive(Debug, Clone)]
pub(super) struct Point {
    pub(super) parameters: Vec<f32>,
    pub(super) gradient: Vec<f32>,
    pub(super) loss: f64,
}

#[derive(Debug, Clone)]
struct Pair {
    step: Vec<f32>,
    change: Vec<f32>,
    curvature: f64,
}

#[derive(Debug, Clone)]
pub(super) struct Lbfgs {
    history: usize,
    pairs: VecDeque<Pair>,
}

impl Lbfgs {
    pub(super) fn new(history: usize) -> Lbfgs {
        Lbfgs {
            history,
            pairs: VecDeque::new(),
        }
    }

    /// One line search from `point`, `at` giving loss and gradient. None: no lower loss was found in
    /// either the kept pairs' direction or the steepest.
    pub(super) fn step<E>(
        &mut self,
        point: &Point,
        factor: f64,
        at: &mut impl FnMut(Vec<f32>) -> Result<Point, E>,
    ) -> Result<Option<Point>, E> {
        loop {
            let direction = self.direction(&point.gradient);
            let first = if self.pairs.is_empty() {
                // A first step of length 1 at most: the gradient says nothing about distance.
                (1.0 / dot(&direction, &direction).max(1e-300)).min(1.0)
            } else {
                1.0
            };
            if let Some(next) = search(point, &direction, first * factor, at)? {
                self.keep(point, &next);
                return Ok(Some(next));
            }
            if self.pairs.is_empty() {
                return Ok(None);
            }
            self.pairs.clear();
        }
    }

    /// Minus the kept curvature's inverse times the gradient.
    fn direction(&self, gradient: &[f32]) -> Vec<f32> {
        let mut direction: Vec<f32> = gradient.iter().map(|g| -g).collect();
        let mut shares = Vec::with_capacity(self.pairs.len());
        for pair in self.pairs.iter().rev() {
            let share = dot(&pair.step, &direction) / pair.curvature;
            add_times(&mut direction, -share, &pair.change);
            shares.push(share);
        }
        if let Some(pair) = self.pairs.back() {
            let scale = (pair.curvature / dot(&pair.change, &pair.change)) as f32;
            direction.iter_mut().for_each(|d| *d *= scale);
        }
        for (pair, share) in self.pairs.iter().zip(shares.into_iter().rev()) {
            let back = dot(&pair.change, &direction) / pair.curvature;
            add_times(&mut direction, share - back, &pair.step);
        }
        direction
    }

    fn keep(&mut self, from: &Point, to: &Point) {
        let less = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a - b).collect();
        let step: Vec<f32> = less(&to.parameters, &from.parameters);
        let change: Vec<f32> = less(&to.gradient, &from.gradient);
        let curvature = dot(&step, &change);
        // In f32 a search may end where nothing moved; such a pair has no curvature.
        if curvature <= 1e-12 * dot(&change, &change) {
            return;
        }
        if self.pairs.len() == self.history {
            self.pairs.pop_front();
        }
        self.pairs.push_back(Pair {
            step,
            change,
            curvature,
        });
    }
}

/// A point along the direction where the weak Wolfe conditions hold, or the lowest one tried.
fn search<E>(
    from: &Point,
    direction: &[f32],
    first: f64,
    at: &mut impl FnMut(Vec<f32>) -> Result<Point, E>,
) -> Result<Option<Point>, E> {
    let slope = dot(&from.gradient, direction);
    if slope.is_nan() || slope >= 0.0 {
        return Ok(None);
    }
    let (mut low, mut high, mut length) = (0.0f64, f64::INFINITY, first);
    let mut best: Option<Point> = None;
    for _ in 0..TRIALS {
        let mut parameters = from.parameters.clone();
        add_times(&mut parameters, length, direction);
        let point = at(parameters)?;
        // Written so that NaN is too long a step.
        let falls = point.loss < from.loss && point.loss <= from.loss + ENOUGH * length * slope;
        if !falls {
            high = length;
        } else if dot(&point.gradient, direction) < FLATTER * slope {
            low = length;
            best = Some(point);
        } else {
            return Ok(Some(point));
        }
        length = if high.is_finite() {
            0.5 * (low + high)
        } else {
            2.0 * low
        };
    }
    Ok(best)
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
    products.sum()
}

fn add_times(x: &mut [f32], times: f64, y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x = (f64::from(*x) + times * f64::from(*y)) as f32;
    }
}
