//! What holds for every problem: mass, symmetry, triangle, translation, and plans that fit their potentials.
#![allow(clippy::unwrap_used, reason = "helpers outside of test functions")]

mod common;

use common::close;
use lattice_transport::*;
use proptest::prelude::*;

const GROUND: Ground = Ground::SquaredEuclidean;

fn set(most: usize) -> impl Strategy<Value = (Points<f64>, Weights)> {
    let atom = (-1.0..1.0f64, -1.0..1.0f64, 0.05..1.0f64);
    prop::collection::vec(atom, 1..most).prop_map(|atoms| {
        let coordinates = atoms.iter().flat_map(|(x, y, _)| [*x, *y]).collect();
        let weights = atoms.iter().map(|(_, _, w)| *w).collect();
        (
            Points::new(coordinates, 2).expect("numbers"),
            Weights::normalised(weights).expect("above 0"),
        )
    })
}

fn options(epsilon: f64) -> SinkhornOptions<'static> {
    SinkhornOptions {
        tolerance: 1e-10,
        iterations_max: 200_000,
        ..SinkhornOptions::new(epsilon)
    }
}

type Set = (Points<f64>, Weights);

fn distance(x: &Set, y: &Set) -> f64 {
    let cost = PointCost::new(&x.0, &y.0, Ground::Euclidean).unwrap();
    let problem = Problem::new(&x.1, &y.1, &cost).unwrap();
    exact(&Workers::serial(), &problem).unwrap().transport_cost
}

fn debiased(x: &Set, y: &Set) -> f64 {
    let (source, target) = ((&x.0, &x.1), (&y.0, &y.1));
    divergence(&Workers::serial(), source, target, GROUND, &options(1.0))
        .unwrap()
        .value
}

fn moved(set: &Set, by: [f64; 2]) -> Set {
    let values = set.0.values().iter().enumerate();
    let values = values.map(|(k, x)| x + by[k % 2]).collect();
    (Points::new(values, 2).unwrap(), set.1.clone())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn plans_have_the_marginals_and_fit_both_domains(x in set(12), y in set(12), epsilon in 0.4..2.0f64) {
        let workers = Workers::serial();
        let cost = PointCost::new(&x.0, &y.0, GROUND).unwrap();
        let problem = Problem::new(&x.1, &y.1, &cost).unwrap();
        let found = sinkhorn(&workers, &problem, &options(epsilon)).unwrap().converged().unwrap();
        let plan = Plan::new(&workers, &problem, &found).unwrap();
        let dense = plan.dense().unwrap();
        let columns = y.1.len();
        for (i, row) in dense.chunks_exact(columns).enumerate() {
            close(row.iter().sum(), x.1.values()[i], 1e-9);
            prop_assert_eq!(row, &plan.row(i).unwrap()[..]);
        }
        for j in 0..columns {
            close(dense.iter().skip(j).step_by(columns).sum(), y.1.values()[j], 1e-9);
        }
        prop_assert_eq!(plan.entries_above(0.0).unwrap().len(), dense.iter().filter(|m| **m > 0.0).count());
        let largest = plan.largest(3).unwrap();
        let most = dense.iter().copied().fold(0.0, f64::max);
        prop_assert_eq!(largest[0].mass, most);
        let kernel = SinkhornOptions { domain: Domain::Kernel, ..options(epsilon) };
        let other = sinkhorn(&workers, &problem, &kernel).unwrap().converged().unwrap();
        prop_assert!(other.iterations.abs_diff(found.iterations) <= 1);
        close(other.objective, found.objective, 1e-9);
    }

    #[test]
    fn the_value_is_symmetric(x in set(10), y in set(10)) {
        let value = |x: &Set, y: &Set| {
            let cost = PointCost::new(&x.0, &y.0, GROUND).unwrap();
            let problem = Problem::new(&x.1, &y.1, &cost).unwrap();
            sinkhorn(&Workers::serial(), &problem, &options(0.5)).unwrap().converged().unwrap().objective
        };
        close(value(&x, &y), value(&y, &x), 1e-8);
        close(distance(&x, &y), distance(&y, &x), 1e-12);
        close(debiased(&x, &y), debiased(&y, &x), 1e-8);
    }

    #[test]
    fn exact_distances_keep_the_triangle(x in set(10), y in set(10), z in set(10)) {
        prop_assert!(distance(&x, &z) <= distance(&x, &y) + distance(&y, &z) + 1e-12);
        close(distance(&x, &x), 0.0, 1e-12);
    }

    #[test]
    fn a_translation_adds_its_square_and_moving_both_adds_nothing(x in set(10), y in set(10), u in -1.0..1.0f64, v in -1.0..1.0f64) {
        let by = [u, v];
        close(debiased(&x, &moved(&x, by)), u * u + v * v, 1e-7);
        close(debiased(&moved(&x, by), &moved(&y, by)), debiased(&x, &y), 1e-7);
    }

    #[test]
    fn divergences_are_at_least_0_and_0_for_the_same_set(x in set(10), y in set(10)) {
        prop_assert!(debiased(&x, &y) >= -1e-9);
        close(debiased(&x, &x), 0.0, 1e-9);
    }

    #[test]
    fn entropy_never_makes_the_plan_cheaper_than_the_best(x in set(10), y in set(10)) {
        let workers = Workers::serial();
        let cost = PointCost::new(&x.0, &y.0, GROUND).unwrap();
        let problem = Problem::new(&x.1, &y.1, &cost).unwrap();
        let best = exact(&workers, &problem).unwrap();
        let dual: f64 = x.1.values().iter().zip(&best.f).map(|(a, f)| a * f).sum::<f64>()
            + y.1.values().iter().zip(&best.g).map(|(b, g)| b * g).sum::<f64>();
        close(dual, best.transport_cost, 1e-11);
        let soft = sinkhorn(&workers, &problem, &options(0.5)).unwrap().converged().unwrap();
        prop_assert!(soft.transport_cost >= best.transport_cost - 1e-9);
    }

    #[test]
    fn atoms_without_mass_change_nothing(x in set(8), y in set(8), at in -5.0..5.0f64) {
        let workers = Workers::serial();
        let mut values = x.0.values().to_vec();
        values.extend([at, -at]);
        let mut weights = x.1.values().to_vec();
        weights.push(0.0);
        let more = (Points::new(values, 2).unwrap(), Weights::new(weights).unwrap());
        for domain in [Domain::Log, Domain::default()] {
            let solve = |x: &Set, y: &Set| {
                let cost = PointCost::new(&x.0, &y.0, GROUND).unwrap();
                let problem = Problem::new(&x.1, &y.1, &cost).unwrap();
                let options = SinkhornOptions { domain, ..options(0.4) };
                sinkhorn(&workers, &problem, &options).unwrap().converged().unwrap()
            };
            let (with, without) = (solve(&more, &y), solve(&x, &y));
            close(with.transport_cost, without.transport_cost, 1e-9);
            prop_assert_eq!(with.row_mass[x.1.len()], 0.0);
            let (with, without) = (solve(&y, &more), solve(&y, &x));
            close(with.objective, without.objective, 1e-9);
            prop_assert_eq!(with.column_mass[x.1.len()], 0.0);
        }
        let cost = PointCost::new(&more.0, &y.0, GROUND).unwrap();
        let found = exact(&workers, &Problem::new(&more.1, &y.1, &cost).unwrap()).unwrap();
        prop_assert!(found.entries.iter().all(|entry| entry.row < x.1.len()));
    }

    #[test]
    fn sliced_distances_are_symmetric_and_below_the_whole(x in set(10), y in set(10)) {
        let workers = Workers::serial();
        let along = Directions::random(32, 2, 5).unwrap();
        let sliced = |x: &Set, y: &Set| {
            sliced_wasserstein(&workers, (&x.0, &x.1), (&y.0, &y.1), &along, Order::One).unwrap()
        };
        close(sliced(&x, &y), sliced(&y, &x), 1e-12);
        prop_assert!(sliced(&x, &y) <= distance(&x, &y) + 1e-12);
    }
}
