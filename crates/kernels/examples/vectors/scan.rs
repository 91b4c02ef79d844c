//! One query against many rows.

use std::hint::black_box;

use lattice_kernels::vector::*;
use lattice_kernels::{Cpu, CpuOptions};

use crate::{best, values};

const ROWS: usize = 100_000;
const COLUMNS: usize = 384;
const FOUND: usize = 10;
const RUNS: usize = 40;

pub(crate) fn run(arguments: &[String]) {
    let threads = arguments.first().and_then(|n| n.parse().ok()).unwrap_or(1);
    let cpu = Cpu::new(CpuOptions {
        threads,
        ..CpuOptions::default()
    });
    let cpu = cpu.expect("threads start");
    println!("{threads} threads, {ROWS} x {COLUMNS}, the best {FOUND}");
    println!("type  metric           ms     GB/s   of a plain read");
    let wide = values(1, ROWS * COLUMNS);
    let query = values(2, COLUMNS);
    rows(&cpu, "f32", &query, &wide);
    let half = |x: &[f32]| -> Vec<f16> { x.iter().map(|&x| f16::from_f32(x)).collect() };
    rows(&cpu, "f16", &half(&query), &half(&wide));
    let brain = |x: &[f32]| -> Vec<bf16> { x.iter().map(|&x| bf16::from_f32(x)).collect() };
    rows(&cpu, "bf16", &brain(&query), &brain(&wide));
    let byte = |x: &[f32]| -> Vec<i8> { x.iter().map(|&x| (x * 250.0) as i8).collect() };
    let (query, narrow) = (byte(&query), byte(&wide));
    rows(&cpu, "i8", &query, &narrow);
    let bits: Vec<u8> = narrow[..ROWS * COLUMNS / 8]
        .iter()
        .map(|&x| x as u8)
        .collect();
    let plain = read(&cpu, &bits);
    let t = best(RUNS, || {
        black_box(hamming_top(
            &cpu,
            &bits[..COLUMNS / 8],
            Matrix::new(&bits, COLUMNS / 8),
            FOUND,
        ));
    });
    line("bits", "Hamming", bits.len(), t, plain);
}

fn rows<T: Element>(cpu: &Cpu, kind: &str, query: &[T], rows: &[T]) {
    let matrix = Matrix::new(rows, COLUMNS);
    let query = Query::new(query);
    let plain = read(cpu, rows);
    for metric in [
        Metric::Dot,
        Metric::Cosine,
        Metric::Euclidean,
        Metric::Manhattan,
    ] {
        let t = best(RUNS, || {
            black_box(top(cpu, metric, black_box(&query), matrix, FOUND));
        });
        line(kind, &format!("{metric:?}"), size_of_val(rows), t, plain);
    }
    let plain = plain.min(read(cpu, rows));
    println!(
        "{kind:<5} plain read {:>8.2} {:>8.2}",
        plain * 1e3,
        size_of_val(rows) as f64 / plain / 1e9
    );
}

fn line(kind: &str, metric: &str, bytes: usize, t: f64, plain: f64) {
    let rate = bytes as f64 / t / 1e9;
    println!(
        "{kind:<5} {metric:<10} {:>8.2} {rate:>8.2} {:>8.0} %",
        t * 1e3,
        100.0 * plain / t
    );
}

/// Seconds to read `rows`, doing nothing with them.
fn read<T: Sync>(cpu: &Cpu, rows: &[T]) -> f64 {
    const STEP: usize = 1 << 17;
    let bytes = size_of_val(rows);
    let start = rows.as_ptr() as usize;
    // With and without asking ahead: the faster one is the memory's rate.
    let times = [0, 4096].map(|ahead| {
        best(RUNS, || {
            cpu.run(bytes.div_ceil(STEP), &|i| {
                let len = STEP.min(bytes - i * STEP);
                // SAFETY: so many bytes of `rows`, any of which is a number.
                let part = unsafe {
                    std::slice::from_raw_parts((start + i * STEP) as *const u64, len / 8)
                };
                black_box(sum(part, ahead));
            });
        })
    });
    times[0].min(times[1])
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
