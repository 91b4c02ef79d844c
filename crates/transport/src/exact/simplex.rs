//! Pivots until no arc is worth entering.
//!
//! In: a matrix of costs, whole-numbered supplies and demands of equal sums. Out: optimal flows and potentials.
//! It does not know: points and weights.

use super::tree::{Entering, Tree};
use crate::TransportError;

pub(super) struct Flows {
    /// (row, column, flow), flows above 0.
    pub(super) flows: Vec<(usize, usize, i64)>,
    pub(super) f: Vec<f64>,
    pub(super) g: Vec<f64>,
}

/// `costs`: `[supply, demand]`, row-major.
pub(super) fn solve(
    costs: &[f64],
    supply: &[i64],
    demand: &[i64],
) -> Result<Flows, TransportError> {
    let (rows, columns) = (supply.len(), demand.len());
    let largest = costs.iter().fold(0.0f64, |m, c| m.max(c.abs()));
    // Dearer than any path of real arcs.
    let dear = (largest + 1.0) * (rows + columns) as f64;
    if !(dear * (rows + columns) as f64).is_finite() {
        return Err(TransportError::Setting {
            name: "the largest cost",
            value: largest,
            expected: "a number whose sums do not overflow",
        });
    }
    let mut tree = Tree::new(supply, demand, dear);
    let mut search = Search {
        costs,
        columns,
        // What rounding can make of a reduced cost of 0.
        slack: dear * 4.0 * f64::EPSILON,
        at: 0,
        block: ((costs.len() as f64).sqrt() as usize).max(16),
    };
    let pivots_max = 1000 * (rows + columns) + 50 * costs.len();
    let mut pivots = 0;
    loop {
        while let Some(arc) = search.next(&tree) {
            tree.pivot(arc);
            pivots += 1;
            if pivots > pivots_max {
                return Err(TransportError::NotConverged {
                    iterations: pivots,
                    error: -arc.reduced,
                });
            }
        }
        tree.price(dear, |i, j| costs[i * columns + j - rows]);
        match search.next(&tree) {
            Some(arc) => tree.pivot(arc),
            None => return Ok(flows(&tree)),
        }
    }
}

/// Looks for an arc to enter, a block of arcs at a time, going on where it stopped (block search).
struct Search<'a> {
    costs: &'a [f64],
    columns: usize,
    slack: f64,
    at: usize,
    block: usize,
}

impl Search<'_> {
    /// The best arc of the first block that has one; None after a whole round.
    fn next(&mut self, tree: &Tree) -> Option<Entering> {
        let (sources, arcs) = (tree.sources, self.costs.len());
        let targets = &tree.potential[sources..];
        let (mut best, mut looked, mut in_block) = (-self.slack, 0, 0);
        let mut found = None;
        let (mut i, mut j) = (self.at / self.columns, self.at % self.columns);
        while looked < arcs {
            let end = self.columns.min(j + self.block - in_block);
            let row = &self.costs[i * self.columns..][j..end];
            let own = tree.potential[i];
            for (k, (cost, target)) in row.iter().zip(&targets[j..end]).enumerate() {
                let reduced = cost + own - target;
                if reduced < best {
                    best = reduced;
                    found = Some((i, j + k));
                }
            }
            looked += end - j;
            in_block += end - j;
            j = end;
            if j == self.columns {
                (i, j) = ((i + 1) % sources, 0);
            }
            if in_block == self.block {
                if found.is_some() {
                    break;
                }
                in_block = 0;
            }
        }
        self.at = i * self.columns + j;
        found.map(|(source, column)| Entering {
            source,
            target: sources + column,
            reduced: best,
        })
    }
}

fn flows(tree: &Tree) -> Flows {
    let arc = |v: usize| {
        let (parent, flow) = (tree.parent[v], tree.flow[v]);
        let (i, j) = if tree.up[v] { (v, parent) } else { (parent, v) };
        (parent != tree.root && flow > 0).then(|| (i, j - tree.sources, flow))
    };
    let (f, g) = tree.potential[..tree.root].split_at(tree.sources);
    // Only differences matter; the root's place in the tree does not.
    let mean = f.iter().sum::<f64>() / f.len() as f64;
    Flows {
        flows: (0..tree.root).filter_map(arc).collect(),
        f: f.iter().map(|p| mean - p).collect(),
        g: g.iter().map(|p| p - mean).collect(),
    }
}
