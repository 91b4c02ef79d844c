//! What a comparison found.
//!
//! In: figures. Out: a verdict on them. It does not know: how they came about, how they are shown.

use serde::Serialize;

use super::Thresholds;
use super::items::{Displacement, Outliers};
use super::map::MapPoint;

/// A figure beyond its threshold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Exceeded {
    /// Which one, as the report names it.
    pub what: &'static str,
    /// What it is.
    pub value: f64,
    /// What it was to be.
    pub threshold: f64,
}

/// A comparison of new vectors with a baseline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DriftReport {
    /// Vectors of the baseline.
    pub baseline_count: usize,
    /// New vectors.
    pub new_count: usize,
    /// Numbers in each.
    pub dimension: usize,
    /// Those of the baseline that the divergence and the test looked at.
    pub baseline_sampled: usize,
    /// The new ones that they looked at.
    pub new_sampled: usize,
    /// The energy distance.
    pub energy: f64,
    /// The share of labellings whose energy distance is as large.
    pub p_value: f64,
    /// Permutations behind it.
    pub permutations: usize,
    /// The debiased divergence.
    pub divergence: f64,
    /// The share of labellings whose divergence is as large; None if it was not asked for.
    pub divergence_p_value: Option<f64>,
    /// The largest L1 error of a marginal in it: above 0.0001 it has not converged.
    pub divergence_error: f64,
    /// The epsilon it was taken at, in units of the cost.
    pub epsilon: f64,
    /// The sliced distance, of order two, in units of the vectors.
    pub sliced: f64,
    /// The distance of both means.
    pub mean_shift: f64,
    /// How far items of the same name moved; None without names.
    pub displacement: Option<Displacement>,
    /// New items far from the baseline; None for a baseline of one.
    pub outliers: Option<Outliers>,
    /// What is beyond its threshold.
    pub exceeded: Vec<Exceeded>,
    /// The energy distance under each permutation.
    #[serde(skip)]
    pub null: Vec<f64>,
    /// Both sets on a plane.
    #[serde(skip)]
    pub map: Vec<MapPoint>,
}

impl DriftReport {
    /// Whether anything is beyond its threshold.
    pub fn is_drift(&self) -> bool {
        !self.exceeded.is_empty()
    }

    /// The report as a JSON object, without what pictures are made of.
    ///
    /// # Panics
    /// Never: names are text and figures are numbers.
    pub fn to_json(&self) -> serde_json::Value {
        let mut value = serde_json::to_value(self).expect("names are text");
        value["drift"] = self.is_drift().into();
        value
    }

    pub(super) fn judge(&self, thresholds: &Thresholds) -> Vec<Exceeded> {
        let mut exceeded = Vec::new();
        if self.p_value < thresholds.p_value {
            exceeded.push(Exceeded {
                what: "p_value",
                value: self.p_value,
                threshold: thresholds.p_value,
            });
        }
        let share = self.outliers.as_ref().map_or(0.0, |o| o.share);
        let limits = [
            ("divergence", self.divergence, thresholds.divergence),
            ("sliced", self.sliced, thresholds.sliced),
            ("mean_shift", self.mean_shift, thresholds.mean_shift),
            ("outlier_share", share, thresholds.outlier_share),
        ];
        for (what, value, threshold) in limits {
            if let Some(threshold) = threshold.filter(|threshold| value > *threshold) {
                exceeded.push(Exceeded {
                    what,
                    value,
                    threshold,
                });
            }
        }
        exceeded
    }
}
