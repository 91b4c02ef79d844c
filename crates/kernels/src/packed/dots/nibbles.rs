//! Weights of 4 bits: their expansion to int8, and what their products with few input rows share.
//!
//! Layout: see [`super::super`] for the weight, [`super::super::activations`] for the sums.
//! Contract: of a sub-block with multiplier m and offset z the dot product is m sum((q - 8) x) + z
//! sum(x), for each plane, as exact an integer as that of the expanded weight. 32 products of q - 8
//! with a plane are at most 32 * 8 * 127 = 32,512: the sum fits 16 bits, so that one multiplication
//! of pairs adds both terms. An element expands to m (q - 8) + z, exactly where that is an int8 and
//! modulo 256 where a file's is not. Measured: see [`super::super::linear`].

use crate::packed::{CHUNK, TILE};

/// Where 64 columns of a tile begin.
#[derive(Clone, Copy)]
pub(crate) struct Nibbles {
    /// 16 bytes of z for each sub-block.
    pub(crate) z: *const i8,
    /// 16 bytes of m for each two sub-blocks.
    pub(crate) m: *const u8,
    /// 64 bytes of q for each 8 columns.
    pub(crate) q: *const u8,
}

/// What the products take of the sums of a sub-block of an input row; \[high plane, low plane\].
#[derive(Clone, Copy)]
pub(crate) struct SubSum {
    /// -8 sum(x).
    pub(crate) start: [i32; 2],
    /// 2^16 sum(x).
    #[cfg_attr(
        not(target_arch = "x86_64"),
        expect(dead_code, reason = "NEON takes `both`")
    )]
    pub(crate) top: [i32; 2],
    /// The sum of the high plane in the low half, of the low one in the high half.
    pub(crate) both: i32,
}

/// The same of N sub-blocks.
#[derive(Debug, Clone, Copy)]
struct SubSums<const N: usize> {
    start: [[i32; N]; 2],
    top: [[i32; N]; 2],
    both: [i32; N],
}

impl<const N: usize> SubSums<N> {
    const ZERO: SubSums<N> = SubSums {
        start: [[0; N]; 2],
        top: [[0; N]; 2],
        both: [0; N],
    };

    #[inline(always)]
    fn new(hi: [i32; N], lo: [i32; N]) -> SubSums<N> {
        let mut all = SubSums::ZERO;
        for j in 0..N {
            all.start[0][j] = -8 * hi[j];
            all.start[1][j] = -8 * lo[j];
            all.top[0][j] = hi[j] << 16;
            all.top[1][j] = lo[j] << 16;
            all.both[j] = hi[j] & 0xffff | lo[j] << 16;
        }
        all
    }

    #[inline(always)]
    fn get(&self, j: usize) -> SubSum {
        SubSum {
            start: [self.start[0][j], self.start[1][j]],
            top: [self.top[0][j], self.top[1][j]],
            both: self.both[j],
        }
    }
}

/// The sums of 64 columns of an input row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChunkSums {
    of_16: SubSums<4>,
    of_32: SubSums<2>,
}

impl ChunkSums {
    /// Of zeros.
    pub(crate) const ZERO: ChunkSums = ChunkSums {
        of_16: SubSums::ZERO,
        of_32: SubSums::ZERO,
    };

    /// Of the sums of the high and of the low plane of each 16 columns, which fit 16 bits.
    #[inline(always)]
    pub(crate) fn new(hi: [i32; 4], lo: [i32; 4]) -> ChunkSums {
        ChunkSums {
            of_16: SubSums::new(hi, lo),
            of_32: SubSums::new(
                [hi[0] + hi[1], hi[2] + hi[3]],
                [lo[0] + lo[1], lo[2] + lo[3]],
            ),
        }
    }

    /// Of sub-block `j` of SUB columns, 16 or 32.
    #[inline(always)]
    pub(crate) fn of<const SUB: usize>(&self, j: usize) -> SubSum {
        match SUB {
            16 => self.of_16.get(j),
            _ => self.of_32.get(j),
        }
    }
}

/// The indices that put the lowest of four bytes in the place of each, for byte shuffles in 128 bits.
#[cfg(target_arch = "x86_64")]
pub(super) const FOUR: [i32; 4] = [0, 0x0404_0404, 0x0808_0808, 0x0c0c_0c0c];

/// [`super::Dots::expand`] in plain Rust: what the others must equal.
///
/// # Safety
/// As there.
#[inline(always)]
pub(super) unsafe fn expand<const SUB: usize>(w: Nibbles, out: &mut [i8; CHUNK * TILE]) {
    for (i, out) in out.iter_mut().enumerate() {
        // Column c + i % 4 of row l.
        let (c, l) = (i / CHUNK * 4, i % CHUNK / 4);
        let j = c / SUB;
        // SAFETY: the caller's promise.
        let (q, m, z) = unsafe {
            let q = *w.q.add(c / 8 * CHUNK + i % CHUNK);
            let m = *w.m.add(j / 2 * TILE + l);
            (q, m, *w.z.add(j * TILE + l))
        };
        let (q, m) = (q >> (c % 8) & 15, m >> (j % 2 * 4) & 15);
        let steps = (q as i8 - 8).wrapping_mul(m as i8);
        *out = steps.wrapping_add(z);
    }
}
