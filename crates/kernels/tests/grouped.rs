//! Laws of grouped weights: what comes packed is kept to the bit, lies where the layout says, and is
//! refused where it does not fit.

mod common;

use common::packed::*;
use common::*;
use lattice_kernels::*;
use proptest::prelude::*;

/// Bits, columns of a group, minima.
fn parts(scheme: PackedScheme) -> Option<(usize, usize, bool)> {
    match scheme {
        PackedScheme::Grouped {
            bits,
            group,
            minimum,
        } => Some((bits.bits(), group.columns(), minimum)),
        _ => None,
    }
}

fn schemes() -> Vec<PackedScheme> {
    let all = PackedScheme::ALL.into_iter();
    all.filter(|&scheme| parts(scheme).is_some()).collect()
}

/// Scale, minimum and integer of row `row`, column `i` of a weight of one segment, as the layout
/// says.
fn stored(packed: &Owned, row: usize, i: usize) -> (f32, f32, i32) {
    let (bits, group, minimum) = parts(packed.shape.scheme()).expect("grouped");
    let (bytes, columns) = (packed.memory.bytes(), packed.shape.columns());
    let n = if minimum { 2 } else { 1 };
    let scales_bytes = 64 * n * columns.div_ceil(group);
    let tile_bytes = scales_bytes + 2 * bits * columns.next_multiple_of(64);
    let (t, l, g) = (row / 16 * tile_bytes, row % 16, i / group);
    let float = |at: usize| f32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
    let scale = float(t + 64 * n * g + 4 * l);
    let low = match minimum {
        true => float(t + 64 * n * g + 64 + 4 * l),
        false => 0.0,
    };
    let byte = bytes[t + scales_bytes + i * bits / 32 * 64 + 4 * l + i % 4];
    let nibble = i32::from(byte >> (i % 8 / 4 * 4) & 15);
    match (bits, minimum) {
        (8, _) => (scale, low, i32::from(byte as i8)),
        (_, true) => (scale, low, nibble),
        (_, false) => (scale, low, nibble - 8),
    }
}

/// Integers of all sizes.
fn quants(scheme: PackedScheme, seed: u64, n: usize) -> Vec<i8> {
    let low = match parts(scheme) {
        Some((8, ..)) => -128,
        Some((_, _, true)) => 0,
        _ => -8,
    };
    let count = if low == -128 { 256.0 } else { 16.0 };
    let each = values(seed, n).into_iter();
    each.map(|x| (((x + 2.0) / 4.0 * count) as i32 + low) as i8)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn groups_that_are_known_are_kept_to_the_bit(
        scheme in proptest::sample::select(schemes()),
        rows in 1usize..40, columns in 1usize..700, exponent in -30i32..30, seed: u64,
    ) {
        let (_, group, minimum) = parts(scheme).expect("grouped");
        let quants = quants(scheme, seed, rows * columns);
        let groups = columns.div_ceil(group);
        let size = 10f32.powi(exponent);
        let scaled = |seed| -> Vec<f32> { values(seed, rows * groups).iter().map(|x| x * size).collect() };
        let (scales, minima) = (scaled(seed ^ 1), scaled(seed ^ 2));
        let minima = minimum.then_some(&minima[..]);
        let shape = PackedShape::new(scheme, rows, columns, rows).expect("a shape");
        let mut memory = Aligned::new(shape.bytes());
        pack_grouped(&quants, &scales, minima, shape, memory.bytes_mut()).expect("they fit");
        let packed = Owned { memory, shape };
        let wide = packed.unpacked();
        let mut row_of_it = vec![f32::NAN; columns];
        embed_packed(&fast(1), packed.view(), &[rows as u32 - 1], &mut row_of_it);
        prop_assert_eq!(bits(&row_of_it), bits(&wide[(rows - 1) * columns..]));
        for (i, wide) in wide.into_iter().enumerate() {
            let (row, column) = (i / columns, i % columns);
            let (scale, low, quant) = stored(&packed, row, column);
            let at = row * groups + column / group;
            prop_assert_eq!(scale.to_bits(), scales[at].to_bits());
            prop_assert_eq!(quant, i32::from(quants[i]));
            let value = f64::from(scale) * f64::from(quant);
            match minima {
                None => prop_assert_eq!(wide, value as f32),
                Some(minima) => {
                    prop_assert_eq!(low.to_bits(), minima[at].to_bits());
                    prop_assert_eq!(wide, (value + f64::from(low)) as f32);
                }
            }
        }
    }

    #[test]
    fn known_groups_give_the_same_bits_on_all_paths(
        scheme in proptest::sample::select(schemes()),
        rows in 1usize..40, columns in 1usize..700, tokens in 1usize..=20, seed: u64,
    ) {
        let (_, group, minimum) = parts(scheme).expect("grouped");
        let quants = quants(scheme, seed, rows * columns);
        let scales = values(seed ^ 1, rows * columns.div_ceil(group));
        let minima = minimum.then_some(&scales[..]);
        let shape = PackedShape::new(scheme, rows, columns, rows).expect("a shape");
        let mut memory = Aligned::new(shape.bytes());
        pack_grouped(&quants, &scales, minima, shape, memory.bytes_mut()).expect("they fit");
        let packed = Owned { memory, shape };
        let x = values(seed ^ 3, tokens * columns);
        let cpus = int_cpus();
        let expected = bits(&packed.linear(&cpus[0], None, &x));
        for cpu in &cpus[1..] {
            prop_assert!(bits(&packed.linear(cpu, None, &x)) == expected, "{cpu:?}");
        }
    }

    #[test]
    fn packed_weights_are_within_a_step(
        scheme in proptest::sample::select(schemes()),
        rows in 1usize..20, columns in 1usize..600, exponent in -30i32..30, seed: u64,
    ) {
        let size = 10f32.powi(exponent);
        let weights: Vec<f32> = values(seed, rows * columns).iter().map(|x| x * size).collect();
        let packed = Owned::new(scheme, &weights, rows, columns);
        // The end opposite of the largest has no integer of its own.
        let steps = match parts(scheme) {
            Some((4, _, false)) => 1.01,
            _ => 0.51,
        };
        for (i, (w, found)) in weights.iter().zip(packed.unpacked()).enumerate() {
            let (scale, ..) = stored(&packed, i / columns, i % columns);
            prop_assert!((w - found).abs() <= steps * scale.abs(), "{w} became {found}");
        }
    }
}

#[test]
fn what_fills_up_is_zero() {
    let (rows, columns) = (37, 321);
    for scheme in schemes() {
        let (bits, group, minimum) = parts(scheme).expect("grouped");
        let packed = Owned::random(scheme, 1, rows, columns);
        let floats = columns.div_ceil(group) * if minimum { 2 } else { 1 };
        let used = rows * (4 * floats + (columns * bits).div_ceil(8));
        let bytes = packed.memory.bytes();
        let zeros = bytes.iter().filter(|&&b| b == 0).count();
        assert!(zeros >= bytes.len() - used, "{scheme}");
    }
}

#[test]
fn groups_of_one_value_are_that_value() {
    for (scheme, value) in [0.0, 1.5, -3.0]
        .iter()
        .flat_map(|v| schemes().into_iter().map(move |s| (s, *v)))
    {
        let packed = Owned::new(scheme, &[value; 200], 2, 100);
        let close = |found: &f32| (found - value).abs() <= 1e-6 * value.abs();
        assert!(packed.unpacked().iter().all(close), "{scheme}: {value}");
    }
}

#[test]
fn groups_that_do_not_fit_are_errors() {
    let minima = grouped(GroupBits::Four, GroupColumns::Of32, true);
    let plain = grouped(GroupBits::Four, GroupColumns::Of32, false);
    let run = |scheme, quants: &[i8], scales: &[f32], minima: Option<&[f32]>| {
        let shape = PackedShape::new(scheme, 2, 40, 2).expect("a shape");
        pack_grouped(quants, scales, minima, shape, &mut vec![0; shape.bytes()])
    };
    let (quants, four) = ([1i8; 80], [1.0f32; 4]);
    assert_eq!(run(plain, &quants, &four, None), Ok(()));
    assert_eq!(run(minima, &quants, &four, Some(&four)), Ok(()));
    for (scheme, some) in [
        (minima, None),
        (plain, Some(&four[..])),
        (PackedScheme::Q8, None),
    ] {
        let error = run(scheme, &quants, &four, some).expect_err("others");
        let minima = some.is_some();
        assert_eq!(error, PackError::Groups { scheme, minima });
    }
    let mut wrong = quants;
    for (scheme, value, some) in [
        (plain, 8, None),
        (plain, -9, None),
        (minima, -1, Some(&four[..])),
    ] {
        wrong[45] = value;
        let error = run(scheme, &wrong, &four, some).expect_err("not 4 bits");
        let (row, column) = (1, 5);
        assert_eq!(error, PackError::Quant { row, column, value });
    }
    assert!(run(plain, &quants[1..], &four, None).is_err());
    assert!(run(plain, &quants, &four[1..], None).is_err());
    assert!(run(minima, &quants, &four, Some(&four[1..])).is_err());
    let shape = PackedShape::new(plain, 2, 40, 2).expect("a shape");
    assert!(pack_grouped(&quants, &four, None, shape, &mut []).is_err());
    let wide = [f32::MAX, f32::MIN];
    let shape = PackedShape::new(minima, 1, 2, 1).expect("a shape");
    let error = pack(&wide, shape, &mut vec![0; shape.bytes()]).expect_err("too wide");
    let (row, value) = (0, f32::MAX);
    assert_eq!(error, PackError::TooLarge { row, value });
}

#[test]
fn scales_and_minima_that_are_not_finite_are_counted() {
    for scheme in schemes() {
        let (_, _, minimum) = parts(scheme).expect("grouped");
        let mut weight = Owned::segmented(scheme, &values(1, 60 * 300), 60, 300, 20);
        assert_eq!(weight.view().non_finite(), None);
        let tile = weight.shape.tile_bytes();
        // Row 3 of the last tiles of segments 0 and 1, and one of the rows that fill it up.
        let line = if minimum { 3 } else { 1 };
        for (segment, row, line) in [(1, 3, 0), (1, 3, line), (0, 3, line), (0, 9, line)] {
            let at = (2 * segment + 1) * tile + line * 64 + row * 4;
            weight.memory.bytes_mut()[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
        }
        assert_eq!(weight.view().non_finite(), Some((3, 19)), "{scheme}");
        assert_eq!(weight.view().slice(20..60).non_finite(), Some((2, 19)));
        assert_eq!(weight.view().slice(40..60).non_finite(), None);
    }
}
