//! Attention of whole sequences: every row sees all rows of its sequence, whose keys and values are
//! those of the batch and kept nowhere.
//!
//! Layout: `q` and the output `[rows, heads * head_dim]`, `k` and `v` `[rows, kv_heads * head_dim]`, f32 or
//! rounded to bf16 as products leave them. A
//! task has the heads of 64 columns (128 if it rounds them; one head, if it is wider) of up to 256 rows of a sequence. For each head it lays out
//! keys and values row by row, see [`super::words`]. Lanes are queries, 16 or 32 at a time: scores, their
//! maxima and sums need nothing across lanes. The outputs of a query have its columns in lanes.
//! Contract: score = (chain of q\[d\] K\[d\] over d ascending) * scale; m is the largest; p = exp(score -
//! m) (of bf16: 2^(chain * (scale log2 e) - m), the product and the difference rounded once); l = the sum of p of even keys, plus that of odd ones; acc = chain of p V key by key; out = acc * (1 / l). A
//! chain is of fused multiply-add, the same bits on every instruction set; or, of rows of bf16, the
//! processor's products of q, K, V and of p rounded likewise, and the exponential is `math::exp2_coarse` (on AMX see `tiles`). A row depends on its own sequence alone.
//! Measured: AMD EPYC (Zen 5, family 26 model 2), one thread, 12 heads of 32, 512 rows in texts of 16: 0.54 us
//! a row in f32, 0.48 in bf16; in texts of 128: 0.96 in bf16 (see `examples/panel_rates.rs`). With keys in lanes, their
//! scores' maxima and sums across lanes, it took half as long again. On tiles, in an
//! encoder (Intel Xeon, family 6 model 207): 0.8 us a row in texts of 16, 1.5 in texts of 128; while that machine is slow 1.5
//! and 2.2, where `vdpbf16ps` took 1.6 and 5.0.

#[cfg(target_arch = "x86_64")]
mod tiles;

use std::ops::Range;

use super::AttendShape;
use super::task::{Out, Rows, Task, WholeInputs, whole_format};
#[cfg(target_arch = "x86_64")]
use super::words::run_pairs;
use super::words::{Floats, Words, put};
use crate::cpu::Cpu;
use crate::lanes::{Body, LANES, Lanes};
use crate::panel::{CHUNK, CHUNK_VECTORS, PANEL, PanelFormat, PanelOut};
use crate::parts::Parts;
use crate::scratch;
use crate::spans::check_rows;

/// Keys are filled up to a multiple of, with the last again.
pub(super) const KEYS: usize = 4;
/// Vectors of queries that share each key, at most.
pub(super) const GROUPS: usize = 2;
/// Queries of a task, at most: a long sequence alone is work for many threads. Whole groups.
const QUERIES: usize = 256;
/// Rows that are written at once.
const WRITTEN: usize = 4;

/// Attends with the rows of each span to all rows of that span; `shape.sees` is not looked at. Rows
/// outside of all spans are left alone.
///
/// # Panics
/// If a length or a format does not fit, the scale is not above 0, spans overlap or do not ascend, or rows are
/// rounded where [`whole_format`] does not say so.
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
    // The largest product is that of the largest score then.
    assert!(shape.scale > 0.0, "{shape:?}");
    let (q, format, rows) = Rows::of(inputs.q, width);
    let (k, of_k, k_rows) = Rows::of(inputs.k, kv_width);
    let (v, of_v, v_rows) = Rows::of(inputs.v, kv_width);
    assert_eq!([k_rows, v_rows], [rows; 2], "rows of keys and of values");
    assert_eq!([of_k, of_v], [format; 2], "formats of keys and of values");
    let pairs = format == PanelFormat::Bf16;
    let able = !pairs || whole_format(cpu, head_dim) == format;
    assert!(able, "rows of {format:?}, heads of {head_dim}");
    let inputs = [q, k, v];
    check_rows(spans.iter(), rows);
    let out = match out {
        PanelOut::Plain(out) => {
            assert_eq!(out.len(), rows * width, "output of attention");
            Out::Plain(Parts::new(out))
        }
        PanelOut::Rounded(format, out) => Out::Rounded(out.parts(format, rows, width)),
    };
    // Whole chunks of columns where the task rounds them.
    let columns = match out {
        Out::Plain(_) => PANEL,
        Out::Rounded(_) => CHUNK,
    };
    let together = match (head_dim % columns, columns % head_dim) {
        (_, 0) => columns / head_dim,
        (0, _) => 1,
        _ => heads,
    };
    let groups = heads.div_ceil(together);
    let longest = spans.iter().map(Range::len).max().unwrap_or(0);
    let parts = longest.div_ceil(QUERIES);
    cpu.run(spans.len() * groups * parts, &|i| {
        let task = |i: usize| {
            let (span, first) = (&spans[i / parts / groups], i / parts % groups * together);
            let query = i % parts * QUERIES;
            Task {
                shape,
                inputs,
                per_word: if pairs { 2 } else { 1 },
                span: span.clone(),
                queries: query.min(span.len())..span.len().min(query + QUERIES),
                heads: first..heads.min(first + together),
                out: &out,
            }
        };
        if i + 1 < spans.len() * groups * parts {
            task(i + 1).ask();
        }
        let task = task(i);
        if task.queries.is_empty() {
            return;
        }
        #[cfg(target_arch = "x86_64")]
        if pairs && tiles::takes(cpu, shape) {
            // SAFETY: the processor has tiles of bf16.
            return scratch::with(tiles::floats(&task), |room| unsafe {
                tiles::run(Whole { task, room })
            });
        }
        #[cfg(target_arch = "x86_64")]
        if pairs && tiles::takes(cpu, shape) {
            // SAFETY: the processor has tiles of bf16.
            return scratch::with(tiles::floats(&task), |room| unsafe {
                tiles::run(Whole { task, room })
            });
        }
        scratch::with(task.floats(), |room| {
            #[cfg(target_arch = "x86_64")]
            if pairs {
                // SAFETY: `whole_format` said so.
                return unsafe { run_pairs(Whole { task, room }) };
            }
            cpu.isa().run(Whole { task, room });
        });
    });
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
        if task.heads.len() * task.shape.head_dim < task.width() {
            // What fills columns up.
            outputs.fill(0.0);
        }
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
            let mut query = task.queries.start;
            while query < task.queries.end {
                let left = task.queries.end - query;
                let n = if W::Float::WIDE && left > LANES {
                    tile.run::<W, GROUPS, { GROUPS * LANES }>(query, left)
                } else {
                    tile.run::<W, 1, LANES>(query, left)
                };
                query += n;
            }
        }
        write::<W::Float>(&task, outputs);
    }
}

/// Keys of a head, `[keys, words]`, behind them the last again: no largest score of theirs is another.
#[inline(always)]
fn lay_out_keys<W: Words>(task: &Task<'_>, head: usize, keys: &mut [f32]) {
    let words = W::words(task.shape.head_dim);
    let rows = task.kv_rows(task.inputs[1], head);
    let (known, more) = keys.split_at_mut(task.span.len() * words);
    let pairs = rows
        .chunks(task.inputs[1].stride)
        .zip(known.chunks_exact_mut(words));
    // Whole vectors, where a row is such.
    if words.is_multiple_of(LANES) {
        for (row, out) in pairs {
            for word in (0..words).step_by(LANES) {
                W::Float::get(&row[..words], word).put(out, word);
            }
        }
    } else {
        for (row, out) in pairs {
            out.copy_from_slice(&row[..words]);
        }
    }
    let padded = task.span.len().next_multiple_of(KEYS) - task.span.len();
    let last = &known[known.len() - words..];
    for more in more[..padded * words].chunks_exact_mut(words) {
        more.copy_from_slice(last);
    }
}

/// Values of a head, `[words of keys, padded head_dim]`.
#[inline(always)]
fn lay_out_values<W: Words>(task: &Task<'_>, head: usize, values: &mut [f32]) {
    let (words, padded) = (W::words(task.shape.head_dim), task.padded_dim());
    let (rows, stride) = (task.kv_rows(task.inputs[2], head), task.inputs[2].stride);
    let together = rows.chunks(W::PER_WORD * stride);
    for (rows, out) in together.zip(values.chunks_exact_mut(padded)) {
        let first = &rows[..words];
        let second = match rows.get(stride..) {
            Some(row) if W::PER_WORD == 2 && row.len() >= words => &row[..words],
            _ => &[],
        };
        for word in (0..words).step_by(LANES) {
            let (a, b) = (W::Float::get(first, word), W::Float::get(second, word));
            let columns = W::columns(a, b);
            for i in 0..W::PER_WORD {
                columns[i].put(out, word * W::PER_WORD + i * LANES);
            }
        }
    }
}

/// A head of a task on its way through the queries.
struct Tile<'a> {
    task: &'a Task<'a>,
    head: usize,
    keys: &'a [f32],
    values: &'a [f32],
    /// `[words, queries]`.
    queries: &'a mut [f32],
    /// `[padded keys, queries]`, then `[words of keys, queries]`.
    scores: &'a mut [f32],
    /// `[queries, columns of the task]`.
    outputs: &'a mut [f32],
}

impl Tile<'_> {
    /// G vectors of queries, S of them, from `query` on, where `left` are left. How many it did.
    #[inline(always)]
    fn run<W: Words, const G: usize, const S: usize>(
        &mut self,
        query: usize,
        left: usize,
    ) -> usize {
        self.lay_out_queries::<W, G>(query);
        let most = self.scores::<W, G>();
        let mut over = [0.0; GROUPS * LANES];
        for (g, sum) in self.soften::<W, G>(most).into_iter().enumerate() {
            W::Float::splat(1.0).div(sum).put(&mut over, g * LANES);
        }
        let n = left.min(S);
        let vectors = self.task.padded_dim() / LANES;
        if !W::Float::WIDE {
            for vector in 0..vectors {
                self.outputs::<W, 1, 4, S>(query, n, vector, &over);
            }
            return n;
        }
        for vector in (0..vectors).step_by(4) {
            match vectors - vector {
                1 => self.outputs::<W, 1, 8, S>(query, n, vector, &over),
                2 => self.outputs::<W, 2, 8, S>(query, n, vector, &over),
                3 => self.outputs::<W, 3, 4, S>(query, n, vector, &over),
                _ => self.outputs::<W, 4, 4, S>(query, n, vector, &over),
            }
        }
        n
    }

    /// Queries side by side, word after word.
    #[inline(always)]
    fn lay_out_queries<W: Words, const G: usize>(&mut self, query: usize) {
        let words = W::words(self.task.shape.head_dim);
        for g in 0..G {
            for word in (0..words).step_by(LANES) {
                let mut block = [W::Float::zero(); LANES];
                for i in 0..LANES {
                    let row = self.task.query(self.head, query + g * LANES + i);
                    block[i] = W::Float::get(row, word);
                }
                let block = W::Float::transposed(block);
                for i in 0..LANES.min(words - word) {
                    block[i].put(self.queries, ((word + i) * G + g) * LANES);
                }
            }
        }
    }

    /// Products with all keys, unscaled. Returns the largest.
    #[inline(always)]
    fn scores<W: Words, const G: usize>(&mut self) -> [W::Float; G] {
        let mut most = [W::Float::splat(f32::NEG_INFINITY); G];
        let keys = self.task.span.len().next_multiple_of(KEYS);
        let mut key = 0;
        while key < keys {
            key += match keys - key {
                12.. if W::Float::WIDE => self.scores_of::<W, G, 12>(key, &mut most),
                8.. if W::Float::WIDE => self.scores_of::<W, G, 8>(key, &mut most),
                _ => self.scores_of::<W, G, KEYS>(key, &mut most),
            };
        }
        most
    }

    /// Products with keys `key..key + N`; N.
    #[inline(always)]
    fn scores_of<W: Words, const G: usize, const N: usize>(
        &mut self,
        key: usize,
        most: &mut [W::Float; G],
    ) -> usize {
        let words = W::words(self.task.shape.head_dim);
        let rows = &self.keys[key * words..][..N * words];
        let mut x = [std::ptr::null(); N];
        for n in 0..N {
            x[n] = rows[n * words..].as_ptr();
        }
        let out = &mut self.scores[key * G * LANES..][..N * G * LANES];
        let queries = self.queries[..words * G * LANES].as_ptr();
        // SAFETY: G vectors for each word, and each key has its words.
        let sums = unsafe { W::chain::<G, N, 1>((queries, G * LANES), x, words) };
        for n in 0..N {
            for g in 0..G {
                most[g] = sums[n][g].max(most[g]);
            }
        }
        put(sums, out, G * LANES);
        N
    }

    /// exp(scale x - the largest) of the scores, as words of keys; `most`: the largest, unscaled. Returns the sums.
    #[inline(always)]
    fn soften<W: Words, const G: usize>(&mut self, mut most: [W::Float; G]) -> [W::Float; G] {
        let keys = self.task.span.len();
        let scale = W::scale(self.task.shape.scale);
        let scores = &mut self.scores[..keys.next_multiple_of(KEYS) * G * LANES];
        for g in 0..G {
            most[g] = most[g].mul(scale);
        }
        // Of even and of odd keys: a chain of its own waits for no other.
        let mut sums = [[W::Float::zero(); 2]; G];
        for pair in 0..keys.div_ceil(2) {
            let at = pair * 2 * G * LANES;
            for g in 0..G {
                let mut p = [W::Float::zero(); 2];
                for i in 0..2 {
                    if pair * 2 + i < keys {
                        let score = W::Float::get(scores, at + (i * G + g) * LANES);
                        p[i] = W::exp(score, scale, most[g]);
                        sums[g][i] = sums[g][i].add(p[i]);
                    }
                }
                if W::PER_WORD == 2 {
                    W::joined(p[0], p[1]).put(scores, (pair * G + g) * LANES);
                } else {
                    p[0].put(scores, at + g * LANES);
                    p[1].put(scores, at + (G + g) * LANES);
                }
            }
        }
        let mut both = [W::Float::zero(); G];
        for g in 0..G {
            both[g] = sums[g][0].add(sums[g][1]);
        }
        both
    }

    /// V vectors of outputs, from `vector` on, of `n` queries, N at a time: products of the weights of keys with values,
    /// by `over`.
    #[inline(always)]
    fn outputs<W: Words, const V: usize, const N: usize, const S: usize>(
        &mut self,
        query: usize,
        n: usize,
        vector: usize,
        over: &[f32; GROUPS * LANES],
    ) {
        let (words, dim) = (W::words(self.task.span.len()), self.task.padded_dim());
        let head_dim = self.task.shape.head_dim;
        let width = self.task.width();
        let column = (self.head - self.task.heads.start) * head_dim;
        let query = query - self.task.queries.start;
        let values = self.values[..words * dim]
            .as_ptr()
            .wrapping_add(vector * LANES);
        let weights = self.scores[..words * S].as_ptr();
        for first in (0..n).step_by(N) {
            let mut x = [std::ptr::null(); N];
            for i in 0..N {
                x[i] = weights.wrapping_add(first + i);
            }
            // SAFETY: values have all words of keys, and so have the weights, S apart; S is a multiple of N.
            let sums = unsafe { W::chain::<V, N, S>((values, dim), x, words) };
            for i in 0..N {
                if first + i >= n {
                    break;
                }
                let over = W::Float::splat(over[first + i]);
                let row = &mut self.outputs[(query + first + i) * width + column..][..head_dim];
                for v in 0..V {
                    sums[i][v].mul(over).put(row, (vector + v) * LANES);
                }
            }
        }
    }
}

/// Writes the outputs of a task.
#[inline(always)]
fn write<L: Lanes>(task: &Task<'_>, outputs: &[f32]) {
    let (width, head_dim) = (task.width(), task.shape.head_dim);
    let columns = task.heads.start * head_dim..task.heads.end * head_dim;
    let first = task.span.start + task.queries.start;
    match task.out {
        Out::Plain(out) => {
            for (row, outputs) in outputs.chunks_exact(width).enumerate() {
                let start = (first + row) * task.shape.heads * head_dim;
                // SAFETY: these heads of this row belong to this task.
                let out = unsafe { out.part(start + columns.start..start + columns.end) };
                out.copy_from_slice(&outputs[..columns.len()]);
            }
        }
        Out::Rounded(out) => {
            for (part, outputs) in outputs.chunks(WRITTEN * width).enumerate() {
                for chunk in 0..width / CHUNK {
                    let mut rows = [[L::zero(); CHUNK_VECTORS]; WRITTEN];
                    let mut n = 0;
                    for outputs in outputs.chunks_exact(width) {
                        for v in 0..CHUNK_VECTORS {
                            rows[n][v] = L::get(outputs, chunk * CHUNK + v * LANES);
                        }
                        n += 1;
                    }
                    let chunk = columns.start / CHUNK + chunk;
                    // SAFETY: as above; a task's heads begin with a chunk of columns.
                    unsafe { out.put(first + part * WRITTEN, chunk, &mut rows[..n]) };
                }
            }
        }
    }
}
