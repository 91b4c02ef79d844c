//! Inference in int8: a quarter of the memory, and most of the accuracy.
//!
//! In: a [`Network`]. Out: one whose weights are bytes. It does not know: training.
//! A weight is a byte times its output's scale, max|w| / 127; an input row is bytes times its own
//! scale, max|x| / 127, found anew before each layer. The sum of their products is exact, so the bits
//! do not depend on the machine: y = bias + sum (scale of the row x scale of the output).

use alloc::vec::Vec;
use core::fmt;

use crate::error::check_len;
use crate::network::{Layer, rows_of};
use crate::products::Products;
use crate::{Error, Network};

/// Inputs of a layer, at most: sums of products of bytes stay below 2^31.
pub(crate) const INPUTS_MOST: usize = (1 << 17) - 1;
/// The largest byte: -128 is not used, so both signs are alike.
const BYTE_MOST: f32 = 127.0;

/// Parameters of a layer in int8.
#[derive(Clone, PartialEq)]
pub(crate) struct Int8Layer {
    pub(crate) layer: Layer,
    /// `[inputs, outputs]`.
    pub(crate) weight: Vec<i8>,
    /// `[outputs]`.
    pub(crate) scales: Vec<f32>,
    /// `[outputs]`.
    pub(crate) bias: Vec<f32>,
}

/// A dense network whose weights are int8.
///
/// ```
/// use lattice_fann::{Activation, Int8Network, NetworkBuilder};
///
/// let mut network = NetworkBuilder::new(16)
///     .layer(32, Activation::Relu)
///     .layer(4, Activation::Softmax)
///     .build()?;
/// let mut small = Int8Network::from_network(&network)?;
/// let input: [f32; 16] = core::array::from_fn(|i| i as f32 / 16.0);
/// let exact = network.forward(&input)?;
/// for (a, b) in small.forward(&input)?.iter().zip(exact) {
///     assert!((a - b).abs() < 0.02);
/// }
/// # Ok::<(), lattice_fann::Error>(())
/// ```
#[derive(Clone)]
pub struct Int8Network {
    layers: Vec<Int8Layer>,
    products: Products,
    scratch: Scratch,
}

/// One row between layers.
#[derive(Clone, Default)]
struct Scratch {
    from: Vec<f32>,
    to: Vec<f32>,
    bytes: Vec<i8>,
    sums: Vec<i32>,
}

impl Int8Network {
    /// The network with its weights rounded to bytes.
    ///
    /// # Errors
    /// [`Error::TooMany`] for a layer of more than 131,071 inputs; [`Error::NotFinite`] for a
    /// parameter that is not.
    pub fn from_network(network: &Network) -> Result<Int8Network, Error> {
        crate::error::check_finite("parameter", network.parameters(), 1)?;
        let parameters = network.parameters();
        let quantised = network.layers().iter().map(|layer| {
            let weight = &parameters[layer.weight_range()];
            let (weight, scales) = quantise(weight, layer.outputs());
            Int8Layer {
                layer: *layer,
                weight,
                scales,
                bias: parameters[layer.bias_range()].to_vec(),
            }
        });
        Int8Network::of(quantised.collect())
    }

    /// `layers` fit each other and are not none.
    pub(crate) fn of(layers: Vec<Int8Layer>) -> Result<Int8Network, Error> {
        let widths = layers.iter().map(|l| l.layer.inputs());
        let inputs_most = widths.max().unwrap_or(0);
        if inputs_most > INPUTS_MOST {
            return Err(Error::TooMany {
                what: "inputs of a layer",
                found: inputs_most,
                most: INPUTS_MOST,
            });
        }
        let outputs = layers.iter().map(|l| l.layer.outputs());
        let widest = outputs.max().unwrap_or(0).max(inputs_most);
        let scratch = Scratch {
            from: alloc::vec![0.0; widest],
            to: alloc::vec![0.0; widest],
            bytes: alloc::vec![0; widest],
            sums: alloc::vec![0; widest],
        };
        Ok(Int8Network {
            layers,
            products: Products::detect(),
            scratch,
        })
    }

    pub(crate) fn layers(&self) -> &[Int8Layer] {
        &self.layers
    }

    /// Elements of an input row.
    pub fn inputs(&self) -> usize {
        self.layers[0].layer.inputs()
    }

    /// Elements of an output row.
    pub fn outputs(&self) -> usize {
        self.layers[self.layers.len() - 1].layer.outputs()
    }

    /// Bytes of all parameters.
    pub fn parameter_bytes(&self) -> usize {
        let bytes = |l: &Int8Layer| l.weight.len() + 4 * (l.scales.len() + l.bias.len());
        self.layers.iter().map(bytes).sum()
    }

    /// The output of one row. `input`: `[inputs]`; the answer: `[outputs]`, until the next call. An
    /// input that is not finite gives NaN. Allocates nothing.
    ///
    /// # Errors
    /// [`Error::Length`] for an input of another length.
    pub fn forward(&mut self, input: &[f32]) -> Result<&[f32], Error> {
        check_len("input", self.inputs(), input.len())?;
        let Scratch {
            from,
            to,
            bytes,
            sums,
        } = &mut self.scratch;
        from[..input.len()].copy_from_slice(input);
        for Int8Layer {
            layer,
            weight,
            scales,
            bias,
        } in &self.layers
        {
            let bytes = &mut bytes[..layer.inputs()];
            let scale = quantise_row(&from[..layer.inputs()], bytes);
            let sums = &mut sums[..layer.outputs()];
            self.products.sums_int8(layer.shape(), weight, bytes, sums);
            let out = &mut to[..layer.outputs()];
            for ((out, bias), (sum, s)) in out.iter_mut().zip(bias).zip(sums.iter().zip(scales)) {
                *out = bias + *sum as f32 * (scale * s);
            }
            layer.activation().apply(out, layer.outputs());
            core::mem::swap(from, to);
        }
        Ok(&self.scratch.from[..self.outputs()])
    }

    /// The outputs of whole rows, each as [`Int8Network::forward`] gives it. `inputs`:
    /// `[rows, inputs]`; `outputs`: `[rows, outputs]`.
    ///
    /// # Errors
    /// [`Error::Rows`], [`Error::Length`].
    pub fn forward_batch(&mut self, inputs: &[f32], outputs: &mut [f32]) -> Result<(), Error> {
        let rows = rows_of("inputs", inputs, self.inputs())?;
        let width = self.outputs();
        check_len("outputs", rows.saturating_mul(width), outputs.len())?;
        let rows = inputs.chunks_exact(self.inputs());
        for (x, out) in rows.zip(outputs.chunks_exact_mut(width)) {
            out.copy_from_slice(self.forward(x)?);
        }
        Ok(())
    }
}

impl fmt::Debug for Int8Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Int8Network({}", self.inputs())?;
        for Int8Layer { layer, .. } in &self.layers {
            write!(f, " -> {} {}", layer.outputs(), layer.activation())?;
        }
        f.write_str(")")
    }
}

impl PartialEq for Int8Network {
    /// The same layers and the same parameters.
    fn eq(&self, other: &Int8Network) -> bool {
        self.layers == other.layers
    }
}

/// Bytes and scales of a weight `[inputs, outputs]`.
fn quantise(weight: &[f32], outputs: usize) -> (Vec<i8>, Vec<f32>) {
    let mut scales = alloc::vec![0.0f32; outputs];
    for row in weight.chunks_exact(outputs) {
        for (most, w) in scales.iter_mut().zip(row) {
            *most = most.max(w.abs());
        }
    }
    scales.iter_mut().for_each(|s| *s /= BYTE_MOST);
    let rows = weight.chunks_exact(outputs);
    let bytes = rows.flat_map(|row| row.iter().zip(&scales).map(|(w, s)| byte(w / s)));
    (bytes.collect(), scales)
}

/// The bytes of a row, and their scale: NaN where the row is not finite.
fn quantise_row(row: &[f32], bytes: &mut [i8]) -> f32 {
    // The bits of |x| are ordered as |x| is, with infinity and NaN on top; and they are a maximum that
    // compilers find in vectors.
    let magnitudes = row.iter().map(|x| x.abs().to_bits() as i32);
    let most = f32::from_bits(magnitudes.fold(0, i32::max) as u32);
    if !most.is_finite() {
        bytes.fill(0);
        return f32::NAN;
    }
    let inverse = BYTE_MOST / most;
    // A row so small that this overflows is 0 beside any bias.
    let inverse = if inverse.is_finite() { inverse } else { 0.0 };
    for (byte, x) in bytes.iter_mut().zip(row) {
        *byte = nearest(x * inverse);
    }
    most / BYTE_MOST
}

/// The byte of a weight over its scale, 0 / 0 being 0.
fn byte(x: f32) -> i8 {
    let x = if x.is_nan() { 0.0 } else { x };
    nearest(x.clamp(-BYTE_MOST, BYTE_MOST))
}

/// The nearest byte of a number within 127.4, ties to even.
#[inline(always)]
fn nearest(x: f32) -> i8 {
    /// 1.5 x 2^23: a sum with it is an integer, in its lowest bits.
    const MAGIC: f32 = 12_582_912.0;
    (x + MAGIC).to_bits() as i8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_the_nearest() {
        let found = [0.4, 0.5, 1.5, -2.5, 126.6, 300.0, -300.0, f32::NAN].map(byte);
        assert_eq!(found, [0, 0, 2, -2, 127, 127, -127, 0]);
    }

    #[test]
    fn a_row_of_zeros_and_one_of_nan_have_their_scales() {
        let mut bytes = [1; 2];
        assert_eq!(quantise_row(&[0.0, 0.0], &mut bytes), 0.0);
        assert_eq!(bytes, [0, 0]);
        assert!(quantise_row(&[f32::NAN, 1.0], &mut bytes).is_nan());
        assert!(quantise_row(&[1.0, f32::INFINITY], &mut bytes).is_nan());
        assert_eq!(quantise_row(&[1e-43, 0.0], &mut bytes) * 0.0, 0.0);
    }
}
