//! The bytes in four SSE registers, multiplied as 16-bit integers in AVX registers.
//!
//! Layout: bytes 16q..16q + 16 in register q, which are widened to a ymm register.
//! Contract: see [`super`]; a pair of products is at most 2^15 and 2 * 255^2, which 32 bits hold.
//! Measured: see [`super::super`].

use std::arch::x86_64::*;

use super::{Bytes, BytesBody, Task};

/// Runs `B` with AVX2 on.
///
/// # Safety
/// The machine has AVX2, FMA and F16C; `n` readable bytes at `a` and at `b`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn run<B: BytesBody>(a: *const i8, b: *const i8, n: usize) -> B::Out {
    // SAFETY: the caller's promise.
    unsafe { B::run::<Avx2>(a, b, n) }
}

/// Runs `task` with AVX2 on.
///
/// # Safety
/// The machine has AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn run_task(task: impl Task) {
    // SAFETY: the features are on.
    unsafe { task.run::<Avx2>() }
}

#[derive(Clone, Copy)]
struct Avx2([__m128i; 4]);

/// Register-only intrinsics.
macro_rules! ops {
    ($e:expr) => {
        // SAFETY: an `Avx2` exists only under `run`, whose caller checked the features.
        unsafe { $e }
    };
}

/// The eight lanes added.
#[inline(always)]
pub(super) fn total(sum: __m256i) -> i32 {
    ops!({
        let x = _mm_add_epi32(
            _mm256_castsi256_si128(sum),
            _mm256_extracti128_si256::<1>(sum),
        );
        let x = _mm_add_epi32(x, _mm_shuffle_epi32::<0b01_00_11_10>(x));
        _mm_cvtsi128_si32(_mm_add_epi32(x, _mm_shuffle_epi32::<0b10_11_00_01>(x)))
    })
}

impl Bytes for Avx2 {
    type Sum = __m256i;
    const BIAS: i32 = 0;

    #[inline(always)]
    fn zero() -> __m256i {
        ops!(_mm256_setzero_si256())
    }

    #[inline(always)]
    fn total(sum: __m256i) -> i32 {
        total(sum)
    }

    #[inline(always)]
    fn plus_bias(a: __m256i, _: __m256i) -> __m256i {
        a
    }

    #[inline(always)]
    fn less_bias(a: __m256i, _: __m256i) -> __m256i {
        a
    }

    #[inline(always)]
    unsafe fn load(p: *const i8) -> Self {
        let mut x = [ops!(_mm_setzero_si128()); 4];
        for q in 0..4 {
            // SAFETY: the caller promises 64 readable bytes; features as in `ops`.
            x[q] = unsafe { _mm_loadu_si128(p.add(16 * q).cast()) };
        }
        Avx2(x)
    }

    #[inline(always)]
    fn dot(self, b: Self, mut sum: __m256i) -> __m256i {
        for q in 0..4 {
            sum = ops!({
                let (a, b) = (
                    _mm256_cvtepi8_epi16(self.0[q]),
                    _mm256_cvtepi8_epi16(b.0[q]),
                );
                _mm256_add_epi32(sum, _mm256_madd_epi16(a, b))
            });
        }
        sum
    }

    #[inline(always)]
    fn sum(self, mut sum: __m256i) -> __m256i {
        for q in 0..4 {
            sum = ops!({
                let x = _mm256_cvtepi8_epi16(self.0[q]);
                _mm256_add_epi32(sum, _mm256_madd_epi16(x, _mm256_set1_epi16(1)))
            });
        }
        sum
    }

    #[inline(always)]
    fn apart(mut self, b: Self) -> Self {
        for q in 0..4 {
            let a = self.0[q];
            self.0[q] = ops!(_mm_sub_epi8(
                _mm_max_epi8(a, b.0[q]),
                _mm_min_epi8(a, b.0[q])
            ));
        }
        self
    }

    #[inline(always)]
    fn squares(self, mut sum: __m256i) -> __m256i {
        for q in 0..4 {
            sum = ops!({
                let x = _mm256_cvtepu8_epi16(self.0[q]);
                _mm256_add_epi32(sum, _mm256_madd_epi16(x, x))
            });
        }
        sum
    }

    #[inline(always)]
    fn sum_unsigned(self, mut sum: __m256i) -> __m256i {
        for q in 0..4 {
            sum = ops!({
                let x = _mm_sad_epu8(self.0[q], _mm_setzero_si128());
                _mm256_add_epi32(sum, _mm256_zextsi128_si256(x))
            });
        }
        sum
    }
}
