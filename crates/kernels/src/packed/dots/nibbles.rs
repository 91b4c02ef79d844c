//! What the products of raw 4-bit weights with few input rows share.
//!
//! Layout: see [`super::super`] for the weight, [`super::super::activations`] for the sums.
//! Contract: of a sub-block with multiplier m and offset z the dot product is m sum((q - 8) x) + z
//! sum(x), for each plane, as exact an integer as that of the expanded weight. 32 products of q - 8
//! with a plane are at most 32 * 8 * 127 = 32,512: the sum fits 16 bits, so that one multiplication
//! of pairs adds both terms. Measured: see [`super::super::linear`].

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
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct SubSum {
    /// -8 sum(x).
    pub(crate) start: [i32; 2],
    /// 2^16 sum(x).
    pub(crate) top: [i32; 2],
    /// The sum of the high plane in the low half, of the low one in the high half.
    pub(crate) both: i32,
}

impl SubSum {
    /// Of the sums of the two planes, which fit 16 bits.
    pub(crate) fn new(hi: i32, lo: i32) -> SubSum {
        SubSum {
            start: [-8 * hi, -8 * lo],
            top: [hi << 16, lo << 16],
            both: hi & 0xffff | lo << 16,
        }
    }
}

/// The sums of 64 columns of an input row.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ChunkSums {
    pub(crate) of_16: [SubSum; 4],
    pub(crate) of_32: [SubSum; 2],
}

impl ChunkSums {
    /// Of the planes of 64 columns.
    #[inline(always)]
    pub(crate) fn new(hi: &[i8], lo: &[i8]) -> ChunkSums {
        let sum = |plane: &[i8]| plane.iter().map(|&x| i32::from(x)).sum::<i32>();
        let (mut sums, mut both) = ([(0, 0); 4], ChunkSums::default());
        for ((sums, hi), lo) in sums.iter_mut().zip(hi.chunks(16)).zip(lo.chunks(16)) {
            *sums = (sum(hi), sum(lo));
        }
        for (i, (hi, lo)) in sums.into_iter().enumerate() {
            both.of_16[i] = SubSum::new(hi, lo);
        }
        for i in 0..2 {
            let ((hi, lo), (more_hi, more_lo)) = (sums[2 * i], sums[2 * i + 1]);
            both.of_32[i] = SubSum::new(hi + more_hi, lo + more_lo);
        }
        both
    }
}
