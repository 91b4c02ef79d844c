//! The bytes in one AVX-512 register, multiplied by `vpdpbusd`.
//!
//! Layout: byte i is byte i of the zmm register; four neighbours make a lane of the sums.
//! Contract: see [`super`]; the unsigned side of a product is x + 128, its sign bit flipped.
//! Measured: see [`super::super`].

use std::arch::x86_64::*;

use super::{Bytes, BytesBody, Task};

/// Runs `B` with AVX-512 and VNNI on.
///
/// # Safety
/// The machine has AVX-512 F, BW, DQ, VL and VNNI; `n` readable bytes at `a` and at `b`.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn run<B: BytesBody>(a: *const i8, b: *const i8, n: usize) -> B::Out {
    // SAFETY: the caller's promise.
    unsafe { B::run::<Vnni>(a, b, n) }
}

/// Runs `task` with AVX-512 and VNNI on.
///
/// # Safety
/// The machine has AVX-512 F, BW, DQ, VL and VNNI.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn run_task(task: impl Task) {
    // SAFETY: the features are on.
    unsafe { task.run::<Vnni>() }
}

#[derive(Clone, Copy)]
struct Vnni(__m512i);

/// Register-only intrinsics.
macro_rules! ops {
    ($e:expr) => {
        // SAFETY: a `Vnni` exists only under `run`, whose caller checked the features.
        unsafe { $e }
    };
}

#[inline(always)]
fn flipped(x: __m512i) -> __m512i {
    ops!(_mm512_xor_si512(x, _mm512_set1_epi8(i8::MIN)))
}

impl Bytes for Vnni {
    type Sum = __m512i;
    const BIAS: i32 = 128;

    #[inline(always)]
    fn zero() -> __m512i {
        ops!(_mm512_setzero_si512())
    }

    #[inline(always)]
    fn total(sum: __m512i) -> i32 {
        ops!(_mm512_reduce_add_epi32(sum))
    }

    #[inline(always)]
    fn total4([a, b, c, d]: [__m512i; 4]) -> [i32; 4] {
        ops!({
            // Lane pairs of two in one, fours of four in one: then four quarters are added.
            let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
            let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
            let (low, high) = (_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
            let y = _mm512_add_epi32(low, high);
            let y = _mm256_add_epi32(_mm512_castsi512_si256(y), _mm512_extracti64x4_epi64::<1>(y));
            let y = _mm_add_epi32(_mm256_castsi256_si128(y), _mm256_extracti128_si256::<1>(y));
            let mut out = [0; 4];
            _mm_storeu_si128(out.as_mut_ptr().cast(), y);
            out
        })
    }

    #[inline(always)]
    fn plus_bias(a: __m512i, b: __m512i) -> __m512i {
        ops!(_mm512_add_epi32(a, _mm512_slli_epi32::<7>(b)))
    }

    #[inline(always)]
    fn less_bias(a: __m512i, b: __m512i) -> __m512i {
        ops!(_mm512_sub_epi32(a, _mm512_slli_epi32::<7>(b)))
    }

    #[inline(always)]
    unsafe fn load(p: *const i8) -> Self {
        // SAFETY: the caller promises 64 readable bytes; features as in `ops`.
        Vnni(unsafe { _mm512_loadu_si512(p.cast()) })
    }

    #[inline(always)]
    unsafe fn load_partial(p: *const i8, n: usize) -> Self {
        // SAFETY: masked-off bytes are not read; the caller promises the first n, n < 64.
        Vnni(unsafe { _mm512_maskz_loadu_epi8((1 << n) - 1, p) })
    }

    #[inline(always)]
    fn dot(self, b: Self, sum: __m512i) -> __m512i {
        ops!(_mm512_dpbusd_epi32(sum, flipped(self.0), b.0))
    }

    #[inline(always)]
    fn sum(self, sum: __m512i) -> __m512i {
        ops!(_mm512_dpbusd_epi32(sum, _mm512_set1_epi8(1), self.0))
    }

    #[inline(always)]
    fn apart(self, b: Self) -> Self {
        Vnni(ops!(_mm512_sub_epi8(
            _mm512_max_epi8(self.0, b.0),
            _mm512_min_epi8(self.0, b.0)
        )))
    }

    #[inline(always)]
    fn squares(self, sum: __m512i) -> __m512i {
        ops!(_mm512_dpbusd_epi32(sum, self.0, flipped(self.0)))
    }

    #[inline(always)]
    fn sum_unsigned(self, sum: __m512i) -> __m512i {
        ops!(_mm512_dpbusd_epi32(sum, self.0, _mm512_set1_epi8(1)))
    }
}
