//! How often drift is found, over many seeds: the recipe of the table, unit vectors, the moved sets 0.25 further along their first
//! 16 coordinates before they are scaled; the p-values of each seed, unmoved and moved, then the counts. Or two files.
//!
//! `cargo run --release -p lattice-transport --example drift -- seeds [SEEDS] [N] [DIMENSION] [PERMUTATIONS]`
//! `cargo run --release -p lattice-transport --example drift -- files BASE NEW DIMENSION` (f32, little-endian)
#![allow(clippy::print_stdout, reason = "a report for people")]

use std::time::Instant;

use lattice_transport::*;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let word = |i: usize, default: &str| arguments.get(i).cloned().unwrap_or(default.to_owned());
    let workers = Workers::new(1)?;
    if word(0, "seeds") == "files" {
        let dimension = word(3, "384").parse()?;
        let sets = [word(1, ""), word(2, "")].map(|path| read(&path, dimension));
        let [base, new] = sets;
        let report = drift(&workers, &base?, &new?, &DriftOptions::default())?;
        println!("{}", text_from_report(&report));
        return Ok(());
    }
    let [seeds, count, dimension] =
        [(1, "200"), (2, "1000"), (3, "384")].map(|(i, default)| word(i, default).parse::<usize>());
    let (seeds, count, dimension) = (seeds?, count?, dimension?);
    let options = DriftOptions {
        permutations: word(4, "499").parse()?,
        ..DriftOptions::default()
    };
    let start = Instant::now();
    let (mut false_alarms, mut found) = (0, 0);
    for seed in 0..seeds as u64 {
        let set = |seed: u64, moved| vectors(seed, count, dimension, moved);
        let base = set(3 * seed, 0.0)?;
        let same = drift(&workers, &base, &set(3 * seed + 1, 0.0)?, &options)?;
        let moved = drift(&workers, &base, &set(3 * seed + 2, 0.25)?, &options)?;
        false_alarms += usize::from(same.is_drift());
        found += usize::from(moved.is_drift());
        println!("seed {seed}: p {} {}", same.p_value, moved.p_value);
    }
    let seconds = start.elapsed().as_secs_f64() / (2 * seeds) as f64;
    println!(
        "{seeds} seeds, {count} x {dimension}, {} permutations: unmoved flagged {false_alarms}, moved found {found}, \
         {seconds:.3} s a comparison",
        options.permutations
    );
    Ok(())
}

fn read(path: &str, dimension: usize) -> Result<EmbeddingSet, Failure> {
    let bytes = std::fs::read(path)?;
    let values = bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b));
    Ok(EmbeddingSet::new(values.collect(), dimension)?)
}

/// Normal numbers by seed (SplitMix64, Box and Muller).
fn vectors(seed: u64, count: usize, dimension: usize, moved: f64) -> Result<EmbeddingSet, Failure> {
    let mut state = seed.wrapping_mul(0xd134_2543_de82_ef95);
    let mut unit = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (((z ^ (z >> 31)) >> 11) + 1) as f64 / (1u64 << 53) as f64
    };
    let mut out = Vec::with_capacity(count * dimension);
    for _ in 0..count {
        let shift = |k: usize| if k < 16 { moved } else { 0.0 };
        let mut normal = || (-2.0 * unit().ln()).sqrt() * (std::f64::consts::TAU * unit()).cos();
        let row: Vec<f64> = (0..dimension).map(|k| normal() + shift(k)).collect();
        let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
        out.extend(row.iter().map(|x| (x / length) as f32));
    }
    Ok(EmbeddingSet::new(out, dimension)?)
}
