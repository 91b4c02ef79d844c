//! Laws of attention over whole sequences: every instruction set gives the same bits, a sequence's rows
//! do not depend on the others, and they are close to the exact ones.

mod common;

use common::*;
use lattice_kernels::*;
use std::ops::Range;

fn shape(heads: usize, kv_heads: usize, head_dim: usize) -> AttendShape {
    AttendShape {
        heads,
        kv_heads,
        head_dim,
        scale: 1.0 / (head_dim as f32).sqrt(),
        sees: Sees::All,
    }
}

const SHAPES: [[usize; 3]; 6] = [
    [12, 12, 32],
    [4, 2, 64],
    [3, 3, 20],
    [2, 1, 128],
    [5, 5, 16],
    [3, 1, 80],
];

struct Case {
    shape: AttendShape,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
}

impl Case {
    fn new([heads, kv_heads, head_dim]: [usize; 3], rows: usize) -> Case {
        Case {
            shape: shape(heads, kv_heads, head_dim),
            q: values(1, rows * heads * head_dim),
            k: values(2, rows * kv_heads * head_dim),
            v: values(3, rows * kv_heads * head_dim),
        }
    }

    /// The rows `rows` of it alone, as one sequence or as those of `spans`.
    fn run(&self, cpu: &Cpu, rows: Range<usize>, spans: &[Range<usize>], bf16: bool) -> Vec<f32> {
        let AttendShape {
            heads,
            kv_heads,
            head_dim,
            ..
        } = self.shape;
        let of = |x: &'_ [f32], heads: usize| {
            x[rows.start * heads * head_dim..rows.end * heads * head_dim].to_vec()
        };
        let (q, k, v) = (
            of(&self.q, heads),
            of(&self.k, kv_heads),
            of(&self.v, kv_heads),
        );
        let format = match bf16 {
            true => whole_format(cpu, head_dim),
            false => PanelFormat::F32,
        };
        let mut rounded = [PanelRows::new(), PanelRows::new(), PanelRows::new()];
        if format != PanelFormat::F32 {
            let columns = [heads, kv_heads, kv_heads].map(|heads| heads * head_dim);
            for ((x, rounded), columns) in [&q, &k, &v].into_iter().zip(&mut rounded).zip(columns) {
                rounded.round(cpu, format.rounding(), x, columns);
            }
        }
        let inputs = match format {
            PanelFormat::F32 => [&q, &k, &v].map(|x| PanelInput::Plain(x)),
            _ => rounded.each_ref().map(PanelInput::Rounded),
        };
        let [q_rows, k_rows, v_rows] = inputs;
        let mut out = vec![f32::NAN; q.len()];
        let inputs = WholeInputs {
            q: q_rows,
            k: k_rows,
            v: v_rows,
        };
        attend_whole(cpu, self.shape, spans, inputs, PanelOut::Plain(&mut out));
        out
    }

    /// Head `head` of row `row` of the sequence `span`, in f64.
    fn exact(&self, span: &Range<usize>, row: usize, head: usize) -> Vec<f64> {
        let AttendShape {
            heads,
            kv_heads,
            head_dim,
            scale,
            ..
        } = self.shape;
        let kv = |x: &[f32], key: usize, d: usize| {
            f64::from(x[(key * kv_heads + head / (heads / kv_heads)) * head_dim + d])
        };
        let q = &self.q[(row * heads + head) * head_dim..][..head_dim];
        let score = |key: usize| -> f64 {
            let dot = (0..head_dim).map(|d| f64::from(q[d]) * kv(&self.k, key, d));
            dot.sum::<f64>() * f64::from(scale)
        };
        let scores: Vec<f64> = span.clone().map(score).collect();
        let most = scores.iter().copied().fold(f64::MIN, f64::max);
        let p: Vec<f64> = scores.iter().map(|s| (s - most).exp()).collect();
        let total: f64 = p.iter().sum();
        let out = |d: usize| {
            let keys = span.clone().zip(&p);
            keys.map(|(key, p)| p * kv(&self.v, key, d)).sum::<f64>() / total
        };
        (0..head_dim).map(out).collect()
    }
}

/// One sequence after the other.
fn spans(lens: &[usize]) -> Vec<Range<usize>> {
    let mut end = 0;
    let span = |len: &usize| {
        end += len;
        end - len..end
    };
    lens.iter().map(span).collect()
}

#[test]
fn sets_and_company_leave_the_bits_alone() {
    let spans = spans(&[1, 16, 7, 70, 130, 64]);
    for dims in SHAPES {
        let case = Case::new(dims, 288);
        for bf16 in [false, true] {
            let pairs = [fast(1), fast(3)].into_iter().filter_map(|cpu| {
                let isa = Bf16Isa::detect();
                cpu.with_bf16_isa(isa).ok()
            });
            let cpus: Vec<Cpu> = if bf16 { pairs.collect() } else { cpus() };
            let crowd = case.run(&cpus[0], 0..288, &spans, bf16);
            for cpu in &cpus {
                assert_eq!(
                    bits(&case.run(cpu, 0..288, &spans, bf16)),
                    bits(&crowd),
                    "{cpu:?}"
                );
                for span in &spans {
                    let own = 0..span.len();
                    let alone = case.run(cpu, span.clone(), std::slice::from_ref(&own), bf16);
                    let width = case.shape.heads * case.shape.head_dim;
                    let same = &crowd[span.start * width..span.end * width];
                    assert_eq!(bits(&alone), bits(same), "{cpu:?} {dims:?} {span:?}");
                }
            }
        }
    }
}

#[test]
fn rows_are_close_to_the_exact_ones() {
    let spans = spans(&[1, 16, 70]);
    for dims in SHAPES {
        let case = Case::new(dims, 87);
        let (heads, head_dim) = (case.shape.heads, case.shape.head_dim);
        for (bf16, limit) in [(false, 4e-6), (true, 0.06)] {
            let cpu = Cpu::new(CpuOptions::default()).expect("a processor");
            let found = case.run(&cpu, 0..87, &spans, bf16);
            for span in &spans {
                for (row, head) in span.clone().flat_map(|r| (0..heads).map(move |h| (r, h))) {
                    let found = &found[(row * heads + head) * head_dim..][..head_dim];
                    for (found, exact) in found.iter().zip(case.exact(span, row, head)) {
                        let error = (f64::from(*found) - exact).abs();
                        assert!(error <= limit, "{dims:?} row {row}: {found} for {exact}");
                    }
                }
            }
        }
    }
}

#[test]
fn tiles_and_vectors_of_bf16_are_as_close_as_bf16_is() {
    if !Bf16Isa::AmxBf16.is_available() {
        eprintln!("skipped: this machine has no {}", Bf16Isa::AmxBf16);
        return;
    }
    // Few and many, whole operands of keys and what is left of them, several tasks.
    let spans = spans(&[1, 15, 16, 17, 31, 32, 33, 48, 127, 128, 300]);
    let rows = spans[spans.len() - 1].end;
    for dims in [[12, 12, 32], [4, 2, 64], [2, 1, 128], [3, 1, 96]] {
        let case = Case::new(dims, rows);
        let on = |isa| fast(1).with_bf16_isa(isa).expect("an available one");
        let [tiles, vectors] = [Bf16Isa::AmxBf16, Bf16Isa::Avx512Bf16].map(|isa| {
            eprintln!("{dims:?}: {isa}");
            case.run(&on(isa), 0..rows, &spans, true)
        });
        let mut different = false;
        for (i, (tiles, vectors)) in tiles.iter().zip(&vectors).enumerate() {
            let row = i / (dims[0] * dims[2]);
            assert!(
                (tiles - vectors).abs() < 0.03,
                "{dims:?} row {row}: {tiles} {vectors}"
            );
            different |= tiles != vectors;
        }
        assert!(different, "{dims:?}: the tiles were not asked");
    }
}

#[test]
fn outputs_rounded_on_the_way_out_are_the_outputs_rounded() {
    let spans = spans(&[3, 20]);
    for dims in SHAPES {
        let case = Case::new(dims, 23);
        let width = dims[0] * dims[2];
        let weight = Weight::new(Kind::F32, 9, 10, width);
        for cpu in cpus() {
            let format = PanelFormat::Int8;
            let panels = Panels::pack(&cpu, format, [10, width], |ids, out| {
                embed(&cpu, weight.dense(), ids, out);
            });
            let product = |rows: &PanelRows| {
                let mut out = vec![0.0; 230];
                let product = PanelProduct {
                    weight: PanelWeight::Kept(&panels),
                    bias: None,
                    activation: None,
                    residual: None,
                    out: PanelOut::Plain(&mut out),
                };
                panel_products(&cpu, PanelInput::Rounded(rows), &mut [product]);
                out
            };
            let (mut expected, mut found) = (PanelRows::new(), PanelRows::new());
            expected.round(
                &cpu,
                format.rounding(),
                &case.run(&cpu, 0..23, &spans, false),
                width,
            );
            let inputs = WholeInputs {
                q: PanelInput::Plain(&case.q),
                k: PanelInput::Plain(&case.k),
                v: PanelInput::Plain(&case.v),
            };
            attend_whole(
                &cpu,
                case.shape,
                &spans,
                inputs,
                PanelOut::Rounded(format, &mut found),
            );
            assert_eq!(
                bits(&product(&found)),
                bits(&product(&expected)),
                "{cpu:?} {dims:?}"
            );
        }
    }
}

#[test]
fn a_long_sequence_is_several_tasks_and_the_same_rows() {
    let case = Case::new([4, 2, 64], 530);
    let (heads, head_dim) = (case.shape.heads, case.shape.head_dim);
    let span = 5..530;
    let spans = std::slice::from_ref(&span);
    let found = case.run(&fast(1), 0..530, spans, false);
    for cpu in [fast(3), cpus().remove(0)] {
        let same = bits(&case.run(&cpu, 0..530, spans, false)) == bits(&found);
        assert!(same, "{cpu:?}");
    }
    // Rows around the borders of tasks, which are 256 rows apart.
    for row in [5, 260, 261, 516, 517, 529] {
        for head in 0..heads {
            let found = &found[(row * heads + head) * head_dim..][..head_dim];
            for (found, exact) in found.iter().zip(case.exact(&span, row, head)) {
                let error = (f64::from(*found) - exact).abs();
                assert!(error <= 4e-6, "row {row}: {found} for {exact}");
            }
        }
    }
}
