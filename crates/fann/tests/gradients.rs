//! Law: gradients are those of finite differences in f64, and torch's, for every layer and loss.

mod common;

use common::*;
use lattice_fann::{Activation, Error, Gradients, Loss, Network, Samples};
use safetensors::SafeTensors;

/// The last layer and the loss.
const ENDS: [(Activation, Loss); 5] = [
    (Activation::Linear, Loss::Mse),
    (Activation::Softmax, Loss::Mse),
    (Activation::Softmax, Loss::CrossEntropy),
    (Activation::Sigmoid, Loss::BinaryCrossEntropy),
    (Activation::Tanh, Loss::Mse),
];

fn mean_gradient(network: &Network, loss: Loss, x: &[f32], t: &[f32]) -> (f64, Vec<f32>) {
    let samples = Samples::values(x, network.inputs(), t, network.outputs());
    let samples = samples.expect("finite rows");
    let mut gradients = Gradients::new(network, loss);
    let all = 0..samples.rows();
    gradients.add(network, &samples, all).expect("they fit");
    let rows = gradients.rows() as f32;
    let mean = gradients.sums().iter().map(|g| g / rows).collect();
    (gradients.mean_loss(), mean)
}

#[test]
fn gradients_are_finite_differences() {
    for (seed, hidden) in ACTIVATIONS.into_iter().enumerate() {
        for (output, loss) in ENDS {
            let layers = [(7, hidden), (18, hidden), (3, output)];
            let network = network(5, &layers, seed as u64 + 1);
            let x = values(seed as u64 + 50, 6 * 5);
            let t: Vec<f32> = values(90, 6 * 3).iter().map(|t| 0.5 + 0.5 * t).collect();
            let (value, found) = mean_gradient(&network, loss, &x, &t);
            let mut at: Vec<f64> = network.parameters().iter().map(|w| f64::from(*w)).collect();
            let exact = exact::loss(&network, &at, loss, &x, &t);
            assert!(
                (value - exact).abs() < 1e-5 * exact.max(1.0),
                "{hidden} {loss}: {value} {exact}"
            );
            for i in 0..at.len() {
                const STEP: f64 = 1e-6;
                let middle = at[i];
                let [high, low] = [STEP, -STEP].map(|step| {
                    at[i] = middle + step;
                    exact::loss(&network, &at, loss, &x, &t)
                });
                at[i] = middle;
                let expected = (high - low) / (2.0 * STEP);
                let error = (f64::from(found[i]) - expected).abs();
                assert!(
                    error < 2e-6 + 2e-5 * expected.abs(),
                    "{hidden}, {output}, {loss}: parameter {i}: {} for {expected}",
                    found[i]
                );
            }
        }
    }
}

#[test]
fn gradients_are_those_of_torch() {
    let bytes = golden("gradients.safetensors");
    let file = SafeTensors::deserialize(&bytes).expect("a golden");
    let ends = [
        ("mse", Activation::Linear, Loss::Mse),
        ("softmax_mse", Activation::Softmax, Loss::Mse),
        ("cross_entropy", Activation::Softmax, Loss::CrossEntropy),
        (
            "binary_cross_entropy",
            Activation::Sigmoid,
            Loss::BinaryCrossEntropy,
        ),
    ];
    for hidden in ACTIVATIONS {
        for (name, output, loss) in ends {
            let get = |what: &str| tensor(&file, &format!("{}.{name}.{what}", hidden.name()));
            let mut network = network(5, &[(20, hidden), (3, output)], 1);
            network.set_parameters(&get("parameters")).expect("as many");
            let (value, found) = mean_gradient(&network, loss, &get("x"), &get("t"));
            let error = (value - f64::from(get("loss")[0])).abs();
            assert!(error < 1e-6, "{hidden} {name}: loss off by {error}");
            let error = apart(&found, &get("gradient"));
            assert!(error < 1e-6, "{hidden} {name}: gradient off by {error}");
        }
    }
}

#[test]
fn labels_are_targets_of_one_and_zero() {
    let network = network(4, &[(6, Activation::Gelu), (3, Activation::Softmax)], 5);
    let x = values(6, 4 * 4);
    let labels = [2, 0, 1, 1];
    let t = [0, 0, 1, 1, 0, 0, 0, 1, 0, 0, 1, 0].map(|t| t as f32);
    let samples = Samples::labels(&x, 4, &labels, 3).expect("four rows");
    let mut gradients = Gradients::new(&network, Loss::CrossEntropy);
    gradients.add(&network, &samples, 0..4).expect("they fit");
    let (loss, mean) = mean_gradient(&network, Loss::CrossEntropy, &x, &t);
    assert_eq!(gradients.mean_loss(), loss);
    let sums: Vec<f32> = gradients.sums().iter().map(|g| g / 4.0).collect();
    assert_eq!(bits(&sums), bits(&mean));
}

#[test]
fn the_pieces_of_a_batch_do_not_show() {
    let network = network(30, &[(40, Activation::Tanh), (5, Activation::Sigmoid)], 8);
    let (x, t) = (values(1, 100 * 30), values(2, 100 * 5));
    let samples = Samples::values(&x, 30, &t, 5).expect("a hundred rows");
    let sums = |cuts: &[usize]| {
        let mut gradients = Gradients::new(&network, Loss::Mse);
        for cut in cuts.windows(2) {
            gradients
                .add(&network, &samples, cut[0]..cut[1])
                .expect("they fit");
        }
        (bits(gradients.sums()), gradients.mean_loss().to_bits())
    };
    let whole = sums(&[0, 100]);
    let single: Vec<usize> = (0..=100).collect();
    for cuts in [
        &[0, 1, 100][..],
        &[0, 31, 33, 64, 97, 100],
        &[0, 50, 100],
        &single,
    ] {
        assert_eq!(sums(cuts), whole, "{cuts:?}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let network = network(2, &[(3, Activation::Tanh)], 1);
    let x = [0.0; 4];
    let t = [0.5; 6];
    let samples = Samples::values(&x, 2, &t, 3).expect("two rows");
    let add = |loss, network: &Network, samples: &Samples<'_>, rows| {
        let mut gradients = Gradients::new(&common::network(2, &[(3, Activation::Tanh)], 2), loss);
        gradients.add(network, samples, rows)
    };
    let found = add(Loss::CrossEntropy, &network, &samples, 0..2);
    assert!(matches!(found, Err(Error::OutputNeeds { .. })));
    let found = add(Loss::Mse, &network, &samples, 0..3);
    assert!(matches!(found, Err(Error::TooMany { what: "rows", .. })));
    let narrow = Samples::values(&x, 1, &x, 1).expect("four rows");
    let found = add(Loss::Mse, &network, &narrow, 0..2);
    assert!(matches!(found, Err(Error::Length { what: "input", .. })));
    let other = common::network(2, &[(3, Activation::Relu)], 1);
    let found = add(Loss::Mse, &other, &samples, 0..2);
    assert!(matches!(found, Err(Error::OtherNetwork { .. })));
    let sigmoid = common::network(2, &[(3, Activation::Sigmoid)], 1);
    let beyond = Samples::values(&x, 2, &[0.0, 1.0, 1.5, 0.0, 0.0, 0.0], 3).expect("finite");
    let mut gradients = Gradients::new(&sigmoid, Loss::BinaryCrossEntropy);
    let found = gradients.add(&sigmoid, &beyond, 0..2);
    assert!(matches!(
        found,
        Err(Error::NoProbability {
            row: 0,
            value: 1.5,
            ..
        })
    ));
}
