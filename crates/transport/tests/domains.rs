//! The ways to compute an iteration are one iteration: kept kernels give what exponentials give, where numbers underflow too.
#![allow(clippy::unwrap_used, reason = "helpers outside of test functions")]

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};

use common::*;
use lattice_transport::*;
use proptest::prelude::*;

/// Points of the plane and weights, some of them tiny.
fn set() -> impl Strategy<Value = (Vec<f64>, Weights)> {
    let weight = prop_oneof![4 => -1.0..0.0f64, 1 => -25.0..-10.0f64];
    let atom = (-1.0..1.0f64, -1.0..1.0f64, weight);
    prop::collection::vec(atom, 1..24).prop_map(|atoms| {
        let coordinates = atoms.iter().flat_map(|(x, y, _)| [*x, *y]).collect();
        let weights = atoms.iter().map(|(_, _, w)| 10f64.powf(*w)).collect();
        (coordinates, Weights::normalised(weights).unwrap())
    })
}

fn solve<C: Cost>(cost: &C, [a, b]: [&Weights; 2], options: &SinkhornOptions<'_>) -> Solution {
    let problem = Problem::new(a, b, cost).unwrap();
    sinkhorn(&Workers::serial(), &problem, options).unwrap()
}

/// Both end at the same potentials: values and marginals are within `limit`.
fn agree(kept: &Solution, anew: &Solution, limit: f64) {
    close(kept.transport_cost, anew.transport_cost, limit);
    close(kept.objective, anew.objective, limit);
    close(kept.error, anew.error, limit);
    let sides = [
        (&kept.row_mass, &anew.row_mass),
        (&kept.column_mass, &anew.column_mass),
    ];
    for (kept, anew) in sides {
        for (kept, anew) in kept.iter().zip(anew) {
            close(*kept, *anew, limit);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The iterate itself is compared, after as many iterations, whether it has converged or not.
    #[test]
    fn kept_kernels_give_the_iterates_of_exponentials(
        x in set(),
        y in set(),
        exponent in -4.0..0.0f64,
        iterations in 1..200usize,
        penalty in prop_oneof![2 => Just(f64::INFINITY), 1 => 0.01..10.0f64],
        relaxed in any::<bool>(),
    ) {
        let acceleration = if relaxed { Acceleration::OverRelaxation } else { Acceleration::None };
        let options = |domain| SinkhornOptions {
            tolerance: 1e-300,
            iterations_max: iterations,
            domain,
            marginals: Marginals::unbalanced(penalty),
            acceleration,
            ..SinkhornOptions::new(10f64.powf(exponent))
        };
        let weights = [&x.1, &y.1];
        let [p, q] = [&x.0, &y.0].map(|values| Points::new(values.clone(), 2).unwrap());
        let cost = PointCost::new(&p, &q, Ground::SquaredEuclidean).unwrap();
        let anew = solve(&cost, weights, &options(Domain::Log));
        let kept = solve(&cost, weights, &options(Domain::default()));
        // An error of exactly 0 ends a run.
        if kept.error > 0.0 && anew.error > 0.0 {
            prop_assert_eq!(kept.iterations, anew.iterations);
        }
        agree(&kept, &anew, 1e-9);
        if relaxed {
            // Its factor follows the error, and the rounding of f32 is an error.
            return Ok(());
        }
        let single = |values: &[f64]| Points::new(values.iter().map(|x| *x as f32).collect(), 2);
        let [p, q] = [&x.0, &y.0].map(|values| single(values).unwrap());
        let cost = PointCost::new(&p, &q, Ground::SquaredEuclidean).unwrap();
        let anew = solve(&cost, weights, &options(Domain::Log));
        let kept = solve(&cost, weights, &options(Domain::default()));
        agree(&kept, &anew, 1e-4);
    }
}

/// An epsilon at which a kernel that nothing is absorbed into would be 0 but for a few cells: e^(-C / epsilon) of a cost of 1 is
/// e^-2000.
#[test]
fn tiny_epsilons_are_no_other_problem() {
    let (x, y) = (points_f32(false, 300), points_f32(true, 300));
    let lazy = PointCost::new(&x, &y, Ground::SquaredEuclidean).unwrap();
    let cost = DenseCost::of(&Workers::serial(), &lazy).unwrap();
    let weights = Weights::uniform(300).unwrap();
    let options = |domain| SinkhornOptions {
        iterations_max: 300,
        domain,
        ..SinkhornOptions::new(0.0005)
    };
    let anew = solve(&cost, [&weights; 2], &options(Domain::Log));
    let kept = solve(&cost, [&weights; 2], &options(Domain::default()));
    assert_eq!(kept.iterations, anew.iterations);
    agree(&kept, &anew, 1e-5);
    let (x, y) = (points(false, 300), points(true, 300));
    let cost = PointCost::new(&x, &y, Ground::SquaredEuclidean).unwrap();
    let anew = solve(&cost, [&weights; 2], &options(Domain::Log));
    let kept = solve(&cost, [&weights; 2], &options(Domain::default()));
    agree(&kept, &anew, 1e-9);
}

/// A row so far away that its elements underflow in f32 is answered by exponentials, the others by the kernel.
#[test]
fn what_underflows_is_computed_anew() {
    let asked = AtomicUsize::new(0);
    let cost = FnCost::new(40, 40, |i, j| {
        asked.fetch_add(1, Ordering::Relaxed);
        let far = if i == 39 { 100.0 } else { 0.0 };
        far + ((i as f32 - j as f32) / 40.0).powi(2)
    });
    let cost = cost.unwrap();
    let weights = Weights::uniform(40).unwrap();
    let options = |domain| SinkhornOptions {
        tolerance: 1e-300,
        iterations_max: 400,
        domain,
        marginals: Marginals::unbalanced(1.0),
        ..SinkhornOptions::new(0.1)
    };
    let anew = solve(&cost, [&weights; 2], &options(Domain::Log));
    let in_log = asked.swap(0, Ordering::Relaxed);
    let kept = solve(&cost, [&weights; 2], &options(Domain::default()));
    let in_kernel = asked.swap(0, Ordering::Relaxed);
    agree(&kept, &anew, 1e-6);
    close(kept.f[39], anew.f[39], 1e-3);
    assert!(kept.row_mass[39] < 1e-30, "{}", kept.row_mass[39]);
    assert!(in_log > 2 * 400 * 1600, "{in_log}");
    // One row of 40 for each iteration, and a few kernels.
    assert!(
        (400 * 40..400 * 40 + 40 * 1600).contains(&in_kernel),
        "{in_kernel}"
    );
}

#[test]
fn a_kernel_is_kept_where_it_fits_and_nowhere_else() {
    let asked = AtomicUsize::new(0);
    let cost = FnCost::new(30, 20, |i, j| {
        asked.fetch_add(1, Ordering::Relaxed);
        (i as f64 / 30.0 - j as f64 / 20.0).powi(2)
    });
    let cost = cost.unwrap();
    let (a, b) = (Weights::uniform(30).unwrap(), Weights::uniform(20).unwrap());
    let calls = |domain| {
        let options = SinkhornOptions {
            tolerance: 1e-300,
            iterations_max: 100,
            domain,
            ..SinkhornOptions::new(0.1)
        };
        let _ = solve(&cost, [&a, &b], &options);
        asked.swap(0, Ordering::Relaxed)
    };
    let bytes = 2 * 30 * 20 * size_of::<f64>();
    let auto = |kernel_bytes_max| calls(Domain::Auto { kernel_bytes_max });
    let (log, kernel) = (calls(Domain::Log), calls(Domain::Kernel));
    assert_eq!((auto(bytes), auto(bytes - 1)), (kernel, log));
    assert!(10 * kernel < log, "{kernel} {log}");
}
