//! The text format of FANN (libfann 2.x, floating point: `fann_save`).
//!
//! In: text. Out: a network. It does not know: file systems.
//! FANN has a steepness s for each neuron: its sigmoid is 1 / (1 + e^(-2 s z)), its symmetric sigmoid
//! tanh(s z), its linear s z. Weights take it in when they are read, and s is 0.5 or 1 when they are
//! written, so nothing is lost. What a file says about how to train is left out.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt::Write as _;

use super::FileError;
use crate::{Activation, Init, Network, NetworkBuilder};

const FORMAT: &str = "FANN's text format";
const FIRST_LINE: &str = "FANN_FLO_2.1";
/// FANN's leaky rectifier has this slope.
const FANN_SLOPE: f32 = 0.01;
/// A dense layer may be so many times larger than the connections a file has, and so much.
const SPARSE_TIMES: usize = 16;
const SPARSE_MORE: usize = 1 << 16;

/// What to do with FANN's stepwise sigmoids, straight lines between six points of the smooth ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stepwise {
    /// Say that they are not supported.
    Refuse,
    /// Take the smooth ones: outputs differ by up to 0.03 (0.06 of the symmetric one) for each neuron.
    Smooth,
}

/// The network of a text by libfann's `fann_save`. Networks with connections left out become dense
/// with weights of 0.
///
/// # Errors
/// [`FileError::Format`], [`FileError::Text`], [`FileError::Network`]; [`FileError::Unsupported`] for
/// shortcut connections, scaled data, activations other than linear, sigmoid, symmetric sigmoid and
/// the rectifiers of FANN's development version (18, and 19 with a slope of 0.01), and different
/// activations in one layer.
pub fn network_from_fann_text(text: &str, stepwise: Stepwise) -> Result<Network, FileError> {
    let lines = Lines::new(text)?;
    lines.check_kind()?;
    let sizes = lines.layer_sizes()?;
    let neurons = lines.neurons(&sizes)?;
    let connections: Vec<[f64; 2]> = lines.tuples("connections", CONNECTIONS)?;
    let dense = Dense {
        sizes: &sizes,
        neurons: &neurons,
        connections: &connections,
    };
    dense.network(stepwise)
}

const NEURONS: &str = "neurons (num_inputs, activation_function, activation_steepness)";
const CONNECTIONS: &str = "connections (connected_to_neuron, weight)";

fn wrong(field: &'static str, problem: impl Into<String>) -> FileError {
    let problem = problem.into();
    FileError::Text { field, problem }
}

fn unsupported(what: impl Into<String>) -> FileError {
    let what = what.into();
    let format = "this library";
    FileError::Unsupported { what, format }
}

/// The lines after the first: `key=value`.
struct Lines<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Result<Lines<'a>, FileError> {
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default().trim_end();
        if first.starts_with("FANN_FIX") {
            return Err(unsupported("a network in fixed point"));
        }
        if first != FIRST_LINE {
            return Err(FileError::Format {
                expected: "text of FANN_FLO_2.1",
            });
        }
        Ok(Lines(lines.filter_map(|l| l.split_once('=')).collect()))
    }

    fn find(&self, key: &str) -> Option<&'a str> {
        let mut found = self.0.iter().filter(|(k, _)| *k == key);
        found.next().map(|(_, value)| value.trim())
    }

    fn get(&self, field: &'static str, key: &str) -> Result<&'a str, FileError> {
        self.find(key).ok_or_else(|| wrong(field, "is missing"))
    }

    /// Layered networks in floating point whose data is not scaled.
    fn check_kind(&self) -> Result<(), FileError> {
        match self.find("network_type") {
            None | Some("0") => {}
            Some("1") => return Err(unsupported("a network with shortcut connections")),
            Some(_) => return Err(wrong("network_type", "is neither 0 nor 1")),
        }
        match self.find("scale_included") {
            None | Some("0") => Ok(()),
            Some(_) => Err(unsupported("scaling of inputs and outputs")),
        }
    }

    /// Neurons of each layer, the bias neuron at its end included.
    fn layer_sizes(&self) -> Result<Vec<usize>, FileError> {
        const FIELD: &str = "layer_sizes";
        let words = self.get(FIELD, FIELD)?.split_ascii_whitespace();
        let parsed = words.map(|word| {
            let size = word.parse::<usize>().ok().filter(|&size| size >= 2);
            size.ok_or_else(|| wrong(FIELD, format!("{word:?} is no size of at least 2")))
        });
        let sizes: Vec<usize> = parsed.collect::<Result<_, _>>()?;
        let layers = self.get("num_layers", "num_layers")?;
        if layers.parse() != Ok(sizes.len()) || sizes.len() < 2 {
            let problem = format!("{layers:?} with {} layer sizes", sizes.len());
            return Err(wrong("num_layers", problem));
        }
        Ok(sizes)
    }

    fn neurons(&self, sizes: &[usize]) -> Result<Vec<[f64; 3]>, FileError> {
        let neurons: Vec<[f64; 3]> = self.tuples("neurons", NEURONS)?;
        let expected = sizes.iter().fold(0usize, |sum, s| sum.saturating_add(*s));
        if neurons.len() != expected {
            let problem = format!("{} of them, layer_sizes says {expected}", neurons.len());
            return Err(wrong("neurons", problem));
        }
        Ok(neurons)
    }

    /// `(a, b) (c, d) ...`: finite numbers.
    fn tuples<const N: usize>(
        &self,
        field: &'static str,
        key: &str,
    ) -> Result<Vec<[f64; N]>, FileError> {
        let mut tuples = Vec::new();
        for part in self.get(field, key)?.split_inclusive(')') {
            let at = tuples.len();
            let inner = part.trim().strip_prefix('(');
            let inner = inner.and_then(|inner| inner.strip_suffix(')'));
            let tuple = inner.and_then(numbers);
            tuples.push(tuple.ok_or_else(|| {
                let shown: String = part.trim().chars().take(40).collect();
                wrong(field, format!("number {at}: {shown:?} is not {N} numbers"))
            })?);
        }
        Ok(tuples)
    }
}

fn numbers<const N: usize>(text: &str) -> Option<[f64; N]> {
    let mut numbers = [0.0f64; N];
    let mut words = text.split(',');
    for number in &mut numbers {
        *number = words.next()?.trim().parse().ok()?;
        if !number.is_finite() {
            return None;
        }
    }
    words.next().is_none().then_some(numbers)
}

/// A non-negative integer that a file writes as a number.
fn index(value: f64) -> Option<usize> {
    let index = value as usize;
    (index as f64 == value).then_some(index)
}

/// What the file has, on its way to dense layers.
struct Dense<'a> {
    sizes: &'a [usize],
    neurons: &'a [[f64; 3]],
    connections: &'a [[f64; 2]],
}

impl Dense<'_> {
    fn network(&self, stepwise: Stepwise) -> Result<Network, FileError> {
        let mut builder = NetworkBuilder::new(self.sizes[0] - 1).init(Init::Zeros);
        let mut start = self.sizes[0];
        for &size in &self.sizes[1..] {
            let neurons = &self.neurons[start..start + size - 1];
            builder = builder.layer(size - 1, layer_activation(neurons, stepwise)?);
            start += size;
        }
        let count = builder.parameter_count()?;
        let most = self.connections.len().saturating_mul(SPARSE_TIMES);
        if count > most.saturating_add(SPARSE_MORE) {
            let connections = self.connections.len();
            return Err(wrong(
                "connections",
                format!("{connections} of them for {count} places"),
            ));
        }
        let mut parameters = alloc::vec![0.0; count];
        self.fill(&mut parameters)?;
        Ok(builder.build_with(&parameters)?)
    }

    /// Puts each connection where it belongs: weights take the steepness in.
    fn fill(&self, parameters: &mut [f32]) -> Result<(), FileError> {
        let mut connections = self.connections.iter();
        let (mut before, mut at) = (0, 0);
        for pair in self.sizes.windows(2) {
            let (inputs, outputs) = (pair[0] - 1, pair[1] - 1);
            let first = before + pair[0];
            for o in 0..outputs {
                let [count, activation, steepness] = self.neurons[first + o];
                let factor = factor(activation, steepness);
                let count = index(count).filter(|&count| count <= pair[0]);
                let count = count.ok_or_else(|| {
                    wrong("neurons", format!("number {}: too many inputs", first + o))
                })?;
                for _ in 0..count {
                    let &[from, weight] = connections
                        .next()
                        .ok_or_else(|| wrong("connections", "are fewer than the neurons have"))?;
                    let i = index(from).and_then(|from| from.checked_sub(before));
                    let i = i.filter(|&i| i <= inputs).ok_or_else(|| {
                        wrong("connections", format!("from neuron {from}, no neighbour"))
                    })?;
                    // The last neuron is the bias, and the bias stands behind the weight.
                    parameters[at + i * outputs + o] = (weight * factor) as f32;
                }
            }
            before = first;
            at += (inputs + 1) * outputs;
        }
        match connections.next() {
            None => Ok(()),
            Some(_) => Err(wrong("connections", "are more than the neurons have")),
        }
    }
}

/// What the sum is multiplied with by FANN before the function that we have.
fn factor(activation: f64, steepness: f64) -> f64 {
    match index(activation) {
        Some(3 | 4) => 2.0 * steepness,
        _ => steepness,
    }
}

/// The one activation of a layer's neurons.
fn layer_activation(neurons: &[[f64; 3]], stepwise: Stepwise) -> Result<Activation, FileError> {
    let [_, first, _] = neurons[0];
    if neurons.iter().any(|[_, other, _]| *other != first) {
        return Err(unsupported("a layer with different activations"));
    }
    let smooth = stepwise == Stepwise::Smooth;
    let activation = match index(first) {
        Some(0) => Activation::Linear,
        Some(3) => Activation::Sigmoid,
        Some(5) => Activation::Tanh,
        Some(4) if smooth => Activation::Sigmoid,
        Some(6) if smooth => Activation::Tanh,
        Some(4 | 6) => return Err(unsupported("a stepwise sigmoid")),
        Some(18) => Activation::Relu,
        Some(19) => Activation::LeakyRelu(FANN_SLOPE),
        _ => return Err(unsupported(format!("activation function {first}"))),
    };
    let rectifies = matches!(activation, Activation::Relu | Activation::LeakyRelu(_));
    if rectifies && neurons.iter().any(|[_, _, s]| *s <= 0.0) {
        return Err(wrong("neurons", "a rectifier's steepness is not above 0"));
    }
    Ok(activation)
}

/// FANN's number and steepness of an activation.
fn fann_from_activation(activation: Activation) -> Result<(u32, f32), FileError> {
    Ok(match activation {
        Activation::Linear => (0, 1.0),
        Activation::Sigmoid => (3, 0.5),
        Activation::Tanh => (5, 1.0),
        Activation::Relu => (18, 1.0),
        Activation::LeakyRelu(slope) if slope == FANN_SLOPE => (19, 1.0),
        other => {
            return Err(FileError::Unsupported {
                what: other.to_string(),
                format: FORMAT,
            });
        }
    })
}

/// The network as text that libfann's `fann_create_from_file` reads. What it says about training is
/// libfann's default.
///
/// # Errors
/// [`FileError::Unsupported`] for gelu, softmax, and a leaky relu whose slope is not 0.01. Relu and
/// leaky relu are written as FANN's development version has them; libfann 2.2.0 does not know them.
///
/// ```
/// use lattice_fann::file::{Stepwise, fann_text_from_network, network_from_fann_text};
/// use lattice_fann::{Activation, NetworkBuilder};
///
/// let network = NetworkBuilder::new(2).layer(1, Activation::Sigmoid).build()?;
/// let text = fann_text_from_network(&network)?;
/// assert!(text.starts_with("FANN_FLO_2.1\n"));
/// assert_eq!(network_from_fann_text(&text, Stepwise::Refuse)?, network);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn fann_text_from_network(network: &Network) -> Result<String, FileError> {
    let mut neurons = "(0, 0, 0) ".repeat(network.inputs() + 1);
    let mut connections = String::new();
    let mut sizes = format!("{} ", network.inputs() + 1);
    let mut before = 0;
    for layer in network.layers() {
        let (inputs, outputs) = (layer.inputs(), layer.outputs());
        let (code, steepness) = fann_from_activation(layer.activation())?;
        push(&mut sizes, format_args!("{} ", outputs + 1));
        let weight = &network.parameters()[layer.weight_range().start..layer.bias_range().end];
        for o in 0..outputs {
            push(
                &mut neurons,
                format_args!("({}, {code}, {steepness:e}) ", inputs + 1),
            );
            for i in 0..=inputs {
                let (from, w) = (before + i, weight[i * outputs + o]);
                push(&mut connections, format_args!("({from}, {w:e}) "));
            }
        }
        neurons.push_str("(0, 0, 0) ");
        before += inputs + 1;
    }
    let layers = network.layers().len() + 1;
    let mut text = format!("{FIRST_LINE}\nnum_layers={layers}\n{DEFAULTS}");
    push(
        &mut text,
        format_args!("layer_sizes={sizes}\nscale_included=0\n"),
    );
    push(
        &mut text,
        format_args!("{NEURONS}={neurons}\n{CONNECTIONS}={connections}\n"),
    );
    Ok(text)
}

fn push(text: &mut String, more: core::fmt::Arguments<'_>) {
    text.write_fmt(more).expect("a string takes all");
}

/// libfann's reader wants these lines, in this order.
const DEFAULTS: &str = "\
learning_rate=0.7
connection_rate=1
network_type=0
learning_momentum=0
training_algorithm=2
train_error_function=1
train_stop_function=0
cascade_output_change_fraction=0.01
quickprop_decay=-0.0001
quickprop_mu=1.75
rprop_increase_factor=1.2
rprop_decrease_factor=0.5
rprop_delta_min=0
rprop_delta_max=50
rprop_delta_zero=0.1
cascade_output_stagnation_epochs=12
cascade_candidate_change_fraction=0.01
cascade_candidate_stagnation_epochs=12
cascade_max_out_epochs=150
cascade_min_out_epochs=50
cascade_max_cand_epochs=150
cascade_min_cand_epochs=50
cascade_num_candidate_groups=2
bit_fail_limit=0.35
cascade_candidate_limit=1000
cascade_weight_multiplier=0.4
cascade_activation_functions_count=10
cascade_activation_functions=3 5 7 8 10 11 14 15 16 17 
cascade_activation_steepnesses_count=4
cascade_activation_steepnesses=0.25 0.5 0.75 1 
";
