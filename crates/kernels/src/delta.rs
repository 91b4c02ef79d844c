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
//! Tokens are taken in blocks, a slice of value columns staying in the first cache for a block.
//! Measured: AMD EPYC (Zen 5, family 26 model 2), AVX-512, 16 heads of 128 x 128, one thread, best of
//! many on a busy machine (`examples/rates.rs`): 15.4 us for a single row, 18.5 us a row of 64. The
//! arithmetic alone would take 9: rows of a slice lie 512 bytes apart and share half of the first
//! cache's sets.

use crate::cpu::Cpu;
use crate::lanes::{Body, LANES, Lanes};
use crate::math;
use crate::norm::sum_of_squares;
use crate::parts::Parts;
use crate::scratch;
use crate::spans::{StateSpan, check_states};

/// Rows whose normalised q and k are prepared at a time.
const BLOCK: usize = 32;
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
        scratch::with(BLOCK * (2 * shape.key_dim + 2), |scratch| {
            cpu.isa().run(Head {
                shape,
                span,
                head,
                inputs,
                state,
                out: &out,
                scratch,
            });
        });
    });
}

struct Head<'a> {
    shape: DeltaShape,
    span: &'a StateSpan,
    head: usize,
    inputs: DeltaInputs<'a>,
    state: &'a mut [f32],
    out: &'a Parts<'a, f32>,
    scratch: &'a mut [f32],
}

/// A row as the update sees it.
struct Row<'a> {
    q: &'a [f32],
    k: &'a [f32],
    /// `[value_dim]`.
    v: &'a [f32],
    decay: f32,
    beta: f32,
}

impl Body for Head<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self) {
        let mut rows = self.span.rows.clone();
        while !rows.is_empty() {
            let block = rows.start..rows.end.min(rows.start + BLOCK);
            rows.start = block.end;
            for (i, t) in block.clone().enumerate() {
                self.prepare::<L>(i, t);
            }
            let mut column = 0;
            while column < self.shape.value_dim {
                let left = self.shape.value_dim - column;
                let columns = if left >= VECTORS * LANES {
                    VECTORS * LANES
                } else {
                    left.min(LANES)
                };
                for (i, t) in block.clone().enumerate() {
                    self.step::<L>(i, t, column, columns);
                }
                column += columns;
            }
        }
    }
}

impl Head<'_> {
    /// Row `t`'s normalised k and q, decay and beta, to place `i` of the scratch.
    #[inline(always)]
    fn prepare<L: Lanes>(&mut self, i: usize, t: usize) {
        let DeltaShape {
            key_heads,
            value_heads,
            key_dim,
            ..
        } = self.shape;
        let row = &self.inputs.qkv[t * self.shape.qkv_width()..];
        let start = self.head / (value_heads / key_heads) * key_dim;
        let q = &row[start..start + key_dim];
        let k = &row[key_heads * key_dim + start..key_heads * key_dim + start + key_dim];
        let place = &mut self.scratch[i * (2 * key_dim + 2)..][..2 * key_dim + 2];
        let (to_q, rest) = place.split_at_mut(key_dim);
        let (to_k, gates) = rest.split_at_mut(key_dim);
        normalise::<L>(q, to_q);
        normalise::<L>(k, to_k);
        let at = t * value_heads + self.head;
        let input = self.inputs.a[at] + self.inputs.dt_bias[self.head];
        gates[0] = decay(self.inputs.a_log[self.head], input);
        gates[1] = math::sigmoid(L::splat(self.inputs.b[at])).to_array()[0];
    }

    #[inline(always)]
    fn step<L: Lanes>(&mut self, i: usize, t: usize, column: usize, columns: usize) {
        let DeltaShape {
            key_heads,
            key_dim,
            value_dim,
            ..
        } = self.shape;
        let place = &self.scratch[i * (2 * key_dim + 2)..][..2 * key_dim + 2];
        let start = t * self.shape.qkv_width() + 2 * key_heads * key_dim + self.head * value_dim;
        let row = Row {
            q: &place[..key_dim],
            k: &place[key_dim..2 * key_dim],
            v: &self.inputs.qkv[start..start + value_dim],
            decay: place[2 * key_dim],
            beta: place[2 * key_dim + 1],
        };
        let start = t * self.shape.out_width() + self.head * value_dim;
        // SAFETY: this head of this row belongs to this task.
        let out = unsafe { self.out.part(start..start + value_dim) };
        if columns == VECTORS * LANES {
            update::<L, VECTORS>(&row, self.state, column, columns, out);
        } else {
            update::<L, 1>(&row, self.state, column, columns, out);
        }
    }
}

#[inline(always)]
fn normalise<L: Lanes>(x: &[f32], out: &mut [f32]) {
    let factor = L::splat(1.0 / (sum_of_squares::<L>(x) + NORM_EPS).sqrt());
    for i in (0..x.len()).step_by(LANES) {
        L::get(x, i).mul(factor).put(out, i);
    }
}

/// exp(-exp(a_log) * softplus(x)), softplus being linear above 20.
fn decay(a_log: f32, x: f32) -> f32 {
    let softplus = if x > 20.0 {
        x
    } else {
        libm::log1pf(libm::expf(x))
    };
    libm::expf(-libm::expf(a_log) * softplus)
}

/// One row's step on `columns` value columns from `column` on: N full vectors, or one of 1 to 16.
#[inline(always)]
fn update<L: Lanes, const N: usize>(
    row: &Row<'_>,
    state: &mut [f32],
    column: usize,
    columns: usize,
    out: &mut [f32],
) {
    let (key_dim, width) = (row.k.len(), row.v.len());
    assert!(state.len() == key_dim * width && row.q.len() == key_dim && out.len() == width);
    assert!(columns > 0 && column + columns <= width);
    assert!(columns == N * LANES || N == 1 && columns < LANES);
    let state = state.as_mut_ptr().wrapping_add(column);
    // SAFETY: `at` is column `column` of a row of the state, or of v or the output, all of which
    // have `columns` elements from there on: N full vectors, or one cut to `columns`.
    let load = |at: *const f32, n: usize| unsafe {
        if N == 1 && columns < LANES {
            L::load_partial(at, columns)
        } else {
            L::load(at.add(n * LANES))
        }
    };
    // SAFETY: as above.
    let save = |value: L, at: *mut f32, n: usize| unsafe {
        if N == 1 && columns < LANES {
            value.store_partial(at, columns);
        } else {
            value.store(at.add(n * LANES));
        }
    };
    let decay = L::splat(row.decay);
    let mut mem = [L::zero(); N];
    for (d, &k) in row.k.iter().enumerate() {
        let (k, at) = (L::splat(k), state.wrapping_add(d * width));
        for n in 0..N {
            mem[n] = load(at, n).mul(decay).fma(k, mem[n]);
        }
    }
    let mut delta = [L::zero(); N];
    for n in 0..N {
        let v = load(row.v.as_ptr().wrapping_add(column), n);
        delta[n] = v.sub(mem[n]).mul(L::splat(row.beta));
    }
    let mut sum = [L::zero(); N];
    for (d, (&k, &q)) in row.k.iter().zip(row.q).enumerate() {
        let (k, q, at) = (L::splat(k), L::splat(q), state.wrapping_add(d * width));
        for n in 0..N {
            let s = k.fma(delta[n], load(at, n).mul(decay));
            save(s, at, n);
            sum[n] = s.fma(q, sum[n]);
        }
    }
    let scale = L::splat(1.0 / (key_dim as f32).sqrt());
    for n in 0..N {
        save(sum[n].mul(scale), out.as_mut_ptr().wrapping_add(column), n);
    }
}
