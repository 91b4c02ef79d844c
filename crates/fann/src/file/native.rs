//! Our own format: a header, parameters, a checksum.
//!
//! In: bytes. Out: a network. It does not know: file systems.
//!
//! All numbers are little-endian. 8 bytes `LATFANN\0`; u32 version, 1; u32 kind, 0 for f32 and 1 for
//! int8; u32 inputs; u32 layers; for each layer u32 outputs, u32 activation (0 linear, 1 sigmoid, 2
//! tanh, 3 relu, 4 leaky relu, 5 gelu, 6 softmax) and f32 slope (0 but for leaky relu); for each layer
//! the parameters: in f32 weight `[inputs, outputs]` and bias, in int8 scales, bias (f32 both) and
//! weight (i8); u64 XXH3 of all before. A file is right to the bit or refused.

use alloc::vec::Vec;

use twox_hash::XxHash3_64;

use super::FileError;
use crate::builder::{LAYERS_MOST, NetworkBuilder};
use crate::int8::Int8Layer;
use crate::network::Layer;
use crate::{Activation, Error, Init, Int8Network, Network};

const MAGIC: &[u8; 8] = b"LATFANN\0";
const VERSION: u32 = 1;
const KIND_F32: u32 = 0;
const KIND_INT8: u32 = 1;
/// Bytes before the layers, of a layer, and of the checksum.
const HEAD: usize = 24;
const LAYER: usize = 12;
const SUM: usize = 8;

/// Activations by their code.
const CODES: [Activation; 7] = [
    Activation::Linear,
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Relu,
    Activation::LeakyRelu(0.0),
    Activation::Gelu,
    Activation::Softmax,
];

/// The network as a file.
///
/// ```
/// use lattice_fann::file::{bytes_from_network, network_from_bytes};
/// use lattice_fann::{Activation, NetworkBuilder};
///
/// let network = NetworkBuilder::new(3).layer(2, Activation::Gelu).build()?;
/// let mut bytes = bytes_from_network(&network);
/// assert_eq!(network_from_bytes(&bytes)?, network);
/// bytes[40] ^= 1;
/// assert!(network_from_bytes(&bytes).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn bytes_from_network(network: &Network) -> Vec<u8> {
    let mut bytes = head(KIND_F32, network.layers().iter());
    push_floats(&mut bytes, network.parameters());
    finish(bytes)
}

/// The network of a file by [`bytes_from_network`].
///
/// # Errors
/// [`FileError::Format`], [`FileError::Version`], [`FileError::Length`], [`FileError::Checksum`],
/// [`FileError::Field`]; [`FileError::Network`] for parameters that are not finite and for sizes
/// beyond the limits of [`NetworkBuilder::build`].
pub fn network_from_bytes(bytes: &[u8]) -> Result<Network, FileError> {
    let file = File::open(bytes, KIND_F32)?;
    let parameters: Vec<f32> = floats(file.body).collect();
    Ok(file.builder.build_with(&parameters)?)
}

/// The network in int8 as a file.
pub fn bytes_from_int8(network: &Int8Network) -> Vec<u8> {
    let mut bytes = head(KIND_INT8, network.layers().iter().map(|l| &l.layer));
    for layer in network.layers() {
        push_floats(&mut bytes, &layer.scales);
        push_floats(&mut bytes, &layer.bias);
        bytes.extend(layer.weight.iter().map(|w| w.cast_unsigned()));
    }
    finish(bytes)
}

/// The network of a file by [`bytes_from_int8`].
///
/// # Errors
/// As [`network_from_bytes`].
pub fn int8_from_bytes(bytes: &[u8]) -> Result<Int8Network, FileError> {
    let file = File::open(bytes, KIND_INT8)?;
    let mut body = file.body;
    let mut layers = Vec::with_capacity(file.layers.len());
    for layer in file.layers {
        let (scales, rest) = body.split_at(4 * layer.outputs());
        let (bias, rest) = rest.split_at(4 * layer.outputs());
        let (weight, rest) = rest.split_at(layer.inputs() * layer.outputs());
        body = rest;
        let (scales, bias): (Vec<f32>, Vec<f32>) =
            (floats(scales).collect(), floats(bias).collect());
        for (what, values) in [("scale", &scales), ("bias", &bias)] {
            crate::error::check_finite(what, values, 1)?;
        }
        layers.push(Int8Layer {
            layer,
            weight: weight.iter().map(|w| w.cast_signed()).collect(),
            scales,
            bias,
        });
    }
    Ok(Int8Network::of(layers)?)
}

fn head<'a>(kind: u32, layers: impl ExactSizeIterator<Item = &'a Layer> + Clone) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    let inputs = layers.clone().next().map_or(0, Layer::inputs);
    // Below 2^26 both, as the builder saw to.
    for number in [VERSION, kind, inputs as u32, layers.len() as u32] {
        bytes.extend(number.to_le_bytes());
    }
    for layer in layers {
        let (code, slope) = code_from_activation(layer.activation());
        bytes.extend((layer.outputs() as u32).to_le_bytes());
        bytes.extend(code.to_le_bytes());
        bytes.extend(slope.to_le_bytes());
    }
    bytes
}

fn code_from_activation(activation: Activation) -> (u32, f32) {
    let code = CODES
        .iter()
        .position(|known| known.name() == activation.name());
    let slope = match activation {
        Activation::LeakyRelu(slope) => slope,
        _ => 0.0,
    };
    (code.expect("the list is whole") as u32, slope)
}

fn push_floats(bytes: &mut Vec<u8>, values: &[f32]) {
    bytes.extend(values.iter().flat_map(|x| x.to_le_bytes()));
}

fn finish(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = XxHash3_64::oneshot(&bytes);
    bytes.extend(sum.to_le_bytes());
    bytes
}

fn floats(bytes: &[u8]) -> impl Iterator<Item = f32> {
    let (words, _) = bytes.as_chunks::<4>();
    words.iter().map(|word| f32::from_le_bytes(*word))
}

/// A file whose header, length and checksum are right.
struct File<'a> {
    builder: NetworkBuilder,
    layers: Vec<Layer>,
    body: &'a [u8],
}

impl<'a> File<'a> {
    fn open(bytes: &'a [u8], kind: u32) -> Result<File<'a>, FileError> {
        if bytes.get(..MAGIC.len()) != Some(MAGIC.as_slice()) {
            return Err(FileError::Format {
                expected: "lattice-fann file",
            });
        }
        let version = number(bytes, 8)?;
        if version != VERSION {
            return Err(FileError::Version {
                found: version,
                known: VERSION,
            });
        }
        let found = number(bytes, 12)?;
        if found != kind {
            return Err(FileError::Field {
                at: 12,
                field: "kind",
                problem: alloc::format!("{found}, expected {kind} (0 is f32, 1 is int8)"),
            });
        }
        let builder = read_layers(bytes)?;
        let layers = builder.lay_out()?;
        let end = HEAD + layers.len() * LAYER;
        let body = layers
            .iter()
            .map(|layer| body_bytes(kind, layer))
            .sum::<usize>();
        let expected = end + body + SUM;
        if bytes.len() != expected {
            return Err(FileError::Length {
                expected,
                found: bytes.len(),
            });
        }
        check_sum(bytes)?;
        let body = &bytes[end..end + body];
        Ok(File {
            builder,
            layers,
            body,
        })
    }
}

fn body_bytes(kind: u32, layer: &Layer) -> usize {
    // At most 2^26 parameters, as the builder saw to.
    let weights = layer.inputs() * layer.outputs();
    match kind {
        KIND_F32 => 4 * (weights + layer.outputs()),
        _ => weights + 8 * layer.outputs(),
    }
}

fn read_layers(bytes: &[u8]) -> Result<NetworkBuilder, FileError> {
    let mut builder = NetworkBuilder::new(number(bytes, 16)? as usize).init(Init::Zeros);
    let layers = number(bytes, 20)? as usize;
    if layers > LAYERS_MOST {
        return Err(FileError::Network(Error::TooMany {
            what: "layers",
            found: layers,
            most: LAYERS_MOST,
        }));
    }
    for index in 0..layers {
        let at = HEAD + index * LAYER;
        let outputs = number(bytes, at)? as usize;
        let code = number(bytes, at + 4)?;
        let slope = number(bytes, at + 8)?;
        let known = CODES.get(code as usize).copied();
        let field = |at, field, problem| FileError::Field { at, field, problem };
        let Some(mut activation) = known else {
            let problem = alloc::format!("{code} is none of 0 to 6");
            return Err(field(at + 4, "activation", problem));
        };
        if let Activation::LeakyRelu(found) = &mut activation {
            *found = f32::from_bits(slope);
        } else if slope != 0 {
            let problem = alloc::format!("{activation} has none");
            return Err(field(at + 8, "slope", problem));
        }
        builder = builder.layer(outputs, activation);
    }
    Ok(builder)
}

fn number(bytes: &[u8], at: usize) -> Result<u32, FileError> {
    let word = bytes.get(at..at + 4).and_then(|word| word.first_chunk());
    let word = word.ok_or(FileError::Length {
        expected: at + 4,
        found: bytes.len(),
    });
    word.map(|word| u32::from_le_bytes(*word))
}

/// Compares the last 8 bytes with the hash of those before.
fn check_sum(bytes: &[u8]) -> Result<(), FileError> {
    let (body, sum) = bytes
        .split_last_chunk::<SUM>()
        .expect("the length was checked");
    let (expected, found) = (u64::from_le_bytes(*sum), XxHash3_64::oneshot(body));
    if expected == found {
        return Ok(());
    }
    Err(FileError::Checksum { expected, found })
}
