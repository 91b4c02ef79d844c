//! What the tests share: numbers, goldens, a definition of networks in f64, tasks to learn.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod exact;
pub(crate) mod tasks;

use lattice_fann::{Activation, Init, Network, NetworkBuilder};
use safetensors::SafeTensors;

pub(crate) const ACTIVATIONS: [Activation; 7] = [
    Activation::Linear,
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Relu,
    Activation::LeakyRelu(0.01),
    Activation::Gelu,
    Activation::Softmax,
];

/// Numbers in -1..1 by a seed.
pub(crate) fn values(seed: u64, n: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(n).collect()
}

/// A network with random biases too.
pub(crate) fn network(inputs: usize, layers: &[(usize, Activation)], seed: u64) -> Network {
    let mut builder = NetworkBuilder::new(inputs).init(Init::Zeros);
    for &(outputs, activation) in layers {
        builder = builder.layer(outputs, activation);
    }
    let count = builder.parameter_count().expect("a small network");
    let built = builder.build_with(&values(seed, count));
    built.expect("as many as asked for")
}

/// The bits of each value.
pub(crate) fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// A golden file's bytes.
pub(crate) fn golden(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/goldens/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A tensor of a golden file.
pub(crate) fn tensor(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let tensor = file.tensor(name).expect("the golden has it");
    let words = tensor.data().as_chunks::<4>().0.iter();
    words.map(|word| f32::from_le_bytes(*word)).collect()
}

/// The largest difference.
pub(crate) fn apart(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |most, d| if d <= most { most } else { d })
}
