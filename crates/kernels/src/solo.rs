//! Layers of small networks on the calling thread: product, its two transposes, product of bytes;
//! steps of their training.
//!
//! Layout: weight `[inputs, outputs]` row-major, so that a vector is 16 outputs of one input; rows
//! `[rows, inputs]` and `[rows, outputs]`.
//! Contract: products are rounded, then added (no fused multiply-add), so that plain Rust on a
//! processor without one gives the same bits. [`Solo::affine`] adds to the bias input after input;
//! [`Solo::outer`] adds to zeros or what the gradient holds, row after row; [`Solo::transposed`] has 16 lanes
//! along the outputs, summed along the tree. Rows do not show in each other's bits, and gradients of
//! consecutive pieces of a batch are those of the whole.
//! [`Solo::sums_int8`] is exact: in f32, of at most 1,024 products of bytes at a time.
//! One row goes through up to 128 outputs at once: the weights are read once, front to back. Four
//! rows go through 64, eight through 32: sixteen sums stay in registers, and the weights are read from
//! the second cache half as often.
//! Measured: docs/bench/2026-11-tiny-networks.md (one row of 784 x 128 runs at the speed of the
//! second cache).

use crate::lanes::{Body, LANES, Lanes};
use crate::linear::prefetch;
use crate::{CpuError, Isa};

mod steps;

pub use steps::{AdamStep, SgdStep};

/// Rows (or inputs) of a tile.
const TILE: usize = 4;
/// Rows of a batch's tile.
const MANY: usize = 8;
/// Weights that are asked for before their turn, rounded up to rows: the processor alone follows a stream from the second cache
/// at three quarters of its speed.
const AHEAD: usize = 1024;
/// Products of two bytes that f32 adds up exactly: 1,024 x 2^14 is 2^24.
const EXACT_INPUTS: usize = 1024;

/// An instruction set of this machine for one thread: no pool stands behind it. Free to copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Solo(Isa);

/// What sums are added to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Onto {
    /// Zeros: what the sums held does not matter.
    Zeros,
    /// What they hold.
    Held,
}

/// Width of a layer on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerShape {
    /// Elements of an input row.
    pub inputs: usize,
    /// Elements of an output row.
    pub outputs: usize,
}

impl LayerShape {
    /// Checks the weight and two sets of rows; their number.
    fn rows(self, weight: &[f32], x: &[f32], y: &[f32]) -> usize {
        let LayerShape { inputs, outputs } = self;
        assert!(inputs > 0 && outputs > 0, "layer of {inputs} x {outputs}");
        assert_eq!(
            Some(weight.len()),
            inputs.checked_mul(outputs),
            "weight of {inputs} x {outputs}"
        );
        let rows = x.len() / inputs;
        assert_eq!(x.len(), rows * inputs, "rows of {inputs} inputs");
        assert_eq!(
            Some(y.len()),
            rows.checked_mul(outputs),
            "{rows} rows of {outputs} outputs"
        );
        rows
    }
}

/// Asks for memory that will be read soon. A hint: no result depends on it.
pub fn ask_for(x: &[f32]) {
    x.chunks(LANES).for_each(|line| prefetch(line.as_ptr()));
}

impl Solo {
    /// The fastest this machine has.
    pub fn detect() -> Solo {
        Solo(Isa::detect())
    }

    /// # Errors
    /// [`CpuError::IsaMissing`] for an instruction set this machine lacks.
    pub fn new(isa: Isa) -> Result<Solo, CpuError> {
        if isa.is_available() {
            return Ok(Solo(isa));
        }
        Err(CpuError::IsaMissing {
            wanted: isa,
            available: Isa::available(),
        })
    }

    /// Which one it is.
    pub fn isa(self) -> Isa {
        self.0
    }

    /// `out[r] = bias + x[r] weight`. `weight`: `[inputs, outputs]`; `bias`: `[outputs]`; `x`:
    /// `[rows, inputs]`; `out`: `[rows, outputs]`.
    ///
    /// # Panics
    /// If a length does not fit.
    pub fn affine(
        self,
        shape: LayerShape,
        weight: &[f32],
        bias: &[f32],
        x: &[f32],
        out: &mut [f32],
    ) {
        let rows = shape.rows(weight, x, out);
        assert_eq!(bias.len(), shape.outputs, "bias of {}", shape.outputs);
        self.0.run(Affine {
            shape,
            rows,
            weight,
            bias,
            x,
            out,
        });
    }

    /// `out[r] = y[r] weight^T`. `weight`: `[inputs, outputs]`; `y`: `[rows, outputs]`; `out`:
    /// `[rows, inputs]`.
    ///
    /// # Panics
    /// If a length does not fit.
    pub fn transposed(self, shape: LayerShape, weight: &[f32], y: &[f32], out: &mut [f32]) {
        let rows = shape.rows(weight, out, y);
        self.0.run(Transposed {
            shape,
            rows,
            weight,
            y,
            out,
        });
    }

    /// `sums = onto + x^T y`. `x`: `[rows, inputs]`; `y`: `[rows, outputs]`; `sums`:
    /// `[inputs, outputs]`.
    ///
    /// # Panics
    /// If a length does not fit.
    pub fn outer(self, shape: LayerShape, x: &[f32], y: &[f32], (onto, sums): (Onto, &mut [f32])) {
        let rows = shape.rows(sums, x, y);
        self.0.run(Outer {
            shape,
            rows,
            onto,
            x,
            y,
            sums,
        });
    }
}

impl Solo {
    /// `sums = x weight` in integers, exactly. `weight`: `[inputs, outputs]`; `x`: `[inputs]`; `sums`:
    /// `[outputs]`.
    ///
    /// # Panics
    /// If a length does not fit, or there are more than 131,071 inputs: a sum could leave i32.
    pub fn sums_int8(self, shape: LayerShape, weight: &[i8], x: &[i8], sums: &mut [i32]) {
        let LayerShape { inputs, outputs } = shape;
        assert!(inputs < 1 << 17, "{inputs} inputs");
        assert_eq!(
            Some(weight.len()),
            inputs.checked_mul(outputs),
            "weight of {inputs} x {outputs}"
        );
        assert_eq!(x.len(), inputs, "inputs");
        assert_eq!(sums.len(), outputs, "outputs");
        self.0.run(SumsInt8 {
            outputs,
            weight,
            x,
            sums,
        });
    }
}

struct Affine<'a> {
    shape: LayerShape,
    rows: usize,
    weight: &'a [f32],
    bias: &'a [f32],
    x: &'a [f32],
    out: &'a mut [f32],
}

impl Body for Affine<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self) {
        let mut r = 0;
        while L::WIDE && r + MANY <= self.rows {
            let o = self.strip::<L, MANY, 2>(r, 0);
            self.strip::<L, MANY, 1>(r, o);
            r += MANY;
        }
        while L::WIDE && r + TILE <= self.rows {
            let o = self.strip::<L, TILE, 4>(r, 0);
            let o = self.strip::<L, TILE, 2>(r, o);
            self.strip::<L, TILE, 1>(r, o);
            r += TILE;
        }
        while r < self.rows {
            let mut o = 0;
            if L::WIDE {
                o = self.strip::<L, 1, 8>(r, o);
            }
            o = self.strip::<L, 1, 4>(r, o);
            o = self.strip::<L, 1, 2>(r, o);
            self.strip::<L, 1, 1>(r, o);
            r += 1;
        }
    }
}

impl Affine<'_> {
    /// Rows `r..r + R` from output `o` on, V vectors at a time while V vectors begin inside of the
    /// row; where it ended. The last vector may be a part of one.
    #[inline(always)]
    fn strip<L: Lanes, const R: usize, const V: usize>(&mut self, r: usize, mut o: usize) -> usize {
        let outputs = self.shape.outputs;
        while o + (V - 1) * LANES < outputs {
            if o + V * LANES <= outputs {
                self.tile::<L, R, V, true>(r, o);
            } else {
                self.tile::<L, R, V, false>(r, o);
            }
            o += V * LANES;
        }
        o
    }

    #[inline(always)]
    fn tile<L: Lanes, const R: usize, const V: usize, const WHOLE: bool>(
        &mut self,
        r: usize,
        o: usize,
    ) {
        let LayerShape { inputs, outputs } = self.shape;
        let x: [&[f32]; R] =
            std::array::from_fn(|n| &self.x[(r + n) * inputs..(r + n + 1) * inputs]);
        let left = outputs - o;
        let mut bias = [L::zero(); V];
        for v in 0..V {
            bias[v] = L::get(self.bias, o + v * LANES);
        }
        let mut sums = [bias; R];
        let ahead = AHEAD.div_ceil(outputs) * outputs;
        for i in 0..inputs {
            let mut w = [L::zero(); V];
            let row = i * outputs + o;
            for v in 0..V {
                if V >= 4 {
                    // Beyond the last row it is a hint about nothing.
                    prefetch(self.weight.as_ptr().wrapping_add(row + ahead + v * LANES));
                }
                w[v] = vector::<L, WHOLE>(self.weight, row, left, v);
            }
            for n in 0..R {
                // SAFETY: the row has `inputs` elements.
                let x = L::splat(unsafe { *x[n].get_unchecked(i) });
                for v in 0..V {
                    sums[n][v] = sums[n][v].add(x.mul(w[v]));
                }
            }
        }
        for n in 0..R {
            let out = &mut self.out[(r + n) * outputs..(r + n + 1) * outputs];
            for v in 0..V {
                sums[n][v].put(out, o + v * LANES);
            }
        }
    }
}

/// Vector `v` from element `at` on, of a strip that has `left` elements; WHOLE where that is all of
/// its vectors.
///
/// Callers are inside of a `LayerShape::rows` that was checked: `at + left <= data.len()`.
#[inline(always)]
fn vector<L: Lanes, const WHOLE: bool>(data: &[f32], at: usize, left: usize, v: usize) -> L {
    debug_assert!(at + left <= data.len());
    let start = v * LANES;
    if WHOLE || start + LANES <= left {
        debug_assert!(start + LANES <= left);
        // SAFETY: the checked shape has the `left` elements from `at` on, and the vector is in them.
        unsafe { L::load(data.as_ptr().add(at + start)) }
    } else {
        // SAFETY: as above, of the elements that are left; `start < left` as a strip's vectors begin
        // inside of the row.
        unsafe { L::load_partial(data.as_ptr().add(at + start), left - start) }
    }
}

struct Transposed<'a> {
    shape: LayerShape,
    rows: usize,
    weight: &'a [f32],
    y: &'a [f32],
    out: &'a mut [f32],
}

impl Body for Transposed<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self) {
        let mut r = 0;
        while L::WIDE && r + TILE <= self.rows {
            self.row::<L, TILE>(r);
            r += TILE;
        }
        while r < self.rows {
            self.row::<L, 1>(r);
            r += 1;
        }
    }
}

impl Transposed<'_> {
    #[inline(always)]
    fn row<L: Lanes, const R: usize>(&mut self, r: usize) {
        let mut i = 0;
        while i + TILE <= self.shape.inputs {
            self.tile::<L, R, TILE>(r, i);
            i += TILE;
        }
        while i < self.shape.inputs {
            self.tile::<L, R, 1>(r, i);
            i += 1;
        }
    }

    #[inline(always)]
    fn tile<L: Lanes, const R: usize, const I: usize>(&mut self, r: usize, i: usize) {
        let LayerShape { inputs, outputs } = self.shape;
        let mut sums = [[L::zero(); I]; R];
        let mut o = 0;
        while o + LANES <= outputs {
            self.add_products::<L, R, I, true>([r, i, o], &mut sums);
            o += LANES;
        }
        if o < outputs {
            self.add_products::<L, R, I, false>([r, i, o], &mut sums);
        }
        for n in 0..R {
            let at = (r + n) * inputs + i;
            let out = &mut self.out[at..at + I];
            if let [a, b, c, d] = sums[n][..] {
                out.copy_from_slice(&L::sum4([a, b, c, d]));
            } else {
                for (out, sum) in out.iter_mut().zip(sums[n]) {
                    *out = sum.sum();
                }
            }
        }
    }

    /// The products of the vector of outputs from `o` on.
    #[inline(always)]
    fn add_products<L: Lanes, const R: usize, const I: usize, const WHOLE: bool>(
        &self,
        [r, i, o]: [usize; 3],
        sums: &mut [[L; I]; R],
    ) {
        let outputs = self.shape.outputs;
        let left = outputs - o;
        let mut w = [L::zero(); I];
        for m in 0..I {
            w[m] = vector::<L, WHOLE>(self.weight, (i + m) * outputs + o, left, 0);
        }
        for n in 0..R {
            let y = vector::<L, WHOLE>(self.y, (r + n) * outputs + o, left, 0);
            for m in 0..I {
                sums[n][m] = sums[n][m].add(y.mul(w[m]));
            }
        }
    }
}

struct Outer<'a> {
    shape: LayerShape,
    rows: usize,
    onto: Onto,
    x: &'a [f32],
    y: &'a [f32],
    sums: &'a mut [f32],
}

impl Body for Outer<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self) {
        let mut i = 0;
        while i + TILE <= self.shape.inputs {
            self.inputs::<L, TILE>(i);
            i += TILE;
        }
        while i < self.shape.inputs {
            self.inputs::<L, 1>(i);
            i += 1;
        }
    }
}

impl Outer<'_> {
    #[inline(always)]
    fn inputs<L: Lanes, const I: usize>(&mut self, i: usize) {
        let mut o = 0;
        if L::WIDE {
            o = self.strip::<L, I, 4>(i, o);
            o = self.strip::<L, I, 2>(i, o);
        }
        self.strip::<L, I, 1>(i, o);
    }

    /// As [`Affine::strip`], for inputs `i..i + I`.
    #[inline(always)]
    fn strip<L: Lanes, const I: usize, const V: usize>(&mut self, i: usize, mut o: usize) -> usize {
        let outputs = self.shape.outputs;
        while o + (V - 1) * LANES < outputs {
            if o + V * LANES <= outputs {
                self.tile::<L, I, V, true>(i, o);
            } else {
                self.tile::<L, I, V, false>(i, o);
            }
            o += V * LANES;
        }
        o
    }

    #[inline(always)]
    fn tile<L: Lanes, const I: usize, const V: usize, const WHOLE: bool>(
        &mut self,
        i: usize,
        o: usize,
    ) {
        let LayerShape { inputs, outputs } = self.shape;
        let left = outputs - o;
        let mut sums = [[L::zero(); V]; I];
        if self.onto == Onto::Held {
            for m in 0..I {
                for v in 0..V {
                    sums[m][v] = vector::<L, WHOLE>(self.sums, (i + m) * outputs + o, left, v);
                }
            }
        }
        for r in 0..self.rows {
            let mut y = [L::zero(); V];
            for v in 0..V {
                y[v] = vector::<L, WHOLE>(self.y, r * outputs + o, left, v);
            }
            for m in 0..I {
                // SAFETY: the checked shape has `rows` rows of `inputs`, and i + m is one of them.
                let x = L::splat(unsafe { *self.x.get_unchecked(r * inputs + i + m) });
                for v in 0..V {
                    sums[m][v] = sums[m][v].add(x.mul(y[v]));
                }
            }
        }
        for m in 0..I {
            let out = &mut self.sums[(i + m) * outputs..(i + m + 1) * outputs];
            for v in 0..V {
                sums[m][v].put(out, o + v * LANES);
            }
        }
    }
}

struct SumsInt8<'a> {
    outputs: usize,
    weight: &'a [i8],
    x: &'a [i8],
    sums: &'a mut [i32],
}

impl Body for SumsInt8<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self) {
        let mut o = 0;
        while L::WIDE && o + 8 * LANES <= self.outputs {
            self.strip::<L, 8, true>(o);
            o += 8 * LANES;
        }
        while o + 2 * LANES <= self.outputs {
            self.strip::<L, 2, true>(o);
            o += 2 * LANES;
        }
        while o + LANES <= self.outputs {
            self.strip::<L, 1, true>(o);
            o += LANES;
        }
        if o < self.outputs {
            self.strip::<L, 1, false>(o);
        }
    }
}

impl SumsInt8<'_> {
    /// V vectors of outputs from `o` on: all WHOLE, or one that is not.
    #[inline(always)]
    fn strip<L: Lanes, const V: usize, const WHOLE: bool>(&mut self, o: usize) {
        let end = self.outputs.min(o + V * LANES);
        assert!(!WHOLE || end == o + V * LANES);
        self.sums[o..end].fill(0);
        let pieces = self.weight.chunks(EXACT_INPUTS * self.outputs);
        for (x, weight) in self.x.chunks(EXACT_INPUTS).zip(pieces) {
            let mut sums = [L::zero(); V];
            for (x, row) in x.iter().zip(weight.chunks_exact(self.outputs)) {
                let x = L::splat(f32::from(*x));
                for v in 0..V {
                    let w = if WHOLE {
                        // SAFETY: the row has `outputs` bytes, and V vectors from `o` on are in them.
                        unsafe { L::load_i8(row.as_ptr().add(o + v * LANES)) }
                    } else {
                        some_bytes(&row[o..end])
                    };
                    sums[v] = w.fma(x, sums[v]);
                }
            }
            for (out, sum) in self.sums[o..end].chunks_mut(LANES).zip(sums) {
                for (out, lane) in out.iter_mut().zip(sum.to_array()) {
                    *out += lane as i32;
                }
            }
        }
    }
}

/// Fewer than 16 bytes as floats, then zeros.
#[inline(always)]
fn some_bytes<L: Lanes>(row: &[i8]) -> L {
    let mut some = [0; LANES];
    some[..row.len()].copy_from_slice(row);
    // SAFETY: an array of 16.
    unsafe { L::load_i8(some.as_ptr()) }
}
