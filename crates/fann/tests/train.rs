//! Laws of training: torch's steps, the same bits again, and what is said and done when it goes wrong.

mod common;

use common::*;
use lattice_fann::train::{
    Decay, EarlyStopping, Ewc, Optimizer, Schedule, Stop, TrainOptions, Trainer, train,
};
use lattice_fann::{Activation, Error, Loss, Network, Samples};
use safetensors::SafeTensors;

#[test]
fn steps_are_those_of_torch() {
    let bytes = golden("steps.safetensors");
    let file = SafeTensors::deserialize(&bytes).expect("a golden");
    let (x, t) = (tensor(&file, "x"), tensor(&file, "t"));
    let samples = Samples::values(&x, 3, &t, 2).expect("ten rows");
    let momentum = |momentum, nesterov, decay| Optimizer::Sgd {
        rate: 0.1,
        momentum,
        nesterov,
        decay,
    };
    let optimizers = [
        ("sgd", Optimizer::sgd(0.1)),
        ("momentum", momentum(0.9, false, 0.01)),
        ("nesterov", momentum(0.8, true, 0.0)),
        ("adam", Optimizer::adam(0.01)),
        ("adamw", Optimizer::adamw(0.01, 0.1)),
        ("rprop", Optimizer::rprop()),
        ("clipped", Optimizer::sgd(0.1)),
    ];
    for (name, optimizer) in optimizers {
        let mut network = network(3, &[(8, Activation::Tanh), (2, Activation::Linear)], 1);
        network
            .set_parameters(&tensor(&file, "before"))
            .expect("as many");
        let options = TrainOptions {
            epochs: 8,
            batch: 0,
            shuffle: false,
            clip_norm: (name == "clipped").then_some(0.2),
            ..TrainOptions::new(Loss::Mse, optimizer)
        };
        train(&mut network, &samples, &options).expect("it trains");
        let error = apart(network.parameters(), &tensor(&file, name));
        assert!(error < 5e-6, "{name} is {error} apart");
    }
}

fn regression() -> (Vec<f32>, Vec<f32>) {
    let x = values(1, 60 * 3);
    let t = x
        .chunks(3)
        .map(|x| 0.7 * x[0] - 0.4 * x[1] + 0.1 * x[2] + 0.3);
    let t = t.collect();
    (x, t)
}

#[test]
fn lbfgs_finds_the_minimum_of_least_squares() {
    let (x, t) = regression();
    let samples = Samples::values(&x, 3, &t, 1).expect("sixty rows");
    let mut network = network(3, &[(1, Activation::Linear)], 2);
    let options = TrainOptions::new(Loss::Mse, Optimizer::lbfgs());
    let report = train(&mut network, &samples, &options).expect("it trains");
    let error = apart(network.parameters(), &[0.7, -0.4, 0.1, 0.3]);
    assert!(error < 1e-5, "{error} after {} epochs", report.epochs.len());
    assert_eq!(report.stop, Stop::Minimum);
}

fn trained(options: &TrainOptions) -> Network {
    let (x, t) = regression();
    let samples = Samples::values(&x, 3, &t, 1).expect("sixty rows");
    let mut network = network(3, &[(20, Activation::Gelu), (1, Activation::Linear)], 2);
    train(&mut network, &samples, options).expect("it trains");
    network
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    let options = TrainOptions {
        epochs: 5,
        batch: 7,
        ..TrainOptions::new(Loss::Mse, Optimizer::adam(0.01))
    };
    assert_eq!(trained(&options), trained(&options));
    let other = TrainOptions {
        seed: 1,
        ..options.clone()
    };
    assert_ne!(trained(&options), trained(&other));
}

/// Of all that a training ends with, bit by bit. The builds with and without vectors share it, and so
/// does every machine.
const TRAINED: u64 = 0x9c23_71c0_19bf_d8af;

#[test]
fn every_machine_and_build_trains_the_same_network() {
    let layers = [
        (64, Activation::Tanh),
        (32, Activation::Gelu),
        (10, Activation::Softmax),
    ];
    let mut network = network(40, &layers, 2);
    let (x, labels) = (
        values(3, 100 * 40),
        (0..100).map(|i| i % 10).collect::<Vec<u32>>(),
    );
    let samples = Samples::labels(&x, 40, &labels, 10).expect("a hundred rows");
    let options = TrainOptions {
        epochs: 3,
        ..TrainOptions::new(Loss::CrossEntropy, Optimizer::adam(0.01))
    };
    train(&mut network, &samples, &options).expect("it trains");
    let bytes = network.parameters().iter().flat_map(|w| w.to_le_bytes());
    let bytes: Vec<u8> = bytes.collect();
    assert_eq!(twox_hash::XxHash3_64::oneshot(&bytes), TRAINED);
}

#[test]
fn patience_ends_a_training_with_the_best_network() {
    let (x, t) = regression();
    let noise: Vec<f32> = values(9, 60).iter().map(|n| n * 2.0).collect();
    let samples = Samples::values(&x, 3, &noise, 1).expect("sixty rows");
    let validation = Samples::values(&x, 3, &t, 1).expect("sixty rows");
    let mut network = network(3, &[(30, Activation::Tanh), (1, Activation::Linear)], 2);
    let options = TrainOptions {
        epochs: 500,
        early_stopping: Some(EarlyStopping {
            patience: 5,
            least: 0.0,
        }),
        ..TrainOptions::new(Loss::Mse, Optimizer::adam(0.02))
    };
    let mut trainer = Trainer::new(&network, &options).expect("right options");
    let report = trainer
        .fit(&mut network, &samples, Some(&validation))
        .expect("it trains");
    assert_eq!(report.stop, Stop::Patience);
    assert_eq!(report.best + 6, report.epochs.len());
    let loss = trainer.loss(&network, &validation).expect("they fit");
    assert_eq!(Some(loss), report.epochs[report.best].validation);
}

#[test]
fn schedules_reach_the_steps() {
    let frozen = TrainOptions {
        epochs: 3,
        schedule: Schedule {
            warmup: 0,
            decay: Decay::Exponential { factor: 0.0 },
        },
        ..TrainOptions::new(Loss::Mse, Optimizer::sgd(0.1))
    };
    let one = TrainOptions {
        epochs: 1,
        ..frozen.clone()
    };
    assert_eq!(
        trained(&frozen),
        trained(&one),
        "after the first epoch the rate is 0"
    );
}

#[test]
fn what_diverges_is_said_and_undone() {
    let (x, t) = regression();
    let samples = Samples::values(&x, 3, &t, 1).expect("sixty rows");
    for optimizer in [Optimizer::sgd(1e30), Optimizer::lbfgs()] {
        let mut network = network(3, &[(9, Activation::Relu), (1, Activation::Linear)], 2);
        if optimizer == Optimizer::lbfgs() {
            let huge = vec![3e38; network.parameters().len()];
            network.set_parameters(&huge).expect("finite");
        }
        let options = TrainOptions::new(Loss::Mse, optimizer);
        let found = train(&mut network, &samples, &options);
        assert!(matches!(found, Err(Error::Diverged { .. })), "{found:?}");
        assert!(network.parameters().iter().all(|w| w.is_finite()));
    }
}

#[test]
fn consolidation_keeps_what_was_learned() {
    let builder = |seed| network(2, &[(12, Activation::Tanh), (2, Activation::Softmax)], seed);
    let x = values(5, 2 * 200);
    let task =
        |axis: usize| -> Vec<u32> { x.chunks(2).map(|x| u32::from(x[axis] > 0.0)).collect() };
    // The old task is asked with inputs on the left, the new one on the right.
    let side = |right: f32| -> Vec<f32> {
        let moved = x.chunks(2).flat_map(|x| [0.5 * x[0] + right, x[1]]);
        moved.collect()
    };
    let (old_x, new_x) = (side(-1.0), side(1.0));
    let (old_t, new_t) = (task(1), task(0));
    let old = Samples::labels(&old_x, 2, &old_t, 2).expect("right rows");
    let new = Samples::labels(&new_x, 2, &new_t, 2).expect("right rows");
    let options = TrainOptions {
        epochs: 60,
        ..TrainOptions::new(Loss::CrossEntropy, Optimizer::adam(0.02))
    };
    let mut network = builder(1);
    train(&mut network, &old, &options).expect("it trains");
    let ewc = Ewc::new(&network, &old, Loss::CrossEntropy, 200.0).expect("they fit");
    let forgets = |protected: bool| {
        let mut network = network.clone();
        let mut trainer = Trainer::new(&network, &options).expect("right options");
        if protected {
            trainer = trainer.protect(ewc.clone()).expect("the same network");
        }
        trainer.fit(&mut network, &new, None).expect("it trains");
        assert!(ewc.penalty(&network).expect("the same network") > 0.0);
        let [old, new] = [&old, &new].map(|task| trainer.loss(&network, task).expect("they fit"));
        (old, new)
    };
    let (plain, kept) = (forgets(false), forgets(true));
    assert!(
        kept.0 < 0.5 * plain.0,
        "old loss {} with, {} without",
        kept.0,
        plain.0
    );
    assert!(kept.1 < 0.5, "the new task is learned too: {}", kept.1);
    let other = common::network(2, &[(3, Activation::Tanh)], 1);
    let trainer = Trainer::new(&other, &options).expect("right options");
    assert!(matches!(
        trainer.protect(ewc.clone()),
        Err(Error::OtherNetwork { .. })
    ));
    assert!(ewc.penalty(&other).is_err());
    assert!(Ewc::new(&network, &old, Loss::CrossEntropy, f32::NAN).is_err());
}

#[test]
fn penalties_have_the_gradient_of_their_value() {
    let mut network = network(3, &[(4, Activation::Tanh), (1, Activation::Linear)], 2);
    let (x, t) = regression();
    let samples = Samples::values(&x, 3, &t, 1).expect("sixty rows");
    let ewc = Ewc::new(&network, &samples, Loss::Mse, 3.0).expect("they fit");
    let old = network.parameters().to_vec();
    let moved: Vec<f32> = old.iter().map(|w| w + 0.5).collect();
    network.set_parameters(&moved).expect("as many");
    let sum: f32 = ewc.importance().iter().sum();
    let expected = f64::from(0.5 * 3.0 * 0.25 * sum);
    let found = ewc.penalty(&network).expect("the same network");
    assert!(
        (found - expected).abs() < 1e-5 * expected,
        "{found} {expected}"
    );
}

#[test]
fn options_outside_of_their_range_are_refused() {
    let network = network(3, &[(1, Activation::Linear)], 2);
    let good = TrainOptions::new(Loss::Mse, Optimizer::sgd(0.1));
    let adam = |beta1, epsilon| Optimizer::Adam {
        rate: 0.1,
        beta1,
        beta2: 0.9,
        epsilon,
        decay: 0.0,
    };
    let rprop = |first, down, up| Optimizer::Rprop {
        first,
        least: 1e-6,
        most: 50.0,
        down,
        up,
    };
    let optimizers = [
        Optimizer::sgd(f32::NAN),
        Optimizer::sgd(0.0),
        Optimizer::sgd(f32::INFINITY),
        Optimizer::momentum(0.1, 1.0),
        Optimizer::adamw(0.1, -1.0),
        adam(1.0, 1e-8),
        adam(0.9, 0.0),
        rprop(60.0, 0.5, 1.2),
        rprop(0.1, 1.0, 1.2),
        rprop(0.1, 0.5, f32::NAN),
        Optimizer::Lbfgs { history: 0 },
    ];
    let mut wrong: Vec<TrainOptions> = optimizers
        .into_iter()
        .map(|optimizer| TrainOptions::new(Loss::Mse, optimizer))
        .collect();
    let decays = [
        Decay::Step {
            epochs: 0,
            factor: 0.5,
        },
        Decay::Step {
            epochs: 1,
            factor: 2.0,
        },
        Decay::Exponential { factor: f64::NAN },
        Decay::Cosine { floor: -0.1 },
    ];
    wrong.extend(decays.map(|decay| TrainOptions {
        schedule: Schedule { warmup: 0, decay },
        ..good.clone()
    }));
    let stops = [(0, 0.0), (1, f64::NAN)];
    wrong.extend(stops.map(|(patience, least)| TrainOptions {
        early_stopping: Some(EarlyStopping { patience, least }),
        ..good.clone()
    }));
    wrong.extend([0.0, f32::NAN].map(|norm| TrainOptions {
        clip_norm: Some(norm),
        ..good.clone()
    }));
    wrong.push(TrainOptions {
        target_loss: Some(f64::NAN),
        ..good.clone()
    });
    wrong.push(TrainOptions {
        batch: 5,
        ..TrainOptions::new(Loss::Mse, Optimizer::rprop())
    });
    for options in wrong {
        let found = Trainer::new(&network, &options).map(drop);
        assert!(matches!(found, Err(Error::Setting { .. })), "{options:?}");
    }
    Trainer::new(&network, &good).expect("right options");
}

#[test]
fn samples_that_are_wrong_are_refused() {
    let samples = |x: &[f32], width, t: &[f32]| Samples::values(x, width, t, 1).map(drop);
    assert_eq!(samples(&[], 2, &[]), Err(Error::NoSamples));
    assert!(matches!(
        samples(&[1.0; 3], 2, &[1.0]),
        Err(Error::Rows { .. })
    ));
    assert!(matches!(
        samples(&[1.0; 4], 2, &[1.0]),
        Err(Error::Length { .. })
    ));
    assert_eq!(
        samples(&[1.0; 4], 0, &[1.0]),
        Err(Error::ZeroWidth { layer: 0 })
    );
    let nan = Err(Error::NotFinite {
        what: "input of row",
        index: 1,
    });
    assert_eq!(samples(&[1.0, 2.0, 3.0, f32::NAN], 2, &[1.0; 2]), nan);
    let nan = Err(Error::NotFinite {
        what: "target of row",
        index: 0,
    });
    assert_eq!(samples(&[1.0; 4], 2, &[f32::INFINITY, 0.0]), nan);
    let found = Samples::labels(&[1.0; 4], 2, &[0, 3], 3).map(drop);
    assert_eq!(
        found,
        Err(Error::Label {
            row: 1,
            label: 3,
            classes: 3
        })
    );
    assert!(matches!(
        Samples::labels(&[1.0; 4], 2, &[0], 3),
        Err(Error::Length { .. })
    ));
}
