//! Rates of products with weights in panels, at the shapes of encoders.
//!
//! `cargo run --release -p lattice-kernels --example panel_rates [-- THREADS [f32 | bf16 | int8 | attention [ISA [INT_ISA]]]]`
#![allow(clippy::print_stdout, reason = "a table for people")]

use std::hint::black_box;
use std::time::Instant;

use lattice_kernels::*;

fn values(n: usize) -> Vec<f32> {
    let mut state = 1u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    std::iter::repeat_with(next).take(n).collect()
}

/// The best time of a call in seconds, after one call to warm up: a busy machine disturbs it least.
fn seconds(runs: usize, mut call: impl FnMut()) -> f64 {
    call();
    let time = |call: &mut dyn FnMut()| {
        let start = Instant::now();
        call();
        start.elapsed().as_secs_f64()
    };
    let times = (0..runs).map(|_| time(&mut call));
    times.fold(f64::INFINITY, f64::min)
}

fn product(cpu: &Cpu, format: PanelFormat, [outputs, columns]: [usize; 2], rows: usize) {
    let weight = values(outputs * columns);
    let dense = Dense::new(DenseData::F32(&weight), outputs, columns);
    let panels = Panels::pack(cpu, format, [outputs, columns], |ids, out| {
        embed(cpu, dense, ids, out);
    });
    let (x, bias) = (values(rows * columns), values(outputs));
    let mut out = vec![0.0; rows * outputs];
    let mut rounded = PanelRows::new();
    let input = match format {
        PanelFormat::F32 => PanelInput::Plain(&x),
        PanelFormat::Bf16 | PanelFormat::Int8 => {
            rounded.round(cpu, format.rounding(), &x, columns);
            PanelInput::Rounded(&rounded)
        }
    };
    let t = seconds((4000 / rows).clamp(20, 400), || {
        let out = PanelOut::Plain(black_box(&mut out));
        let product = PanelProduct {
            weight: PanelWeight::Kept(&panels),
            bias: Some(&bias),
            activation: None,
            residual: None,
            out,
        };
        panel_products(cpu, input, &mut [product]);
    });
    let flops = (2 * rows * outputs * columns) as f64;
    println!(
        "{format:?} {outputs:>5} x {columns:<5} {rows:>5} rows {:>9.1} us {:>7.1} GOP/s {:>6.1} GB/s",
        t * 1e6,
        flops / t / 1e9,
        panels.bytes() as f64 / t / 1e9
    );
}

/// Attention of `batch` sequences of `keys` rows, as all layers of an encoder of the width have it.
fn attention(cpu: &Cpu, [heads, head_dim]: [usize; 2], keys: usize, bf16: bool) {
    let batch = 1024 / keys;
    let shape = AttendShape {
        heads,
        kv_heads: heads,
        head_dim,
        scale: 1.0 / (head_dim as f32).sqrt(),
        sees: Sees::All,
    };
    let rows = batch * keys;
    let x = values(3 * rows * heads * head_dim);
    let (q, rest) = x.split_at(rows * heads * head_dim);
    let (k, v) = rest.split_at(q.len());
    let spans: Vec<_> = (0..batch).map(|i| i * keys..(i + 1) * keys).collect();
    let mut rounded = [PanelRows::new(), PanelRows::new(), PanelRows::new()];
    let mut inputs = [q, k, v].map(PanelInput::Plain);
    let format = whole_format(cpu, head_dim);
    if bf16 && format != PanelFormat::F32 {
        for (x, rounded) in [q, k, v].into_iter().zip(&mut rounded) {
            rounded.round(cpu, format.rounding(), x, heads * head_dim);
        }
        inputs = rounded.each_ref().map(PanelInput::Rounded);
    }
    let [q, k, v] = inputs;
    let mut out = vec![0.0; rows * heads * head_dim];
    let t = seconds(50, || {
        let inputs = WholeInputs { q, k, v };
        attend_whole(
            cpu,
            shape,
            &spans,
            inputs,
            PanelOut::Plain(black_box(&mut out)),
        );
    });
    let flops = (4 * batch * keys * keys * heads * head_dim) as f64;
    println!(
        "attention {heads} x {head_dim} {keys:>4} keys, bf16 {bf16:>5} {:>9.1} us {:>7.1} GFLOP/s {:>7.2} us/row",
        t * 1e6,
        flops / t / 1e9,
        t / rows as f64 * 1e6
    );
}

fn main() {
    let mut args = std::env::args().skip(1);
    let threads = args
        .next()
        .map_or(1, |n| n.parse().expect("a number of threads"));
    let only = args.next();
    let isa = args
        .next()
        .map(|isa| isa.parse().expect("an instruction set"));
    let int_isa = args
        .next()
        .map(|isa| isa.parse().expect("an instruction set"));
    let options = CpuOptions {
        threads,
        isa,
        int_isa,
        ..CpuOptions::default()
    };
    let cpu = Cpu::new(options).expect("a processor");
    println!("{cpu:?}");
    for bf16 in [false, true] {
        if only.as_deref().is_some_and(|only| only != "attention") {
            continue;
        }
        for shape in [[12, 32], [12, 64]] {
            for keys in [16, 64, 128, 512] {
                attention(&cpu, shape, keys, bf16);
            }
        }
    }
    for (name, format) in [
        ("f32", PanelFormat::F32),
        ("bf16", PanelFormat::Bf16),
        ("int8", PanelFormat::Int8),
    ] {
        let able = format != PanelFormat::Bf16 || PanelFormat::bf16_on(&cpu) == format;
        if !able || only.as_deref().is_some_and(|only| only != name) {
            continue;
        }
        for shape in [
            [384, 384],
            [1536, 384],
            [384, 1536],
            [768, 768],
            [3072, 768],
            [768, 3072],
        ] {
            for rows in [1, 16, 128, 1024] {
                product(&cpu, format, shape, rows);
            }
        }
    }
}
