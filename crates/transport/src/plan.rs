//! The plan that potentials stand for, row by row.
//!
//! In: a problem and its solution. Out: entries of the plan, never all of them at once unless asked for; what the plan
//! carries over. It does not know: how the potentials were found.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use lattice_kernels::{Real, exp_row};

use crate::cost::Cost;
use crate::error::area;
use crate::sinkhorn::{Problem, Solution, Terms};
use crate::workers::rows_per_task;
use crate::{TransportError, Workers};

/// Mass that goes from a row to a column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Entry {
    /// Source.
    pub row: usize,
    /// Target.
    pub column: usize,
    /// How much.
    pub mass: f64,
}

/// The plan of a solution: P_ij = a_i b_j exp((f_i + g_j - C_ij) / epsilon).
#[derive(Debug)]
pub struct Plan<'a, C: Cost> {
    workers: &'a Workers,
    problem: Problem<'a, C>,
    solution: &'a Solution,
    terms: Terms<C::Real>,
}

impl<'a, C: Cost> Plan<'a, C> {
    /// ```
    /// use lattice_transport::{FnCost, Plan, Problem, SinkhornOptions, Weights, Workers, sinkhorn};
    ///
    /// let workers = Workers::serial();
    /// let cost = FnCost::new(3, 3, |i, j| if i == j { 0.0 } else { 1.0 })?;
    /// let third = Weights::uniform(3)?;
    /// let problem = Problem::new(&third, &third, &cost)?;
    /// let solution = sinkhorn(&workers, &problem, &SinkhornOptions::new(0.1))?.converged()?;
    /// let plan = Plan::new(&workers, &problem, &solution)?;
    /// let kept = plan.entries_above(0.1)?;
    /// assert!(kept.iter().all(|entry| entry.row == entry.column));
    /// # Ok::<(), lattice_transport::TransportError>(())
    /// ```
    ///
    /// # Errors
    /// A solution of another problem: [`TransportError::Length`]; potentials out of range.
    pub fn new(
        workers: &'a Workers,
        problem: &Problem<'a, C>,
        solution: &'a Solution,
    ) -> Result<Self, TransportError> {
        let sides = [
            (problem.source.len(), solution.f.len()),
            (problem.target.len(), solution.g.len()),
        ];
        for (expected, found) in sides {
            if expected != found {
                return Err(TransportError::Length {
                    what: "the solution's potentials",
                    expected,
                    found,
                });
            }
        }
        let mut terms = Terms::default();
        let logs = Some(problem.target.logs());
        terms.fill(solution.epsilon, &solution.f, &solution.g, logs)?;
        Ok(Plan {
            workers,
            problem: *problem,
            solution,
            terms,
        })
    }

    /// Mass from row `i` to each column: `[columns]`.
    ///
    /// # Errors
    /// Costs that are no numbers.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, i: usize) -> Result<Vec<f64>, TransportError> {
        let mut scratch = Scratch::default();
        self.fill(i, &mut scratch)?;
        Ok(scratch.masses)
    }

    /// The whole plan, row-major: `[rows, columns]`.
    ///
    /// # Errors
    /// A size that cannot be addressed; costs that are no numbers.
    pub fn dense(&self) -> Result<Vec<f64>, TransportError> {
        let (rows, columns) = (self.problem.source.len(), self.problem.target.len());
        let mut out = vec![0.0; area::<f64>("the plan", rows, columns)?];
        let step = rows_per_task(columns);
        self.workers.parts(&mut out, step * columns, |start, out| {
            let mut scratch = Scratch::default();
            for (i, out) in (start / columns..).zip(out.chunks_exact_mut(columns)) {
                self.fill(i, &mut scratch)?;
                out.copy_from_slice(&scratch.masses);
            }
            Ok(())
        })?;
        Ok(out)
    }

    /// The entries of at least `mass`, by row, then column; memory for them alone.
    ///
    /// # Errors
    /// Costs that are no numbers.
    pub fn entries_above(&self, mass: f64) -> Result<Vec<Entry>, TransportError> {
        let rows = self.per_row(|row, masses| {
            let entry = |(column, m): (usize, &f64)| {
                (*m >= mass && *m > 0.0).then_some(Entry {
                    row,
                    column,
                    mass: *m,
                })
            };
            masses.iter().enumerate().filter_map(entry).collect()
        })?;
        Ok(rows.into_iter().flatten().collect())
    }

    /// The `count` largest entries, largest first; of equals the one with the lower row, then column. Memory for
    /// rows + `count` entries at a time.
    ///
    /// # Errors
    /// Costs that are no numbers.
    pub fn largest(&self, count: usize) -> Result<Vec<Entry>, TransportError> {
        let mut best: BinaryHeap<Ranked> = BinaryHeap::new();
        let mut scratch = Scratch::default();
        for row in 0..self.problem.source.len() {
            self.fill(row, &mut scratch)?;
            for (column, mass) in scratch.masses.iter().copied().enumerate() {
                let ranked = Ranked(Entry { row, column, mass });
                let enters = best.len() < count || best.peek().is_some_and(|worst| ranked < *worst);
                if mass > 0.0 && enters && count > 0 {
                    best.push(ranked);
                    if best.len() > count {
                        best.pop();
                    }
                }
            }
        }
        let ranked = best.into_sorted_vec().into_iter();
        Ok(ranked.map(|ranked| ranked.0).collect())
    }

    /// Where each row's mass goes on average: `values` `[columns, width]`, row-major, gives `[rows, width]`. Rows without
    /// mass give 0.
    ///
    /// # Errors
    /// Values of another length; costs that are no numbers.
    pub fn carry(&self, values: &[f64], width: usize) -> Result<Vec<f64>, TransportError> {
        let columns = self.problem.target.len();
        let expected = area::<f64>("values to carry", columns, width)?;
        if values.len() != expected || width == 0 {
            return Err(TransportError::Length {
                what: "values to carry",
                expected,
                found: values.len(),
            });
        }
        let rows = self.per_row(|_, masses| {
            let mut mean = vec![0.0; width];
            let total: f64 = masses.iter().sum();
            for (mass, value) in masses.iter().zip(values.chunks_exact(width)) {
                if *mass > 0.0 {
                    let share = mass / total;
                    mean.iter_mut()
                        .zip(value)
                        .for_each(|(m, v)| *m += share * v);
                }
            }
            mean
        })?;
        Ok(rows.into_iter().flatten().collect())
    }

    /// What `each` makes of every row and its masses, in the order of the rows.
    pub(crate) fn per_row<T: Send>(
        &self,
        each: impl Fn(usize, &[f64]) -> Vec<T> + Sync,
    ) -> Result<Vec<Vec<T>>, TransportError> {
        let mut out: Vec<Vec<T>> = Vec::new();
        out.resize_with(self.problem.source.len(), Vec::new);
        let step = rows_per_task(self.problem.target.len());
        self.workers.parts(&mut out, step, |start, out| {
            let mut scratch = Scratch::default();
            for (i, out) in (start..).zip(out) {
                self.fill(i, &mut scratch)?;
                *out = each(i, &scratch.masses);
            }
            Ok(())
        })?;
        Ok(out)
    }

    fn fill(&self, i: usize, scratch: &mut Scratch<C::Real>) -> Result<(), TransportError> {
        let weight = self.problem.source.values()[i];
        let columns = self.problem.target.len();
        scratch.masses.resize(columns, 0.0);
        if weight == 0.0 {
            scratch.masses.fill(0.0);
            return Ok(());
        }
        let costs = self.problem.cost.row(self.workers, i, &mut scratch.costs)?;
        let row = self
            .terms
            .row(costs, self.solution.f[i] / self.solution.epsilon);
        scratch.exponentials.resize(columns, C::Real::ZERO);
        exp_row(self.workers.cpu(), row, &mut scratch.exponentials);
        for (mass, e) in scratch.masses.iter_mut().zip(&scratch.exponentials) {
            *mass = weight * e.to_f64();
        }
        Ok(())
    }
}

#[derive(Default)]
struct Scratch<T> {
    costs: Vec<T>,
    exponentials: Vec<T>,
    masses: Vec<f64>,
}

/// The smallest is the entry that ranks first.
#[derive(Debug, PartialEq)]
struct Ranked(Entry);

impl Eq for Ranked {}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b) = (&self.0, &other.0);
        let place = (a.row, a.column).cmp(&(b.row, b.column));
        b.mass.total_cmp(&a.mass).then(place)
    }
}
