//! Dot products by `vpdpbusd` of 512 bits.
//!
//! Layout: row r in lane r of two zmm registers, one per plane.
//! Contract: see [`super`]. The instruction multiplies unsigned by signed bytes. The weights become
//! unsigned by a flipped top bit, which adds 128 to each; so both planes of an input row can be
//! read from memory as the signed operand, and 128 times the sum of v is taken off in the end.
//! Measured: see [`super::super::linear`].

use std::arch::x86_64::*;

use super::{Dots, LOW, Nibbles, SubSum};
use crate::lanes::avx512::Avx512;
use crate::packed::CHUNK;
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
    const NIBBLE_ROWS: usize = 4;

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
    unsafe fn nibbles<const SUB: usize, const N: usize>(
        acc: &mut [Self; N],
        w: Nibbles,
        x: [*const i8; N],
        sums: [*const SubSum; N],
    ) {
        for j in 0..CHUNK / SUB {
            // SAFETY: the caller's promise; features as in `ops`.
            unsafe {
                let m = _mm512_cvtepu8_epi32(_mm_loadu_si128(w.m.add(j / 2 * 16).cast()));
                let m = match j % 2 {
                    0 => _mm512_and_si512(m, _mm512_set1_epi32(15)),
                    _ => _mm512_srli_epi32::<4>(m),
                };
                let z = _mm512_cvtepi8_epi32(_mm_loadu_si128(w.z.add(j * 16).cast()));
                let affine = _mm512_or_si512(m, _mm512_slli_epi32::<16>(z));
                let sums = sums.map(|sums| &*sums.add(j));
                let mut sub = sums.map(|sum| Avx512Vnni {
                    hi: _mm512_set1_epi32(sum.start[0]),
                    lo: _mm512_set1_epi32(sum.start[1]),
                });
                for c in (j * SUB..(j + 1) * SUB).step_by(8) {
                    let q = _mm512_loadu_si512(w.q.add(c * 8).cast());
                    let low = _mm512_and_si512(q, _mm512_set1_epi8(15));
                    let high = _mm512_and_si512(_mm512_srli_epi16::<4>(q), _mm512_set1_epi8(15));
                    for n in 0..N {
                        sub[n] = sub[n].step(low, Self::inputs(x[n].add(c)));
                        sub[n] = sub[n].step(high, Self::inputs(x[n].add(c + 4)));
                    }
                }
                for n in 0..N {
                    let hi = paired(sub[n].hi, sums[n].top[0]);
                    let lo = paired(sub[n].lo, sums[n].top[1]);
                    acc[n] = Avx512Vnni {
                        hi: _mm512_dpwssd_epi32(acc[n].hi, hi, affine),
                        lo: _mm512_dpwssd_epi32(acc[n].lo, lo, affine),
                    };
                }
            }
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

/// The low halves of `x` beside the high half of `top`.
#[inline(always)]
fn paired(x: __m512i, top: i32) -> __m512i {
    ops!({
        let low = _mm512_and_si512(x, _mm512_set1_epi32(0xffff));
        _mm512_or_si512(low, _mm512_set1_epi32(top))
    })
}
