//! Gradients beside central differences.
#![allow(clippy::unwrap_used, reason = "helpers outside of test functions")]

mod common;

use common::*;
use lattice_transport::*;

fn options() -> SinkhornOptions<'static> {
    SinkhornOptions {
        tolerance: 1e-13,
        iterations_max: 100_000,
        ..SinkhornOptions::new(0.05)
    }
}

fn weights(count: usize, seed: usize) -> Weights {
    let values = (0..count).map(|i| 1.0 + ((i * seed) % 5) as f64);
    Weights::normalised(values.collect()).unwrap()
}

/// The gradient of `value` at `at` by central differences.
fn differences(at: &[f64], value: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    const STEP: f64 = 1e-5;
    let shifted = |k: usize, by: f64| {
        let mut moved = at.to_vec();
        moved[k] += by;
        value(&moved)
    };
    let slope = |k| (shifted(k, STEP) - shifted(k, -STEP)) / (2.0 * STEP);
    (0..at.len()).map(slope).collect()
}

#[test]
fn points_of_every_ground_cost() {
    let workers = Workers::serial();
    let (x, y) = (table_points(false, 7), points(true, 9));
    let (a, b) = (weights(7, 3), weights(9, 2));
    for ground in [Ground::SquaredEuclidean, Ground::Euclidean, Ground::Cosine] {
        let solve = |x: &[f64]| {
            let x = Points::new(x.to_vec(), 2).unwrap();
            let cost = PointCost::new(&x, &y, ground).unwrap();
            let problem = Problem::new(&a, &b, &cost).unwrap();
            let solution = sinkhorn(&workers, &problem, &options())
                .unwrap()
                .converged()
                .unwrap();
            let gradient = point_gradient(&workers, &problem, &solution).unwrap();
            (solution.objective, gradient)
        };
        let found = solve(&x).1;
        for (found, expected) in found.iter().zip(differences(&x, |x| solve(x).0)) {
            close(*found, expected, 1e-6);
        }
    }
}

#[test]
fn points_of_the_divergence() {
    let workers = Workers::serial();
    let (x, y) = (table_points(false, 6), points(true, 8));
    let (a, b) = (weights(6, 3), weights(8, 2));
    let solve = |x: &[f64]| {
        let x = Points::new(x.to_vec(), 2).unwrap();
        let (source, target, ground) = ((&x, &a), (&y, &b), Ground::SquaredEuclidean);
        let found = divergence(&workers, source, target, ground, &options()).unwrap();
        let gradient = divergence_gradient(&workers, source, target, ground, &found).unwrap();
        (found.value, gradient)
    };
    let found = solve(&x).1;
    for (found, expected) in found.iter().zip(differences(&x, |x| solve(x).0)) {
        close(*found, expected, 1e-6);
    }
}

#[test]
fn weights_along_changes_that_keep_the_sum() {
    let workers = Workers::serial();
    let (x, y) = (points(false, 6), points(true, 8));
    let (a, b) = (weights(6, 3), weights(8, 2));
    let cost = PointCost::new(&x, &y, Ground::SquaredEuclidean).unwrap();
    for marginals in [Marginals::Balanced, Marginals::unbalanced(0.7)] {
        let options = SinkhornOptions {
            marginals,
            ..options()
        };
        let solve = |a: &[f64]| {
            let a = Weights::new(a.to_vec()).unwrap();
            let problem = Problem::new(&a, &b, &cost).unwrap();
            sinkhorn(&workers, &problem, &options)
                .unwrap()
                .converged()
                .unwrap()
        };
        let solution = solve(a.values());
        let gradient = weight_gradient(&a, &solution.f);
        close(
            a.values().iter().zip(&gradient).map(|(a, g)| a * g).sum(),
            0.0,
            1e-12,
        );
        if marginals != Marginals::Balanced {
            continue;
        }
        for k in 1..6 {
            let value = |by: &[f64]| {
                let mut moved = a.values().to_vec();
                moved[0] -= by[0];
                moved[k] += by[0];
                solve(&moved).objective
            };
            let slope = differences(&[0.0], value)[0];
            close(gradient[k] - gradient[0], slope, 1e-6);
        }
    }
}
