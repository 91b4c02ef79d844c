//! The gated delta rule: a linear attention whose state is a small matrix per head.
//!
//! Layout: a row of `qkv` is Q of all key heads, K of all key heads, V of all value heads; a state is
//! `[value_heads, key_dim, value_dim]`; value head v uses key head v / (value_heads / key_heads).
//! Contract: per row and value head, with q and k divided by sqrt(sum of squares + 1e-6),
//! beta = sigmoid(b) and g = exp(-exp(a_log) * softplus(a + dt_bias)):
//! s = g S; m = s^T k; S = fma(k, (v - m) * beta, s); out = (S^T q) * (1 / sqrt(key_dim)).
//! The sums over the key dimension are fused chains in ascending order; lanes are value columns.
//! Rows are applied one by one, for prompts too, so that cutting a prompt cannot show. g comes from
//! `libm` in f32, the same on every machine.
//! Tokens are taken in blocks, a slice of value columns lying packed in the first cache for a block;
//! in place its rows would share half of that cache's sets. One pass over the slice ends a token and
//! begins the next: s of the next token is what is kept, and its m is summed along the way.
//! Measured: AMD EPYC (Zen 5, family 26 model 2), AVX-512, 16 heads of 128 x 128, one thread beside
//! other work, best of many, runs in turn (`examples/rates.rs`): 9.8 us a row of 64 (15.3 with the
//! slice in place and two passes a row), 10.6 to 11.3 us a row of 512 (38 to 58 without asking for
//! rows ahead either, while others had the shared cache). A single row 18 to 21 us as before, 15.4 on
//! a quiet machine. The arithmetic alone is 7.3: four products a value, at two vectors a cycle.

use std::ops::Range;

use crate::cpu::Cpu;
use crate::lanes::{Body, LANES, Lanes};
use crate::linear::{LINE_BYTES, prefetch};
use crate::math;
use crate::norm::sum_of_squares;
use crate::parts::Parts;
use crate::scratch;
use crate::spans::{StateSpan, check_states};

/// Rows whose normalised q and k are prepared at a time.
const BLOCK: usize = 64;
/// Rows that q, k and v are asked for in advance: rows lie too far apart for the processor to guess.
const AHEAD: usize = 4;
/// Vectors of value columns that are worked on together.
const VECTORS: usize = 4;
/// Inside the root of the q and k norms.
const NORM_EPS: f32 = 1e-6;

/// The shape of a gated delta layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeltaShape {
    /// Heads of Q and K; divides `value_heads`.
    pub key_heads: usize,
    /// Heads of V, the state and the output.
    pub value_heads: usize,
    /// Values of a Q or K head.
    pub key_dim: usize,
    /// Values of a V head.
    pub value_dim: usize,
}

impl DeltaShape {
    /// Columns of a `qkv` row.
    pub fn qkv_width(&self) -> usize {
        2 * self.key_heads * self.key_dim + self.out_width()
    }

    /// Columns of an output row.
    pub fn out_width(&self) -> usize {
        self.value_heads * self.value_dim
    }

    /// Floats of one sequence's state.
    pub fn state_len(&self) -> usize {
        self.value_heads * self.key_dim * self.value_dim
    }
}

/// What a gated delta layer reads.
#[derive(Debug, Clone, Copy)]
pub struct DeltaInputs<'a> {
    /// `[rows, qkv_width]`, after convolution and SiLU.
    pub qkv: &'a [f32],
    /// `[rows, value_heads]`: the decay's input.
    pub a: &'a [f32],
    /// `[rows, value_heads]`: the write strength's input.
    pub b: &'a [f32],
    /// `[value_heads]`, as stored.
    pub a_log: &'a [f32],
    /// `[value_heads]`, as stored.
    pub dt_bias: &'a [f32],
}

/// Applies the rule to the rows of each span and moves its state on. `out`:
/// `[rows, value_heads * value_dim]`; `states` holds one state of [`DeltaShape::state_len`] per
/// span. Rows outside of all spans are left alone.
///
/// # Panics
/// If a length does not fit, spans do not ascend, or states overlap.
pub fn gated_delta(
    cpu: &Cpu,
    shape: DeltaShape,
    spans: &[StateSpan],
    inputs: DeltaInputs<'_>,
    states: &mut [f32],
    out: &mut [f32],
) {
    assert!(
        shape.out_width() > 0 && shape.key_dim > 0 && shape.key_heads > 0,
        "{shape:?}"
    );
    assert!(
        shape.value_heads.is_multiple_of(shape.key_heads),
        "{shape:?}"
    );
    assert!(
        out.len().is_multiple_of(shape.out_width()),
        "output rows of a gated delta layer"
    );
    let rows = out.len() / shape.out_width();
    assert_eq!(
        inputs.qkv.len(),
        rows * shape.qkv_width(),
        "qkv of a gated delta layer"
    );
    assert_eq!(
        inputs.a.len(),
        rows * shape.value_heads,
        "a of a gated delta layer"
    );
    assert_eq!(
        inputs.b.len(),
        rows * shape.value_heads,
        "b of a gated delta layer"
    );
    assert_eq!(
        inputs.a_log.len(),
        shape.value_heads,
        "a_log of a gated delta layer"
    );
    assert_eq!(
        inputs.dt_bias.len(),
        shape.value_heads,
        "dt_bias of a gated delta layer"
    );
    check_states(spans, rows, shape.state_len(), states.len());
    let (states, out) = (Parts::new(states), Parts::new(out));
    cpu.run(spans.len() * shape.value_heads, &|i| {
        let (span, head) = (&spans[i / shape.value_heads], i % shape.value_heads);
        let len = shape.key_dim * shape.value_dim;
        let start = span.state + head * len;
        // SAFETY: a head of a span's state belongs to one task; the states do not overlap.
        let state = unsafe { states.part(start..start + len) };
        let rows = BLOCK.min(span.rows.len());
        let place = place_len(shape.key_dim);
        let slice = shape.key_dim * VECTORS * LANES;
        scratch::with(rows * place + slice, |scratch| {
            let (places, slice) = scratch.split_at_mut(rows * place);
            cpu.isa().run(Head {
                shape,
                span,
                head,
                inputs,
                state,
                out: &out,
                places,
                slice,
            });
        });
    });
}

/// Floats of a prepared row: q, k, decay and beta.
fn place_len(key_dim: usize) -> usize {
    (2 * key_dim + 2).next_multiple_of(LANES)
}

struct Head<'a> {
    shape: DeltaShape,
    span: &'a StateSpan,
    head: usize,
    inputs: DeltaInputs<'a>,
    state: &'a mut [f32],
    out: &'a Parts<'a, f32>,
    /// The rows of a block, prepared.
    places: &'a mut [f32],
    /// `[key_dim, 64]`: the state's columns at hand.
    slice: &'a mut [f32],
}

/// A row as the update sees it.
#[derive(Clone, Copy)]
struct Row<'a> {
    q: &'a [f32],
    k: &'a [f32],
    /// The value columns at hand.
    v: &'a [f32],
    decay: f32,
    beta: f32,
}

impl Body for Head<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self) {
        let exp_a = libm::expf(self.inputs.a_log[self.head]);
        let mut rows = self.span.rows.clone();
        while !rows.is_empty() {
            let block = rows.start..rows.end.min(rows.start + BLOCK);
            rows.start = block.end;
            for (i, t) in block.clone().enumerate() {
                self.prepare::<L>(i, t, exp_a);
            }
            let mut column = 0;
            while column < self.shape.value_dim {
                let left = self.shape.value_dim - column;
                if left >= VECTORS * LANES {
                    self.columns::<L, VECTORS>(&block, column..column + VECTORS * LANES);
                    column += VECTORS * LANES;
                } else {
                    self.columns::<L, 1>(&block, column..column + left.min(LANES));
                    column += left.min(LANES);
                }
            }
        }
    }
}

impl Head<'_> {
    /// Row `t`'s normalised k and q, decay and beta, to place `i`.
    #[inline(always)]
    fn prepare<L: Lanes>(&mut self, i: usize, t: usize, exp_a: f32) {
        let DeltaShape {
            value_heads,
            key_dim,
            value_dim,
            ..
        } = self.shape;
        let [q, k, v] = self.starts();
        let row = &self.inputs.qkv[t * self.shape.qkv_width()..];
        for (start, len) in [(q, key_dim), (k, key_dim), (v, value_dim)] {
            let there = row
                .as_ptr()
                .wrapping_add(AHEAD * self.shape.qkv_width() + start);
            for j in (0..len).step_by(LINE_BYTES / size_of::<f32>()) {
                prefetch(there.wrapping_add(j));
            }
        }
        for j in (0..value_dim).step_by(LINE_BYTES / size_of::<f32>()) {
            self.out
                .ask(t * self.shape.out_width() + self.head * value_dim + j);
        }
        let place = &mut self.places[i * place_len(key_dim)..][..2 * key_dim + 2];
        let (to_q, rest) = place.split_at_mut(key_dim);
        let (to_k, gates) = rest.split_at_mut(key_dim);
        normalise::<L>(&row[q..q + key_dim], to_q);
        normalise::<L>(&row[k..k + key_dim], to_k);
        let at = t * value_heads + self.head;
        gates[0] = decay(exp_a, self.inputs.a[at] + self.inputs.dt_bias[self.head]);
        gates[1] = math::sigmoid(L::splat(self.inputs.b[at])).to_array()[0];
    }

    /// Where this head's q, k and v begin in a row.
    fn starts(&self) -> [usize; 3] {
        let DeltaShape {
            key_heads,
            value_heads,
            key_dim,
            value_dim,
        } = self.shape;
        let q = self.head / (value_heads / key_heads) * key_dim;
        let keys = key_heads * key_dim;
        [q, keys + q, 2 * keys + self.head * value_dim]
    }

    /// Prepared row `i` of the block from row `start` on.
    #[inline(always)]
    fn row(&self, start: usize, i: usize, columns: &Range<usize>) -> Row<'_> {
        let key_dim = self.shape.key_dim;
        let place = &self.places[i * place_len(key_dim)..][..2 * key_dim + 2];
        let v = (start + i) * self.shape.qkv_width() + self.starts()[2];
        Row {
            q: &place[..key_dim],
            k: &place[key_dim..2 * key_dim],
            v: &self.inputs.qkv[v + columns.start..v + columns.end],
            decay: place[2 * key_dim],
            beta: place[2 * key_dim + 1],
        }
    }

    /// The block's rows on the value columns `columns`: N full vectors, or one of 1 to 16.
    #[inline(always)]
    fn columns<L: Lanes, const N: usize>(&mut self, block: &Range<usize>, columns: Range<usize>) {
        let (key_dim, value_dim) = (self.shape.key_dim, self.shape.value_dim);
        let state = std::mem::take(&mut self.state);
        let slice = std::mem::take(&mut self.slice);
        let mut kept = Slice::<N>::new(&mut state[columns.start..], value_dim, columns.len());
        let row = |i: usize| self.row(block.start, i, &columns);
        let out = |i: usize| {
            let at = (block.start + i) * self.shape.out_width() + self.head * value_dim;
            // SAFETY: this head of this row belongs to this task, which has one part at a time.
            unsafe { self.out.part(at + columns.start..at + columns.end) }
        };
        if block.len() == 1 {
            // A single row would not win the copies back.
            let mem = kept.first::<L>(&row(0));
            kept.step::<L, true, true>([&row(0); 2], mem, out(0));
        } else {
            let mut here = Slice::<N>::new(slice, N * LANES, columns.len());
            (0..key_dim).for_each(|d| here.put(d, kept.get::<L>(d)));
            let mut mem = here.first::<L>(&row(0));
            for i in 0..block.len() {
                let last = i + 1 == block.len();
                let rows = [&row(i), &row(i + usize::from(!last))];
                mem = match (i == 0, last) {
                    (_, true) => here.step::<L, false, true>(rows, mem, out(i)),
                    (true, false) => here.step::<L, true, false>(rows, mem, out(i)),
                    (false, false) => here.step::<L, false, false>(rows, mem, out(i)),
                };
            }
            (0..key_dim).for_each(|d| kept.put(d, here.get::<L>(d)));
        }
        self.state = state;
        self.slice = slice;
    }
}

#[inline(always)]
fn normalise<L: Lanes>(x: &[f32], out: &mut [f32]) {
    let factor = L::splat(1.0 / (sum_of_squares::<L>(x) + NORM_EPS).sqrt());
    for i in (0..x.len()).step_by(LANES) {
        L::get(x, i).mul(factor).put(out, i);
    }
}

/// exp(-exp_a * softplus(x)), softplus being linear above 20.
fn decay(exp_a: f32, x: f32) -> f32 {
    let softplus = if x > 20.0 {
        x
    } else {
        libm::log1pf(libm::expf(x))
    };
    libm::expf(-exp_a * softplus)
}

/// A head's state on some value columns: N full vectors of each row, or one cut to `columns`.
struct Slice<'a, const N: usize> {
    floats: &'a mut [f32],
    /// Floats from a row to the next.
    stride: usize,
    columns: usize,
}

impl<'a, const N: usize> Slice<'a, N> {
    #[inline(always)]
    fn new(floats: &'a mut [f32], stride: usize, columns: usize) -> Self {
        assert!(columns == N * LANES || N == 1 && columns < LANES);
        Slice {
            floats,
            stride,
            columns,
        }
    }

    /// N vectors from the columns' values at `x`.
    #[inline(always)]
    fn load<L: Lanes>(&self, x: &[f32]) -> [L; N] {
        assert!(x.len() >= self.columns);
        let mut vectors = [L::zero(); N];
        for n in 0..N {
            // SAFETY: `x` has `columns` values: N full vectors, or one cut to them.
            vectors[n] = unsafe {
                if N == 1 && self.columns < LANES {
                    L::load_partial(x.as_ptr(), self.columns)
                } else {
                    L::load(x.as_ptr().add(n * LANES))
                }
            };
        }
        vectors
    }

    #[inline(always)]
    fn save<L: Lanes>(columns: usize, vectors: [L; N], x: &mut [f32]) {
        assert!(x.len() >= columns && columns <= N * LANES);
        for n in 0..N {
            // SAFETY: `x` has `columns` values: N full vectors, or one cut to them.
            unsafe {
                if N == 1 && columns < LANES {
                    vectors[n].store_partial(x.as_mut_ptr(), columns);
                } else {
                    vectors[n].store(x.as_mut_ptr().add(n * LANES));
                }
            }
        }
    }

    #[inline(always)]
    fn get<L: Lanes>(&self, d: usize) -> [L; N] {
        self.load(&self.floats[d * self.stride..][..self.columns])
    }

    #[inline(always)]
    fn put<L: Lanes>(&mut self, d: usize, vectors: [L; N]) {
        let x = &mut self.floats[d * self.stride..][..self.columns];
        Self::save(self.columns, vectors, x);
    }

    /// s^T k of the first row, s being the state decayed.
    #[inline(always)]
    fn first<L: Lanes>(&self, row: &Row<'_>) -> [L; N] {
        let decay = L::splat(row.decay);
        let mut mem = [L::zero(); N];
        for (d, &k) in row.k.iter().enumerate() {
            let (k, state) = (L::splat(k), self.get::<L>(d));
            for n in 0..N {
                mem[n] = state[n].mul(decay).fma(k, mem[n]);
            }
        }
        mem
    }

    /// The step of the first of two rows, `mem` being its s^T k. Unless it is the FIRST, the state lies
    /// there decayed; unless it is the LAST, it is left decayed for the second row, whose s^T k is
    /// the result.
    #[inline(always)]
    fn step<L: Lanes, const FIRST: bool, const LAST: bool>(
        &mut self,
        [row, next]: [&Row<'_>; 2],
        mem: [L; N],
        out: &mut [f32],
    ) -> [L; N] {
        let key_dim = row.k.len();
        assert!(row.q.len() == key_dim && next.k.len() == key_dim);
        let (decay, next_decay) = (L::splat(row.decay), L::splat(next.decay));
        let mut delta = self.load::<L>(row.v);
        for n in 0..N {
            delta[n] = delta[n].sub(mem[n]).mul(L::splat(row.beta));
        }
        let (mut sum, mut mem) = ([L::zero(); N], [L::zero(); N]);
        for d in 0..key_dim {
            let (k, q) = (L::splat(row.k[d]), L::splat(row.q[d]));
            let next_k = L::splat(next.k[d]);
            let mut state = self.get::<L>(d);
            for n in 0..N {
                let s = if FIRST { state[n].mul(decay) } else { state[n] };
                state[n] = k.fma(delta[n], s);
                sum[n] = state[n].fma(q, sum[n]);
                if !LAST {
                    state[n] = state[n].mul(next_decay);
                    mem[n] = state[n].fma(next_k, mem[n]);
                }
            }
            self.put(d, state);
        }
        let scale = L::splat(1.0 / (key_dim as f32).sqrt());
        for n in 0..N {
            sum[n] = sum[n].mul(scale);
        }
        Self::save(self.columns, sum, out);
        mem
    }
}
