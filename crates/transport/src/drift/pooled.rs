//! All distances between the items of two sets, and within each.
//!
//! In: samples of both sets. Out: one matrix of Euclidean distances, old items first. It does not know: labels.

use super::set::EmbeddingSet;
use crate::cost::{Cost, Ground, PointCost, Points, matrix};
use crate::{TransportError, Workers};

pub(super) struct Pooled {
    /// Items of the baseline.
    pub(super) old: usize,
    /// New items.
    pub(super) new: usize,
    /// `[old + new, old + new]`.
    pub(super) distances: Vec<f32>,
}

impl Pooled {
    pub(super) fn new(
        workers: &Workers,
        baseline: &EmbeddingSet,
        old: &[usize],
        fresh: &EmbeddingSet,
        new: &[usize],
    ) -> Result<Pooled, TransportError> {
        let mut values = baseline.at(old)?.values().to_vec();
        values.extend_from_slice(fresh.at(new)?.values());
        let points = Points::new(values, baseline.dimension())?;
        let cost = PointCost::new(&points, &points, Ground::Euclidean)?;
        Ok(Pooled {
            old: old.len(),
            new: new.len(),
            distances: matrix(workers, &cost)?,
        })
    }

    pub(super) fn count(&self) -> usize {
        self.old + self.new
    }

    pub(super) fn row(&self, i: usize) -> &[f32] {
        &self.distances[i * self.count()..][..self.count()]
    }

    /// Costs from the items `from` to the items `to`, by their places here.
    pub(super) fn between<'a>(
        &'a self,
        from: &'a [usize],
        to: &'a [usize],
        ground: Ground,
    ) -> PooledCost<'a> {
        PooledCost {
            pooled: self,
            from,
            to,
            ground,
        }
    }

    /// The mean cost from old to new.
    pub(super) fn mean_between(&self, ground: Ground) -> f64 {
        let row = |i| {
            let costs = self.row(i)[self.old..].iter();
            costs.map(|c| f64::from(cost(ground, *c))).sum::<f64>()
        };
        (0..self.old).map(row).sum::<f64>() / (self.old as f64 * self.new as f64)
    }
}

/// Costs between some of the items and others, looked up when they are asked for.
pub(super) struct PooledCost<'a> {
    pooled: &'a Pooled,
    from: &'a [usize],
    to: &'a [usize],
    ground: Ground,
}

impl PooledCost<'_> {
    fn look_up<'b>(&self, one: usize, others: &[usize], buffer: &'b mut Vec<f32>) -> &'b [f32] {
        let row = self.pooled.row(one);
        buffer.clear();
        buffer.extend(others.iter().map(|j| cost(self.ground, row[*j])));
        buffer
    }
}

impl Cost for PooledCost<'_> {
    type Real = f32;

    fn rows(&self) -> usize {
        self.from.len()
    }

    fn columns(&self) -> usize {
        self.to.len()
    }

    fn row<'a>(
        &'a self,
        _: &Workers,
        i: usize,
        buffer: &'a mut Vec<f32>,
    ) -> Result<&'a [f32], TransportError> {
        Ok(self.look_up(self.from[i], self.to, buffer))
    }

    fn column<'a>(
        &'a self,
        _: &Workers,
        j: usize,
        buffer: &'a mut Vec<f32>,
    ) -> Result<&'a [f32], TransportError> {
        Ok(self.look_up(self.to[j], self.from, buffer))
    }
}

/// What a distance costs; between vectors of length 1, cosine distance is half the square.
fn cost(ground: Ground, distance: f32) -> f32 {
    match ground {
        Ground::Euclidean => distance,
        Ground::SquaredEuclidean => distance * distance,
        Ground::Cosine => 0.5 * distance * distance,
    }
}

/// The `k`-th smallest of a row's distances, which it reorders.
pub(super) fn kth(distances: &mut [f32], k: usize) -> f32 {
    let (_, kth, _) = distances.select_nth_unstable_by(k, f32::total_cmp);
    *kth
}

/// For each point of `from`, the distance of its `k`-th nearest of `to` (0: the nearest). With `skip_self` both are the
/// same points, and none is its own neighbour.
pub(super) fn neighbours(
    workers: &Workers,
    from: &Points<f32>,
    to: &Points<f32>,
    k: usize,
    skip_self: bool,
) -> Result<Vec<f32>, TransportError> {
    let cost = PointCost::new(from, to, Ground::Euclidean)?;
    let mut out = vec![0.0; from.count()];
    workers.parts(&mut out, 16, |start, out| {
        let mut buffer = Vec::new();
        for (i, out) in (start..).zip(out) {
            cost.row(workers, i, &mut buffer)?;
            buffer.truncate(to.count());
            if skip_self {
                buffer.swap_remove(i);
            }
            *out = kth(&mut buffer, k);
        }
        Ok(())
    })?;
    Ok(out)
}
