//! The kernel of squared distance on a grid, one axis after the other.
//!
//! In: the coordinates of each axis. Out: products in time of points x (sum of the axes), not points x points.
//! It does not know: what is multiplied.

use super::fixed::LogKernel;
use crate::error::{above_zero, area};
use crate::sinkhorn::{Terms, row_sum};
use crate::workers::rows_per_task;
use crate::{TransportError, Workers};

/// exp(-|x - y|^2 / epsilon) between the points of a grid, row-major: the last axis runs fastest.
#[derive(Debug, Clone)]
pub struct GridKernel {
    axes: Vec<Axis>,
    size: usize,
    epsilon: f64,
}

#[derive(Debug, Clone)]
struct Axis {
    points: usize,
    /// `[points, points]`.
    costs: Vec<f64>,
}

impl GridKernel {
    /// One list of coordinates for each axis.
    ///
    /// # Errors
    /// No axes, an axis without points, coordinates that are no numbers, a grid that cannot be addressed, an epsilon that
    /// is not above 0.
    pub fn new(axes: Vec<Vec<f64>>, epsilon: f64) -> Result<Self, TransportError> {
        above_zero("epsilon", epsilon)?;
        if axes.is_empty() {
            return Err(TransportError::Empty { what: "the grid" });
        }
        let mut size = 1;
        let mut built = Vec::new();
        for axis in &axes {
            size = area::<f64>("the grid", size, axis.len())?;
            built.push(Axis::new(axis)?);
        }
        Ok(GridKernel {
            axes: built,
            size,
            epsilon,
        })
    }
}

impl Axis {
    fn new(coordinates: &[f64]) -> Result<Axis, TransportError> {
        let (what, points) = ("an axis of the grid", coordinates.len());
        if points == 0 {
            return Err(TransportError::Empty { what });
        }
        let mut costs = Vec::with_capacity(area::<f64>(what, points, points)?);
        for (index, x) in coordinates.iter().enumerate() {
            costs.extend(coordinates.iter().map(|y| (x - y) * (x - y)));
            let row = &costs[index * points..];
            if let Some(j) = row.iter().position(|cost| !cost.is_finite()) {
                return Err(TransportError::CostNotFinite {
                    row: index,
                    column: j,
                    value: row[j],
                });
            }
        }
        Ok(Axis { points, costs })
    }

    /// Every line of `logs` along this axis, `inner` apart; `lines` gets one line after the other.
    fn product(
        &self,
        workers: &Workers,
        epsilon: f64,
        inner: usize,
        logs: &[f64],
        lines: &mut [f64],
    ) -> Result<(), TransportError> {
        let n = self.points;
        let step = rows_per_task(n * n);
        workers.parts(lines, step * n, |start, out| {
            let mut terms = Terms::<f64>::default();
            let zeros = vec![0.0; n];
            for (line, out) in (start / n..).zip(out.chunks_exact_mut(n)) {
                let first = line / inner * n * inner + line % inner;
                let line: Vec<f64> = (0..n).map(|i| logs[first + i * inner]).collect();
                let most = line.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                if most == f64::NEG_INFINITY {
                    out.fill(most);
                    continue;
                }
                terms.fill(epsilon, &zeros, &zeros, Some(&line))?;
                for (out, costs) in out.iter_mut().zip(self.costs.chunks_exact(n)) {
                    let sum = row_sum(workers, &terms, costs, -most);
                    let sum = sum.ok_or(TransportError::Range { epsilon })?;
                    *out = sum.log + most;
                }
            }
            Ok(())
        })
    }
}

impl LogKernel for GridKernel {
    fn size(&self) -> usize {
        self.size
    }

    fn epsilon(&self) -> f64 {
        self.epsilon
    }

    fn product(
        &self,
        workers: &Workers,
        logs: &[f64],
        out: &mut [f64],
    ) -> Result<(), TransportError> {
        out.copy_from_slice(logs);
        let mut lines = vec![0.0; out.len()];
        let mut inner = self.size;
        for axis in &self.axes {
            inner /= axis.points;
            axis.product(workers, self.epsilon, inner, out, &mut lines)?;
            for (line, values) in lines.chunks_exact(axis.points).enumerate() {
                let first = line / inner * axis.points * inner + line % inner;
                for (i, value) in values.iter().enumerate() {
                    out[first + i * inner] = *value;
                }
            }
        }
        Ok(())
    }

    fn product_transposed(
        &self,
        workers: &Workers,
        logs: &[f64],
        out: &mut [f64],
    ) -> Result<(), TransportError> {
        // Squared distance is the same both ways.
        self.product(workers, logs, out)
    }
}
