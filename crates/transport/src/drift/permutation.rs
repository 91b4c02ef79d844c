//! The permutation test of the energy distance.
//!
//! In: all distances. Out: the statistic, and how often mixed labels reach it. It does not know: vectors.
//!
//! With z = 1 / old for old items and -1 / new for new ones the energy distance is -z' D z: a permutation is another order of z,
//! and D stays.

use lattice_kernels::dot_real;

use super::pooled::Pooled;
use crate::error::area;
use crate::random::Random;
use crate::{TransportError, Workers};

pub(super) struct Energy {
    pub(super) observed: f64,
    /// The share of labellings, the given one among them, whose statistic is as large.
    pub(super) p_value: f64,
    /// The statistic under each permutation.
    pub(super) null: Vec<f64>,
}

/// Labellings that share each pass over the distances.
const BLOCK: usize = 16;

pub(super) fn test(
    workers: &Workers,
    pooled: &Pooled,
    permutations: usize,
    random: &mut Random,
) -> Result<Energy, TransportError> {
    let count = pooled.count();
    let mut labels = vec![1.0 / pooled.old as f32; pooled.old];
    labels.resize(count, -1.0 / pooled.new as f32);
    let mut orders = labels.clone();
    orders.reserve_exact(area::<f32>("permutations", permutations, count)?);
    for _ in 0..permutations {
        random.shuffle(&mut labels);
        orders.extend_from_slice(&labels);
    }
    let mut energies = vec![0.0; permutations + 1];
    workers.parts(&mut energies, BLOCK, |start, energies| {
        for i in 0..count {
            let row = pooled.row(i);
            for (b, energy) in energies.iter_mut().enumerate() {
                let z = &orders[(start + b) * count..][..count];
                let sum = dot_real(workers.cpu(), row, z);
                *energy -= f64::from(z[i]) * f64::from(sum);
            }
        }
        Ok(())
    })?;
    let null = energies.split_off(1);
    let observed = energies[0];
    // The same labelling in another order of sums is as large, whatever rounding says.
    let reached = observed - 1e-7 * observed.abs();
    let as_large = null.iter().filter(|energy| **energy >= reached).count();
    Ok(Energy {
        observed,
        p_value: (1 + as_large) as f64 / (1 + permutations) as f64,
        null,
    })
}
