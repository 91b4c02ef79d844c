//! Dot products by `vpdpbusd` of 512 bits.
//!
//! Layout: row r in lane r of two zmm registers, one per plane.
//! Contract: see [`super`]. The instruction multiplies unsigned by signed bytes. The weights become
//! unsigned by a flipped top bit, which adds 128 to each; so both planes of an input row can be
//! read from memory as the signed operand, and 128 times the sum of v is taken off in the end.
//! Measured: see [`super::super::linear`].

use std::arch::x86_64::*;

use super::nibbles::FOUR;
use super::{ChunkSums, Dots, LOW, Nibbles, SubSum};
use crate::lanes::avx512::Avx512;
use crate::packed::int_isa::IntBody;
use crate::packed::{CHUNK, TILE};

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
    type Bytes = __m512i;
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
    fn start_bytes(start: i32) -> Self {
        Avx512Vnni {
            hi: ops!(_mm512_set1_epi32(start)),
            lo: ops!(_mm512_setzero_si512()),
        }
    }

    #[inline(always)]
    unsafe fn bytes(p: *const i8) -> __m512i {
        // SAFETY: the caller promises 4 readable bytes; features as in `ops`.
        unsafe { _mm512_set1_epi32(p.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    fn step_bytes(self, w: __m512i, x: __m512i) -> Self {
        let hi = ops!(_mm512_dpbusd_epi32(self.hi, w, x));
        Avx512Vnni { hi, ..self }
    }

    #[inline(always)]
    fn total_bytes(self) -> Avx512 {
        Avx512(ops!(_mm512_cvtepi32_ps(self.hi)))
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
        sums: [*const ChunkSums; N],
    ) {
        for j in 0..CHUNK / SUB {
            // SAFETY: the caller's promise.
            let sums: [SubSum; N] = sums.map(|sums| unsafe { (*sums).of::<SUB>(j) });
            let mut sub = sums.map(|sum| Avx512Vnni {
                hi: ops!(_mm512_set1_epi32(sum.start[0])),
                lo: ops!(_mm512_set1_epi32(sum.start[1])),
            });
            for c in (j * SUB..(j + 1) * SUB).step_by(8) {
                // SAFETY: the caller's promise.
                let q = unsafe { halves(w.q.add(c * 8)) };
                for n in 0..N {
                    for (i, q) in q.into_iter().enumerate() {
                        // SAFETY: the caller's promise.
                        let x = unsafe { Self::inputs(x[n].add(c + 4 * i)) };
                        sub[n] = sub[n].step(q, x);
                    }
                }
            }
            // SAFETY: the caller's promise.
            let (m, z) = unsafe { affine(w, j) };
            let both = ops!(_mm512_or_si512(m, _mm512_slli_epi32::<16>(z)));
            for n in 0..N {
                let hi = paired(sub[n].hi, sums[n].top[0]);
                let lo = paired(sub[n].lo, sums[n].top[1]);
                acc[n] = Avx512Vnni {
                    hi: ops!(_mm512_dpwssd_epi32(acc[n].hi, hi, both)),
                    lo: ops!(_mm512_dpwssd_epi32(acc[n].lo, lo, both)),
                };
            }
        }
    }

    #[inline(always)]
    unsafe fn expand<const SUB: usize>(w: Nibbles, out: &mut [i8; CHUNK * TILE]) {
        let mut out = out.as_mut_ptr();
        for j in 0..CHUNK / SUB {
            // SAFETY: the caller's promise.
            let (m, z) = unsafe { affine(w, j) };
            let m = ops!(_mm512_or_si512(m, _mm512_slli_epi32::<16>(m)));
            // The value at q = 0, four times.
            let first = ops!({
                let first = _mm512_sub_epi8(z, _mm512_slli_epi16::<3>(m));
                _mm512_shuffle_epi8(first, _mm512_set4_epi32(FOUR[3], FOUR[2], FOUR[1], FOUR[0]))
            });
            for c in (j * SUB..(j + 1) * SUB).step_by(8) {
                // SAFETY: the caller's promise.
                for q in unsafe { halves(w.q.add(c * 8)) } {
                    // Two products at once: at most 225, neither reaches the other's byte.
                    // SAFETY: `out` has 64 bytes for each 4 columns; features as in `ops`.
                    unsafe {
                        let value = _mm512_add_epi8(_mm512_mullo_epi16(q, m), first);
                        _mm512_storeu_si512(out.cast(), value);
                        out = out.add(CHUNK);
                    }
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

/// The low and the high nibbles of 64 bytes.
///
/// # Safety
/// 64 readable bytes at `p`.
#[inline(always)]
unsafe fn halves(p: *const u8) -> [__m512i; 2] {
    // SAFETY: the caller's promise; features as in `ops`.
    let q = unsafe { _mm512_loadu_si512(p.cast()) };
    let mask = ops!(_mm512_set1_epi8(15));
    let high = ops!(_mm512_and_si512(_mm512_srli_epi16::<4>(q), mask));
    [ops!(_mm512_and_si512(q, mask)), high]
}

/// m and z of sub-block `j`, in 32 bits.
///
/// # Safety
/// As [`Dots::nibbles`].
#[inline(always)]
unsafe fn affine(w: Nibbles, j: usize) -> (__m512i, __m512i) {
    // SAFETY: the caller's promise; features as in `ops`.
    let (m, z) = unsafe {
        (
            _mm512_cvtepu8_epi32(_mm_loadu_si128(w.m.add(j / 2 * TILE).cast())),
            _mm512_cvtepi8_epi32(_mm_loadu_si128(w.z.add(j * TILE).cast())),
        )
    };
    match j % 2 {
        0 => (ops!(_mm512_and_si512(m, _mm512_set1_epi32(15))), z),
        _ => (ops!(_mm512_srli_epi32::<4>(m)), z),
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
