//! Rates of the operations on vectors.
//!
//! `cargo run --release -p lattice-kernels --example vectors -- pairs [PEERS.so ...]`: nanoseconds of
//! two vectors in the first cache, ours and those of the peers' tables (docs/bench/vectors-peers.c)
//! in turn. `scan [THREADS] [ROWS]`: one query against 100,000 rows. `all [THREADS]`: 4,096 by 4,096.
#![allow(clippy::print_stdout, reason = "a table for people")]
#![allow(
    unsafe_code,
    reason = "calls of the peers, and the loops that measure limits"
)]

mod all;
mod pairs;
mod peers;
mod scan;

use std::time::Instant;

/// The best time of a call in seconds: a busy machine disturbs it least.
fn best(runs: usize, mut call: impl FnMut()) -> f64 {
    let times = (0..runs).map(|_| {
        let start = Instant::now();
        call();
        start.elapsed().as_secs_f64()
    });
    times.fold(f64::INFINITY, f64::min)
}

fn values(seed: u32, n: usize) -> Vec<f32> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    std::iter::repeat_with(next).take(n).collect()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("pairs") => pairs::run(&arguments[1..]),
        Some("scan") => scan::run(&arguments[1..]),
        Some("all") => all::run(&arguments[1..]),
        _ => println!("pairs [PEERS.so ...] | scan [THREADS] [ROWS] | all [THREADS]"),
    }
}
