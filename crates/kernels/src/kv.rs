//! The key and value memory of attention: pages of 64 tokens.
//!
//! Layout: the page of one layer is K `[kv_heads][head_dim][64]`, then V `[kv_heads][64][head_dim]`.
//! Keys are transposed so that the lanes of a score are keys and no horizontal sum is needed. In int8
//! an element is a byte and the scales stand behind V: those of K `[kv_heads][64]`, then those of V
//! `[kv_heads][64]`, each an f16 of two bytes; one for each token and head. The caller owns one slice
//! for everything; page p of a layer begins at p * page_stride + layer_offset.
//! Contract: f32 is kept as it is, f16 rounds to nearest even, int8 to a 127th of the row's largest
//! value, see `kv::kept`.
//! Measured: not measured.

mod kept;

use std::ops::Range;

use crate::cpu::Cpu;
use crate::dense::{F16, F32, Int8};
use crate::lanes::{Body, LANES, Lanes};
use crate::parts::Parts;
use crate::spans::check_rows;
pub(crate) use kept::Kept;

/// Tokens of a page.
pub const PAGE_TOKENS: usize = 64;

/// The shape of a layer's keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvLayout {
    /// Heads of K and V.
    pub kv_heads: usize,
    /// Values of a head.
    pub head_dim: usize,
}

impl KvLayout {
    /// Elements of one layer's page, keys and values.
    pub fn page_len(&self) -> usize {
        2 * self.kv_heads * self.head_len()
    }

    /// Elements of one layer's page in int8, whose scales are elements too.
    pub fn page_len_int8(&self) -> usize {
        self.page_len_of::<Int8>()
    }

    /// Elements of one layer's page, scales and all.
    pub(crate) fn page_len_of<F: Kept>(&self) -> usize {
        self.page_len() + 2 * self.kv_heads * F::SCALES_LEN
    }

    /// Elements of one head of a page, keys or values.
    fn head_len(&self) -> usize {
        self.head_dim * PAGE_TOKENS
    }

    /// Where the keys of a head lie in a page.
    pub(crate) fn keys(&self, kv_head: usize) -> Range<usize> {
        kv_head * self.head_len()..(kv_head + 1) * self.head_len()
    }

    /// Where the values of a head lie in a page.
    pub(crate) fn values(&self, kv_head: usize) -> Range<usize> {
        let keys = self.keys(self.kv_heads + kv_head);
        keys.start..keys.end
    }

    /// Where the scales of a head's keys lie in a page; empty for a format without.
    pub(crate) fn key_scales<F: Kept>(&self, kv_head: usize) -> Range<usize> {
        let start = self.page_len() + kv_head * F::SCALES_LEN;
        start..start + F::SCALES_LEN
    }

    /// Where the scales of a head's values lie in a page; empty for a format without.
    pub(crate) fn value_scales<F: Kept>(&self, kv_head: usize) -> Range<usize> {
        self.key_scales::<F>(self.kv_heads + kv_head)
    }
}

/// Where the pages of one layer lie in the caller's slice, in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvPlace {
    /// From a page to the next.
    pub page_stride: usize,
    /// From the start of a page to this layer's part of it.
    pub layer_offset: usize,
}

impl KvPlace {
    pub(crate) fn page(&self, page: u32) -> usize {
        page as usize * self.page_stride + self.layer_offset
    }
}

/// Key and value memory to write to.
#[derive(Debug)]
pub enum KvSlice<'a> {
    /// Bit patterns of f16.
    F16(&'a mut [u16]),
    /// f32.
    F32(&'a mut [f32]),
    /// int8, and the bytes of its scales.
    Int8(&'a mut [i8]),
}

/// Key and value memory to read from.
#[derive(Debug, Clone, Copy)]
pub enum KvView<'a> {
    /// Bit patterns of f16.
    F16(&'a [u16]),
    /// f32.
    F32(&'a [f32]),
    /// int8, and the bytes of its scales.
    Int8(&'a [i8]),
}

/// The rows of one sequence in a batch, and its pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvSpan<'a> {
    /// Rows of the batch, in the order of the tokens.
    pub rows: Range<usize>,
    /// The position of the first of these rows in its sequence.
    pub first_position: usize,
    /// The pages of the sequence, in order; covers the positions of these rows.
    pub page_table: &'a [u32],
}

impl KvSpan<'_> {
    /// Positions the sequence holds once these rows are stored.
    pub(crate) fn positions(&self) -> usize {
        self.first_position + self.rows.len()
    }
}

/// # Panics
/// If the spans' rows do not ascend inside `rows`, or a page table is too short.
pub(crate) fn check_spans(spans: &[KvSpan<'_>], rows: usize) {
    check_rows(spans.iter().map(|s| &s.rows), rows);
    for span in spans {
        let held = span.page_table.len() * PAGE_TOKENS;
        assert!(
            span.positions() <= held,
            "{} positions in pages of {held}",
            span.positions()
        );
    }
}

/// Stores the keys and values of each span's rows at their positions. `k`, `v`:
/// `[rows, kv_heads * head_dim]`. Of two spans that write one place, the later wins.
///
/// # Panics
/// If a length does not fit, a page lies outside of the memory, or a page table is too short.
pub fn kv_store(
    cpu: &Cpu,
    layout: KvLayout,
    place: KvPlace,
    memory: KvSlice<'_>,
    spans: &[KvSpan<'_>],
    k: &[f32],
    v: &[f32],
) {
    let width = layout.kv_heads * layout.head_dim;
    assert!(
        width > 0 && k.len().is_multiple_of(width),
        "rows of {width} in {} keys",
        k.len()
    );
    assert_eq!(k.len(), v.len(), "keys and values");
    check_spans(spans, k.len() / width);
    match memory {
        KvSlice::F16(x) => store_format::<F16>(cpu, layout, place, x, spans, [k, v]),
        KvSlice::F32(x) => store_format::<F32>(cpu, layout, place, x, spans, [k, v]),
        KvSlice::Int8(x) => store_format::<Int8>(cpu, layout, place, x, spans, [k, v]),
    }
}

fn store_format<F: Kept<Bits: Send>>(
    cpu: &Cpu,
    layout: KvLayout,
    place: KvPlace,
    memory: &mut [F::Bits],
    spans: &[KvSpan<'_>],
    kv: [&[f32]; 2],
) {
    let memory = Parts::new(memory);
    let tokens: usize = spans.iter().map(|s| s.rows.len()).sum();
    // A task has one head's keys or values of all spans: no two tasks share an element, whatever
    // the page tables say.
    cpu.run_ranges(2 * layout.kv_heads, tokens * layout.head_dim, |range| {
        for i in range {
            let (kv_head, values) = (i / 2, i % 2 == 1);
            let source = kv[i % 2];
            cpu.isa().run(Store::<F> {
                layout,
                place,
                memory: &memory,
                spans,
                source,
                kv_head,
                values,
            });
        }
    });
}

struct Store<'a, F: Kept> {
    layout: KvLayout,
    place: KvPlace,
    memory: &'a Parts<'a, F::Bits>,
    spans: &'a [KvSpan<'a>],
    source: &'a [f32],
    kv_head: usize,
    values: bool,
}

impl<F: Kept> Body for Store<'_, F> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let KvLayout { kv_heads, head_dim } = self.layout;
        let (layout, kv_head) = (&self.layout, self.kv_head);
        let (part, scales) = match self.values {
            true => (layout.values(kv_head), layout.value_scales::<F>(kv_head)),
            false => (layout.keys(kv_head), layout.key_scales::<F>(kv_head)),
        };
        for span in self.spans {
            for (i, t) in span.rows.clone().enumerate() {
                let position = span.first_position + i;
                let page = self.place.page(span.page_table[position / PAGE_TOKENS]);
                let slot = position % PAGE_TOKENS;
                // SAFETY: only this task touches this head's keys (or values), in any page.
                let to = unsafe { self.memory.part(page + part.start..page + part.end) };
                // SAFETY: only this task touches the scales of those, and they lie elsewhere.
                let scales = unsafe { self.memory.part(page + scales.start..page + scales.end) };
                let row = &self.source[(t * kv_heads + self.kv_head) * head_dim..][..head_dim];
                let scale = F::scale::<L>(row);
                F::put_scale(scales, slot, scale);
                for d in (0..head_dim).step_by(LANES) {
                    let bits = F::narrow(L::get(row, d), scale);
                    let n = LANES.min(head_dim - d);
                    if self.values {
                        to[slot * head_dim + d..][..n].copy_from_slice(&bits[..n]);
                    } else {
                        for (l, &b) in bits[..n].iter().enumerate() {
                            to[(d + l) * PAGE_TOKENS + slot] = b;
                        }
                    }
                }
            }
        }
    }
}
