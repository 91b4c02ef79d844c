//! Weights packed for integer products: Q8, signed bytes with one f16 scale per row and block.
//!
//! In: bytes of a file or of [`pack_q8`], and input rows of f32. Out: [`PackedQ8`], a checked view
//! of the bytes, and the products of [`linear_q8`]. It does not know: files, names, models.
//!
//! Layout, which files store and map: a weight `[rows, columns]` is a row of *tiles* of 16 rows,
//! the last one filled up with zero rows. Columns are cut into *blocks* of 256, the last one
//! shorter and filled up with zeros to a multiple of 64:
//!
//! ```text
//! padded       = columns rounded up to a multiple of 64
//! blocks       = columns / 256, rounded up; block b has min(256, padded - 256 b) columns
//! scales_bytes = 32 blocks rounded up to a multiple of 64
//! tile_bytes   = scales_bytes + 16 padded
//! bytes        = tile_bytes * (rows / 16, rounded up)
//!
//! scale of (row r, block b), f16, little-endian:  r / 16 * tile_bytes + 32 b + 2 (r % 16)
//! int8 of (row r, column i): r / 16 * tile_bytes + scales_bytes + i / 4 * 64 + r % 16 * 4 + i % 4
//! ```
//!
//! So every 64 bytes hold 4 columns of 16 rows: the operand of `vpdpbusd`, of NEON's `sdot`, and a
//! row of an AMX tile. The bytes begin on a multiple of 64, and then so do every tile and all of
//! its values; bytes between a tile's last scale and its first value are zero. A tile's scales
//! stand in front of its values, so that one pass through memory in order reads a weight. The bytes
//! of a weight are those of its pieces of 16 rows (or a multiple), one after the other.
//!
//! Contract: the value of an element is `f32(scale) * q`, which is exact. Values of q are
//! -127..=127 where [`pack_q8`] wrote them; the products are right for -128 too.
//! Measured: see [`linear_q8`]'s file.

mod activations;
mod dots;
mod int_isa;
mod linear;
mod pack;

pub use activations::{Activations, quantise_rows, quantise_select};
pub use int_isa::{IntIsa, ParseIntIsaError};
pub use linear::{linear_q8, linear_q8_quantised};
pub use pack::{PackError, pack_q8, unpack_q8};

/// Columns of a block: what one scale covers.
pub(crate) const BLOCK: usize = 256;
/// Columns that a block is filled up to a multiple of.
pub(crate) const CHUNK: usize = 64;
/// Rows of a tile.
pub(crate) const TILE: usize = 16;
/// What the bytes of a weight are aligned to.
pub(crate) const ALIGN: usize = 64;

/// Why bytes are no packed weight.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PackedError {
    /// No columns, or more bytes than memory can hold.
    #[error("a packed weight cannot have the shape [{rows}, {columns}]")]
    Shape {
        /// Rows asked for.
        rows: usize,
        /// Columns asked for.
        columns: usize,
    },
    /// Too few or too many bytes.
    #[error("a packed weight [{rows}, {columns}] has {expected} bytes, found {found}")]
    Length {
        /// Rows of the shape.
        rows: usize,
        /// Columns of the shape.
        columns: usize,
        /// Bytes the shape asks for.
        expected: usize,
        /// Bytes there are.
        found: usize,
    },
    /// The bytes do not begin on a multiple of 64.
    #[error(
        "a packed weight begins on a multiple of {ALIGN} bytes, found {found} bytes beyond one"
    )]
    Alignment {
        /// Bytes beyond the last multiple.
        found: usize,
    },
}

/// The size of a packed weight, and where things lie in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedShape {
    rows: usize,
    columns: usize,
}

impl PackedShape {
    /// A weight `[rows, columns]`: `rows` outputs, `columns` inputs.
    ///
    /// # Errors
    /// [`PackedError::Shape`] without columns, or where the bytes exceed `isize::MAX`.
    pub fn new(rows: usize, columns: usize) -> Result<PackedShape, PackedError> {
        let error = PackedError::Shape { rows, columns };
        // A tile's scales take less than its values; so four times the elements bound everything.
        let bound = rows
            .checked_next_multiple_of(TILE)
            .zip(columns.checked_next_multiple_of(BLOCK))
            .and_then(|(rows, columns)| rows.max(TILE).checked_mul(columns)?.checked_mul(4));
        match bound {
            Some(bound) if columns > 0 && isize::try_from(bound).is_ok() => {
                Ok(PackedShape { rows, columns })
            }
            _ => Err(error),
        }
    }

    /// Rows, the output size.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns, the input size.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Columns rounded up to a multiple of 64.
    pub fn padded_columns(&self) -> usize {
        self.columns.next_multiple_of(CHUNK)
    }

    /// Blocks of up to 256 columns.
    pub fn blocks(&self) -> usize {
        self.columns.div_ceil(BLOCK)
    }

    /// Tiles of 16 rows, the last one filled up.
    pub fn tiles(&self) -> usize {
        self.rows.div_ceil(TILE)
    }

    /// Bytes of a tile's scales, and so the offset of its values inside the tile.
    pub fn scales_bytes(&self) -> usize {
        (self.blocks() * TILE * 2).next_multiple_of(ALIGN)
    }

    /// Bytes of a tile: tile n begins at n times as many.
    pub fn tile_bytes(&self) -> usize {
        self.scales_bytes() + TILE * self.padded_columns()
    }

    /// Bytes of the whole weight.
    pub fn bytes(&self) -> usize {
        self.tiles() * self.tile_bytes()
    }

    /// Offset of the scale of `row` and block `block`, two bytes.
    pub fn scale_offset(&self, row: usize, block: usize) -> usize {
        row / TILE * self.tile_bytes() + block * TILE * 2 + row % TILE * 2
    }

    /// Offset of the value of `row` and `column`, one byte.
    pub fn value_offset(&self, row: usize, column: usize) -> usize {
        let tile = row / TILE * self.tile_bytes() + self.scales_bytes();
        tile + column / 4 * 4 * TILE + row % TILE * 4 + column % 4
    }

    /// Columns of block `block`, the filled up ones included: a multiple of 64, at most 256.
    pub(crate) fn block_width(&self, block: usize) -> usize {
        (self.padded_columns() - block * BLOCK).min(BLOCK)
    }
}

/// A packed weight of 8 bits, borrowed from where it is stored.
#[derive(Debug, Clone, Copy)]
pub struct PackedQ8<'a> {
    bytes: &'a [u8],
    shape: PackedShape,
}

impl<'a> PackedQ8<'a> {
    /// The weight of `shape` that `bytes` hold. The scales are not looked at: one that is no finite
    /// number makes its row of the outputs NaN or infinite.
    ///
    /// # Errors
    /// [`PackedError::Length`] and [`PackedError::Alignment`].
    pub fn new(bytes: &'a [u8], shape: PackedShape) -> Result<PackedQ8<'a>, PackedError> {
        if bytes.len() != shape.bytes() {
            return Err(PackedError::Length {
                rows: shape.rows,
                columns: shape.columns,
                expected: shape.bytes(),
                found: bytes.len(),
            });
        }
        let beyond = bytes.as_ptr() as usize % ALIGN;
        if beyond != 0 && !bytes.is_empty() {
            return Err(PackedError::Alignment { found: beyond });
        }
        Ok(PackedQ8 { bytes, shape })
    }

    /// The bytes, as stored.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The shape.
    pub fn shape(&self) -> PackedShape {
        self.shape
    }
}
