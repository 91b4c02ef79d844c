//! Weights packed to few bits, and the integer products that read them.
//!
//! In: weights of f32, once, for [`pack()`], and input rows of f32. Out: [`Packed`], a checked view of
//! the bytes, and the products of [`linear_packed`]. It does not know: files, names, models.
//!
//! Layout, which files store and map: the rows of a weight `[rows, columns]` come in *segments* of
//! `segment` rows, one behind the other, so that a segment is a matrix on its own. A segment is a
//! row of *tiles* of 16 rows, the last one filled up with zero rows. Columns are cut into *blocks*
//! of 256, the last one shorter and filled up to a multiple of 64:
//!
//! ```text
//! padded        = columns rounded up to a multiple of 64
//! blocks        = columns / 256, rounded up; block b has min(256, padded - 256 b) columns
//! scales_bytes  = 32 blocks rounded up to a multiple of 64
//! tile_bytes    = scales_bytes + values_bytes, the latter by scheme
//! segment_bytes = tile_bytes * (segment / 16, rounded up)
//! bytes         = segment_bytes * (rows / segment)
//!
//! tile of row r:                  t = r / segment * segment_bytes + r % segment / 16 * tile_bytes
//! lane of row r:                  l = r % segment % 16
//! scale of (row r, block b), f16, little-endian:  t + 32 b + 2 l
//!
//! q8: values_bytes = 16 padded
//!     int8 of (row r, column i):  t + scales_bytes + i / 4 * 64 + 4 l + i % 4
//! ```
//!
//! So every 64 bytes hold 4 columns of 16 rows: the operand of `vpdpbusd`, of NEON's `sdot`, and a
//! row of an AMX tile. The bytes begin on a multiple of 64, and then so do every tile and all of
//! its values; bytes between a tile's last scale and its first value are zero. A tile's scales
//! stand in front of its values, so that one pass through memory in order reads a weight. The bytes
//! of a segment are those of its pieces of 16 rows (or a multiple), one after the other.
//!
//! Contract: the value of an element is `f32(scale) * q`, which is exact. Values of q are
//! -127..=127 where [`pack()`] wrote them; the products are right for -128 too.
//! Measured: see [`linear_packed`]'s file.

mod activations;
mod dots;
mod embed;
mod int_isa;
mod linear;
mod pack;
mod product;
mod shape;
mod view;

pub use activations::{Activations, quantise_rows, quantise_select};
pub use embed::embed_packed;
pub use int_isa::{IntIsa, ParseIntIsaError};
pub use linear::{linear_packed, linear_packed_quantised};
pub use pack::{PackError, pack, unpack};
pub use shape::{PackedScheme, PackedShape, ParsePackedSchemeError};
pub use view::Packed;

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
    /// Segments that do not make up the rows.
    #[error("{rows} rows of a packed weight are no whole segments of {segment}")]
    Segment {
        /// Rows asked for.
        rows: usize,
        /// Rows of a segment.
        segment: usize,
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
