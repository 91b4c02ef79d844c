//! Where the parts of a block of 4 bits lie, and how a tile expands to int8.
//!
//! Layout: see [`super`]. Contract: an element expands to m (q - 8) + z, exactly where that is an
//! int8 and modulo 256 where a file's is not. Measured: see [`super::linear`].

use super::{ALIGN, BLOCK, CHUNK, PackedShape, SubBlock, TILE};
use crate::linear::prefetch;

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

/// Expands `tile` to int8: 64 bytes for each 4 columns, to the front of `out`. Asks for `ahead`
/// bytes beyond.
#[inline(always)]
pub(crate) fn expand(tile: &[u8], shape: PackedShape, sub: SubBlock, ahead: usize, out: &mut [i8]) {
    let sub_columns = sub.columns();
    let mut out = out.chunks_exact_mut(2 * CHUNK);
    for b in 0..shape.blocks() {
        let block = Block::new(shape, sub, b);
        for j in 0..block.width / sub_columns {
            let z: &[u8; TILE] = array(tile, block.offsets(j));
            let m: &[u8; TILE] = array(tile, block.multipliers(j));
            let (mut m4, mut c4) = ([0u32; TILE], [0u32; TILE]);
            for l in 0..TILE {
                let m = m[l] >> (j % 2 * 4) & 15;
                // The value at q = 0.
                let c = z[l].wrapping_sub(8 * m);
                m4[l] = u32::from(m) * 0x0101_0101;
                c4[l] = u32::from(c) * 0x0101_0101;
            }
            let (m4, c4) = (bytes(m4), bytes(c4));
            for g in 0..sub_columns / 8 {
                let q: &[u8; CHUNK] = array(tile, block.nibbles(j * sub_columns + 8 * g));
                prefetch(q.as_ptr().wrapping_add(ahead));
                let out = out.next().expect("64 bytes for each 4 columns of the tile");
                let (low, high) = out.split_at_mut(CHUNK);
                for i in 0..CHUNK {
                    low[i] = (q[i] & 15).wrapping_mul(m4[i]).wrapping_add(c4[i]) as i8;
                }
                for i in 0..CHUNK {
                    high[i] = (q[i] >> 4).wrapping_mul(m4[i]).wrapping_add(c4[i]) as i8;
                }
            }
        }
    }
}

#[inline(always)]
fn array<const N: usize>(bytes: &[u8], start: usize) -> &[u8; N] {
    bytes[start..start + N]
        .try_into()
        .expect("a range of N has N elements")
}

/// The bytes of 16 numbers whose four bytes are equal.
#[inline(always)]
fn bytes(x: [u32; TILE]) -> [u8; CHUNK] {
    // SAFETY: both are 64 plain bytes.
    unsafe { std::mem::transmute(x) }
}
