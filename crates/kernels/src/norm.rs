//! Root mean square norm of rows, and norm of rows to mean 0 and variance 1.
//!
//! Layout: `[rows, width]`, width being the length of the gain; heads are rows too.
//! Contract: s = the sum of x * x, one fused chain over 16 lanes in column order, then the tree;
//! y = x * (1 / sqrt(s / width + eps)) * gain, left to right. `layer_norm`: m = the sum of x in the same order over width;
//! d = x - m; s = the sum of d * d as above; y = fma(d * (1 / sqrt(s / width + eps)), gain, bias).
//! Measured: AMD EPYC (Zen 5, family 26 model 2), AVX-512, one thread: 0.12 us a row of 1,024.

use crate::cpu::Cpu;
use crate::lanes::{Body, LANES, Lanes};
use crate::panel::{CHUNK, CHUNK_VECTORS, PanelRows, Rounding, RowParts};
use crate::parts::Parts;

/// Rows of a layer norm at once.
const ROWS: usize = 4;

/// `out = x / sqrt(mean(x^2) + eps) * gain`, row by row. `x`, `out`: `[rows, gain.len()]`.
///
/// # Panics
/// If `x` is not whole rows, or the lengths differ.
pub fn rms_norm(cpu: &Cpu, x: &[f32], gain: &[f32], eps: f32, out: &mut [f32]) {
    let width = gain.len();
    assert!(
        width > 0 && x.len().is_multiple_of(width),
        "rows of {width} in {} values",
        x.len()
    );
    assert_eq!(x.len(), out.len(), "output of a norm");
    let out = Parts::new(out);
    cpu.run_ranges(x.len() / width, width, |rows| {
        let range = rows.start * width..rows.end * width;
        // SAFETY: each row belongs to one range.
        let out = unsafe { out.part(range.clone()) };
        cpu.isa().run(RmsNorm {
            x: &x[range],
            gain,
            eps,
            out,
        });
    });
}

struct RmsNorm<'a> {
    x: &'a [f32],
    gain: &'a [f32],
    eps: f32,
    out: &'a mut [f32],
}

impl Body for RmsNorm<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let width = self.gain.len();
        let rows = self
            .x
            .chunks_exact(width)
            .zip(self.out.chunks_exact_mut(width));
        for (x, out) in rows {
            let mean = sum_of_squares::<L>(x) / width as f32;
            let factor = L::splat(1.0 / (mean + self.eps).sqrt());
            for i in (0..width).step_by(LANES) {
                L::get(x, i)
                    .mul(factor)
                    .mul(L::get(self.gain, i))
                    .put(out, i);
            }
        }
    }
}

/// `out = (x - mean) / sqrt(variance + eps) * gain + bias`, row by row. `x`, `out`: `[rows, gain.len()]`; `bias` as `gain`.
///
/// # Panics
/// If `x` is not whole rows, or the lengths differ.
pub fn layer_norm(cpu: &Cpu, x: &[f32], norm: LayerNorm<'_>, out: &mut [f32]) {
    norm.run(cpu, x, out, None);
}

/// As [`layer_norm`]; the rows also go to `rounded`, as [`PanelRows::round`] makes them.
///
/// # Panics
/// As [`layer_norm`] and [`PanelRows::round`].
pub fn layer_norm_rounded(
    cpu: &Cpu,
    x: &[f32],
    norm: LayerNorm<'_>,
    out: &mut [f32],
    (rounding, rounded): (Rounding<'_>, &mut PanelRows),
) {
    let width = norm.gain.len().max(1);
    let parts = rounded.parts(rounding.format, x.len() / width, width);
    norm.run(cpu, x, out, Some((rounding, &parts)));
}

/// What a layer norm multiplies and adds.
#[derive(Debug, Clone, Copy)]
pub struct LayerNorm<'a> {
    /// `[width]`.
    pub gain: &'a [f32],
    /// `[width]`.
    pub bias: &'a [f32],
    /// Added to the variance.
    pub eps: f32,
}

impl LayerNorm<'_> {
    fn run(
        self,
        cpu: &Cpu,
        x: &[f32],
        out: &mut [f32],
        rounded: Option<(Rounding<'_>, &RowParts<'_>)>,
    ) {
        let width = self.gain.len();
        assert!(
            width > 0 && x.len().is_multiple_of(width),
            "rows of {width} in {} values",
            x.len()
        );
        assert_eq!(self.bias.len(), width, "bias of a norm");
        assert_eq!(x.len(), out.len(), "output of a norm");
        let out = Parts::new(out);
        cpu.run_ranges(x.len() / width, width, |rows| {
            let range = rows.start * width..rows.end * width;
            // SAFETY: each row belongs to one range.
            let out = unsafe { out.part(range.clone()) };
            cpu.isa().run(Normalise {
                x: &x[range],
                norm: self,
                out,
                first: rows.start,
                rounded,
            });
        });
    }
}

struct Normalise<'a> {
    x: &'a [f32],
    norm: LayerNorm<'a>,
    out: &'a mut [f32],
    /// The number of the first row.
    first: usize,
    rounded: Option<(Rounding<'a>, &'a RowParts<'a>)>,
}

impl Body for Normalise<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self) {
        let (width, mut r) = (self.norm.gain.len(), 0);
        while r < self.x.len() / width {
            r += match self.x.len() / width - r {
                ROWS.. => self.rows::<L, ROWS>(r),
                _ => self.rows::<L, 1>(r),
            };
        }
    }
}

impl Normalise<'_> {
    /// Rows `r..r + R`, whose sums wait for each other no more than for their own; R.
    #[inline(always)]
    fn rows<L: Lanes, const R: usize>(&mut self, r: usize) -> usize {
        let width = self.norm.gain.len();
        let x = &self.x[r * width..(r + R) * width];
        let mut sums = [L::zero(); R];
        for i in (0..width).step_by(LANES) {
            for n in 0..R {
                sums[n] = sums[n].add(L::get(&x[n * width..(n + 1) * width], i));
            }
        }
        let mut means = [0.0; R];
        for n in 0..R {
            means[n] = sums[n].sum() / width as f32;
        }
        let mut squares = [L::zero(); R];
        for i in (0..width).step_by(LANES) {
            for n in 0..R {
                let x = L::get_or(&x[n * width..(n + 1) * width], i, means[n]);
                let d = x.sub(L::splat(means[n]));
                squares[n] = d.fma(d, squares[n]);
            }
        }
        let mut factors = [0.0; R];
        for n in 0..R {
            factors[n] = 1.0 / (squares[n].sum() / width as f32 + self.norm.eps).sqrt();
        }
        for chunk in 0..width.div_ceil(CHUNK) {
            self.write::<L, R>(r, chunk, means, factors);
        }
        R
    }

    /// Writes a chunk of the columns of rows `r..r + R`.
    #[inline(always)]
    fn write<L: Lanes, const R: usize>(
        &mut self,
        r: usize,
        chunk: usize,
        means: [f32; R],
        factors: [f32; R],
    ) {
        let LayerNorm { gain, bias, .. } = self.norm;
        let width = gain.len();
        let mut y = [[L::zero(); CHUNK_VECTORS]; R];
        for i in 0..CHUNK_VECTORS {
            let at = chunk * CHUNK + i * LANES;
            if at >= width {
                break;
            }
            let (gain, bias) = (L::get(gain, at), L::get(bias, at));
            for n in 0..R {
                let row = (r + n) * width..(r + n + 1) * width;
                let d = L::get(&self.x[row.clone()], at).sub(L::splat(means[n]));
                // Beyond the last column a gain and a bias of 0 make zeros.
                y[n][i] = d.mul(L::splat(factors[n])).fma(gain, bias);
                y[n][i].put(&mut self.out[row], at);
            }
        }
        if let Some((rounding, rounded)) = self.rounded {
            if let Some(factors) = rounding.factors {
                for i in 0..CHUNK_VECTORS {
                    let factor = L::get(factors, chunk * CHUNK + i * LANES);
                    for n in 0..R {
                        y[n][i] = y[n][i].mul(factor);
                    }
                }
            }
            // SAFETY: the rows are this body's alone.
            unsafe { rounded.put(self.first + r, chunk, &mut y) };
        }
    }
}

/// The sum of x * x over a row.
#[inline(always)]
pub(crate) fn sum_of_squares<L: Lanes>(x: &[f32]) -> f32 {
    let mut sum = L::zero();
    for i in (0..x.len()).step_by(LANES) {
        let x = L::get(x, i);
        sum = x.fma(x, sum);
    }
    sum.sum()
}
