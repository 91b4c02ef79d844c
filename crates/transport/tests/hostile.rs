//! What must be refused by name, and what must be said.

mod common;

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};

use lattice_transport::*;

fn half() -> Weights {
    Weights::uniform(2).expect("two atoms")
}

fn solve(cost: &impl Cost, options: &SinkhornOptions<'_>) -> Result<Solution, TransportError> {
    let half = half();
    sinkhorn(
        &Workers::serial(),
        &Problem::new(&half, &half, cost)?,
        options,
    )
}

fn square() -> DenseCost<f64> {
    DenseCost::new(2, 2, vec![0.0, 1.0, 1.0, 0.0]).expect("numbers")
}

#[test]
fn weights_that_are_none() {
    use TransportError as E;
    assert!(matches!(Weights::new(vec![]), Err(E::Empty { .. })));
    assert!(matches!(Weights::uniform(0), Err(E::Empty { .. })));
    assert!(matches!(
        Weights::new(vec![1.0, f64::NAN]),
        Err(E::NotFinite { index: 1, .. })
    ));
    assert!(matches!(
        Weights::new(vec![f64::INFINITY]),
        Err(E::NotFinite { index: 0, .. })
    ));
    assert!(matches!(
        Weights::new(vec![1.0, -0.5]),
        Err(E::Negative { index: 1, .. })
    ));
    assert!(matches!(
        Weights::new(vec![0.0, 0.0]),
        Err(E::NoMass { .. })
    ));
    assert!(matches!(
        Weights::new(vec![f64::MAX; 3]),
        Err(E::NoMass { .. })
    ));
    assert!(matches!(Weights::new(vec![1e-320]), Err(E::NoMass { .. })));
}

#[test]
fn costs_that_are_none() {
    use TransportError as E;
    assert!(matches!(
        DenseCost::<f32>::new(0, 2, vec![]),
        Err(E::Empty { .. })
    ));
    assert!(matches!(
        DenseCost::new(2, 2, vec![0.0; 3]),
        Err(E::Length {
            expected: 4,
            found: 3,
            ..
        })
    ));
    assert!(matches!(
        DenseCost::new(usize::MAX, 2, vec![0.0f32; 3]),
        Err(E::Size { .. })
    ));
    assert!(matches!(
        DenseCost::new(1 << 61, 2, vec![0.0; 3]),
        Err(E::Size { .. })
    ));
    let nan = DenseCost::new(2, 2, vec![0.0, 0.0, 0.0, f64::NAN]);
    assert!(matches!(
        nan,
        Err(E::CostNotFinite {
            row: 1,
            column: 1,
            ..
        })
    ));
    for domain in [Domain::Log, Domain::default()] {
        for threads in [1, 3] {
            let workers = Workers::new(threads).expect("threads start");
            let bad = FnCost::new(
                200,
                200,
                |i, j| if i * j >= 150 { f64::INFINITY } else { 1.0 },
            );
            let bad = bad.expect("it has rows");
            let weights = Weights::uniform(200).expect("atoms");
            let problem = Problem::new(&weights, &weights, &bad).expect("they fit");
            let options = SinkhornOptions {
                domain,
                ..SinkhornOptions::new(0.1)
            };
            let error = sinkhorn(&workers, &problem, &options).expect_err("a cost is infinite");
            assert!(
                matches!(
                    error,
                    E::CostNotFinite {
                        row: 1,
                        column: 150,
                        ..
                    }
                ),
                "{error}"
            );
        }
    }
    assert!(FnCost::new(0, 1, |_, _| 0.0f64).is_err());
    let weights = Weights::uniform(3).expect("atoms");
    assert!(matches!(
        Problem::new(&weights, &weights, &square()),
        Err(E::Length { .. })
    ));
}

#[test]
fn points_that_are_none() {
    use TransportError as E;
    assert!(matches!(
        Points::<f32>::new(vec![], 2),
        Err(E::Empty { .. })
    ));
    assert!(matches!(Points::new(vec![1.0f32], 0), Err(E::Empty { .. })));
    assert!(matches!(
        Points::new(vec![1.0f32; 5], 2),
        Err(E::Length { expected: 6, .. })
    ));
    assert!(matches!(
        Points::new(vec![0.0, f32::NAN], 2),
        Err(E::NotFinite { index: 1, .. })
    ));
    assert!(matches!(
        Points::new(vec![0.0, 1e20f32], 2),
        Err(E::TooLarge { index: 1, .. })
    ));
    assert!(matches!(
        Points::new(vec![1e200], 1),
        Err(E::TooLarge { .. })
    ));
    let zero = Points::new(vec![1.0, 0.0, 0.0, 0.0], 2).expect("numbers");
    let cosine = PointCost::new(&zero, &zero, Ground::Cosine).map(drop);
    assert!(matches!(cosine, Err(E::ZeroVector { index: 1, .. })));
    let flat = Points::new(vec![1.0, 2.0], 1).expect("numbers");
    assert!(matches!(
        PointCost::new(&zero, &flat, Ground::Euclidean).map(drop),
        Err(E::Length { .. })
    ));
}

#[test]
fn settings_out_of_range() {
    let cost = square();
    for epsilon in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-320] {
        let error = solve(&cost, &SinkhornOptions::new(epsilon)).expect_err("no such epsilon");
        assert!(
            matches!(
                error,
                TransportError::Setting {
                    name: "epsilon",
                    ..
                }
            ),
            "{error}"
        );
    }
    let good = SinkhornOptions::new(0.1);
    let scaling = |start, factor| {
        Some(EpsilonScaling {
            factor,
            ..EpsilonScaling::from(start)
        })
    };
    let bad = [
        SinkhornOptions {
            tolerance: 0.0,
            ..good
        },
        SinkhornOptions {
            iterations_max: 0,
            ..good
        },
        SinkhornOptions {
            marginals: Marginals::unbalanced(0.0),
            ..good
        },
        SinkhornOptions {
            marginals: Marginals::unbalanced(f64::NAN),
            ..good
        },
        SinkhornOptions {
            scaling: scaling(1.0, 1.0),
            ..good
        },
        SinkhornOptions {
            scaling: scaling(1.0, f64::NAN),
            ..good
        },
        SinkhornOptions {
            scaling: scaling(f64::INFINITY, 0.5),
            ..good
        },
    ];
    for options in bad {
        let error = solve(&cost, &options).expect_err("out of range");
        assert!(matches!(error, TransportError::Setting { .. }), "{error}");
    }
    for (f, g) in [
        (vec![0.0], vec![0.0; 2]),
        (vec![0.0, f64::NAN], vec![0.0; 2]),
    ] {
        let start = Some((&f[..], &g[..]));
        assert!(solve(&cost, &SinkhornOptions { start, ..good }).is_err());
    }
}

#[test]
fn an_epsilon_too_small_for_the_type_is_said_or_survived() {
    let far = DenseCost::new(2, 2, vec![0.0f32, 1e8, 1e8, 0.0]).expect("numbers");
    for epsilon in [1e-3, 1e-30, 1e-300, 2.3e-308] {
        match solve(&far, &SinkhornOptions::new(epsilon)) {
            Ok(found) => assert!(found.transport_cost.is_finite()),
            Err(error) => assert!(matches!(error, TransportError::Range { .. }), "{error}"),
        }
    }
    let cost = square();
    for epsilon in [1e-5, 1e-9, 1e-13] {
        let found = solve(&cost, &SinkhornOptions::new(epsilon)).expect("it fits f64");
        assert!(found.converged().expect("it is easy").transport_cost < 1e-12);
    }
    let huge = DenseCost::new(1, 2, vec![f64::MAX, f64::MIN]).expect("numbers");
    let (one, two) = (Weights::uniform(1).expect("1"), half());
    let problem = Problem::new(&one, &two, &huge).expect("they fit");
    for domain in [Domain::Log, Domain::default()] {
        let options = SinkhornOptions {
            domain,
            ..SinkhornOptions::new(0.1)
        };
        let error = sinkhorn(&Workers::serial(), &problem, &options).expect_err("too far");
        assert!(matches!(error, TransportError::Range { .. }), "{error}");
    }
    let error = exact(&Workers::serial(), &problem).expect_err("too far");
    assert!(matches!(error, TransportError::Setting { .. }), "{error}");
}

#[test]
fn masses_that_differ() {
    let cost = square();
    let (one, two) = (half(), Weights::new(vec![1.0, 1.0]).expect("weights"));
    let problem = Problem::new(&one, &two, &cost).expect("they fit");
    let workers = Workers::serial();
    let options = SinkhornOptions::new(0.1);
    assert!(matches!(
        sinkhorn(&workers, &problem, &options),
        Err(TransportError::Masses { .. })
    ));
    assert!(matches!(
        exact(&workers, &problem),
        Err(TransportError::Masses { .. })
    ));
    let options = SinkhornOptions {
        marginals: Marginals::unbalanced(1.0),
        ..options
    };
    let found = sinkhorn(&workers, &problem, &options)
        .expect("unbalanced")
        .converged();
    assert!(found.is_ok_and(|found| found.mass() > 1.0));
}

#[test]
fn not_converged_and_stopped_are_said() {
    let cost = FnCost::new(2, 2, |i, j| [[0.0, 0.3], [1.0, 0.2]][i][j]).expect("it has rows");
    let few = SinkhornOptions {
        iterations_max: 2,
        tolerance: 1e-12,
        ..SinkhornOptions::new(0.05)
    };
    let found = solve(&cost, &few).expect("no error yet");
    assert_eq!(
        (found.outcome, found.iterations),
        (Outcome::IterationLimit, 2)
    );
    assert!(found.error > 1e-12);
    assert!(matches!(
        found.converged(),
        Err(TransportError::NotConverged { iterations: 2, .. })
    ));
    let seen = AtomicUsize::new(0);
    let observe = |progress: &Progress| {
        seen.store(progress.iteration, Ordering::Relaxed);
        if progress.iteration == 3 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let stopped = SinkhornOptions {
        iterations_max: 50,
        observer: Some(&observe),
        ..few
    };
    let found = solve(&cost, &stopped).expect("no error yet");
    assert_eq!((found.outcome, found.iterations), (Outcome::Stopped, 3));
    assert_eq!(seen.into_inner(), 3);
    assert!(matches!(
        found.converged(),
        Err(TransportError::Stopped { iterations: 3 })
    ));
}

#[test]
fn one_atom_on_each_side_and_batches() {
    let workers = Workers::new(3).expect("threads start");
    let cost = DenseCost::new(1, 1, vec![2.5f64]).expect("numbers");
    let one = Weights::new(vec![3.0]).expect("weights");
    let problem = Problem::new(&one, &one, &cost).expect("they fit");
    let options = SinkhornOptions::new(0.1);
    let found = sinkhorn(&workers, &problem, &options)
        .expect("it is easy")
        .converged();
    assert!((found.expect("it is easy").transport_cost - 7.5).abs() < 1e-9);
    let costs: Vec<_> = (0..9)
        .map(|k| FnCost::new(20, 30, move |i, j| ((i * k + j * 7) % 13) as f32).expect("rows"))
        .collect();
    let (a, b) = (
        Weights::uniform(20).expect("20"),
        Weights::uniform(30).expect("30"),
    );
    let problems: Vec<_> = costs
        .iter()
        .map(|cost| Problem::new(&a, &b, cost).expect("they fit"))
        .collect();
    let together = sinkhorn_batch(&workers, &problems, &options);
    assert_eq!(together.len(), 9);
    for (problem, found) in problems.iter().zip(together) {
        assert_eq!(found, sinkhorn(&Workers::serial(), problem, &options));
    }
}

#[test]
fn barycentres_and_slices_of_what_does_not_fit() {
    let workers = Workers::serial();
    assert!(GridKernel::new(vec![], 0.1).is_err());
    assert!(GridKernel::new(vec![vec![]], 0.1).is_err());
    assert!(GridKernel::new(vec![vec![0.0, f64::NAN]], 0.1).is_err());
    assert!(GridKernel::new(vec![vec![0.0, 1.0]], 0.0).is_err());
    let line = GridKernel::new(vec![vec![0.0, 1.0]], 0.1).expect("a line");
    let options = BarycentreOptions::default();
    let of = |measures: &[Weights], options: &BarycentreOptions<'_>| {
        fixed_support_barycentre(&workers, &line, measures, options).map(drop)
    };
    assert!(of(&[], &options).is_err());
    assert!(of(&[Weights::uniform(3).expect("3")], &options).is_err());
    assert!(
        of(
            &[half(), Weights::new(vec![1.0, 1.0]).expect("weights")],
            &options
        )
        .is_err()
    );
    let shares = BarycentreOptions {
        shares: Some(&[1.0, -1.0]),
        ..options
    };
    assert!(of(&[half(), half()], &shares).is_err());
    assert!(of(&[half(), half()], &options).is_ok());
    assert!(Directions::random(0, 2, 1).is_err());
    assert!(Directions::random(usize::MAX, 2, 1).is_err());
    assert!(Directions::new(vec![0.0, 0.0], 2).is_err());
    let points = Points::new(vec![0.0, 1.0], 1).expect("numbers");
    let along = Directions::random(3, 2, 1).expect("directions");
    let set = (&points, &half());
    assert!(sliced_wasserstein(&workers, set, set, &along, Order::Two).is_err());
    let free = free_support_barycentre(
        &workers,
        &[],
        (points.clone(), &half()),
        &FreeOptions::default(),
    );
    assert!(free.is_err());
}
