//! One vector against many: scores, and the best of them.
//!
//! In: a [`Query`], made once, and a [`Matrix`] of rows. Out: a score for each row, or [`Hit`]s.
//! It does not know: what rows mean; it keeps nothing.
//! Layout: rows one behind the other; a query begins on a line.
//! Contract: a row's score is that of [`super::pair`] for the two vectors, rounded to f32: it depends on
//! them alone. Hits are the same for any number of threads, see [`super::top`].
//! Measured: see [`super`].

use super::element::{Element, Sum as _};
use super::pair::{self, is_ordinary};
use super::rows::{RowMeasure, RowTask};
use super::top::{Better, Hit, Top};
use super::{Products, VectorIsa, bits};
use crate::Cpu;
use crate::parts::Parts;

/// Bytes of rows in a task, about.
const TASK_BYTES: usize = 512 * 1024;

/// Rows of equal length.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a, T> {
    data: &'a [T],
    columns: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// `data`: `[rows, columns]`.
    ///
    /// # Panics
    /// If `data` is not whole rows of one column or more.
    pub fn new(data: &'a [T], columns: usize) -> Matrix<'a, T> {
        assert!(
            columns > 0 && data.len().is_multiple_of(columns),
            "rows of {columns} in {}",
            data.len()
        );
        Matrix { data, columns }
    }

    /// The elements, row-major.
    pub fn data(&self) -> &'a [T] {
        self.data
    }

    /// Elements of a row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.data.len() / self.columns
    }

    /// Row `row`.
    ///
    /// # Panics
    /// If there is none.
    pub fn row(&self, row: usize) -> &'a [T] {
        &self.data[row * self.columns..][..self.columns]
    }

    /// Rows of a task.
    fn step(&self) -> usize {
        let rows = TASK_BYTES / (self.columns * size_of::<T>()).max(1);
        // Whole groups of those that are added up side by side.
        rows.next_multiple_of(16).max(16)
    }
}

/// How rows are scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Metric {
    /// The dot product; higher is better.
    Dot,
    /// The cosine of the angle; higher is better.
    Cosine,
    /// The Euclidean distance; lower is better.
    Euclidean,
    /// The sum of absolute differences; lower is better.
    Manhattan,
}

impl Metric {
    fn better(self) -> Better {
        match self {
            Metric::Dot | Metric::Cosine => Better::Higher,
            Metric::Euclidean | Metric::Manhattan => Better::Lower,
        }
    }

    fn measure(self) -> RowMeasure {
        match self {
            Metric::Dot => RowMeasure::Dot,
            Metric::Cosine => RowMeasure::DotAndSquare,
            Metric::Euclidean => RowMeasure::Squared,
            Metric::Manhattan => RowMeasure::Absolute,
        }
    }
}

/// A vector that many rows are scored against.
#[derive(Debug, Clone)]
pub struct Query<T: Element> {
    vector: Vec<T>,
    /// The same from `start` on, which is the beginning of a line.
    kept: Vec<T::Kept>,
    start: usize,
}

impl<T: Element> Query<T> {
    /// Makes `vector` ready.
    ///
    /// # Panics
    /// If it has more elements than sums of this type hold, 32,768 of i8.
    pub fn new(vector: &[T]) -> Query<T> {
        let most = T::COLUMNS_MAX;
        assert!(
            vector.len() <= most,
            "{} columns, at most {most}",
            vector.len()
        );
        let mut kept: Vec<T::Kept> = Vec::with_capacity(vector.len() + 64);
        let start = kept.as_ptr().align_offset(64).min(64);
        if let Some(first) = vector.first() {
            kept.resize(start, first.kept());
        }
        kept.extend(vector.iter().map(|x| x.kept()));
        Query {
            vector: vector.to_vec(),
            kept,
            start,
        }
    }

    /// The vector.
    pub fn vector(&self) -> &[T] {
        &self.vector
    }

    fn kept(&self) -> &[T::Kept] {
        &self.kept[self.start.min(self.kept.len())..]
    }

    /// The scores of `rows`, `[scores.len(), columns]`.
    pub(super) fn score(&self, isa: VectorIsa, metric: Metric, rows: &[T], scores: &mut [f32]) {
        let columns = self.vector.len();
        let mut sums = vec![T::RowSum::default(); scores.len()];
        let squares = if metric == Metric::Cosine {
            scores.len()
        } else {
            0
        };
        let mut squares = vec![T::RowSum::default(); squares];
        let task = RowTask {
            measure: metric.measure(),
            rows,
            columns,
            sums: &mut sums,
            squares: &mut squares,
        };
        T::rows(isa, self.kept(), task);
        let row = |r: usize| &rows[r * columns..][..columns];
        match metric {
            Metric::Dot | Metric::Manhattan => {
                for (score, sum) in scores.iter_mut().zip(sums) {
                    *score = sum.to_f32();
                }
            }
            Metric::Euclidean => {
                for (r, (score, sum)) in scores.iter_mut().zip(sums).enumerate() {
                    *score = match sum.to_f64() {
                        sum if is_ordinary(sum) => sum.sqrt() as f32,
                        _ => pair::euclidean(isa, &self.vector, row(r)),
                    };
                }
            }
            Metric::Cosine => {
                let aa = T::dot(isa, &self.vector, &self.vector).to_f64();
                for (r, (score, sum)) in scores.iter_mut().zip(sums).enumerate() {
                    let (ab, bb) = (sum.to_f64(), squares[r].to_f64());
                    let again = || pair::cosine(isa, &self.vector, row(r));
                    *score = Products { ab, aa, bb }.cosine_or(again);
                }
            }
        }
    }
}

#[track_caller]
fn same_columns<T: Element>(query: &Query<T>, matrix: Matrix<'_, T>) {
    assert_eq!(
        query.vector.len(),
        matrix.columns,
        "elements of a query and of rows"
    );
}

/// Scores each row: `out` is `[rows]`.
///
/// # Panics
/// If a length does not fit.
pub fn scores<T: Element>(
    cpu: &Cpu,
    metric: Metric,
    query: &Query<T>,
    matrix: Matrix<'_, T>,
    out: &mut [f32],
) {
    same_columns(query, matrix);
    assert_eq!(out.len(), matrix.rows(), "scores of rows");
    let isa = VectorIsa::of(cpu);
    let out = Parts::new(out);
    cpu.run_steps(matrix.rows(), matrix.step(), |rows| {
        let data = &matrix.data[rows.start * matrix.columns..rows.end * matrix.columns];
        // SAFETY: each row belongs to one range.
        query.score(isa, metric, data, unsafe { out.part(rows) });
    });
}

/// The `count` best rows, best first; of equal scores the lower row, NaN last. Fewer where there are
/// fewer rows.
///
/// # Panics
/// If a length does not fit, or there are 2^32 rows or more.
pub fn top<T: Element>(
    cpu: &Cpu,
    metric: Metric,
    query: &Query<T>,
    matrix: Matrix<'_, T>,
    count: usize,
) -> Vec<Hit> {
    same_columns(query, matrix);
    let isa = VectorIsa::of(cpu);
    best(cpu, metric.better(), matrix, count, |rows, scores| {
        query.score(isa, metric, rows, scores);
    })
}

/// The best by the scores that `score` writes for some rows.
fn best<T: Sync>(
    cpu: &Cpu,
    better: Better,
    matrix: Matrix<'_, T>,
    count: usize,
    score: impl Fn(&[T], &mut [f32]) + Sync,
) -> Vec<Hit> {
    let rows = matrix.rows();
    assert!(u32::try_from(rows).is_ok(), "{rows} rows, at most 2^32 - 1");
    if count == 0 || rows == 0 {
        return Vec::new();
    }
    let top = Top::new(better, count.min(rows));
    cpu.run_steps(rows, matrix.step(), |rows| {
        let data = &matrix.data[rows.start * matrix.columns..rows.end * matrix.columns];
        let mut scores = vec![0.0; rows.len()];
        score(data, &mut scores);
        top.offer(rows.start, &scores);
    });
    top.hits()
}

/// The bits in which each row of packed bits differs from `query`: `out` is `[rows]`.
///
/// # Panics
/// If a length does not fit.
pub fn hamming_distances(cpu: &Cpu, query: &[u8], matrix: Matrix<'_, u8>, out: &mut [u32]) {
    assert_eq!(query.len(), matrix.columns, "bytes of a query and of rows");
    assert_eq!(out.len(), matrix.rows(), "distances of rows");
    let isa = VectorIsa::of(cpu);
    let out = Parts::new(out);
    cpu.run_steps(matrix.rows(), matrix.step(), |rows| {
        let data = &matrix.data[rows.start * matrix.columns..rows.end * matrix.columns];
        // SAFETY: each row belongs to one range.
        bits::rows(isa.bits, query, data, unsafe { out.part(rows) });
    });
}

/// The `count` rows of packed bits that differ from `query` in the fewest, the fewest first; of equal
/// ones the lower row. Scores are exact up to 2^24 bits.
///
/// # Panics
/// If a length does not fit, or there are 2^32 rows or more.
pub fn hamming_top(cpu: &Cpu, query: &[u8], matrix: Matrix<'_, u8>, count: usize) -> Vec<Hit> {
    assert_eq!(query.len(), matrix.columns, "bytes of a query and of rows");
    let isa = VectorIsa::of(cpu);
    best(cpu, Better::Lower, matrix, count, |rows, scores| {
        let mut distances = vec![0; scores.len()];
        bits::rows(isa.bits, query, rows, &mut distances);
        for (score, distance) in scores.iter_mut().zip(distances) {
            *score = distance as f32;
        }
    })
}
