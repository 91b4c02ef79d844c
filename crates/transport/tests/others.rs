//! Exact, sliced and barycentres beside the values that POT and numpy give.
#![allow(clippy::unwrap_used, reason = "helpers outside of test functions")]

mod common;

use common::*;
use lattice_transport::*;

#[test]
fn the_exact_value_is_that_of_the_table() {
    let workers = Workers::serial();
    let (x, y) = (points(false, 1000), points(true, 1000));
    let cost = PointCost::new(&x, &y, Ground::SquaredEuclidean).unwrap();
    let weights = Weights::uniform(1000).unwrap();
    let problem = Problem::new(&weights, &weights, &cost).unwrap();
    let found = exact(&workers, &problem).unwrap();
    close(found.transport_cost, number(&values()["exact"]), 1e-12);
    close(found.transport_cost, 0.002043909667, 1e-12);
    assert_eq!(found.entries.len(), 1000, "an assignment");
    let dual = (found.f.iter().sum::<f64>() + found.g.iter().sum::<f64>()) / 1000.0;
    close(dual, found.transport_cost, 1e-10);
}

#[test]
fn exact_plans_of_unequal_weights_are_proved_by_their_potentials() {
    let workers = Workers::serial();
    let golden = values();
    let weighted = &golden["weighted"];
    let (wa, wb) = (numbers(&weighted["a"]), numbers(&weighted["b"]));
    let (x, y) = (points(false, wa.len()), points(true, wb.len()));
    let (a, b) = (
        Weights::new(wa.clone()).unwrap(),
        Weights::new(wb.clone()).unwrap(),
    );
    for (ground, name) in [
        (Ground::Euclidean, "euclidean"),
        (Ground::SquaredEuclidean, "squared"),
    ] {
        let cost = PointCost::new(&x, &y, ground).unwrap();
        let dense = DenseCost::of(&workers, &cost).unwrap();
        let found = exact(&workers, &Problem::new(&a, &b, &cost).unwrap()).unwrap();
        close(found.transport_cost, number(&weighted[name]), 1e-12);
        let (mut rows, mut columns) = (vec![0.0; wa.len()], vec![0.0; wb.len()]);
        for entry in &found.entries {
            rows[entry.row] += entry.mass;
            columns[entry.column] += entry.mass;
        }
        rows.iter().zip(&wa).for_each(|(r, a)| close(*r, *a, 1e-14));
        columns
            .iter()
            .zip(&wb)
            .for_each(|(c, b)| close(*c, *b, 1e-14));
        for (at, cost) in dense.values().iter().enumerate() {
            let (i, j) = (at / wb.len(), at % wb.len());
            assert!(found.f[i] + found.g[j] <= cost + 1e-12, "{i} {j}");
        }
    }
}

#[test]
fn sliced_values_are_those_of_pot() {
    let workers = Workers::new(3).unwrap();
    let golden = values();
    let (wa, wb) = (
        numbers(&golden["weighted"]["a"]),
        numbers(&golden["weighted"]["b"]),
    );
    let (x, y) = (points(false, wa.len()), points(true, wb.len()));
    let along = Directions::new(numbers(&golden["sliced"]["directions"]), 2).unwrap();
    let (ua, ub) = (
        Weights::uniform(wa.len()).unwrap(),
        Weights::uniform(wb.len()).unwrap(),
    );
    let (wa, wb) = (Weights::new(wa).unwrap(), Weights::new(wb).unwrap());
    let rows = [
        ("p1", &ua, &ub, Order::One),
        ("p2", &ua, &ub, Order::Two),
        ("weighted_p2", &wa, &wb, Order::Two),
    ];
    for (name, a, b, order) in rows {
        let found = sliced_wasserstein(&workers, (&x, a), (&y, b), &along, order).unwrap();
        close(found, number(&golden["sliced"][name]), 1e-12);
    }
}

#[test]
fn free_points_are_those_of_pot() {
    let workers = Workers::serial();
    let golden = values();
    let start = Points::new(numbers(&golden["free"]["start"]), 2).unwrap();
    let [x, y] = [points(false, 60), points(true, 40)];
    let x1 = Points::new(x.values()[..60].to_vec(), 2).unwrap();
    let x2 = Points::new(x.values()[80..].to_vec(), 2).unwrap();
    let [w1, w2, w3] = [30, 40, 20].map(|n| Weights::uniform(n).unwrap());
    let options = FreeOptions {
        shares: Some(&[0.5, 0.3, 0.2]),
        rounds_max: 200,
        tolerance: 1e-14,
        ..FreeOptions::default()
    };
    let measures = [(&x1, &w1), (&y, &w2), (&x2, &w3)];
    let eighth = Weights::uniform(8).unwrap();
    let found = free_support_barycentre(&workers, &measures, (start.clone(), &eighth), &options);
    let found = found.unwrap();
    assert_eq!(found.outcome, Outcome::Converged);
    let expected = numbers(&golden["free"]["points"]);
    for (found, expected) in found.points.values().iter().zip(expected) {
        close(*found, expected, 1e-9);
    }
    // A little entropy leads to nearly the same points.
    let entropic = SinkhornOptions {
        domain: Domain::Kernel,
        acceleration: Acceleration::OverRelaxation,
        ..SinkhornOptions::new(0.01)
    };
    let options = FreeOptions {
        inner: Inner::Sinkhorn(&entropic),
        tolerance: 1e-8,
        ..options
    };
    let soft = free_support_barycentre(
        &workers,
        &measures,
        (found.points.clone(), &eighth),
        &options,
    );
    for (soft, sharp) in soft
        .unwrap()
        .points
        .values()
        .iter()
        .zip(found.points.values())
    {
        close(*soft, *sharp, 0.1);
    }
}

/// The three blobs of the table, on 64 x 64.
fn blobs(line: &[f64]) -> Vec<Weights> {
    let blob = |(cx, cy, s): (f64, f64, f64)| {
        let at =
            |x: f64, y: f64| (-((x - cx).powi(2) + (y - cy).powi(2)) / (2.0 * s * s)).exp() + 1e-6;
        let rows = line.iter().flat_map(|x| line.iter().map(|y| at(*x, *y)));
        Weights::normalised(rows.collect()).unwrap()
    };
    [(0.25, 0.25, 0.05), (0.75, 0.30, 0.05), (0.50, 0.75, 0.08)]
        .map(blob)
        .into()
}

#[test]
fn barycentres_on_a_grid_are_right_where_the_plain_domain_fails() {
    let workers = Workers::new(2).unwrap();
    let line: Vec<f64> = (0..64).map(|i| f64::from(i) / 63.0).collect();
    let measures = blobs(&line);
    for row in values()["barycentre"].as_array().unwrap() {
        let kernel =
            GridKernel::new(vec![line.clone(), line.clone()], number(&row["eps"])).unwrap();
        let options = BarycentreOptions {
            tolerance: 1e-11,
            ..BarycentreOptions::default()
        };
        let found = fixed_support_barycentre(&workers, &kernel, &measures, &options).unwrap();
        let found = found.converged().unwrap();
        let moment = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
            let points = line.iter().flat_map(|x| line.iter().map(move |y| (*x, *y)));
            points
                .zip(&found.weights)
                .map(|((x, y), w)| w * f(x, y))
                .sum()
        };
        close(moment(&|_, _| 1.0), 1.0, 1e-10);
        let mean = [moment(&|x, _| x), moment(&|_, y| y)];
        let variance = [
            moment(&|x, _| (x - mean[0]).powi(2)),
            moment(&|_, y| (y - mean[1]).powi(2)),
        ];
        for k in 0..2 {
            close(mean[k], number(&row["mean"][k]), 1e-9);
            close(variance[k], number(&row["variance"][k]), 1e-9);
        }
        let max = found.weights.iter().copied().fold(0.0, f64::max);
        close(max, number(&row["max"]), 1e-11);
    }
}

#[test]
fn a_grid_and_its_matrix_of_costs_have_the_same_barycentre() {
    let workers = Workers::new(2).unwrap();
    let (long, short) = (vec![0.0, 0.1, 0.35, 0.5, 0.8], vec![0.0, 0.25, 0.7]);
    let coordinates = long
        .iter()
        .flat_map(|x| short.iter().flat_map(move |y| [*x, *y]));
    let support = Points::new(coordinates.collect(), 2).unwrap();
    let cost = PointCost::new(&support, &support, Ground::SquaredEuclidean).unwrap();
    let matrix = CostKernel::new(&cost, 0.01).unwrap();
    let grid = GridKernel::new(vec![long.clone(), short], 0.01).unwrap();
    let measure = |seed: usize| {
        let w = (0..15).map(|i| ((i * seed + 3) % 7) as f64).collect();
        Weights::normalised(w).unwrap()
    };
    let measures = [measure(2), measure(5)];
    let options = BarycentreOptions {
        shares: Some(&[3.0, 1.0]),
        ..BarycentreOptions::default()
    };
    let a = fixed_support_barycentre(&workers, &matrix, &measures, &options).unwrap();
    let b = fixed_support_barycentre(&workers, &grid, &measures, &options).unwrap();
    assert_eq!(
        (a.outcome, b.outcome),
        (Outcome::Converged, Outcome::Converged)
    );
    for (a, b) in a.weights.iter().zip(&b.weights) {
        close(*a, *b, 1e-10);
    }
}
