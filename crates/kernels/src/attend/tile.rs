//! A tile of queries: its running sums over a block of keys, the joining of blocks, the output.
//!
//! Layout: a slot of sums is `[queries, padded head_dim]`, then 16 lanes of l a query, then m.
//! Contract: see `attend`. A block joins a query only where the query sees some of it, so that what
//! a row's neighbours see does not touch its bits.
//! Measured: see `attend`.

use std::ops::Range;

use super::page::{Page, QUERIES, Scores};
use super::{AttendShape, BLOCK_TOKENS, Sees};
use crate::kv::{Kept, KvPlace, KvSpan, PAGE_TOKENS};
use crate::lanes::{Body, LANES, Lanes};
use crate::math;
use crate::parts::Parts;

const BLOCK_PAGES: usize = BLOCK_TOKENS / PAGE_TOKENS;

/// The query heads of one key head for a run of a span's rows.
pub(super) struct Tile<'a, F: Kept> {
    pub(super) shape: AttendShape,
    pub(super) place: KvPlace,
    pub(super) memory: &'a [F::Bits],
    pub(super) span: &'a KvSpan<'a>,
    pub(super) kv_head: usize,
    pub(super) rows: Range<usize>,
    /// Queries of the whole batch.
    pub(super) q: &'a [f32],
}

impl<F: Kept> Tile<'_, F> {
    /// Blocks that its rows see, from the first one of its first row to the last one of its last.
    pub(super) fn blocks(&self) -> Range<usize> {
        let (first, last) = (self.seen(0), self.seen(self.queries() - 1));
        first.start / BLOCK_TOKENS..last.end.div_ceil(BLOCK_TOKENS)
    }

    #[inline(always)]
    fn queries(&self) -> usize {
        self.rows.len() * self.shape.group()
    }

    /// Keys that query `query` of the tile sees; at least one.
    #[inline(always)]
    fn seen(&self, query: usize) -> Range<usize> {
        let row = self.rows.start - self.span.rows.start + query / self.shape.group();
        let end = self.span.first_position + row + 1;
        match self.shape.sees {
            Sees::All => 0..self.span.positions(),
            Sees::Past => 0..end,
            Sees::Last(keys) => end.saturating_sub(keys)..end,
        }
    }

    /// Where query `query` of the tile stands in the batch's rows.
    #[inline(always)]
    fn place_of(&self, query: usize) -> Range<usize> {
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

    /// Page `page` of the sequence.
    #[inline(always)]
    fn page(&self, page: usize) -> Page<'_, F> {
        let layout = self.shape.layout();
        let of = |page: usize| {
            let start = self.place.page(self.span.page_table[page]);
            &self.memory[start..start + layout.page_len_of::<F>()]
        };
        let pages = self.span.positions().div_ceil(PAGE_TOKENS);
        let (page, next) = (of(page), of((page + 1).min(pages - 1)));
        Page {
            keys: &page[layout.keys(self.kv_head)],
            key_scales: &page[layout.key_scales::<F>(self.kv_head)],
            values: &page[layout.values(self.kv_head)],
            value_scales: &page[layout.value_scales::<F>(self.kv_head)],
            next: &next[layout.keys(self.kv_head)],
            next_scales: &next[layout.key_scales::<F>(self.kv_head)],
            head_dim: self.shape.head_dim,
            scale: self.shape.scale,
        }
    }
}

/// The running sums of the queries of a tile over a block, or over all blocks so far.
pub(super) struct Sums<'a> {
    /// `[queries, padded head_dim]`.
    pub(super) acc: &'a mut [f32],
    /// `[queries, 16]`.
    pub(super) l: &'a mut [f32],
    /// `[queries]`.
    pub(super) m: &'a mut [f32],
}

impl<'a> Sums<'a> {
    /// Floats of a slot.
    pub(super) fn floats(queries: usize, head_dim: usize) -> usize {
        let lanes = head_dim.next_multiple_of(LANES) + LANES;
        queries * lanes + queries.next_multiple_of(LANES)
    }

    #[inline(always)]
    fn of<F: Kept>(tile: &Tile<'_, F>, slot: &'a mut [f32]) -> Sums<'a> {
        let queries = tile.queries();
        let padded = tile.shape.head_dim.next_multiple_of(LANES);
        let (acc, rest) = slot.split_at_mut(queries * padded);
        let (l, rest) = rest.split_at_mut(queries * LANES);
        let m = &mut rest[..queries];
        Sums { acc, l, m }
    }
}

/// Sums over block `block` alone, to a slot.
pub(super) struct Walk<'a, F: Kept> {
    pub(super) tile: &'a Tile<'a, F>,
    pub(super) block: usize,
    pub(super) sums: &'a mut [f32],
}

impl<F: Kept> Body for Walk<'_, F> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let tile = self.tile;
        let queries = tile.queries();
        let mut sums = Sums::of(tile, self.sums);
        sums.acc.fill(0.0);
        sums.l.fill(0.0);
        sums.m.fill(f32::NEG_INFINITY);
        let mut p = Scores::new();
        let block = self.block * BLOCK_PAGES;
        let first_page = block.max(tile.seen(0).start / PAGE_TOKENS);
        let pages = tile.seen(queries - 1).end.div_ceil(PAGE_TOKENS);
        for page in first_page..pages.min(block + BLOCK_PAGES) {
            let from = page * PAGE_TOKENS;
            let inside = |key: usize| key.saturating_sub(from).min(PAGE_TOKENS);
            let seen = |query: usize| {
                let Range { start, end } = tile.seen(query);
                (inside(start), inside(end))
            };
            let page = tile.page(page);
            let mut first = 0;
            while first < queries {
                let visible = seen(first);
                // Queries that see the same keys go together; how many does not show in the bits.
                let mut n = 1;
                while n < QUERIES && first + n < queries && seen(first + n) == visible {
                    n += 1;
                }
                match if visible.0 == visible.1 { 0 } else { n } {
                    0 => (),
                    1 => {
                        page.join::<L, 1>(visible, &mut sums, &mut p, first, tile.query_rows(first))
                    }
                    2 => {
                        page.join::<L, 2>(visible, &mut sums, &mut p, first, tile.query_rows(first))
                    }
                    3 => {
                        page.join::<L, 3>(visible, &mut sums, &mut p, first, tile.query_rows(first))
                    }
                    _ => {
                        page.join::<L, 4>(visible, &mut sums, &mut p, first, tile.query_rows(first))
                    }
                }
                first += n;
            }
        }
    }
}

/// Adds the slot of block `block` to that of all blocks before it.
pub(super) struct Join<'a, F: Kept> {
    pub(super) tile: &'a Tile<'a, F>,
    pub(super) block: usize,
    pub(super) total: &'a mut [f32],
    pub(super) part: &'a mut [f32],
}

impl<F: Kept> Body for Join<'_, F> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let mut total = Sums::of(self.tile, self.total);
        let part = Sums::of(self.tile, self.part);
        let padded = self.tile.shape.head_dim.next_multiple_of(LANES);
        for query in 0..self.tile.queries() {
            let Range { start, end } = self.tile.seen(query);
            let block = self.block * BLOCK_TOKENS;
            if end <= block || start >= block + BLOCK_TOKENS {
                continue;
            }
            if start >= block {
                // The first block that it sees: nothing to join, whatever its neighbours have seen before.
                take(&mut total, &part, query, padded);
                continue;
            }
            let (old, new) = (total.m[query], part.m[query]);
            let most = if old > new { old } else { new };
            let old = math::exp(L::splat(old - most));
            let new = math::exp(L::splat(new - most));
            total.m[query] = most;
            let add = |to: &mut [f32], from: &[f32], i: usize| {
                let x = L::get(from, i).mul(new);
                L::get(to, i).fma(old, x).put(to, i);
            };
            add(total.l, part.l, query * LANES);
            for d in (0..padded).step_by(LANES) {
                add(total.acc, part.acc, query * padded + d);
            }
        }
    }
}

/// Copies the sums of a query.
fn take(total: &mut Sums<'_>, part: &Sums<'_>, query: usize, padded: usize) {
    let (acc, l) = (query * padded, query * LANES);
    total.acc[acc..acc + padded].copy_from_slice(&part.acc[acc..acc + padded]);
    total.l[l..l + LANES].copy_from_slice(&part.l[l..l + LANES]);
    total.m[query] = part.m[query];
}

/// Writes the outputs of a tile.
pub(super) struct Finish<'a, F: Kept> {
    pub(super) tile: &'a Tile<'a, F>,
    pub(super) total: &'a mut [f32],
    pub(super) out: &'a Parts<'a, f32>,
}

impl<F: Kept> Body for Finish<'_, F> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let tile = self.tile;
        let padded = tile.shape.head_dim.next_multiple_of(LANES);
        let sums = Sums::of(tile, self.total);
        for query in 0..tile.queries() {
            let total = L::splat(L::get(&sums.l[query * LANES..], 0).sum());
            // SAFETY: this head of this row belongs to this task.
            let out = unsafe { self.out.part(tile.place_of(query)) };
            for d in (0..out.len()).step_by(LANES) {
                L::get(&sums.acc[query * padded..], d)
                    .div(total)
                    .put(out, d);
            }
        }
    }
}
