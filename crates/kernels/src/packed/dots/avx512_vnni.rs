//! Dot products by `vpdpbusd` of 512 bits.
//!
//! Layout: row r in lane r of two zmm registers, one per plane.
//! Contract: see [`super`]. The instruction multiplies unsigned by signed bytes. The weights become
//! unsigned by a flipped top bit, which adds 128 to each; so both planes of an input row can be
//! read from memory as the signed operand, and 128 times the sum of v is taken off in the end.
//! Measured: see [`super::super::linear`].

use std::arch::x86_64::*;

use super::{Dots, LOW};
use crate::lanes::avx512::Avx512;
use crate::packed::int_isa::IntBody;

/// Runs `body` with AVX-512 VNNI on.
///
/// # Safety
/// The machine has AVX2, FMA, F16C and AVX-512 F, BW, DQ, VL, VNNI.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(crate) unsafe fn run<B: IntBody>(body: B) {
    body.run::<Avx512Vnni>();
}

/// The sums of (w + 128) hi and of (w + 128) lo.
#[derive(Clone, Copy)]
pub(crate) struct Avx512Vnni {
    hi: __m512i,
    lo: __m512i,
}

/// Register-only intrinsics.
macro_rules! ops {
    ($e:expr) => {
        // SAFETY: an `Avx512Vnni` exists only under `run`, whose caller checked the features.
        unsafe { $e }
    };
}

impl Dots for Avx512Vnni {
    type Float = Avx512;
    type Weights = __m512i;
    type Inputs = (__m512i, __m512i);
    const TILES: usize = 2;
    const ROWS: usize = 6;

    #[inline(always)]
    fn zero() -> Self {
        let zero = ops!(_mm512_setzero_si512());
        Avx512Vnni { hi: zero, lo: zero }
    }

    #[inline(always)]
    unsafe fn weights(p: *const i8) -> __m512i {
        // SAFETY: the caller promises 64 readable bytes; features as in `ops`.
        unsafe { _mm512_xor_si512(_mm512_loadu_si512(p.cast()), _mm512_set1_epi8(-128)) }
    }

    #[inline(always)]
    unsafe fn inputs(p: *const i8) -> (__m512i, __m512i) {
        // SAFETY: the caller promises 4 readable bytes here and 4 there; features as in `ops`.
        unsafe {
            (
                _mm512_set1_epi32(p.cast::<i32>().read_unaligned()),
                _mm512_set1_epi32(p.add(LOW).cast::<i32>().read_unaligned()),
            )
        }
    }

    #[inline(always)]
    fn step(self, w: __m512i, (hi, lo): (__m512i, __m512i)) -> Self {
        Avx512Vnni {
            hi: ops!(_mm512_dpbusd_epi32(self.hi, w, hi)),
            lo: ops!(_mm512_dpbusd_epi32(self.lo, w, lo)),
        }
    }

    #[inline(always)]
    fn merge(self, other: Self) -> Self {
        Avx512Vnni {
            hi: ops!(_mm512_add_epi32(self.hi, other.hi)),
            lo: ops!(_mm512_add_epi32(self.lo, other.lo)),
        }
    }

    #[inline(always)]
    fn total(self, sum: i32) -> Avx512 {
        // Modulo 2^32: only the total has to fit.
        let offset = sum.wrapping_mul(128);
        Avx512(ops!({
            let both = _mm512_add_epi32(_mm512_slli_epi32::<7>(self.hi), self.lo);
            _mm512_cvtepi32_ps(_mm512_sub_epi32(both, _mm512_set1_epi32(offset)))
        }))
    }
}
