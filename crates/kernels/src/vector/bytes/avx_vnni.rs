//! The bytes in two AVX registers, multiplied by `vpdpbusd`.
//!
//! Layout: bytes 0..32 in the first ymm register, 32..64 in the second; the sums of both in one.
//! Contract: see [`super`]; the unsigned side of a product is x + 128, its sign bit flipped.
//! Measured: not measured.

use std::arch::x86_64::*;

use super::{Bytes, BytesBody, Task};

/// Runs `B` with AVX2 and AVX-VNNI on.
///
/// # Safety
/// The machine has AVX2 and AVX-VNNI; `n` readable bytes at `a` and at `b`.
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
pub(super) unsafe fn run<B: BytesBody>(a: *const i8, b: *const i8, n: usize) -> B::Out {
    // SAFETY: the caller's promise.
    unsafe { B::run::<Vnni>(a, b, n) }
}

/// Runs `task` with AVX2 and AVX-VNNI on.
///
/// # Safety
/// The machine has AVX2 and AVX-VNNI.
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
pub(super) unsafe fn run_task(task: impl Task) {
    // SAFETY: the features are on.
    unsafe { task.run::<Vnni>() }
}

#[derive(Clone, Copy)]
struct Vnni(__m256i, __m256i);

/// Register-only intrinsics.
macro_rules! ops {
    ($e:expr) => {
        // SAFETY: a `Vnni` exists only under `run`, whose caller checked the features.
        unsafe { $e }
    };
}

#[inline(always)]
fn flipped(x: __m256i) -> __m256i {
    ops!(_mm256_xor_si256(x, _mm256_set1_epi8(i8::MIN)))
}

/// Adds the products of both halves.
#[inline(always)]
fn add_products(sum: __m256i, unsigned: [__m256i; 2], signed: [__m256i; 2]) -> __m256i {
    ops!({
        let sum = _mm256_dpbusd_avx_epi32(sum, unsigned[0], signed[0]);
        _mm256_dpbusd_avx_epi32(sum, unsigned[1], signed[1])
    })
}

impl Bytes for Vnni {
    type Sum = __m256i;
    const BIAS: i32 = 128;

    #[inline(always)]
    fn zero() -> __m256i {
        ops!(_mm256_setzero_si256())
    }

    #[inline(always)]
    fn total(sum: __m256i) -> i32 {
        super::avx2::total(sum)
    }

    #[inline(always)]
    fn plus_bias(a: __m256i, b: __m256i) -> __m256i {
        ops!(_mm256_add_epi32(a, _mm256_slli_epi32::<7>(b)))
    }

    #[inline(always)]
    fn less_bias(a: __m256i, b: __m256i) -> __m256i {
        ops!(_mm256_sub_epi32(a, _mm256_slli_epi32::<7>(b)))
    }

    #[inline(always)]
    unsafe fn load(p: *const i8) -> Self {
        // SAFETY: the caller promises 64 readable bytes; features as in `ops`.
        unsafe {
            Vnni(
                _mm256_loadu_si256(p.cast()),
                _mm256_loadu_si256(p.add(32).cast()),
            )
        }
    }

    #[inline(always)]
    fn dot(self, b: Self, sum: __m256i) -> __m256i {
        add_products(sum, [flipped(self.0), flipped(self.1)], [b.0, b.1])
    }

    #[inline(always)]
    fn sum(self, sum: __m256i) -> __m256i {
        let ones = ops!(_mm256_set1_epi8(1));
        add_products(sum, [ones; 2], [self.0, self.1])
    }

    #[inline(always)]
    fn apart(self, b: Self) -> Self {
        let apart = |a, b| {
            ops!(_mm256_sub_epi8(
                _mm256_max_epi8(a, b),
                _mm256_min_epi8(a, b)
            ))
        };
        Vnni(apart(self.0, b.0), apart(self.1, b.1))
    }

    #[inline(always)]
    fn squares(self, sum: __m256i) -> __m256i {
        add_products(sum, [self.0, self.1], [flipped(self.0), flipped(self.1)])
    }

    #[inline(always)]
    fn sum_unsigned(self, sum: __m256i) -> __m256i {
        let ones = ops!(_mm256_set1_epi8(1));
        add_products(sum, [self.0, self.1], [ones; 2])
    }
}
