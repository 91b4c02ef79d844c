//! The table of reference values: plain Sinkhorn in f64 and f32, both domains, any number of threads.
#![allow(clippy::unwrap_used, reason = "helpers outside of test functions")]

mod common;

use common::*;
use lattice_transport::*;

fn options(row: &serde_json::Value) -> SinkhornOptions<'static> {
    SinkhornOptions {
        tolerance: number(&row["tolerance"]),
        ..SinkhornOptions::new(number(&row["eps"]))
    }
}

#[test]
fn plain_iterations_are_those_of_the_table() {
    let workers = Workers::new(2).expect("threads start");
    let (x, y) = (points(false, 1000), points(true, 1000));
    let lazy = PointCost::new(&x, &y, Ground::SquaredEuclidean).unwrap();
    let cost = DenseCost::of(&workers, &lazy).unwrap();
    let weights = Weights::uniform(1000).unwrap();
    let problem = Problem::new(&weights, &weights, &cost).unwrap();
    let golden = values();
    for row in golden["plain"].as_array().unwrap() {
        for domain in [Domain::Log, Domain::default()] {
            let options = SinkhornOptions {
                domain,
                ..options(row)
            };
            let found = sinkhorn(&workers, &problem, &options).unwrap();
            let found = found.converged().unwrap();
            assert_eq!(found.iterations as u64, row["iterations"].as_u64().unwrap());
            close(found.transport_cost, number(&row["cost"]), 1e-12);
            close(found.kl, number(&row["kl"]), 1e-9);
            close(found.mass(), 1.0, 1e-12);
        }
    }
}

#[test]
fn single_precision_takes_the_same_iterations() {
    let workers = Workers::serial();
    let (x, y) = (points_f32(false, 1000), points_f32(true, 1000));
    let lazy = PointCost::new(&x, &y, Ground::SquaredEuclidean).unwrap();
    let cost = DenseCost::of(&workers, &lazy).unwrap();
    let weights = Weights::uniform(1000).unwrap();
    let problem = Problem::new(&weights, &weights, &cost).unwrap();
    let golden = values();
    let rows = golden["plain"].as_array().unwrap();
    for row in rows.iter().filter(|row| number(&row["tolerance"]) == 1e-6) {
        for domain in [Domain::Log, Domain::default()] {
            let options = SinkhornOptions {
                domain,
                ..options(row)
            };
            let found = sinkhorn(&workers, &problem, &options).unwrap();
            let found = found.converged().unwrap();
            let expected = row["iterations"].as_u64().unwrap();
            assert!(
                (found.iterations as u64).abs_diff(expected) <= 1,
                "{domain:?} {} {expected}",
                found.iterations
            );
            close(found.transport_cost, number(&row["cost"]), 1e-6);
            close(found.kl, number(&row["kl"]), 1e-4);
        }
    }
}

#[test]
fn threads_instruction_sets_and_kept_costs_change_no_bit() {
    let (x, y) = (points(false, 300), points(true, 200));
    let lazy = PointCost::new(&x, &y, Ground::SquaredEuclidean).unwrap();
    let (a, b) = (
        Weights::uniform(300).unwrap(),
        Weights::uniform(200).unwrap(),
    );
    for domain in [Domain::Log, Domain::default()] {
        let options = SinkhornOptions {
            domain,
            iterations_max: 20,
            ..SinkhornOptions::new(0.01)
        };
        let solve = |workers: &Workers| {
            let problem = Problem::new(&a, &b, &lazy).unwrap();
            sinkhorn(workers, &problem, &options).unwrap()
        };
        let first = solve(&Workers::serial());
        for threads in [2, 5] {
            assert_eq!(solve(&Workers::new(threads).unwrap()), first);
        }
        let workers = Workers::serial();
        let dense = DenseCost::of(&workers, &lazy).unwrap();
        let problem = Problem::new(&a, &b, &dense).unwrap();
        assert_eq!(sinkhorn(&workers, &problem, &options).unwrap(), first);
        for isa in ["avx2", "avx512", "neon"] {
            let isa = isa.parse().unwrap();
            // Not every machine has each of them.
            if let Ok(workers) = Workers::with_isa(1, Some(isa)) {
                assert_eq!(solve(&workers), first, "{isa}");
            }
        }
    }
}

#[test]
fn help_ends_where_plain_iterations_end_and_sooner() {
    let workers = Workers::new(2).unwrap();
    let (x, y) = (points(false, 400), points(true, 400));
    let lazy = PointCost::new(&x, &y, Ground::SquaredEuclidean).unwrap();
    let cost = DenseCost::of(&workers, &lazy).unwrap();
    let weights = Weights::uniform(400).unwrap();
    let problem = Problem::new(&weights, &weights, &cost).unwrap();
    let plain = SinkhornOptions {
        tolerance: 1e-10,
        domain: Domain::Kernel,
        ..SinkhornOptions::new(0.003)
    };
    let expected = sinkhorn(&workers, &problem, &plain)
        .unwrap()
        .converged()
        .unwrap();
    let relaxed = SinkhornOptions {
        acceleration: Acceleration::OverRelaxation,
        ..plain
    };
    let scaled = SinkhornOptions {
        scaling: Some(EpsilonScaling::from(0.1)),
        ..plain
    };
    let warm = SinkhornOptions {
        start: Some((&expected.f, &expected.g)),
        ..plain
    };
    for (what, options, share) in [
        ("relaxed", relaxed, 3),
        ("scaled", scaled, 1),
        ("warm", warm, 50),
    ] {
        let found = sinkhorn(&workers, &problem, &options)
            .unwrap()
            .converged()
            .unwrap();
        close(found.transport_cost, expected.transport_cost, 1e-9);
        close(found.objective, expected.objective, 1e-9);
        assert!(
            found.iterations * share < expected.iterations * 5 / 4 + share,
            "{what}: {} of {}",
            found.iterations,
            expected.iterations
        );
    }
}

#[test]
fn the_divergence_is_that_of_the_table() {
    let workers = Workers::new(2).unwrap();
    let (x, y) = (points(false, 1000), points(true, 1000));
    let weights = Weights::uniform(1000).unwrap();
    for (epsilon, expected) in [
        (0.1, 0.001036177318),
        (0.05, 0.001127626021),
        (0.01, 0.001390096245),
    ] {
        let options = SinkhornOptions {
            tolerance: 1e-9,
            domain: Domain::Kernel,
            ..SinkhornOptions::new(epsilon)
        };
        let (source, target) = ((&x, &weights), (&y, &weights));
        let found =
            divergence(&workers, source, target, Ground::SquaredEuclidean, &options).unwrap();
        close(found.value, expected, 1e-9);
    }
}

#[test]
fn unbalanced_values_are_those_of_the_fixed_point() {
    let workers = Workers::new(2).unwrap();
    let (x, y) = (points(false, 1000), points(true, 1000));
    let cost = PointCost::new(&x, &y, Ground::SquaredEuclidean).unwrap();
    let cost = DenseCost::of(&workers, &cost).unwrap();
    let a = Weights::uniform(1000).unwrap();
    let b = Weights::new(vec![1.5e-3; 1000]).unwrap();
    let problem = Problem::new(&a, &b, &cost).unwrap();
    for row in values()["unbalanced"].as_array().unwrap() {
        let (epsilon, penalty) = (number(&row["eps"]), number(&row["penalty"]));
        for domain in [Domain::Kernel, Domain::Log] {
            if domain == Domain::Log && epsilon < 0.1 {
                continue;
            }
            let options = SinkhornOptions {
                tolerance: 1e-12,
                marginals: Marginals::unbalanced(penalty),
                domain,
                ..SinkhornOptions::new(epsilon)
            };
            let found = sinkhorn(&workers, &problem, &options)
                .unwrap()
                .converged()
                .unwrap();
            close(found.mass(), number(&row["mass"]), 1e-9);
            close(found.transport_cost, number(&row["cost"]), 1e-9);
        }
    }
}
