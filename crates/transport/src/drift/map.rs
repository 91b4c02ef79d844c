//! Both sets on a plane, for people.
//!
//! In: samples of both sets. Out: two coordinates for each. It does not know: how they are drawn.
//!
//! The first axis is the line through both means, where a shift shows; the second the direction of largest spread across it.

use super::set::EmbeddingSet;

/// An item on the plane.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MapPoint {
    /// Along the line from the baseline's mean to the new one's.
    pub x: f64,
    /// Along the largest spread across that line.
    pub y: f64,
    /// Of the new set.
    pub new: bool,
}

/// Items of each set that a picture shows.
const SHOWN: usize = 400;

pub(super) fn project(
    baseline: &EmbeddingSet,
    old: &[usize],
    fresh: &EmbeddingSet,
    new: &[usize],
) -> Vec<MapPoint> {
    let (from, to) = (baseline.mean(), fresh.mean());
    let mut first: Vec<f64> = from.iter().zip(&to).map(|(a, b)| b - a).collect();
    if !scale(&mut first) {
        // Equal means: any line will do.
        first[0] = 1.0;
    }
    let rows = |set: &EmbeddingSet, places: &[usize]| -> Vec<Vec<f64>> {
        let step = places.len().div_ceil(SHOWN).max(1);
        let row = |i: &usize| {
            let point = set.points().point(*i).iter();
            point.zip(&from).map(|(x, m)| f64::from(*x) - m).collect()
        };
        places.iter().step_by(step).map(row).collect()
    };
    let (old, new) = (rows(baseline, old), rows(fresh, new));
    let second = spread(&first, old.iter().chain(&new));
    let point = |row: &Vec<f64>, new| MapPoint {
        x: dot(row, &first),
        y: dot(row, &second),
        new,
    };
    let old = old.iter().map(|row| point(row, false));
    old.chain(new.iter().map(|row| point(row, true))).collect()
}

/// The direction of largest spread across `first`, by power iteration.
fn spread<'a>(first: &[f64], rows: impl Iterator<Item = &'a Vec<f64>> + Clone) -> Vec<f64> {
    const ROUNDS: usize = 20;
    let mut axis: Vec<f64> = (0..first.len()).map(|k| 1.0 + (k % 7) as f64).collect();
    across(&mut axis, first);
    for _ in 0..ROUNDS {
        let mut next = vec![0.0; axis.len()];
        for row in rows.clone() {
            let along = dot(row, &axis);
            next.iter_mut().zip(row).for_each(|(n, x)| *n += along * x);
        }
        across(&mut next, first);
        if dot(&next, &next) == 0.0 {
            break;
        }
        axis = next;
    }
    axis
}

/// Takes out what lies along `first`, and scales to length 1.
fn across(axis: &mut [f64], first: &[f64]) {
    let along = dot(axis, first);
    axis.iter_mut()
        .zip(first)
        .for_each(|(a, f)| *a -= along * f);
    scale(axis);
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// To length 1; false where there is none, and all are 0 then.
fn scale(axis: &mut [f64]) -> bool {
    let length = dot(axis, axis).sqrt();
    let fits = length > 1e-9;
    axis.iter_mut()
        .for_each(|a| *a = if fits { *a / length } else { 0.0 });
    fits
}
