//! Networks whose shape the compiler knows: no allocation at all, loops of constant length.
//!
//! In: parameters by value or from a [`Network`]. Out: arrays. It does not know: training, files.
//! The outputs have the bits of [`Network::forward`].

use crate::products::{Shape, plain};
use crate::{Activation, Error, Network};

/// A dense layer of I inputs and O outputs.
#[derive(Debug, Clone, PartialEq)]
pub struct FixedLayer<const I: usize, const O: usize> {
    weight: [[f32; O]; I],
    bias: [f32; O],
    activation: Activation,
}

impl<const I: usize, const O: usize> FixedLayer<I, O> {
    /// `weight`: `[inputs, outputs]`; `bias`: `[outputs]`. Can stand in a `static`.
    pub const fn new(weight: [[f32; O]; I], bias: [f32; O], activation: Activation) -> Self {
        FixedLayer {
            weight,
            bias,
            activation,
        }
    }

    /// Layer `index` of a network.
    ///
    /// # Errors
    /// [`Error::FixedShape`] if it has another shape or is not there.
    pub fn from_network(network: &Network, index: usize) -> Result<Self, Error> {
        let layer = network.layers().get(index);
        let found = layer.map_or((0, 0), |layer| (layer.inputs(), layer.outputs()));
        let expected = (I, O);
        let Some(layer) = layer.filter(|_| found == expected) else {
            return Err(Error::FixedShape {
                layer: index,
                expected,
                found,
            });
        };
        let mut new = FixedLayer::new([[0.0; O]; I], [0.0; O], layer.activation());
        let weight = &network.parameters()[layer.weight_range()];
        new.weight.as_flattened_mut().copy_from_slice(weight);
        let bias = &network.parameters()[layer.bias_range()];
        new.bias.copy_from_slice(bias);
        Ok(new)
    }

    /// The output of one row.
    #[inline]
    pub fn forward(&self, input: &[f32; I]) -> [f32; O] {
        let mut out = [0.0; O];
        let shape = Shape {
            inputs: I,
            outputs: O,
        };
        if O > 0 && I > 0 {
            let weight = self.weight.as_flattened();
            plain::affine_row(shape, weight, &self.bias, input, &mut out);
            self.activation.apply(&mut out, O);
        }
        out
    }
}

/// A network of I inputs, one hidden layer of H and O outputs. Longer ones are made of
/// [`FixedLayer`]s.
///
/// ```
/// use lattice_fann::{Activation, Fixed, NetworkBuilder};
///
/// let mut network = NetworkBuilder::new(4)
///     .layer(8, Activation::Tanh)
///     .layer(3, Activation::Softmax)
///     .build()?;
/// let fixed = Fixed::<4, 8, 3>::from_network(&network)?;
/// let input = [0.1, -0.2, 0.3, 0.4];
/// assert_eq!(fixed.forward(&input), network.forward(&input)?);
/// # Ok::<(), lattice_fann::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Fixed<const I: usize, const H: usize, const O: usize> {
    hidden: FixedLayer<I, H>,
    output: FixedLayer<H, O>,
}

impl<const I: usize, const H: usize, const O: usize> Fixed<I, H, O> {
    /// Can stand in a `static`.
    pub const fn new(hidden: FixedLayer<I, H>, output: FixedLayer<H, O>) -> Self {
        Fixed { hidden, output }
    }

    /// The same network.
    ///
    /// # Errors
    /// [`Error::FixedShape`] if it has another shape; a third layer is one that should be `(0, 0)`.
    pub fn from_network(network: &Network) -> Result<Self, Error> {
        if let Some(more) = network.layers().get(2) {
            return Err(Error::FixedShape {
                layer: 2,
                expected: (0, 0),
                found: (more.inputs(), more.outputs()),
            });
        }
        let hidden = FixedLayer::from_network(network, 0)?;
        let output = FixedLayer::from_network(network, 1)?;
        Ok(Fixed { hidden, output })
    }

    /// The output of one row, by the bits of [`Network::forward`].
    #[inline]
    pub fn forward(&self, input: &[f32; I]) -> [f32; O] {
        self.output.forward(&self.hidden.forward(input))
    }
}
