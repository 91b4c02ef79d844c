//! Files of others: what libfann and torch wrote, and what libfann says of ours.
#![cfg(feature = "safetensors")]

mod common;

use common::*;
use lattice_fann::file::{
    FileError, Stepwise, bytes_from_int8, bytes_from_network, fann_text_from_network,
    int8_from_bytes, network_from_bytes, network_from_fann_text, network_from_safetensors,
    safetensors_from_network,
};
use lattice_fann::{Activation, Int8Network, Network, NetworkBuilder};
use safetensors::SafeTensors;

fn text(name: &str) -> String {
    String::from_utf8(golden(name)).expect("a text")
}

/// How far the network is from what libfann said.
fn apart_from_libfann(network: &mut Network, name: &str) -> f32 {
    let numbers = |part: &str| -> Vec<f32> {
        let words = part.split_ascii_whitespace();
        words.map(|word| word.parse().expect("a number")).collect()
    };
    let lines = text(name);
    let each = lines.lines().map(|line| {
        let (x, y) = line.split_once('|').expect("inputs | outputs");
        apart(
            network.forward(&numbers(x)).expect("a right row"),
            &numbers(y),
        )
    });
    each.fold(0.0, f32::max)
}

#[test]
fn networks_of_libfann_say_what_they_say_there() {
    for name in ["symmetric", "linear", "steep", "sparse"] {
        let network = network_from_fann_text(&text(&format!("{name}.net")), Stepwise::Refuse);
        let mut network = network.expect("libfann wrote it");
        let error = apart_from_libfann(&mut network, &format!("{name}.txt"));
        assert!(error < 2e-6, "{name} is {error} apart");
    }
}

#[test]
fn stepwise_sigmoids_are_refused_or_smooth() {
    let text = text("stepwise.net");
    let found = network_from_fann_text(&text, Stepwise::Refuse);
    assert!(matches!(found, Err(FileError::Unsupported { .. })));
    let mut network = network_from_fann_text(&text, Stepwise::Smooth).expect("libfann wrote it");
    let error = apart_from_libfann(&mut network, "stepwise.txt");
    assert!(error < 0.03, "{error} apart");
}

#[test]
fn libfann_says_of_ours_what_we_say() {
    let mut network = NetworkBuilder::new(3)
        .layer(6, Activation::Tanh)
        .layer(4, Activation::Sigmoid)
        .layer(2, Activation::Linear)
        .seed(11)
        .build()
        .expect("a right shape");
    let written = fann_text_from_network(&network).expect("FANN has them all");
    assert_eq!(written, text("ours.net"), "what libfann read");
    let error = apart_from_libfann(&mut network, "ours.txt");
    assert!(error < 2e-6, "{error} apart");
    let again = network_from_fann_text(&written, Stepwise::Refuse);
    assert_eq!(again, Ok(network));
}

#[test]
fn what_fann_cannot_say_is_refused() {
    for activation in [
        Activation::Gelu,
        Activation::Softmax,
        Activation::LeakyRelu(0.2),
    ] {
        let found = fann_text_from_network(&network(2, &[(2, activation)], 1));
        assert!(matches!(found, Err(FileError::Unsupported { .. })));
    }
    for activation in [Activation::Relu, Activation::LeakyRelu(0.01)] {
        let network = network(2, &[(2, activation)], 1);
        let text = fann_text_from_network(&network).expect("FANN has it");
        assert_eq!(network_from_fann_text(&text, Stepwise::Refuse), Ok(network));
    }
}

#[test]
fn lies_in_a_fann_text_are_called_by_their_name() {
    let right = text("ours.net");
    let found = |from: &str, to: &str| {
        assert!(right.contains(from), "{from}");
        network_from_fann_text(&right.replacen(from, to, 1), Stepwise::Refuse)
    };
    let shortcut = network_from_fann_text(&text("shortcut.net"), Stepwise::Refuse);
    assert!(matches!(shortcut, Err(FileError::Unsupported { .. })));
    for (from, to) in [
        ("scale_included=0", "scale_included=1"),
        ("(4, 5, 1e0)", "(4, 9, 1e0)"),
    ] {
        assert!(
            matches!(found(from, to), Err(FileError::Unsupported { .. })),
            "{to}"
        );
    }
    for first in ["FANN_FLO_1.1", "FANN_FIX_2.1", ""] {
        assert!(found("FANN_FLO_2.1", first).is_err());
    }
    for (from, to, name) in [
        ("num_layers=4", "num_layers=5", "num_layers"),
        ("layer_sizes=4 7", "layer_sizes=4 -7", "layer_sizes"),
        (
            "layer_sizes=4 7",
            "layer_sizes=4 18446744073709551615",
            "neurons",
        ),
        ("layer_sizes=4 7", "layer_sizes=1 7", "layer_sizes"),
        ("(4, 5, 1e0)", "(5, 5, 1e0)", "neurons"),
        ("(4, 5, 1e0)", "(3, 5, 1e0)", "connections"),
        ("(4, 5, 1e0)", "(4, 5)", "neurons"),
        ("(4, 5, 1e0)", "(4, 5, nan)", "neurons"),
        ("weight)=(0, ", "weight)=(4, ", "connections"),
        ("weight)=(0, ", "weight)=(0.5, ", "connections"),
        ("weight)=(0, ", "weight)=(0, 1) (0, ", "connections"),
        ("weight)=(0, ", "weight)=(0, 1, ", "connections"),
        ("neurons (num", "neuron (num", "neurons"),
        ("network_type=0", "network_type=7", "network_type"),
    ] {
        let found = found(from, to);
        let said = matches!(&found, Err(FileError::Text { field, .. }) if *field == name);
        assert!(said, "{to}: {found:?}");
    }
}

#[test]
fn sequentials_of_torch_say_what_they_say_there() {
    let bytes = golden("sequential.safetensors");
    let activations = [Activation::Relu, Activation::Tanh, Activation::Linear];
    let network = network_from_safetensors(&bytes, Some(&activations));
    let mut network = network.expect("torch wrote it");
    let outputs = golden("sequential_outputs.safetensors");
    let outputs = SafeTensors::deserialize(&outputs).expect("a golden");
    let mut found = [0.0; 9];
    network
        .forward_batch(&tensor(&outputs, "x"), &mut found)
        .expect("right rows");
    let error = apart(&found, &tensor(&outputs, "y"));
    assert!(error < 1e-6, "{error} apart");
    let unsaid = network_from_safetensors(&bytes, None);
    assert!(matches!(unsaid, Err(FileError::Tensors(_))));
    let few = network_from_safetensors(&bytes, Some(&activations[..2]));
    assert!(matches!(few, Err(FileError::Tensors(_))));
}

#[test]
fn every_network_comes_back_as_it_was() {
    for (seed, activation) in ACTIVATIONS.into_iter().enumerate() {
        // Twelve layers: their names are not in the order of their numbers.
        let layers: Vec<_> = (2..14).map(|width| (width, activation)).collect();
        let network = network(3, &layers, seed as u64);
        let native = bytes_from_network(&network);
        assert_eq!(network_from_bytes(&native).as_ref(), Ok(&network));
        let tensors = safetensors_from_network(&network).expect("finite");
        assert_eq!(
            network_from_safetensors(&tensors, None).as_ref(),
            Ok(&network)
        );
        let int8 = Int8Network::from_network(&network).expect("finite");
        assert_eq!(int8_from_bytes(&bytes_from_int8(&int8)), Ok(int8));
    }
}

#[test]
fn tensors_that_do_not_fit_are_called_by_their_name() {
    let write = |tensors: &[(&str, safetensors::Dtype, &[usize])]| {
        let zeros = [0u8; 256];
        let views = tensors.iter().map(|(name, dtype, shape)| {
            let bytes = shape.iter().product::<usize>() * dtype.bitsize() / 8;
            let view =
                safetensors::tensor::TensorView::new(*dtype, shape.to_vec(), &zeros[..bytes]);
            (*name, view.expect("it fits"))
        });
        safetensors::serialize(views, None).expect("it fits")
    };
    use safetensors::Dtype::{F16, F32};
    type Tensors = &'static [(&'static str, safetensors::Dtype, &'static [usize])];
    let wrong: [(&str, Tensors); 6] = [
        ("0.weight", &[("0.weight", F16, &[2, 3])]),
        ("0.weight", &[("0.weight", F32, &[6])]),
        (
            "0.bias",
            &[("0.weight", F32, &[2, 3]), ("0.bias", F32, &[3])],
        ),
        ("0.bias", &[("0.bias", F32, &[3])]),
        (
            "1.weight",
            &[("0.weight", F32, &[2, 3]), ("1.weight", F32, &[2, 3])],
        ),
        ("running_mean", &[("running_mean", F32, &[3])]),
    ];
    for (name, tensors) in wrong {
        let layers = tensors
            .iter()
            .filter(|(name, ..)| name.ends_with("weight"))
            .count();
        let activations = vec![Activation::Relu; layers];
        let found = network_from_safetensors(&write(tensors), Some(&activations));
        let said = matches!(&found, Err(FileError::Tensor { tensor, .. }) if tensor == name);
        assert!(said, "{name}: {found:?}");
    }
    let empty = network_from_safetensors(
        &write(&[("0.weight", F32, &[0, 3])]),
        Some(&[Activation::Relu]),
    );
    assert!(matches!(empty, Err(FileError::Network(_))));
    let none = network_from_safetensors(&write(&[]), Some(&[]));
    assert!(matches!(none, Err(FileError::Network(_))));
}
