//! How fast networks run and learn on one thread: a line of JSON for each, best and median.
//!
//!     cargo run --release -p lattice-fann --example rates

use std::hint::black_box;
use std::time::Instant;

use lattice_fann::train::{Optimizer, TrainOptions, Trainer};
use lattice_fann::{Activation, Error, Fixed, Int8Network, Loss, Network, NetworkBuilder, Samples};

fn main() -> Result<(), Error> {
    for hidden in [Activation::Relu, Activation::Sigmoid] {
        wide(hidden)?;
    }
    narrow()?;
    for (name, optimizer) in [
        ("SGD", Optimizer::sgd(1e-3)),
        ("Adam", Optimizer::adam(1e-3)),
    ] {
        training(name, optimizer, false)?;
        training(&format!("{name}, shuffled,"), optimizer, true)?;
    }
    Ok(())
}

fn inputs(count: usize) -> Vec<f32> {
    (0..count)
        .map(|i| (i * 2_654_435_761 % 1_000) as f32 / 1_000.0)
        .collect()
}

fn network(widths: &[usize], hidden: Activation, last: Activation) -> Result<Network, Error> {
    let mut builder = NetworkBuilder::new(widths[0]);
    for (i, width) in widths.iter().enumerate().skip(1) {
        let activation = if i + 1 == widths.len() { last } else { hidden };
        builder = builder.layer(*width, activation);
    }
    builder.build()
}

fn wide(hidden: Activation) -> Result<(), Error> {
    let mut f32 = network(&[784, 128, 64, 10], hidden, Activation::Linear)?;
    let mut int8 = Int8Network::from_network(&f32)?;
    let x = inputs(784);
    let name = format!("784-128-64-10 {hidden}");
    latency("f32", &name, 1, || {
        black_box(f32.forward(black_box(&x)).map(|y| y[0]))
    });
    latency("int8", &name, 1, || {
        black_box(int8.forward(black_box(&x)).map(|y| y[0]))
    });
    let (rows, mut out) = (inputs(64 * 784), vec![0.0; 64 * 10]);
    latency("f32, 64 rows", &name, 1, || {
        f32.forward_batch(black_box(&rows), &mut out)
    });
    Ok(())
}

fn narrow() -> Result<(), Error> {
    let x = [0.1, 0.7, 0.3, 0.9];
    for activation in [Activation::Sigmoid, Activation::Relu] {
        let mut network = network(&[4, 8, 3], activation, activation)?;
        let fixed = Fixed::<4, 8, 3>::from_network(&network)?;
        let name = format!("4-8-3 {activation}");
        latency("f32", &name, 100, || {
            black_box(network.forward(black_box(&x)).map(|y| y[0]))
        });
        latency("fixed", &name, 100, || {
            black_box(fixed.forward(black_box(&x)))
        });
    }
    Ok(())
}

/// Calls `f` in 1,000 turns of `inner`.
fn latency<R>(kind: &str, net: &str, inner: usize, mut f: impl FnMut() -> R) {
    for _ in 0..200 {
        f();
    }
    let mut turns: Vec<f64> = (0..1_000)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..inner {
                black_box(f());
            }
            start.elapsed().as_nanos() as f64 / inner as f64
        })
        .collect();
    turns.sort_by(f64::total_cmp);
    print(&format!(
        r#"{{"kind":"net","impl":"lattice-fann {kind}","net":"{net}","p50_ns":{:.0},"p99_ns":{:.0},"min_ns":{:.0}}}"#,
        turns[500], turns[990], turns[0]
    ));
}

fn training(name: &str, optimizer: Optimizer, shuffle: bool) -> Result<(), Error> {
    let rows = 4096;
    let x = inputs(rows * 784);
    let labels: Vec<u32> = (0..rows as u32).map(|i| i % 10).collect();
    let samples = Samples::labels(&x, 784, &labels, 10)?;
    let mut network = network(&[784, 128, 64, 10], Activation::Relu, Activation::Softmax)?;
    let options = TrainOptions {
        shuffle,
        ..TrainOptions::new(Loss::CrossEntropy, optimizer)
    };
    let mut trainer = Trainer::new(&network, &options)?;
    trainer.epoch(&mut network, &samples)?;
    let (start, cpu) = (Instant::now(), cpu_seconds());
    for _ in 0..10 {
        trainer.epoch(&mut network, &samples)?;
    }
    let cpu = cpu_seconds() - cpu;
    let done = 10.0 * rows as f64;
    let (rate, cpu_rate) = (done / start.elapsed().as_secs_f64(), done / cpu);
    print(&format!(
        r#"{{"kind":"train","impl":"lattice-fann {name} batch 32","net":"784-128-64-10","samples_s":{rate:.0},"samples_cpu_s":{cpu_rate:.0}}}"#
    ));
    Ok(())
}

/// Time on the processor where the system tells (Linux), else NaN: what others run does not show in it.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanoseconds = stat.split(' ').next().and_then(|n| n.parse::<f64>().ok());
    nanoseconds.map_or(f64::NAN, |n| n / 1e9)
}

#[allow(clippy::print_stdout, reason = "what an example is for")]
fn print(line: &str) {
    println!("{line}");
}
