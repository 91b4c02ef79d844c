//! Dot products by `vpdpbusd` of 256 bits.
//!
//! Layout: rows 0..8 in the first ymm register of a plane, 8..16 in the second.
//! Contract: see [`super`]; the weights become unsigned as in the 512-bit form.
//! Measured: see [`super::super::linear`].

use std::arch::x86_64::*;

use super::{ChunkSums, Dots, LOW, Nibbles};
use crate::lanes::avx2::Avx2;
use crate::packed::int_isa::IntBody;
use crate::packed::{CHUNK, TILE};

/// Runs `body` with AVX-VNNI on.
///
/// # Safety
/// The machine has AVX2, FMA, F16C and AVX-VNNI.
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
pub(crate) unsafe fn run<B: IntBody>(body: B) {
    body.run::<AvxVnni>();
}

/// The sums of (w + 128) hi and of (w + 128) lo.
#[derive(Clone, Copy)]
pub(crate) struct AvxVnni {
    hi: [__m256i; 2],
    lo: [__m256i; 2],
}

/// Register-only intrinsics.
macro_rules! ops {
    ($e:expr) => {
        // SAFETY: an `AvxVnni` exists only under `run`, whose caller checked the features.
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

impl Dots for AvxVnni {
    type Float = Avx2;
    type Weights = [__m256i; 2];
    type Inputs = (__m256i, __m256i);
    type Bytes = __m256i;
    const TILES: usize = 1;
    const ROWS: usize = 3;
    const NIBBLE_ROWS: usize = 2;

    #[inline(always)]
    fn zero() -> Self {
        let zero = [ops!(_mm256_setzero_si256()); 2];
        AvxVnni { hi: zero, lo: zero }
    }

    #[inline(always)]
    unsafe fn weights(p: *const i8) -> [__m256i; 2] {
        // SAFETY: the caller promises 64 readable bytes; features as in `ops`.
        unsafe {
            let (top, p) = (_mm256_set1_epi8(-128), p.cast::<__m256i>());
            [
                _mm256_xor_si256(_mm256_loadu_si256(p), top),
                _mm256_xor_si256(_mm256_loadu_si256(p.add(1)), top),
            ]
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
        AvxVnni {
            hi: each!(i => _mm256_dpbusd_avx_epi32(self.hi[i], w[i], hi)),
            lo: each!(i => _mm256_dpbusd_avx_epi32(self.lo[i], w[i], lo)),
        }
    }

    #[inline(always)]
    fn start_bytes(start: i32) -> Self {
        AvxVnni {
            hi: [ops!(_mm256_set1_epi32(start)); 2],
            ..Self::zero()
        }
    }

    #[inline(always)]
    unsafe fn bytes(p: *const i8) -> __m256i {
        // SAFETY: the caller promises 4 readable bytes; features as in `ops`.
        unsafe { _mm256_set1_epi32(p.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    fn step_bytes(self, w: [__m256i; 2], x: __m256i) -> Self {
        let hi = each!(i => _mm256_dpbusd_avx_epi32(self.hi[i], w[i], x));
        AvxVnni { hi, ..self }
    }

    #[inline(always)]
    fn total_bytes(self) -> Avx2 {
        let [low, high] = each!(i => _mm256_cvtepi32_ps(self.hi[i]));
        Avx2(low, high)
    }

    #[inline(always)]
    fn merge(self, other: Self) -> Self {
        AvxVnni {
            hi: each!(i => _mm256_add_epi32(self.hi[i], other.hi[i])),
            lo: each!(i => _mm256_add_epi32(self.lo[i], other.lo[i])),
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
            let affine = unsafe { affine(w, j) };
            let mut sub = [Self::zero(); N];
            for n in 0..N {
                // SAFETY: the caller's promise.
                let start = unsafe { (*sums[n]).of::<SUB>(j).start };
                sub[n].hi = [ops!(_mm256_set1_epi32(start[0])); 2];
                sub[n].lo = [ops!(_mm256_set1_epi32(start[1])); 2];
            }
            for c in (j * SUB..(j + 1) * SUB).step_by(8) {
                // SAFETY: the caller's promise.
                let (low, high) = unsafe { super::avx2::halves(w.q.add(c * 8)) };
                for n in 0..N {
                    for (q, at) in [(low, c), (high, c + 4)] {
                        // SAFETY: the caller's promise.
                        let x = unsafe { Self::inputs(x[n].add(at)) };
                        sub[n] = sub[n].step(q, x);
                    }
                }
            }
            for n in 0..N {
                // SAFETY: the caller's promise.
                let top = unsafe { (*sums[n]).of::<SUB>(j).top };
                let (hi, lo) = (paired(sub[n].hi, top[0]), paired(sub[n].lo, top[1]));
                acc[n] = AvxVnni {
                    hi: each!(i => _mm256_dpwssd_avx_epi32(acc[n].hi[i], hi[i], affine[i])),
                    lo: each!(i => _mm256_dpwssd_avx_epi32(acc[n].lo[i], lo[i], affine[i])),
                };
            }
        }
    }

    #[inline(always)]
    unsafe fn expand<const SUB: usize>(w: Nibbles, out: &mut [i8; CHUNK * TILE]) {
        // SAFETY: the caller's promise.
        unsafe { super::avx2::expand::<SUB>(w, out) };
    }

    #[inline(always)]
    fn total(self, sum: i32) -> Avx2 {
        // Modulo 2^32: only the total has to fit.
        let offset = ops!(_mm256_set1_epi32(sum.wrapping_mul(128)));
        let both = each!(i => _mm256_add_epi32(_mm256_slli_epi32::<7>(self.hi[i]), self.lo[i]));
        let [low, high] = each!(i => _mm256_cvtepi32_ps(_mm256_sub_epi32(both[i], offset)));
        Avx2(low, high)
    }
}

/// m in the low halves and z in the high ones, of sub-block `j`.
///
/// # Safety
/// As [`Dots::nibbles`].
#[inline(always)]
unsafe fn affine(w: Nibbles, j: usize) -> [__m256i; 2] {
    // SAFETY: the caller's promise.
    let (m, z) = unsafe { (super::avx2::multipliers(w, j), super::avx2::offsets(w, j)) };
    each!(i => _mm256_or_si256(m[i], _mm256_slli_epi32::<16>(z[i])))
}

/// The low halves of `x` beside the high half of `top`.
#[inline(always)]
fn paired(x: [__m256i; 2], top: i32) -> [__m256i; 2] {
    each!(i => _mm256_blend_epi16::<0b1010_1010>(x[i], _mm256_set1_epi32(top)))
}
