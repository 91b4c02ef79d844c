//! Attention of whole sequences: every row sees all rows of its sequence, whose keys and values are
//! those of the batch and kept nowhere.
//!
//! Layout: `q` and the output `[rows, heads * head_dim]`, `k` and `v` `[rows, kv_heads * head_dim]`. A
//! task has the heads of 64 columns (one head, if it is wider) of a sequence. For each head it lays out
//! keys as panels are, 64 side by side, and values row by row, see [`super::words`]; six queries at a
//! time meet all keys, then all values.
//! Contract: score = (chain of q\[d\] K\[d\] over d ascending) * scale; m is the largest; p = exp(score -
//! m); l = the sum of p, lane by lane, then the tree; acc = chain of p V key by key; out = acc / l. A
//! chain is of fused multiply-add, the same bits on every instruction set; or, asked for bf16, the
//! processor's products of q, K, V and p rounded to it. A row depends on its own sequence alone.
//! Measured: AMD EPYC (Zen 5, family 26 model 2), see `examples/panel_rates.rs`.

use std::ops::Range;

use super::AttendShape;
#[cfg(target_arch = "x86_64")]
use super::words::run_pairs;
use super::words::{Floats, Words};
use crate::cpu::Cpu;
use crate::lanes::{Body, LANES, Lanes};
use crate::linear::prefetch;
use crate::math;
use crate::panel::{PANEL, PanelFormat, PanelOut, RowParts};
use crate::parts::Parts;
use crate::scratch;
use crate::spans::check_rows;
use crate::{Bf16Isa, Isa};

/// Queries that share each load.
const QUERIES: usize = 6;
/// Rows of a sequence whose heads are asked for ahead: they should fit the first cache beside those in
/// use.
const ASKED_ROWS: usize = 32;

/// Rows of queries, keys and values.
#[derive(Debug, Clone, Copy)]
pub struct WholeInputs<'a> {
    /// `[rows, heads * head_dim]`.
    pub q: &'a [f32],
    /// `[rows, kv_heads * head_dim]`.
    pub k: &'a [f32],
    /// `[rows, kv_heads * head_dim]`.
    pub v: &'a [f32],
    /// Round them to bf16 where the processor multiplies it.
    pub bf16: bool,
}

/// Attends with the rows of each span to all rows of that span; `shape.sees` is not looked at. Rows
/// outside of all spans are left alone.
///
/// # Panics
/// If a length does not fit, or spans overlap or do not ascend.
pub fn attend_whole(
    cpu: &Cpu,
    shape: AttendShape,
    spans: &[Range<usize>],
    inputs: WholeInputs<'_>,
    out: PanelOut<'_>,
) {
    let AttendShape {
        heads,
        kv_heads,
        head_dim,
        ..
    } = shape;
    let (width, kv_width) = (heads * head_dim, kv_heads * head_dim);
    assert!(width > 0 && kv_width > 0, "{shape:?}");
    assert!(heads.is_multiple_of(kv_heads), "{shape:?}");
    let rows = inputs.q.len() / width;
    assert_eq!(inputs.q.len(), rows * width, "queries of {width}");
    assert_eq!(inputs.k.len(), rows * kv_width, "keys of {kv_width}");
    assert_eq!(inputs.v.len(), rows * kv_width, "values of {kv_width}");
    check_rows(spans.iter(), rows);
    let out = match out {
        PanelOut::Plain(out) => {
            assert_eq!(out.len(), rows * width, "output of attention");
            Out::Plain(Parts::new(out))
        }
        PanelOut::Rounded(format, out) => Out::Rounded(out.parts(format, rows, width)),
    };
    // Whole chunks of 64 columns, so that a task can round them.
    let together = match (head_dim % PANEL, PANEL % head_dim) {
        (_, 0) => PANEL / head_dim,
        (0, _) => 1,
        _ => heads,
    };
    let groups = heads.div_ceil(together);
    let pairs = inputs.bf16 && pairs_on(cpu);
    cpu.run(spans.len() * groups, &|i| {
        let task = |i: usize| {
            let (span, first) = (&spans[i / groups], i % groups * together);
            Task {
                shape,
                inputs,
                span: span.clone(),
                heads: first..heads.min(first + together),
                out: &out,
            }
        };
        if i + 1 < spans.len() * groups {
            task(i + 1).ask();
        }
        let task = task(i);
        if task.span.is_empty() {
            return;
        }
        scratch::with(task.floats(), |room| {
            #[cfg(target_arch = "x86_64")]
            if pairs {
                // SAFETY: `pairs_on` said so.
                return unsafe { run_pairs(Whole { task, room }) };
            }
            cpu.isa().run(Whole { task, room });
        });
    });
}

/// Whether rows rounded to bf16 are multiplied as such.
fn pairs_on(cpu: &Cpu) -> bool {
    let wanted = PanelFormat::bf16_on(cpu) == PanelFormat::Bf16;
    wanted && cpu.isa() == Isa::Avx512 && Bf16Isa::Avx512Bf16.is_available()
}

enum Out<'a> {
    Plain(Parts<'a, f32>),
    Rounded(RowParts<'a>),
}

/// Some heads of one sequence.
struct Task<'a> {
    shape: AttendShape,
    inputs: WholeInputs<'a>,
    span: Range<usize>,
    heads: Range<usize>,
    out: &'a Out<'a>,
}

impl Task<'_> {
    /// Asks for its rows, if they are few: no processor sees so short streams coming.
    fn ask(&self) {
        let AttendShape {
            heads,
            kv_heads,
            head_dim,
            ..
        } = self.shape;
        if self.span.len() > ASKED_ROWS {
            return;
        }
        let kv = self.heads.start / (heads / kv_heads)..self.heads.end.div_ceil(heads / kv_heads);
        let WholeInputs { q, k, v, .. } = self.inputs;
        for (x, all, heads) in [
            (q, heads, &self.heads),
            (k, kv_heads, &kv),
            (v, kv_heads, &kv),
        ] {
            for row in self.span.clone() {
                let row = row * all * head_dim;
                for at in (heads.start * head_dim..heads.end * head_dim).step_by(LANES) {
                    prefetch(x.as_ptr().wrapping_add(row + at));
                }
            }
        }
    }

    fn padded_dim(&self) -> usize {
        self.shape.head_dim.next_multiple_of(LANES)
    }

    /// Columns of the task's heads, filled up to whole chunks.
    fn width(&self) -> usize {
        (self.heads.len() * self.shape.head_dim).next_multiple_of(PANEL)
    }

    /// Floats, or pairs of bf16, of keys, values, queries, scores and outputs.
    fn parts(&self) -> [usize; 5] {
        let (keys, dim) = (self.span.len(), self.padded_dim());
        let scores = QUERIES * keys.next_multiple_of(PANEL);
        let outputs = keys * self.width();
        [
            keys.next_multiple_of(PANEL) * dim,
            keys * dim,
            QUERIES * dim,
            scores,
            outputs,
        ]
    }

    fn floats(&self) -> usize {
        self.parts().iter().sum()
    }

    /// Head `head` of key or value row `key` of the sequence; none beyond the last key.
    #[inline(always)]
    fn kv_row<'x>(&self, x: &'x [f32], head: usize, key: usize) -> &'x [f32] {
        if key >= self.span.len() {
            return &[];
        }
        let AttendShape {
            heads,
            kv_heads,
            head_dim,
            ..
        } = self.shape;
        let head = head / (heads / kv_heads);
        &x[((self.span.start + key) * kv_heads + head) * head_dim..][..head_dim]
    }

    #[inline(always)]
    fn query(&self, head: usize, query: usize) -> &[f32] {
        let AttendShape {
            heads, head_dim, ..
        } = self.shape;
        &self.inputs.q[((self.span.start + query) * heads + head) * head_dim..][..head_dim]
    }
}

/// A task and its room.
pub(super) struct Whole<'a> {
    task: Task<'a>,
    room: &'a mut [f32],
}

impl Body for Whole<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        self.run_words::<Floats<L>>();
    }
}

impl Whole<'_> {
    #[inline(always)]
    pub(super) fn run_words<W: Words>(self) {
        let task = self.task;
        let [keys, values, queries, scores, outputs] = task.parts();
        let (keys, rest) = self.room.split_at_mut(keys);
        let (values, rest) = rest.split_at_mut(values);
        let (queries, rest) = rest.split_at_mut(queries);
        let (scores, rest) = rest.split_at_mut(scores);
        let outputs = &mut rest[..outputs];
        outputs.fill(0.0);
        for head in task.heads.clone() {
            lay_out_keys::<W>(&task, head, keys);
            lay_out_values::<W>(&task, head, values);
            let mut tile = Tile {
                task: &task,
                head,
                keys,
                values,
                queries: &mut *queries,
                scores: &mut *scores,
                outputs: &mut *outputs,
            };
            let mut query = 0;
            while query < task.span.len() {
                let n = QUERIES.min(task.span.len() - query);
                tile.run::<W>(query, n);
                query += n;
            }
        }
        write::<W::Float>(&task, outputs);
    }
}

/// Keys of a head in panels: 64 keys side by side, word after word.
#[inline(always)]
fn lay_out_keys<W: Words>(task: &Task<'_>, head: usize, keys: &mut [f32]) {
    let words = W::words(task.shape.head_dim);
    for first in (0..task.span.len()).step_by(LANES) {
        let panel = &mut keys[first / PANEL * PANEL * words..][..PANEL * words];
        for word in (0..words).step_by(LANES) {
            let mut block = [W::Float::zero(); LANES];
            for (i, block) in block.iter_mut().enumerate() {
                let row = task.kv_row(task.inputs.k, head, first + i);
                *block = W::row(row, word);
            }
            let block = W::Float::transposed(block);
            for (i, column) in block.into_iter().enumerate().take(words - word) {
                column.put(panel, (word + i) * PANEL + first % PANEL);
            }
        }
    }
}

/// Values of a head, `[words of keys, padded head_dim]`.
#[inline(always)]
fn lay_out_values<W: Words>(task: &Task<'_>, head: usize, values: &mut [f32]) {
    let dim = task.padded_dim();
    for (word, out) in values
        .chunks_exact_mut(dim)
        .enumerate()
        .take(W::words(task.span.len()))
    {
        for d in (0..dim).step_by(LANES) {
            let row = |key| W::Float::get(task.kv_row(task.inputs.v, head, key), d);
            let first = word * W::PER_WORD;
            W::joined(row(first), || row(first + 1)).put(out, d);
        }
    }
}

/// A head of a task on its way through the queries.
struct Tile<'a> {
    task: &'a Task<'a>,
    head: usize,
    keys: &'a [f32],
    values: &'a [f32],
    /// `[QUERIES, padded head_dim]`, of what are not floats.
    queries: &'a mut [f32],
    /// `[QUERIES, padded keys]`.
    scores: &'a mut [f32],
    /// `[rows of the sequence, columns of the task]`.
    outputs: &'a mut [f32],
}

impl Tile<'_> {
    /// Queries `query..query + n` of the sequence.
    #[inline(always)]
    fn run<W: Words>(&mut self, query: usize, n: usize) {
        match n {
            1 => self.scores::<W, 1>(query),
            2 => self.scores::<W, 2>(query),
            3 => self.scores::<W, 3>(query),
            4 => self.scores::<W, 4>(query),
            5 => self.scores::<W, 5>(query),
            _ => self.scores::<W, 6>(query),
        }
        let keys = self.task.span.len();
        let mut sums = [0.0; QUERIES];
        let rows = self.scores.chunks_exact_mut(keys.next_multiple_of(PANEL));
        for (row, sum) in rows.zip(&mut sums[..n]) {
            *sum = soften::<W::Float>(row, keys, self.task.shape.scale);
            W::narrow(row);
        }
        match n {
            1 => self.outputs::<W, 1>(query, &sums),
            2 => self.outputs::<W, 2>(query, &sums),
            3 => self.outputs::<W, 3>(query, &sums),
            4 => self.outputs::<W, 4>(query, &sums),
            5 => self.outputs::<W, 5>(query, &sums),
            _ => self.outputs::<W, 6>(query, &sums),
        }
    }

    /// Products with all keys, unscaled.
    #[inline(always)]
    fn scores<W: Words, const N: usize>(&mut self, query: usize) {
        let (keys, dim) = (self.task.span.len(), self.task.padded_dim());
        let (padded, words) = (
            keys.next_multiple_of(PANEL),
            W::words(self.task.shape.head_dim),
        );
        let mut x = [std::ptr::null(); N];
        for (n, x) in x.iter_mut().enumerate() {
            let row = self.task.query(self.head, query + n);
            *x = W::words_of(row, &mut self.queries[n * dim..][..dim]).as_ptr();
        }
        for first in (0..keys).step_by(PANEL) {
            let panel = self.keys[first * words..][..PANEL * words].as_ptr();
            let vectors = (keys - first).min(PANEL).div_ceil(LANES);
            let out = &mut self.scores[first..];
            each_vectors::<W, N>(vectors, |vector, wide| {
                let at = panel.wrapping_add(vector * LANES);
                // SAFETY: a panel has 64 for each word of a row, and a row has its words.
                unsafe {
                    W::chain_to::<N>(
                        wide,
                        (at, PANEL),
                        x,
                        words,
                        &mut out[vector * LANES..],
                        padded,
                    )
                };
            });
        }
    }

    /// Products of the weights of keys with values, over `sums`.
    #[inline(always)]
    fn outputs<W: Words, const N: usize>(&mut self, query: usize, sums: &[f32; QUERIES]) {
        let (keys, dim) = (self.task.span.len(), self.task.padded_dim());
        let (padded, head_dim) = (keys.next_multiple_of(PANEL), self.task.shape.head_dim);
        let mut x = [std::ptr::null(); N];
        for (n, x) in x.iter_mut().enumerate() {
            *x = self.scores[n * padded..][..padded].as_ptr();
        }
        let width = self.task.width();
        let column = (self.head - self.task.heads.start) * head_dim;
        let values = self.values.as_ptr();
        let mut room = [0.0; QUERIES * 4 * LANES];
        let outputs = &mut self.outputs[query * width..];
        each_vectors::<W, N>(dim / LANES, |vector, wide| {
            let at = values.wrapping_add(vector * LANES);
            // SAFETY: values have all words of keys, and so have the weights.
            unsafe { W::chain_to::<N>(wide, (at, dim), x, W::words(keys), &mut room, 4 * LANES) };
            for n in 0..N {
                for v in 0..wide {
                    let d = (vector + v) * LANES;
                    let y = W::Float::get(&room[n * 4 * LANES..], v * LANES);
                    let row = &mut outputs[n * width + column..][..head_dim];
                    y.div(W::Float::splat(sums[n])).put(row, d);
                }
            }
        });
    }
}

/// Calls `f` with the first vector and the number of vectors of each part of `vectors`: as many as an
/// instruction set takes at once.
#[inline(always)]
fn each_vectors<W: Words, const N: usize>(vectors: usize, mut f: impl FnMut(usize, usize)) {
    let most = if W::Float::WIDE { 4 } else { 1 };
    for first in (0..vectors).step_by(most) {
        f(first, most.min(vectors - first));
    }
}

/// exp(scale x - the largest) of the first `keys` of `x`; zeros behind. Returns the sum.
#[inline(always)]
fn soften<L: Lanes>(x: &mut [f32], keys: usize, scale: f32) -> f32 {
    let scale = L::splat(scale);
    let end = keys.next_multiple_of(LANES);
    x[keys..end].fill(f32::NEG_INFINITY);
    let mut most = L::splat(f32::NEG_INFINITY);
    for i in (0..end).step_by(LANES) {
        let hidden = i + LANES > keys;
        let y = L::get(x, i).mul(scale);
        // -inf stays -inf whatever the sign of the scale.
        let y = if hidden { seen(y, keys - i) } else { y };
        y.put(x, i);
        most = y.max(most);
    }
    let most = L::splat(most.max_lane());
    let mut sum = L::zero();
    for i in (0..end).step_by(LANES) {
        let p = math::exp(L::get(x, i).sub(most));
        sum = sum.add(p);
        p.put(x, i);
    }
    x[end..].fill(0.0);
    sum.sum()
}

/// The first `n` lanes, then -inf.
#[inline(always)]
fn seen<L: Lanes>(x: L, n: usize) -> L {
    let mut lanes = x.to_array();
    lanes[n..].fill(f32::NEG_INFINITY);
    L::from_array(lanes)
}

/// Writes the outputs of a task.
#[inline(always)]
fn write<L: Lanes>(task: &Task<'_>, outputs: &[f32]) {
    let (width, head_dim) = (task.width(), task.shape.head_dim);
    let columns = task.heads.start * head_dim..task.heads.end * head_dim;
    for (row, outputs) in task.span.clone().zip(outputs.chunks_exact(width)) {
        match task.out {
            Out::Plain(out) => {
                let start = row * task.shape.heads * head_dim;
                // SAFETY: these heads of this row belong to this task.
                let out = unsafe { out.part(start + columns.start..start + columns.end) };
                out.copy_from_slice(&outputs[..columns.len()]);
            }
            Out::Rounded(out) => {
                for (i, chunk) in outputs.chunks_exact(PANEL).enumerate() {
                    let chunk = [0, 1, 2, 3].map(|v| L::get(chunk, v * LANES));
                    // SAFETY: as above; a task's heads begin with a chunk of columns.
                    unsafe { out.put(row, columns.start / PANEL + i, chunk) };
                }
            }
        }
    }
}
