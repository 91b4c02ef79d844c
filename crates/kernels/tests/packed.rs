//! Laws of packed weights: packing is idempotent, all paths give the same bits, a row's outputs do
//! not depend on its company, and products are those of the unpacked weights.

mod common;

use common::packed::*;
use common::*;
use lattice_kernels::*;
use proptest::prelude::*;

const ROWS: [usize; 6] = [1, 7, 16, 17, 40, 100];
const COLUMNS: [usize; 9] = [1, 64, 100, 256, 320, 384, 576, 1000, 1024];

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn all_paths_give_the_same_bits(
        scheme in proptest::sample::select(&SCHEMES[..]),
        rows in proptest::sample::select(&ROWS[..]), columns in proptest::sample::select(&COLUMNS[..]),
        tokens in 1usize..=40, biased: bool, seed: u64,
    ) {
        let weight = Owned::random(scheme, seed, rows, columns);
        let (x, bias) = (values(seed ^ 1, tokens * columns), values(seed ^ 2, rows));
        let bias = biased.then_some(&bias[..]);
        let cpus = int_cpus();
        let expected = bits(&weight.linear(&cpus[0], bias, &x));
        for cpu in &cpus[1..] {
            prop_assert!(bits(&weight.linear(cpu, bias, &x)) == expected, "{cpu:?}");
        }
    }

    #[test]
    fn quantised_rows_have_the_same_bits_on_all_sets(columns in 1usize..600, seed: u64, exponent in -45i32..38) {
        let scale = 10f32.powi(exponent);
        let x: Vec<f32> = values(seed, 3 * columns).iter().map(|x| x * scale).collect();
        let mut expected = None;
        for cpu in cpus() {
            let mut found = Activations::new();
            quantise_rows(&cpu, &x, columns, &mut found);
            let found = bits(&found.values());
            prop_assert!(*expected.get_or_insert_with(|| found.clone()) == found, "{cpu:?}");
        }
    }

    #[test]
    fn quantised_rows_are_close(columns in 1usize..600, seed: u64) {
        let x = values(seed, columns);
        let mut found = Activations::new();
        quantise_rows(&fast(1), &x, columns, &mut found);
        for (x, q) in x.iter().zip(found.values()) {
            // Half a step of the largest |x| there can be, and the roundings of the product and of the value.
            prop_assert!((x - q).abs() <= 2.0 / 16256.0 * 0.505, "{x} became {q}");
        }
    }
}

#[test]
fn what_runs_is_what_the_machine_has() {
    let ran: Vec<IntIsa> = int_cpus().iter().step_by(2).map(Cpu::int_isa).collect();
    eprintln!("instruction sets for integers here: {ran:?}");
    assert_eq!(ran, IntIsa::available());
    #[cfg(target_arch = "aarch64")]
    {
        let dot = std::arch::is_aarch64_feature_detected!("dotprod");
        let i8mm = dot && std::arch::is_aarch64_feature_detected!("i8mm");
        let found = [IntIsa::NeonDot, IntIsa::NeonI8mm].map(|isa| ran.contains(&isa));
        assert_eq!(found, [dot, i8mm]);
    }
}

#[test]
fn a_row_alone_is_a_row_in_a_crowd() {
    let shapes = [(100, 576), (33, 1024), (16, 100)];
    for (scheme, (rows, columns)) in with_schemes(&shapes) {
        let weight = Owned::random(scheme, 3, rows, columns);
        // More rows than a task takes, so that several blocks of them meet each tile.
        let tokens = 700;
        let x = values(4, tokens * columns);
        for cpu in [fast(1), fast(3)] {
            let crowd = weight.linear(&cpu, None, &x);
            for t in (0..tokens).step_by(13) {
                for n in 1..=7.min(tokens - t) {
                    let few = weight.linear(&cpu, None, &x[t * columns..(t + n) * columns]);
                    assert_eq!(bits(&few), bits(&crowd[t * rows..(t + n) * rows]));
                }
            }
        }
    }
}

#[test]
fn products_are_those_of_the_unpacked_weights() {
    let shapes = [(100, 1024), (17, 576), (48, 3584), (5, 30)];
    for (scheme, (rows, columns)) in with_schemes(&shapes) {
        let weight = Owned::random(scheme, 8, rows, columns);
        let wide = weight.unpacked();
        let (x, bias) = (values(9, 6 * columns), values(10, rows));
        let found = weight.linear(&fast(2), Some(&bias), &x);
        let (mut error, mut power) = (0.0, 0.0);
        for (i, found) in found.iter().enumerate() {
            let (t, r) = (i / rows, i % rows);
            let w = &wide[r * columns..(r + 1) * columns];
            let x = &x[t * columns..(t + 1) * columns];
            let dot: f64 = w
                .iter()
                .zip(x)
                .map(|(&w, &x)| f64::from(w) * f64::from(x))
                .sum();
            let expected = dot + f64::from(bias[r]);
            error += (expected - f64::from(*found)).powi(2);
            power += expected.powi(2);
        }
        assert!(
            error / power <= 1e-8,
            "{scheme} [{rows}, {columns}]: {}",
            error / power
        );
    }
}

#[test]
fn quantised_once_is_quantised_each_time() {
    let (cpu, columns) = (fast(2), 300);
    let x = values(1, 9 * columns);
    let mut shared = Activations::new();
    // Used before for more rows of other columns: nothing of that shows.
    quantise_rows(&cpu, &values(2, 20 * 512), 512, &mut shared);
    quantise_rows(&cpu, &x, columns, &mut shared);
    assert_eq!((shared.rows(), shared.columns()), (9, columns));
    for (scheme, seed) in with_schemes(&[5, 6]) {
        let weight = Owned::random(scheme, seed, 40, columns);
        let mut out = vec![0.0; 9 * 40];
        linear_packed_quantised(&cpu, weight.view(), None, &shared, &mut out);
        assert_eq!(bits(&out), bits(&weight.linear(&cpu, None, &x)));
        let mut picked = Activations::new();
        quantise_select(&cpu, &x, columns, &[8, 0, 8], &mut picked);
        let mut some = vec![0.0; 3 * 40];
        linear_packed_quantised(&cpu, weight.view(), None, &picked, &mut some);
        let expected = [&out[320..], &out[..40], &out[320..]].concat();
        assert_eq!(bits(&some), bits(&expected));
    }
}

#[test]
fn what_is_not_finite_makes_its_row_nan_and_no_other() {
    let columns = 300;
    // A row of zero weights too: zero times NaN is NaN.
    let mut weights = values(1, 20 * columns);
    weights[..columns].fill(0.0);
    let strange = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    for (scheme, strange) in with_schemes(&strange) {
        let weight = Owned::new(scheme, &weights, 20, columns);
        for at in [0, 255, 256, 299] {
            let mut x = values(2, 3 * columns);
            let before = x.clone();
            x[columns + at] = strange;
            for cpu in int_cpus() {
                let (found, expected) = (
                    weight.linear(&cpu, None, &x),
                    weight.linear(&cpu, None, &before),
                );
                assert!(found[20..40].iter().all(|x| x.is_nan()), "{cpu:?}");
                assert_eq!(bits(&found[..20]), bits(&expected[..20]));
                assert_eq!(bits(&found[40..]), bits(&expected[40..]));
            }
        }
    }
}

#[test]
fn zeros_and_tiny_numbers_give_zeros() {
    for (scheme, x) in with_schemes(&[0.0, -0.0, 1e-45, 1e-31]) {
        let weight = Owned::random(scheme, 1, 20, 300);
        let out = weight.linear(&fast(1), None, &[x; 300]);
        assert!(out.iter().all(|&y| y == 0.0), "{x}");
    }
}

#[test]
fn the_extremes_of_both_sides_do_not_overflow() {
    // A file may hold -128, which packing never writes; 1,024 columns of it against the largest v.
    let groups = grouped(GroupBits::Eight, GroupColumns::Of128, false);
    let (half_one, one) = ([0x00, 0x3c], 1.0f32.to_le_bytes());
    for (scheme, one) in [(PackedScheme::Q8, &half_one[..]), (groups, &one[..])] {
        let mut weight = Owned::random(scheme, 1, 16, 1024);
        let start = weight.shape.scales_bytes();
        let bytes = weight.memory.bytes_mut();
        bytes[..start]
            .chunks_exact_mut(one.len())
            .for_each(|scale| scale.copy_from_slice(one));
        bytes[start..].fill(0x80);
        for x in [1.0, -1.0] {
            let expected = -128.0 * 1024.0 * f64::from(x);
            for (cpu, rows) in int_cpus()
                .iter()
                .flat_map(|cpu| [1, 2, 5].map(|n| (cpu, n)))
            {
                for out in weight.linear(cpu, None, &vec![x; rows * 1024]) {
                    assert!(
                        (f64::from(out) - expected).abs() <= 0.01,
                        "{cpu:?}, {scheme}, {rows} rows: {out} for {expected}"
                    );
                }
            }
        }
    }
}

#[test]
fn segments_are_matrices_one_behind_the_other() {
    let columns = 320;
    for (scheme, segment) in with_schemes(&[10, 16, 24, 40]) {
        let rows = 4 * segment;
        let weights = values(1, rows * columns);
        let whole = Owned::segmented(scheme, &weights, rows, columns, segment);
        assert_eq!(whole.shape.segments(), 4);
        let mut pieces = Vec::new();
        for piece in weights.chunks(segment * columns) {
            let packed = Owned::new(scheme, piece, segment, columns);
            pieces.extend_from_slice(packed.memory.bytes());
        }
        assert!(whole.memory.bytes() == pieces);
        let one = Owned::new(scheme, &weights, rows, columns);
        assert_eq!(bits(&whole.unpacked()), bits(&one.unpacked()));
        let x = values(2, 9 * columns);
        for cpu in int_cpus() {
            let (whole, one) = (whole.linear(&cpu, None, &x), one.linear(&cpu, None, &x));
            assert_eq!(bits(&whole), bits(&one));
        }
    }
}

#[test]
fn parts_and_slices_are_the_rows_they_say() {
    let columns = 320;
    for (scheme, segment) in with_schemes(&[10, 16, 24, 40]) {
        let rows = 12 * segment;
        let weights = values(1, rows * columns);
        let whole = Owned::segmented(scheme, &weights, rows, columns, segment);
        let wide = whole.unpacked();
        let x = values(2, 7 * columns);
        let check = |part: Packed<'_>, rows: &[usize]| {
            assert_eq!((part.rows(), part.columns()), (rows.len(), columns));
            let expected: Vec<f32> = rows
                .iter()
                .flat_map(|row| &wide[row * columns..(row + 1) * columns])
                .copied()
                .collect();
            assert_eq!(bits(&unpacked(part)), bits(&expected));
            let bias = values(3, rows.len());
            let few = &x[..2 * columns];
            for x in [few, &x[..]] {
                let all = whole.linear(&fast(3), None, x);
                let found = linear_of(&fast(3), part, Some(&bias), x);
                for (i, found) in found.iter().enumerate() {
                    let (t, r) = (i / rows.len(), i % rows.len());
                    let expected = all[t * whole.shape.rows() + rows[r]] + bias[r];
                    assert_eq!(found.to_bits(), expected.to_bits());
                }
            }
            let ids = [rows.len() as u32 - 1, 0];
            let mut found = vec![f32::NAN; 2 * columns];
            embed_packed(&fast(1), part, &ids, &mut found);
            let last = &expected[(rows.len() - 1) * columns..];
            assert_eq!(bits(&found), bits(&[last, &expected[..columns]].concat()));
        };
        let all: Vec<usize> = (0..rows).collect();
        check(whole.view(), &all);
        let slice = whole.view().slice(3 * segment..7 * segment);
        check(slice, &all[3 * segment..7 * segment]);
        let of = |period: usize, start: usize, take: usize| Rows {
            period: period * segment,
            start: start * segment,
            take: take * segment,
        };
        for (period, start, take) in [(4, 1, 2), (3, 2, 1), (12, 5, 6), (2, 0, 2)] {
            let part = whole.view().parts(of(period, start, take));
            let inside = |row: &usize| {
                let segment = row / segment % period;
                (start..start + take).contains(&segment)
            };
            let rows: Vec<usize> = all.iter().copied().filter(inside).collect();
            check(part, &rows);
            check(
                part.slice(segment..2 * segment),
                &rows[segment..2 * segment],
            );
        }
        // A part of one matrix of a stack.
        let part = slice.parts(of(2, 1, 1));
        let rows = [4 * segment..5 * segment, 6 * segment..7 * segment];
        check(part, &rows.into_iter().flatten().collect::<Vec<_>>());
        assert!(linear_of(&fast(1), part.slice(0..0), None, &x).is_empty());
    }
}

#[test]
#[should_panic(expected = "no whole segments of 24")]
fn a_part_within_a_segment_is_refused() {
    let weight = Owned::segmented(PackedScheme::Q8, &values(1, 48 * 64), 48, 64, 24);
    let (period, start, take) = (24, 8, 8);
    let _ = weight.view().parts(Rows {
        period,
        start,
        take,
    });
}
