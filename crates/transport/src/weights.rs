//! Masses of a set of points.
//!
//! In: numbers. Out: checked weights with their logarithms. It does not know: where the points lie.

use crate::TransportError;

/// Finite weights, none below 0, with a sum above 0. An atom of weight 0 transports nothing; its potential is the
/// one that an atom of small weight would have there.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    values: Vec<f64>,
    logs: Vec<f64>,
    mass: f64,
}

impl Weights {
    /// The weights as they are; their sum need not be 1.
    ///
    /// # Errors
    /// Empty, NaN, infinite or negative weights; a sum that is 0 or overflows.
    pub fn new(values: Vec<f64>) -> Result<Weights, TransportError> {
        let what = "weights";
        if values.is_empty() {
            return Err(TransportError::Empty { what });
        }
        for (index, &value) in values.iter().enumerate() {
            if !value.is_finite() {
                return Err(TransportError::NotFinite { what, index, value });
            }
            if value < 0.0 {
                return Err(TransportError::Negative { what, index, value });
            }
        }
        let mass = sum(values.iter().copied());
        if !mass.is_normal() {
            return Err(TransportError::NoMass { what, mass });
        }
        let logs = values.iter().map(|w| w.ln()).collect();
        Ok(Weights { values, logs, mass })
    }

    /// `count` weights of 1 / count.
    ///
    /// # Errors
    /// A count of 0.
    pub fn uniform(count: usize) -> Result<Weights, TransportError> {
        Weights::new(vec![1.0 / count as f64; count])
    }

    /// The weights divided by their sum.
    ///
    /// # Errors
    /// As [`Weights::new`].
    pub fn normalised(values: Vec<f64>) -> Result<Weights, TransportError> {
        let weights = Weights::new(values)?;
        let mass = weights.mass;
        Weights::new(weights.values.into_iter().map(|w| w / mass).collect())
    }

    /// The weights.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Their sum.
    pub fn mass(&self) -> f64 {
        self.mass
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Never: there is at least one.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Natural logarithms; minus infinity where a weight is 0.
    pub(crate) fn logs(&self) -> &[f64] {
        &self.logs
    }

    /// The sum of weight x value over the atoms that have weight.
    pub(crate) fn integral(&self, values: &[f64]) -> f64 {
        let terms = self.values.iter().zip(values);
        sum(terms.filter(|(w, _)| **w > 0.0).map(|(w, x)| w * x))
    }
}

/// A sum whose error does not grow with the number of terms (Neumaier).
pub(crate) fn sum(terms: impl Iterator<Item = f64>) -> f64 {
    let (mut total, mut lost) = (0.0f64, 0.0f64);
    for term in terms {
        let next = total + term;
        lost += if total.abs() >= term.abs() {
            (total - next) + term
        } else {
            (term - next) + total
        };
        total = next;
    }
    // An infinite total has no lost part.
    if total.is_finite() {
        total + lost
    } else {
        total
    }
}

/// Whether two masses are equal up to the rounding of their sums.
pub(crate) fn equal_masses(a: f64, b: f64) -> Result<(), TransportError> {
    const SHARE: f64 = 1e-9;
    if (a - b).abs() <= SHARE * a.max(b) {
        return Ok(());
    }
    Err(TransportError::Masses {
        source_mass: a,
        target_mass: b,
    })
}
