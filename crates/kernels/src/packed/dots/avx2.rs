//! Dot products by `vpmaddubsw`.
//!
//! Layout: rows 0..8 in the first ymm register, 8..16 in the second; both planes in one sum.
//! Contract: see [`super`]. The instruction multiplies unsigned by signed bytes and adds two
//! products in 16 bits, saturating. lo is never negative and serves as the unsigned side; for hi it
//! is |w|, and hi takes the sign of w. Two products are at most 2 * 128 * 127 = 32,512: nothing
//! saturates. Then pairs are added in 32 bits, those of hi times 128.
//! Measured: see [`super::super::linear`].

use std::arch::x86_64::*;

use super::{Dots, LOW};
use crate::lanes::avx2::Avx2 as Lanes2;
use crate::packed::int_isa::IntBody;

/// Runs `body` with AVX2, FMA and F16C on.
///
/// # Safety
/// The machine has AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn run<B: IntBody>(body: B) {
    body.run::<Avx2>();
}

/// The sums of w v.
#[derive(Clone, Copy)]
pub(crate) struct Avx2([__m256i; 2]);

/// Register-only intrinsics.
macro_rules! ops {
    ($e:expr) => {
        // SAFETY: an `Avx2` exists only under `run`, whose caller checked the features.
        unsafe { $e }
    };
}

/// Both registers of a result, `$i` being the number. No closures: those would be compiled without
/// the features.
macro_rules! each {
    ($i:ident => $e:expr) => {
        [
            {
                #[allow(non_upper_case_globals, reason = "reads as an index")]
                const $i: usize = 0;
                ops!($e)
            },
            {
                #[allow(non_upper_case_globals, reason = "reads as an index")]
                const $i: usize = 1;
                ops!($e)
            },
        ]
    };
}

impl Dots for Avx2 {
    type Float = Lanes2;
    type Weights = [__m256i; 2];
    type Inputs = (__m256i, __m256i);
    const TILES: usize = 1;
    const ROWS: usize = 4;

    #[inline(always)]
    fn zero() -> Self {
        Avx2([ops!(_mm256_setzero_si256()); 2])
    }

    #[inline(always)]
    unsafe fn weights(p: *const i8) -> [__m256i; 2] {
        // SAFETY: the caller promises 64 readable bytes; features as in `ops`.
        unsafe {
            let p = p.cast::<__m256i>();
            [_mm256_loadu_si256(p), _mm256_loadu_si256(p.add(1))]
        }
    }

    #[inline(always)]
    unsafe fn inputs(p: *const i8) -> (__m256i, __m256i) {
        // SAFETY: the caller promises 4 readable bytes here and 4 there; features as in `ops`.
        unsafe {
            (
                _mm256_set1_epi32(p.cast::<i32>().read_unaligned()),
                _mm256_set1_epi32(p.add(LOW).cast::<i32>().read_unaligned()),
            )
        }
    }

    #[inline(always)]
    fn step(self, w: [__m256i; 2], (hi, lo): (__m256i, __m256i)) -> Self {
        Avx2(each!(i => {
            let high = _mm256_maddubs_epi16(_mm256_abs_epi8(w[i]), _mm256_sign_epi8(hi, w[i]));
            let high = _mm256_madd_epi16(high, _mm256_set1_epi16(128));
            let low = _mm256_maddubs_epi16(lo, w[i]);
            let low = _mm256_madd_epi16(low, _mm256_set1_epi16(1));
            _mm256_add_epi32(self.0[i], _mm256_add_epi32(high, low))
        }))
    }

    #[inline(always)]
    fn merge(self, other: Self) -> Self {
        Avx2(each!(i => _mm256_add_epi32(self.0[i], other.0[i])))
    }

    #[inline(always)]
    fn total(self, _: i32) -> Lanes2 {
        let [low, high] = each!(i => _mm256_cvtepi32_ps(self.0[i]));
        Lanes2(low, high)
    }
}
