//! What a training can be told, and the ranges.

use super::{Optimizer, Schedule};
use crate::error::check_setting;
use crate::{Error, Loss};

/// How to train. Every field has a default but the loss and the optimiser.
///
/// ```
/// use lattice_fann::{Loss, train::{EarlyStopping, Optimizer, TrainOptions}};
///
/// let options = TrainOptions {
///     epochs: 50,
///     seed: 3,
///     early_stopping: Some(EarlyStopping { patience: 5, least: 1e-4 }),
///     ..TrainOptions::new(Loss::CrossEntropy, Optimizer::adam(1e-3))
/// };
/// assert_eq!(options.batch, 32);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct TrainOptions {
    /// What to make small.
    pub loss: Loss,
    /// How.
    pub optimizer: Optimizer,
    /// Passes over the samples, at most.
    pub epochs: usize,
    /// Samples of a step; 0 is all of them, which RPROP and L-BFGS need.
    pub batch: usize,
    /// Whether each epoch has an order of its own.
    pub shuffle: bool,
    /// The seed of those orders.
    pub seed: u64,
    /// How the learning rate changes over the epochs.
    pub schedule: Schedule,
    /// Gradients longer than this (Euclidean, over all parameters) are shortened to it.
    pub clip_norm: Option<f32>,
    /// When to give up.
    pub early_stopping: Option<EarlyStopping>,
    /// Training ends once the loss (of the validation where there is one) is no more than this.
    pub target_loss: Option<f64>,
}

/// Ends a training that has ceased to help. With it the network is the best one seen, however the
/// training ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EarlyStopping {
    /// Epochs without a better loss (of the validation where there is one).
    pub patience: usize,
    /// By how much a loss must be lower to be better.
    pub least: f64,
}

impl TrainOptions {
    /// 100 epochs, batches of 32 (all samples for RPROP and L-BFGS), shuffled by seed 0, a constant
    /// rate, nothing clipped, no early end.
    pub fn new(loss: Loss, optimizer: Optimizer) -> TrainOptions {
        let batch = if optimizer.is_full_batch() { 0 } else { 32 };
        TrainOptions {
            loss,
            optimizer,
            epochs: 100,
            batch,
            shuffle: true,
            seed: 0,
            schedule: Schedule::default(),
            clip_norm: None,
            early_stopping: None,
            target_loss: None,
        }
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        self.optimizer.check()?;
        self.schedule.check()?;
        if self.optimizer.is_full_batch() {
            let expected = "0, all samples, for this optimiser";
            check_setting("batch", self.batch as f64, self.batch == 0, expected)?;
        }
        if let Some(norm) = self.clip_norm {
            let fits = norm.is_finite() && norm > 0.0;
            check_setting("clip_norm", norm.into(), fits, "a finite norm above 0")?;
        }
        if let Some(stop) = self.early_stopping {
            let fits = stop.least.is_finite() && stop.least >= 0.0;
            let expected = "a finite difference of at least 0";
            check_setting("early_stopping.least", stop.least, fits, expected)?;
            let fits = stop.patience > 0;
            check_setting("early_stopping.patience", 0.0, fits, "at least 1 epoch")?;
        }
        match self.target_loss {
            Some(loss) => check_setting("target_loss", loss, !loss.is_nan(), "a number"),
            None => Ok(()),
        }
    }
}
