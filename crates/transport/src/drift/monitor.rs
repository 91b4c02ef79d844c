//! A stream of vectors against a baseline, window by window.
//!
//! In: vectors as they come. Out: a report for each full window. It does not know: where they come from.

use serde::Serialize;

use super::report::DriftReport;
use super::set::EmbeddingSet;
use super::{DriftOptions, drift};
use crate::{TransportError, Workers};

/// How a stream is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// Vectors in a window.
    pub size: usize,
    /// Vectors between the beginnings of two windows; smaller than `size`: windows overlap.
    pub step: usize,
}

impl Windows {
    /// Windows of `size`, one after the other.
    pub fn of(size: usize) -> Windows {
        Windows { size, step: size }
    }
}

/// A window of a stream and what was found in it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DriftWindow {
    /// The place in the stream of its first vector.
    pub first: u64,
    /// What was found.
    pub report: DriftReport,
}

/// Compares a stream with a baseline. Memory for one window and the baseline.
///
/// ```
/// use lattice_transport::{DriftMonitor, DriftOptions, EmbeddingSet, Windows, Workers};
///
/// let value = |i: usize| (i * 7 % 31) as f32;
/// let baseline = EmbeddingSet::new((0..200).map(value).collect(), 1)?;
/// let workers = Workers::serial();
/// let mut monitor = DriftMonitor::new(&workers, &baseline, DriftOptions::default(), Windows::of(50))?;
/// let usual: Vec<f32> = (200..300).map(value).collect();
/// assert!(monitor.push(&usual)?.iter().all(|window| !window.report.is_drift()));
/// let moved: Vec<f32> = (300..350).map(|i| value(i) + 20.0).collect();
/// assert!(monitor.push(&moved)?[0].report.is_drift());
/// # Ok::<(), lattice_transport::TransportError>(())
/// ```
#[derive(Debug)]
pub struct DriftMonitor<'a> {
    workers: &'a Workers,
    baseline: &'a EmbeddingSet,
    options: DriftOptions,
    windows: Windows,
    /// Vectors that a later window still needs.
    kept: Vec<f32>,
    /// Values to pass over before the next window.
    skip: usize,
    first: u64,
}

impl<'a> DriftMonitor<'a> {
    /// # Errors
    /// Options out of their range; windows of nothing.
    pub fn new(
        workers: &'a Workers,
        baseline: &'a EmbeddingSet,
        options: DriftOptions,
        windows: Windows,
    ) -> Result<Self, TransportError> {
        options.check()?;
        for (name, value) in [
            ("a window", windows.size),
            ("the step of windows", windows.step),
        ] {
            if value == 0 || value > 100_000_000 {
                return Err(TransportError::Setting {
                    name,
                    value: value as f64,
                    expected: "a whole number from 1 to 100,000,000",
                });
            }
        }
        Ok(DriftMonitor {
            workers,
            baseline,
            options,
            windows,
            kept: Vec::new(),
            skip: 0,
            first: 0,
        })
    }

    /// Takes vectors, `[any number, dimension]`, and reports on the windows that they fill.
    ///
    /// # Errors
    /// A vector that is cut, or is no vector of numbers.
    pub fn push(&mut self, values: &[f32]) -> Result<Vec<DriftWindow>, TransportError> {
        let dimension = self.baseline.dimension();
        if !values.len().is_multiple_of(dimension) {
            return Err(TransportError::Length {
                what: "vectors of the stream",
                expected: values.len().div_ceil(dimension).saturating_mul(dimension),
                found: values.len(),
            });
        }
        let passed = self.skip.min(values.len());
        self.skip -= passed;
        self.kept.extend_from_slice(&values[passed..]);
        let size = crate::error::area::<f32>("a window", self.windows.size, dimension)?;
        let step = crate::error::area::<f32>("the step of windows", self.windows.step, dimension)?;
        let mut found = Vec::new();
        while self.kept.len() >= size {
            let window = EmbeddingSet::new(self.kept[..size].to_vec(), dimension)?;
            found.push(DriftWindow {
                first: self.first,
                report: drift(self.workers, self.baseline, &window, &self.options)?,
            });
            self.first += self.windows.step as u64;
            let gone = step.min(self.kept.len());
            self.kept.drain(..gone);
            self.skip = step - gone;
        }
        Ok(found)
    }

    /// Vectors that wait for their window to fill.
    pub fn waiting(&self) -> usize {
        self.kept.len() / self.baseline.dimension()
    }
}
