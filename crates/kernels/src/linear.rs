//! Products of input rows with a dense weight.
//!
//! Layout: weight `[out, in]` row-major as stored (f32, f16, bf16), inputs `[rows, in]`, outputs
//! `[rows, out]`.
//! Contract: a dot product has 16 lanes along the columns, acc = fma(w, x, acc) in column order, the
//! last vector filled up with zeros, then the sum along the tree, then + bias. So the bits of an
//! output depend on its input row and weight row alone; which of the two ways below computed it, in
//! what tile, does not show.
//! Few rows: the weight streams from memory once, several weight rows at a time so that enough
//! fused chains are in flight. Many rows: a group of weight rows is widened once per block of rows
//! and columns, and tiles of weight rows x input rows work from the second cache; a tile that is not
//! done with its columns keeps its lanes in memory.
//! Measured: `examples/rates.rs`.

use std::ops::Range;

use crate::cpu::Cpu;
use crate::dense::{Dense, F32, Format, Rows, Widen, with_format};
use crate::lanes::{Body, LANES, Lanes};
use crate::parts::Parts;
use crate::scratch;

/// Input rows up to which the weight is streamed.
const FEW_ROWS: usize = 6;
/// Bytes of weight in a task while streaming.
const STREAM_BYTES: usize = 64 * 1024;
/// Weight rows of a group, input rows and columns of a block: 32 * 512 * 4 bytes of weight,
/// 96 * 512 * 4 of input and 32 * 96 * 64 of lanes lie in the second cache.
const GROUP: usize = 32;
const BLOCK_ROWS: usize = 96;
const BLOCK_COLUMNS: usize = 512;

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
struct Inputs<'a> {
    x: &'a [f32],
    columns: usize,
    rows: usize,
    picked: Option<&'a [u32]>,
}

impl<'a> Inputs<'a> {
    #[inline(always)]
    fn row(&self, r: usize) -> &'a [f32] {
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
    let out = Parts::new(out);
    with_format!(
        weight.data(),
        product_format,
        cpu,
        Shared {
            stored: weight.stored(),
            outputs,
            bias,
            inputs,
            out: &out
        }
    );
}

/// What every task of a product knows beside the weight.
#[derive(Clone, Copy)]
struct Shared<'a> {
    stored: Rows,
    outputs: usize,
    bias: Option<&'a [f32]>,
    inputs: Inputs<'a>,
    out: &'a Parts<'a, f32>,
}

fn product_format<F: Format>(weight: &[F::Bits], cpu: &Cpu, shared: Shared<'_>) {
    let (rows, columns) = (shared.inputs.rows, shared.inputs.columns);
    if rows <= FEW_ROWS {
        let step = (STREAM_BYTES / (columns * size_of::<F::Bits>()))
            .next_multiple_of(8)
            .max(8);
        cpu.run_steps(shared.outputs, step, |range| {
            cpu.isa().run(Stream::<F> {
                weight,
                shared,
                range,
            });
        });
        return;
    }
    let groups = shared.outputs.div_ceil(GROUP);
    let floats = GROUP * BLOCK_COLUMNS + GROUP * BLOCK_ROWS * LANES;
    cpu.run(groups * rows.div_ceil(BLOCK_ROWS), &|i| {
        let (first, start) = (i % groups * GROUP, i / groups * BLOCK_ROWS);
        let range = first..shared.outputs.min(first + GROUP);
        let rows = start..rows.min(start + BLOCK_ROWS);
        scratch::with(floats, |scratch| {
            cpu.isa().run(Block::<F> {
                weight,
                shared,
                range,
                rows,
                scratch,
            });
        });
    });
}

impl Shared<'_> {
    /// Writes the sums of weight rows from `o` on for input row `r`.
    #[inline(always)]
    fn write(&self, r: usize, o: Range<usize>, sums: impl Fn(usize) -> f32) {
        // SAFETY: a weight row meets an input row in one task alone.
        let out = unsafe {
            self.out
                .part(r * self.outputs + o.start..r * self.outputs + o.end)
        };
        for (m, out) in out.iter_mut().enumerate() {
            let sum = sums(m);
            *out = match self.bias {
                Some(bias) => sum + bias[o.start + m],
                None => sum,
            };
        }
    }
}

/// A few input rows against the weight rows of `range`, straight from the weight.
struct Stream<'a, F: Format> {
    weight: &'a [F::Bits],
    shared: Shared<'a>,
    range: Range<usize>,
}

impl<F: Format> Body for Stream<'_, F> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        match (L::WIDE, self.shared.inputs.rows) {
            (_, 0) => (),
            (true, 1) => self.tiles::<L, 8, 1>(),
            (true, 2) => self.tiles::<L, 8, 2>(),
            (true, 3) => self.tiles::<L, 8, 3>(),
            (true, 4) => self.tiles::<L, 4, 4>(),
            (true, 5) => self.tiles::<L, 4, 5>(),
            (true, _) => self.tiles::<L, 4, 6>(),
            (false, 1) => self.tiles::<L, 4, 1>(),
            (false, 2) => self.tiles::<L, 2, 2>(),
            (false, 3) => self.tiles::<L, 2, 3>(),
            (false, 4) => self.tiles::<L, 1, 4>(),
            (false, 5) => self.tiles::<L, 1, 5>(),
            (false, _) => self.tiles::<L, 1, 6>(),
        }
    }
}

impl<F: Format> Stream<'_, F> {
    #[inline(always)]
    fn tiles<L: Lanes, const M: usize, const N: usize>(&self) {
        let columns = self.shared.inputs.columns;
        let mut x: [&[f32]; N] = [&[]; N];
        for (n, x) in x.iter_mut().enumerate() {
            *x = self.shared.inputs.row(n);
        }
        for o in self.range.clone().step_by(M) {
            let end = self.range.end.min(o + M);
            let mut w: [&[F::Bits]; M] = [&[]; M];
            for (m, w) in w.iter_mut().enumerate() {
                // Beyond the end the last row is computed again, and not written.
                let row = self.shared.stored.stored((o + m).min(end - 1));
                *w = &self.weight[row * columns..(row + 1) * columns];
            }
            let mut sums = [[L::zero(); N]; M];
            dots::<L, F, M, N>(w, x, &mut sums);
            for n in 0..N {
                self.shared.write(n, o..end, |m| sums[m][n].sum());
            }
        }
    }
}

/// `sums[m][n]` += the lanes of `w[m]` times `x[n]`, all of one length.
#[inline(always)]
fn dots<L: Lanes, F: Format, const M: usize, const N: usize>(
    w: [&[F::Bits]; M],
    x: [&[f32]; N],
    sums: &mut [[L; N]; M],
) {
    let columns = x[0].len();
    assert!(w.iter().all(|w| w.len() >= columns) && x.iter().all(|x| x.len() == columns));
    let mut acc = *sums;
    let full = columns / LANES * LANES;
    for i in (0..full).step_by(LANES) {
        let mut xs = [L::zero(); N];
        for n in 0..N {
            // SAFETY: i + 16 <= columns, the length of all rows.
            xs[n] = unsafe { L::load(x[n].as_ptr().add(i)) };
        }
        for m in 0..M {
            // SAFETY: as above.
            let w = unsafe { F::load::<L>(w[m].as_ptr().add(i)) };
            for n in 0..N {
                acc[m][n] = w.fma(xs[n], acc[m][n]);
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
                acc[m][n] = w.fma(x, acc[m][n]);
            }
        }
    }
    *sums = acc;
}

/// The input rows `rows` against the weight rows of `range`, at most a block of each.
struct Block<'a, F: Format> {
    weight: &'a [F::Bits],
    shared: Shared<'a>,
    range: Range<usize>,
    rows: Range<usize>,
    scratch: &'a mut [f32],
}

impl<F: Format> Body for Block<'_, F> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self) {
        let scratch = std::mem::take(&mut self.scratch);
        let (wide, lanes) = scratch.split_at_mut(GROUP * BLOCK_COLUMNS);
        let columns = self.shared.inputs.columns;
        for start in (0..columns).step_by(BLOCK_COLUMNS) {
            let part = start..columns.min(start + BLOCK_COLUMNS);
            for (o, out) in self.range.clone().zip(wide.chunks_exact_mut(BLOCK_COLUMNS)) {
                let first = self.shared.stored.stored(o) * columns;
                let row = &self.weight[first + part.start..first + part.end];
                Widen::<F> { row, out }.run::<L>();
            }
            if L::WIDE {
                self.sweep::<L, 4, 6>(wide, lanes, part);
            } else {
                self.sweep::<L, 2, 2>(wide, lanes, part);
            }
        }
    }
}

impl<F: Format> Block<'_, F> {
    /// All tiles over the columns of `part`, at most M weight rows by N input rows each.
    #[inline(always)]
    fn sweep<L: Lanes, const M: usize, const N: usize>(
        &self,
        wide: &[f32],
        lanes: &mut [f32],
        part: Range<usize>,
    ) {
        // Tiles of even height: 7 rows are 4 + 3, not 6 + 1.
        let tiles = self.rows.len().div_ceil(N);
        let height = self.rows.len().div_ceil(tiles);
        for r in self.rows.clone().step_by(height) {
            for o in self.range.clone().step_by(M) {
                match (self.rows.end - r).min(height) {
                    1 => self.tile::<L, M, 1>(wide, lanes, &part, o, r),
                    2 => self.tile::<L, M, 2>(wide, lanes, &part, o, r),
                    3 => self.tile::<L, M, 3>(wide, lanes, &part, o, r),
                    4 => self.tile::<L, M, 4>(wide, lanes, &part, o, r),
                    5 => self.tile::<L, M, 5>(wide, lanes, &part, o, r),
                    _ => self.tile::<L, M, 6>(wide, lanes, &part, o, r),
                }
            }
        }
    }

    /// Weight rows `o..o + M` by input rows `r..r + N`, over the columns of `part`.
    #[inline(always)]
    fn tile<L: Lanes, const M: usize, const N: usize>(
        &self,
        wide: &[f32],
        lanes: &mut [f32],
        part: &Range<usize>,
        o: usize,
        r: usize,
    ) {
        let mut x: [&[f32]; N] = [&[]; N];
        for (n, x) in x.iter_mut().enumerate() {
            *x = &self.shared.inputs.row(r + n)[part.clone()];
        }
        let first = o - self.range.start;
        let mut w: [&[f32]; M] = [&[]; M];
        for (m, w) in w.iter_mut().enumerate() {
            *w = &wide[(first + m) * BLOCK_COLUMNS..(first + m) * BLOCK_COLUMNS + part.len()];
        }
        let at = (first * BLOCK_ROWS + (r - self.rows.start) * M) * LANES;
        let lanes = &mut lanes[at..at + M * N * LANES];
        let mut sums = [[L::zero(); N]; M];
        if part.start > 0 {
            for m in 0..M {
                for n in 0..N {
                    sums[m][n] = L::get(lanes, (m * N + n) * LANES);
                }
            }
        }
        dots::<L, F32, M, N>(w, x, &mut sums);
        if part.end < self.shared.inputs.columns {
            for m in 0..M {
                for n in 0..N {
                    sums[m][n].put(lanes, (m * N + n) * LANES);
                }
            }
            return;
        }
        let end = self.range.end.min(o + M);
        for n in 0..N {
            self.shared.write(r + n, o..end, |m| sums[m][n].sum());
        }
    }
}
