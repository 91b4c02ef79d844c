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
//!
//! q4: values_bytes = the sum of block_bytes(columns of b) over all blocks b, where
//!     block_bytes(w) = 24 w / sub + 8 w, rounded up to a multiple of 64; sub = 16 or 32
//!     with b = i / 256, c = i % 256, w = columns of b, j = c / sub:
//!     block:                      k = t + scales_bytes + b * block_bytes(256)
//!     z of (row r, j), int8:      k + 16 j + l
//!     m of (row r, j), 4 bits:    k + 16 w / sub + j / 2 * 16 + l, low half of the byte for even j
//!     q of (row r, i), 4 bits:    k + 24 w / sub + c / 8 * 64 + 4 l + c % 4, low half if c % 8 < 4
//!
//! grouped (g8_32, g4_64m and so on: bits, columns of a group, m with minima):
//!     scales_bytes = 64 groups, with minima 128 groups; groups = columns / group, rounded up
//!     values_bytes = 2 bits padded
//!     with g = i / group, n = 2 with minima, else 1:
//!     scale of (row r, g), f32:   t + 64 n g + 4 l, little-endian
//!     minimum of (row r, g), f32: t + 64 n g + 64 + 4 l, little-endian
//!     int8 of (row r, i):         t + scales_bytes + i / 4 * 64 + 4 l + i % 4
//!     q of (row r, i), 4 bits:    t + scales_bytes + i / 8 * 64 + 4 l + i % 4, low half if i % 8 < 4
//! ```
//!
//! So every 64 bytes hold 4 columns of 16 rows (of q4: 4 in the low halves and 4 in the high ones):
//! the operand of `vpdpbusd`, of NEON's `sdot`, with another of its `smmla`, and a row of an AMX
//! tile. The bytes begin on a multiple of 64, and then so do every tile and all of
//! its values; bytes between a tile's last scale and its first value are zero. A tile's scales
//! stand in front of its values, so that one pass through memory in order reads a weight. The bytes
//! of a segment are those of its pieces of 16 rows (or a multiple), one after the other.
//!
//! Contract: the value of an element is `f32(scale) * v`, which is exact. v is the int8 of q8, and m
//! (q - 8) + z of q4, so that z is the value at q = 8. Where [`pack()`] wrote them, v is -127..=127;
//! products are right for -128 too. So q4 expands to q8, and all products are defined on int8. What
//! fills up columns has v = 0 (q8) or any (q4): it meets input of zeros. Of grouped weights it is
//! `scale * v`, or `scale * v + minimum` rounded once; v is the int8, or q of 4 bits with minima, or
//! q - 8 without; see [`grouped`].
//! Measured: see [`linear_packed`]'s file.

mod activations;
#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod amx_gate;
#[cfg(target_arch = "x86_64")]
mod amx_linear;
mod dots;
mod embed;
mod expand;
mod gate;
mod grouped;
mod int_isa;
mod linear;
mod pack;
mod product;
mod q4;
mod round;
mod shape;
mod view;

pub(crate) use dots::Dots;
pub(crate) use expand::Expand;
pub(crate) use int_isa::IntBody;

pub use activations::Activations;
pub use embed::embed_packed;
pub use gate::{fuses_gate, gate_packed};
pub use int_isa::{IntIsa, ParseIntIsaError};
pub use linear::{linear_packed, linear_packed_quantised};
pub use pack::{PackError, pack, pack_grouped, unpack};
pub use round::{quantise_glu, quantise_norm, quantise_rows, quantise_select};
pub use shape::{
    GroupBits, GroupColumns, PackedScheme, PackedShape, ParsePackedSchemeError, SubBlock,
};
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
