//! Attention over paged keys and values.
//!
//! Layout: see `kv`. Query and output rows are `[heads, head_dim]`; query head h reads key head
//! h / (heads / kv_heads).
//! Contract: a row at position p sees keys 0..=p, the last so many of these, or all the sequence holds. The keys are cut
//! into blocks of 256 by their position, each with running sums of its own. In a block pages are
//! walked in order; in a page: score = (fused chain of q\[d\] K\[d\] over d ascending) * scale; lanes
//! are keys and hidden ones are -inf; the page's maximum joins the running one m; the running sums
//! are multiplied by exp(m_old - m_new); then l += p lane by lane and acc = fma(p, V, acc) key by
//! key, p being exp(score - m). Then the blocks that the row sees join the first of them in order: both
//! sides are multiplied by exp(m - m_new) and added. In the end out = acc / l, l added along the
//! tree. In int8, K and V are the elements, widened; the chain is multiplied by the key's scale before
//! `scale`, and p by that of the row of V after l has it. So a row's bits depend on its own position and past alone, never on the rows or heads
//! computed beside it, nor on which thread had which block.
//! A task has the query heads of one key head for a tile of rows; up to four queries share each load
//! of K and V. Where that makes too few tasks for the threads, one block of it is a task, and a
//! second region joins the blocks.
//! Measured: AMD EPYC (Zen 5, family 26 model 2), AVX-512, 8 heads on 2 of 256, f16, one row, keys and
//! values of six layers in turn so that they come from memory, one thread beside other work, best of
//! 300 (`examples/rates.rs`): depth 4,096 172 to 210 us (636 to 726 without asking ahead), depth
//! 16,384 1.16 to 1.28 ms (2.80 to 3.09); depth 256, in the cache, 9.6 us (219 GFLOP/s). f32: 4,096
//! 0.49 ms (0.78), but 14.5 us for 12.1 at 256. 512 rows on a quiet machine: 221 GFLOP/s.
//! int8 beside f16 in one run on a busy machine: 256 15.2 us (16.3), 4,096 253 us (280), 16,384 1.01 ms
//! (1.28), 512 rows at 4,096 69 GFLOP/s (66).

mod page;
mod task;
mod tile;
mod whole;
mod words;

use crate::cpu::Cpu;
use crate::dense::{F16, F32, Int8};
use crate::kv::{Kept, KvLayout, KvPlace, KvSpan, KvView, PAGE_TOKENS, check_spans};
use crate::parts::Parts;
use crate::scratch;
pub use task::{WholeInputs, whole_format};
pub use whole::attend_whole;

use tile::{Finish, Join, Sums, Tile, Walk};

/// Queries of a task, about: their sums should stay in the first caches.
const TILE_QUERIES: usize = 32;
/// Keys with running sums of their own: whole pages, and enough work for a task.
const BLOCK_TOKENS: usize = 4 * PAGE_TOKENS;
/// Tasks per thread that need no finer cut.
const TASKS_PER_THREAD: usize = 4;
/// Floats that the sums of all blocks may take; beyond that there are rows enough to share.
const SPLIT_FLOATS: usize = 2 << 20;

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
    /// Which keys a row sees.
    pub sees: Sees,
}

/// Which keys of its sequence a row sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sees {
    /// All that the sequence holds.
    All,
    /// Those up to its own position.
    Past,
    /// The last so many up to its own position, that one included; at least 1.
    Last(usize),
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
    assert!(shape.sees != Sees::Last(0), "{shape:?}");
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
        KvView::Int8(x) => attend_format::<Int8>(call, x, q, out),
    }
}

#[derive(Clone, Copy)]
struct Call<'a> {
    cpu: &'a Cpu,
    shape: AttendShape,
    place: KvPlace,
    spans: &'a [KvSpan<'a>],
}

impl<'a> Call<'a> {
    /// Rows of a tile, at most.
    fn height(&self) -> usize {
        TILE_QUERIES.div_ceil(self.shape.group())
    }

    fn tiles_of(&self, span: &KvSpan<'_>) -> usize {
        span.rows.len().div_ceil(self.height())
    }

    /// Tile `i / kv_heads` of all spans, for key head `i % kv_heads`.
    fn tile<F: Kept>(&self, i: usize, memory: &'a [F::Bits], q: &'a [f32]) -> Tile<'a, F> {
        let (kv_head, mut i) = (i % self.shape.kv_heads, i / self.shape.kv_heads);
        let holds = |span: &&KvSpan<'_>| {
            let n = self.tiles_of(span);
            let here = i < n;
            i -= if here { 0 } else { n };
            here
        };
        let span = self.spans.iter().find(holds);
        let span = span.expect("the tasks count the tiles of all spans");
        let start = span.rows.start + i * self.height();
        Tile {
            shape: self.shape,
            place: self.place,
            memory,
            span,
            kv_head,
            rows: start..span.rows.end.min(start + self.height()),
            q,
        }
    }
}

fn attend_format<F: Kept>(call: Call<'_>, memory: &[F::Bits], q: &[f32], out: &mut [f32]) {
    let Call {
        cpu, shape, spans, ..
    } = call;
    let tasks = spans.iter().map(|s| call.tiles_of(s)).sum::<usize>() * shape.kv_heads;
    let rows = spans.iter().map(|s| s.rows.len()).max().unwrap_or(0);
    let slot = Sums::floats(rows.min(call.height()) * shape.group(), shape.head_dim);
    let blocks = spans.iter().map(KvSpan::positions).max().unwrap_or(0);
    let blocks = blocks.div_ceil(BLOCK_TOKENS);
    let out = &Parts::new(out);
    let enough = cpu.threads() == 1 || tasks >= cpu.threads() * TASKS_PER_THREAD;
    if enough || blocks < 2 || tasks * blocks * slot > SPLIT_FLOATS {
        cpu.run(tasks, &|i| {
            let tile = &call.tile::<F>(i, memory, q);
            scratch::with(2 * slot, |sums| whole(cpu, tile, sums, out));
        });
        return;
    }
    scratch::with(tasks * blocks * slot, |sums| {
        let sums = Parts::new(sums);
        cpu.run(tasks * blocks, &|i| {
            let (tile, block) = (&call.tile::<F>(i / blocks, memory, q), i % blocks);
            if tile.blocks().contains(&block) {
                // SAFETY: one block of a tile and head is one task, with a slot of its own.
                let sums = unsafe { sums.part(i * slot..(i + 1) * slot) };
                cpu.isa().run(Walk { tile, block, sums });
            }
        });
        cpu.run(tasks, &|i| {
            let tile = &call.tile::<F>(i, memory, q);
            // SAFETY: the slots of a tile and head belong to one task.
            let sums = unsafe { sums.part(i * blocks * slot..(i + 1) * blocks * slot) };
            let seen = tile.blocks();
            let (total, parts) = sums[seen.start * slot..].split_at_mut(slot);
            for (part, block) in parts.chunks_mut(slot).zip(seen.start + 1..seen.end) {
                join(cpu, tile, block, total, part);
            }
            cpu.isa().run(Finish { tile, total, out });
        });
    });
}

/// All blocks of a tile, one after the other. `sums`: two slots.
fn whole<F: Kept>(cpu: &Cpu, tile: &Tile<'_, F>, sums: &mut [f32], out: &Parts<'_, f32>) {
    let (total, part) = sums.split_at_mut(sums.len() / 2);
    let seen = tile.blocks();
    for block in seen.clone() {
        let first = block == seen.start;
        let sums = if first { &mut *total } else { &mut *part };
        cpu.isa().run(Walk { tile, block, sums });
        if !first {
            join(cpu, tile, block, total, part);
        }
    }
    cpu.isa().run(Finish { tile, total, out });
}

fn join<F: Kept>(cpu: &Cpu, tile: &Tile<'_, F>, block: usize, total: &mut [f32], part: &mut [f32]) {
    cpu.isa().run(Join {
        tile,
        block,
        total,
        part,
    });
}
