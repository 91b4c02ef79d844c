//! Attention of whole sequences in bf16, by AMX.
//!
//! Layout: keys are operands A as they lie, 16 of them by 32 columns; queries are operands B, as
//! [`super::Tile`] lays them out, so that scores have queries in lanes. The weights of keys, two to a
//! word, are operands B again; operands A are then 16 columns of the values by 32 keys. So an output has its
//! columns across lanes, and is transposed before it is written. Keys are filled up to a multiple of 32: with
//! whatever there is, as nobody looks at their scores, and their weights and values are zeros.
//! Contract: y = fma(score, c, -(m c)) with c = scale / ln 2 and m the largest score of the query; p = 2^y as
//! `math::exp2_coarse` has it; l = the sum of p of even keys, plus that of odd ones; out = (the tiles' sum of p V,
//! both rounded to bf16) * (1 / l). A row depends on its own sequence alone.
//! Measured: with [`super`].

use std::arch::x86_64::__m512;

use super::super::task::Task;
use super::{AttendShape, GROUPS, Tile, Whole, lay_out_keys, write};
use crate::amx::{self, Tiles};
use crate::attend::words::{Pairs, Words as _};
use crate::cpu::Cpu;
use crate::lanes::avx512::{Avx512, transpose};
use crate::lanes::{LANES, Lanes as _};
use crate::{Bf16Isa, math};

/// Keys are filled up to a multiple of: the columns of an operand A of values.
const KEYS: usize = 32;
/// Columns of an operand of keys, the least that heads are a multiple of.
const COLUMNS: usize = 32;
/// Floats of a tile.
const TILE: usize = amx::ROWS * amx::ROW_BYTES / size_of::<f32>();

/// Whether tiles multiply heads of this shape.
pub(super) fn takes(cpu: &Cpu, shape: AttendShape) -> bool {
    cpu.bf16_isa() == Bf16Isa::AmxBf16 && shape.head_dim.is_multiple_of(COLUMNS)
}

fn padded_keys(task: &Task<'_>) -> usize {
    task.span.len().next_multiple_of(KEYS)
}

/// Floats, or pairs of bf16, of keys, values, queries, scores, products with values, and outputs.
fn parts(task: &Task<'_>) -> [usize; 6] {
    let (keys, dim) = (padded_keys(task), task.shape.head_dim);
    let queries = GROUPS * LANES;
    [
        keys * dim / 2,
        keys * dim / 2,
        queries * dim / 2,
        queries * keys,
        queries * dim,
        task.queries.len() * task.width(),
    ]
}

/// Floats that [`run`] needs.
pub(super) fn floats(task: &Task<'_>) -> usize {
    parts(task).iter().sum()
}

/// Runs a task.
///
/// # Safety
/// The machine has [`Bf16Isa::AmxBf16`]; there is as much room as [`floats`] says.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
pub(super) unsafe fn run(whole: Whole<'_>) {
    let Whole { task, mut room } = whole;
    let mut part = |floats: usize| {
        let (part, rest) = std::mem::take(&mut room).split_at_mut(floats);
        room = rest;
        part
    };
    let [keys, values, queries, scores, products, outputs] = parts(&task);
    let [keys, values] = [part(keys), part(values)];
    let [queries, scores] = [part(queries), part(scores)];
    let [products, outputs] = [part(products), part(outputs)];
    outputs.fill(0.0);
    // SAFETY: the caller's promise.
    let tiles = unsafe { Tiles::configure([amx::ROWS; 8]) };
    for head in task.heads.clone() {
        lay_out_keys::<Pairs>(&task, head, keys);
        lay_out_values(&task, head, values);
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
            // SAFETY: the caller's promise.
            unsafe {
                if left > LANES {
                    group::<GROUPS>(&mut tile, query, left, products);
                    query += GROUPS * LANES;
                } else {
                    group::<1>(&mut tile, query, left, products);
                    query += LANES;
                }
            }
        }
    }
    drop(tiles);
    write::<Avx512>(&task, outputs);
}

/// G vectors of queries from `query` on, where `left` are left.
///
/// # Safety
/// As [`run`]; tiles are configured in full.
#[inline(always)]
unsafe fn group<const G: usize>(
    tile: &mut Tile<'_>,
    query: usize,
    left: usize,
    products: &mut [f32],
) {
    tile.lay_out_queries::<Pairs, G>(query);
    // SAFETY: the caller's promise.
    unsafe { scores::<G>(tile) };
    let sums = soften::<G>(tile);
    // SAFETY: the caller's promise.
    unsafe { weigh::<G>(tile, products) };
    put::<G>(tile, (query, left), products, sums);
}

/// 16 columns from `column` on of 16 keys from `key` on: the keys of the first column, then of the next.
#[inline(always)]
fn across(
    task: &Task<'_>,
    rows: &[f32],
    stride: usize,
    (key, column): (usize, usize),
) -> [__m512; LANES] {
    let words = task.shape.head_dim / 2;
    let known = task.span.len().saturating_sub(key).min(LANES);
    let mut block = [Avx512::zero().0; LANES];
    for i in 0..LANES {
        if i < known {
            block[i] = Pairs::widened(&rows[(key + i) * stride..][..words], column / 2).0;
        }
    }
    // SAFETY: `run`'s caller has AVX-512.
    unsafe { transpose(&mut block) };
    block
}

/// Values of a head, `[keys / 32, columns, 32 keys]`.
#[inline(always)]
fn lay_out_values(task: &Task<'_>, head: usize, values: &mut [f32]) {
    let dim = task.shape.head_dim;
    let (rows, stride) = (task.kv_rows(task.inputs[2], head), task.inputs[2].stride);
    let words = KEYS / 2;
    let blocks = values
        .chunks_exact_mut(dim * words)
        .take(padded_keys(task) / KEYS);
    for (block, out) in blocks.enumerate() {
        for column in (0..dim).step_by(LANES) {
            let low = across(task, rows, stride, (block * KEYS, column));
            let high = across(task, rows, stride, (block * KEYS + LANES, column));
            for i in 0..LANES {
                Pairs::both(Avx512(low[i]), Avx512(high[i])).put(out, (column + i) * words);
            }
        }
    }
}

/// Products of queries with all keys, `[keys, queries]`.
///
/// # Safety
/// As [`group`].
#[inline(always)]
unsafe fn scores<const G: usize>(tile: &mut Tile<'_>) {
    let words = tile.task.shape.head_dim / 2;
    let queries = tile.queries[..words * G * LANES].as_ptr().cast::<u8>();
    let row = G * amx::ROW_BYTES;
    let keys = padded_keys(tile.task);
    let operands = tile.keys[..keys * words].as_ptr();
    let out = tile.scores[..keys * G * LANES].as_mut_ptr();
    for key in (0..keys).step_by(2 * amx::ROWS) {
        // SAFETY: keys are whole pairs of tiles, as long as there are queries' words; the caller's promise.
        unsafe {
            let one = operands.add(key * words).cast::<u8>();
            let other = operands.add((key + amx::ROWS) * words).cast::<u8>();
            zeros();
            for step in 0..words / amx::ROWS {
                let (at, b) = (step * amx::ROW_BYTES, queries.add(step * amx::ROWS * row));
                amx::load_strided::<4>(one.add(at), 4 * words);
                amx::load_strided::<6>(b, row);
                amx::dot_bf16::<0, 4, 6>();
                amx::load_strided::<5>(other.add(at), 4 * words);
                amx::dot_bf16::<2, 5, 6>();
                if G == 2 {
                    amx::load_strided::<7>(b.add(amx::ROW_BYTES), row);
                    amx::dot_bf16::<1, 4, 7>();
                    amx::dot_bf16::<3, 5, 7>();
                }
            }
            store::<G>(out.add(key * G * LANES).cast());
        }
    }
}

/// The four sums become zero.
///
/// # Safety
/// Configured tiles.
#[inline(always)]
unsafe fn zeros() {
    // SAFETY: the caller's promise.
    unsafe {
        amx::zero::<0>();
        amx::zero::<1>();
        amx::zero::<2>();
        amx::zero::<3>();
    }
}

/// The sums, to 32 rows of G vectors at `out`.
///
/// # Safety
/// Configured tiles, and room for them.
#[inline(always)]
unsafe fn store<const G: usize>(out: *mut u8) {
    let row = G * amx::ROW_BYTES;
    // SAFETY: the caller's promise.
    unsafe {
        let lower = out.add(amx::ROWS * row);
        amx::store_strided::<0>(out, row);
        amx::store_strided::<2>(lower, row);
        if G == 2 {
            amx::store_strided::<1>(out.add(amx::ROW_BYTES), row);
            amx::store_strided::<3>(lower.add(amx::ROW_BYTES), row);
        }
    }
}

/// The scores become weights, as words of keys, zeros up to a multiple of 32 keys. Returns their sums.
#[inline(always)]
fn soften<const G: usize>(tile: &mut Tile<'_>) -> [Avx512; G] {
    let (keys, padded) = (tile.task.span.len(), padded_keys(tile.task));
    let scores = tile.scores[..padded * G * LANES].as_mut_ptr();
    let row = G * LANES;
    let c = Avx512::splat(tile.task.shape.scale * math::LOG2_E);
    let mut sums = [Avx512::zero(); G];
    for g in 0..G {
        // SAFETY: vector g of each of the rows of keys, of which there are `padded`; a word is written where its keys were
        // read, or before them.
        unsafe {
            let scores = scores.add(g * LANES);
            // Two of each, of even and of odd keys: a chain of its own waits for no other.
            let mut most = [Avx512::splat(f32::NEG_INFINITY); 2];
            let mut key = 0;
            while key + 1 < keys {
                most[0] = Avx512::load(scores.add(key * row)).max(most[0]);
                most[1] = Avx512::load(scores.add((key + 1) * row)).max(most[1]);
                key += 2;
            }
            if key < keys {
                most[0] = Avx512::load(scores.add(key * row)).max(most[0]);
            }
            let least = most[0].max(most[1]).mul(c).neg();
            let mut sum = [Avx512::zero(); 2];
            let mut key = 0;
            while key + 1 < keys {
                let even = Avx512::load(scores.add(key * row)).fma(c, least);
                let odd = Avx512::load(scores.add((key + 1) * row)).fma(c, least);
                let (even, odd) = (math::exp2_coarse(even), math::exp2_coarse(odd));
                sum[0] = sum[0].add(even);
                sum[1] = sum[1].add(odd);
                Pairs::joined(even, odd).store(scores.add(key / 2 * row));
                key += 2;
            }
            if key < keys {
                let even = Avx512::load(scores.add(key * row)).fma(c, least);
                let even = math::exp2_coarse(even);
                sum[0] = sum[0].add(even);
                Pairs::joined(even, Avx512::zero()).store(scores.add(key / 2 * row));
            }
            for word in keys.div_ceil(2)..padded / 2 {
                Avx512::zero().store(scores.add(word * row));
            }
            sums[g] = sum[0].add(sum[1]);
        }
    }
    sums
}

/// Products of the weights of keys with values, `[columns, queries]`.
///
/// # Safety
/// As [`group`].
#[inline(always)]
unsafe fn weigh<const G: usize>(tile: &Tile<'_>, products: &mut [f32]) {
    let dim = tile.task.shape.head_dim;
    let blocks = padded_keys(tile.task) / KEYS;
    let row = G * amx::ROW_BYTES;
    let values = tile.values[..blocks * dim * KEYS / 2].as_ptr();
    let weights = tile.scores[..blocks * G * TILE].as_ptr();
    let out = products[..dim * G * LANES].as_mut_ptr();
    for column in (0..dim).step_by(COLUMNS) {
        // SAFETY: each block has the values of 32 keys and their weights; the caller's promise.
        unsafe {
            zeros();
            for block in 0..blocks {
                let one = values.add((block * dim + column) * KEYS / 2).cast::<u8>();
                let b = weights.add(block * G * TILE).cast::<u8>();
                amx::load::<4>(one);
                amx::load_strided::<6>(b, row);
                amx::dot_bf16::<0, 4, 6>();
                amx::load::<5>(one.add(amx::ROWS * amx::ROW_BYTES));
                amx::dot_bf16::<2, 5, 6>();
                if G == 2 {
                    amx::load_strided::<7>(b.add(amx::ROW_BYTES), row);
                    amx::dot_bf16::<1, 4, 7>();
                    amx::dot_bf16::<3, 5, 7>();
                }
            }
            store::<G>(out.add(column * G * LANES).cast());
        }
    }
}

/// Writes the outputs of queries, of which `left` are left, by one over `sums`.
#[inline(always)]
fn put<const G: usize>(
    tile: &mut Tile<'_>,
    (query, left): (usize, usize),
    products: &[f32],
    sums: [Avx512; G],
) {
    let dim = tile.task.shape.head_dim;
    let width = tile.task.width();
    let first = (tile.head - tile.task.heads.start) * dim;
    let query = query - tile.task.queries.start;
    let products = &products[..dim * G * LANES];
    for g in 0..G {
        let over = Avx512::splat(1.0).div(sums[g]);
        let n = left.saturating_sub(g * LANES).min(LANES);
        for column in (0..dim).step_by(LANES) {
            let mut block = [Avx512::zero().0; LANES];
            for i in 0..LANES {
                let at = ((column + i) * G + g) * LANES;
                block[i] = Avx512::get(products, at).mul(over).0;
            }
            // SAFETY: `run`'s caller has AVX-512.
            unsafe { transpose(&mut block) };
            for i in 0..LANES {
                if i < n {
                    let row = (query + g * LANES + i) * width + first + column;
                    Avx512(block[i]).put(tile.outputs, row);
                }
            }
        }
    }
}
