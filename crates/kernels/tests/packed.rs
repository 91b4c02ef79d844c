//! Laws of packed weights: packing is idempotent, all paths give the same bits, a row's outputs do
//! not depend on its company, and products are those of the unpacked weights.

mod common;

use common::*;
use lattice_kernels::*;
use proptest::prelude::*;

/// The instruction sets for integers, each with one thread and three, the definition first.
fn int_cpus() -> Vec<Cpu> {
    let pairs = IntIsa::available()
        .into_iter()
        .flat_map(|isa| [(isa, 1), (isa, 3)]);
    pairs
        .map(|(isa, threads)| fast(threads).with_int_isa(isa).expect("an available one"))
        .collect()
}

/// Bytes that begin on a multiple of 64.
struct Aligned {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    fn new(len: usize) -> Aligned {
        let memory = vec![0xa5; len + 64];
        let start = memory.as_ptr().align_offset(64);
        Aligned { memory, start, len }
    }

    fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

struct Packed {
    memory: Aligned,
    shape: PackedShape,
}

impl Packed {
    fn new(weights: &[f32], rows: usize, columns: usize) -> Packed {
        let shape = PackedShape::new(rows, columns).expect("a shape");
        let mut memory = Aligned::new(shape.bytes());
        pack_q8(weights, shape, memory.bytes_mut()).expect("finite weights");
        Packed { memory, shape }
    }

    fn random(seed: u64, rows: usize, columns: usize) -> Packed {
        Packed::new(&values(seed, rows * columns), rows, columns)
    }

    fn view(&self) -> PackedQ8<'_> {
        PackedQ8::new(self.memory.bytes(), self.shape).expect("as packed")
    }

    fn unpacked(&self) -> Vec<f32> {
        let mut out = vec![f32::NAN; self.shape.rows() * self.shape.columns()];
        unpack_q8(self.view(), &mut out).expect("as packed");
        out
    }

    fn linear(&self, cpu: &Cpu, bias: Option<&[f32]>, x: &[f32]) -> Vec<f32> {
        let rows = x.len() / self.shape.columns();
        let mut out = vec![f32::NAN; rows * self.shape.rows()];
        linear_q8(cpu, self.view(), bias, x, &mut out);
        out
    }
}

const ROWS: [usize; 6] = [1, 7, 16, 17, 40, 100];
const COLUMNS: [usize; 9] = [1, 64, 100, 256, 320, 384, 576, 1000, 1024];

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn all_paths_give_the_same_bits(
        rows in proptest::sample::select(&ROWS[..]), columns in proptest::sample::select(&COLUMNS[..]),
        tokens in 1usize..=40, biased: bool, seed: u64,
    ) {
        let weight = Packed::random(seed, rows, columns);
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
    fn packing_what_was_unpacked_changes_nothing(
        rows in 1usize..20, columns in 1usize..600, exponent in -12i32..7, wide: bool, seed: u64,
    ) {
        let scale = 10f32.powi(exponent);
        let weights: Vec<f32> = values(seed, rows * columns)
            .iter()
            .enumerate()
            // Blocks of very unlike sizes.
            .map(|(i, x)| x * scale * if wide { 0.1f32.powi((i / 97 % 5) as i32) } else { 1.0 })
            .collect();
        let packed = Packed::new(&weights, rows, columns);
        let again = Packed::new(&packed.unpacked(), rows, columns);
        prop_assert!(packed.memory.bytes() == again.memory.bytes());
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
fn a_row_alone_is_a_row_in_a_crowd() {
    for (rows, columns) in [(100, 576), (33, 1024), (16, 100)] {
        let weight = Packed::random(3, rows, columns);
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
    for (rows, columns) in [(100, 1024), (17, 576), (48, 3584), (5, 30)] {
        let weight = Packed::random(8, rows, columns);
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
            "[{rows}, {columns}]: {}",
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
    for seed in [5, 6] {
        let weight = Packed::random(seed, 40, columns);
        let mut out = vec![0.0; 9 * 40];
        linear_q8_quantised(&cpu, weight.view(), None, &shared, &mut out);
        assert_eq!(bits(&out), bits(&weight.linear(&cpu, None, &x)));
        let mut picked = Activations::new();
        quantise_select(&cpu, &x, columns, &[8, 0, 8], &mut picked);
        let mut some = vec![0.0; 3 * 40];
        linear_q8_quantised(&cpu, weight.view(), None, &picked, &mut some);
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
    let weight = Packed::new(&weights, 20, columns);
    for strange in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
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
    let weight = Packed::random(1, 20, 300);
    for x in [0.0, -0.0, 1e-45, 1e-31] {
        let out = weight.linear(&fast(1), None, &[x; 300]);
        assert!(out.iter().all(|&y| y == 0.0), "{x}");
    }
}

#[test]
fn the_extremes_of_both_sides_do_not_overflow() {
    // A file may hold -128, which packing never writes; 1,024 columns of it against the largest v.
    let mut weight = Packed::random(1, 16, 1024);
    let start = weight.shape.scales_bytes();
    let bytes = weight.memory.bytes_mut();
    bytes[..start]
        .chunks_exact_mut(2)
        .for_each(|scale| scale.copy_from_slice(&[0x00, 0x3c]));
    bytes[start..].fill(0x80);
    for x in [1.0, -1.0] {
        let mut expected = 0.0f64;
        for _ in 0..4 {
            expected += -128.0 * 256.0 * f64::from(x);
        }
        for cpu in int_cpus() {
            for out in weight.linear(&cpu, None, &[x; 1024]) {
                assert!(
                    (f64::from(out) - expected).abs() <= 0.01,
                    "{cpu:?}: {out} for {expected}"
                );
            }
        }
    }
}

#[test]
fn pieces_of_whole_tiles_are_packed_on_their_own() {
    let (rows, columns) = (70, 320);
    let weights = values(1, rows * columns);
    let whole = Packed::new(&weights, rows, columns);
    let mut pieces = Vec::new();
    for piece in weights.chunks(16 * columns) {
        let packed = Packed::new(piece, piece.len() / columns, columns);
        pieces.extend_from_slice(packed.memory.bytes());
    }
    assert!(whole.memory.bytes() == pieces);
}

#[test]
fn offsets_are_where_things_lie() {
    let (rows, columns) = (37, 321);
    let weights = values(1, rows * columns);
    let packed = Packed::new(&weights, rows, columns);
    let (shape, bytes, wide) = (packed.shape, packed.memory.bytes(), packed.unpacked());
    assert_eq!(shape.bytes(), 3 * (64 + 16 * 384));
    for (i, &wide) in wide.iter().enumerate() {
        let (row, column) = (i / columns, i % columns);
        let at = shape.scale_offset(row, column / 256);
        let scale = half::f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32();
        let q = bytes[shape.value_offset(row, column)] as i8;
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
    let shape = PackedShape::new(17, 100).expect("a shape");
    let memory = Aligned::new(shape.bytes() + 64);
    let bytes = memory.bytes();
    let short = PackedQ8::new(&bytes[..shape.bytes() - 1], shape).expect_err("a byte is missing");
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
    let beside = PackedQ8::new(&bytes[4..4 + shape.bytes()], shape).expect_err("not aligned");
    assert_eq!(beside, PackedError::Alignment { found: 4 });
    for (rows, columns) in [(3, 0), (usize::MAX, 1), (1, usize::MAX), (1 << 32, 1 << 31)] {
        let error = PackedShape::new(rows, columns).expect_err("no such shape");
        assert_eq!(error, PackedError::Shape { rows, columns });
    }
}

#[test]
fn weights_without_a_packed_form_are_errors_by_row() {
    let shape = PackedShape::new(3, 300).expect("a shape");
    let mut out = vec![0; shape.bytes()];
    for value in [f32::NAN, f32::INFINITY] {
        let mut weights = values(1, 900);
        weights[2 * 300 + 280] = value;
        let error = pack_q8(&weights, shape, &mut out).expect_err("not finite");
        let text = error.to_string();
        assert!(text.starts_with("row 2, column 280"), "{text}");
    }
    let mut weights = values(1, 900);
    weights[300] = -1e7;
    let error = pack_q8(&weights, shape, &mut out).expect_err("too large");
    assert_eq!(error, PackError::TooLarge { row: 1, value: 1e7 });
    weights[300] = 8.3e6;
    pack_q8(&weights, shape, &mut out).expect("the largest that fit");
    assert!(pack_q8(&weights[1..], shape, &mut out).is_err());
    assert!(pack_q8(&weights, shape, &mut out[1..]).is_err());
}
