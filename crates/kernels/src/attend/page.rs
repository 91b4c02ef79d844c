//! One page of keys and values joins the running sums of a few queries.
//!
//! Layout: keys `[head_dim][64]`, values `[64][head_dim]`, as `kv` stores them; scores `[queries, 64]`.
//! Contract: see `attend`; lanes are keys for scores and columns for sums.
//! While the scores are computed the page's values are asked for, and the next page's keys while the
//! values are read: a long sequence's come from memory, and no stream lasts long enough for the
//! processor to see where it goes.
//! Measured: see `attend`.

use super::tile::Sums;
use crate::kv::{Kept, PAGE_TOKENS};
use crate::lanes::{LANES, Lanes};
use crate::linear::{LINE_BYTES, prefetch};
use crate::math;

/// Queries that share each load.
pub(super) const QUERIES: usize = 4;
const PAGE_VECTORS: usize = PAGE_TOKENS / LANES;

/// Scores of a page, then the weights made of them: `[QUERIES, 64]`.
#[repr(align(64))]
pub(super) struct Scores([f32; QUERIES * PAGE_TOKENS]);

impl Scores {
    pub(super) fn new() -> Scores {
        Scores([0.0; QUERIES * PAGE_TOKENS])
    }
}

/// What one page gives to a run of queries.
pub(super) struct Page<'a, F: Kept> {
    /// `[head_dim][64]`.
    pub(super) keys: &'a [F::Bits],
    /// Of each key; empty for a format without scales, as are the others.
    pub(super) key_scales: &'a [F::Bits],
    /// `[64][head_dim]`.
    pub(super) values: &'a [F::Bits],
    /// Of each row of values.
    pub(super) value_scales: &'a [F::Bits],
    pub(super) head_dim: usize,
    pub(super) scale: f32,
    /// What is read after this page: the next one's keys.
    pub(super) next: &'a [F::Bits],
    /// Of the next page's keys.
    pub(super) next_scales: &'a [F::Bits],
}

impl<F: Kept> Page<'_, F> {
    /// Adds the keys from `visible.0` up to `visible.1` of this page to queries `first..first + Q`.
    #[inline(always)]
    pub(super) fn join<L: Lanes, const Q: usize>(
        &self,
        visible: (usize, usize),
        sums: &mut Sums<'_>,
        p: &mut Scores,
        first: usize,
        q: [&[f32]; Q],
    ) {
        // The first queries bring the page in; for the others it is there.
        let ask = usize::from(first == 0);
        if first == 0 {
            ask_for_all::<F>(self.value_scales);
            ask_for_all::<F>(self.next_scales);
        }
        let p = &mut p.0[..Q * PAGE_TOKENS];
        self.scores::<L, Q>(q, p, ask);
        let mut factors = [0.0; Q];
        for (i, factor) in factors.iter_mut().enumerate() {
            let scores = &mut p[i * PAGE_TOKENS..(i + 1) * PAGE_TOKENS];
            scores[..visible.0].fill(f32::NEG_INFINITY);
            scores[visible.1..].fill(f32::NEG_INFINITY);
            let l = &mut sums.l[(first + i) * LANES..(first + i + 1) * LANES];
            *factor = soften::<L>(scores, &mut sums.m[first + i], l);
            for j in (0..PAGE_TOKENS).step_by(LANES) {
                if let Some(scales) = F::scales::<L>(self.value_scales, j) {
                    L::get(scores, j).mul(scales).put(scores, j);
                }
            }
        }
        let padded = self.head_dim.next_multiple_of(LANES);
        let acc = &mut sums.acc[first * padded..(first + Q) * padded];
        self.mix::<L, Q>(visible, p, factors, acc, ask);
    }

    /// Scores of all 64 keys, seen or not, to `p`: `[Q, 64]`.
    #[inline(always)]
    fn scores<L: Lanes, const Q: usize>(&self, q: [&[f32]; Q], p: &mut [f32], ask: usize) {
        assert!(self.keys.len() == self.head_dim * PAGE_TOKENS && p.len() >= Q * PAGE_TOKENS);
        assert!(q.iter().all(|q| q.len() == self.head_dim));
        for v in (0..PAGE_VECTORS).step_by(vectors::<L, Q>()) {
            // SAFETY: `keys` is [head_dim][64], each query has head_dim values, `p` holds [Q, 64],
            // and v and its followers stay below 4: the step divides 4.
            unsafe {
                match vectors::<L, Q>() {
                    4 => scores_of::<L, F, Q, 4>(self, q, v * LANES, p, ask),
                    2 => scores_of::<L, F, Q, 2>(self, q, v * LANES, p, ask),
                    _ => scores_of::<L, F, Q, 1>(self, q, v * LANES, p, ask),
                }
            }
        }
    }

    /// acc = acc * factor + p V over the seen keys; `acc`: `[Q, padded head_dim]`.
    #[inline(always)]
    fn mix<L: Lanes, const Q: usize>(
        &self,
        visible: (usize, usize),
        p: &[f32],
        factors: [f32; Q],
        acc: &mut [f32],
        ask: usize,
    ) {
        let padded = self.head_dim.next_multiple_of(LANES);
        assert!(self.values.len() == self.head_dim * PAGE_TOKENS && visible.1 <= PAGE_TOKENS);
        assert!(acc.len() == Q * padded && p.len() >= Q * PAGE_TOKENS);
        let step = vectors::<L, Q>();
        let mut d = 0;
        while d < self.head_dim {
            let full = d + step * LANES <= self.head_dim;
            let (n, ask) = (if full { step } else { 1 }, ask);
            // SAFETY: `values` is [64][head_dim], all of `visible` in it, `acc` [Q, padded],
            // `p` [Q, 64]; d and its vectors stay inside head_dim, or one vector is cut to it.
            unsafe {
                match n {
                    4 => mix_of::<L, F, Q, 4>(self, visible, p, factors, acc, d, ask),
                    2 => mix_of::<L, F, Q, 2>(self, visible, p, factors, acc, d, ask),
                    _ => mix_of::<L, F, Q, 1>(self, visible, p, factors, acc, d, ask),
                }
            }
            d += n * LANES;
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

/// Asks for element `at`, of the v-th vector of a run that begins on a line: once a line.
#[inline(always)]
fn ask_for<F: Kept>(from: &[F::Bits], at: usize, v: usize) {
    if (v * LANES * size_of::<F::Bits>()).is_multiple_of(LINE_BYTES) {
        prefetch(from.as_ptr().wrapping_add(at));
    }
}

/// Asks for every line of `from`, which begins on one.
#[inline(always)]
fn ask_for_all<F: Kept>(from: &[F::Bits]) {
    for line in from.chunks(LINE_BYTES / size_of::<F::Bits>()) {
        prefetch(line.as_ptr());
    }
}

/// # Safety
/// As [`Page::scores`] asserts; `j + V * 16 <= 64`.
#[inline(always)]
unsafe fn scores_of<L: Lanes, F: Kept, const Q: usize, const V: usize>(
    page: &Page<'_, F>,
    q: [&[f32]; Q],
    j: usize,
    p: &mut [f32],
    ask: usize,
) {
    let mut sums = [[L::zero(); V]; Q];
    for d in 0..q[0].len() {
        let mut k = [L::zero(); V];
        for (v, k) in k.iter_mut().enumerate() {
            let at = d * PAGE_TOKENS + j + v * LANES;
            ask_for::<F>(page.values, at * ask, v);
            // SAFETY: row d of the keys has 64 elements, j + v * 16 + 16 of them at most are used.
            *k = unsafe { F::load::<L>(page.keys.as_ptr().add(at)) };
        }
        for i in 0..Q {
            // SAFETY: all queries are as long as the first.
            let x = L::splat(unsafe { *q[i].get_unchecked(d) });
            for v in 0..V {
                sums[i][v] = k[v].fma(x, sums[i][v]);
            }
        }
    }
    for v in 0..V {
        let Some(scales) = F::scales::<L>(page.key_scales, j + v * LANES) else {
            continue;
        };
        for sums in &mut sums {
            sums[v] = sums[v].mul(scales);
        }
    }
    for i in 0..Q {
        for v in 0..V {
            let score = sums[i][v].mul(L::splat(page.scale));
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
unsafe fn mix_of<L: Lanes, F: Kept, const Q: usize, const V: usize>(
    page: &Page<'_, F>,
    visible: (usize, usize),
    p: &[f32],
    factors: [f32; Q],
    acc: &mut [f32],
    d: usize,
    ask: usize,
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
    for j in visible.0..visible.1 {
        let mut x = [L::zero(); V];
        for (v, x) in x.iter_mut().enumerate() {
            ask_for::<F>(page.next, (d * PAGE_TOKENS + (j * V + v) * LANES) * ask, v);
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
