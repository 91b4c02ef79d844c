//! One query against many rows.

use std::hint::black_box;

use lattice_kernels::vector::*;
use lattice_kernels::{Cpu, CpuOptions};

use crate::{best, values};

const COLUMNS: usize = 384;
const FOUND: usize = 10;
const RUNS: usize = 40;

pub(crate) fn run(arguments: &[String]) {
    let number = |at: usize| arguments.get(at).and_then(|n| n.parse().ok());
    let (threads, row_count) = (number(0).unwrap_or(1), number(1).unwrap_or(100_000));
    let cpu = Cpu::new(CpuOptions {
        threads,
        ..CpuOptions::default()
    });
    let cpu = cpu.expect("threads start");
    println!("{threads} threads, {row_count} x {COLUMNS}, the best {FOUND}");
    println!("type  metric           ms     GB/s   plain ms     GB/s   of it");
    let wide = values(1, row_count * COLUMNS);
    let query = values(2, COLUMNS);
    rows(&cpu, "f32", &query, &wide);
    let half = |x: &[f32]| -> Vec<f16> { x.iter().map(|&x| f16::from_f32(x)).collect() };
    rows(&cpu, "f16", &half(&query), &half(&wide));
    let brain = |x: &[f32]| -> Vec<bf16> { x.iter().map(|&x| bf16::from_f32(x)).collect() };
    rows(&cpu, "bf16", &brain(&query), &brain(&wide));
    let byte = |x: &[f32]| -> Vec<i8> { x.iter().map(|&x| (x * 250.0) as i8).collect() };
    let (query, narrow) = (byte(&query), byte(&wide));
    rows(&cpu, "i8", &query, &narrow);
    let bits: Vec<u8> = narrow[..row_count * COLUMNS / 8]
        .iter()
        .map(|&x| x as u8)
        .collect();
    let matrix = Matrix::new(&bits, COLUMNS / 8);
    line(&cpu, "bits", "Hamming", &bits, || {
        black_box(hamming_top(&cpu, &bits[..COLUMNS / 8], matrix, FOUND));
    });
}

fn rows<T: Element>(cpu: &Cpu, kind: &str, query: &[T], rows: &[T]) {
    let lies = Matrix::new(rows, COLUMNS);
    let kept = OwnedMatrix::new(lies);
    let query = Query::new(query);
    let search = |metric, matrix| {
        black_box(top(cpu, metric, black_box(&query), matrix, FOUND));
    };
    for metric in [
        Metric::Dot,
        Metric::Cosine,
        Metric::Euclidean,
        Metric::Manhattan,
    ] {
        let name = format!("{metric:?}");
        let matrix = kept.matrix();
        line(cpu, kind, &name, matrix.data(), || search(metric, matrix));
    }
    line(cpu, kind, "Dot-of-Vec", rows, || search(Metric::Dot, lies));
}

/// Times a search of `rows` and reading them in turn.
fn line<T: Sync>(cpu: &Cpu, kind: &str, metric: &str, rows: &[T], search: impl Fn()) {
    let (mut t, mut plain) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..(RUNS << 26).div_ceil(size_of_val(rows)).clamp(8, RUNS) {
        t = t.min(best(1, &search));
        // With and without asking ahead: the faster one is the memory's rate.
        for ahead in [0, 4096, 16384] {
            plain = plain.min(best(1, || read(cpu, rows, ahead)));
        }
    }
    let bytes = size_of_val(rows) as f64;
    println!(
        "{kind:<5} {metric:<10} {:>8.3} {:>8.2}   {:>8.3} {:>8.2} {:>8.0} %",
        t * 1e3,
        bytes / t / 1e9,
        plain * 1e3,
        bytes / plain / 1e9,
        100.0 * plain / t
    );
}

/// Reads `rows` in tasks as large as those of a search, doing nothing with them.
fn read<T: Sync>(cpu: &Cpu, rows: &[T], ahead: usize) {
    const STEP: usize = 1 << 19;
    let bytes = size_of_val(rows);
    let start = rows.as_ptr() as usize;
    cpu.run(bytes.div_ceil(STEP), &|i| {
        let len = STEP.min(bytes - i * STEP);
        // SAFETY: so many bytes of `rows`, any of which is a number.
        let part = unsafe { std::slice::from_raw_parts((start + i * STEP) as *const u64, len / 8) };
        black_box(sum(part, ahead));
    });
}

fn sum(part: &[u64], ahead: usize) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the machine has it.
        return unsafe { sum_avx512(part, ahead) };
    }
    let _ = ahead;
    part.iter().fold(0, |sum, x| sum ^ x)
}

/// # Safety
/// The machine has AVX-512.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn sum_avx512(part: &[u64], ahead: usize) -> u64 {
    let mut sums = [0u64; 32];
    for chunk in part.chunks_exact(32) {
        if ahead > 0 {
            for line in 0..4 {
                let at = chunk.as_ptr().cast::<i8>().wrapping_add(ahead + 64 * line);
                std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at);
            }
        }
        for (sum, x) in sums.iter_mut().zip(chunk) {
            *sum ^= x;
        }
    }
    sums.iter().fold(0, |sum, x| sum ^ x)
}
