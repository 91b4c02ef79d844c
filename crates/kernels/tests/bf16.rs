//! Laws of bf16 products, on every instruction set there is: a row's outputs depend on nothing but
//! the row, they are those of the rounded inputs, and what is not finite stays in its row.

mod common;

use common::*;
use half::bf16;
use lattice_kernels::*;

/// The instruction sets for bf16, each with one thread and three. Says which ones are missing.
fn bf16_cpus() -> Vec<Cpu> {
    for isa in Bf16Isa::ALL {
        if !isa.is_available() {
            eprintln!("skipped: this machine has no {isa}");
        }
    }
    let pairs = Bf16Isa::available()
        .into_iter()
        .flat_map(|isa| [(isa, 1), (isa, 3)]);
    pairs
        .map(|(isa, threads)| fast(threads).with_bf16_isa(isa).expect("an available one"))
        .collect()
}

fn product(cpu: &Cpu, weight: &Weight, bias: Option<&[f32]>, x: &[f32]) -> Vec<f32> {
    let mut out = vec![f32::NAN; x.len() / weight.columns * weight.rows];
    linear(cpu, weight.dense(), bias, x, &mut out);
    out
}

const SHAPES: [(usize, usize); 8] = [
    (1, 1),
    (15, 31),
    (16, 32),
    (17, 33),
    (40, 100),
    (100, 576),
    (33, 1024),
    (70, 2080),
];

#[test]
fn a_row_alone_is_a_row_in_a_crowd() {
    for (rows, columns) in SHAPES {
        let weight = Weight::new(Kind::Bf16, 3, rows, columns);
        let tokens = 70;
        let (x, bias) = (values(4, tokens * columns), values(5, rows));
        let cpus = bf16_cpus();
        for pair in cpus.chunks(2) {
            let crowd = product(&pair[0], &weight, Some(&bias), &x);
            for cpu in pair {
                assert_eq!(bits(&product(cpu, &weight, Some(&bias), &x)), bits(&crowd));
                for (t, n) in [
                    (0, 1),
                    (7, 2),
                    (13, 5),
                    (20, 7),
                    (31, 16),
                    (40, 17),
                    (69, 1),
                ] {
                    let few = &x[t * columns..(t + n) * columns];
                    let few = product(cpu, &weight, Some(&bias), few);
                    let same = bits(&few) == bits(&crowd[t * rows..(t + n) * rows]);
                    assert!(same, "{cpu:?}: [{rows}, {columns}], rows {t} to {}", t + n);
                }
            }
        }
    }
}

#[test]
fn outputs_are_those_of_the_rounded_inputs() {
    for (rows, columns) in SHAPES {
        let weight = Weight::new(Kind::Bf16, 8, rows, columns);
        let (x, bias) = (values(9, 19 * columns), values(10, rows));
        for cpu in bf16_cpus() {
            let found = product(&cpu, &weight, Some(&bias), &x);
            for (i, found) in found.iter().enumerate() {
                let (t, r) = (i / rows, i % rows);
                let w = &weight.wide()[r * columns..(r + 1) * columns];
                let (mut dot, mut size) = (f64::from(bias[r]), f64::from(bias[r]).abs());
                for (w, x) in w.iter().zip(&x[t * columns..(t + 1) * columns]) {
                    let x = match cpu.bf16_isa() {
                        Bf16Isa::F32Fma => *x,
                        _ => bf16::from_f32(*x).to_f32(),
                    };
                    dot += f64::from(*w) * f64::from(x);
                    size += (f64::from(*w) * f64::from(x)).abs();
                }
                let error = (dot - f64::from(*found)).abs();
                assert!(error <= 2e-6 * size, "{cpu:?}: {found} for {dot} of {size}");
            }
        }
    }
}

#[test]
fn what_is_not_finite_stays_in_its_row() {
    let (rows, columns) = (20, 70);
    let weight = Weight::new(Kind::Bf16, 1, rows, columns);
    for strange in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for at in [0, 31, 32, 69] {
            let before = values(2, 18 * columns);
            let mut x = before.clone();
            x[17 * columns + at] = strange;
            x[3 * columns + at] = strange;
            for cpu in bf16_cpus() {
                let found = product(&cpu, &weight, None, &x);
                let expected = product(&cpu, &weight, None, &before);
                for t in 0..18 {
                    let row = t * rows..(t + 1) * rows;
                    if [3, 17].contains(&t) {
                        assert!(found[row].iter().all(|x| !x.is_finite()), "{cpu:?}");
                    } else {
                        assert_eq!(bits(&found[row.clone()]), bits(&expected[row]), "{cpu:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn parts_of_a_weight_and_picked_rows_are_the_same_products() {
    let (rows, columns) = (96, 64);
    let weight = Weight::new(Kind::Bf16, 1, rows, columns);
    let x = values(2, 20 * columns);
    let picked = [19, 0, 7, 7, 3];
    for cpu in bf16_cpus() {
        let whole = product(&cpu, &weight, None, &x);
        for (period, start, take) in [
            (48, 0, 16),
            (48, 16, 32),
            (32, 3, 7),
            (96, 1, 95),
            (2, 1, 1),
        ] {
            let stored = Rows {
                period,
                start,
                take,
            };
            let part = Dense::parts(weight.dense().data(), columns, stored);
            let mut found = vec![f32::NAN; picked.len() * part.rows()];
            linear_select(&cpu, part, None, &x, &picked, &mut found);
            let of = |r: usize| r / take * period + start + r % take;
            let expected: Vec<f32> = picked
                .iter()
                .flat_map(|&t| (0..part.rows()).map(move |r| (t as usize, of(r))))
                .map(|(t, r)| whole[t * rows + r])
                .collect();
            assert_eq!(bits(&found), bits(&expected), "{cpu:?}: {stored:?}");
        }
    }
}
