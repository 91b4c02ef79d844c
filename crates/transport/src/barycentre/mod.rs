//! Means of measures under transport.
//!
//! In: measures with their shares. Out: the measure nearest to all of them, on a support that is given or found.
//! It does not know: how a single problem is solved.

mod fixed;
mod free;
mod grid;

pub use fixed::{Barycentre, BarycentreOptions, CostKernel, LogKernel, fixed_support_barycentre};
pub use free::{FreeBarycentre, FreeOptions, Inner, free_support_barycentre};
pub use grid::GridKernel;

use crate::TransportError;

/// Shares of the measures, scaled to a sum of 1. None: all equal.
fn shares(shares: Option<&[f64]>, measures: usize) -> Result<Vec<f64>, TransportError> {
    let what = "measures";
    if measures == 0 {
        return Err(TransportError::Empty { what });
    }
    let Some(shares) = shares else {
        return Ok(vec![1.0 / measures as f64; measures]);
    };
    if shares.len() != measures {
        return Err(TransportError::Length {
            what: "shares of the measures",
            expected: measures,
            found: shares.len(),
        });
    }
    let weights = crate::Weights::normalised(shares.to_vec())?;
    Ok(weights.values().to_vec())
}
