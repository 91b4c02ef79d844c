//! The way back: gradients of a loss by all parameters.
//!
//! In: a network, samples. Out: the sum of their losses and gradients. It does not know: optimisers.
//! Gradients are added sample after sample in the order given, so the pieces that a batch comes in
//! do not show in a single bit, nor can threads.

use alloc::vec::Vec;

use crate::aligned::Aligned;
use crate::error::check_len;
use crate::network::Layer;
use crate::products::{Onto, Products};
use crate::{Error, Loss, Network, Samples};

/// Rows that go forward and back together.
const ROWS: usize = 32;
/// Rows that are asked for before they are gathered: they lie anywhere, and no processor guesses where.
const ROWS_AHEAD: usize = 4;

/// The sum of losses and gradients over samples, and the memory that takes.
///
/// ```
/// use lattice_fann::{Activation, Gradients, Loss, NetworkBuilder, Samples};
///
/// let network = NetworkBuilder::new(2).layer(1, Activation::Sigmoid).build()?;
/// let samples = Samples::values(&[0.0, 1.0, 1.0, 1.0], 2, &[1.0, 0.0], 1)?;
/// let mut gradients = Gradients::new(&network, Loss::BinaryCrossEntropy);
/// gradients.add(&network, &samples, 0..1)?;
/// gradients.add(&network, &samples, 1..2)?;
/// assert_eq!(gradients.sums().len(), network.parameters().len());
/// assert!(gradients.mean_loss() > 0.0);
/// # Ok::<(), lattice_fann::Error>(())
/// ```
#[derive(Clone)]
pub struct Gradients {
    loss: Loss,
    sums: Aligned,
    loss_sum: f64,
    rows: usize,
    tape: Tape,
}

impl Gradients {
    /// Sums of zero samples.
    pub fn new(network: &Network, loss: Loss) -> Gradients {
        Gradients {
            loss,
            sums: Aligned::zeros(network.parameters().len()),
            loss_sum: 0.0,
            rows: 0,
            tape: Tape::new(network),
        }
    }

    /// Adds the rows `rows` of the samples, in this order. The network must have the layers of the
    /// one these were made for; its parameters may be others.
    ///
    /// # Errors
    /// [`Error::Length`] for inputs or targets of another width, [`Error::OutputNeeds`],
    /// [`Error::NoProbability`], [`Error::OtherNetwork`]; [`Error::TooMany`] for a row outside.
    pub fn add(
        &mut self,
        network: &Network,
        samples: &Samples<'_>,
        rows: core::ops::Range<usize>,
    ) -> Result<(), Error> {
        self.check(network, samples)?;
        if rows.end > samples.rows() {
            return Err(Error::TooMany {
                what: "rows",
                found: rows.end,
                most: samples.rows(),
            });
        }
        let mut start = rows.start;
        while start < rows.end {
            let end = rows.end.min(start + ROWS);
            self.add_rows(network, samples, start..end);
            start = end;
        }
        Ok(())
    }

    /// Checks what does not change from batch to batch.
    pub(crate) fn check(&self, network: &Network, samples: &Samples<'_>) -> Result<(), Error> {
        if !self.tape.fits(network) {
            return Err(Error::OtherNetwork {
                what: "gradient",
                expected: self.sums.len(),
                found: network.parameters().len(),
            });
        }
        check_len("input", network.inputs(), samples.input_width())?;
        check_len("target", network.outputs(), samples.target_width())?;
        self.loss.check(last(network).activation(), samples)
    }

    /// As [`Gradients::add`] for checked samples, in any order of rows.
    pub(crate) fn add_order(&mut self, network: &Network, samples: &Samples<'_>, order: &[u32]) {
        for piece in order.chunks(ROWS) {
            self.add_rows(network, samples, piece.iter().map(|&row| row as usize));
        }
    }

    /// Up to [`ROWS`] rows.
    fn add_rows(
        &mut self,
        network: &Network,
        samples: &Samples<'_>,
        order: impl ExactSizeIterator<Item = usize> + Clone,
    ) {
        let rows = order.len();
        let inputs = self.tape.gather(network.products(), samples, order);
        self.tape.forward(network, rows, inputs);
        self.loss_sum = self.tape.losses(network, self.loss, rows, self.loss_sum);
        let onto = match self.rows {
            0 => Onto::Zeros,
            _ => Onto::Held,
        };
        let sums = (onto, &mut self.sums[..]);
        self.tape.back(network, (rows, inputs), sums);
        self.rows += rows;
    }

    /// The sums of the gradients: in the order of [`Network::parameters`].
    pub fn sums(&self) -> &[f32] {
        &self.sums
    }

    /// The mean loss of the rows added; NaN of none.
    pub fn mean_loss(&self) -> f64 {
        self.loss_sum / self.rows as f64
    }

    /// The mean loss of samples; the sums stay as they are.
    pub(crate) fn mean_loss_of(
        &mut self,
        network: &Network,
        samples: &Samples<'_>,
    ) -> Result<f64, Error> {
        self.check(network, samples)?;
        let (mut sum, mut start) = (0.0, 0);
        while start < samples.rows() {
            let end = samples.rows().min(start + ROWS);
            let inputs = self.tape.gather(network.products(), samples, start..end);
            self.tape.forward(network, end - start, inputs);
            sum = self.tape.losses(network, self.loss, end - start, sum);
            start = end;
        }
        Ok(sum / samples.rows() as f64)
    }

    /// How many rows were added.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Back to zero samples.
    pub fn clear(&mut self) {
        self.sums.fill(0.0);
        self.restart();
    }

    /// As [`Gradients::clear`], for who adds rows at once: the first write over the sums.
    pub(crate) fn restart(&mut self) {
        self.loss_sum = 0.0;
        self.rows = 0;
    }

    /// What makes means of sums.
    pub(crate) fn scale(&self) -> f32 {
        1.0 / self.rows.max(1) as f32
    }

    /// Divides the sums by the rows, once.
    pub(crate) fn divide(&mut self) -> &mut [f32] {
        let scale = self.scale();
        self.sums.iter_mut().for_each(|g| *g *= scale);
        &mut self.sums
    }
}

impl core::fmt::Debug for Gradients {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Gradients")
            .field("loss", &self.loss)
            .field("parameters", &self.sums.len())
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

fn last(network: &Network) -> &Layer {
    let layers = network.layers();
    &layers[layers.len() - 1]
}

/// What the way back needs of the way forward, for [`ROWS`] rows.
#[derive(Clone)]
struct Tape {
    layers: Vec<Layer>,
    inputs: Aligned,
    targets: Aligned,
    /// Sums and outputs of each layer.
    sums: Vec<Aligned>,
    outputs: Vec<Aligned>,
    /// Gradients by the sums of a layer and of the one before.
    after: Aligned,
    before: Aligned,
}

impl Tape {
    fn new(network: &Network) -> Tape {
        let layers = network.layers();
        let rows = |layer: &Layer| Aligned::zeros(ROWS * layer.outputs());
        let widest = layers.iter().map(Layer::outputs).max().unwrap_or(0);
        Tape {
            inputs: Aligned::zeros(ROWS * network.inputs()),
            targets: Aligned::zeros(ROWS * network.outputs()),
            sums: layers.iter().map(rows).collect(),
            outputs: layers.iter().map(rows).collect(),
            after: Aligned::zeros(ROWS * widest),
            before: Aligned::zeros(ROWS * widest),
            layers: layers.to_vec(),
        }
    }

    fn fits(&self, network: &Network) -> bool {
        self.layers == network.layers()
    }

    /// Targets, and inputs where they do not stand together: there they are read, and returned.
    fn gather<'a>(
        &mut self,
        products: Products,
        samples: &Samples<'a>,
        order: impl ExactSizeIterator<Item = usize> + Clone,
    ) -> Option<&'a [f32]> {
        let first = order.clone().next().unwrap_or(0);
        let together = order.clone().zip(first..).all(|(row, next)| row == next);
        if together {
            let rows = first..first + order.len();
            self.put_targets(samples, order);
            return Some(samples.inputs(rows));
        }
        let places = self.inputs.chunks_exact_mut(samples.input_width());
        let ask = |row: usize| products.ask_for(samples.inputs(row..row + 1));
        let mut coming = order.clone();
        coming.by_ref().take(ROWS_AHEAD).for_each(ask);
        for (row, place) in order.clone().zip(places) {
            coming.next().into_iter().for_each(ask);
            place.copy_from_slice(samples.inputs(row..row + 1));
        }
        self.put_targets(samples, order);
        None
    }

    fn put_targets(&mut self, samples: &Samples<'_>, order: impl Iterator<Item = usize>) {
        let places = self.targets.chunks_exact_mut(samples.target_width());
        for (row, place) in order.zip(places) {
            samples.put_target(row, place);
        }
    }

    /// The first `rows` inputs, the gathered ones if none are given, through all layers.
    fn forward(&mut self, network: &Network, rows: usize, inputs: Option<&[f32]>) {
        let inputs = inputs.unwrap_or(&self.inputs);
        for (i, layer) in self.layers.iter().enumerate() {
            let (done, rest) = self.outputs.split_at_mut(i);
            let x: &[f32] = done.last().map_or(inputs, |x| x);
            let count = rows * layer.outputs();
            let sums = &mut self.sums[i][..count];
            let (weight, bias) = weights(network, layer);
            let x = &x[..rows * layer.inputs()];
            network
                .products()
                .affine(layer.shape(), weight, bias, x, sums);
            let outputs = &mut rest[0][..count];
            outputs.copy_from_slice(sums);
            layer.activation().apply(outputs, layer.outputs());
        }
    }

    /// `sum` and the losses of `rows`, added row after row; their gradients to `after`.
    fn losses(&mut self, network: &Network, loss: Loss, rows: usize, mut sum: f64) -> f64 {
        let (width, top) = (network.outputs(), self.layers.len() - 1);
        let activation = last(network).activation();
        for row in 0..rows {
            let at = row * width..(row + 1) * width;
            let (z, y) = (&self.sums[top][at.clone()], &self.outputs[top][at.clone()]);
            let target = &self.targets[at.clone()];
            sum += loss.value(z, y, target);
            loss.gradient(activation, [z, y, target], &mut self.after[at]);
        }
        sum
    }

    /// From `after` of the last layer to all parameters' sums.
    fn back(
        &mut self,
        network: &Network,
        (rows, inputs): (usize, Option<&[f32]>),
        (onto, sums): (Onto, &mut [f32]),
    ) {
        let inputs = inputs.unwrap_or(&self.inputs);
        for (i, layer) in self.layers.iter().enumerate().rev() {
            let x: &[f32] = if i == 0 { inputs } else { &self.outputs[i - 1] };
            let after = &self.after[..rows * layer.outputs()];
            let products = network.products();
            let weight_sums = &mut sums[layer.weight_range()];
            products.outer(
                layer.shape(),
                &x[..rows * layer.inputs()],
                after,
                (onto, weight_sums),
            );
            add_rows((onto, &mut sums[layer.bias_range()]), after);
            if i == 0 {
                return;
            }
            let width = layer.inputs();
            let before = &mut self.before[..rows * width];
            let (weight, _) = weights(network, layer);
            products.transposed(layer.shape(), weight, after, before);
            let activation = self.layers[i - 1].activation();
            let each = before.chunks_exact_mut(width);
            let z = self.sums[i - 1].chunks_exact(width);
            let y = self.outputs[i - 1].chunks_exact(width);
            for (gradient, (z, y)) in each.zip(z.zip(y)) {
                activation.back(z, y, gradient);
            }
            core::mem::swap(&mut self.after, &mut self.before);
        }
    }
}

/// `sums = onto`, then `sums += row` for each row.
fn add_rows((onto, sums): (Onto, &mut [f32]), rows: &[f32]) {
    if onto == Onto::Zeros {
        sums.fill(0.0);
    }
    for row in rows.chunks_exact(sums.len()) {
        sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
    }
}

fn weights<'a>(network: &'a Network, layer: &Layer) -> (&'a [f32], &'a [f32]) {
    let parameters = network.parameters();
    (
        &parameters[layer.weight_range()],
        &parameters[layer.bias_range()],
    )
}
