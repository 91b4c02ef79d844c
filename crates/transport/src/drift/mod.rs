//! Whether a set of embeddings still is what it was.
//!
//! In: a baseline and new vectors. Out: a report with a verdict, as numbers, words, JSON and a picture; a baseline as bytes.
//! It does not know: what was embedded, by which model, files.
//!
//! The test behind the verdict is a permutation test of the energy distance, which is the debiased divergence of the
//! Euclidean cost as epsilon grows without end: 2 E|x - y| - E|x - x'| - E|y - y'| (Szekely and Rizzo, 2004; Feydy et al., 2019).
//! All permutations share one matrix of distances, and a raw transport cost, which hardly moves in many dimensions, is not
//! asked at all. The divergence at an epsilon of the size of the costs is reported beside it.

mod baseline;
mod debiased;
mod items;
mod map;
mod monitor;
mod permutation;
mod pooled;
mod report;
mod set;
mod svg;
mod text;

pub use baseline::{BASELINE_VERSION, baseline_from_bytes, bytes_from_baseline};
pub use items::{Displacement, Item, Outliers};
pub use map::MapPoint;
pub use monitor::{DriftMonitor, DriftWindow, Windows};
pub use report::{DriftReport, Exceeded};
pub use set::EmbeddingSet;
pub use svg::{svg_from_report, svg_from_windows};
pub use text::{text_from_report, text_from_windows};

use crate::cost::Ground;
use crate::error::above_zero;
use crate::random::Random;
use crate::sliced::{Directions, Order, sliced_wasserstein};
use crate::{TransportError, Workers};

use pooled::Pooled;

/// What counts as drift. A limit that is None asks nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// Drift if the p-value is below.
    pub p_value: f64,
    /// Drift if the divergence is above.
    pub divergence: Option<f64>,
    /// Drift if the sliced distance is above.
    pub sliced: Option<f64>,
    /// Drift if the means are further apart.
    pub mean_shift: Option<f64>,
    /// Drift if a larger share of the new items lies outside.
    pub outlier_share: Option<f64>,
}

impl Default for Thresholds {
    fn default() -> Self {
        Thresholds {
            p_value: 0.01,
            divergence: None,
            sliced: None,
            mean_shift: None,
            outlier_share: None,
        }
    }
}

/// How to compare.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DriftOptions {
    /// What the divergence is a cost of. [`Ground::Cosine`] scales all vectors to length 1 first.
    pub ground: Ground,
    /// The divergence's epsilon, as a share of the mean cost between both sets. In many dimensions all distances are alike
    /// but the one to oneself, and with an epsilon far below 1 the divergence of two samples is that and no more.
    pub epsilon_share: f64,
    /// Permutations behind the p-value, which is at least 1 / (permutations + 1).
    pub permutations: usize,
    /// Permutations behind a p-value of the divergence: 0 asks for none. Each solves three transport problems; the verdict does
    /// not look at it, as two tests would flag twice as often.
    pub divergence_permutations: usize,
    /// Vectors of each set that the divergence and the test look at, drawn by seed where there are more.
    pub sample_max: usize,
    /// Directions of the sliced distance.
    pub directions: usize,
    /// An item is as far out as its distance from this many nearest vectors of the baseline.
    pub neighbours: usize,
    /// Items listed by name.
    pub listed: usize,
    /// Of samples, permutations and directions.
    pub seed: u64,
    /// What counts as drift.
    pub thresholds: Thresholds,
}

impl Default for DriftOptions {
    fn default() -> Self {
        DriftOptions {
            ground: Ground::SquaredEuclidean,
            epsilon_share: 1.0,
            permutations: 999,
            divergence_permutations: 0,
            sample_max: 2000,
            directions: 128,
            neighbours: 5,
            listed: 10,
            seed: 0,
            thresholds: Thresholds::default(),
        }
    }
}

impl DriftOptions {
    fn check(&self) -> Result<(), TransportError> {
        above_zero("the share of epsilon", self.epsilon_share)?;
        let limits = [
            ("permutations", self.permutations, 1),
            (
                "permutations of the divergence",
                self.divergence_permutations,
                0,
            ),
            ("the sample", self.sample_max, 2),
            ("directions", self.directions, 1),
            ("neighbours", self.neighbours, 1),
        ];
        for (name, value, least) in limits {
            if value < least || value > 10_000_000 {
                return Err(TransportError::Setting {
                    name,
                    value: value as f64,
                    expected: "a whole number from 1 (a sample: 2; of the divergence: 0) to 10,000,000",
                });
            }
        }
        Ok(())
    }
}

/// Compares `new` with `baseline`.
///
/// ```
/// use lattice_transport::{DriftOptions, EmbeddingSet, Workers, drift};
///
/// let at = |i: usize, by: f32| [(i * 7 % 31) as f32 + by, (i * 3 % 17) as f32];
/// let baseline = EmbeddingSet::new((0..100).flat_map(|i| at(i, 0.0)).collect(), 2)?;
/// let moved = EmbeddingSet::new((100..200).flat_map(|i| at(i, 9.0)).collect(), 2)?;
/// let report = drift(&Workers::serial(), &baseline, &moved, &DriftOptions::default())?;
/// assert!(report.is_drift() && report.p_value < 0.01);
/// let same = drift(&Workers::serial(), &baseline, &baseline, &DriftOptions::default())?;
/// assert!(!same.is_drift());
/// # Ok::<(), lattice_transport::TransportError>(())
/// ```
///
/// # Errors
/// Sets of two dimensions or two origins; options out of their range; for [`Ground::Cosine`], vectors of length 0.
pub fn drift(
    workers: &Workers,
    baseline: &EmbeddingSet,
    new: &EmbeddingSet,
    options: &DriftOptions,
) -> Result<DriftReport, TransportError> {
    options.check()?;
    if baseline.dimension() != new.dimension() {
        return Err(TransportError::Length {
            what: "a new vector",
            expected: baseline.dimension(),
            found: new.dimension(),
        });
    }
    baseline.check_origin(new.origin())?;
    let scaled = [baseline, new].map(|set| set.grounded(options.ground));
    let [baseline, new] = scaled;
    let (baseline, new) = (&*baseline?, &*new?);
    let mut random = Random::new(options.seed);
    let samples = [baseline, new].map(|set| set.sample(options.sample_max, &mut random));
    let [old_sample, new_sample] = &samples;
    let pooled = Pooled::new(workers, baseline, old_sample, new, new_sample)?;
    let energy = permutation::test(workers, &pooled, options.permutations, &mut random)?;
    let debiased = debiased::divergence(workers, &pooled, options)?;
    let value = debiased.value;
    let [between, own, other] = [&debiased.between, &debiased.source, &debiased.target];
    let mut report = DriftReport {
        baseline_count: baseline.count(),
        new_count: new.count(),
        dimension: baseline.dimension(),
        baseline_sampled: old_sample.len(),
        new_sampled: new_sample.len(),
        energy: energy.observed,
        p_value: energy.p_value,
        permutations: options.permutations,
        divergence: value,
        divergence_p_value: debiased::p_value(workers, &pooled, options, value, &mut random)?,
        divergence_error: between.error.max(own.error).max(other.error),
        epsilon: between.epsilon,
        sliced: sliced(workers, baseline, new, options)?,
        mean_shift: mean_shift(baseline, new),
        displacement: items::displacement(baseline, new, options.listed),
        outliers: items::outliers(workers, baseline, old_sample, new, options)?,
        exceeded: Vec::new(),
        null: energy.null,
        map: map::project(baseline, old_sample, new, new_sample),
    };
    report.exceeded = report.judge(&options.thresholds);
    Ok(report)
}

fn sliced(
    workers: &Workers,
    baseline: &EmbeddingSet,
    new: &EmbeddingSet,
    options: &DriftOptions,
) -> Result<f64, TransportError> {
    let along = Directions::random(options.directions, baseline.dimension(), options.seed)?;
    let [old_weights, new_weights] = [baseline, new].map(EmbeddingSet::weights);
    sliced_wasserstein(
        workers,
        (baseline.points(), &old_weights?),
        (new.points(), &new_weights?),
        &along,
        Order::Two,
    )
}

/// The length of the difference of both means.
fn mean_shift(baseline: &EmbeddingSet, new: &EmbeddingSet) -> f64 {
    let (old, new) = (baseline.mean(), new.mean());
    let apart = old.iter().zip(&new).map(|(a, b)| (a - b) * (a - b));
    apart.sum::<f64>().sqrt()
}
