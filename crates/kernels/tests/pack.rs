//! Laws of the packed form: what it keeps of the weights, where it keeps it, what it refuses.

mod common;

use common::packed::*;
use common::*;
use lattice_kernels::*;
use proptest::prelude::*;

const Q4: [PackedScheme; 2] = [PackedScheme::Q4_16, PackedScheme::Q4_32];

/// Weights of blocks of very unlike sizes, if `wide`.
fn unlike(seed: u64, n: usize, exponent: i32, wide: bool) -> Vec<f32> {
    let scale = 10f32.powi(exponent);
    let values = values(seed, n);
    let each = values.iter().enumerate();
    each.map(|(i, x)| {
        x * scale
            * if wide {
                0.1f32.powi((i / 97 % 5) as i32)
            } else {
                1.0
            }
    })
    .collect()
}

/// The squared error of `found` by row and block of 256 columns.
fn errors(found: &[f32], weights: &[f32], columns: usize) -> Vec<f64> {
    let rows = found.chunks(columns).zip(weights.chunks(columns));
    rows.flat_map(|(found, weights)| found.chunks(256).zip(weights.chunks(256)))
        .map(|(found, weights)| {
            let both = found.iter().zip(weights);
            both.map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
                .sum()
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn packing_q8_that_was_unpacked_changes_nothing(
        rows in 1usize..20, columns in 1usize..600, exponent in -12i32..7, wide: bool, seed: u64,
    ) {
        let weights = unlike(seed, rows * columns, exponent, wide);
        let packed = Owned::new(PackedScheme::Q8, &weights, rows, columns);
        let again = Owned::new(PackedScheme::Q8, &packed.unpacked(), rows, columns);
        prop_assert!(packed.memory.bytes() == again.memory.bytes());
    }

    #[test]
    fn packing_q4_that_was_unpacked_loses_little(
        scheme in proptest::sample::select(&Q4[..]),
        rows in 4usize..20, blocks in 1usize..3, exponent in -3i32..6, seed: u64,
    ) {
        let columns = 256 * blocks;
        let weights = unlike(seed, rows * columns, exponent, false);
        let first = Owned::new(scheme, &weights, rows, columns).unpacked();
        let again = Owned::new(scheme, &first, rows, columns).unpacked();
        let (lost, more) = (errors(&first, &weights, columns), errors(&again, &first, columns));
        let (lost, more): (f64, f64) = (lost.iter().sum(), more.iter().sum());
        prop_assert!(more <= 0.2 * lost, "{more} after {lost}");
    }

    #[test]
    fn q4_is_close(
        scheme in proptest::sample::select(&Q4[..]),
        rows in 1usize..20, columns in 1usize..600, exponent in -3i32..6, seed: u64,
    ) {
        let weights = unlike(seed, rows * columns, exponent, false);
        let found = Owned::new(scheme, &weights, rows, columns).unpacked();
        let power: Vec<f64> = errors(&vec![0.0; weights.len()], &weights, columns);
        for (error, power) in errors(&found, &weights, columns).into_iter().zip(power) {
            prop_assert!(error <= 0.006 * power, "{error} of {power}");
        }
    }
}

#[test]
fn pieces_of_whole_tiles_are_packed_on_their_own() {
    let (rows, columns) = (70, 320);
    let weights = values(1, rows * columns);
    for scheme in SCHEMES {
        let whole = Owned::new(scheme, &weights, rows, columns);
        let mut pieces = Vec::new();
        for piece in weights.chunks(16 * columns) {
            let packed = Owned::new(scheme, piece, piece.len() / columns, columns);
            pieces.extend_from_slice(packed.memory.bytes());
        }
        assert!(whole.memory.bytes() == pieces);
    }
}

#[test]
fn values_of_q8_are_where_the_layout_says() {
    let (rows, columns) = (37, 321);
    let weights = values(1, rows * columns);
    let packed = Owned::new(PackedScheme::Q8, &weights, rows, columns);
    let (shape, bytes, wide) = (packed.shape, packed.memory.bytes(), packed.unpacked());
    assert_eq!(shape.bytes(), 3 * (64 + 16 * 384));
    for (i, &wide) in wide.iter().enumerate() {
        let (row, column) = (i / columns, i % columns);
        let tile = row / 16 * (64 + 16 * 384);
        let at = tile + column / 256 * 32 + row % 16 * 2;
        let scale = half::f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32();
        let q = bytes[tile + 64 + column / 4 * 64 + row % 16 * 4 + column % 4] as i8;
        assert_eq!(scale * f32::from(q), wide);
        // Half a step, of a scale that makes 127 of the largest.
        assert!((wide - weights[i]).abs() <= scale * 0.51);
    }
    let used = rows * 2 * 2 + rows * columns;
    let zeros = bytes.iter().filter(|&&b| b == 0).count();
    assert!(zeros >= bytes.len() - used, "what fills up is zero");
}

#[test]
fn bytes_that_are_no_weight_are_errors() {
    let shape = PackedShape::new(PackedScheme::Q8, 17, 100, 17).expect("a shape");
    let memory = Aligned::new(shape.bytes() + 64);
    let bytes = memory.bytes();
    let short = Packed::new(&bytes[..shape.bytes() - 1], shape).expect_err("a byte is missing");
    let (expected, found) = (shape.bytes(), shape.bytes() - 1);
    let (rows, columns) = (17, 100);
    assert_eq!(
        short,
        PackedError::Length {
            rows,
            columns,
            expected,
            found
        }
    );
    let beside = Packed::new(&bytes[4..4 + shape.bytes()], shape).expect_err("not aligned");
    assert_eq!(beside, PackedError::Alignment { found: 4 });
    let shapes = [(3, 0), (usize::MAX, 1), (1, usize::MAX), (1 << 32, 1 << 31)];
    for (scheme, (rows, columns)) in with_schemes(&shapes) {
        let error = PackedShape::new(scheme, rows, columns, rows).expect_err("no such shape");
        assert_eq!(error, PackedError::Shape { rows, columns });
    }
    for (rows, segment) in [(30, 0), (0, 0), (30, 20), (30, 60)] {
        let error = PackedShape::new(PackedScheme::Q8, rows, 64, segment).expect_err("no segments");
        assert_eq!(error, PackedError::Segment { rows, segment });
    }
    // Each row a segment, and so a tile: 16 times the bytes.
    let rows = 1 << 50;
    let error = PackedShape::new(PackedScheme::Q8, rows, 256, 1).expect_err("too large");
    assert_eq!(error, PackedError::Shape { rows, columns: 256 });
}

#[test]
fn weights_without_a_packed_form_are_errors_by_row() {
    for scheme in SCHEMES {
        let shape = PackedShape::new(scheme, 3, 300, 3).expect("a shape");
        let mut out = vec![0; shape.bytes()];
        for value in [f32::NAN, f32::INFINITY] {
            let mut weights = values(1, 900);
            weights[2 * 300 + 280] = value;
            let error = pack(&weights, shape, &mut out).expect_err("not finite");
            let text = error.to_string();
            assert!(text.starts_with("row 2, column 280"), "{text}");
        }
        let mut weights = values(1, 900);
        if PackedScheme::OWN.contains(&scheme) {
            weights[300] = -1e7;
            let error = pack(&weights, shape, &mut out).expect_err("too large");
            assert_eq!(error, PackError::TooLarge { row: 1, value: 1e7 });
        }
        weights[300] = 7e6;
        pack(&weights, shape, &mut out).expect("nearly the largest that fits");
        assert!(pack(&weights[1..], shape, &mut out).is_err());
        assert!(pack(&weights, shape, &mut out[1..]).is_err());
    }
}

#[test]
fn scales_that_are_not_finite_are_counted() {
    let columns = 576;
    for scheme in PackedScheme::OWN {
        let mut weight = Owned::segmented(scheme, &values(1, 60 * columns), 60, columns, 20);
        assert_eq!(weight.view().non_finite(), None);
        let tile = weight.shape.tile_bytes();
        // Row 3 of the last tile of segments 0 and 1, and one of the rows that fill it up.
        for (segment, row, block) in [(1, 3, 0), (1, 3, 2), (0, 3, 1), (0, 9, 1)] {
            let at = (2 * segment + 1) * tile + block * 32 + row * 2;
            weight.memory.bytes_mut()[at..at + 2].copy_from_slice(&[0x00, 0x7c]);
        }
        assert_eq!(weight.view().non_finite(), Some((3, 19)));
        assert_eq!(weight.view().slice(20..60).non_finite(), Some((2, 19)));
        assert_eq!(weight.view().slice(40..60).non_finite(), None);
    }
}

/// Scale and integer of row `row`, column `i` of a weight of one segment, as the layout says.
fn q4_of(packed: &Owned, sub: usize, row: usize, i: usize) -> (f32, i32) {
    let (bytes, columns) = (packed.memory.bytes(), packed.shape.columns());
    let padded = columns.next_multiple_of(64);
    let block_bytes = |w: usize| (24 * w / sub + 8 * w).next_multiple_of(64);
    let (b, c, l) = (i / 256, i % 256, row % 16);
    let (w, j) = ((padded - 256 * b).min(256), c / sub);
    let scales_bytes = (32 * columns.div_ceil(256)).next_multiple_of(64);
    let tile_bytes = scales_bytes + padded / 256 * block_bytes(256) + block_bytes(padded % 256);
    let tile = row / 16 * tile_bytes;
    let at = tile + 32 * b + 2 * l;
    let scale = half::f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32();
    let k = tile + scales_bytes + b * block_bytes(256);
    let z = bytes[k + 16 * j + l] as i8;
    let m = bytes[k + 16 * w / sub + j / 2 * 16 + l] >> (j % 2 * 4) & 15;
    let q = bytes[k + 24 * w / sub + c / 8 * 64 + 4 * l + c % 4] >> (c % 8 / 4 * 4) & 15;
    (scale, i32::from(m) * (i32::from(q) - 8) + i32::from(z))
}

#[test]
fn values_of_q4_are_where_the_layout_says() {
    let (rows, columns) = (37, 321);
    let weights = values(1, rows * columns);
    for (scheme, sub, tile_bytes) in [
        (PackedScheme::Q4_16, 16, 64 + 2432 + 1216),
        (PackedScheme::Q4_32, 32, 64 + 2240 + 1152),
    ] {
        let packed = Owned::new(scheme, &weights, rows, columns);
        let (bytes, wide) = (packed.memory.bytes(), packed.unpacked());
        assert_eq!(packed.shape.bytes(), 3 * tile_bytes);
        for (i, &wide) in wide.iter().enumerate() {
            let (scale, v) = q4_of(&packed, sub, i / columns, i % columns);
            assert_eq!(scale * v as f32, wide);
        }
        // Two scales, z of 21 sub-blocks at most, m of as many by twos, and q of columns by twos.
        let used = rows * (2 * 2 + 21 + 11 + 161);
        let zeros = bytes.iter().filter(|&&b| b == 0).count();
        assert!(zeros >= bytes.len() - used, "what fills up is zero");
    }
}

#[test]
fn expansion_stays_within_8_bits() {
    let (rows, columns) = (64, 512);
    for exponent in [-9, -6, -3, 0, 3, 5] {
        // Sub-blocks at one end or the other, beside narrow ones.
        let mut weights = values(5, rows * columns);
        for (i, w) in weights.iter_mut().enumerate() {
            let side = [1.0, -1.0, 0.0, 30.0][i / 16 % 4];
            *w = (*w * 0.1f32.powi((i / columns % 4) as i32) + side) * 10f32.powi(exponent);
        }
        for (scheme, sub) in [(PackedScheme::Q4_16, 16), (PackedScheme::Q4_32, 32)] {
            let packed = Owned::new(scheme, &weights, rows, columns);
            for i in 0..rows * columns {
                let (_, v) = q4_of(&packed, sub, i / columns, i % columns);
                assert!((-127..=127).contains(&v), "{scheme}, element {i}: {v}");
            }
        }
    }
}
