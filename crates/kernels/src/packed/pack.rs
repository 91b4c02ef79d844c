//! From f32 weights to packed Q8 and back.
//!
//! Layout: see [`super`]. Weights are row-major `[rows, columns]`.
//! Contract: per row and block one scale S, an f16, and q = round(w (1 / S)) to nearest even,
//! computed in f32. Of the f16 numbers S that give the largest |w| the value 127, the one with the
//! smallest squared error is taken, the smaller S where two are equal. Where there is none (only
//! far below f16's normal numbers, where they lie wide apart) it is the smallest S that makes no q
//! exceed 127, taken again of the result until nothing changes. A block whose q are all 0 has S =
//! 0. So packing what was unpacked gives the same bytes, and no bit depends on the machine.
//! Measured: AMD EPYC (Zen 5, family 26 model 2), one thread (`examples/rates.rs`): 3.7 ms for
//! 1,024 x 1,024.

use half::f16;

use super::{BLOCK, CHUNK, PackedQ8, PackedShape, TILE};

/// The largest |q|.
const Q_MAX: f32 = 127.0;

/// Why weights cannot be packed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// Weights or output have the wrong length.
    #[error("{what} of a weight [{rows}, {columns}] has {expected} elements, found {found}")]
    Length {
        /// Which slice.
        what: &'static str,
        /// Rows of the shape.
        rows: usize,
        /// Columns of the shape.
        columns: usize,
        /// Elements the shape asks for.
        expected: usize,
        /// Elements there are.
        found: usize,
    },
    /// A NaN or an infinity.
    #[error("row {row}, column {column} of the weight is {value}")]
    NonFinite {
        /// The row, from 0.
        row: usize,
        /// The column, from 0.
        column: usize,
        /// What stands there.
        value: f32,
    },
    /// A weight too large for any f16 scale.
    #[error("row {row} of the weight has {value}, too large for a scale in f16")]
    TooLarge {
        /// The row, from 0.
        row: usize,
        /// The largest magnitude of the block.
        value: f32,
    },
}

/// Packs `weights` (`[rows, columns]`, row-major) into `out`, of `shape.bytes()` bytes. Pieces of
/// 16 rows may be packed on their own, one behind the other. On an error `out` is partly written.
///
/// # Errors
/// [`PackError`]: a wrong length, or a row that has no packed form.
pub fn pack_q8(weights: &[f32], shape: PackedShape, out: &mut [u8]) -> Result<(), PackError> {
    let (rows, columns) = (shape.rows(), shape.columns());
    check("the values", shape, rows * columns, weights.len())?;
    check("the packed form", shape, shape.bytes(), out.len())?;
    out.fill(0);
    for (row, weights) in weights.chunks_exact(columns).enumerate() {
        for (block, weights) in weights.chunks(BLOCK).enumerate() {
            let mut q = [0.0; BLOCK];
            let mut filled = [0.0; BLOCK];
            filled[..weights.len()].copy_from_slice(weights);
            let scale = scale_of(&filled, &mut q).map_err(|error| match error {
                Unfit::NonFinite(i) => PackError::NonFinite {
                    row,
                    column: block * BLOCK + i,
                    value: weights[i],
                },
                Unfit::TooLarge(value) => PackError::TooLarge { row, value },
            })?;
            let at = shape.scale_offset(row, block);
            out[at..at + 2].copy_from_slice(&scale.to_le_bytes());
            for (i, q) in q[..weights.len()].iter().enumerate() {
                out[shape.value_offset(row, block * BLOCK + i)] = *q as i8 as u8;
            }
        }
    }
    Ok(())
}

/// The weights that `packed` stands for, exactly: `[rows, columns]`, row-major, into `out`.
///
/// # Errors
/// [`PackError::Length`].
pub fn unpack_q8(packed: PackedQ8<'_>, out: &mut [f32]) -> Result<(), PackError> {
    let (shape, bytes) = (packed.shape(), packed.bytes());
    let (rows, columns) = (shape.rows(), shape.columns());
    check("the values", shape, rows * columns, out.len())?;
    for (row, out) in out.chunks_exact_mut(columns).enumerate() {
        for (block, out) in out.chunks_mut(BLOCK).enumerate() {
            let at = shape.scale_offset(row, block);
            let scale = f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32();
            for (i, out) in out.iter_mut().enumerate() {
                let q = bytes[shape.value_offset(row, block * BLOCK + i)] as i8;
                *out = scale * f32::from(q);
            }
        }
    }
    Ok(())
}

fn check(
    what: &'static str,
    shape: PackedShape,
    expected: usize,
    found: usize,
) -> Result<(), PackError> {
    if expected == found {
        return Ok(());
    }
    Err(PackError::Length {
        what,
        rows: shape.rows(),
        columns: shape.columns(),
        expected,
        found,
    })
}

/// Why a block has no scale.
enum Unfit {
    /// The element at this index.
    NonFinite(usize),
    /// The largest magnitude.
    TooLarge(f32),
}

/// The scale of one block and, in `q`, its integers as floats.
fn scale_of(weights: &[f32; BLOCK], q: &mut [f32; BLOCK]) -> Result<f16, Unfit> {
    if let Some(i) = weights.iter().position(|w| !w.is_finite()) {
        return Err(Unfit::NonFinite(i));
    }
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
        .ok_or(Unfit::TooLarge(most))
}

fn magnitude(weights: &[f32; BLOCK]) -> f32 {
    weights.iter().fold(0.0, |most, w| most.max(w.abs()))
}

fn inverse(scale: f16) -> f32 {
    1.0 / scale.to_f32()
}

/// To the nearest integer, ties to even, for |x| < 2^22; larger ones stay as large.
fn rounded(x: f32) -> f32 {
    // Numbers about 1.5 * 2^23 have no fraction: the addition rounds, on any processor.
    const SHIFT: f32 = 12_582_912.0;
    (x + SHIFT) - SHIFT
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

const _: () = assert!(BLOCK.is_multiple_of(TILE) && BLOCK.is_multiple_of(CHUNK));
