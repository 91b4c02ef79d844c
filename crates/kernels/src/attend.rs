//! Attention over paged keys and values.
//!
//! Layout: see `kv`. Query and output rows are `[heads, head_dim]`; query head h reads key head
//! h / (heads / kv_heads).
//! Contract: a row at position p sees keys 0..=p (causal) or all the sequence holds. Pages are
//! walked in order. In a page: score = (fused chain of q\[d\] K\[d\] over d ascending) * scale; lanes
//! are keys and hidden ones are -inf; the page's maximum joins the running one m; the running sums
//! are multiplied by exp(m_old - m_new); then l += p lane by lane and acc = fma(p, V, acc) key by
//! key, p being exp(score - m). In the end out = acc / l, l added along the tree. So a row's bits
//! depend on its own position and past alone, never on the rows or heads computed beside it.
//! A task has the query heads of one key head for a tile of rows; up to four queries share each load
//! of K and V.
//! Measured: AMD EPYC (Zen 5, family 26 model 2), AVX-512, 8 heads on 2 of 256, depth 4,096, f16, one
//! thread, best of many on a busy machine (`examples/rates.rs`): 1 row 0.157 ms (214 GFLOP/s), 512
//! rows 221 GFLOP/s; f32: 0.248 ms (135) and 195.

use crate::cpu::Cpu;
use crate::dense::{F16, F32, Format};
use crate::kv::{KvLayout, KvPlace, KvSpan, KvView, PAGE_TOKENS, check_spans};
use crate::lanes::{Body, LANES, Lanes};
use crate::math;
use crate::parts::Parts;
use crate::scratch;

/// Queries that share each load.
const QUERIES: usize = 4;
/// Queries of a task, about: their sums should stay in the first caches.
const TILE_QUERIES: usize = 32;
const PAGE_VECTORS: usize = PAGE_TOKENS / LANES;

/// The shape and rule of an attention layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttendShape {
    /// Query heads; a multiple of `kv_heads`.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Values of a head.
    pub head_dim: usize,
    /// Multiplies every score.
    pub scale: f32,
    /// Whether a row sees only positions up to its own; else it sees all its sequence holds.
    pub causal: bool,
}

impl AttendShape {
    /// The shape of the keys and values.
    pub fn layout(&self) -> KvLayout {
        KvLayout {
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
        }
    }

    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }
}

/// Attends with each span's rows to its sequence, whose keys and values are already stored, those of
/// these rows included. `q`, `out`: `[rows, heads * head_dim]`. Rows outside of all spans are left
/// alone.
///
/// # Panics
/// If a length does not fit, a page lies outside of the memory, or a page table is too short.
pub fn attend(
    cpu: &Cpu,
    shape: AttendShape,
    place: KvPlace,
    memory: KvView<'_>,
    spans: &[KvSpan<'_>],
    q: &[f32],
    out: &mut [f32],
) {
    let width = shape.heads * shape.head_dim;
    assert!(width > 0 && shape.kv_heads > 0, "{shape:?}");
    assert!(shape.heads.is_multiple_of(shape.kv_heads), "{shape:?}");
    assert!(
        q.len().is_multiple_of(width),
        "rows of {width} in {} queries",
        q.len()
    );
    assert_eq!(q.len(), out.len(), "output of attention");
    check_spans(spans, q.len() / width);
    let call = Call {
        cpu,
        shape,
        place,
        spans,
    };
    match memory {
        KvView::F16(x) => attend_format::<F16>(call, x, q, out),
        KvView::F32(x) => attend_format::<F32>(call, x, q, out),
    }
}

#[derive(Clone, Copy)]
struct Call<'a> {
    cpu: &'a Cpu,
    shape: AttendShape,
    place: KvPlace,
    spans: &'a [KvSpan<'a>],
}

fn attend_format<F: Format>(call: Call<'_>, memory: &[F::Bits], q: &[f32], out: &mut [f32]) {
    let Call {
        cpu,
        shape,
        place,
        spans,
    } = call;
    let tile = TILE_QUERIES.div_ceil(shape.group());
    let tiles = |span: &KvSpan<'_>| span.rows.len().div_ceil(tile);
    let total: usize = spans.iter().map(tiles).sum();
    let floats = Sums::floats(tile * shape.group(), shape.head_dim);
    let out = Parts::new(out);
    cpu.run(total * shape.kv_heads, &|i| {
        let (kv_head, mut i) = (i % shape.kv_heads, i / shape.kv_heads);
        let holds = |span: &&KvSpan<'_>| {
            let n = tiles(span);
            let here = i < n;
            i -= if here { 0 } else { n };
            here
        };
        let span = spans
            .iter()
            .find(holds)
            .expect("the tasks count the tiles of all spans");
        let start = span.rows.start + i * tile;
        let rows = start..span.rows.end.min(start + tile);
        scratch::with(floats, |scratch| {
            let out = &out;
            cpu.isa().run(Tile::<F> {
                shape,
                place,
                memory,
                span,
                kv_head,
                rows,
                q,
                out,
                scratch,
            });
        });
    });
}

struct Tile<'a, F: Format> {
    shape: AttendShape,
    place: KvPlace,
    memory: &'a [F::Bits],
    span: &'a KvSpan<'a>,
    kv_head: usize,
    rows: std::ops::Range<usize>,
    q: &'a [f32],
    out: &'a Parts<'a, f32>,
    scratch: &'a mut [f32],
}

/// The running sums of the queries of a tile, and the scores of the page at hand.
struct Sums<'a> {
    /// `[queries, padded head_dim]`.
    acc: &'a mut [f32],
    /// `[queries, 16]`.
    l: &'a mut [f32],
    /// `[queries]`.
    m: &'a mut [f32],
    /// `[QUERIES, 64]`.
    p: &'a mut [f32],
}

impl<'a> Sums<'a> {
    fn floats(queries: usize, head_dim: usize) -> usize {
        queries * (head_dim.next_multiple_of(LANES) + LANES + 1) + QUERIES * PAGE_TOKENS
    }

    fn new(scratch: &'a mut [f32], queries: usize, head_dim: usize) -> Sums<'a> {
        let (acc, rest) = scratch.split_at_mut(queries * head_dim.next_multiple_of(LANES));
        let (l, rest) = rest.split_at_mut(queries * LANES);
        let (p, rest) = rest.split_at_mut(QUERIES * PAGE_TOKENS);
        let m = &mut rest[..queries];
        acc.fill(0.0);
        l.fill(0.0);
        m.fill(f32::NEG_INFINITY);
        Sums { acc, l, m, p }
    }
}

/// What one page gives to a run of queries.
struct Page<'a, F: Format> {
    /// `[head_dim][64]`.
    keys: &'a [F::Bits],
    /// `[64][head_dim]`.
    values: &'a [F::Bits],
    head_dim: usize,
    scale: f32,
    /// Keys that the queries see.
    visible: usize,
}

impl<F: Format> Body for Tile<'_, F> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self) {
        let AttendShape {
            head_dim, scale, ..
        } = self.shape;
        let group = self.shape.group();
        let queries = self.rows.len() * group;
        let scratch = std::mem::take(&mut self.scratch);
        let mut sums = Sums::new(scratch, queries, head_dim);
        let limit = |query: usize| self.limit(query / group);
        let layout = self.shape.layout();
        for page in 0..limit(queries - 1).div_ceil(PAGE_TOKENS) {
            let start = self.place.page(self.span.page_table[page]);
            let whole = &self.memory[start..start + layout.page_len()];
            let seen = |query: usize| {
                limit(query)
                    .saturating_sub(page * PAGE_TOKENS)
                    .min(PAGE_TOKENS)
            };
            let mut first = 0;
            while first < queries {
                let visible = seen(first);
                // Queries that see the same keys go together; how many does not show in the bits.
                let mut n = 1;
                while n < QUERIES && first + n < queries && seen(first + n) == visible {
                    n += 1;
                }
                let keys = &whole[layout.keys(self.kv_head)];
                let values = &whole[layout.values(self.kv_head)];
                let page = Page::<F> {
                    keys,
                    values,
                    head_dim,
                    scale,
                    visible,
                };
                match if visible == 0 { 0 } else { n } {
                    0 => (),
                    1 => page.join::<L, 1>(&mut sums, first, self.query_rows(first)),
                    2 => page.join::<L, 2>(&mut sums, first, self.query_rows(first)),
                    3 => page.join::<L, 3>(&mut sums, first, self.query_rows(first)),
                    _ => page.join::<L, 4>(&mut sums, first, self.query_rows(first)),
                }
                first += n;
            }
        }
        self.finish::<L>(&sums);
    }
}

impl<F: Format> Tile<'_, F> {
    /// Keys that row `row` of the tile sees.
    #[inline(always)]
    fn limit(&self, row: usize) -> usize {
        if self.shape.causal {
            self.span.first_position + (self.rows.start - self.span.rows.start) + row + 1
        } else {
            self.span.positions()
        }
    }

    /// Where query `query` of the tile stands in the batch's rows.
    #[inline(always)]
    fn place_of(&self, query: usize) -> std::ops::Range<usize> {
        let (row, head) = (query / self.shape.group(), query % self.shape.group());
        let head =
            (self.rows.start + row) * self.shape.heads + self.kv_head * self.shape.group() + head;
        head * self.shape.head_dim..(head + 1) * self.shape.head_dim
    }

    #[inline(always)]
    fn query_rows<const Q: usize>(&self, first: usize) -> [&[f32]; Q] {
        let mut rows: [&[f32]; Q] = [&[]; Q];
        for (i, row) in rows.iter_mut().enumerate() {
            *row = &self.q[self.place_of(first + i)];
        }
        rows
    }

    #[inline(always)]
    fn finish<L: Lanes>(&self, sums: &Sums<'_>) {
        let padded = self.shape.head_dim.next_multiple_of(LANES);
        for query in 0..self.rows.len() * self.shape.group() {
            let total = L::splat(L::get(&sums.l[query * LANES..], 0).sum());
            // SAFETY: this head of this row belongs to this task.
            let out = unsafe { self.out.part(self.place_of(query)) };
            for d in (0..out.len()).step_by(LANES) {
                L::get(&sums.acc[query * padded..], d)
                    .div(total)
                    .put(out, d);
            }
        }
    }
}

impl<F: Format> Page<'_, F> {
    /// Adds this page to queries `first..first + Q`.
    #[inline(always)]
    fn join<L: Lanes, const Q: usize>(&self, sums: &mut Sums<'_>, first: usize, q: [&[f32]; Q]) {
        self.scores::<L, Q>(q, sums.p);
        let mut factors = [0.0; Q];
        for (i, factor) in factors.iter_mut().enumerate() {
            let scores = &mut sums.p[i * PAGE_TOKENS..(i + 1) * PAGE_TOKENS];
            scores[self.visible..].fill(f32::NEG_INFINITY);
            let l = &mut sums.l[(first + i) * LANES..(first + i + 1) * LANES];
            *factor = soften::<L>(scores, &mut sums.m[first + i], l);
        }
        let padded = self.head_dim.next_multiple_of(LANES);
        self.mix::<L, Q>(
            sums.p,
            factors,
            &mut sums.acc[first * padded..(first + Q) * padded],
        );
    }

    /// Scores of all 64 keys, seen or not, to `p`: `[Q, 64]`.
    #[inline(always)]
    fn scores<L: Lanes, const Q: usize>(&self, q: [&[f32]; Q], p: &mut [f32]) {
        assert!(self.keys.len() == self.head_dim * PAGE_TOKENS && p.len() >= Q * PAGE_TOKENS);
        assert!(q.iter().all(|q| q.len() == self.head_dim));
        for v in (0..PAGE_VECTORS).step_by(vectors::<L, Q>()) {
            // SAFETY: `keys` is [head_dim][64], each query has head_dim values, `p` holds [Q, 64],
            // and v and its followers stay below 4: the step divides 4.
            unsafe {
                match vectors::<L, Q>() {
                    4 => scores_of::<L, F, Q, 4>(q, self.keys, self.scale, v * LANES, p),
                    2 => scores_of::<L, F, Q, 2>(q, self.keys, self.scale, v * LANES, p),
                    _ => scores_of::<L, F, Q, 1>(q, self.keys, self.scale, v * LANES, p),
                }
            }
        }
    }

    /// acc = acc * factor + p V over the seen keys; `acc`: `[Q, padded head_dim]`.
    #[inline(always)]
    fn mix<L: Lanes, const Q: usize>(&self, p: &[f32], factors: [f32; Q], acc: &mut [f32]) {
        let padded = self.head_dim.next_multiple_of(LANES);
        assert!(self.values.len() == self.head_dim * PAGE_TOKENS && self.visible <= PAGE_TOKENS);
        assert!(acc.len() == Q * padded && p.len() >= Q * PAGE_TOKENS);
        let step = vectors::<L, Q>();
        let mut d = 0;
        while d < self.head_dim {
            let full = d + step * LANES <= self.head_dim;
            // SAFETY: `values` is [64][head_dim] with at least `visible` rows, `acc` [Q, padded],
            // `p` [Q, 64]; d and its vectors stay inside head_dim, or one vector is cut to it.
            unsafe {
                match if full { step } else { 1 } {
                    4 => mix_of::<L, F, Q, 4>(self, p, factors, acc, d),
                    2 => mix_of::<L, F, Q, 2>(self, p, factors, acc, d),
                    _ => mix_of::<L, F, Q, 1>(self, p, factors, acc, d),
                }
            }
            d += if full { step * LANES } else { LANES };
        }
    }
}

/// Vectors per query that the registers hold beside Q queries.
#[inline(always)]
fn vectors<L: Lanes, const Q: usize>() -> usize {
    if L::WIDE {
        4
    } else if Q <= 2 {
        2
    } else {
        1
    }
}

/// # Safety
/// `keys` is `[q.len()][64]`, `p` holds `[Q, 64]`, `j + V * 16 <= 64`.
#[inline(always)]
unsafe fn scores_of<L: Lanes, F: Format, const Q: usize, const V: usize>(
    q: [&[f32]; Q],
    keys: &[F::Bits],
    scale: f32,
    j: usize,
    p: &mut [f32],
) {
    let mut sums = [[L::zero(); V]; Q];
    for d in 0..q[0].len() {
        let mut k = [L::zero(); V];
        for (v, k) in k.iter_mut().enumerate() {
            // SAFETY: row d of the keys has 64 elements, j + v * 16 + 16 of them at most are used.
            *k = unsafe { F::load::<L>(keys.as_ptr().add(d * PAGE_TOKENS + j + v * LANES)) };
        }
        for i in 0..Q {
            // SAFETY: all queries are as long as the first.
            let x = L::splat(unsafe { *q[i].get_unchecked(d) });
            for v in 0..V {
                sums[i][v] = k[v].fma(x, sums[i][v]);
            }
        }
    }
    for i in 0..Q {
        for v in 0..V {
            let score = sums[i][v].mul(L::splat(scale));
            // SAFETY: `p` holds [Q, 64].
            unsafe { score.store(p.as_mut_ptr().add(i * PAGE_TOKENS + j + v * LANES)) };
        }
    }
}

/// Turns the scores of a page into weights relative to the running maximum, which they join, as they
/// join the running sum `l`. Gives the factor for what was summed before.
#[inline(always)]
fn soften<L: Lanes>(scores: &mut [f32], m: &mut f32, l: &mut [f32]) -> f32 {
    let s = |v: usize| L::get(scores, v * LANES);
    let page_max = s(0).max(s(1)).max(s(2).max(s(3))).max_lane();
    let new = if *m > page_max { *m } else { page_max };
    let factor = math::exp(L::splat(*m - new));
    *m = new;
    let mut sum = L::get(l, 0).mul(factor);
    for v in 0..PAGE_VECTORS {
        let weight = math::exp(L::get(scores, v * LANES).sub(L::splat(new)));
        weight.put(scores, v * LANES);
        sum = sum.add(weight);
    }
    sum.put(l, 0);
    factor.to_array()[0]
}

/// # Safety
/// As [`Page::mix`] asserts; `d + V * 16 <= head_dim`, or V is 1 and `d < head_dim`.
#[inline(always)]
unsafe fn mix_of<L: Lanes, F: Format, const Q: usize, const V: usize>(
    page: &Page<'_, F>,
    p: &[f32],
    factors: [f32; Q],
    acc: &mut [f32],
    d: usize,
) {
    let padded = page.head_dim.next_multiple_of(LANES);
    let left = page.head_dim - d;
    let mut sums = [[L::zero(); V]; Q];
    for i in 0..Q {
        for v in 0..V {
            // SAFETY: `acc` is [Q, padded] and d + V * 16 <= padded.
            let old = unsafe { L::load(acc.as_ptr().add(i * padded + d + v * LANES)) };
            sums[i][v] = old.mul(L::splat(factors[i]));
        }
    }
    for j in 0..page.visible {
        let mut x = [L::zero(); V];
        for (v, x) in x.iter_mut().enumerate() {
            // SAFETY: row j has head_dim values; a vector that reaches beyond them is cut.
            *x = unsafe {
                let at = page.values.as_ptr().add(j * page.head_dim + d + v * LANES);
                if V > 1 || left >= LANES {
                    F::load(at)
                } else {
                    F::load_partial(at, left)
                }
            };
        }
        for i in 0..Q {
            // SAFETY: `p` holds [Q, 64] and j < 64.
            let weight = L::splat(unsafe { *p.get_unchecked(i * PAGE_TOKENS + j) });
            for v in 0..V {
                sums[i][v] = x[v].fma(weight, sums[i][v]);
            }
        }
    }
    for i in 0..Q {
        for v in 0..V {
            // SAFETY: as at the loads.
            unsafe { sums[i][v].store(acc.as_mut_ptr().add(i * padded + d + v * LANES)) };
        }
    }
}
