//! One vector against many: scores, and the best of them.
//!
//! In: a [`Query`], made once, and a [`Matrix`] of rows. Out: a score for each row, or [`Hit`]s.
//! It does not know: what rows mean; it keeps nothing.
//! Layout: rows one behind the other; a query begins on a line.
//! Contract: a row's score is that of [`super::pair`] for the two vectors, rounded to f32: it depends on
//! them alone. Hits are the same for any number of threads, see [`super::top`].
//! Measured: see [`super`].

use super::element::{Element, Sum};
use super::matrix::{Matrix, OnLine};
use super::pair::{self, is_ordinary};
use super::rows::{RowMeasure, RowTask};
use super::top::{Better, Hit, Top};
use super::{Products, VectorIsa, bits};
use crate::Cpu;
use crate::parts::Parts;

/// Rows whose sums are kept on the stack: whole groups of those that are added up side by side.
const SCORED_ROWS: usize = 256;

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
    kept: OnLine<T::Kept>,
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
        let kept: Vec<T::Kept> = vector.iter().map(|x| x.kept()).collect();
        Query {
            vector: vector.to_vec(),
            kept: OnLine::new(&kept),
        }
    }

    /// The vector.
    pub fn vector(&self) -> &[T] {
        &self.vector
    }

    /// The scores of `rows`, `[scores.len(), columns]`.
    pub(super) fn score(&self, isa: VectorIsa, metric: Metric, rows: &[T], scores: &mut [f32]) {
        let columns = self.vector.len();
        if let Metric::Dot | Metric::Manhattan = metric {
            let task = RowTask {
                measure: metric.measure(),
                rows,
                columns,
                sums: scores,
                squares: &mut [],
            };
            return T::scores(isa, self.kept.get(), task);
        }
        let aa = T::dot(isa, &self.vector, &self.vector).to_f64();
        let mut sums = [T::RowSum::default(); SCORED_ROWS];
        let mut squares = [T::RowSum::default(); SCORED_ROWS];
        for (part, scores) in scores.chunks_mut(SCORED_ROWS).enumerate() {
            let count = scores.len();
            let rows = &rows[part * SCORED_ROWS * columns..][..count * columns];
            let row = |r: usize| &rows[r * columns..][..columns];
            let (sums, squares) = (&mut sums[..count], &mut squares[..count]);
            let cosine = metric == Metric::Cosine;
            let task = RowTask {
                measure: metric.measure(),
                rows,
                columns,
                sums: &mut *sums,
                squares: if cosine { &mut *squares } else { &mut [] },
            };
            T::rows(isa, self.kept.get(), task);
            if cosine {
                let again = |r| pair::cosine(isa, &self.vector, row(r));
                cosine_scores(aa, sums, squares, scores, again);
            } else {
                let again = |r| pair::euclidean(isa, &self.vector, row(r));
                euclidean_scores(sums, scores, again);
            }
        }
    }
}

/// Distances of sums of squares; `again` finds those that the sums may be wrong for.
fn euclidean_scores<S: Sum>(sums: &[S], scores: &mut [f32], again: impl Fn(usize) -> f32) {
    // Without a way out, so that roots are taken side by side.
    let mut ordinary = true;
    for (score, sum) in scores.iter_mut().zip(sums) {
        let sum = sum.to_f64();
        ordinary &= is_ordinary(sum);
        *score = sum.sqrt() as f32;
    }
    if ordinary {
        return;
    }
    for (r, (score, sum)) in scores.iter_mut().zip(sums).enumerate() {
        if !is_ordinary(sum.to_f64()) {
            *score = again(r);
        }
    }
}

/// Cosines of a vector, by itself `aa`, and rows; `again` as in [`euclidean_scores`].
fn cosine_scores<S: Sum>(
    aa: f64,
    sums: &[S],
    squares: &[S],
    scores: &mut [f32],
    again: impl Fn(usize) -> f32,
) {
    let products = |ab: S, bb: S| Products {
        ab: ab.to_f64(),
        aa,
        bb: bb.to_f64(),
    };
    // As there.
    let mut ordinary = true;
    for (score, (&ab, &bb)) in scores.iter_mut().zip(sums.iter().zip(squares)) {
        let products = products(ab, bb);
        ordinary &= products.are_ordinary();
        *score = products.cosine() as f32;
    }
    if ordinary {
        return;
    }
    for (r, (&ab, &bb)) in sums.iter().zip(squares).enumerate() {
        if !products(ab, bb).are_ordinary() {
            scores[r] = again(r);
        }
    }
}

#[track_caller]
fn same_columns<T: Element>(query: &Query<T>, matrix: Matrix<'_, T>) {
    assert_eq!(
        query.vector.len(),
        matrix.columns(),
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
        let data = matrix.part(rows.clone());
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
        let mut scores = [0.0; SCORED_ROWS];
        for start in rows.clone().step_by(SCORED_ROWS) {
            let end = rows.end.min(start + SCORED_ROWS);
            let scores = &mut scores[..end - start];
            score(matrix.part(start..end), scores);
            top.offer(start, scores);
        }
    });
    top.hits()
}

/// The bits in which each row of packed bits differs from `query`: `out` is `[rows]`.
///
/// # Panics
/// If a length does not fit.
pub fn hamming_distances(cpu: &Cpu, query: &[u8], matrix: Matrix<'_, u8>, out: &mut [u32]) {
    assert_eq!(
        query.len(),
        matrix.columns(),
        "bytes of a query and of rows"
    );
    assert_eq!(out.len(), matrix.rows(), "distances of rows");
    let isa = VectorIsa::of(cpu);
    let out = Parts::new(out);
    cpu.run_steps(matrix.rows(), matrix.step(), |rows| {
        let data = matrix.part(rows.clone());
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
    assert_eq!(
        query.len(),
        matrix.columns(),
        "bytes of a query and of rows"
    );
    let isa = VectorIsa::of(cpu);
    best(cpu, Better::Lower, matrix, count, |rows, scores| {
        let mut distances = [0; SCORED_ROWS];
        let distances = &mut distances[..scores.len()];
        bits::rows(isa.bits, query, rows, distances);
        for (score, distance) in scores.iter_mut().zip(distances) {
            *score = *distance as f32;
        }
    })
}
