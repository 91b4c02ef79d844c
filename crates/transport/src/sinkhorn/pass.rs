//! One half of an iteration in the log domain: every row's sum under the potentials as they are.
//!
//! In: costs, potentials, logarithms of weights. Out: for each row i the sum over j of b_j exp((f_i + g_j - C_ij) / epsilon),
//! which is 1 where the marginal is met. It does not know: which side is which, what the sums are for.
//!
//! The exponents are split so that f32 rounds them at their own size: potentials over epsilon are large numbers
//! whose difference from the cost is small, and f32 would lose it.

use lattice_kernels::{LogRow, Real, exp_most, exp_sum};

use crate::cost::Cost;
use crate::workers::rows_per_task;
use crate::{TransportError, Workers};

/// A row's sum and its logarithm.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sum {
    pub(crate) value: f64,
    pub(crate) log: f64,
}

impl Sum {
    /// Still to be computed.
    pub(crate) const UNKNOWN: Sum = Sum {
        value: f64::NAN,
        log: f64::NAN,
    };

    pub(crate) fn is_known(&self) -> bool {
        !self.log.is_nan()
    }

    pub(crate) fn from_log(log: f64) -> Sum {
        Sum {
            value: log.exp(),
            log,
        }
    }
}

/// g / epsilon + ln b of all columns, in two parts each; the first a multiple of `grid`.
#[derive(Debug, Default)]
pub(crate) struct Terms<T> {
    pub(crate) high: Vec<T>,
    pub(crate) low: Vec<T>,
    grid: f64,
    pub(crate) scale: T,
}

impl<T: Real> Terms<T> {
    /// Terms for rows with the potentials `own`. `logs` None: all 0.
    pub(crate) fn fill(
        &mut self,
        epsilon: f64,
        own: &[f64],
        other: &[f64],
        logs: Option<&[f64]>,
    ) -> Result<(), TransportError> {
        let scale = 1.0 / epsilon;
        let log = |j: usize| logs.map_or(0.0, |logs| logs[j]);
        let most = |most: f64, x: f64| if x > most || x.is_nan() { x } else { most };
        let own_most = own.iter().fold(0.0, |m, f| most(m, (f * scale).abs()));
        let mut size = own_most;
        for (j, g) in other.iter().enumerate() {
            let term = g * scale + log(j);
            if term != f64::NEG_INFINITY {
                size = most(size, term.abs());
            }
        }
        let range = 2f64.powi(T::DIGITS);
        self.scale = T::from_f64(scale);
        if !size.is_finite() || size > range || !self.scale.finite() {
            return Err(TransportError::Range { epsilon });
        }
        // Sums of two multiples below 2 x size fit the digits of T.
        let exponent = size.max(1.0).log2().ceil() as i32;
        self.grid = 2f64.powi(exponent + 3 - T::DIGITS);
        self.high.clear();
        self.low.clear();
        for (j, g) in other.iter().enumerate() {
            let [high, low] = self.split(g * scale + log(j));
            self.high.push(high);
            self.low.push(low);
        }
        Ok(())
    }

    /// `x` as a multiple of the grid and what is left.
    fn split(&self, x: f64) -> [T; 2] {
        if x == f64::NEG_INFINITY {
            return [T::LEAST, T::ZERO];
        }
        let high = (x / self.grid).round_ties_even() * self.grid;
        [T::from_f64(high), T::from_f64(x - high)]
    }

    /// The exponents of a row with the term `shift`.
    pub(crate) fn row<'a>(&'a self, cost: &'a [T], shift: f64) -> LogRow<'a, T> {
        let [shift_high, shift_low] = self.split(shift);
        LogRow {
            cost,
            scale: self.scale,
            high: &self.high,
            low: &self.low,
            shift_high,
            shift_low,
        }
    }
}

/// Fills in what is unknown of `out` (`[rows]`). `own`: potentials of the rows, `terms` those of the columns.
pub(crate) fn log_pass<C: Cost>(
    workers: &Workers,
    cost: &C,
    epsilon: f64,
    own: &[f64],
    terms: &Terms<C::Real>,
    out: &mut [Sum],
) -> Result<(), TransportError> {
    workers.parts(out, rows_per_task(cost.columns()), |start, out| {
        let mut buffer = Vec::new();
        for (i, out) in (start..).zip(out).filter(|(_, sum)| !sum.is_known()) {
            let costs = cost.row(workers, i, &mut buffer)?;
            *out = row_sum(workers, terms, costs, own[i] / epsilon)
                .ok_or(TransportError::Range { epsilon })?;
        }
        Ok(())
    })
}

/// None: no exponent of the row is a number.
pub(crate) fn row_sum<T: Real>(
    workers: &Workers,
    terms: &Terms<T>,
    costs: &[T],
    shift: f64,
) -> Option<Sum> {
    // Far inside the range of both types: what the exponential drops is nothing beside such a sum.
    const USUAL: std::ops::Range<f64> = 1e-12..1e12;
    let value = exp_sum(workers.cpu(), terms.row(costs, shift)).to_f64();
    if USUAL.contains(&value) {
        let log = value.ln();
        return Some(Sum { value, log });
    }
    let most = exp_most(workers.cpu(), terms.row(costs, shift)).to_f64();
    if !most.is_finite() {
        return None;
    }
    let value = exp_sum(workers.cpu(), terms.row(costs, shift - most)).to_f64();
    Some(Sum::from_log(most + value.ln()))
}
