//! Costs between points, computed row by row when they are asked for.
//!
//! In: coordinates. Out: squared Euclidean, Euclidean or cosine costs in memory of the points alone.
//! It does not know: weights and solvers.

use std::borrow::Cow;

use lattice_kernels::{REAL_LANES, Real, dot_panel, squared_distance_panel};

use super::{Cost, not_empty};
use crate::error::area;
use crate::{TransportError, Workers};

/// Points of one dimension, kept by point and, 16 at a time, by coordinate.
#[derive(Debug, Clone, PartialEq)]
pub struct Points<T> {
    count: usize,
    dimension: usize,
    values: Vec<T>,
    /// `[count / 16 rounded up, dimension, 16]`.
    panels: Vec<T>,
}

impl<T: Real> Points<T> {
    /// `values`: `[count, dimension]`, row-major.
    ///
    /// ```
    /// # use lattice_transport::Points;
    /// let points = Points::new(vec![0.0, 0.0, 3.0, 4.0], 2)?;
    /// assert_eq!(points.count(), 2);
    /// # Ok::<(), lattice_transport::TransportError>(())
    /// ```
    ///
    /// # Errors
    /// No points or no coordinates, a last point that is cut, NaN, infinities, and coordinates so large that a squared
    /// distance would overflow.
    pub fn new(values: Vec<T>, dimension: usize) -> Result<Self, TransportError> {
        let what = "points";
        if values.is_empty() || dimension == 0 {
            return Err(TransportError::Empty { what });
        }
        if !values.len().is_multiple_of(dimension) {
            return Err(TransportError::Length {
                what,
                expected: values.len().div_ceil(dimension).saturating_mul(dimension),
                found: values.len(),
            });
        }
        check_values(&values, dimension)?;
        let count = values.len() / dimension;
        let padded = count.div_ceil(REAL_LANES).saturating_mul(REAL_LANES);
        let mut panels = vec![T::ZERO; area::<T>(what, padded, dimension)?];
        for (i, point) in values.chunks_exact(dimension).enumerate() {
            let panel = &mut panels[i / REAL_LANES * REAL_LANES * dimension..];
            for (k, value) in point.iter().enumerate() {
                panel[k * REAL_LANES + i % REAL_LANES] = *value;
            }
        }
        Ok(Points {
            count,
            dimension,
            values,
            panels,
        })
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Coordinates of each.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// `[count, dimension]`, row-major.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// The coordinates of point `i`.
    ///
    /// # Panics
    /// If there is no such point.
    pub fn point(&self, i: usize) -> &[T] {
        &self.values[i * self.dimension..][..self.dimension]
    }

    /// The points scaled to length 1.
    ///
    /// # Errors
    /// [`TransportError::ZeroVector`] for a point of length 0, or one so short that its square is.
    pub fn directions(&self) -> Result<Self, TransportError> {
        let mut values = self.values.clone();
        for (index, point) in values.chunks_exact_mut(self.dimension).enumerate() {
            let length = length(point);
            if !length.is_normal() {
                let what = "points";
                return Err(TransportError::ZeroVector { what, index });
            }
            for value in point {
                *value = T::from_f64(value.to_f64() / length);
            }
        }
        Points::new(values, self.dimension)
    }
}

fn check_values<T: Real>(values: &[T], dimension: usize) -> Result<(), TransportError> {
    let what = "points";
    for (index, value) in values.iter().enumerate() {
        let (finite, value) = (value.finite(), value.to_f64());
        if !finite {
            return Err(TransportError::NotFinite { what, index, value });
        }
        if !T::from_f64(4.0 * value * value * dimension as f64 * 2.0).finite() {
            return Err(TransportError::TooLarge { what, index, value });
        }
    }
    Ok(())
}

/// The Euclidean length.
pub(crate) fn length<T: Real>(point: &[T]) -> f64 {
    let squares = point.iter().map(|x| x.to_f64() * x.to_f64());
    squares.sum::<f64>().sqrt()
}

/// What distance costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ground {
    /// |x - y|^2.
    #[default]
    SquaredEuclidean,
    /// |x - y|.
    Euclidean,
    /// 1 - x y / (|x| |y|), at least 0.
    Cosine,
}

/// The cost between each of `x` and each of `y`.
#[derive(Debug, Clone)]
pub struct PointCost<'a, T: Real> {
    /// The points as they were given.
    original: [&'a Points<T>; 2],
    /// The points that costs are computed from: directions for [`Ground::Cosine`].
    used: [Cow<'a, Points<T>>; 2],
    ground: Ground,
}

impl<'a, T: Real> PointCost<'a, T> {
    /// ```
    /// # use lattice_transport::{Ground, PointCost, Points};
    /// let x = Points::new(vec![0.0f32, 1.0], 1)?;
    /// let y = Points::new(vec![0.5f32, 0.7, 2.0], 1)?;
    /// let cost = PointCost::new(&x, &y, Ground::SquaredEuclidean)?;
    /// # Ok::<(), lattice_transport::TransportError>(())
    /// ```
    ///
    /// # Errors
    /// Points of two dimensions; for [`Ground::Cosine`], points of length 0.
    pub fn new(x: &'a Points<T>, y: &'a Points<T>, ground: Ground) -> Result<Self, TransportError> {
        not_empty(x.count, y.count)?;
        if x.dimension != y.dimension {
            return Err(TransportError::Length {
                what: "a point of the target",
                expected: x.dimension,
                found: y.dimension,
            });
        }
        let used = |points: &'a Points<T>| match ground {
            Ground::Cosine => points.directions().map(Cow::Owned),
            Ground::SquaredEuclidean | Ground::Euclidean => Ok(Cow::Borrowed(points)),
        };
        Ok(PointCost {
            original: [x, y],
            used: [used(x)?, used(y)?],
            ground,
        })
    }

    /// What distance costs here.
    pub fn ground(&self) -> Ground {
        self.ground
    }

    /// The sources and the targets, as they were given.
    pub fn points(&self) -> [&'a Points<T>; 2] {
        self.original
    }

    fn fill<'b>(
        &self,
        workers: &Workers,
        one: &[T],
        others: &Points<T>,
        buffer: &'b mut Vec<T>,
    ) -> &'b [T] {
        buffer.resize(others.count.div_ceil(REAL_LANES) * REAL_LANES, T::ZERO);
        match self.ground {
            Ground::SquaredEuclidean | Ground::Euclidean => {
                squared_distance_panel(workers.cpu(), one, &others.panels, buffer);
            }
            Ground::Cosine => dot_panel(workers.cpu(), one, &others.panels, buffer),
        }
        let out = &mut buffer[..others.count];
        match self.ground {
            Ground::SquaredEuclidean => {}
            Ground::Euclidean => out.iter_mut().for_each(|c| *c = c.root()),
            Ground::Cosine => {
                for c in out.iter_mut() {
                    let cost = T::from_f64(1.0) - *c;
                    *c = if cost > T::ZERO { cost } else { T::ZERO };
                }
            }
        }
        out
    }

    /// The gradient of the cost of (`x`, `y`) with respect to `x`, added to `out` `weight` times.
    pub(crate) fn add_gradient(&self, x: &[T], y: &[T], weight: f64, out: &mut [f64]) {
        let pairs = || x.iter().zip(y).map(|(x, y)| (x.to_f64(), y.to_f64()));
        match self.ground {
            Ground::SquaredEuclidean => {
                for (out, (x, y)) in out.iter_mut().zip(pairs()) {
                    *out += weight * 2.0 * (x - y);
                }
            }
            Ground::Euclidean => {
                let apart = pairs().map(|(x, y)| (x - y) * (x - y)).sum::<f64>().sqrt();
                // Where the points meet, 0 is one of the subgradients.
                if apart > 0.0 {
                    for (out, (x, y)) in out.iter_mut().zip(pairs()) {
                        *out += weight * (x - y) / apart;
                    }
                }
            }
            Ground::Cosine => {
                let (long_x, long_y) = (length(x), length(y));
                let dot = pairs().map(|(x, y)| x * y).sum::<f64>() / (long_x * long_y);
                for (out, (x, y)) in out.iter_mut().zip(pairs()) {
                    *out -= weight * (y / long_y - dot * x / long_x) / long_x;
                }
            }
        }
    }
}

impl<T: Real> Cost for PointCost<'_, T> {
    type Real = T;

    fn rows(&self) -> usize {
        self.used[0].count
    }

    fn columns(&self) -> usize {
        self.used[1].count
    }

    fn row<'a>(
        &'a self,
        workers: &Workers,
        i: usize,
        buffer: &'a mut Vec<T>,
    ) -> Result<&'a [T], TransportError> {
        let [x, y] = &self.used;
        Ok(self.fill(workers, x.point(i), y, buffer))
    }

    fn column<'a>(
        &'a self,
        workers: &Workers,
        j: usize,
        buffer: &'a mut Vec<T>,
    ) -> Result<&'a [T], TransportError> {
        let [x, y] = &self.used;
        Ok(self.fill(workers, y.point(j), x, buffer))
    }
}
