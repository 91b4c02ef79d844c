//! From f32 weights to 8 bits and back.
//!
//! Layout: see [`super::super`].
//! Contract: per row and block one scale S, an f16, and q = round(w (1 / S)) to nearest even,
//! computed in f32. Of the f16 numbers S that give the largest |w| the value 127, the one with the
//! smallest squared error is taken, the smaller S where two are equal. Where there is none (only
//! far below f16's normal numbers, where they lie wide apart) it is the smallest S that makes no q
//! exceed 127, taken again of the result until nothing changes. A block whose q are all 0 has S =
//! 0. So packing what was unpacked gives the same bytes, and no bit depends on the machine.
//! Measured: AMD EPYC (Zen 5, family 26 model 2), one thread (`examples/rates.rs`): 3.7 ms for
//! 1,024 x 1,024.

use half::f16;

use super::{Unfit, magnitude, put_scale, rounded};
use crate::packed::{BLOCK, PackedShape, TILE, view};

/// The largest |q|.
const Q_MAX: f32 = 127.0;

/// Offset inside a tile of the value of row `lane` and `column`.
fn offset(shape: PackedShape, lane: usize, column: usize) -> usize {
    shape.scales_bytes() + column / 4 * 4 * TILE + lane * 4 + column % 4
}

/// Writes block `block` of row `lane` into `tile`; `weights` has its columns.
pub(super) fn pack_block(
    weights: &[f32],
    shape: PackedShape,
    tile: &mut [u8],
    lane: usize,
    block: usize,
) -> Result<(), Unfit> {
    let (mut q, mut filled) = ([0.0; BLOCK], [0.0; BLOCK]);
    filled[..weights.len()].copy_from_slice(weights);
    let scale = scale_of(&filled, &mut q)?;
    put_scale(tile, lane, block, scale);
    for (i, q) in q[..weights.len()].iter().enumerate() {
        tile[offset(shape, lane, block * BLOCK + i)] = *q as i8 as u8;
    }
    Ok(())
}

/// The values of block `block` of row `lane` of `tile`, as many as `out` has room for.
pub(super) fn unpack_block(
    tile: &[u8],
    shape: PackedShape,
    lane: usize,
    block: usize,
    out: &mut [f32],
) {
    let scale = view::scale(tile, lane, block);
    for (i, out) in out.iter_mut().enumerate() {
        let q = tile[offset(shape, lane, block * BLOCK + i)] as i8;
        *out = scale * f32::from(q);
    }
}

/// The scale of one block and, in `q`, its integers as floats.
fn scale_of(weights: &[f32; BLOCK], q: &mut [f32; BLOCK]) -> Result<f16, Unfit> {
    let most = magnitude(weights);
    let first = first_fit(most)?;
    let mut best: Option<(f32, f16)> = None;
    for bits in first.to_bits()..f16::INFINITY.to_bits() {
        let scale = f16::from_bits(bits);
        if rounded(most * inverse(scale)) < Q_MAX {
            break;
        }
        let error = squared_error(weights, scale);
        if best.is_none_or(|(least, _)| error < least) {
            best = Some((error, scale));
        }
    }
    let scale = best.map_or(first, |(_, scale)| scale);
    quantise(weights, scale, q);
    if q.iter().all(|&q| q == 0.0) {
        return Ok(f16::ZERO);
    }
    if best.is_none() {
        let again = q.map(|q| q * scale.to_f32());
        if first_fit(magnitude(&again))? != scale {
            return scale_of(&again, q);
        }
    }
    Ok(scale)
}

/// The smallest f16 above 0 that makes no q exceed 127.
fn first_fit(most: f32) -> Result<f16, Unfit> {
    // Too small by some steps, for a start: rounding may go either way.
    let start = f16::from_f32(most / (Q_MAX + 0.5)).to_bits();
    (start.saturating_sub(2).max(1)..f16::INFINITY.to_bits())
        .map(f16::from_bits)
        .find(|&scale| rounded(most * inverse(scale)) <= Q_MAX)
        .ok_or(Unfit(most))
}

fn inverse(scale: f16) -> f32 {
    1.0 / scale.to_f32()
}

fn quantise(weights: &[f32; BLOCK], scale: f16, q: &mut [f32; BLOCK]) {
    let inverse = inverse(scale);
    for (q, w) in q.iter_mut().zip(weights) {
        *q = rounded(w * inverse);
    }
}

/// In 16 lanes, then in order: an order that vector units can follow.
fn squared_error(weights: &[f32; BLOCK], scale: f16) -> f32 {
    let (inverse, scale) = (inverse(scale), scale.to_f32());
    let mut sums = [0.0f32; TILE];
    for weights in weights.chunks_exact(TILE) {
        for (sum, w) in sums.iter_mut().zip(weights) {
            let error = w - rounded(w * inverse) * scale;
            *sum += error * error;
        }
    }
    sums.iter().sum()
}
