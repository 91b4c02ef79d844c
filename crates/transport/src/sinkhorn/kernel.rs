//! A kept matrix of exponentials that iterations multiply with.
//!
//! In: costs and potentials to absorb; later, other potentials near those. Out: sums of rows or columns, or that a sum is
//! not known. It does not know: when to build one, or what to do about what is not known.
//!
//! K_ij = exp((f_i + g_j - C_ij) / epsilon) for the absorbed f and g (Schmitzer, 2019). Under potentials that have moved by
//! u and v the sum of row i is e^(u_i / epsilon) times the sum over j of K_ij b_j e^(v_j / epsilon): the same number as the
//! log domain's, but for what has underflowed. What that can be is bounded for each sum (`Range`), and a sum that it could
//! change by more than a rounding is not known. So is one that overflows.

use lattice_kernels::{Real, dot_real, exp_row};

use super::Potentials;
use super::pass::{Sum, Terms};
use crate::cost::{Cost, Transposed};
use crate::error::area;
use crate::workers::rows_per_task;
use crate::{TransportError, Weights, Workers};

/// exp((f_i + g_j - C_ij) / epsilon) for potentials that were.
pub(super) struct Kernel<T> {
    at: Potentials,
    epsilon: f64,
    /// By row and by column. None: an element is too large, and no sum is known.
    matrices: Option<[Vec<T>; 2]>,
}

/// Whose sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Rows,
    Columns,
}

/// What a number type can hold of a kernel.
struct Range {
    /// Results of the exponential below this are 0.
    least: f64,
    /// The largest element that may stand in a kernel.
    largest: f64,
    /// Half the distance from 1 to the next number.
    unit: f64,
}

/// The largest move of any potential.
pub(super) fn distance(a: &Potentials, b: &Potentials) -> f64 {
    let pairs = a.f.iter().zip(&b.f).chain(a.g.iter().zip(&b.g));
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

impl<T: Real> Kernel<T> {
    const SINGLE: bool = T::DIGITS < 30;

    /// How far potentials may leave the absorbed ones, over epsilon.
    pub(super) const REACH: f64 = if Self::SINGLE { 16.0 } else { 64.0 };

    const RANGE: Range = if Self::SINGLE {
        Range {
            least: 1.7e-38,
            largest: 1e12,
            unit: 6e-8,
        }
    } else {
        Range {
            least: 3.4e-308,
            largest: 1e100,
            unit: 1.2e-16,
        }
    };

    /// Absorbs `at`.
    pub(super) fn new<C: Cost<Real = T>>(
        workers: &Workers,
        cost: &C,
        epsilon: f64,
        at: &Potentials,
        terms: &mut Terms<T>,
    ) -> Result<Kernel<T>, TransportError> {
        terms.fill(epsilon, &at.f, &at.g, None)?;
        let rows = exponentials(workers, cost, epsilon, &at.f, terms)?;
        let fits = rows.iter().all(|e| e.to_f64() <= Self::RANGE.largest);
        let mut matrices = None;
        if fits {
            terms.fill(epsilon, &at.g, &at.f, None)?;
            let columns = exponentials(workers, &Transposed(cost), epsilon, &at.g, terms)?;
            matrices = Some([rows, columns]);
        }
        Ok(Kernel {
            at: at.clone(),
            epsilon,
            matrices,
        })
    }

    pub(super) fn is_near(&self, epsilon: f64, at: &Potentials) -> bool {
        self.epsilon == epsilon && distance(&self.at, at) <= Self::REACH * epsilon
    }

    /// The sums of one side under `at`, which is near; what is not known stays as it is. `weights`: of the other side.
    pub(super) fn sums(
        &self,
        workers: &Workers,
        of: Of,
        at: &Potentials,
        weights: &Weights,
        out: &mut [Sum],
    ) -> Result<(), TransportError> {
        let Some([rows, columns]) = &self.matrices else {
            return Ok(());
        };
        let (f, g) = ([&at.f[..], &self.at.f], [&at.g[..], &self.at.g]);
        let (matrix, own, other) = match of {
            Of::Rows => (rows, f, g),
            Of::Columns => (columns, g, f),
        };
        let moved = |side: [&[f64]; 2], i: usize| (side[0][i] - side[1][i]) / self.epsilon;
        let scaled = weights.values().iter().enumerate().map(|(j, b)| {
            // Nothing times whatever the potential of an atom without mass is.
            T::from_f64(if *b > 0.0 {
                b * moved(other, j).exp()
            } else {
                0.0
            })
        });
        let scaled: Vec<T> = scaled.collect();
        let least = Self::least_known(weights);
        workers.parts(out, rows_per_task(scaled.len()), |start, out| {
            for (i, out) in (start..).zip(out) {
                let row = &matrix[i * scaled.len()..][..scaled.len()];
                let sum = dot_real(workers.cpu(), row, &scaled).to_f64();
                if sum.is_finite() && sum >= least {
                    *out = Sum::from_log(sum.ln() + moved(own, i));
                }
            }
            Ok(())
        })
    }

    /// Beside a sum of this much, all that may have underflowed is less than a rounding: elements of the matrix, each
    /// with its weight at most e^reach times as large, and scaled weights, each with the largest element.
    fn least_known(weights: &Weights) -> f64 {
        let Range {
            least,
            largest,
            unit,
        } = Self::RANGE;
        let lost = least * (weights.mass() * Self::REACH.exp() + weights.len() as f64 * largest);
        lost / unit
    }
}

fn exponentials<C: Cost>(
    workers: &Workers,
    cost: &C,
    epsilon: f64,
    own: &[f64],
    terms: &Terms<C::Real>,
) -> Result<Vec<C::Real>, TransportError> {
    let columns = cost.columns();
    let elements = area::<C::Real>("the kernel", cost.rows(), columns)?;
    let mut out = vec![C::Real::ZERO; elements];
    let step = rows_per_task(columns);
    workers.parts(&mut out, step * columns, |start, out| {
        let mut buffer = Vec::new();
        for (i, out) in (start / columns..).zip(out.chunks_exact_mut(columns)) {
            let costs = cost.row(workers, i, &mut buffer)?;
            exp_row(workers.cpu(), terms.row(costs, own[i] / epsilon), out);
        }
        Ok(())
    })?;
    Ok(out)
}
