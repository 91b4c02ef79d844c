//! Laws of scores over many vectors: a row's score is that of the two vectors alone, the best are the
//! same for any number of threads, and all pairs are close to one by one.

mod common;

use common::*;
use lattice_kernels::vector::*;
use lattice_kernels::*;
use proptest::prelude::*;

const METRICS: [Metric; 4] = [
    Metric::Dot,
    Metric::Cosine,
    Metric::Euclidean,
    Metric::Manhattan,
];

/// All processors, those that multiply bf16 too.
fn all_cpus() -> Vec<Cpu> {
    let mut all = cpus();
    let own = [1, 2, 5].map(|threads| {
        let options = CpuOptions {
            threads,
            ..CpuOptions::default()
        };
        Cpu::new(options).expect("threads start")
    });
    all.extend(own);
    all
}

fn one_by_one<T: Element>(cpu: &Cpu, metric: Metric, a: &[T], b: &[T]) -> f32 {
    let isa = VectorIsa::of(cpu);
    match metric {
        Metric::Dot => dot(isa, a, b).to_f64() as f32,
        Metric::Cosine => cosine(isa, a, b),
        Metric::Euclidean => euclidean(isa, a, b),
        Metric::Manhattan => manhattan(isa, a, b).to_f64() as f32,
    }
}

fn check<T: Element>(query: &[T], rows: &[T], columns: usize, count: usize) {
    let matrix = Matrix::new(rows, columns);
    let prepared = Query::new(query);
    for cpu in all_cpus() {
        for metric in METRICS {
            let mut found = vec![0.0; matrix.rows()];
            scores(&cpu, metric, &prepared, matrix, &mut found);
            let expected: Vec<f32> = (0..matrix.rows())
                .map(|r| one_by_one(&cpu, metric, query, matrix.row(r)))
                .collect();
            assert_eq!(bits(&found), bits(&expected), "{metric:?} on {cpu:?}");
            let higher = matches!(metric, Metric::Dot | Metric::Cosine);
            let hits = top(&cpu, metric, &prepared, matrix, count);
            assert_eq!(
                order(&hits),
                sorted(&found, higher, count),
                "{metric:?} on {cpu:?}"
            );
        }
    }
}

fn order(hits: &[Hit]) -> Vec<(usize, u32)> {
    hits.iter()
        .map(|hit| (hit.index, canonical(hit.score)))
        .collect()
}

fn canonical(score: f32) -> u32 {
    bits(&[score + 0.0])[0]
}

/// The best `count` by a stable sort.
fn sorted(scores: &[f32], higher: bool, count: usize) -> Vec<(usize, u32)> {
    let mut rows: Vec<usize> = (0..scores.len()).collect();
    rows.sort_by(|&a, &b| {
        let (a, b) = (scores[a], scores[b]);
        let better = if higher {
            b.partial_cmp(&a)
        } else {
            a.partial_cmp(&b)
        };
        better.unwrap_or(a.is_nan().cmp(&b.is_nan()))
    });
    rows.truncate(count);
    rows.into_iter()
        .map(|r| (r, canonical(scores[r])))
        .collect()
}

fn bytes(x: &[f32]) -> Vec<i8> {
    x.iter().map(|x| (x * 63.9) as i8).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]

    #[test]
    fn scores_are_those_of_pairs_and_the_best_those_of_a_sort(
        rows in 0usize..300, columns in 1usize..200, count in 0usize..40, seed: u64,
    ) {
        let mut all = values(seed, rows * columns);
        // Rows that are alike, and one that is no number.
        if rows > 4 {
            all.copy_within(0..columns, 3 * columns);
            all[columns] = f32::NAN;
        }
        let query = values(seed ^ 1, columns);
        check(&query, &all, columns, count);
        let half = |x: &[f32]| x.iter().map(|&x| f16::from_f32(x)).collect::<Vec<_>>();
        check(&half(&query), &half(&all), columns, count);
        let brain = |x: &[f32]| x.iter().map(|&x| bf16::from_f32(x)).collect::<Vec<_>>();
        check(&brain(&query), &brain(&all), columns, count);
        check(&bytes(&query), &bytes(&all), columns, count);
    }
}

#[test]
fn many_ties_over_many_tasks_come_in_order() {
    let columns = 3;
    let rows: Vec<i8> = (0..60_000 * columns)
        .map(|i| (i / columns % 7) as i8)
        .collect();
    let matrix = Matrix::new(&rows, columns);
    let query = Query::new(&[1i8, 1, 1]);
    let mut found = vec![0.0; matrix.rows()];
    for cpu in all_cpus() {
        scores(&cpu, Metric::Dot, &query, matrix, &mut found);
        for count in [1, 10, 9000, 70_000] {
            let hits = top(&cpu, Metric::Dot, &query, matrix, count);
            assert_eq!(
                order(&hits),
                sorted(&found, true, count),
                "{count} on {cpu:?}"
            );
        }
    }
}

#[test]
fn differing_bits_of_many_rows() {
    let rows: Vec<u8> = bytes(&values(3, 5000 * 48))
        .iter()
        .map(|&x| x as u8)
        .collect();
    let matrix = Matrix::new(&rows, 48);
    let query = matrix.row(77);
    for cpu in all_cpus() {
        let mut found = vec![0; matrix.rows()];
        hamming_distances(&cpu, query, matrix, &mut found);
        for (r, distance) in found.iter().enumerate() {
            let isa = VectorIsa::of(&cpu);
            assert_eq!(u64::from(*distance), hamming(isa, query, matrix.row(r)));
        }
        let scores: Vec<f32> = found.iter().map(|&x| x as f32).collect();
        let hits = hamming_top(&cpu, query, matrix, 20);
        assert_eq!(
            hits[0],
            Hit {
                index: 77,
                score: 0.0
            }
        );
        assert_eq!(order(&hits), sorted(&scores, false, 20));
    }
}

fn all<T: Element>(a: &[T], b: &[T], columns: usize, tolerance: f32) {
    let (a, b) = (Matrix::new(a, columns), Matrix::new(b, columns));
    for metric in METRICS {
        let mut first: Option<Vec<u32>> = None;
        for cpu in all_cpus() {
            let mut found = vec![f32::NAN; a.rows() * b.rows()];
            all_pairs(&cpu, metric, a, b, &mut found);
            for i in 0..a.rows() {
                for j in 0..b.rows() {
                    let expected = one_by_one(&cpu, metric, a.row(i), b.row(j));
                    let found = found[i * b.rows() + j];
                    let near = (found - expected).abs() <= tolerance * (1.0 + expected.abs());
                    assert!(
                        near,
                        "{metric:?} {i} {j}: {found} for {expected} on {cpu:?}"
                    );
                }
            }
            if cpu.bf16_isa() == Bf16Isa::F32Fma {
                let bits = bits(&found);
                assert_eq!(
                    first.get_or_insert_with(|| bits.clone()),
                    &bits,
                    "{metric:?}"
                );
            }
        }
    }
}

#[test]
fn all_pairs_are_close_to_one_by_one() {
    for (rows, others, columns) in [(1, 1, 1), (7, 130, 33), (70, 65, 384), (3, 2, 100)] {
        let (a, b) = (values(1, rows * columns), values(2, others * columns));
        all(&a, &b, columns, 2e-5);
        let half = |x: &[f32]| x.iter().map(|&x| f16::from_f32(x)).collect::<Vec<_>>();
        all(&half(&a), &half(&b), columns, 2e-5);
        let brain = |x: &[f32]| x.iter().map(|&x| bf16::from_f32(x)).collect::<Vec<_>>();
        all(&brain(&a), &brain(&b), columns, 2e-5);
        all(&bytes(&a), &bytes(&b), columns, 0.0);
    }
}
