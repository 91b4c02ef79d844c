//! From f32 weights to 4 bits and back.
//!
//! Layout: see [`super::super`]. The search has a block's sub-blocks in lanes, their columns one
//! behind the other, so that nothing is summed across lanes but a scale's total.
//! Contract: per row and block the scale S, an f16, and per sub-block m and z, that make the squared
//! error smallest among these: S is [`FACTORS`] times the smallest that reaches the block's largest
//! |w| with 127 and its widest sub-block with m = 15; m is the sub-block's width / 15 S, rounded, or
//! one less or more; z puts the middle of the sub-block on [`PHASES`] places of a step, and once
//! more where the mean error is 0. q is the nearest of those that keep m (q - 8) + z within
//! -127..=127. Of equal errors the first counts. All in f32 of [`Lanes`]: no bit depends on the
//! machine. A block whose values all become 0 is all zero bytes.
//! Packing what was unpacked may find other numbers for it; it adds about a twentieth of the first
//! time's error.
//! Measured: AMD EPYC (Zen 5, family 26 model 2), AVX-512, one thread (`examples/rates.rs`): 17 ms
//! for 1,024 x 1,024 in sub-blocks of 16, 32 ms of 32. Squared error over squared weights, mean of
//! the 59 larger matrices of a trained model of 8 M weights in bf16: 0.00334 in 16, 0.00502 in 32
//! (32 columns with float scale and minimum, each a multiple of 6 bits, 4.5 bits in all: 0.0051; q8:
//! 0.000049).

use half::f16;

use super::{Unfit, put_scale};
use crate::isa::Isa;
use crate::lanes::{Body, LANES, Lanes};
use crate::packed::q4::Block;
use crate::packed::{BLOCK, PackedShape, SubBlock, view};

/// Scales tried, as factors of the smallest that clips nothing.
const FACTORS: [f32; 6] = [0.97, 1.0, 1.03, 1.06, 1.09, 1.12];
/// Multipliers tried, beside the nearest one.
const MULTIPLIERS: [f32; 3] = [0.0, -1.0, 1.0];
/// Places of the middle of a sub-block between two steps.
const PHASES: [f32; 5] = [0.0, 0.2, -0.2, 0.4, -0.4];
/// The largest |value|.
const V_MAX: f32 = 127.0;
/// The largest multiplier.
const M_MAX: f32 = 15.0;

/// Writes block `block` of row `lane` into `tile`; `weights` has its columns.
pub(super) fn pack_block(
    isa: Isa,
    weights: &[f32],
    place: (PackedShape, SubBlock),
    tile: &mut [u8],
    (lane, block): (usize, usize),
) -> Result<(), Unfit> {
    let (shape, sub) = place;
    let columns = sub.columns();
    let found = match sub {
        SubBlock::Of16 => isa.run(Search::<16>::new(weights)),
        SubBlock::Of32 => isa.run(Search::<32>::new(weights)),
    };
    let Some(found) = found? else {
        return Ok(());
    };
    put_scale(tile, lane, block, found.scale);
    let place = Block::new(shape, sub, block);
    for j in 0..weights.len().div_ceil(columns) {
        let (m, z) = (found.m[j] as i32, found.z[j] as i32);
        place.put_affine(tile, lane, j, (m, z));
    }
    for i in 0..weights.len() {
        let q = found.q[i % columns][i / columns] as i32;
        place.put_q(tile, lane, i, q + 8);
    }
    Ok(())
}

/// The values of block `block` of row `lane` of `tile`, as many as `out` has room for.
pub(super) fn unpack_block(
    tile: &[u8],
    (shape, sub): (PackedShape, SubBlock),
    (lane, block): (usize, usize),
    out: &mut [f32],
) {
    let (scale, place) = (
        view::scale(tile, lane, block),
        Block::new(shape, sub, block),
    );
    let columns = sub.columns();
    for (j, out) in out.chunks_mut(columns).enumerate() {
        let (m, z) = place.affine(tile, lane, j);
        for (i, out) in out.iter_mut().enumerate() {
            let q = place.q(tile, lane, j * columns + i);
            // As it expands: to a byte.
            *out = scale * f32::from((m * (q - 8) + z) as i8);
        }
    }
}

/// The weights of a block, `[column][sub-block]`, and how much each counts.
struct Search<const SUB: usize> {
    weights: [[f32; LANES]; SUB],
    counts: [[f32; LANES]; SUB],
}

/// What stands for a block; q from -8 to 7, `[column][sub-block]`.
struct Found {
    scale: f16,
    m: [f32; LANES],
    z: [f32; LANES],
    q: [[f32; LANES]; 32],
}

/// What one scale makes of the sub-blocks.
#[derive(Clone, Copy)]
struct Fit<L> {
    error: L,
    m: L,
    z: L,
}

impl<const SUB: usize> Search<SUB> {
    fn new(block: &[f32]) -> Search<SUB> {
        let mut weights = [[0.0; LANES]; SUB];
        let mut counts = [[0.0; LANES]; SUB];
        for (j, sub) in block.chunks(SUB).enumerate() {
            for i in 0..SUB {
                // One that is there twice moves neither the least nor the largest.
                weights[i][j] = *sub.get(i).unwrap_or(&sub[0]);
                counts[i][j] = if i < sub.len() { 1.0 } else { 0.0 };
            }
        }
        Search { weights, counts }
    }
}

impl<const SUB: usize> Body for Search<SUB> {
    type Out = Result<Option<Found>, Unfit>;

    #[inline(always)]
    fn run<L: Lanes>(self) -> Self::Out {
        let (mut low, mut high) = (L::get(&self.weights[0], 0), L::get(&self.weights[0], 0));
        for weights in &self.weights {
            let w = L::get(weights, 0);
            (low, high) = (w.min(low), w.max(high));
        }
        let width = high.sub(low);
        let most = high.max(low.neg()).max_lane();
        if most == 0.0 {
            return Ok(None);
        }
        let least = (most / V_MAX).max(width.max_lane() / (M_MAX * M_MAX));
        let mut best: Option<(f32, f16, Fit<L>)> = None;
        let mut last = f16::ZERO;
        for factor in FACTORS {
            let scale = f16::from_f32(least * factor).max(f16::from_bits(1));
            if scale == last || scale.is_infinite() {
                continue;
            }
            last = scale;
            let wide = scale.to_f32();
            let fit = self.fit(wide, low.add(high), width);
            let error = fit.error.sum() * wide * wide;
            if best.is_none_or(|(least, ..)| error < least) {
                best = Some((error, scale, fit));
            }
        }
        let (_, scale, fit) = best.ok_or(Unfit(most))?;
        Ok(self.found(scale, fit))
    }
}

impl<const SUB: usize> Search<SUB> {
    /// The best multiplier and offset of each sub-block for one scale.
    #[inline(always)]
    fn fit<L: Lanes>(&self, scale: f32, ends: L, width: L) -> Fit<L> {
        let inverse = L::splat(1.0 / scale);
        let mut x = [L::zero(); SUB];
        let mut counts = [L::zero(); SUB];
        let mut count = L::zero();
        for i in 0..SUB {
            x[i] = L::get(&self.weights[i], 0).mul(inverse);
            counts[i] = L::get(&self.counts[i], 0);
            count = count.add(counts[i]);
        }
        // Lanes without columns divide by 1.
        let share = L::splat(1.0).div(count.max(L::splat(1.0)));
        let middle = ends.mul(inverse).mul(L::splat(0.5));
        let step = width.mul(inverse).mul(L::splat(1.0 / M_MAX)).round();
        let mut best = Fit {
            error: L::splat(f32::INFINITY),
            m: L::zero(),
            z: L::zero(),
        };
        for more in MULTIPLIERS {
            let m = step.add(L::splat(more));
            let m = m.max(L::splat(1.0)).min(L::splat(M_MAX));
            for phase in PHASES {
                // The middle of -8..=7 is -0.5.
                let z = m.fma(L::splat(0.5 + phase), middle);
                let z = within(z.round());
                let mean = tried(&x, &counts, m, z, &mut best).mul(share);
                let z = within(z.add(mean).round());
                tried(&x, &counts, m, z, &mut best);
            }
        }
        best
    }

    #[inline(always)]
    fn found<L: Lanes>(&self, scale: f16, fit: Fit<L>) -> Option<Found> {
        let mut q = [[0.0; LANES]; 32];
        let (inverse, ends) = (L::splat(1.0 / scale.to_f32()), ends(fit.m, fit.z));
        let mut any = L::zero();
        for i in 0..SUB {
            let x = L::get(&self.weights[i], 0).mul(inverse);
            let nearest = nearest(x.sub(fit.z), ends);
            q[i] = nearest.to_array();
            let v = nearest.fma(fit.m, fit.z);
            any = v.max(v.neg()).mul(L::get(&self.counts[i], 0)).max(any);
        }
        let (m, z) = (fit.m.to_array(), fit.z.to_array());
        (any.max_lane() > 0.0).then_some(Found { scale, m, z, q })
    }
}

/// Takes m and z where their error is the least so far; returns the sum of the errors.
#[inline(always)]
fn tried<L: Lanes, const SUB: usize>(
    x: &[L; SUB],
    counts: &[L; SUB],
    m: L,
    z: L,
    best: &mut Fit<L>,
) -> L {
    let (ends, back) = (ends(m, z), m.neg());
    let (mut error, mut sum) = (L::zero(), L::zero());
    for i in 0..SUB {
        let x = x[i].sub(z);
        let left = nearest(x, ends).fma(back, x);
        let counted = left.mul(counts[i]);
        error = counted.fma(left, error);
        sum = sum.add(counted);
    }
    best.m = error.select_lt(best.error, m, best.m);
    best.z = error.select_lt(best.error, z, best.z);
    best.error = error.min(best.error);
    sum
}

/// 1 / m, and the least and the largest of -8..=7 that keep m q + z within -127..=127.
#[inline(always)]
fn ends<L: Lanes>(m: L, z: L) -> [L; 3] {
    let inverse = L::splat(1.0).div(m);
    // A quotient of integers, less half of what a remainder can be, rounds down without ties.
    let room = m.fma(L::splat(-0.5), L::splat(V_MAX + 0.5));
    let low = room.add(z).mul(inverse).round().neg();
    let high = room.sub(z).mul(inverse).round();
    [inverse, low.max(L::splat(-8.0)), high.min(L::splat(7.0))]
}

/// The q nearest to x / m among those.
#[inline(always)]
fn nearest<L: Lanes>(x: L, [inverse, low, high]: [L; 3]) -> L {
    x.mul(inverse).round().max(low).min(high)
}

#[inline(always)]
fn within<L: Lanes>(z: L) -> L {
    z.max(L::splat(-V_MAX)).min(L::splat(V_MAX))
}

const _: () = assert!(LANES * 16 == BLOCK);

#[cfg(test)]
mod tests {
    use super::*;

    fn found(isa: Isa, weights: &[f32]) -> Option<(u16, Vec<f32>)> {
        let found = match weights.len() % 2 {
            0 => isa.run(Search::<16>::new(weights)),
            _ => isa.run(Search::<32>::new(weights)),
        };
        let found = found.ok().flatten()?;
        let q = found.q.into_iter().flatten();
        Some((
            found.scale.to_bits(),
            q.chain(found.m).chain(found.z).collect(),
        ))
    }

    #[test]
    fn all_instruction_sets_pack_alike() {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        for columns in [256, 255, 100, 99, 17, 16, 1] {
            for exponent in [-40, -24, -8, 0, 8, 22] {
                let size = 2f32.powi(exponent);
                let weights: Vec<f32> = (0..columns).map(|_| next() * next() * size).collect();
                let expected = found(Isa::Scalar, &weights);
                for isa in Isa::available() {
                    assert_eq!(found(isa, &weights), expected, "{isa}, {columns} columns");
                }
            }
        }
    }
}
