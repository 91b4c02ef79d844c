//! A packed weight, borrowed from where it is stored.
//!
//! Layout: see [`super`]. Contract: a view is whole segments, in the order they are stored, and so
//! whole tiles; all offsets inside a tile are the shape's. Measured: not measured; it computes
//! addresses.

use std::ops::Range;

use half::f16;

use super::{ALIGN, PackedError, PackedShape, TILE};
use crate::dense::Rows;

/// A matrix of packed bytes: all of their segments, or every so many of them.
#[derive(Debug, Clone, Copy)]
pub struct Packed<'a> {
    bytes: &'a [u8],
    shape: PackedShape,
    /// Segment i of the matrix is the stored one that `pattern` says of `first + i`.
    pattern: Rows,
    first: usize,
    segments: usize,
}

/// A tile of a matrix.
#[derive(Debug, Clone)]
pub(crate) struct Tile<'a> {
    /// Its scales and values.
    pub(crate) bytes: &'a [u8],
    /// The rows of the matrix it has, at most 16.
    pub(crate) rows: Range<usize>,
}

impl<'a> Packed<'a> {
    /// The weight of `shape` that `bytes` hold. The scales are not looked at: one that is no finite
    /// number makes its row of the outputs NaN or infinite.
    ///
    /// # Errors
    /// [`PackedError::Length`] and [`PackedError::Alignment`].
    pub fn new(bytes: &'a [u8], shape: PackedShape) -> Result<Packed<'a>, PackedError> {
        if bytes.len() != shape.bytes() {
            return Err(PackedError::Length {
                rows: shape.rows(),
                columns: shape.columns(),
                expected: shape.bytes(),
                found: bytes.len(),
            });
        }
        let beyond = bytes.as_ptr() as usize % ALIGN;
        if beyond != 0 && !bytes.is_empty() {
            return Err(PackedError::Alignment { found: beyond });
        }
        Ok(Packed::whole(bytes, shape))
    }

    fn whole(bytes: &'a [u8], shape: PackedShape) -> Packed<'a> {
        let segments = shape.segments();
        let pattern = Rows {
            period: segments.max(1),
            start: 0,
            take: segments.max(1),
        };
        Packed {
            bytes,
            shape,
            pattern,
            first: 0,
            segments,
        }
    }

    /// The matrix that `rows` takes out of this one, as [`crate::Dense::parts`] does: of every
    /// `period` rows the `take` rows from `start` on.
    ///
    /// # Panics
    /// If one of the three is no whole number of segments, the rows are no whole number of periods,
    /// or this matrix is itself such a part.
    #[must_use]
    pub fn parts(self, rows: Rows) -> Packed<'a> {
        let Rows {
            period,
            start,
            take,
        } = rows;
        let segment = self.shape.segment();
        assert!(
            take > 0 && start + take <= period,
            "rows {start}.. of {take} in {period}"
        );
        assert!(
            [period, start, take]
                .iter()
                .all(|n| n.is_multiple_of(segment)),
            "rows {start}.. of {take} in {period} are no whole segments of {segment}"
        );
        assert!(
            self.is_whole() && self.rows().is_multiple_of(period),
            "{} rows in periods of {period}",
            self.rows()
        );
        let pattern = Rows {
            period: period / segment,
            start: start / segment,
            take: take / segment,
        };
        Packed {
            pattern,
            segments: self.segments / pattern.period * pattern.take,
            ..self
        }
    }

    /// The matrix of its rows `rows`: one matrix of a stack.
    ///
    /// # Panics
    /// If they are no whole segments, or reach beyond the end.
    #[must_use]
    pub fn slice(self, rows: Range<usize>) -> Packed<'a> {
        let segment = self.shape.segment();
        assert!(
            rows.start.is_multiple_of(segment) && rows.end.is_multiple_of(segment),
            "rows {rows:?} are no whole segments of {segment}"
        );
        assert!(
            rows.start <= rows.end && rows.end <= self.rows(),
            "rows {rows:?} of {}",
            self.rows()
        );
        let (first, segments) = (rows.start / segment, rows.len() / segment);
        if self.is_whole() {
            let bytes = self.shape.segment_bytes();
            let bytes = &self.bytes[first * bytes..(first + segments) * bytes];
            return Packed::whole(bytes, self.shape.with_segments(segments));
        }
        Packed {
            first: self.first + first,
            segments,
            ..self
        }
    }

    fn is_whole(&self) -> bool {
        self.segments == self.shape.segments()
    }

    /// The bytes it is stored in, which may hold other rows too.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The shape of [`Packed::bytes`].
    pub fn shape(&self) -> PackedShape {
        self.shape
    }

    /// Rows, the output size.
    pub fn rows(&self) -> usize {
        self.segments * self.shape.segment()
    }

    /// Columns, the input size.
    pub fn columns(&self) -> usize {
        self.shape.columns()
    }

    /// Tiles.
    pub(crate) fn tiles(&self) -> usize {
        self.segments * self.shape.segment_tiles()
    }

    /// Tile `tile` of the matrix.
    #[inline(always)]
    pub(crate) fn tile(&self, tile: usize) -> Tile<'a> {
        let (tiles, segment) = (self.shape.segment_tiles(), self.shape.segment());
        let (of, inside) = (tile / tiles, tile % tiles);
        let first = of * segment + inside * TILE;
        let last = (of + 1) * segment;
        let stored = self.pattern.stored(self.first + of) * tiles + inside;
        let bytes = self.shape.tile_bytes();
        Tile {
            bytes: &self.bytes[stored * bytes..(stored + 1) * bytes],
            rows: first..last.min(first + TILE),
        }
    }

    /// The tile of `row`, and the row's number in it.
    pub(crate) fn tile_of(&self, row: usize) -> (Tile<'a>, usize) {
        let (tile, lane) = self.shape.place(row);
        (self.tile(tile), lane)
    }

    /// How many of its scales (and minima) are NaN or infinite, and the first row that has one; None
    /// where there are none. Each stands for up to 256 elements. It reads them alone.
    pub fn non_finite(&self) -> Option<(usize, usize)> {
        type Finite = fn(&[u8]) -> bool;
        let (bytes, size, finite): (usize, usize, Finite) = match self.shape.scheme().grouped() {
            None => (self.shape.blocks() * TILE * 2, 2, |x| {
                f16::from_le_bytes([x[0], x[1]]).is_finite()
            }),
            Some(_) => (self.shape.scales_bytes(), 4, |x| {
                f32::from_le_bytes([x[0], x[1], x[2], x[3]]).is_finite()
            }),
        };
        let mut found = None;
        for tile in (0..self.tiles()).map(|tile| self.tile(tile)) {
            let scales = tile.bytes[..bytes].chunks_exact(size);
            for (i, scale) in scales.enumerate() {
                let row = tile.rows.start + i % TILE;
                // What fills a tile up is never read.
                let used = row < tile.rows.end;
                if !used || finite(scale) {
                    continue;
                }
                let (count, first) = found.unwrap_or((0, row));
                found = Some((count + 1, first.min(row)));
            }
        }
        found
    }
}

/// The scale that `tile` has for its row `lane` and block `block`.
pub(crate) fn scale(tile: &[u8], lane: usize, block: usize) -> f32 {
    let at = block * TILE * 2 + lane * 2;
    f16::from_le_bytes([tile[at], tile[at + 1]]).to_f32()
}
