//! Laws of the operations on vectors: close to f64, the same bits on every instruction set, and what
//! distances owe.

mod common;

use common::*;
use lattice_kernels::vector::*;
use lattice_kernels::*;
use proptest::prelude::*;

/// Every set of instruction sets this machine has, plainest first.
fn sets() -> Vec<(String, VectorIsa)> {
    let mut all = Vec::new();
    for isa in Isa::available() {
        for int_isa in IntIsa::available() {
            for bf16_isa in Bf16Isa::available() {
                let options = CpuOptions {
                    isa: Some(isa),
                    int_isa: Some(int_isa),
                    bf16_isa: Some(bf16_isa),
                    threads: 1,
                };
                let cpu = Cpu::new(options).expect("available instruction sets");
                let set = VectorIsa::of(&cpu);
                if all.iter().all(|(_, other)| *other != set) {
                    all.push((format!("{isa} {int_isa} {bf16_isa}"), set));
                }
            }
        }
    }
    all
}

/// Lengths around every step, and long ones.
fn lengths() -> impl Iterator<Item = usize> {
    (0..=130).chain([
        255, 256, 257, 383, 384, 500, 768, 1000, 1023, 1024, 1536, 4099,
    ])
}

fn bytes(seed: u64, n: usize) -> Vec<i8> {
    values(seed, n)
        .iter()
        .map(|x| (x * 127.9) as i32 as i8)
        .collect()
}

/// Four sums and the sum of the absolute terms of the products, in f64.
struct Plain {
    dot: f64,
    dot_terms: f64,
    squared: f64,
    absolute: f64,
    cosine: f64,
}

fn plain(a: &[f64], b: &[f64]) -> Plain {
    let sum = |f: &dyn Fn(f64, f64) -> f64| a.iter().zip(b).map(|(a, b)| f(*a, *b)).sum::<f64>();
    let dot = sum(&|a, b| a * b);
    let norms = (sum(&|a, _| a * a) * sum(&|_, b| b * b)).sqrt();
    Plain {
        dot,
        dot_terms: sum(&|a, b| (a * b).abs()),
        squared: sum(&|a, b| (a - b).powi(2)),
        absolute: sum(&|a, b| (a - b).abs()),
        cosine: if norms == 0.0 { 0.0 } else { dot / norms },
    }
}

/// Checks all operations on `a` and `b` for every set; `at` is how far into the slices vectors begin.
fn close<T: Float>(a: &[f32], b: &[f32]) {
    let of = |x: &[f32]| -> Vec<T> { x.iter().map(|&x| T::from_f32(x)).collect() };
    let wide = |x: &[T]| -> Vec<f64> { x.iter().map(|x| f64::from(x.to_f32())).collect() };
    let (a, b) = (of(a), of(b));
    let n = a.len() as f64;
    let expected = plain(&wide(&a), &wide(&b));
    // What the heads promise; products by `vdpbf16ps` round once more.
    let bound = (n / 64.0 + 8.0) * f64::from(f32::EPSILON) / 2.0;
    for (name, isa) in sets() {
        let near = |found: f64, expected: f64, terms: f64, what: &str| {
            let error = (found - expected).abs();
            assert!(
                error <= bound * terms + 1e-30,
                "{what} of {n} on {name}: {found} for {expected}, off by {error}"
            );
        };
        near(
            dot(isa, &a, &b).into(),
            expected.dot,
            expected.dot_terms,
            "dot",
        );
        let squared = squared_euclidean(isa, &a, &b).into();
        near(squared, expected.squared, 2.0 * expected.squared, "squared");
        near(
            manhattan(isa, &a, &b).into(),
            expected.absolute,
            2.0 * expected.absolute,
            "manhattan",
        );
        near(cosine(isa, &a, &b).into(), expected.cosine, 4.0, "cosine");
        let distance = euclidean(isa, &a, &b).into();
        near(
            distance,
            expected.squared.sqrt(),
            2.0 * expected.squared.sqrt(),
            "euclidean",
        );
        let exact = |found: f64, expected: f64, terms: f64| {
            assert!(
                (found - expected).abs() <= 1e-13 * terms,
                "in f64 on {name}: {found}, {expected}"
            );
        };
        exact(dot_f64(isa, &a, &b), expected.dot, expected.dot_terms);
        exact(
            squared_euclidean_f64(isa, &a, &b),
            expected.squared,
            expected.squared,
        );
        exact(cosine_f64(isa, &a, &b), expected.cosine, 1.0);
    }
}

#[test]
fn floats_are_close_to_f64() {
    for n in lengths() {
        // One element in: vectors begin anywhere.
        let (a, b) = (values(n as u64, n + 1), values(n as u64 ^ 77, n + 1));
        close::<f32>(&a[1..], &b[1..]);
        close::<f16>(&a[1..], &b[1..]);
        close::<bf16>(&a[1..], &b[1..]);
    }
}

#[test]
fn bytes_are_exact() {
    let worst = [vec![-128i8; 70_001], vec![127; 70_001]];
    for n in lengths().chain([32_768, 32_769, 70_000]) {
        let random = [bytes(n as u64, n + 1), bytes(n as u64 ^ 9, n + 1)];
        for [a, b] in [&random, &worst] {
            for (a, b) in [(a, b), (a, a), (b, a)] {
                let (a, b) = (&a[1..=n], &b[1..=n]);
                let sum = |f: fn(i64, i64) -> i64| -> i64 {
                    a.iter()
                        .zip(b)
                        .map(|(a, b)| f((*a).into(), (*b).into()))
                        .sum()
                };
                for (name, isa) in sets() {
                    assert_eq!(dot(isa, a, b), sum(|a, b| a * b), "{n} on {name}");
                    let squared = squared_euclidean(isa, a, b);
                    assert_eq!(squared, sum(|a, b| (a - b).pow(2)), "{n} on {name}");
                    assert_eq!(
                        manhattan(isa, a, b),
                        sum(|a, b| (a - b).abs()),
                        "{n} on {name}"
                    );
                    let all = products(isa, a, b);
                    assert_eq!(all.ab, sum(|a, b| a * b), "{n} on {name}");
                    assert_eq!(all.aa, sum(|a, _| a * a), "{n} on {name}");
                    assert_eq!(all.bb, sum(|_, b| b * b), "{n} on {name}");
                }
            }
        }
    }
}

#[test]
fn bits_are_counted() {
    for n in lengths() {
        let of = |seed| {
            bytes(seed, n + 1)
                .iter()
                .map(|&x| x as u8)
                .collect::<Vec<_>>()
        };
        let (a, b) = (of(n as u64), of(n as u64 ^ 5));
        let expected: u32 = a[1..]
            .iter()
            .zip(&b[1..])
            .map(|(a, b)| (a ^ b).count_ones())
            .sum();
        for (name, isa) in sets() {
            assert_eq!(
                hamming(isa, &a[1..], &b[1..]),
                u64::from(expected),
                "{n} on {name}"
            );
        }
    }
}

/// The bits of all operations that every set must agree on.
fn all_bits<T: Float>(isa: VectorIsa, a: &[T], b: &[T]) -> Vec<u64> {
    let sums = [
        dot(isa, a, b),
        squared_euclidean(isa, a, b),
        manhattan(isa, a, b),
        cosine(isa, a, b),
        euclidean(isa, a, b),
    ];
    let wide = [
        dot_f64(isa, a, b),
        squared_euclidean_f64(isa, a, b),
        cosine_f64(isa, a, b),
    ];
    let wide = wide.map(|x| if x.is_nan() { f64::NAN } else { x }.to_bits());
    bits(&sums).into_iter().map(u64::from).chain(wide).collect()
}

fn same<T: Float>(a: &[f32], b: &[f32]) {
    let of = |x: &[f32]| -> Vec<T> { x.iter().map(|&x| T::from_f32(x)).collect() };
    let (a, b) = (of(a), of(b));
    let plain_bf16: Vec<(String, VectorIsa)> = Isa::available()
        .into_iter()
        .map(|isa| (isa.to_string(), VectorIsa::of(&cpu(isa, 1))))
        .collect();
    let expected = all_bits(plain_bf16[0].1, &a, &b);
    for (name, isa) in &plain_bf16[1..] {
        assert_eq!(
            all_bits(*isa, &a, &b),
            expected,
            "{} elements on {name}",
            a.len()
        );
    }
}

#[test]
fn every_instruction_set_gives_the_same_bits() {
    let strange = [f32::INFINITY, f32::NAN, 1e30, -1e-40, 65504.0, -0.0];
    for n in lengths() {
        let (mut a, b) = (values(n as u64, n), values(n as u64 ^ 3, n));
        for round in 0..2 {
            same::<f32>(&a, &b);
            same::<f16>(&a, &b);
            same::<bf16>(&a, &b);
            if n > 0 {
                a[n * 7 / 9] = strange[(n + round) % strange.len()];
            }
        }
    }
}

#[test]
fn squares_neither_overflow_nor_vanish() {
    for (name, isa) in sets() {
        for scale in [1e-30f32, 1e-20, 1e25, 1e37] {
            let (a, b) = ([3.0 * scale, 0.0], [3.0 * scale, 4.0 * scale]);
            let near = |x: f32, y: f32| (x / y - 1.0).abs() < 1e-6;
            assert!(near(cosine(isa, &a, &b), 0.6), "{scale} on {name}");
            assert!(
                near(euclidean(isa, &a, &b), 4.0 * scale),
                "{scale} on {name}"
            );
        }
        let (zero, one) = ([0.0f32; 5], [1.0f32; 5]);
        assert_eq!(cosine(isa, &zero, &one), 0.0);
        assert_eq!(cosine(isa, &zero, &zero), 0.0);
        assert!(cosine(isa, &[f32::NAN; 5], &one).is_nan());
        assert!(cosine(isa, &[f32::NAN; 5], &zero).is_nan());
        assert_eq!(cosine::<f32>(isa, &[], &[]), 0.0);
        assert_eq!(cosine(isa, &[-128i8; 9], &[-128; 9]), 1.0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn distances_are_distances(n in 0usize..300, seed: u64) {
        let isa = VectorIsa::detect();
        let [a, b, c] = [0, 1, 2].map(|s| values(seed ^ s, n));
        let slack = 1.0 + 1e-5;
        for distance in [euclidean::<f32>, manhattan::<f32>] {
            prop_assert_eq!(distance(isa, &a, &a), 0.0);
            prop_assert_eq!(distance(isa, &a, &b).to_bits(), distance(isa, &b, &a).to_bits());
            prop_assert!(distance(isa, &a, &c) <= (distance(isa, &a, &b) + distance(isa, &b, &c)) * slack);
        }
        let cosines = cosine(isa, &a, &b);
        prop_assert!((-1.0..=1.0).contains(&cosines));
        prop_assert_eq!(cosines.to_bits(), cosine(isa, &b, &a).to_bits());
        let [x, y, z] = [0, 1, 2].map(|s| bytes(seed ^ s, n));
        prop_assert!(manhattan(isa, &x, &z) <= manhattan(isa, &x, &y) + manhattan(isa, &y, &z));
        let of = |x: &[i8]| x.iter().map(|&x| x as u8).collect::<Vec<_>>();
        let (x, y, z) = (of(&x), of(&y), of(&z));
        prop_assert_eq!(hamming(isa, &x, &x), 0);
        prop_assert!(hamming(isa, &x, &z) <= hamming(isa, &x, &y) + hamming(isa, &y, &z));
    }
}
