//! What happened to single items.
//!
//! In: both sets. Out: how far items with the same name moved; which new items lie where the baseline has none.
//! It does not know: distributions.

use std::collections::HashMap;

use serde::Serialize;

use super::DriftOptions;
use super::pooled::neighbours;
use super::set::EmbeddingSet;
use crate::{TransportError, Workers};

/// An item, by name or place, and a distance.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Item {
    /// Its name; its place in the new set if it has none.
    pub id: String,
    /// How far.
    pub distance: f64,
}

/// How far items that are in both sets moved.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Displacement {
    /// Items in both.
    pub matched: usize,
    /// Items of the baseline that are not in the new set.
    pub gone: usize,
    /// New items that are not in the baseline.
    pub added: usize,
    /// Mean Euclidean distance; 0 if nothing matched.
    pub mean: f64,
    /// Half moved less.
    pub median: f64,
    /// 95 % moved less.
    pub p95: f64,
    /// The furthest.
    pub largest: Vec<Item>,
}

/// New items that are further from the baseline than every item of the baseline is from the rest of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outliers {
    /// The distance beyond which an item lies outside.
    pub limit: f64,
    /// How many do.
    pub count: usize,
    /// Their share of the new items.
    pub share: f64,
    /// The furthest.
    pub furthest: Vec<Item>,
}

/// None: one of the sets has no names.
pub(super) fn displacement(
    baseline: &EmbeddingSet,
    new: &EmbeddingSet,
    listed: usize,
) -> Option<Displacement> {
    let (old_ids, new_ids) = (baseline.ids()?, new.ids()?);
    let places: HashMap<&str, usize> = old_ids.iter().map(String::as_str).zip(0..).collect();
    let mut moved = Vec::new();
    for (i, id) in new_ids.iter().enumerate() {
        if let Some(old) = places.get(id.as_str()) {
            let pairs = baseline
                .points()
                .point(*old)
                .iter()
                .zip(new.points().point(i));
            let squares = pairs.map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
            moved.push((squares.sum::<f64>().sqrt(), i));
        }
    }
    moved.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let matched = moved.len();
    // Largest first: the share of those that moved more.
    let beyond = |share: f64| {
        let at = ((share * matched as f64) as usize).min(matched.saturating_sub(1));
        moved.get(at).map_or(0.0, |moved| moved.0)
    };
    let total: f64 = moved.iter().map(|moved| moved.0).sum();
    Some(Displacement {
        matched,
        gone: old_ids.len() - matched,
        added: new_ids.len() - matched,
        mean: total / matched.max(1) as f64,
        median: beyond(0.5),
        p95: beyond(0.05),
        largest: list(new, &moved, listed),
    })
}

/// None: the baseline has no two items to tell what is usual.
pub(super) fn outliers(
    workers: &Workers,
    baseline: &EmbeddingSet,
    sample: &[usize],
    new: &EmbeddingSet,
    options: &DriftOptions,
) -> Result<Option<Outliers>, TransportError> {
    if sample.len() < 2 {
        return Ok(None);
    }
    let k = options.neighbours.min(sample.len() - 1) - 1;
    let usual = baseline.at(sample)?;
    let own = neighbours(workers, &usual, &usual, k, true)?;
    let limit = own.iter().copied().fold(0.0, f32::max);
    let scores = neighbours(workers, new.points(), &usual, k, false)?;
    let mut outside: Vec<(f64, usize)> = scores
        .iter()
        .enumerate()
        .filter(|(_, score)| **score > limit)
        .map(|(i, score)| (f64::from(*score), i))
        .collect();
    outside.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    Ok(Some(Outliers {
        limit: f64::from(limit),
        count: outside.len(),
        share: outside.len() as f64 / new.count() as f64,
        furthest: list(new, &outside, options.listed),
    }))
}

fn list(set: &EmbeddingSet, items: &[(f64, usize)], most: usize) -> Vec<Item> {
    let items = items.iter().take(most);
    let item = |&(distance, i): &(f64, usize)| Item {
        id: set.name(i),
        distance,
    };
    items.map(item).collect()
}
