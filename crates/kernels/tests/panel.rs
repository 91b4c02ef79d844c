//! Laws of products with weights in panels: every instruction set gives the same bits (of bf16: its
//! own), a row's outputs do not depend on its company, they are close to the exact ones, and what is
//! done to an output on its way out is what the operations would do one after the other.

mod common;

use common::packed::{Owned, int_cpus};
use common::*;
use lattice_kernels::*;
use proptest::prelude::*;

const SHAPES: [[usize; 2]; 7] = [
    [1, 1],
    [15, 31],
    [64, 64],
    [65, 63],
    [70, 100],
    [130, 384],
    [33, 1000],
];

/// All processors that a format may run on; each kind of bits apart, the plainest first.
fn kinds(format: PanelFormat) -> Vec<Vec<Cpu>> {
    match format {
        PanelFormat::F32 => vec![cpus()],
        PanelFormat::Int8 => vec![int_cpus()],
        PanelFormat::Bf16 => {
            let isas = Bf16Isa::available().into_iter().skip(1);
            let on = |isa, threads| fast(threads).with_bf16_isa(isa).expect("an available one");
            isas.map(|isa| vec![on(isa, 1), on(isa, 3)]).collect()
        }
    }
}

const FORMATS: [PanelFormat; 3] = [PanelFormat::F32, PanelFormat::Bf16, PanelFormat::Int8];

struct Case {
    format: PanelFormat,
    weight: Weight,
    bias: Vec<f32>,
}

impl Case {
    fn new(format: PanelFormat, seed: u64, [outputs, columns]: [usize; 2]) -> Case {
        Case {
            format,
            weight: Weight::new(Kind::F32, seed, outputs, columns),
            bias: values(seed ^ 77, outputs),
        }
    }

    fn panels(&self, cpu: &Cpu) -> Panels {
        let shape = [self.weight.rows, self.weight.columns];
        let dense = self.weight.dense();
        Panels::pack(cpu, self.format, shape, |ids, out| {
            embed(cpu, dense, ids, out)
        })
    }

    /// The outputs of the rows `x`, and the same of a second weight of the same rows.
    fn run(
        &self,
        cpu: &Cpu,
        x: &[f32],
        activation: Option<Activation>,
        residual: Option<&[f32]>,
    ) -> Vec<f32> {
        let panels = self.panels(cpu);
        let rows = x.len() / self.weight.columns;
        let mut out = vec![f32::NAN; rows * self.weight.rows];
        let mut other = out.clone();
        let product = |out| PanelProduct {
            weight: PanelWeight::Kept(&panels),
            bias: Some(&self.bias),
            activation,
            residual,
            out: PanelOut::Plain(out),
        };
        let mut products = [product(&mut out), product(&mut other)];
        let mut rounded = PanelRows::new();
        panel_products(
            cpu,
            input(cpu, self.format, x, self.weight.columns, &mut rounded),
            &mut products,
        );
        assert_eq!(bits(&out), bits(&other));
        out
    }
}

fn product<'a>(weight: &'a Panels, bias: &'a [f32], out: PanelOut<'a>) -> PanelProduct<'a> {
    PanelProduct {
        weight: PanelWeight::Kept(weight),
        bias: Some(bias),
        activation: None,
        residual: None,
        out,
    }
}

fn input<'a>(
    cpu: &Cpu,
    format: PanelFormat,
    x: &'a [f32],
    columns: usize,
    rounded: &'a mut PanelRows,
) -> PanelInput<'a> {
    if format == PanelFormat::F32 {
        return PanelInput::Plain(x);
    }
    rounded.round(cpu, format.rounding(), x, columns);
    PanelInput::Rounded(rounded)
}

#[test]
fn a_row_alone_is_a_row_in_a_crowd_on_every_set() {
    for (format, shape) in FORMATS.into_iter().flat_map(|f| SHAPES.map(|s| (f, s))) {
        let case = Case::new(format, 5, shape);
        let [outputs, columns] = shape;
        let x = values(6, 115 * columns);
        for cpus in kinds(format) {
            let crowd = case.run(&cpus[0], &x, None, None);
            for cpu in &cpus {
                assert_eq!(
                    bits(&case.run(cpu, &x, None, None)),
                    bits(&crowd),
                    "{cpu:?}"
                );
                for (r, n) in [(0, 1), (7, 2), (20, 7), (31, 16), (40, 17), (114, 1)] {
                    let few = case.run(cpu, &x[r * columns..(r + n) * columns], None, None);
                    let same = bits(&few) == bits(&crowd[r * outputs..(r + n) * outputs]);
                    assert!(same, "{cpu:?}, {format:?} {shape:?}, rows {r} to {}", r + n);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn sets_agree_on_any_shape(
        format in proptest::sample::select(&FORMATS[..]),
        rows in 1usize..30, outputs in 1usize..150, columns in 1usize..300, seed: u64,
    ) {
        let case = Case::new(format, seed, [outputs, columns]);
        let x = values(seed ^ 1, rows * columns);
        for cpus in kinds(format) {
            let expected = case.run(&cpus[0], &x, Some(Activation::Silu), None);
            for cpu in &cpus[1..] {
                let found = case.run(cpu, &x, Some(Activation::Silu), None);
                prop_assert!(bits(&found) == bits(&expected), "{cpu:?}");
            }
        }
    }
}

#[test]
fn outputs_are_close_to_the_exact_ones() {
    for (format, shape) in FORMATS.into_iter().flat_map(|f| SHAPES.map(|s| (f, s))) {
        let case = Case::new(format, 8, shape);
        let [outputs, columns] = shape;
        let x = values(9, 7 * columns);
        // Of an element of weight and one of input, each at most 2.
        let step = match format {
            PanelFormat::F32 => 2f64.powi(-22),
            PanelFormat::Bf16 => 2f64.powi(-7),
            PanelFormat::Int8 => 2.0 / 127.0,
        };
        for cpu in kinds(format).iter().flatten() {
            let found = case.run(cpu, &x, None, None);
            for (i, found) in found.iter().enumerate() {
                let (r, o) = (i / outputs, i % outputs);
                let x = &x[r * columns..(r + 1) * columns];
                let w = &case.weight.wide()[o * columns..(o + 1) * columns];
                let product = |(x, w): (&f32, &f32)| f64::from(*x) * f64::from(*w);
                let exact: f64 = x.iter().zip(w).map(product).sum();
                let error = (f64::from(*found) - exact - f64::from(case.bias[o])).abs();
                let most = step * (4.0 + 2.0 * columns as f64);
                assert!(
                    error <= most,
                    "{cpu:?} {format:?} {shape:?}: {error} of {most}"
                );
            }
        }
    }
}

#[test]
fn what_happens_on_the_way_out_is_what_the_operations_do() {
    for (format, shape) in FORMATS.into_iter().flat_map(|f| SHAPES.map(|s| (f, s))) {
        let case = Case::new(format, 3, shape);
        let [outputs, columns] = shape;
        let (x, residual) = (values(4, 20 * columns), values(5, 20 * outputs));
        for cpu in kinds(format).iter().flatten() {
            let plain = case.run(cpu, &x, None, None);
            let mut expected = vec![0.0; plain.len()];
            act(cpu, Activation::Sigmoid, &plain, &mut expected);
            add_to(cpu, &mut expected, &residual);
            let found = case.run(cpu, &x, Some(Activation::Sigmoid), Some(&residual));
            assert_eq!(
                bits(&found),
                bits(&expected),
                "{cpu:?} {format:?} {shape:?}"
            );
        }
    }
}

#[test]
fn outputs_rounded_on_the_way_out_are_the_outputs_rounded() {
    let (bf16, int8) = (PanelFormat::Bf16, PanelFormat::Int8);
    for (format, next) in [(bf16, bf16), (int8, int8), (bf16, int8), (int8, bf16)] {
        let kinds = kinds(if next == int8 { format } else { next });
        for cpu in kinds.iter().flatten() {
            let (first, second) = (
                Case::new(format, 3, [130, 100]),
                Case::new(next, 4, [70, 130]),
            );
            let x = values(4, 20 * 100);
            let plain = first.run(cpu, &x, None, None);
            let expected = second.run(cpu, &plain, None, None);
            let (mut rounded, mut between) = (PanelRows::new(), PanelRows::new());
            let (w1, w2) = (first.panels(cpu), second.panels(cpu));
            let out = PanelOut::Rounded(next, &mut between);
            panel_products(
                cpu,
                input(cpu, format, &x, 100, &mut rounded),
                &mut [product(&w1, &first.bias, out)],
            );
            let mut found = vec![0.0; 20 * 70];
            let out = PanelOut::Plain(&mut found);
            panel_products(
                cpu,
                PanelInput::Rounded(&between),
                &mut [product(&w2, &second.bias, out)],
            );
            assert_eq!(bits(&found), bits(&expected), "{cpu:?} {format:?} {next:?}");
        }
    }
}

#[test]
fn tiles_and_vectors_of_bf16_differ_by_their_roundings() {
    if !Bf16Isa::AmxBf16.is_available() {
        eprintln!("skipped: this machine has no {}", Bf16Isa::AmxBf16);
        return;
    }
    for shape in [[384, 384], [130, 384], [64, 1536], [96, 40]] {
        let case = Case::new(PanelFormat::Bf16, 5, shape);
        let [_, columns] = shape;
        let x = values(6, 115 * columns);
        let [tiles, vectors] = [Bf16Isa::AmxBf16, Bf16Isa::Avx512Bf16].map(|isa| {
            let cpu = fast(1).with_bf16_isa(isa).expect("an available one");
            eprintln!("{shape:?}: {}", cpu.bf16_isa());
            case.run(&cpu, &x, None, None)
        });
        for (tiles, vectors) in tiles.iter().zip(&vectors) {
            let most = columns as f32 * 2f32.powi(-19);
            assert!(
                (tiles - vectors).abs() <= most,
                "{shape:?}: {tiles} {vectors}"
            );
        }
    }
}

#[test]
fn what_is_not_finite_stays_in_its_row() {
    for format in FORMATS {
        let case = Case::new(format, 3, [70, 100]);
        let clean = values(4, 20 * 100);
        for cpu in kinds(format).iter().flatten() {
            let expected = case.run(cpu, &clean, None, None);
            for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut x = clean.clone();
                x[3 * 100 + 70] = odd;
                let found = case.run(cpu, &x, None, None);
                for (r, (found, expected)) in found.chunks(70).zip(expected.chunks(70)).enumerate()
                {
                    if r == 3 {
                        assert!(found.iter().all(|x| !x.is_finite()), "{format:?}");
                    } else {
                        assert_eq!(bits(found), bits(expected));
                    }
                }
            }
        }
    }
}

#[test]
fn a_large_column_leaves_the_others_most_of_their_resolution() {
    let case = Case::new(PanelFormat::Int8, 11, [64, 128]);
    let mut x = values(12, 128);
    x[37] = 64.0;
    // The root mean square of what rounding to steps of 64 / 127 would cost, columns as they are.
    let squares: f64 = case.weight.wide().iter().map(|w| f64::from(w * w)).sum();
    let usual = 64.0 / 127.0 / 12f64.sqrt() * (squares / 64.0).sqrt();
    let found = case.run(&fast(1), &x, None, None);
    let error = |(o, found): (usize, &f32)| {
        let w = &case.weight.wide()[o * 128..(o + 1) * 128];
        let product = |(x, w): (&f32, &f32)| f64::from(*x) * f64::from(*w);
        let exact: f64 = x.iter().zip(w).map(product).sum();
        (f64::from(*found) - exact - f64::from(case.bias[o])).powi(2)
    };
    let squares: f64 = found.iter().enumerate().map(error).sum();
    let error = (squares / 64.0).sqrt();
    assert!(error <= 0.6 * usual, "{error} of {usual}");
}

#[test]
fn a_packed_weight_is_its_values_in_panels() {
    let segments = [[33, 100, 33], [130, 384, 130], [96, 70, 16], [192, 640, 64]];
    for (seed, [outputs, columns, segment]) in segments.into_iter().enumerate() {
        let seed = seed as u64;
        let stored = values(seed, outputs * columns);
        let packed = Owned::segmented(PackedScheme::FINE8, &stored, outputs, columns, segment);
        let view = packed.view();
        assert!(view.expands());
        let unpacked = packed.unpacked();
        for cpu in cpus() {
            let kept = Panels::pack(&cpu, PanelFormat::F32, [outputs, columns], |ids, out| {
                for (id, row) in ids.iter().zip(out.chunks_exact_mut(columns)) {
                    row.copy_from_slice(&unpacked[*id as usize * columns..][..columns]);
                }
            });
            for rows in [1, 7, 115] {
                let (x, bias) = (values(seed + 9, rows * columns), values(seed + 5, outputs));
                let run = |weight| {
                    let mut out = vec![f32::NAN; rows * outputs];
                    let product = PanelProduct {
                        weight,
                        bias: Some(&bias),
                        activation: Some(Activation::Silu),
                        residual: None,
                        out: PanelOut::Plain(&mut out),
                    };
                    panel_products(&cpu, PanelInput::Plain(&x), &mut [product]);
                    bits(&out)
                };
                let same = run(PanelWeight::Packed(view)) == run(PanelWeight::Kept(&kept));
                assert!(same, "{cpu:?} [{outputs}, {columns}], {rows} rows");
            }
        }
    }
}
