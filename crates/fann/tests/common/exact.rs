//! Networks and losses in f64 by their definitions, for finite differences.

use lattice_fann::{Activation, Loss, Network};

/// The mean loss of rows at `parameters`.
pub(crate) fn loss(
    network: &Network,
    parameters: &[f64],
    loss: Loss,
    x: &[f32],
    targets: &[f32],
) -> f64 {
    let rows = x.len() / network.inputs();
    let each = x.chunks(network.inputs());
    let sum: f64 = each
        .zip(targets.chunks(network.outputs()))
        .map(|(x, t)| one(loss, &forward(network, parameters, x), t))
        .sum();
    sum / rows as f64
}

/// The output of one row.
pub(crate) fn forward(network: &Network, parameters: &[f64], x: &[f32]) -> Vec<f64> {
    let mut row: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
    for layer in network.layers() {
        let (weight, bias) = (&parameters[layer.weight_range()], layer.bias_range());
        let mut sums = parameters[bias].to_vec();
        for (x, weight) in row.iter().zip(weight.chunks(layer.outputs())) {
            for (sum, w) in sums.iter_mut().zip(weight) {
                *sum += x * w;
            }
        }
        row = activate(layer.activation(), sums);
    }
    row
}

fn activate(activation: Activation, z: Vec<f64>) -> Vec<f64> {
    let each = |f: &dyn Fn(f64) -> f64| z.iter().map(|z| f(*z)).collect();
    match activation {
        Activation::Sigmoid => each(&|z| 1.0 / (1.0 + (-z).exp())),
        Activation::Tanh => each(&f64::tanh),
        Activation::Relu => each(&|z| z.max(0.0)),
        Activation::LeakyRelu(slope) => each(&|z| z.max(f64::from(slope) * z)),
        Activation::Gelu => each(&|z| 0.5 * z * (1.0 + libm::erf(z / 2f64.sqrt()))),
        Activation::Softmax => {
            let sum: f64 = z.iter().map(|z| z.exp()).sum();
            each(&|z| z.exp() / sum)
        }
        _ => z,
    }
}

fn one(loss: Loss, y: &[f64], target: &[f32]) -> f64 {
    let each = y.iter().zip(target).map(|(y, t)| (*y, f64::from(*t)));
    match loss {
        Loss::Mse => each.map(|(y, t)| (y - t).powi(2)).sum::<f64>() / y.len() as f64,
        Loss::CrossEntropy => each.map(|(y, t)| -t * y.ln()).sum(),
        Loss::BinaryCrossEntropy => {
            let sum: f64 = each
                .map(|(y, t)| -t * y.ln() - (1.0 - t) * (1.0 - y).ln())
                .sum();
            sum / y.len() as f64
        }
    }
}
