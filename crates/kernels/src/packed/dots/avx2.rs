//! Dot products by `vpmaddubsw`.
//!
//! Layout: rows 0..8 in the first ymm register, 8..16 in the second; both planes in one sum.
//! Contract: see [`super`]. The instruction multiplies unsigned by signed bytes and adds two
//! products in 16 bits, saturating. lo is never negative and serves as the unsigned side; for hi it
//! is |w|, and hi takes the sign of w. Two products are at most 2 * 128 * 127 = 32,512: nothing
//! saturates. Then pairs are added in 32 bits, those of hi times 128.
//! Raw nibbles are the unsigned side of both planes; 16 columns of them are at most 16 * 15 * 127 =
//! 30,480 and stay in 16 bits. With the multiplier m they are multiplied in pairs, for hi with 128
//! m, and z - 8 m, at most 247, with the sums of both planes in one more pair.
//! Measured: see [`super::super::linear`].

use std::arch::x86_64::*;

use super::nibbles::FOUR;
use super::{ChunkSums, Dots, LOW, Nibbles};
use crate::lanes::avx2::Avx2 as Lanes2;
use crate::packed::int_isa::IntBody;
use crate::packed::{CHUNK, TILE};

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
    type Bytes = __m256i;
    const TILES: usize = 1;
    const ROWS: usize = 4;
    const NIBBLE_ROWS: usize = 2;

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
    unsafe fn bytes(p: *const i8) -> __m256i {
        // SAFETY: the caller promises 4 readable bytes; features as in `ops`.
        unsafe { _mm256_set1_epi32(p.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    fn step_bytes(self, w: [__m256i; 2], x: __m256i) -> Self {
        Avx2(each!(i => {
            let sums = _mm256_maddubs_epi16(_mm256_abs_epi8(w[i]), _mm256_sign_epi8(x, w[i]));
            let sums = _mm256_madd_epi16(sums, _mm256_set1_epi16(1));
            _mm256_add_epi32(self.0[i], sums)
        }))
    }

    #[inline(always)]
    fn total_bytes(self) -> Lanes2 {
        self.total(0)
    }

    #[inline(always)]
    fn merge(self, other: Self) -> Self {
        Avx2(each!(i => _mm256_add_epi32(self.0[i], other.0[i])))
    }

    #[inline(always)]
    unsafe fn nibbles<const SUB: usize, const N: usize>(
        acc: &mut [Self; N],
        w: Nibbles,
        x: [*const i8; N],
        sums: [*const ChunkSums; N],
    ) {
        for j in 0..CHUNK / SUB {
            let zero = [ops!(_mm256_setzero_si256()); 2];
            let (mut hi, mut lo) = ([zero; N], [zero; N]);
            for c in (j * SUB..(j + 1) * SUB).step_by(8) {
                // SAFETY: the caller's promise.
                let (low, high) = unsafe { halves(w.q.add(c * 8)) };
                for n in 0..N {
                    for (q, at) in [(low, c), (high, c + 4)] {
                        // SAFETY: the caller's promise.
                        let x = unsafe { Self::inputs(x[n].add(at)) };
                        hi[n] = sixteens(hi[n], q, x.0);
                        lo[n] = sixteens(lo[n], q, x.1);
                    }
                }
            }
            // SAFETY: the caller's promise.
            let (m, z) = unsafe { (multipliers(w, j), offsets(w, j)) };
            let ones = each!(i => _mm256_or_si256(m[i], _mm256_slli_epi32::<16>(m[i])));
            // The value at q = 0, times 128 in the low half.
            let c = each!(i => _mm256_sub_epi32(z[i], _mm256_slli_epi32::<3>(m[i])));
            let c = each!(i => _mm256_blend_epi16::<0b1010_1010>(
                _mm256_slli_epi32::<7>(c[i]),
                _mm256_slli_epi32::<16>(c[i])
            ));
            for n in 0..N {
                // SAFETY: the caller's promise.
                let both = ops!(_mm256_set1_epi32((*sums[n]).of::<SUB>(j).both));
                acc[n] = Avx2(each!(i => {
                    let high = _mm256_madd_epi16(hi[n][i], _mm256_slli_epi16::<7>(ones[i]));
                    let low = _mm256_madd_epi16(lo[n][i], ones[i]);
                    let rest = _mm256_madd_epi16(both, c[i]);
                    let sum = _mm256_add_epi32(_mm256_add_epi32(high, low), rest);
                    _mm256_add_epi32(acc[n].0[i], sum)
                }));
            }
        }
    }

    #[inline(always)]
    unsafe fn expand<const SUB: usize>(w: Nibbles, out: &mut [i8; CHUNK * TILE]) {
        // SAFETY: the caller's promise.
        unsafe { expand::<SUB>(w, out) };
    }

    #[inline(always)]
    fn total(self, _: i32) -> Lanes2 {
        let [low, high] = each!(i => _mm256_cvtepi32_ps(self.0[i]));
        Lanes2(low, high)
    }
}

/// `sum` and the products of two columns each, in 16 bits.
#[inline(always)]
fn sixteens(sum: [__m256i; 2], q: [__m256i; 2], x: __m256i) -> [__m256i; 2] {
    each!(i => _mm256_add_epi16(sum[i], _mm256_maddubs_epi16(q[i], x)))
}

/// The low and the high nibbles of 64 bytes.
///
/// # Safety
/// 64 readable bytes at `p`.
#[inline(always)]
pub(super) unsafe fn halves(p: *const u8) -> ([__m256i; 2], [__m256i; 2]) {
    // SAFETY: the caller's promise; features as in `ops`.
    let q: [__m256i; 2] = unsafe {
        let p = p.cast::<__m256i>();
        [_mm256_loadu_si256(p), _mm256_loadu_si256(p.add(1))]
    };
    let mask = ops!(_mm256_set1_epi8(15));
    let low = each!(i => _mm256_and_si256(q[i], mask));
    let high = each!(i => _mm256_and_si256(_mm256_srli_epi16::<4>(q[i]), mask));
    (low, high)
}

/// m of sub-block `j`, in 32 bits.
///
/// # Safety
/// As [`Dots::nibbles`].
#[inline(always)]
pub(super) unsafe fn multipliers(w: Nibbles, j: usize) -> [__m256i; 2] {
    // SAFETY: the caller's promise; features as in `ops`.
    let m: [__m256i; 2] = unsafe {
        let p = w.m.add(j / 2 * TILE);
        [
            _mm256_cvtepu8_epi32(_mm_loadl_epi64(p.cast())),
            _mm256_cvtepu8_epi32(_mm_loadl_epi64(p.add(8).cast())),
        ]
    };
    match j % 2 {
        0 => each!(i => _mm256_and_si256(m[i], _mm256_set1_epi32(15))),
        _ => each!(i => _mm256_srli_epi32::<4>(m[i])),
    }
}

/// z of sub-block `j`, in 32 bits.
///
/// # Safety
/// As [`Dots::nibbles`].
#[inline(always)]
pub(super) unsafe fn offsets(w: Nibbles, j: usize) -> [__m256i; 2] {
    // SAFETY: the caller's promise; features as in `ops`.
    unsafe {
        let p = w.z.add(j * TILE);
        [
            _mm256_cvtepi8_epi32(_mm_loadl_epi64(p.cast())),
            _mm256_cvtepi8_epi32(_mm_loadl_epi64(p.add(8).cast())),
        ]
    }
}

/// [`Dots::expand`] in 256 bits.
///
/// # Safety
/// As there; the machine has AVX2.
#[inline(always)]
pub(super) unsafe fn expand<const SUB: usize>(w: Nibbles, out: &mut [i8; CHUNK * TILE]) {
    let mut out = out.as_mut_ptr().cast::<__m256i>();
    for j in 0..CHUNK / SUB {
        // SAFETY: the caller's promise.
        let (m, z) = unsafe { (multipliers(w, j), offsets(w, j)) };
        let m = each!(i => _mm256_or_si256(m[i], _mm256_slli_epi32::<16>(m[i])));
        let all = ops!(_mm256_broadcastsi128_si256(_mm_setr_epi32(
            FOUR[0], FOUR[1], FOUR[2], FOUR[3]
        )));
        // The value at q = 0, four times.
        let first = each!(i => _mm256_sub_epi8(z[i], _mm256_slli_epi16::<3>(m[i])));
        let first = each!(i => _mm256_shuffle_epi8(first[i], all));
        for c in (j * SUB..(j + 1) * SUB).step_by(8) {
            // SAFETY: the caller's promise.
            let (low, high) = unsafe { halves(w.q.add(c * 8)) };
            for q in [low, high] {
                // Two products at once: at most 225, neither reaches the other's byte.
                let value = each!(i => _mm256_mullo_epi16(q[i], m[i]));
                let value = each!(i => _mm256_add_epi8(value[i], first[i]));
                // SAFETY: `out` has 64 bytes for each 4 columns; features as in `ops`.
                unsafe {
                    _mm256_storeu_si256(out, value[0]);
                    _mm256_storeu_si256(out.add(1), value[1]);
                    out = out.add(2);
                }
            }
        }
    }
}
