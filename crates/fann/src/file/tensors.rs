//! safetensors: `layers.N.weight`, `[outputs, inputs]` as PyTorch has it, and `layers.N.bias`.
//!
//! In: bytes. Out: a network. It does not know: file systems.
//! The activations stand in the metadata, under `activations`, with commas between: `relu`,
//! `leaky_relu:0.01`. A file without them, such as a PyTorch `Sequential`, is read with those given.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::FileError;
use crate::{Activation, Init, Network, NetworkBuilder};

const ACTIVATIONS: &str = "activations";

/// The network as a safetensors file.
///
/// # Errors
/// [`FileError::Tensors`] if the writer refuses.
///
/// ```
/// use lattice_fann::file::{network_from_safetensors, safetensors_from_network};
/// use lattice_fann::{Activation, NetworkBuilder};
///
/// let network = NetworkBuilder::new(2).layer(3, Activation::LeakyRelu(0.2)).build()?;
/// let bytes = safetensors_from_network(&network)?;
/// assert_eq!(network_from_safetensors(&bytes, None)?, network);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn safetensors_from_network(network: &Network) -> Result<Vec<u8>, FileError> {
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    for (n, layer) in network.layers().iter().enumerate() {
        let (inputs, outputs) = (layer.inputs(), layer.outputs());
        let weight = &network.parameters()[layer.weight_range()];
        let turned = (0..outputs).flat_map(|o| (0..inputs).map(move |i| weight[i * outputs + o]));
        let name = format!("layers.{n}.weight");
        tensors.push((name, [outputs, inputs].to_vec(), bytes(turned)));
        let bias = network.parameters()[layer.bias_range()].iter().copied();
        tensors.push((format!("layers.{n}.bias"), [outputs].to_vec(), bytes(bias)));
    }
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
        view.map(|view| (name.as_str(), view))
    });
    let views: Vec<_> = views.collect::<Result<_, _>>().map_err(header)?;
    let words = network.layers().iter().map(|l| word(l.activation()));
    let words = words.collect::<Vec<_>>().join(",");
    let metadata = [(ACTIVATIONS.to_string(), words)].into_iter().collect();
    safetensors::serialize(views, Some(metadata)).map_err(header)
}

/// The network of a safetensors file: of its F32 tensors `NAME.weight` and `NAME.bias` (which may be
/// missing: zeros), in the order of the number in NAME. `activations`: one for each layer, needed
/// where the file does not say; given, they count.
///
/// # Errors
/// [`FileError::Tensors`] for a header that is wrong or without activations, [`FileError::Tensor`],
/// [`FileError::Network`].
pub fn network_from_safetensors(
    bytes: &[u8],
    activations: Option<&[Activation]>,
) -> Result<Network, FileError> {
    let file = SafeTensors::deserialize(bytes).map_err(header)?;
    let layers = layers(&file)?;
    let read;
    let activations = match activations {
        Some(given) => given,
        None => {
            read = activations_of(bytes)?;
            &read
        }
    };
    if activations.len() != layers.len() {
        let (found, expected) = (activations.len(), layers.len());
        let problem = format!("{found} activations for {expected} layers");
        return Err(FileError::Tensors(problem));
    }
    let mut width = layers.first().map_or(0, |layer| layer.inputs);
    let mut builder = NetworkBuilder::new(width).init(Init::Zeros);
    for (layer, activation) in layers.iter().zip(activations) {
        if layer.inputs != width {
            let problem = format!("{} inputs after {width} outputs", layer.inputs);
            return Err(tensor(&layer.name, problem));
        }
        width = layer.outputs;
        builder = builder.layer(width, *activation);
    }
    let mut parameters = Vec::with_capacity(builder.parameter_count()?);
    for layer in &layers {
        let row = |i| (0..layer.outputs).map(move |o| layer.weight[o * layer.inputs + i]);
        parameters.extend((0..layer.inputs).flat_map(row));
        match &layer.bias {
            Some(bias) => parameters.extend_from_slice(bias),
            None => parameters.extend((0..layer.outputs).map(|_| 0.0)),
        }
    }
    Ok(builder.build_with(&parameters)?)
}

fn header(error: safetensors::SafeTensorError) -> FileError {
    FileError::Tensors(error.to_string())
}

fn tensor(name: &str, problem: impl Into<String>) -> FileError {
    FileError::Tensor {
        tensor: name.to_string(),
        problem: problem.into(),
    }
}

fn bytes(values: impl Iterator<Item = f32>) -> Vec<u8> {
    values.flat_map(f32::to_le_bytes).collect()
}

fn word(activation: Activation) -> String {
    match activation {
        Activation::LeakyRelu(slope) => format!("leaky_relu:{slope}"),
        other => other.name().to_string(),
    }
}

/// What the metadata says.
fn activations_of(bytes: &[u8]) -> Result<Vec<Activation>, FileError> {
    let (_, head) = SafeTensors::read_metadata(bytes).map_err(header)?;
    let words = head
        .metadata()
        .as_ref()
        .and_then(|map| map.get(ACTIVATIONS));
    let words = words.ok_or_else(|| {
        let problem = "the metadata has no activations, and none are given";
        FileError::Tensors(problem.to_string())
    })?;
    let parsed = words.split(',').map(|word| {
        let (name, slope) = word.split_once(':').unwrap_or((word, "0"));
        let slope = slope.parse().ok();
        let activation = slope.and_then(|slope| activation_from_name(name, slope));
        activation.ok_or_else(|| {
            let shown: String = word.chars().take(40).collect();
            FileError::Tensors(format!("metadata: {shown:?} is no activation"))
        })
    });
    parsed.collect()
}

/// The one of this name; `slope` is that of leaky relu.
fn activation_from_name(name: &str, slope: f32) -> Option<Activation> {
    Some(match name {
        "linear" => Activation::Linear,
        "sigmoid" => Activation::Sigmoid,
        "tanh" => Activation::Tanh,
        "relu" => Activation::Relu,
        "leaky_relu" => Activation::LeakyRelu(slope),
        "gelu" => Activation::Gelu,
        "softmax" => Activation::Softmax,
        _ => return None,
    })
}

/// The tensors of a layer.
struct LayerTensors {
    name: String,
    inputs: usize,
    outputs: usize,
    weight: Vec<f32>,
    bias: Option<Vec<f32>>,
}

fn layers(file: &SafeTensors<'_>) -> Result<Vec<LayerTensors>, FileError> {
    let mut weights = BTreeMap::new();
    let mut biases = BTreeMap::new();
    for (name, view) in file.iter() {
        let kind = name.rsplit_once('.');
        let (list, rank) = match kind {
            Some((_, "weight")) => (&mut weights, 2),
            Some((_, "bias")) => (&mut biases, 1),
            _ => return Err(tensor(name, "is neither a weight nor a bias")),
        };
        let prefix = kind.map_or("", |(prefix, _)| prefix);
        if view.dtype() != Dtype::F32 || view.shape().len() != rank {
            let (dtype, shape) = (view.dtype(), view.shape());
            let problem = format!("{dtype:?} {shape:?}, expected F32 of {rank} dimensions");
            return Err(tensor(name, problem));
        }
        list.insert((number(prefix), prefix.to_string()), view);
    }
    let mut layers = Vec::with_capacity(weights.len());
    for (key, view) in weights {
        let name = format!("{}.weight", key.1);
        let bias = biases.remove(&key);
        let (outputs, inputs) = (view.shape()[0], view.shape()[1]);
        if let Some(bias) = &bias
            && bias.shape() != [outputs]
        {
            let problem = format!("{:?} beside a weight of {outputs} outputs", bias.shape());
            return Err(tensor(&format!("{}.bias", key.1), problem));
        }
        layers.push(LayerTensors {
            name,
            inputs,
            outputs,
            weight: values(&view),
            bias: bias.as_ref().map(values),
        });
    }
    match biases.into_keys().next() {
        None => Ok(layers),
        Some((_, name)) => Err(tensor(&format!("{name}.bias"), "has no weight beside it")),
    }
}

/// The last number among the parts of a name.
fn number(prefix: &str) -> u64 {
    let mut parts = prefix.rsplit('.').filter_map(|part| part.parse().ok());
    parts.next().unwrap_or(0)
}

fn values(view: &TensorView<'_>) -> Vec<f32> {
    let (words, _) = view.data().as_chunks::<4>();
    words.iter().map(|word| f32::from_le_bytes(*word)).collect()
}
