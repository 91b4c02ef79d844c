//! Where the parts of a block of 4 bits lie.
//!
//! Layout: see [`super`], whose formulas these are. Contract: a block is inside its tile.
//! Measured: not measured; a few integers.

use super::dots::Nibbles;
use super::{ALIGN, BLOCK, CHUNK, PackedShape, SubBlock, TILE};

/// Bytes of a tile's block of `width` columns.
pub(crate) const fn block_bytes(sub: SubBlock, width: usize) -> usize {
    let columns = match sub {
        SubBlock::Of16 => 16,
        SubBlock::Of32 => 32,
    };
    (24 * (width / columns) + 8 * width).next_multiple_of(ALIGN)
}

/// One block of one tile: where its parts begin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block {
    sub: usize,
    /// Offset in the tile.
    start: usize,
    width: usize,
}

impl Block {
    /// Block `block` of a tile of `shape`, in sub-blocks of `sub`.
    #[inline(always)]
    pub(crate) fn new(shape: PackedShape, sub: SubBlock, block: usize) -> Block {
        Block {
            sub: sub.columns(),
            start: shape.scales_bytes() + block * block_bytes(sub, BLOCK),
            width: shape.block_width(block),
        }
    }

    /// Offset in the tile of z of row 0 and sub-block `j`; row by row.
    #[inline(always)]
    pub(crate) fn offsets(&self, j: usize) -> usize {
        self.start + TILE * j
    }

    /// Offset in the tile of m of row 0 and sub-blocks `j` (even, in the low half) and `j + 1`.
    #[inline(always)]
    pub(crate) fn multipliers(&self, j: usize) -> usize {
        self.start + TILE * (self.width / self.sub) + j / 2 * TILE
    }

    /// Offset in the tile of the 64 bytes that have q of columns `c..c + 8`; c is a multiple of 8.
    #[inline(always)]
    pub(crate) fn nibbles(&self, c: usize) -> usize {
        self.start + 24 * (self.width / self.sub) + c / 8 * CHUNK
    }

    /// Where the 64 columns from column `c` of the block on begin; c is a multiple of 64.
    #[inline(always)]
    pub(crate) fn chunk(&self, tile: &[u8], c: usize) -> Nibbles {
        let j = c / self.sub;
        Nibbles {
            z: tile[self.offsets(j)..].as_ptr().cast(),
            m: tile[self.multipliers(j)..].as_ptr(),
            q: tile[self.nibbles(c)..].as_ptr(),
        }
    }

    /// m and z of row `lane` and sub-block `j`.
    pub(crate) fn affine(&self, tile: &[u8], lane: usize, j: usize) -> (i32, i32) {
        let m = tile[self.multipliers(j) + lane] >> (j % 2 * 4) & 15;
        let z = tile[self.offsets(j) + lane] as i8;
        (i32::from(m), i32::from(z))
    }

    /// q of row `lane` and column `c` of the block.
    pub(crate) fn q(&self, tile: &[u8], lane: usize, c: usize) -> i32 {
        let byte = tile[self.nibbles(c) + lane * 4 + c % 4];
        i32::from(byte >> (c % 8 / 4 * 4) & 15)
    }

    /// Writes m and z; the tile was zero there.
    pub(crate) fn put_affine(&self, tile: &mut [u8], lane: usize, j: usize, (m, z): (i32, i32)) {
        tile[self.multipliers(j) + lane] |= (m as u8 & 15) << (j % 2 * 4);
        tile[self.offsets(j) + lane] = z as i8 as u8;
    }

    /// Writes q; the tile was zero there.
    pub(crate) fn put_q(&self, tile: &mut [u8], lane: usize, c: usize, q: i32) {
        tile[self.nibbles(c) + lane * 4 + c % 4] |= (q as u8 & 15) << (c % 8 / 4 * 4);
    }
}
