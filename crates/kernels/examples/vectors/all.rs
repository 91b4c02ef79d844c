//! All of one set of vectors against all of another.

use std::hint::black_box;

use lattice_kernels::vector::*;
use lattice_kernels::{Cpu, CpuOptions};

use crate::{best, values};

const ROWS: usize = 4096;
const COLUMNS: usize = 384;
const RUNS: usize = 12;

pub(crate) fn run(arguments: &[String]) {
    let threads = arguments.first().and_then(|n| n.parse().ok()).unwrap_or(1);
    let cpu = Cpu::new(CpuOptions {
        threads,
        ..CpuOptions::default()
    });
    let cpu = cpu.expect("threads start");
    println!("{threads} threads, {ROWS} x {ROWS} x {COLUMNS}");
    println!("type  metric           ms  GFLOP/s");
    let (a, b) = (values(1, ROWS * COLUMNS), values(2, ROWS * COLUMNS));
    let mut out = vec![0.0; ROWS * ROWS];
    pairs(&cpu, "f32", &a, &b, &mut out);
    let half = |x: &[f32]| -> Vec<f16> { x.iter().map(|&x| f16::from_f32(x)).collect() };
    pairs(&cpu, "f16", &half(&a), &half(&b), &mut out);
    let brain = |x: &[f32]| -> Vec<bf16> { x.iter().map(|&x| bf16::from_f32(x)).collect() };
    pairs(&cpu, "bf16", &brain(&a), &brain(&b), &mut out);
    let byte = |x: &[f32]| -> Vec<i8> { x.iter().map(|&x| (x * 250.0) as i8).collect() };
    pairs(&cpu, "i8", &byte(&a), &byte(&b), &mut out);
}

fn pairs<T: Element>(cpu: &Cpu, kind: &str, a: &[T], b: &[T], out: &mut [f32]) {
    for metric in [Metric::Dot, Metric::Cosine] {
        let t = best(RUNS, || {
            let (a, b) = (Matrix::new(a, COLUMNS), Matrix::new(b, COLUMNS));
            all_pairs(cpu, metric, black_box(a), b, black_box(out));
        });
        let operations = (2 * ROWS * ROWS * COLUMNS) as f64;
        let metric = format!("{metric:?}");
        println!(
            "{kind:<5} {metric:<10} {:>8.2} {:>8.0}",
            t * 1e3,
            operations / t / 1e9
        );
    }
}
