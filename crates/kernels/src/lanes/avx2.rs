//! The lanes in two AVX registers.
//!
//! Layout: lanes 0..8 in the first ymm register, 8..16 in the second. Contract: see [`super`].
//! Measured: see the operations.

use std::arch::x86_64::*;

use super::{Body, LANES, Lanes, PairBody};

/// Runs `body` with AVX2, FMA and F16C on.
///
/// # Safety
/// The machine has AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn run<B: Body>(body: B) -> B::Out {
    body.run::<Avx2>()
}

/// Runs `B` likewise.
///
/// # Safety
/// The machine has AVX2, FMA and F16C. `n` readable elements at `a` and at `b`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn run_pair<B: PairBody>(
    a: *const B::Element,
    b: *const B::Element,
    n: usize,
) -> B::Out {
    // SAFETY: the caller's promise.
    unsafe { B::run::<Avx2>(a, b, n) }
}

#[derive(Clone, Copy)]
pub(crate) struct Avx2(pub(crate) __m256, pub(crate) __m256);

/// Register-only intrinsics.
macro_rules! ops {
    ($e:expr) => {
        // SAFETY: an `Avx2` exists only under `run`, whose caller checked the features.
        unsafe { $e }
    };
}

macro_rules! each {
    ($f:ident, $a:expr, $b:expr) => {
        Avx2(ops!($f($a.0, $b.0)), ops!($f($a.1, $b.1)))
    };
}

impl Lanes for Avx2 {
    const WIDE: bool = false;
    type Wide = [__m256d; 4];

    #[inline(always)]
    fn splat(x: f32) -> Self {
        let v = ops!(_mm256_set1_ps(x));
        Avx2(v, v)
    }

    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the caller promises 16 readable floats.
        unsafe { Avx2(_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))) }
    }

    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> Self {
        // SAFETY: the caller promises 32 readable bytes.
        unsafe {
            Avx2(
                _mm256_cvtph_ps(_mm_loadu_si128(p.cast())),
                _mm256_cvtph_ps(_mm_loadu_si128(p.add(8).cast())),
            )
        }
    }

    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> Self {
        // SAFETY: the caller promises 32 readable bytes.
        unsafe { Avx2(widen_bf16(p), widen_bf16(p.add(8))) }
    }

    #[inline(always)]
    unsafe fn load_bf16_pairs(p: *const u16) -> [Self; 2] {
        // SAFETY: the caller promises 64 readable bytes.
        let (low, high) = unsafe {
            (
                _mm256_loadu_si256(p.cast()),
                _mm256_loadu_si256(p.add(16).cast()),
            )
        };
        [Avx2(even(low), even(high)), Avx2(odd(low), odd(high))]
    }

    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> Self {
        // SAFETY: the caller promises 16 readable bytes.
        unsafe { Avx2(widen_i8(p), widen_i8(p.add(8))) }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: the caller promises 16 writable floats.
        unsafe {
            _mm256_storeu_ps(p, self.0);
            _mm256_storeu_ps(p.add(8), self.1);
        }
    }

    #[inline(always)]
    fn to_f16(self) -> [u16; LANES] {
        let mut out = [0u16; LANES];
        // SAFETY: `out` has 32 bytes.
        unsafe {
            let p = out.as_mut_ptr();
            _mm_storeu_si128(
                p.cast(),
                _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.0),
            );
            _mm_storeu_si128(
                p.add(8).cast(),
                _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.1),
            );
        }
        out
    }

    #[inline(always)]
    fn add(self, b: Self) -> Self {
        each!(_mm256_add_ps, self, b)
    }

    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        each!(_mm256_sub_ps, self, b)
    }

    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        each!(_mm256_mul_ps, self, b)
    }

    #[inline(always)]
    fn div(self, b: Self) -> Self {
        each!(_mm256_div_ps, self, b)
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        ops!(Avx2(_mm256_sqrt_ps(self.0), _mm256_sqrt_ps(self.1)))
    }

    #[inline(always)]
    fn fma(self, b: Self, c: Self) -> Self {
        ops!(Avx2(
            _mm256_fmadd_ps(self.0, b.0, c.0),
            _mm256_fmadd_ps(self.1, b.1, c.1)
        ))
    }

    #[inline(always)]
    fn neg(self) -> Self {
        each!(_mm256_xor_ps, self, Self::splat(-0.0))
    }

    #[inline(always)]
    fn abs(self) -> Self {
        each!(_mm256_andnot_ps, Self::splat(-0.0), self)
    }

    #[inline(always)]
    fn min(self, b: Self) -> Self {
        each!(_mm256_min_ps, self, b)
    }

    #[inline(always)]
    fn max(self, b: Self) -> Self {
        each!(_mm256_max_ps, self, b)
    }

    #[inline(always)]
    fn select_lt(self, b: Self, yes: Self, no: Self) -> Self {
        ops!(Avx2(
            _mm256_blendv_ps(no.0, yes.0, _mm256_cmp_ps::<_CMP_LT_OQ>(self.0, b.0)),
            _mm256_blendv_ps(no.1, yes.1, _mm256_cmp_ps::<_CMP_LT_OQ>(self.1, b.1)),
        ))
    }

    #[inline(always)]
    fn round(self) -> Self {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        ops!(Avx2(
            _mm256_round_ps::<NEAREST>(self.0),
            _mm256_round_ps::<NEAREST>(self.1)
        ))
    }

    #[inline(always)]
    fn scale2(self, n: Self) -> Self {
        Avx2(scale2_8(self.0, n.0), scale2_8(self.1, n.1))
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        sum8(ops!(_mm256_add_ps(self.0, self.1)))
    }

    #[inline(always)]
    fn wide_zero() -> [__m256d; 4] {
        [ops!(_mm256_setzero_pd()); 4]
    }

    #[inline(always)]
    fn widen(self) -> [__m256d; 4] {
        let x = quarters(self);
        ops!([
            _mm256_cvtps_pd(x[0]),
            _mm256_cvtps_pd(x[1]),
            _mm256_cvtps_pd(x[2]),
            _mm256_cvtps_pd(x[3]),
        ])
    }

    #[inline(always)]
    fn wide_add(mut a: [__m256d; 4], b: [__m256d; 4]) -> [__m256d; 4] {
        for q in 0..4 {
            a[q] = ops!(_mm256_add_pd(a[q], b[q]));
        }
        a
    }

    #[inline(always)]
    fn wide_sub(mut a: [__m256d; 4], b: [__m256d; 4]) -> [__m256d; 4] {
        for q in 0..4 {
            a[q] = ops!(_mm256_sub_pd(a[q], b[q]));
        }
        a
    }

    #[inline(always)]
    fn wide_fma(a: [__m256d; 4], b: [__m256d; 4], mut c: [__m256d; 4]) -> [__m256d; 4] {
        for q in 0..4 {
            c[q] = ops!(_mm256_fmadd_pd(a[q], b[q], c[q]));
        }
        c
    }

    #[inline(always)]
    fn wide_sum(x: [__m256d; 4]) -> f64 {
        ops!({
            let low = _mm256_add_pd(x[0], x[2]);
            sum4(_mm256_add_pd(low, _mm256_add_pd(x[1], x[3])))
        })
    }

    #[inline(always)]
    fn max_lane(self) -> f32 {
        max8(ops!(_mm256_max_ps(self.0, self.1)))
    }
}

/// # Safety
/// 16 readable bytes at `p`.
#[inline(always)]
unsafe fn widen_bf16(p: *const u16) -> __m256 {
    // SAFETY: the caller's promise.
    unsafe {
        let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast()));
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
    }
}

/// Eight bf16 of even index.
#[inline(always)]
fn even(x: __m256i) -> __m256 {
    ops!(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(x)))
}

/// Eight bf16 of odd index.
#[inline(always)]
fn odd(x: __m256i) -> __m256 {
    ops!(_mm256_castsi256_ps(_mm256_and_si256(
        x,
        _mm256_set1_epi32(!0xffff)
    )))
}

/// # Safety
/// 8 readable bytes at `p`.
#[inline(always)]
unsafe fn widen_i8(p: *const i8) -> __m256 {
    // SAFETY: the caller's promise.
    unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p.cast()))) }
}

#[inline(always)]
fn scale2_8(x: __m256, n: __m256) -> __m256 {
    ops!({
        let n = _mm256_cvtps_epi32(n);
        let low = _mm256_srai_epi32::<1>(n);
        let high = _mm256_sub_epi32(n, low);
        _mm256_mul_ps(_mm256_mul_ps(x, exponent(low)), exponent(high))
    })
}

#[inline(always)]
fn exponent(n: __m256i) -> __m256 {
    ops!(_mm256_castsi256_ps(_mm256_slli_epi32::<23>(
        _mm256_add_epi32(n, _mm256_set1_epi32(127))
    )))
}

/// The lanes by fours.
#[inline(always)]
fn quarters(x: Avx2) -> [__m128; 4] {
    ops!([
        _mm256_castps256_ps128(x.0),
        _mm256_extractf128_ps::<1>(x.0),
        _mm256_castps256_ps128(x.1),
        _mm256_extractf128_ps::<1>(x.1),
    ])
}

/// The tree's last two levels, in f64: (l, l + 2), + 1.
#[inline(always)]
pub(super) fn sum4(y: __m256d) -> f64 {
    ops!({
        let x = _mm_add_pd(_mm256_castpd256_pd128(y), _mm256_extractf128_pd::<1>(y));
        _mm_cvtsd_f64(_mm_add_sd(x, _mm_unpackhi_pd(x, x)))
    })
}

/// The tree's last three levels: (l, l + 4), + 2, + 1.
#[inline(always)]
pub(super) fn sum8(y: __m256) -> f32 {
    ops!({
        let x = _mm_add_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps::<1>(y));
        let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
        _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps::<1>(x, x)))
    })
}

/// As [`sum8`], with the larger of two.
#[inline(always)]
pub(super) fn max8(y: __m256) -> f32 {
    ops!({
        let x = _mm_max_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps::<1>(y));
        let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
        _mm_cvtss_f32(_mm_max_ss(x, _mm_shuffle_ps::<1>(x, x)))
    })
}
