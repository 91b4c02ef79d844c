//! Products of input rows with a packed weight.
//!
//! Layout: weights see [`super`], input rows see [`super::activations`], outputs `[rows, out]`.
//! Contract: acc = 0; for each block of 256 columns in order, with the exact integer dot product:
//! acc = fma(f32(dot), S s, acc), S the weight's scale and s the row's; then + bias. So an output
//! depends on its input row and weight row alone, whatever the instruction set, the number of
//! threads or the rows beside it. A row with a NaN or an infinity gives NaN.
//! Weights of 4 bits give the same as their expansion to int8. A task has some tiles of weight and a
//! block of input rows; [`super::product`] does it.
//! Measured: AMD EPYC (Zen 5, family 26 model 2), 3,584 x 1,024, one thread, best of many on a busy
//! machine (`examples/rates.rs`); operations are 2 x rows x 3,584 x 1,024, half of what the integer
//! units do for the two planes. AVX-512 VNNI: 1 row 44 GB/s and 4 rows 43 (a plain read 41 to 43);
//! 8 rows 478 GOP/s, 64 rows 485, 512 rows 486, which is 88 to 89 % of the peak of `vpdpbusd` (545,
//! 1,090 raw). AVX-VNNI: 1 row 38 GB/s, 512 rows 254 GOP/s. AVX2: 1 row 40 GB/s, 512 rows 121
//! GOP/s. Where nothing asks for the next tiles 8 rows reach 230 GOP/s and 64 rows 389; asking 4
//! KiB ahead instead of 8, 4 rows reach 38 GB/s. With two threads, others busy on the second core:
//! no more.
//! Of 4 bits in sub-blocks of 16, the bytes of 4 bits counted: AVX-512 VNNI: 1 row 38 to 40 GB/s
//! (from a cache 56), 2 rows 35 to 38, 4 rows 22; 8 rows 379 GOP/s, 64 rows 486. AVX-VNNI: 1 row 37
//! GB/s, 64 rows 252 GOP/s. AVX2: 1 row 30 GB/s, 64 rows 122 GOP/s. In sub-blocks of 32, AVX-512
//! VNNI: 1 row 41 GB/s, 4 rows 23; 8 rows 404 GOP/s, 64 rows 488.
//! Intel Xeon (family 6 model 207), a shared machine whose rates change by a factor of 2 within
//! seconds, AMX, best, 3,584 x 1,024 with 256 rows: one thread 995 GOP/s beside a peak of `tdpbssd`
//! of 5,280 raw (37 %), two threads 1,914 beside 10,500 (36 %); in slow moments 500 and 1,370. With
//! rounding, two threads, 512 rows: 1,837 where each product copied its inputs into groups 1,153;
//! 1,024 x 3,584 1,579 (1,060), 6,144 x 1,024 1,378 (1,142). VNNI one thread 200 to 300. A gate over
//! two products, 256 rows, one thread: 4.32 ms together, 4.61 one after the other. Outputs that are
//! not asked for before they are written: 668 GOP/s instead of 832.
//! NEON: not measured on hardware; bits under an emulator of processors without `sdot`, with it, and
//! with `smmla`.

use std::cell::RefCell;

use super::Packed;
use super::activations::Activations;
#[cfg(target_arch = "x86_64")]
use super::int_isa::IntIsa;
use super::product::Product;
use super::round::quantise_rows;
#[cfg(target_arch = "x86_64")]
use super::{TILE, amx, amx_linear};
use crate::cpu::Cpu;
use crate::parts::Parts;
use crate::scratch;

/// Input rows that count as few: they read a weight once, as it is stored.
pub(super) const FEW_ROWS: usize = 4;
/// Input rows that are left to vectors where the processor has tiles: memory sets the pace.
#[cfg(target_arch = "x86_64")]
const VECTOR_ROWS: usize = 6;
/// Bytes of weight in a task, about, while its rows are few.
const FEW_ROWS_BYTES: usize = 128 * 1024;
/// The same while they are many, at most.
const TASK_BYTES: usize = 256 * 1024;
/// Tasks for each thread, where the weight is large enough: so many that they end together.
const TASKS: usize = 12;
/// Bytes of input rows in a task, about: they should lie in the second cache beside the tiles.
const ROWS_BYTES: usize = 512 * 1024;
/// What the rows of a task are a multiple of: groups of 3, 4 and 6 rows divide it.
const GROUPS: usize = 12;

thread_local! {
    static KEPT: RefCell<Activations> = const { RefCell::new(Activations::new()) };
    static REGROUPED: RefCell<Activations> = const { RefCell::new(Activations::new()) };
}

/// `out = x weight^T + bias`. `x`: `[rows, columns]`, quantised on the way; `out`: `[rows,
/// outputs]`; `bias`: `[outputs]`.
///
/// # Panics
/// If a length does not fit.
pub fn linear_packed(
    cpu: &Cpu,
    weight: Packed<'_>,
    bias: Option<&[f32]>,
    x: &[f32],
    out: &mut [f32],
) {
    // Taken out rather than borrowed: a nested call finds an empty one and allocates its own.
    let mut kept = KEPT.take();
    quantise_rows(cpu, x, weight.columns(), &mut kept);
    linear_packed_quantised(cpu, weight, bias, &kept, out);
    KEPT.set(kept);
}

/// As [`linear_packed`] for rows already quantised, which several weights may share.
///
/// # Panics
/// If a length does not fit.
pub fn linear_packed_quantised(
    cpu: &Cpu,
    weight: Packed<'_>,
    bias: Option<&[f32]>,
    x: &Activations,
    out: &mut [f32],
) {
    let (outputs, rows) = (weight.rows(), x.rows());
    assert_eq!(x.columns(), weight.columns(), "columns of input and weight");
    assert_eq!(out.len(), rows * outputs, "output [{rows}, {outputs}]");
    let fits = bias.is_none_or(|b| b.len() == outputs);
    assert!(fits, "bias of {outputs} outputs");
    #[cfg(target_arch = "x86_64")]
    {
        let wanted = match on_tiles(cpu, weight, rows) {
            true => group_height(cpu, rows),
            false => 1,
        };
        if x.height() != wanted {
            with_height(cpu, x, wanted, |x| {
                linear_packed_quantised(cpu, weight, bias, x, out);
            });
            return;
        }
    }
    let out = Parts::new(out);
    #[cfg(target_arch = "x86_64")]
    if on_tiles(cpu, weight, rows) {
        let cut = |groups, height| cut_groups(cpu, weight, groups, height);
        // SAFETY: a `Cpu` refuses a set that `is_available` denies; lengths are as asserted; the
        // weight is not grouped.
        unsafe { amx_linear::product(cpu, weight, bias, x, &out, cut) };
        return;
    }
    let (tiles, block) = cut(cpu, weight, rows);
    let groups = weight.tiles().div_ceil(tiles);
    cpu.run(groups * rows.div_ceil(block), &|i| {
        let (first, start) = (i % groups * tiles, i / groups * block);
        let product = Product {
            weight,
            bias,
            x,
            out: &out,
            tiles: first..weight.tiles().min(first + tiles),
            rows: start..rows.min(start + block),
            expanded: &mut [],
        };
        scratch::with(product.floats(), |expanded| {
            cpu.int_isa().run(Product {
                expanded,
                ..product
            });
        });
    });
}

/// Whether `rows` input rows meet the weight in tiles of AMX.
#[cfg(target_arch = "x86_64")]
pub(super) fn on_tiles(cpu: &Cpu, weight: Packed<'_>, rows: usize) -> bool {
    group_height(cpu, rows) > 1 && weight.shape().scheme().grouped().is_none()
}

/// Calls `f` with `x` in groups of `height` rows.
#[cfg(target_arch = "x86_64")]
pub(super) fn with_height(cpu: &Cpu, x: &Activations, height: usize, f: impl FnOnce(&Activations)) {
    if x.height() == height {
        return f(x);
    }
    let mut kept = REGROUPED.take();
    x.regroup(cpu, height, &mut kept);
    f(&kept);
    REGROUPED.set(kept);
}

/// How many rows a group has where `rows` input rows are made for the products to come; 1: no groups.
pub(super) fn group_height(cpu: &Cpu, rows: usize) -> usize {
    #[cfg(target_arch = "x86_64")]
    if cpu.int_isa() == IntIsa::AmxInt8 && rows > VECTOR_ROWS {
        return rows.div_ceil(rows.div_ceil(TILE));
    }
    let _ = (cpu, rows);
    1
}

/// Tiles of weight and input rows of a task.
fn cut(cpu: &Cpu, weight: Packed<'_>, rows: usize) -> (usize, usize) {
    let shape = weight.shape();
    if rows <= FEW_ROWS {
        return ((FEW_ROWS_BYTES / shape.tile_bytes()).max(1), FEW_ROWS);
    }
    let block = ROWS_BYTES / (2 * shape.padded_columns());
    let block = block.next_multiple_of(GROUPS);
    (tiles_of_task(cpu, weight, 2, rows.div_ceil(block)), block)
}

/// Tiles of weight and groups of input rows of a task, of `groups` of about `height` rows.
#[cfg(target_arch = "x86_64")]
fn cut_groups(cpu: &Cpu, weight: Packed<'_>, groups: usize, height: usize) -> (usize, usize) {
    let most = (ROWS_BYTES / (2 * height * weight.shape().padded_columns())).max(1);
    // Spans of even length.
    let span = groups.div_ceil(groups.div_ceil(most));
    (
        tiles_of_task(cpu, weight, amx::QUAD, groups.div_ceil(span)),
        span,
    )
}

/// Tiles of weight of a task, a multiple of `step`: as many as the second cache takes, or fewer so
/// that the product has enough tasks; the input rows come in `parts`.
fn tiles_of_task(cpu: &Cpu, weight: Packed<'_>, step: usize, parts: usize) -> usize {
    let tasks = |tiles| weight.tiles().div_ceil(tiles) * parts;
    let most = TASK_BYTES / weight.shape().tile_bytes();
    let mut tiles = most.next_multiple_of(step).max(step);
    while tiles > step && tasks(tiles) < TASKS * cpu.threads() {
        tiles = (tiles / 2).next_multiple_of(step);
    }
    tiles
}
