//! Optimisers that take a step from the gradient of each batch; the choice of all.
//!
//! In: parameters, mean gradient, learning rate. Out: new parameters. It does not know: samples.

use alloc::vec::Vec;

use super::lbfgs::Lbfgs;
use super::rprop::Rprop;
use crate::Error;
use crate::error::check_setting;
use crate::products::{AdamStep, Products, SgdStep};

/// How parameters follow gradients.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Optimizer {
    /// Stochastic gradient descent as PyTorch has it: v = momentum v + g, w = w - rate v (Nesterov:
    /// w - rate (g + momentum v)); decay adds decay w to g.
    Sgd {
        /// Learning rate.
        rate: f32,
        /// Within 0..1.
        momentum: f32,
        /// Whether the gradient looks ahead.
        nesterov: bool,
        /// Weight decay.
        decay: f32,
    },
    /// Adam (Kingma, Ba 2014); with decay AdamW (Loshchilov, Hutter 2017): w shrinks by rate times
    /// decay beside the step.
    Adam {
        /// Learning rate.
        rate: f32,
        /// Within 0..1: how long the mean gradient remembers.
        beta1: f32,
        /// Within 0..1: how long the mean square remembers.
        beta2: f32,
        /// Keeps the step finite where the mean square is 0.
        epsilon: f32,
        /// Decoupled weight decay.
        decay: f32,
    },
    /// iRPROP- (Igel, Hüsken 2000): a step width of its own for each parameter, by the signs of the
    /// gradient of all samples.
    Rprop {
        /// First step width.
        first: f32,
        /// Narrowest step.
        least: f32,
        /// Widest step.
        most: f32,
        /// Within 0..1: after the sign changed.
        down: f32,
        /// Above 1: while it stays.
        up: f32,
    },
    /// L-BFGS (Liu, Nocedal 1989) on all samples, with a line search for the weak Wolfe conditions.
    /// For small networks; an epoch is one search.
    Lbfgs {
        /// Pairs of steps and gradient changes that are kept.
        history: usize,
    },
}

impl Optimizer {
    /// Plain gradient descent.
    pub fn sgd(rate: f32) -> Optimizer {
        Optimizer::momentum(rate, 0.0)
    }

    /// Gradient descent with momentum.
    pub fn momentum(rate: f32, momentum: f32) -> Optimizer {
        Optimizer::Sgd {
            rate,
            momentum,
            nesterov: false,
            decay: 0.0,
        }
    }

    /// Adam with the paper's settings.
    pub fn adam(rate: f32) -> Optimizer {
        Optimizer::adamw(rate, 0.0)
    }

    /// AdamW with the paper's settings.
    pub fn adamw(rate: f32, decay: f32) -> Optimizer {
        Optimizer::Adam {
            rate,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            decay,
        }
    }

    /// iRPROP- with the usual settings.
    pub fn rprop() -> Optimizer {
        Optimizer::Rprop {
            first: 0.1,
            least: 1e-6,
            most: 50.0,
            down: 0.5,
            up: 1.2,
        }
    }

    /// L-BFGS that keeps 10 pairs.
    pub fn lbfgs() -> Optimizer {
        Optimizer::Lbfgs { history: 10 }
    }

    /// Whether a step needs the gradient of all samples.
    pub fn is_full_batch(&self) -> bool {
        matches!(self, Optimizer::Rprop { .. } | Optimizer::Lbfgs { .. })
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        let positive = |name, value: f32| {
            let fits = value.is_finite() && value > 0.0;
            check_setting(name, value.into(), fits, "a finite number above 0")
        };
        let share = |name, value: f32| {
            check_setting(
                name,
                value.into(),
                (0.0..1.0).contains(&value),
                "within 0..1",
            )
        };
        let decays = |value: f32| {
            let fits = value.is_finite() && value >= 0.0;
            check_setting("decay", value.into(), fits, "a finite number of at least 0")
        };
        match *self {
            Optimizer::Sgd {
                rate,
                momentum,
                decay,
                ..
            } => {
                positive("rate", rate)?;
                share("momentum", momentum)?;
                decays(decay)
            }
            Optimizer::Adam {
                rate,
                beta1,
                beta2,
                epsilon,
                decay,
            } => {
                positive("rate", rate)?;
                share("beta1", beta1)?;
                share("beta2", beta2)?;
                positive("epsilon", epsilon)?;
                decays(decay)
            }
            Optimizer::Rprop {
                first,
                least,
                most,
                down,
                up,
            } => {
                positive("least", least)?;
                positive("most", most)?;
                let ordered = least <= first && first <= most;
                check_setting("first", first.into(), ordered, "within least..=most")?;
                share("down", down)?;
                let fits = up.is_finite() && up > 1.0;
                check_setting("up", up.into(), fits, "a finite number above 1")
            }
            Optimizer::Lbfgs { history } => {
                let fits = (1..=1000).contains(&history);
                check_setting("history", history as f64, fits, "within 1..=1000")
            }
        }
    }
}

/// A gradient as the sums that it was added up in, and the way to go by it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slope<'a> {
    pub(super) sums: &'a [f32],
    /// Makes the gradient of the sums.
    pub(super) scale: f32,
    /// The schedule's, on the learning rate.
    pub(super) factor: f32,
    pub(super) products: Products,
}

/// What an optimiser remembers from step to step.
#[derive(Debug, Clone)]
pub(super) enum State {
    Sgd(Sgd),
    Adam(Adam),
    Rprop(Rprop),
    Lbfgs(Lbfgs),
}

impl State {
    pub(super) fn new(optimizer: Optimizer, parameters: usize) -> State {
        match optimizer {
            Optimizer::Sgd { .. } => State::Sgd(Sgd::new(optimizer, parameters)),
            Optimizer::Adam { .. } => State::Adam(Adam::new(optimizer, parameters)),
            Optimizer::Rprop { first, .. } => {
                State::Rprop(Rprop::new(optimizer, first, parameters))
            }
            Optimizer::Lbfgs { history } => State::Lbfgs(Lbfgs::new(history)),
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Sgd {
    options: Optimizer,
    velocity: Vec<f32>,
}

impl Sgd {
    fn new(options: Optimizer, parameters: usize) -> Sgd {
        let moves = matches!(options, Optimizer::Sgd { momentum, .. } if momentum > 0.0);
        let velocity = alloc::vec![0.0; if moves { parameters } else { 0 }];
        Sgd { options, velocity }
    }

    pub(super) fn step(&mut self, slope: Slope<'_>, parameters: &mut [f32]) {
        let Optimizer::Sgd {
            rate,
            momentum,
            nesterov,
            decay,
        } = self.options
        else {
            unreachable!("made of these options");
        };
        let step = SgdStep {
            scale: slope.scale,
            rate: rate * slope.factor,
            momentum,
            nesterov,
            decay,
        };
        let velocity = &mut self.velocity;
        slope.products.sgd(step, slope.sums, velocity, parameters);
    }
}

#[derive(Debug, Clone)]
pub(super) struct Adam {
    options: Optimizer,
    mean: Vec<f32>,
    square: Vec<f32>,
    /// beta1 and beta2 to the number of steps done.
    powers: [f64; 2],
}

impl Adam {
    fn new(options: Optimizer, parameters: usize) -> Adam {
        Adam {
            options,
            mean: alloc::vec![0.0; parameters],
            square: alloc::vec![0.0; parameters],
            powers: [1.0; 2],
        }
    }

    pub(super) fn step(&mut self, slope: Slope<'_>, parameters: &mut [f32]) {
        let Optimizer::Adam {
            rate,
            beta1,
            beta2,
            epsilon,
            decay,
        } = self.options
        else {
            unreachable!("made of these options");
        };
        self.powers[0] *= f64::from(beta1);
        self.powers[1] *= f64::from(beta2);
        let rate = rate * slope.factor;
        let step = AdamStep {
            scale: slope.scale,
            beta1,
            beta2,
            epsilon,
            keep: 1.0 - rate * decay,
            step: (f64::from(rate) / (1.0 - self.powers[0])) as f32,
            root: (1.0 / libm::sqrt(1.0 - self.powers[1])) as f32,
        };
        let means = [&mut self.mean[..], &mut self.square[..]];
        slope.products.adam(step, slope.sums, means, parameters);
    }
}
