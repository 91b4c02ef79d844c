//! The size of a packed weight, and where things lie in it.
//!
//! Layout: see [`super`], whose formulas these are. Contract: nothing here overflows, because
//! [`PackedShape::new`] bounds the bytes. Measured: not measured; a few integers.

use std::fmt;
use std::str::FromStr;

use super::grouped::Form;
use super::{ALIGN, BLOCK, CHUNK, PackedError, TILE, q4};

/// How the elements of a packed weight are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PackedScheme {
    /// 8 bits, a scale for each row and 256 columns: 8.06 bits per weight.
    Q8,
    /// 4 bits, a multiplier and an offset for each row and sub-block, a scale for each row and 256
    /// columns: 4.81 bits per weight in sub-blocks of 16, 4.44 of 32.
    Q4 {
        /// Columns of a sub-block.
        sub: SubBlock,
    },
    /// What files of other makers have: a scale in f32 for each row and group of columns, and with
    /// it a minimum or none. In groups of 32: 9 bits per weight of 8, 5 of 4, and 1 more with
    /// minima; in groups of 64 half as many beyond those stored, of 128 a quarter.
    Grouped {
        /// Bits of an element.
        bits: GroupBits,
        /// Columns of a group.
        group: GroupColumns,
        /// Whether a minimum is added.
        minimum: bool,
    },
}

/// Bits of an element of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GroupBits {
    /// 0..=15 where there are minima, -8..=7 where there are none.
    Four,
    /// -128..=127.
    Eight,
}

/// Columns that share a scale in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GroupColumns {
    /// 16 columns.
    Of16,
    /// 32 columns.
    Of32,
    /// 64 columns.
    Of64,
    /// 128 columns.
    Of128,
}

impl GroupBits {
    /// Their number.
    pub fn bits(self) -> usize {
        match self {
            GroupBits::Four => 4,
            GroupBits::Eight => 8,
        }
    }
}

impl GroupColumns {
    /// Its columns.
    pub fn columns(self) -> usize {
        match self {
            GroupColumns::Of16 => 16,
            GroupColumns::Of32 => 32,
            GroupColumns::Of64 => 64,
            GroupColumns::Of128 => 128,
        }
    }
}

/// Columns that share a multiplier and an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SubBlock {
    /// 16 columns.
    Of16,
    /// 32 columns.
    Of32,
}

impl SubBlock {
    /// Its columns.
    pub fn columns(self) -> usize {
        match self {
            SubBlock::Of16 => 16,
            SubBlock::Of32 => 32,
        }
    }
}

impl PackedScheme {
    /// Q4 in sub-blocks of 16.
    pub const Q4_16: PackedScheme = PackedScheme::Q4 {
        sub: SubBlock::Of16,
    };
    /// Q4 in sub-blocks of 32.
    pub const Q4_32: PackedScheme = PackedScheme::Q4 {
        sub: SubBlock::Of32,
    };
    /// 8 bits with a scale for each 16 columns, for weights of models whose outputs are compared to
    /// the fourth digit.
    pub const FINE8: PackedScheme = PackedScheme::Grouped {
        bits: GroupBits::Eight,
        group: GroupColumns::Of16,
        minimum: false,
    };
    /// Our own, which weights are packed to, the largest first. The others are for weights that
    /// come packed, but for [`PackedScheme::FINE8`].
    pub const OWN: [PackedScheme; 3] = [PackedScheme::Q8, PackedScheme::Q4_16, PackedScheme::Q4_32];
    /// All of them, our own first.
    pub const ALL: [PackedScheme; 19] = {
        let groups = [
            GroupColumns::Of16,
            GroupColumns::Of32,
            GroupColumns::Of64,
            GroupColumns::Of128,
        ];
        let mut all = [PackedScheme::Q8; 19];
        let mut i = 1;
        while i < 19 {
            all[i] = match i {
                1 | 2 => PackedScheme::OWN[i],
                _ => PackedScheme::Grouped {
                    bits: match i < 11 {
                        true => GroupBits::Eight,
                        false => GroupBits::Four,
                    },
                    group: groups[(i - 3) / 2 % 4],
                    minimum: i % 2 == 0,
                },
            };
            i += 1;
        }
        all
    };

    /// The grouped form that it is.
    #[inline(always)]
    pub(crate) fn grouped(self) -> Option<Form> {
        match self {
            PackedScheme::Grouped {
                bits,
                group,
                minimum,
            } => Some(Form::new(bits, group, minimum)),
            PackedScheme::Q8 | PackedScheme::Q4 { .. } => None,
        }
    }
}

impl fmt::Display for PackedScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            PackedScheme::Q8 => "q8",
            PackedScheme::Q4 {
                sub: SubBlock::Of16,
            } => "q4",
            PackedScheme::Q4 {
                sub: SubBlock::Of32,
            } => "q4_32",
            PackedScheme::Grouped {
                bits,
                group,
                minimum,
            } => {
                let minimum = if *minimum { "m" } else { "" };
                return f.pad(&format!("g{}_{}{minimum}", bits.bits(), group.columns()));
            }
        })
    }
}

/// A name that is no packed scheme of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown packed scheme {0:?}, expected q8, q4, q4_32 or one like g8_32 or g4_64m")]
pub struct ParsePackedSchemeError(String);

impl FromStr for PackedScheme {
    type Err = ParsePackedSchemeError;

    fn from_str(name: &str) -> Result<PackedScheme, ParsePackedSchemeError> {
        let known = PackedScheme::ALL
            .into_iter()
            .find(|s| s.to_string() == name);
        known.ok_or_else(|| ParsePackedSchemeError(name.to_owned()))
    }
}

/// The size of a packed weight, and where things lie in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedShape {
    scheme: PackedScheme,
    rows: usize,
    columns: usize,
    segment: usize,
}

impl PackedShape {
    /// A weight `[rows, columns]` (`rows` outputs, `columns` inputs) in segments of `segment` rows:
    /// `rows` itself where the weight is one matrix.
    ///
    /// # Errors
    /// [`PackedError::Shape`] without columns, or where the bytes exceed `isize::MAX`;
    /// [`PackedError::Segment`] where `segment` is 0 or does not divide `rows`.
    pub fn new(
        scheme: PackedScheme,
        rows: usize,
        columns: usize,
        segment: usize,
    ) -> Result<PackedShape, PackedError> {
        // `0.is_multiple_of(0)`: no rows in segments of none are still an error.
        if segment == 0 || !rows.is_multiple_of(segment) {
            return Err(PackedError::Segment { rows, segment });
        }
        // A tile's scales take no more than its values, and no element more than a byte; so four times
        // the elements bound everything.
        let bound = segment
            .checked_next_multiple_of(TILE)
            .and_then(|padded| padded.checked_mul((rows / segment).max(1)))
            .zip(columns.checked_next_multiple_of(BLOCK))
            .and_then(|(rows, columns)| rows.checked_mul(columns)?.checked_mul(4));
        match bound {
            Some(bound) if columns > 0 && isize::try_from(bound).is_ok() => Ok(PackedShape {
                scheme,
                rows,
                columns,
                segment,
            }),
            _ => Err(PackedError::Shape { rows, columns }),
        }
    }

    /// How the elements are stored.
    pub fn scheme(&self) -> PackedScheme {
        self.scheme
    }

    /// Rows, the output size.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns, the input size.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Rows of a segment.
    pub fn segment(&self) -> usize {
        self.segment
    }

    /// Segments.
    pub fn segments(&self) -> usize {
        self.rows / self.segment
    }

    /// The same with other rows, which are whole segments.
    pub(crate) fn with_segments(self, segments: usize) -> PackedShape {
        PackedShape {
            rows: segments * self.segment,
            ..self
        }
    }

    /// Columns rounded up to a multiple of 64.
    pub fn padded_columns(&self) -> usize {
        self.columns.next_multiple_of(CHUNK)
    }

    /// Blocks of up to 256 columns.
    pub fn blocks(&self) -> usize {
        self.columns.div_ceil(BLOCK)
    }

    /// Tiles of 16 rows of a segment, the last one filled up.
    pub fn segment_tiles(&self) -> usize {
        self.segment.div_ceil(TILE)
    }

    /// Tiles of all segments.
    pub fn tiles(&self) -> usize {
        self.segments() * self.segment_tiles()
    }

    /// Bytes of a tile's scales (and minima), and so the offset of its values inside the tile.
    pub fn scales_bytes(&self) -> usize {
        match self.scheme.grouped() {
            Some(form) => form.front_bytes(self.columns),
            None => (self.blocks() * TILE * 2).next_multiple_of(ALIGN),
        }
    }

    /// Bytes of a tile: tile n begins at n times as many.
    pub fn tile_bytes(&self) -> usize {
        self.scales_bytes()
            + match self.scheme {
                PackedScheme::Q8 => TILE * self.padded_columns(),
                PackedScheme::Q4 { sub } => {
                    let full = self.padded_columns() / BLOCK;
                    let last = self.padded_columns() % BLOCK;
                    full * q4::block_bytes(sub, BLOCK) + q4::block_bytes(sub, last)
                }
                PackedScheme::Grouped { bits, .. } => bits.bits() * 2 * self.padded_columns(),
            }
    }

    /// Bytes of a segment: segment n begins at n times as many.
    pub fn segment_bytes(&self) -> usize {
        self.segment_tiles() * self.tile_bytes()
    }

    /// Bytes of the whole weight.
    pub fn bytes(&self) -> usize {
        self.tiles() * self.tile_bytes()
    }

    /// The tile of `row`, and the row's number in it.
    pub(crate) fn place(&self, row: usize) -> (usize, usize) {
        let (segment, inside) = (row / self.segment, row % self.segment);
        let tile = segment * self.segment_tiles() + inside / TILE;
        (tile, inside % TILE)
    }

    /// Columns of block `block`, the filled up ones included: a multiple of 64, at most 256.
    pub(crate) fn block_width(&self, block: usize) -> usize {
        (self.padded_columns() - block * BLOCK).min(BLOCK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for scheme in PackedScheme::ALL {
            assert_eq!(scheme.to_string().parse(), Ok(scheme));
        }
        assert!("q2".parse::<PackedScheme>().is_err());
        let name = "g4_64m".parse();
        let expected = PackedScheme::Grouped {
            bits: GroupBits::Four,
            group: GroupColumns::Of64,
            minimum: true,
        };
        assert_eq!(name, Ok(expected));
    }

    #[test]
    fn all_schemes_differ() {
        let names: std::collections::BTreeSet<String> =
            PackedScheme::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(names.len(), PackedScheme::ALL.len());
    }
}
