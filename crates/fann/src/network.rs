//! The network: parameters, and the way forward.
//!
//! In: rows of f32. Out: rows of f32. It does not know: losses, training, files.
//! An output row depends on its input row alone: not on the rows beside it, the way a batch is cut,
//! the feature `simd` or the machine. Forward allocates nothing.

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use crate::aligned::Aligned;
use crate::error::{check_finite, check_len};
use crate::products::{Products, Shape};
use crate::{Activation, Error};

/// Rows that go through all layers together.
const ROWS: usize = 16;

/// A dense layer: where its parameters stand, and what follows its sums.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Layer {
    shape: Shape,
    activation: Activation,
    at: usize,
}

impl Layer {
    pub(crate) fn new(inputs: usize, outputs: usize, activation: Activation, at: usize) -> Layer {
        let shape = Shape { inputs, outputs };
        Layer {
            shape,
            activation,
            at,
        }
    }

    /// Elements of an input row.
    pub fn inputs(&self) -> usize {
        self.shape.inputs
    }

    /// Elements of an output row.
    pub fn outputs(&self) -> usize {
        self.shape.outputs
    }

    /// What follows the sums.
    pub fn activation(&self) -> Activation {
        self.activation
    }

    /// Where the weight, `[inputs, outputs]`, stands in [`Network::parameters`].
    pub fn weight_range(&self) -> Range<usize> {
        self.at..self.at + self.shape.inputs * self.shape.outputs
    }

    /// Where the bias, `[outputs]`, stands in [`Network::parameters`].
    pub fn bias_range(&self) -> Range<usize> {
        let end = self.weight_range().end;
        end..end + self.shape.outputs
    }

    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }
}

/// A dense network in f32. [`crate::NetworkBuilder`] makes it.
///
/// Clones are cheap to reason about: a network is its layers and parameters, and a little memory for
/// [`Network::forward`].
#[derive(Clone)]
pub struct Network {
    body: Body,
    scratch: Scratch,
}

/// All of a network but its memory to run in.
#[derive(Clone)]
struct Body {
    layers: Vec<Layer>,
    parameters: Aligned,
    products: Products,
}

impl Network {
    /// Only [`crate::NetworkBuilder`] calls this, with checked layers and as many parameters.
    pub(crate) fn of(layers: Vec<Layer>, parameters: Aligned) -> Network {
        let scratch = Scratch::of(&layers);
        let body = Body {
            layers,
            parameters,
            products: Products::detect(),
        };
        Network { body, scratch }
    }

    /// Elements of an input row.
    pub fn inputs(&self) -> usize {
        self.body.inputs()
    }

    /// Elements of an output row.
    pub fn outputs(&self) -> usize {
        self.body.outputs()
    }

    /// The layers, first to last.
    pub fn layers(&self) -> &[Layer] {
        &self.body.layers
    }

    /// All parameters, layer after layer: weight `[inputs, outputs]`, then bias `[outputs]`.
    pub fn parameters(&self) -> &[f32] {
        &self.body.parameters
    }

    /// Replaces all parameters.
    ///
    /// # Errors
    /// [`Error::Length`], [`Error::NotFinite`]; the network is then as it was.
    pub fn set_parameters(&mut self, parameters: &[f32]) -> Result<(), Error> {
        check_len("parameters", self.body.parameters.len(), parameters.len())?;
        check_finite("parameter", parameters, 1)?;
        self.body.parameters.copy_from_slice(parameters);
        Ok(())
    }

    pub(crate) fn parameters_mut(&mut self) -> &mut [f32] {
        &mut self.body.parameters
    }

    pub(crate) fn products(&self) -> Products {
        self.body.products
    }

    /// The output of one row. `input`: `[inputs]`; the answer: `[outputs]`, until the next call. NaN
    /// in the input is NaN in the output. Allocates nothing.
    ///
    /// # Errors
    /// [`Error::Length`] for an input of another length.
    #[inline]
    pub fn forward(&mut self, input: &[f32]) -> Result<&[f32], Error> {
        check_len("input", self.inputs(), input.len())?;
        let Scratch { a, b, out } = &mut self.scratch;
        let out = &mut out[..self.body.outputs()];
        self.body.piece(1, [a, b], input, out);
        Ok(out)
    }

    /// The outputs of whole rows, each as [`Network::forward`] gives it to the bit. `inputs`:
    /// `[rows, inputs]`; `outputs`: `[rows, outputs]`. Allocates nothing.
    ///
    /// # Errors
    /// [`Error::Rows`], [`Error::Length`].
    ///
    /// ```
    /// use lattice_fann::{Activation, NetworkBuilder};
    ///
    /// let mut network = NetworkBuilder::new(2).layer(1, Activation::Tanh).build()?;
    /// let mut outputs = [0.0; 3];
    /// network.forward_batch(&[0.0, 0.1, 0.2, 0.3, 0.4, 0.5], &mut outputs)?;
    /// assert_eq!(network.forward(&[0.4, 0.5])?, &outputs[2..]);
    /// # Ok::<(), lattice_fann::Error>(())
    /// ```
    pub fn forward_batch(&mut self, inputs: &[f32], outputs: &mut [f32]) -> Result<(), Error> {
        self.body.forward(&mut self.scratch, inputs, outputs)
    }

    /// As [`Network::forward_batch`] with the memory of the caller: threads can share a network, each
    /// with a [`Scratch`] of its own.
    ///
    /// # Errors
    /// [`Error::Rows`], [`Error::Length`]; [`Error::OtherNetwork`] for the scratch of a narrower one.
    pub fn forward_with(
        &self,
        scratch: &mut Scratch,
        inputs: &[f32],
        outputs: &mut [f32],
    ) -> Result<(), Error> {
        self.body.forward(scratch, inputs, outputs)
    }
}

impl Body {
    fn inputs(&self) -> usize {
        self.layers[0].inputs()
    }

    fn outputs(&self) -> usize {
        self.layers[self.layers.len() - 1].outputs()
    }

    /// Rows, a piece at a time.
    fn forward(
        &self,
        scratch: &mut Scratch,
        inputs: &[f32],
        outputs: &mut [f32],
    ) -> Result<(), Error> {
        let rows = rows_of("inputs", inputs, self.inputs())?;
        check_len(
            "outputs",
            rows.saturating_mul(self.outputs()),
            outputs.len(),
        )?;
        let wanted = widest(&self.layers) * ROWS;
        if scratch.a.len() < wanted {
            return Err(Error::OtherNetwork {
                what: "scratch",
                expected: scratch.a.len(),
                found: wanted,
            });
        }
        let pieces = inputs.chunks(ROWS * self.inputs());
        for (x, out) in pieces.zip(outputs.chunks_mut(ROWS * self.outputs())) {
            let rows = x.len() / self.inputs();
            self.piece(rows, [&mut scratch.a, &mut scratch.b], x, out);
        }
        Ok(())
    }

    /// Up to [`ROWS`] rows through all layers.
    #[inline]
    fn piece(
        &self,
        rows: usize,
        [mut from, mut to]: [&mut [f32]; 2],
        input: &[f32],
        output: &mut [f32],
    ) {
        let (last, hidden) = self.layers.split_last().expect("a network has a layer");
        let mut parameters: &[f32] = &self.parameters;
        let mut x = input;
        for layer in hidden {
            let count = rows * layer.outputs();
            parameters = self.run(layer, parameters, x, &mut to[..count]);
            core::mem::swap(&mut from, &mut to);
            x = &from[..count];
        }
        self.run(last, parameters, x, output);
    }

    /// Rows through one layer, whose parameters come first; those of the next.
    #[inline(always)]
    fn run<'a>(
        &self,
        layer: &Layer,
        parameters: &'a [f32],
        x: &[f32],
        out: &mut [f32],
    ) -> &'a [f32] {
        let Shape { inputs, outputs } = layer.shape;
        let (weight, rest) = parameters.split_at(inputs * outputs);
        let (bias, rest) = rest.split_at(outputs);
        self.products.affine(layer.shape, weight, bias, x, out);
        layer.activation.apply(out, outputs);
        rest
    }
}

/// How many rows of `width` these are.
pub(crate) fn rows_of(what: &'static str, values: &[f32], width: usize) -> Result<usize, Error> {
    if values.len().is_multiple_of(width) {
        return Ok(values.len() / width);
    }
    Err(Error::Rows {
        what,
        width,
        found: values.len(),
    })
}

fn widest(layers: &[Layer]) -> usize {
    layers.iter().map(Layer::outputs).max().unwrap_or(0)
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Network({}", self.inputs())?;
        for layer in self.layers() {
            write!(f, " -> {} {}", layer.outputs(), layer.activation)?;
        }
        f.write_str(")")
    }
}

impl PartialEq for Network {
    /// The same layers and the same parameters.
    fn eq(&self, other: &Network) -> bool {
        self.layers() == other.layers() && self.parameters() == other.parameters()
    }
}

/// What stands between the layers of a few rows, and behind the last of one.
#[derive(Clone, Default)]
pub struct Scratch {
    a: Aligned,
    b: Aligned,
    out: Aligned,
}

impl Scratch {
    /// Enough for this network and every narrower one.
    pub fn new(network: &Network) -> Scratch {
        Scratch::of(network.layers())
    }

    fn of(layers: &[Layer]) -> Scratch {
        let floats = widest(layers);
        Scratch {
            a: Aligned::zeros(floats * ROWS),
            b: Aligned::zeros(floats * ROWS),
            out: Aligned::zeros(floats),
        }
    }
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scratch({} rows of {} floats)", ROWS, self.out.len())
    }
}
