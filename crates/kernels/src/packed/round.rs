//! Rows of f32 become integers of 15 bits: where they lie, or on their way out of the operation that
//! makes them.
//!
//! Layout, Contract: see [`super::activations`]. A norm or a gate whose rows are wanted as integers
//! alone gives the integers of exactly the floats it would have written; they are never stored.
//! Measured: see [`super::activations`].

use super::activations::{Activations, BlockHead, HALF, Line, Slot, Slots};
use super::dots::ChunkSums;
use super::linear::group_height;
use super::{BLOCK, CHUNK};
use crate::cpu::Cpu;
use crate::elementwise::Activation;
use crate::lanes::{Body, LANES, Lanes};
use crate::norm::sum_of_squares;

/// The largest |v|: 127 * 128.
const V_MAX: f32 = 16256.0;
/// 2^-100: below it the inverse of a scale would leave the normal numbers.
const TINY: f32 = 1.0 / (1u128 << 100) as f32;

/// Quantises all rows of `x`, `[rows, columns]`.
///
/// # Panics
/// If `x` is no whole number of rows.
pub fn quantise_rows(cpu: &Cpu, x: &[f32], columns: usize, out: &mut Activations) {
    let rows = rows_of(x, columns);
    let picked = None;
    quantise(cpu, (rows, columns), Plain { x, columns, picked }, out);
}

/// Quantises the rows `picked` of `x`, `[rows, columns]`, in that order.
///
/// # Panics
/// If `x` is no whole number of rows, or a picked row is outside of it.
pub fn quantise_select(
    cpu: &Cpu,
    x: &[f32],
    columns: usize,
    picked: &[u32],
    out: &mut Activations,
) {
    let rows = rows_of(x, columns);
    let inside = picked.iter().all(|&r| (r as usize) < rows);
    assert!(inside, "a picked row is outside of {rows}");
    let (rows, picked) = (picked.len(), Some(picked));
    quantise(cpu, (rows, columns), Plain { x, columns, picked }, out);
}

/// Quantises the rows that [`crate::rms_norm`] makes of `x`, `[rows, gain.len()]`.
///
/// # Panics
/// If `x` is no whole number of rows.
pub fn quantise_norm(cpu: &Cpu, x: &[f32], gain: &[f32], eps: f32, out: &mut Activations) {
    let rows = rows_of(x, gain.len());
    quantise(cpu, (rows, gain.len()), Normed { x, gain, eps }, out);
}

/// Quantises the rows that [`crate::glu`] makes of `gate` and `up`, each `[rows, columns]`.
///
/// # Panics
/// If `up` is no whole number of rows, or `gate` is not as long.
pub fn quantise_glu(
    cpu: &Cpu,
    activation: Activation,
    gate: &[f32],
    up: &[f32],
    columns: usize,
    out: &mut Activations,
) {
    let rows = rows_of(up, columns);
    assert_eq!(gate.len(), up.len(), "elements of the gate");
    let rows_of_gate = Gated {
        activation,
        gate,
        up,
        columns,
    };
    quantise(cpu, (rows, columns), rows_of_gate, out);
}

fn rows_of(x: &[f32], columns: usize) -> usize {
    let whole = columns > 0 && x.len().is_multiple_of(columns);
    assert!(whole, "rows of {columns} in {}", x.len());
    x.len() / columns
}

fn quantise(
    cpu: &Cpu,
    (rows, columns): (usize, usize),
    source: impl Source,
    out: &mut Activations,
) {
    let height = group_height(cpu, rows);
    out.resize(rows, columns, height);
    let slots = &out.slots();
    cpu.run_ranges(slots.groups(), height * columns, |groups| {
        for group in groups {
            // A group belongs to one range.
            cpu.isa().run(QuantiseGroup {
                source,
                columns,
                slots,
                group,
            });
        }
    });
}

/// What rows are made of, block by block.
trait Source: Copy + Sync {
    /// What all blocks of row `r` share.
    fn begin<L: Lanes>(&self, r: usize) -> f32;
    /// Columns `from..from + width` of row `r`, made in `room` unless they lie somewhere.
    fn block<'a, L: Lanes>(&'a self, at: At, shared: f32, room: &'a mut [f32; BLOCK]) -> &'a [f32];
}

/// Columns `from..from + width` of row `r`.
#[derive(Clone, Copy)]
struct At {
    r: usize,
    from: usize,
    width: usize,
}

/// Rows as they lie, all or those picked.
#[derive(Clone, Copy)]
struct Plain<'x> {
    x: &'x [f32],
    columns: usize,
    picked: Option<&'x [u32]>,
}

impl Source for Plain<'_> {
    #[inline(always)]
    fn begin<L: Lanes>(&self, _: usize) -> f32 {
        0.0
    }

    #[inline(always)]
    fn block<'a, L: Lanes>(&'a self, at: At, _: f32, _: &'a mut [f32; BLOCK]) -> &'a [f32] {
        let r = self.picked.map_or(at.r, |picked| picked[at.r] as usize);
        &self.x[r * self.columns + at.from..][..at.width]
    }
}

/// Rows out of a norm.
#[derive(Clone, Copy)]
struct Normed<'x> {
    x: &'x [f32],
    gain: &'x [f32],
    eps: f32,
}

impl Source for Normed<'_> {
    #[inline(always)]
    fn begin<L: Lanes>(&self, r: usize) -> f32 {
        let width = self.gain.len();
        let mean = sum_of_squares::<L>(&self.x[r * width..(r + 1) * width]) / width as f32;
        1.0 / (mean + self.eps).sqrt()
    }

    #[inline(always)]
    fn block<'a, L: Lanes>(&'a self, at: At, factor: f32, room: &'a mut [f32; BLOCK]) -> &'a [f32] {
        let x = &self.x[at.r * self.gain.len() + at.from..][..at.width];
        let (gain, factor) = (&self.gain[at.from..][..at.width], L::splat(factor));
        let room = &mut room[..at.width];
        for i in (0..at.width).step_by(LANES) {
            let y = L::get(x, i).mul(factor).mul(L::get(gain, i));
            y.put(room, i);
        }
        room
    }
}

/// Rows out of a gate.
#[derive(Clone, Copy)]
struct Gated<'x> {
    activation: Activation,
    gate: &'x [f32],
    up: &'x [f32],
    columns: usize,
}

impl Source for Gated<'_> {
    #[inline(always)]
    fn begin<L: Lanes>(&self, _: usize) -> f32 {
        0.0
    }

    #[inline(always)]
    fn block<'a, L: Lanes>(&'a self, at: At, _: f32, room: &'a mut [f32; BLOCK]) -> &'a [f32] {
        let start = at.r * self.columns + at.from;
        let (gate, up) = (
            &self.gate[start..][..at.width],
            &self.up[start..][..at.width],
        );
        let room = &mut room[..at.width];
        for i in (0..at.width).step_by(LANES) {
            let gate = self.activation.apply(L::get(gate, i));
            gate.mul(L::get(up, i)).put(room, i);
        }
        room
    }
}

/// The rows of one group.
struct QuantiseGroup<'a, S> {
    source: S,
    columns: usize,
    slots: &'a Slots<'a>,
    group: usize,
}

impl<S: Source> Body for QuantiseGroup<'_, S> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Slots { rows, height, .. } = *self.slots;
        for n in 0..height {
            let r = self.group * height + n;
            let shared = match r < rows {
                true => self.source.begin::<L>(r),
                false => 0.0,
            };
            for block in 0..self.slots.blocks {
                // SAFETY: the group is this body's alone.
                let mut slot = unsafe { self.slots.block(self.group, block) };
                if r >= rows {
                    slot.put_nothing(n);
                    continue;
                }
                let from = block * BLOCK;
                let width = BLOCK.min(self.columns - from);
                let mut room = [0.0; BLOCK];
                let x = self
                    .source
                    .block::<L>(At { r, from, width }, shared, &mut room);
                // SAFETY: as above.
                let sums = unsafe { self.slots.sums(r, block) };
                round_block::<L>(x, &mut slot, n, sums);
            }
        }
    }
}

/// Writes block `x` of row `n` of the group that `slot` is of, and the sums of its columns if any are
/// asked for.
#[inline(always)]
pub(super) fn round_block<L: Lanes>(
    x: &[f32],
    slot: &mut Slot<'_>,
    n: usize,
    sums: &mut [ChunkSums],
) {
    let mut v = [0.0; BLOCK];
    let mut head = BlockHead {
        scale: rounded::<L>(x, &mut v),
        ..BlockHead::default()
    };
    let mut planes = [Line::ZERO; 2 * BLOCK / CHUNK];
    head.sums = split(&v, &mut planes);
    head.sum = head.sums.iter().sum();
    slot.put(n, head, |plane, line| *line = planes[plane]);
    if !sums.is_empty() {
        sum_chunks::<L>(&v, sums);
    }
}

/// The scale of block `x`; its integers, as floats, to the front of `v`, which is all zeros.
#[inline(always)]
fn rounded<L: Lanes>(x: &[f32], v: &mut [f32; BLOCK]) -> f32 {
    let (mut most, mut odd) = (L::zero(), L::zero());
    for i in (0..x.len()).step_by(LANES) {
        let x = L::get(x, i);
        most = x.max(x.neg()).max(most);
        // 0 as long as everything is finite, then NaN.
        odd = x.fma(L::zero(), odd);
    }
    let most = most.max_lane();
    if odd.sum().is_nan() {
        return f32::NAN;
    }
    if most < TINY {
        return 0.0;
    }
    let inverse = L::splat(V_MAX / most);
    for i in (0..x.len()).step_by(LANES) {
        L::get(x, i).mul(inverse).round().put(v, i);
    }
    most / V_MAX
}

/// The two planes of a block; returns the sums of each 32 values.
#[inline(always)]
fn split(v: &[f32; BLOCK], planes: &mut [Line; 2 * BLOCK / CHUNK]) -> [i32; BLOCK / HALF] {
    let mut sums = [0; BLOCK / HALF];
    let chunks = v.chunks_exact(CHUNK).zip(sums.chunks_exact_mut(2));
    for ((v, sums), planes) in chunks.zip(planes.chunks_exact_mut(2)) {
        let (hi, lo) = planes.split_at_mut(1);
        let (hi, lo) = (&mut hi[0].0, &mut lo[0].0);
        let halves = hi.chunks_exact_mut(HALF).zip(lo.chunks_exact_mut(HALF));
        for ((v, sum), (hi, lo)) in v.chunks_exact(HALF).zip(sums).zip(halves) {
            for ((v, hi), lo) in v.iter().zip(hi).zip(lo) {
                // SAFETY: an integer of at most 16,256: `rounded` left no NaN and nothing larger.
                let v = unsafe { v.to_int_unchecked::<i32>() };
                *hi = (v >> 7) as i8;
                *lo = (v & 127) as i8;
                *sum += v;
            }
        }
    }
    sums
}

/// The sums of each 64 values, as many as `sums` has room for. All are integers far below 2^24.
#[inline(always)]
fn sum_chunks<L: Lanes>(v: &[f32; BLOCK], sums: &mut [ChunkSums]) {
    const SHARE: f32 = 1.0 / 128.0;
    for (v, sums) in v.chunks_exact(CHUNK).zip(sums) {
        let (mut all, mut hi) = ([L::zero(); 4], [L::zero(); 4]);
        for i in 0..4 {
            all[i] = L::get(v, i * LANES);
            // Rounds v / 128 down: less half of what a remainder can be there are no ties.
            hi[i] = all[i].fma(L::splat(SHARE), L::splat(-63.5 * SHARE)).round();
        }
        let (all, hi) = (L::sum4(all), L::sum4(hi));
        let (mut high, mut low) = ([0; 4], [0; 4]);
        for i in 0..4 {
            // SAFETY: integers of at most 16 * 16,256.
            unsafe {
                high[i] = hi[i].to_int_unchecked::<i32>();
                low[i] = all[i].to_int_unchecked::<i32>() - 128 * high[i];
            }
        }
        *sums = ChunkSums::new(high, low);
    }
}
