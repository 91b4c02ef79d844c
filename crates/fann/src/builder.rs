//! From widths and activations to a network with first weights.
//!
//! In: widths, activations, an initialiser, a seed. Out: a checked [`Network`]. It does not know:
//! how a network runs.

use alloc::vec::Vec;

use crate::aligned::Aligned;
use crate::error::check_finite;
use crate::network::{Layer, Network};
use crate::random::Random;
use crate::{Activation, Error};

/// Layers of a network, at most.
pub(crate) const LAYERS_MOST: usize = 256;
/// Parameters of a network, at most: 256 MiB.
pub(crate) const PARAMETERS_MOST: usize = 1 << 26;

/// Where first weights come from. Biases begin at 0. The same seed gives the same weights on every
/// machine.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum Init {
    /// [`Init::He`] before relu, leaky relu and gelu, [`Init::Xavier`] before the others.
    #[default]
    Auto,
    /// Uniform within sqrt(6 / (inputs + outputs)) (Glorot, Bengio 2010).
    Xavier,
    /// Uniform within sqrt(6 / inputs) (He et al. 2015).
    He,
    /// Uniform within this limit.
    Uniform(f32),
    /// All weights are 0: for weights that come from elsewhere.
    Zeros,
}

impl Init {
    fn limit(self, layer: &Layer) -> f32 {
        let (inputs, outputs) = (layer.inputs() as f32, layer.outputs() as f32);
        let rectifies = matches!(
            layer.activation(),
            Activation::Relu | Activation::LeakyRelu(_) | Activation::Gelu
        );
        match self {
            Init::Auto if rectifies => Init::He.limit(layer),
            Init::Auto => Init::Xavier.limit(layer),
            Init::Xavier => libm::sqrtf(6.0 / (inputs + outputs)),
            Init::He => libm::sqrtf(6.0 / inputs),
            Init::Uniform(limit) => limit,
            Init::Zeros => 0.0,
        }
    }
}

/// Puts a network together, layer by layer.
///
/// ```
/// use lattice_fann::{Activation, NetworkBuilder};
///
/// let mut network = NetworkBuilder::new(4)
///     .layer(8, Activation::Relu)
///     .layer(3, Activation::Softmax)
///     .seed(7)
///     .build()?;
/// let probabilities = network.forward(&[5.1, 3.5, 1.4, 0.2])?;
/// assert_eq!(probabilities.len(), 3);
/// assert!((probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-6);
/// # Ok::<(), lattice_fann::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct NetworkBuilder {
    inputs: usize,
    layers: Vec<(usize, Activation)>,
    init: Init,
    seed: u64,
}

impl NetworkBuilder {
    /// A network whose input rows have `inputs` elements.
    pub fn new(inputs: usize) -> NetworkBuilder {
        NetworkBuilder {
            inputs,
            layers: Vec::new(),
            init: Init::Auto,
            seed: 0,
        }
    }

    /// Adds a dense layer of `outputs` elements.
    #[must_use]
    pub fn layer(mut self, outputs: usize, activation: Activation) -> NetworkBuilder {
        self.layers.push((outputs, activation));
        self
    }

    /// Where first weights come from; [`Init::Auto`] where nothing is said.
    #[must_use]
    pub fn init(mut self, init: Init) -> NetworkBuilder {
        self.init = init;
        self
    }

    /// The seed of the first weights; 0 where nothing is said.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> NetworkBuilder {
        self.seed = seed;
        self
    }

    /// The network with its first weights.
    ///
    /// # Errors
    /// [`Error::NoLayers`], [`Error::ZeroWidth`], [`Error::TooMany`] for more than 256 layers or
    /// 2^26 parameters, [`Error::NotFinite`] for the slope of a leaky relu, [`Error::Setting`] for a
    /// limit of the initialiser that is negative or not finite.
    pub fn build(&self) -> Result<Network, Error> {
        if let Init::Uniform(limit) = self.init {
            let fits = limit.is_finite() && limit >= 0.0;
            let expected = "a finite limit of at least 0";
            crate::error::check_setting("init", limit.into(), fits, expected)?;
        }
        let (layers, count) = lay_out(self.inputs, &self.layers)?;
        let mut parameters = Aligned::zeros(count);
        let mut random = Random::new(self.seed);
        for layer in &layers {
            let limit = self.init.limit(layer);
            let weight = &mut parameters[layer.weight_range()];
            weight.iter_mut().for_each(|w| *w = random.within(limit));
        }
        Ok(Network::of(layers, parameters))
    }

    /// The network with these parameters, layer after layer: weight `[inputs, outputs]`, then bias.
    ///
    /// # Errors
    /// As [`NetworkBuilder::build`]; [`Error::Length`] and [`Error::NotFinite`] for the parameters.
    pub fn build_with(&self, parameters: &[f32]) -> Result<Network, Error> {
        let (layers, count) = lay_out(self.inputs, &self.layers)?;
        crate::error::check_len("parameters", count, parameters.len())?;
        check_finite("parameter", parameters, 1)?;
        Ok(Network::of(layers, Aligned::new(parameters)))
    }

    /// The layers alone, checked.
    pub(crate) fn lay_out(&self) -> Result<Vec<Layer>, Error> {
        lay_out(self.inputs, &self.layers).map(|(layers, _)| layers)
    }

    /// How many parameters the network has, without making it.
    ///
    /// # Errors
    /// As [`NetworkBuilder::build`].
    pub fn parameter_count(&self) -> Result<usize, Error> {
        lay_out(self.inputs, &self.layers).map(|(_, count)| count)
    }
}

/// Where each layer's parameters stand, and how many there are.
fn lay_out(inputs: usize, layers: &[(usize, Activation)]) -> Result<(Vec<Layer>, usize), Error> {
    if layers.is_empty() {
        return Err(Error::NoLayers);
    }
    at_most("layers", layers.len(), LAYERS_MOST)?;
    let mut list = Vec::with_capacity(layers.len());
    let (mut width, mut count) = (inputs, 0usize);
    for (index, &(outputs, activation)) in layers.iter().enumerate() {
        if width == 0 || outputs == 0 {
            let layer = if width == 0 { index } else { index + 1 };
            return Err(Error::ZeroWidth { layer });
        }
        if let Activation::LeakyRelu(slope) = activation
            && !slope.is_finite()
        {
            let what = "slope of layer";
            return Err(Error::NotFinite { what, index });
        }
        list.push(Layer::new(width, outputs, activation, count));
        let more = width.saturating_add(1).saturating_mul(outputs);
        count = count.saturating_add(more);
        at_most("parameters", count, PARAMETERS_MOST)?;
        width = outputs;
    }
    Ok((list, count))
}

fn at_most(what: &'static str, found: usize, most: usize) -> Result<(), Error> {
    if found <= most {
        return Ok(());
    }
    Err(Error::TooMany { what, found, most })
}
