//! The training loop.
//!
//! In: a network, samples, perhaps others to validate with. Out: the trained network, a report. It
//! does not know: how an optimiser steps.

use alloc::vec::Vec;

use super::lbfgs::Point;
use super::optimizer::{Slope, State};
use super::{EarlyStopping, Ewc, TrainOptions};
use crate::products::Products;
use crate::random::Random;
use crate::{Error, Gradients, Network, Samples};

/// What one epoch did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Epoch {
    /// Mean loss of the samples while they were learned from, penalties left out. (RPROP, L-BFGS: at
    /// the parameters the epoch began with.)
    pub loss: f64,
    /// Mean loss of the validation samples afterwards.
    pub validation: Option<f64>,
    /// The schedule's factor on the learning rate.
    pub rate_factor: f64,
    /// The longest gradient of a step, before it was clipped.
    pub gradient_norm: f64,
}

/// Why a training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// All epochs were done.
    Epochs,
    /// No better loss within the patience; the network is the best one seen.
    Patience,
    /// The target loss was reached.
    Target,
    /// The line search found no lower loss: a minimum, as far as f32 can tell.
    Minimum,
}

/// What a training did.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Each epoch, first to last.
    pub epochs: Vec<Epoch>,
    /// Why it ended.
    pub stop: Stop,
    /// The epoch with the lowest loss (of the validation where there is one), from 0.
    pub best: usize,
}

/// Trains the network on samples. See [`Trainer`] for validation, penalties and training on.
///
/// # Errors
/// As [`Trainer::new`] and [`Trainer::fit`].
///
/// ```
/// use lattice_fann::train::{Optimizer, TrainOptions, train};
/// use lattice_fann::{Activation, Loss, NetworkBuilder, Samples};
///
/// let inputs = [0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0];
/// let samples = Samples::values(&inputs, 2, &[0.0, 1.0, 1.0, 0.0], 1)?;
/// let mut network = NetworkBuilder::new(2)
///     .layer(8, Activation::Tanh)
///     .layer(1, Activation::Sigmoid)
///     .seed(1)
///     .build()?;
/// let options = TrainOptions::new(Loss::BinaryCrossEntropy, Optimizer::lbfgs());
/// train(&mut network, &samples, &options)?;
/// assert!(network.forward(&[0.0, 1.0])?[0] > 0.9);
/// assert!(network.forward(&[1.0, 1.0])?[0] < 0.1);
/// # Ok::<(), lattice_fann::Error>(())
/// ```
pub fn train(
    network: &mut Network,
    samples: &Samples<'_>,
    options: &TrainOptions,
) -> Result<Report, Error> {
    Trainer::new(network, options)?.fit(network, samples, None)
}

/// An optimiser with its memory: trains a network, and can train it on.
#[derive(Debug, Clone)]
pub struct Trainer {
    options: TrainOptions,
    state: State,
    gradients: Gradients,
    random: Random,
    penalty: Option<Ewc>,
    epochs_done: usize,
    order: Vec<u32>,
}

impl Trainer {
    /// A trainer for this network, or others of the same layers.
    ///
    /// # Errors
    /// [`Error::Setting`] for an option outside of its range.
    pub fn new(network: &Network, options: &TrainOptions) -> Result<Trainer, Error> {
        options.check()?;
        Ok(Trainer {
            state: State::new(options.optimizer, network.parameters().len()),
            gradients: Gradients::new(network, options.loss),
            random: Random::new(options.seed),
            options: options.clone(),
            penalty: None,
            epochs_done: 0,
            order: Vec::new(),
        })
    }

    /// Holds the network to what it has learned before.
    ///
    /// # Errors
    /// [`Error::OtherNetwork`] if it is made for another number of parameters.
    pub fn protect(mut self, ewc: Ewc) -> Result<Trainer, Error> {
        let (expected, found) = (ewc.parameters(), self.gradients.sums().len());
        if expected != found {
            return Err(Error::OtherNetwork {
                what: "penalty",
                expected,
                found,
            });
        }
        self.penalty = Some(ewc);
        Ok(self)
    }

    /// Trains until something of the options says stop.
    ///
    /// # Errors
    /// [`Error::Length`] and others of [`Gradients::add`] for samples that do not fit;
    /// [`Error::Diverged`] if a loss or gradient is not finite: the network is as it was before that
    /// step.
    pub fn fit(
        &mut self,
        network: &mut Network,
        samples: &Samples<'_>,
        validation: Option<&Samples<'_>>,
    ) -> Result<Report, Error> {
        if let Some(validation) = validation {
            self.gradients.check(network, validation)?;
        }
        let mut report = Report {
            epochs: Vec::new(),
            stop: Stop::Epochs,
            best: 0,
        };
        let mut watch = Watch::new(&self.options);
        for index in 0..self.options.epochs {
            let Some(mut epoch) = self.epoch(network, samples)? else {
                report.stop = Stop::Minimum;
                break;
            };
            if let Some(validation) = validation {
                epoch.validation = Some(self.loss(network, validation)?);
            }
            report.epochs.push(epoch);
            if let Some(stop) = watch.see(index, &epoch, network) {
                report.stop = stop;
                break;
            }
        }
        report.best = watch.best_epoch;
        watch.restore(network, report.stop);
        Ok(report)
    }

    /// The mean loss of samples.
    ///
    /// # Errors
    /// As [`Gradients::add`].
    pub fn loss(&mut self, network: &Network, samples: &Samples<'_>) -> Result<f64, Error> {
        self.gradients.mean_loss_of(network, samples)
    }

    /// One pass over the samples. None: L-BFGS found no lower loss.
    ///
    /// # Errors
    /// As [`Trainer::fit`].
    pub fn epoch(
        &mut self,
        network: &mut Network,
        samples: &Samples<'_>,
    ) -> Result<Option<Epoch>, Error> {
        self.gradients.check(network, samples)?;
        self.put_in_order(samples.rows());
        let schedule = self.options.schedule;
        let mut epoch = Epoch {
            loss: 0.0,
            validation: None,
            rate_factor: schedule.factor(self.epochs_done, self.options.epochs),
            gradient_norm: 0.0,
        };
        if let State::Lbfgs(_) = self.state {
            let found = self.search(network, samples, &mut epoch)?;
            self.epochs_done += 1;
            return Ok(found.then_some(epoch));
        }
        let rows = samples.rows();
        let batch = if self.options.batch == 0 {
            rows
        } else {
            self.options.batch
        };
        let order = core::mem::take(&mut self.order);
        for (step, batch) in order.chunks(batch).enumerate() {
            let loss = self.step(network, samples, batch, (step, &mut epoch))?;
            epoch.loss += loss * batch.len() as f64 / rows as f64;
        }
        self.order = order;
        self.epochs_done += 1;
        Ok(Some(epoch))
    }

    /// The order of this epoch.
    fn put_in_order(&mut self, rows: usize) {
        if self.order.len() != rows {
            // `Samples` has at most 2^32 - 1 rows.
            self.order = (0..rows as u32).collect();
        }
        if self.options.shuffle && !self.options.optimizer.is_full_batch() {
            self.random.shuffle(&mut self.order);
        }
    }

    /// One batch; its mean loss.
    fn step(
        &mut self,
        network: &mut Network,
        samples: &Samples<'_>,
        batch: &[u32],
        (step, epoch): (usize, &mut Epoch),
    ) -> Result<f64, Error> {
        self.gradients.restart();
        self.gradients.add_order(network, samples, batch);
        let loss = self.gradients.mean_loss();
        let mut scale = self.gradients.scale();
        if let Some(penalty) = &self.penalty {
            penalty.add_gradient(network.parameters(), self.gradients.divide());
            scale = 1.0;
        }
        let (sums, products) = (self.gradients.sums(), network.products());
        let norm = f64::from(scale) * norm(products, sums);
        for (what, value) in [("the loss", loss), ("the gradient", norm)] {
            if !value.is_finite() {
                return Err(Error::Diverged {
                    epoch: self.epochs_done,
                    step,
                    what,
                });
            }
        }
        epoch.gradient_norm = epoch.gradient_norm.max(norm);
        let slope = Slope {
            sums,
            scale: scale * shortened(norm, self.options.clip_norm),
            factor: epoch.rate_factor as f32,
            products,
        };
        let parameters = network.parameters_mut();
        match &mut self.state {
            State::Sgd(sgd) => sgd.step(slope, parameters),
            State::Adam(adam) => adam.step(slope, parameters),
            State::Rprop(rprop) => rprop.step(slope, parameters),
            State::Lbfgs(_) => unreachable!("it searches"),
        }
        Ok(loss)
    }

    /// One line search of L-BFGS; whether it found a lower loss.
    fn search(
        &mut self,
        network: &mut Network,
        samples: &Samples<'_>,
        epoch: &mut Epoch,
    ) -> Result<bool, Error> {
        let start = network.parameters().to_vec();
        let (gradients, penalty) = (&mut self.gradients, &self.penalty);
        let products = network.products();
        let order = &self.order;
        let mut plain_loss = None;
        let mut at = |parameters: Vec<f32>| -> Result<Point, Error> {
            network.parameters_mut().copy_from_slice(&parameters);
            gradients.restart();
            gradients.add_order(network, samples, order);
            let mut loss = gradients.mean_loss();
            plain_loss.get_or_insert(loss);
            let gradient = gradients.divide();
            if let Some(penalty) = penalty {
                loss += penalty.value(&parameters);
                penalty.add_gradient(&parameters, gradient);
            }
            Ok(Point {
                gradient: gradient.to_vec(),
                parameters,
                loss,
            })
        };
        let from = at(start)?;
        epoch.gradient_norm = norm(products, &from.gradient);
        if !(from.loss.is_finite() && epoch.gradient_norm.is_finite()) {
            return Err(Error::Diverged {
                epoch: self.epochs_done,
                step: 0,
                what: "the loss",
            });
        }
        let State::Lbfgs(lbfgs) = &mut self.state else {
            unreachable!("asked for L-BFGS alone");
        };
        let next = lbfgs.step(&from, epoch.rate_factor, &mut at)?;
        epoch.loss = plain_loss.unwrap_or(from.loss);
        let found = next.is_some();
        let end = next.map_or(from.parameters, |next| next.parameters);
        network.parameters_mut().copy_from_slice(&end);
        Ok(found)
    }
}

/// Sums of squares that f32 has well: none was too large, and those too small do not matter.
const SQUARES: core::ops::Range<f64> = 1e-20..f64::INFINITY;

/// The Euclidean length. Where f32 does not hold the squares, in f64.
fn norm(products: Products, gradient: &[f32]) -> f64 {
    let sum = products.square_sum(gradient);
    if SQUARES.contains(&sum) {
        return libm::sqrt(sum);
    }
    wide_norm(gradient)
}

fn wide_norm(gradient: &[f32]) -> f64 {
    let (eights, rest) = gradient.as_chunks::<8>();
    let mut lanes = [0.0f64; 8];
    for eight in eights {
        let wide = eight.map(f64::from);
        lanes = core::array::from_fn(|l| lanes[l] + wide[l] * wide[l]);
    }
    let rest = rest.iter().map(|g| f64::from(*g) * f64::from(*g));
    libm::sqrt(lanes.iter().sum::<f64>() + rest.sum::<f64>())
}

/// The share of a gradient that is as long as it may be.
fn shortened(norm: f64, most: Option<f32>) -> f32 {
    match most.map(f64::from) {
        Some(most) if norm > most => (most / norm) as f32,
        _ => 1.0,
    }
}

/// Looks out for the best epoch and for the end.
struct Watch {
    stopping: Option<EarlyStopping>,
    target: Option<f64>,
    best_loss: f64,
    best_epoch: usize,
    best: Vec<f32>,
    /// The last epoch that was better by enough.
    helped: (usize, f64),
}

impl Watch {
    fn new(options: &TrainOptions) -> Watch {
        Watch {
            stopping: options.early_stopping,
            target: options.target_loss,
            best_loss: f64::INFINITY,
            best_epoch: 0,
            best: Vec::new(),
            helped: (0, f64::INFINITY),
        }
    }

    fn see(&mut self, index: usize, epoch: &Epoch, network: &Network) -> Option<Stop> {
        let loss = epoch.validation.unwrap_or(epoch.loss);
        if loss < self.best_loss {
            (self.best_loss, self.best_epoch) = (loss, index);
            if self.stopping.is_some() {
                self.best.clear();
                self.best.extend_from_slice(network.parameters());
            }
        }
        if self.target.is_some_and(|target| loss <= target) {
            return Some(Stop::Target);
        }
        let stopping = self.stopping?;
        if loss < self.helped.1 - stopping.least {
            self.helped = (index, loss);
        }
        (index - self.helped.0 >= stopping.patience).then_some(Stop::Patience)
    }

    /// Puts the best parameters back where early stopping was asked for.
    fn restore(&self, network: &mut Network, stop: Stop) {
        if stop != Stop::Target && self.best.len() == network.parameters().len() {
            network.parameters_mut().copy_from_slice(&self.best);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_hold_where_squares_leave_f32() {
        let products = Products::detect();
        for size in [0.0, 1e-38, 1e-22, 1e-10, 1.0, 1e15, 1e30, 1e38f32] {
            let found = norm(products, &[size; 2500]);
            let expected = 50.0 * f64::from(size);
            assert!(
                (found - expected).abs() <= 1e-6 * expected,
                "{found} {size}"
            );
        }
        assert!(norm(products, &[1.0, f32::NAN]).is_nan());
        assert_eq!(norm(products, &[f32::INFINITY]), f64::INFINITY);
    }
}
