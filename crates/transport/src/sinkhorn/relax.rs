//! How far an update is drawn out.
//!
//! In: the error after each iteration. Out: a factor, 1 for plain iterations. It does not know: potentials or costs.
//!
//! Over-relaxed by w, an iteration that contracts by t when plain contracts by r, where (r + w - 1)^2 = r w^2 t (Young);
//! the best w is 2 / (1 + sqrt(1 - t)). So t, and from it w, comes from the rate that is seen. Beyond the best w the rate is
//! w - 1, and says nothing of t: w grows only while the rate is well above that.

use super::options::Acceleration;

/// Iterations between two looks at the rate.
const WINDOW: usize = 8;
const FACTOR_MAX: f64 = 1.98;
/// The share of the way from w - 1 to 1 that a rate must be above w - 1.
const MARGIN: f64 = 0.25;
/// Errors above this share of the mass fall by no rate: there iterations stay plain.
const NEAR: f64 = 0.05;
/// How often to begin again from plain iterations.
const RESTARTS: usize = 4;
/// Times the least error seen: then the factor was wrong.
const WORSE: f64 = 10.0;

#[derive(Debug)]
pub(crate) struct Relaxation {
    active: bool,
    near: f64,
    restarts: usize,
    factor: f64,
    least: f64,
    errors: Vec<f64>,
}

impl Relaxation {
    /// `mass`: that of the marginal whose error will be seen.
    pub(crate) fn new(acceleration: Acceleration, mass: f64) -> Relaxation {
        Relaxation {
            near: NEAR * mass,
            active: acceleration == Acceleration::OverRelaxation,
            restarts: RESTARTS,
            factor: 1.0,
            least: f64::INFINITY,
            errors: Vec::new(),
        }
    }

    pub(crate) fn factor(&self) -> f64 {
        self.factor
    }

    /// Plain iterations from here on.
    pub(crate) fn end(&mut self) {
        self.active = false;
        self.factor = 1.0;
    }

    fn restart(&mut self) {
        if self.restarts == 0 {
            return self.end();
        }
        self.restarts -= 1;
        self.factor = 1.0;
        self.least = f64::INFINITY;
        self.errors.clear();
    }

    /// Takes the error after an iteration, that of both marginals.
    pub(crate) fn see(&mut self, error: f64) {
        if !self.active || (self.factor == 1.0 && error > self.near) {
            return;
        }
        if error.is_nan() || error > WORSE * self.least {
            return self.restart();
        }
        self.least = self.least.min(error);
        self.errors.push(error);
        if self.errors.len() <= WINDOW {
            return;
        }
        let rate = (error / self.errors[0]).powf(1.0 / WINDOW as f64);
        self.errors.clear();
        let (factor, beyond) = (self.factor, self.factor - 1.0);
        if rate.is_finite() && rate > beyond + MARGIN * (1.0 - beyond) && rate < 1.0 {
            let plain = (rate + beyond).powi(2) / (rate * factor * factor);
            let best = 2.0 / (1.0 + (1.0 - plain).max(0.0).sqrt());
            self.factor = best.clamp(factor, FACTOR_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rate_gives_the_best_factor_and_growth_ends_it() {
        let mut relaxation = Relaxation::new(Acceleration::OverRelaxation, 100.0);
        let mut error = 1.0;
        for _ in 0..=WINDOW {
            relaxation.see(error);
            error *= 0.96;
        }
        let best = 2.0 / (1.0 + 0.04f64.sqrt());
        assert!((relaxation.factor() - best).abs() < 1e-6);
        relaxation.see(100.0);
        assert_eq!(relaxation.factor(), 1.0);
    }
}
