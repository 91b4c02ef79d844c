//! From f32 weights to their packed form and back.
//!
//! Layout: see [`super`]. Weights are row-major `[rows, columns]`.
//! Contract: a row's blocks are packed each on its own, by its scheme's rule, in plain f32 in a
//! fixed order: no bit depends on the machine or on the rows beside it. Unpacked values are exact.
//! Measured: see the schemes.

mod grouped;
mod q4;
mod q8;

use half::f16;

pub use grouped::pack_grouped;

use super::grouped::Form;
use super::{BLOCK, Packed, PackedScheme, PackedShape, TILE};
use crate::isa::Isa;

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
    /// A weight too large for any scale.
    #[error("row {row} of the weight has {value}, too large for a scale")]
    TooLarge {
        /// The row, from 0.
        row: usize,
        /// The largest magnitude of the block.
        value: f32,
    },
    /// Groups with or without minima for a scheme that has none of these.
    #[error("{scheme} holds no groups {}", company(.minima))]
    Groups {
        /// What they should be stored as.
        scheme: PackedScheme,
        /// Whether they have minima.
        minima: bool,
    },
    /// An integer that is none of 4 bits.
    #[error("row {row}, column {column} of the weight is the integer {value}, none of 4 bits")]
    Quant {
        /// The row, from 0.
        row: usize,
        /// The column, from 0.
        column: usize,
        /// What stands there.
        value: i8,
    },
}

/// Packs `weights` (`[rows, columns]`, row-major) into `out`, of `shape.bytes()` bytes. Segments,
/// and pieces of 16 rows of one, may be packed on their own, one behind the other. On an error
/// `out` is partly written.
///
/// # Errors
/// [`PackError`]: a wrong length, or a row that has no packed form.
pub fn pack(weights: &[f32], shape: PackedShape, out: &mut [u8]) -> Result<(), PackError> {
    let (rows, columns) = (shape.rows(), shape.columns());
    check("the values", shape, rows * columns, weights.len())?;
    check("the packed form", shape, shape.bytes(), out.len())?;
    out.fill(0);
    let isa = Isa::detect();
    for (row, weights) in weights.chunks_exact(columns).enumerate() {
        let (tile, lane) = shape.place(row);
        let tile = &mut out[tile * shape.tile_bytes()..(tile + 1) * shape.tile_bytes()];
        for (block, weights) in weights.chunks(BLOCK).enumerate() {
            if let Some(i) = weights.iter().position(|w| !w.is_finite()) {
                return Err(PackError::NonFinite {
                    row,
                    column: block * BLOCK + i,
                    value: weights[i],
                });
            }
            match shape.scheme() {
                PackedScheme::Q8 => q8::pack_block(weights, shape, tile, lane, block),
                PackedScheme::Q4 { sub } => {
                    q4::pack_block(isa, weights, (shape, sub), tile, (lane, block))
                }
                PackedScheme::Grouped {
                    bits,
                    group,
                    minimum,
                } => {
                    let form = Form::new(bits, group, minimum);
                    grouped::pack_block(weights, (shape, form), tile, (lane, block))
                }
            }
            .map_err(|Unfit(value)| PackError::TooLarge { row, value })?;
        }
    }
    Ok(())
}

/// The weights that `packed` stands for, exactly: `[rows, columns]`, row-major, into `out`.
///
/// # Panics
/// On a wrong length of `out`.
pub fn unpack(packed: Packed<'_>, out: &mut [f32]) {
    let (rows, columns) = (packed.rows(), packed.columns());
    assert_eq!(out.len(), rows * columns, "values [{rows}, {columns}]");
    for (row, out) in out.chunks_exact_mut(columns).enumerate() {
        unpack_row(packed, row, out);
    }
}

/// The values of row `row` of `packed`.
pub(super) fn unpack_row(packed: Packed<'_>, row: usize, out: &mut [f32]) {
    let (shape, (tile, lane)) = (packed.shape(), packed.tile_of(row));
    for (block, out) in out.chunks_mut(BLOCK).enumerate() {
        match shape.scheme() {
            PackedScheme::Q8 => q8::unpack_block(tile.bytes, shape, lane, block, out),
            PackedScheme::Q4 { sub } => {
                q4::unpack_block(tile.bytes, (shape, sub), (lane, block), out);
            }
            PackedScheme::Grouped {
                bits,
                group,
                minimum,
            } => {
                let form = Form::new(bits, group, minimum);
                grouped::unpack_block(tile.bytes, (shape, form), (lane, block), out);
            }
        }
    }
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

fn company(minima: &bool) -> &'static str {
    match minima {
        true => "with minima",
        false => "without minima",
    }
}

/// A block whose largest magnitude is this has no scale.
struct Unfit(f32);

/// Writes the scale of row `lane` and block `block` of `tile`.
fn put_scale(tile: &mut [u8], lane: usize, block: usize, scale: f16) {
    let at = block * TILE * 2 + lane * 2;
    tile[at..at + 2].copy_from_slice(&scale.to_le_bytes());
}

fn magnitude(weights: &[f32; BLOCK]) -> f32 {
    weights.iter().fold(0.0, |most, w| most.max(w.abs()))
}

/// To the nearest integer, ties to even, for |x| < 2^22; larger ones stay as large.
fn rounded(x: f32) -> f32 {
    // Numbers about 1.5 * 2^23 have no fraction: the addition rounds, on any processor.
    const SHIFT: f32 = 12_582_912.0;
    (x + SHIFT) - SHIFT
}
