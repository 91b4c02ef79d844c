//! All vectors of one set against all of another.
//!
//! In: two [`Matrix`]es of equal columns. Out: scores, `[rows of a, rows of b]`.
//! It does not know: what rows mean.
//! Layout: dot products and cosines of floats go through [`crate::panel_products`], `b` being the
//! weight: it is packed on the way. Everything else is rows against a block of rows that stays in the
//! second cache.
//! Contract: a score depends on its two rows alone, not on the number of threads. Products of floats
//! are a fused chain over the columns in order, so they differ from [`super::dot`] in the last bits; with
//! u = 2^-24 the error is below n u times the sum of the absolute terms; cosines are divided in f32. f32 and f16 give the same
//! bits on all instruction sets, bf16 the processor's. All other scores are those of [`super::scores`].
//! Measured: see [`super`].

use super::element::{Element, Sum as _};
use super::matrix::Matrix;
use super::search::{Metric, Query};
use super::{VectorIsa, pair};
use crate::lanes::{Body, LANES, Lanes};
use crate::parts::Parts;
use crate::{
    Cpu, PanelFormat, PanelInput, PanelOut, PanelProduct, PanelRows, PanelWeight, Panels,
    panel_products,
};

/// Bytes of rows of `b` that a task goes through again and again.
const BLOCK_BYTES: usize = 128 * 1024;
/// Rows of `a` in a task.
const BLOCK_ROWS: usize = 64;

/// Scores each row of `a` against each of `b`: `out` is `[rows of a, rows of b]`.
///
/// # Panics
/// If a length does not fit, or rows of i8 have more than 32,768 columns.
pub fn all_pairs<T: Element>(
    cpu: &Cpu,
    metric: Metric,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    out: &mut [f32],
) {
    assert_eq!(a.columns(), b.columns(), "elements of rows");
    let scores = a.rows().checked_mul(b.rows());
    assert_eq!(
        Some(out.len()),
        scores,
        "scores [{}, {}]",
        a.rows(),
        b.rows()
    );
    if out.is_empty() {
        return;
    }
    match (T::panels(cpu), metric) {
        (Some(format), Metric::Dot) => products(cpu, format, a, b, out),
        (Some(format), Metric::Cosine) => {
            products(cpu, format, a, b, out);
            cosines(cpu, a, b, out);
        }
        _ => by_rows(cpu, metric, a, b, out),
    }
}

/// The dot products of floats.
fn products<T: Element>(
    cpu: &Cpu,
    format: PanelFormat,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    out: &mut [f32],
) {
    let (isa, columns) = (VectorIsa::of(cpu), a.columns());
    let weight = Panels::pack(cpu, format, [b.rows(), columns], |rows, out| {
        let first = rows.first().map_or(0, |&row| row as usize * columns);
        out.copy_from_slice(&T::widened(isa, &b.data()[first..first + out.len()]));
    });
    let x = T::widened(isa, a.data());
    let mut rounded = PanelRows::default();
    let input = match format {
        PanelFormat::F32 => PanelInput::Plain(&x),
        PanelFormat::Bf16 | PanelFormat::Int8 => {
            rounded.round(cpu, format.rounding(), &x, columns);
            PanelInput::Rounded(&rounded)
        }
    };
    let product = PanelProduct {
        weight: PanelWeight::Kept(&weight),
        bias: None,
        activation: None,
        residual: None,
        out: PanelOut::Plain(out),
    };
    panel_products(cpu, input, &mut [product]);
}

/// One over the length of each row; None where squares of f32 may be wrong.
fn inverse_norms<T: Element>(isa: VectorIsa, rows: Matrix<'_, T>) -> Vec<Option<f32>> {
    let inverse = |r| {
        let row = rows.row(r);
        let squared = T::dot(isa, row, row).to_f64();
        pair::is_ordinary(squared).then(|| (1.0 / squared.sqrt()) as f32)
    };
    (0..rows.rows()).map(inverse).collect()
}

/// Makes cosines of dot products.
fn cosines<T: Element>(cpu: &Cpu, a: Matrix<'_, T>, b: Matrix<'_, T>, out: &mut [f32]) {
    let isa = VectorIsa::of(cpu);
    let (of_a, of_b) = (inverse_norms(isa, a), inverse_norms(isa, b));
    let each: Vec<f32> = of_b.iter().map(|inverse| inverse.unwrap_or(0.0)).collect();
    let odd: Vec<usize> = (0..of_b.len()).filter(|&j| of_b[j].is_none()).collect();
    let out = Parts::new(out);
    cpu.run(a.rows(), &|i| {
        // SAFETY: each row of scores belongs to one task.
        let scores = unsafe { out.part(i * b.rows()..(i + 1) * b.rows()) };
        let Some(one) = of_a[i] else {
            for (j, score) in scores.iter_mut().enumerate() {
                *score = pair::cosine(isa, a.row(i), b.row(j));
            }
            return;
        };
        isa.float.run(Scale {
            scores: &mut *scores,
            one,
            each: &each,
        });
        for &j in &odd {
            scores[j] = pair::cosine(isa, a.row(i), b.row(j));
        }
    });
}

/// Multiplies scores by `one` and by `each`, and keeps them in -1..=1.
struct Scale<'a> {
    scores: &'a mut [f32],
    one: f32,
    each: &'a [f32],
}

impl Body for Scale<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let one = L::splat(self.one);
        for i in (0..self.scores.len()).step_by(LANES) {
            let score = L::get(self.scores, i).mul(one).mul(L::get(self.each, i));
            // This way round NaN stays.
            let score = L::splat(-1.0).max(L::splat(1.0).min(score));
            score.put(self.scores, i);
        }
    }
}

/// Any score: each row of `a` against a block of rows of `b`.
fn by_rows<T: Element>(
    cpu: &Cpu,
    metric: Metric,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    out: &mut [f32],
) {
    let (isa, columns) = (VectorIsa::of(cpu), a.columns());
    let block = BLOCK_BYTES / (columns * size_of::<T>()).max(1);
    let block = block.next_multiple_of(4).max(4);
    let blocks = b.rows().div_ceil(block);
    let out = Parts::new(out);
    cpu.run(blocks * a.rows().div_ceil(BLOCK_ROWS), &|task| {
        let first = task % blocks * block;
        let rows = first..b.rows().min(first + block);
        let data = &b.data()[rows.start * columns..rows.end * columns];
        let from = task / blocks * BLOCK_ROWS;
        for i in from..a.rows().min(from + BLOCK_ROWS) {
            let at = i * b.rows();
            // SAFETY: a block of a row of scores belongs to one task.
            let scores = unsafe { out.part(at + rows.start..at + rows.end) };
            Query::new(a.row(i)).score(isa, metric, data, scores);
        }
    });
}
