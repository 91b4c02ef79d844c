//! Elastic weight consolidation: learn the new without losing the old.
//!
//! In: a trained network and the samples it was trained on. Out: a penalty on leaving their
//! parameters, heavier where they matter. It does not know: optimisers.
//! Kirkpatrick et al.: Overcoming catastrophic forgetting in neural networks, 2017. The importance is
//! the empirical Fisher information: the mean square of each sample's gradient.

use alloc::vec::Vec;

use crate::error::{check_len, check_setting};
use crate::{Error, Gradients, Loss, Network, Samples};

/// `strength / 2` times the sum of importance times the squared distance from the old parameters.
///
/// ```
/// use lattice_fann::{Activation, Loss, NetworkBuilder, Samples, train::Ewc};
///
/// let network = NetworkBuilder::new(2).layer(1, Activation::Sigmoid).build()?;
/// let old = Samples::values(&[0.0, 1.0, 1.0, 1.0], 2, &[1.0, 0.0], 1)?;
/// let ewc = Ewc::new(&network, &old, Loss::BinaryCrossEntropy, 100.0)?;
/// assert_eq!(ewc.penalty(&network)?, 0.0);
/// # Ok::<(), lattice_fann::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Ewc {
    old: Vec<f32>,
    importance: Vec<f32>,
    strength: f32,
}

impl Ewc {
    /// The penalty of leaving what `network` is now, by what matters to `samples` under `loss`.
    ///
    /// # Errors
    /// As [`Gradients::add`]; [`Error::Setting`] for a strength that is negative or not finite;
    /// [`Error::NotFinite`] if an importance is not.
    pub fn new(
        network: &Network,
        samples: &Samples<'_>,
        loss: Loss,
        strength: f32,
    ) -> Result<Ewc, Error> {
        let fits = strength.is_finite() && strength >= 0.0;
        let expected = "a finite number of at least 0";
        check_setting("strength", strength.into(), fits, expected)?;
        let mut gradients = Gradients::new(network, loss);
        gradients.check(network, samples)?;
        let mut squares = alloc::vec![0.0f64; network.parameters().len()];
        for row in 0..samples.rows() {
            gradients.clear();
            gradients.add_order(network, samples, &[row as u32]);
            for (square, g) in squares.iter_mut().zip(gradients.sums()) {
                *square += f64::from(*g) * f64::from(*g);
            }
        }
        let rows = samples.rows() as f64;
        let importance: Vec<f32> = squares.iter().map(|s| (s / rows) as f32).collect();
        crate::error::check_finite("importance of parameter", &importance, 1)?;
        Ok(Ewc {
            old: network.parameters().to_vec(),
            importance,
            strength,
        })
    }

    /// The mean squared gradient of each parameter, in the order of [`Network::parameters`].
    pub fn importance(&self) -> &[f32] {
        &self.importance
    }

    /// What the network pays for where it is now.
    ///
    /// # Errors
    /// [`Error::Length`] for a network of another size.
    pub fn penalty(&self, network: &Network) -> Result<f64, Error> {
        check_len("parameters", self.old.len(), network.parameters().len())?;
        Ok(self.value(network.parameters()))
    }

    pub(super) fn value(&self, parameters: &[f32]) -> f64 {
        let away = parameters.iter().zip(&self.old).map(|(w, old)| {
            let d = f64::from(*w) - f64::from(*old);
            d * d
        });
        let paid = away.zip(&self.importance).map(|(d, f)| d * f64::from(*f));
        0.5 * f64::from(self.strength) * paid.sum::<f64>()
    }

    /// Adds the penalty's gradient.
    pub(super) fn add_gradient(&self, parameters: &[f32], gradient: &mut [f32]) {
        let each = parameters.iter().zip(&self.old).zip(&self.importance);
        for (g, ((w, old), f)) in gradient.iter_mut().zip(each) {
            *g += self.strength * f * (w - old);
        }
    }

    pub(super) fn parameters(&self) -> usize {
        self.old.len()
    }
}
