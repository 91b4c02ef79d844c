//! Optimal transport without entropy, for small problems.
//!
//! In: weights and costs. Out: the optimal plan, its cost, and potentials that prove it. It does not know: Sinkhorn.
//!
//! The network simplex for the transportation problem: time grows faster than rows x columns, memory is one matrix of f64.
//! A 1000 x 1000 problem takes some tenths of a second.

mod simplex;
mod tree;

use lattice_kernels::Real as _;

use crate::cost::Cost;
use crate::error::area;
use crate::plan::Entry;
use crate::sinkhorn::Problem;
use crate::weights::{equal_masses, sum};
use crate::{TransportError, Weights, Workers};

/// An optimal plan.
#[derive(Debug, Clone, PartialEq)]
pub struct ExactSolution {
    /// Mass that goes from row to column: at most rows + columns - 1 entries, by row, then column.
    pub entries: Vec<Entry>,
    /// <P, C>.
    pub transport_cost: f64,
    /// Potentials of the rows: f_i + g_j <= C_ij, equal where mass goes, up to rounding.
    pub f: Vec<f64>,
    /// Potentials of the columns.
    pub g: Vec<f64>,
}

/// Solves a balanced problem exactly. Masses are rounded to 2^-50 of their sum, so that they add up without error.
///
/// ```
/// use lattice_transport::{DenseCost, Problem, Weights, Workers, exact};
///
/// let cost = DenseCost::new(2, 2, vec![1.0, 3.0, 2.0, 1.0])?;
/// let half = Weights::uniform(2)?;
/// let found = exact(&Workers::serial(), &Problem::new(&half, &half, &cost)?)?;
/// assert_eq!(found.transport_cost, 1.0);
/// # Ok::<(), lattice_transport::TransportError>(())
/// ```
///
/// # Errors
/// Masses that differ, costs that are no numbers or whose sums overflow, a matrix that cannot be addressed.
pub fn exact<C: Cost>(
    workers: &Workers,
    problem: &Problem<'_, C>,
) -> Result<ExactSolution, TransportError> {
    let (source, target) = (problem.source, problem.target);
    equal_masses(source.mass(), target.mass())?;
    let [rows, columns] = [atoms(source), atoms(target)];
    let costs = matrix(workers, problem.cost, &rows, &columns)?;
    let [supply, demand] = units(source, &rows, target, &columns);
    let found = simplex::solve(&costs, &supply, &demand)?;
    let unit = source.mass() / UNITS;
    let mut entries: Vec<Entry> = found
        .flows
        .iter()
        .map(|&(i, j, flow)| Entry {
            row: rows[i],
            column: columns[j],
            mass: flow as f64 * unit,
        })
        .collect();
    entries.sort_by_key(|entry| (entry.row, entry.column));
    let paid = found
        .flows
        .iter()
        .map(|&(i, j, flow)| costs[i * columns.len() + j] * (flow as f64 * unit));
    let transport_cost = sum(paid);
    let [f, g] = potentials(
        workers,
        problem.cost,
        (&rows, &found.f),
        (&columns, &found.g),
    )?;
    Ok(ExactSolution {
        entries,
        transport_cost,
        f,
        g,
    })
}

/// The sum of all masses, in units.
const UNITS: f64 = (1u64 << 50) as f64;

/// The atoms that have mass.
fn atoms(weights: &Weights) -> Vec<usize> {
    let atoms = weights.values().iter().enumerate();
    let atoms = atoms.filter(|(_, w)| **w > 0.0);
    atoms.map(|(i, _)| i).collect()
}

fn matrix<C: Cost>(
    workers: &Workers,
    cost: &C,
    rows: &[usize],
    columns: &[usize],
) -> Result<Vec<f64>, TransportError> {
    let mut out = vec![0.0; area::<f64>("the cost", rows.len(), columns.len())?];
    workers.parts(&mut out, columns.len(), |start, out| {
        let mut buffer = Vec::new();
        let costs = cost.row(workers, rows[start / columns.len()], &mut buffer)?;
        for (out, j) in out.iter_mut().zip(columns) {
            *out = costs[*j].to_f64();
        }
        Ok(())
    })?;
    Ok(out)
}

/// Masses as whole numbers of units, at least 1 each, with equal sums.
fn units(source: &Weights, rows: &[usize], target: &Weights, columns: &[usize]) -> [Vec<i64>; 2] {
    let of = |weights: &Weights, atoms: &[usize]| -> Vec<i64> {
        let share = |i: &usize| weights.values()[*i] / weights.mass();
        let unit = |i: &usize| ((share(i) * UNITS).round() as i64).max(1);
        atoms.iter().map(unit).collect()
    };
    let [mut supply, mut demand] = [of(source, rows), of(target, columns)];
    let missing = demand.iter().sum::<i64>() - supply.iter().sum::<i64>();
    let short = if missing > 0 {
        &mut supply
    } else {
        &mut demand
    };
    if let Some(largest) = short.iter_mut().max() {
        *largest += missing.abs();
    }
    [supply, demand]
}

/// Potentials of all atoms, from those of the atoms with mass: the others get the largest that the costs allow.
fn potentials<C: Cost>(
    workers: &Workers,
    cost: &C,
    rows: (&[usize], &[f64]),
    columns: (&[usize], &[f64]),
) -> Result<[Vec<f64>; 2], TransportError> {
    let mut g = vec![None; cost.columns()];
    for (j, value) in columns.0.iter().zip(columns.1) {
        g[*j] = Some(*value);
    }
    let mut f = vec![None; cost.rows()];
    for (i, value) in rows.0.iter().zip(rows.1) {
        f[*i] = Some(*value);
    }
    let mut buffer = Vec::new();
    for (i, f) in f.iter_mut().enumerate().filter(|(_, f)| f.is_none()) {
        let costs = cost.row(workers, i, &mut buffer)?;
        *f = least(costs.iter().map(|c| c.to_f64()).zip(&g));
    }
    for (j, g) in g.iter_mut().enumerate().filter(|(_, g)| g.is_none()) {
        let costs = cost.column(workers, j, &mut buffer)?;
        *g = least(costs.iter().map(|c| c.to_f64()).zip(&f));
    }
    let values = |side: Vec<Option<f64>>| side.into_iter().map(Option::unwrap_or_default);
    Ok([values(f).collect(), values(g).collect()])
}

/// The least of cost - potential, over the potentials that are known.
fn least<'a>(pairs: impl Iterator<Item = (f64, &'a Option<f64>)>) -> Option<f64> {
    pairs
        .filter_map(|(cost, potential)| potential.map(|p| cost - p))
        .min_by(f64::total_cmp)
}
