//! Optimal transport between weighted sets of points.
//!
//! In: points or costs, and their weights. Out: values, plans, gradients and what is known about their convergence.
//! It does not know: models, files, terminals, the environment.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod barycentre;
mod cost;
mod divergence;
mod drift;
mod error;
mod exact;
mod gradient;
mod plan;
mod random;
mod sinkhorn;
mod sliced;
mod weights;
mod workers;

pub use barycentre::{
    Barycentre, BarycentreOptions, CostKernel, FreeBarycentre, FreeOptions, GridKernel, Inner,
    LogKernel, fixed_support_barycentre, free_support_barycentre,
};
pub use cost::{Cost, DenseCost, FnCost, Ground, PointCost, Points};
pub use divergence::{Divergence, divergence, divergence_gradient, divergence_of_costs};
pub use drift::{
    BASELINE_VERSION, Displacement, DriftMonitor, DriftOptions, DriftReport, DriftWindow,
    EmbeddingSet, Exceeded, Item, MapPoint, Outliers, Thresholds, Windows, baseline_from_bytes,
    bytes_from_baseline, drift, svg_from_report, svg_from_windows, text_from_report,
    text_from_windows,
};
pub use error::TransportError;
pub use exact::{ExactSolution, exact};
pub use gradient::{point_gradient, weight_gradient};
pub use plan::{Entry, Plan};
pub use sinkhorn::{
    Acceleration, Domain, EpsilonScaling, Marginals, Observer, Outcome, Problem, Progress,
    SinkhornOptions, Solution, sinkhorn, sinkhorn_batch,
};
pub use sliced::{Directions, Order, sliced_wasserstein};
pub use weights::Weights;
pub use workers::Workers;
