//! Networks learn from scratch, by seed: exclusive or, two spirals, digits.

mod common;

use common::tasks::{Task, XOR, digits, spirals};
use lattice_fann::train::{
    Decay, EarlyStopping, Optimizer, Schedule, Stop, TrainOptions, Trainer, train,
};
use lattice_fann::{Activation, Int8Network, Loss, Network, NetworkBuilder, Samples};

fn xor() -> Samples<'static> {
    static TASK: ([f32; 8], [f32; 4]) = XOR;
    Samples::values(&TASK.0, 2, &TASK.1, 1).expect("four rows")
}

#[test]
fn every_optimizer_learns_exclusive_or() {
    let optimizers = [
        (Optimizer::sgd(1.0), 2_000),
        (Optimizer::momentum(0.3, 0.9), 500),
        (Optimizer::adam(0.05), 300),
        (Optimizer::rprop(), 60),
        (Optimizer::lbfgs(), 40),
    ];
    for (optimizer, epochs) in optimizers {
        let builder = NetworkBuilder::new(2)
            .layer(8, Activation::Tanh)
            .layer(1, Activation::Sigmoid);
        let mut network = builder.seed(1).build().expect("a right shape");
        let options = TrainOptions {
            epochs,
            batch: 0,
            target_loss: Some(0.02),
            ..TrainOptions::new(Loss::BinaryCrossEntropy, optimizer)
        };
        let report = train(&mut network, &xor(), &options).expect("it trains");
        assert_eq!(
            report.stop,
            Stop::Target,
            "{optimizer:?}: {:?}",
            report.epochs.last()
        );
        for (x, t) in XOR.0.chunks(2).zip(XOR.1) {
            let y = network.forward(x).expect("a right row")[0];
            assert!((y - t).abs() < 0.1, "{optimizer:?}: {x:?} gives {y}");
        }
    }
}

/// The share of rows whose largest output is their label.
fn right(network: &mut Network, task: &Task) -> f64 {
    let mut out = vec![0.0; task.labels.len() * network.outputs()];
    network
        .forward_batch(&task.x, &mut out)
        .expect("right rows");
    share(&out, &task.labels)
}

fn share(out: &[f32], labels: &[u32]) -> f64 {
    let rows = out.chunks(out.len() / labels.len());
    let best = |row: &[f32]| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]));
    let right = rows
        .zip(labels)
        .filter(|(row, label)| best(row) == Some(**label as usize));
    right.count() as f64 / labels.len() as f64
}

#[test]
fn two_spirals_are_told_apart() {
    let task = spirals();
    let samples = Samples::labels(&task.x, 2, &task.labels, 2).expect("right rows");
    let builder = NetworkBuilder::new(2)
        .layer(32, Activation::Tanh)
        .layer(32, Activation::Tanh)
        .layer(2, Activation::Softmax);
    let mut network = builder.seed(1).build().expect("a right shape");
    let options = TrainOptions {
        epochs: 400,
        target_loss: Some(0.01),
        ..TrainOptions::new(Loss::CrossEntropy, Optimizer::lbfgs())
    };
    let report = train(&mut network, &samples, &options).expect("it trains");
    assert_eq!(
        right(&mut network, &task),
        1.0,
        "{:?}",
        report.epochs.last()
    );
}

#[test]
fn digits_are_read_in_f32_and_int8() {
    let (learn, test) = (digits(1, 1_500), digits(2, 500));
    let samples = Samples::labels(&learn.x, 784, &learn.labels, 10).expect("right rows");
    let validation = Samples::labels(&test.x, 784, &test.labels, 10).expect("right rows");
    let builder = NetworkBuilder::new(784)
        .layer(128, Activation::Relu)
        .layer(64, Activation::Relu)
        .layer(10, Activation::Softmax);
    let mut network = builder.seed(4).build().expect("a right shape");
    let options = TrainOptions {
        epochs: 12,
        early_stopping: Some(EarlyStopping {
            patience: 3,
            least: 1e-3,
        }),
        schedule: Schedule {
            warmup: 1,
            decay: Decay::Cosine { floor: 0.05 },
        },
        clip_norm: Some(5.0),
        ..TrainOptions::new(Loss::CrossEntropy, Optimizer::adamw(1e-3, 1e-2))
    };
    let mut trainer = Trainer::new(&network, &options).expect("right options");
    let report = trainer.fit(&mut network, &samples, Some(&validation));
    let report = report.expect("it trains");
    let found = right(&mut network, &test);
    assert!(found >= 0.98, "{found} right: {:?}", report.epochs);
    let mut int8 = Int8Network::from_network(&network).expect("finite");
    let mut out = vec![0.0; 5_000];
    int8.forward_batch(&test.x, &mut out).expect("right rows");
    let small = share(&out, &test.labels);
    assert!(small >= found - 0.01, "int8 {small}, f32 {found}");
}
