//! Products of input rows with a dense weight.
//!
//! Layout: weight `[out, in]` row-major as stored (f32, f16, bf16), inputs `[rows, in]`, outputs
//! `[rows, out]`.
//! Contract: a dot product has 16 lanes along the columns, acc = fma(w, x, acc) in column order, the
//! last vector filled up with zeros, then the sum along the tree, then + bias. So the bits of an
//! output depend on its input row and weight row alone; which of the two ways below computed it, in
//! what tile, does not show.
//! A task has a group of weight rows and a block of input rows. It goes through its input rows in
//! tiles of up to six, and for each through the weight rows, four or eight at a time: so many sums
//! stay in registers. A tile of inputs stays in the first cache; the group of weight rows comes from
//! memory for the first tile, which asks for the next rows ahead, and from the second cache for the
//! others. Weights are widened as they are loaded: that costs less than keeping a widened copy.
//! Measured: AMD EPYC (Zen 5, family 26 model 2), bf16, 3,584 x 1,024, one thread, best of many on a
//! busy machine (`examples/rates.rs`). AVX-512: 1 row 35.5 of the 40.8 GB/s a plain read reaches,
//! 4 rows 36.9; 96 rows 221 of 282 GFLOP/s of fused multiply-add. AVX2: 1 row 36 GB/s, 24 rows 92
//! GFLOP/s. Without asking ahead 4 rows reach 19 GB/s and 96 rows 200 GFLOP/s; a widened copy, also
//! without it, reached 184.
//! bf16 weights go to [`crate::bf16`] where the processor multiplies bf16. The same machine with
//! `vdpbf16ps`, others busy on it: 1 row 31 GB/s, 64 rows 250 GFLOP/s (fused multiply-add beside it:
//! 31 and 214). Intel Xeon (family 6 model 207), shared, one thread, 3,584 x 1,024: AMX 1 row 11.4
//! GB/s, 64 rows 386 GFLOP/s beside a peak of 1,967, `vdpbf16ps` 13 GB/s and 51 GFLOP/s.

use std::ops::Range;

use crate::bf16;
use crate::cpu::Cpu;
use crate::dense::{Dense, DenseData, Format, Rows, with_format};
use crate::lanes::{Body, LANES, Lanes};
use crate::parts::Parts;

/// Bytes of weight in a task while its rows are few.
const FEW_ROWS_BYTES: usize = 64 * 1024;
/// Weight rows of a task while its rows are many.
const GROUP: usize = 32;
/// Bytes of inputs in a task, about: they should lie in the second cache beside the weight rows.
const BLOCK_BYTES: usize = 512 * 1024;
/// Bytes that come from memory together.
pub(crate) const LINE_BYTES: usize = 64;
/// Input rows of a tile, at most.
pub(crate) const TILE_ROWS: usize = 6;

/// `out = x weight^T + bias`. `x`: `[rows, weight.columns()]`; `out`: `[rows, weight.rows()]`;
/// `bias`: `[weight.rows()]`.
///
/// # Panics
/// If a length does not fit.
pub fn linear(cpu: &Cpu, weight: Dense<'_>, bias: Option<&[f32]>, x: &[f32], out: &mut [f32]) {
    let columns = weight.columns();
    assert!(
        columns > 0 && x.len().is_multiple_of(columns),
        "rows of {columns} in {}",
        x.len()
    );
    let inputs = Inputs {
        x,
        columns,
        rows: x.len() / columns,
        picked: None,
    };
    product(cpu, weight, bias, inputs, out);
}

/// As [`linear`] for the rows `picked` of `x` alone: `out` is `[picked.len(), weight.rows()]`.
///
/// # Panics
/// If a length does not fit, or a picked row is outside of `x`.
pub fn linear_select(
    cpu: &Cpu,
    weight: Dense<'_>,
    bias: Option<&[f32]>,
    x: &[f32],
    picked: &[u32],
    out: &mut [f32],
) {
    let columns = weight.columns();
    assert!(
        columns > 0 && x.len().is_multiple_of(columns),
        "rows of {columns} in {}",
        x.len()
    );
    let rows = x.len() / columns;
    assert!(
        picked.iter().all(|&r| (r as usize) < rows),
        "a picked row is outside of {rows}"
    );
    let inputs = Inputs {
        x,
        columns,
        rows: picked.len(),
        picked: Some(picked),
    };
    product(cpu, weight, bias, inputs, out);
}

/// The input rows of a product, in the order of its output rows.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    x: &'a [f32],
    pub(crate) columns: usize,
    pub(crate) rows: usize,
    picked: Option<&'a [u32]>,
}

impl<'a> Inputs<'a> {
    #[inline(always)]
    pub(crate) fn row(&self, r: usize) -> &'a [f32] {
        let r = self.picked.map_or(r, |picked| picked[r] as usize);
        &self.x[r * self.columns..(r + 1) * self.columns]
    }
}

fn product(
    cpu: &Cpu,
    weight: Dense<'_>,
    bias: Option<&[f32]>,
    inputs: Inputs<'_>,
    out: &mut [f32],
) {
    let outputs = weight.rows();
    assert_eq!(
        out.len(),
        inputs.rows * outputs,
        "output [{}, {outputs}]",
        inputs.rows
    );
    assert!(
        bias.is_none_or(|b| b.len() == outputs),
        "bias of {outputs} outputs"
    );
    let shared = Shared {
        stored: weight.stored(),
        outputs,
        bias,
        inputs,
        out: &Parts::new(out),
    };
    if let DenseData::Bf16(bits) = weight.data()
        && bf16::product(cpu, bits, shared)
    {
        return;
    }
    with_format!(weight.data(), product_format, cpu, shared);
}

/// What every task of a product knows beside the weight.
#[derive(Clone, Copy)]
pub(crate) struct Shared<'a> {
    pub(crate) stored: Rows,
    pub(crate) outputs: usize,
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) inputs: Inputs<'a>,
    pub(crate) out: &'a Parts<'a, f32>,
}

/// Weight rows and input rows of a task, elements having so many bytes.
pub(crate) fn cut(
    rows: usize,
    columns: usize,
    weight_bytes: usize,
    input_bytes: usize,
) -> (usize, usize) {
    let group = if rows <= TILE_ROWS {
        (FEW_ROWS_BYTES / (columns * weight_bytes))
            .next_multiple_of(8)
            .max(8)
    } else {
        GROUP
    };
    let block = (BLOCK_BYTES / (columns * input_bytes))
        .next_multiple_of(TILE_ROWS)
        .max(24);
    (group, block)
}

fn product_format<F: Format>(weight: &[F::Bits], cpu: &Cpu, shared: Shared<'_>) {
    let (rows, columns) = (shared.inputs.rows, shared.inputs.columns);
    let (group, block) = cut(rows, columns, size_of::<F::Bits>(), size_of::<f32>());
    let groups = shared.outputs.div_ceil(group);
    cpu.run(groups * rows.div_ceil(block), &|i| {
        let (first, start) = (i % groups * group, i / groups * block);
        let range = first..shared.outputs.min(first + group);
        let rows = start..rows.min(start + block);
        cpu.isa().run(Block::<F> {
            weight,
            shared,
            range,
            rows,
        });
    });
}

impl Shared<'_> {
    /// Adds up the lanes of weight rows `o` (M, or fewer at the end) by input rows `r..r + N` and
    /// writes the outputs.
    #[inline(always)]
    pub(crate) fn finish<L: Lanes, const M: usize, const N: usize>(
        &self,
        sums: &[[L; N]; M],
        o: Range<usize>,
        r: usize,
    ) {
        for n in 0..N {
            let mut totals = [0.0; M];
            for (chunk, totals) in sums.chunks(4).zip(totals.chunks_mut(4)) {
                match chunk {
                    [a, b, c, d] => totals.copy_from_slice(&L::sum4([a[n], b[n], c[n], d[n]])),
                    _ => chunk
                        .iter()
                        .zip(totals)
                        .for_each(|(sum, total)| *total = sum[n].sum()),
                }
            }
            let start = (r + n) * self.outputs;
            // SAFETY: a weight row meets an input row in one task alone.
            let out = unsafe { self.out.part(start + o.start..start + o.end) };
            match self.bias {
                Some(bias) => {
                    for ((out, total), bias) in out.iter_mut().zip(totals).zip(&bias[o.clone()]) {
                        *out = total + bias;
                    }
                }
                None => out.copy_from_slice(&totals[..o.len()]),
            }
        }
    }
}

/// The input rows `rows` against the weight rows of `range`.
struct Block<'a, F: Format> {
    weight: &'a [F::Bits],
    shared: Shared<'a>,
    range: Range<usize>,
    rows: Range<usize>,
}

impl<F: Format> Body for Block<'_, F> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        // Tiles of even height: 7 rows are 4 + 3, not 6 + 1.
        let most = if L::WIDE { TILE_ROWS } else { 2 };
        let tiles = self.rows.len().div_ceil(most).max(1);
        let height = self.rows.len().div_ceil(tiles);
        let mut r = self.rows.start;
        while r < self.rows.end {
            let n = height.min(self.rows.end - r);
            match (L::WIDE, n) {
                (true, 1) => self.tiles::<L, 4, 1>(r),
                (true, 2) => self.tiles::<L, 4, 2>(r),
                (true, 3) => self.tiles::<L, 4, 3>(r),
                (true, 4) => self.tiles::<L, 4, 4>(r),
                (true, 5) => self.tiles::<L, 4, 5>(r),
                (true, _) => self.tiles::<L, 4, 6>(r),
                (false, 1) => self.tiles::<L, 4, 1>(r),
                (false, _) => self.tiles::<L, 2, 2>(r),
            }
            r += n;
        }
    }
}

impl<F: Format> Block<'_, F> {
    /// Input rows `r..r + N` against all weight rows of the range, M at a time.
    #[inline(always)]
    fn tiles<L: Lanes, const M: usize, const N: usize>(&self, r: usize) {
        let columns = self.shared.inputs.columns;
        // The first tile brings the weight rows in; for the others they are there.
        let ahead = if r == self.rows.start { M * columns } else { 0 };
        let mut x: [&[f32]; N] = [&[]; N];
        for (n, x) in x.iter_mut().enumerate() {
            *x = self.shared.inputs.row(r + n);
        }
        for o in self.range.clone().step_by(M) {
            let end = self.range.end.min(o + M);
            let mut w: [&[F::Bits]; M] = [&[]; M];
            for (m, w) in w.iter_mut().enumerate() {
                // Beyond the end the last row is computed again, and not written.
                let row = self.shared.stored.stored((o + m).min(end - 1));
                *w = &self.weight[row * columns..(row + 1) * columns];
            }
            let sums = dots::<L, F, M, N>(w, x, ahead);
            self.shared.finish(&sums, o..end, r);
        }
    }
}

/// `[m][n]`: the lanes of `w[m]` times `x[n]`, all of one length. Asks for as many weights, those
/// `ahead` elements beyond `w[0]` and on.
#[inline(always)]
fn dots<L: Lanes, F: Format, const M: usize, const N: usize>(
    w: [&[F::Bits]; M],
    x: [&[f32]; N],
    ahead: usize,
) -> [[L; N]; M] {
    let columns = x[0].len();
    assert!(w.iter().all(|w| w.len() == columns) && x.iter().all(|x| x.len() == columns));
    let mut sums = [[L::zero(); N]; M];
    let full = columns / LANES * LANES;
    for i in (0..full).step_by(LANES) {
        let mut xs = [L::zero(); N];
        for n in 0..N {
            // SAFETY: i + 16 <= columns, the length of all rows.
            xs[n] = unsafe { L::load(x[n].as_ptr().add(i)) };
        }
        for m in 0..M {
            let at = w[m].as_ptr().wrapping_add(i);
            // Line after line as they lie in memory, though M rows are read side by side.
            if (m * LANES * size_of::<F::Bits>()).is_multiple_of(LINE_BYTES) {
                prefetch(w[0].as_ptr().wrapping_add(ahead + i * M + m * LANES));
            }
            // SAFETY: as above.
            let w = unsafe { F::load::<L>(at) };
            for n in 0..N {
                sums[m][n] = w.fma(xs[n], sums[m][n]);
            }
        }
    }
    if full < columns {
        let left = columns - full;
        for m in 0..M {
            // SAFETY: `left` columns remain in all rows.
            let w = unsafe { F::load_partial::<L>(w[m].as_ptr().add(full), left) };
            for n in 0..N {
                // SAFETY: as above.
                let x = unsafe { L::load_partial(x[n].as_ptr().add(full), left) };
                sums[m][n] = w.fma(x, sums[m][n]);
            }
        }
    }
    sums
}

/// Asks for the cache line at `p`, which need not exist.
#[inline(always)]
pub(crate) fn prefetch<T>(p: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint; it does not fault on any address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(p.cast());
    }
    // Elsewhere the hint is not stable yet.
    #[cfg(not(target_arch = "x86_64"))]
    let _ = p;
}
