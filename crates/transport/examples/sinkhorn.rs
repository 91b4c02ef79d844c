//! Times Sinkhorn on points from a file, as the measurements beside other programs do.
//!
//! `cargo run --release -p lattice-transport --example sinkhorn -- POINTS N EPSILON [f32|f64] [auto|log|kernel] [dense|lazy] [THREADS]
//! [TOLERANCE] [RUNS]`. POINTS: two sets of N points of the plane, f64 little-endian. Prints one JSON object: the best and the
//! median time in seconds, iterations, values.
#![allow(clippy::print_stdout, reason = "a line for a script")]

use std::time::Instant;

use lattice_kernels::Real;
use lattice_transport::*;

type Failure = Box<dyn std::error::Error>;

struct Job {
    values: Vec<f64>,
    count: usize,
    domain: Domain,
    lazy: bool,
    options: SinkhornOptions<'static>,
    threads: usize,
    runs: usize,
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let word = |i: usize, default: &str| arguments.get(i).cloned().unwrap_or(default.to_owned());
    let bytes = std::fs::read(word(0, ""))?;
    let values = bytes
        .as_chunks::<8>()
        .0
        .iter()
        .map(|b| f64::from_le_bytes(*b));
    let domain = match word(4, "auto").as_str() {
        "kernel" => Domain::Kernel,
        "log" => Domain::Log,
        _ => Domain::default(),
    };
    let job = Job {
        values: values.collect(),
        count: word(1, "1000").parse()?,
        domain,
        lazy: word(5, "dense") == "lazy",
        options: SinkhornOptions {
            tolerance: word(7, "1e-6").parse()?,
            domain,
            ..SinkhornOptions::new(word(2, "0.01").parse()?)
        },
        threads: word(6, "1").parse()?,
        runs: word(8, "5").parse()?,
    };
    match word(3, "f32").as_str() {
        "f64" => run::<f64>(&job),
        _ => run::<f32>(&job),
    }
}

fn run<T: Real>(job: &Job) -> Result<(), Failure> {
    let workers = Workers::new(job.threads)?;
    let sets = job.values.chunks_exact(2 * job.count).take(2);
    let sets = sets.map(|set| Points::new(set.iter().map(|x| T::from_f64(*x)).collect(), 2));
    let sets = sets.collect::<Result<Vec<Points<T>>, _>>()?;
    let [x, y] = &sets[..] else {
        return Err("the file has no two sets".into());
    };
    let weights = Weights::uniform(job.count)?;
    let cost = PointCost::new(x, y, Ground::SquaredEuclidean)?;
    let mut times = Vec::new();
    let mut found = None;
    for _ in 0..job.runs.max(1) {
        let start = Instant::now();
        // Keeping the costs is part of the work.
        found = Some(if job.lazy {
            let problem = Problem::new(&weights, &weights, &cost)?;
            sinkhorn(&workers, &problem, &job.options)?
        } else {
            let dense = DenseCost::of(&workers, &cost)?;
            let problem = Problem::new(&weights, &weights, &dense)?;
            sinkhorn(&workers, &problem, &job.options)?
        });
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    let found = found.ok_or("no run")?;
    let line = serde_json::json!({
        "best_s": times[0], "median_s": times[times.len() / 2], "domain": format!("{:?}", job.domain),
        "lazy": job.lazy, "threads": workers.threads(), "outcome": format!("{:?}", found.outcome),
        "iterations": found.iterations, "error": found.error, "cost": found.transport_cost, "kl": found.kl,
    });
    println!("{line}");
    Ok(())
}
