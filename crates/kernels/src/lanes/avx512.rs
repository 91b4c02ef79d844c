//! The lanes in one AVX-512 register.
//!
//! Layout: lane l is lane l of the zmm register. Contract: see [`super`].
//! Measured: see the operations.

use std::arch::x86_64::*;

use super::{Body, LANES, Lanes, PairBody};

/// Runs `body` with AVX-512 on.
///
/// # Safety
/// The machine has AVX2, FMA, F16C and AVX-512 F, BW, DQ, VL.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
pub(crate) unsafe fn run<B: Body>(body: B) -> B::Out {
    body.run::<Avx512>()
}

/// Runs `B` likewise.
///
/// # Safety
/// The machine has AVX2, FMA, F16C and AVX-512 F, BW, DQ, VL. `n` readable elements at `a` and at `b`.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
pub(crate) unsafe fn run_pair<B: PairBody>(
    a: *const B::Element,
    b: *const B::Element,
    n: usize,
) -> B::Out {
    // SAFETY: the caller's promise.
    unsafe { B::run::<Avx512>(a, b, n) }
}

#[derive(Clone, Copy)]
pub(crate) struct Avx512(pub(crate) __m512);

/// Register-only intrinsics.
macro_rules! ops {
    ($e:expr) => {
        // SAFETY: an `Avx512` exists only under `run`, whose caller checked the features.
        unsafe { $e }
    };
}

impl Lanes for Avx512 {
    const WIDE: bool = true;
    type Wide = [__m512d; 2];

    #[inline(always)]
    fn splat(x: f32) -> Self {
        Avx512(ops!(_mm512_set1_ps(x)))
    }

    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the caller promises 16 readable floats; features as in `ops`.
        Avx512(unsafe { _mm512_loadu_ps(p) })
    }

    #[inline(always)]
    unsafe fn load_partial(p: *const f32, n: usize) -> Self {
        // SAFETY: masked-off lanes are not read; the caller promises the first n.
        Avx512(unsafe { _mm512_maskz_loadu_ps(first(n), p) })
    }

    #[inline(always)]
    unsafe fn load_f16(p: *const u16) -> Self {
        // SAFETY: the caller promises 32 readable bytes.
        Avx512(unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(p.cast())) })
    }

    #[inline(always)]
    unsafe fn load_bf16(p: *const u16) -> Self {
        // SAFETY: the caller promises 32 readable bytes.
        Avx512(unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        })
    }

    #[inline(always)]
    unsafe fn load_bf16_pairs(p: *const u16) -> [Self; 2] {
        // SAFETY: the caller promises 64 readable bytes.
        let x = unsafe { _mm512_loadu_si512(p.cast()) };
        ops!({
            let odd = _mm512_and_si512(x, _mm512_set1_epi32(!0xffff));
            [
                Avx512(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(x))),
                Avx512(_mm512_castsi512_ps(odd)),
            ]
        })
    }

    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> Self {
        // SAFETY: the caller promises 16 readable bytes.
        Avx512(unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast()))) })
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: the caller promises 16 writable floats.
        unsafe { _mm512_storeu_ps(p, self.0) };
    }

    #[inline(always)]
    unsafe fn store_partial(self, p: *mut f32, n: usize) {
        // SAFETY: masked-off lanes are not written; the caller promises the first n.
        unsafe { _mm512_mask_storeu_ps(p, first(n), self.0) };
    }

    #[inline(always)]
    fn to_f16(self) -> [u16; LANES] {
        let mut out = [0; LANES];
        // SAFETY: `out` has 32 bytes.
        unsafe {
            let narrow = _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT }>(self.0);
            _mm256_storeu_si256(out.as_mut_ptr().cast(), narrow);
        }
        out
    }

    #[inline(always)]
    fn to_bf16(x: [Self; 2]) -> [u16; 2 * LANES] {
        const UPPER: [u16; 2 * LANES] = odd_halves();
        let mut out = [0; 2 * LANES];
        // SAFETY: arrays of 64 bytes; features as in `ops`.
        unsafe {
            let (a, b) = (rounded_bf16(x[0].0), rounded_bf16(x[1].0));
            let upper = _mm512_loadu_si512(UPPER.as_ptr().cast());
            let both = _mm512_permutex2var_epi16(a, upper, b);
            _mm512_storeu_si512(out.as_mut_ptr().cast(), both);
        }
        out
    }

    #[inline(always)]
    fn to_bytes(x: [Self; 8]) -> ([i8; 8 * LANES], i32) {
        let mut out = [0; 8 * LANES];
        // SAFETY: `out` has 128 bytes; features as in `ops`.
        let sum = unsafe {
            let mut sum = _mm512_setzero_si512();
            for i in 0..2 {
                let a = _mm512_cvtps_epi32(x[4 * i].0);
                let b = _mm512_cvtps_epi32(x[4 * i + 1].0);
                let c = _mm512_cvtps_epi32(x[4 * i + 2].0);
                let d = _mm512_cvtps_epi32(x[4 * i + 3].0);
                let of_these = _mm512_add_epi32(_mm512_add_epi32(a, b), _mm512_add_epi32(c, d));
                sum = _mm512_add_epi32(sum, of_these);
                // Every 128 bits have four of a, of b, of c and of d.
                let (ab, cd) = (_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
                let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
                let bytes = _mm512_permutexvar_epi32(order, _mm512_packs_epi16(ab, cd));
                _mm512_storeu_si512(out.as_mut_ptr().add(4 * LANES * i).cast(), bytes);
            }
            _mm512_reduce_add_epi32(sum)
        };
        (out, sum)
    }

    #[inline(always)]
    fn largest<const N: usize>(x: [Self; N]) -> f32 {
        ops!({
            let mut most = _mm512_setzero_si512();
            for i in 0..N {
                let bits = _mm512_castps_si512(_mm512_abs_ps(x[i].0));
                most = _mm512_max_epu32(most, bits);
            }
            f32::from_bits(_mm512_reduce_max_epu32(most))
        })
    }

    #[inline(always)]
    fn add(self, b: Self) -> Self {
        Avx512(ops!(_mm512_add_ps(self.0, b.0)))
    }

    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        Avx512(ops!(_mm512_sub_ps(self.0, b.0)))
    }

    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        Avx512(ops!(_mm512_mul_ps(self.0, b.0)))
    }

    #[inline(always)]
    fn div(self, b: Self) -> Self {
        Avx512(ops!(_mm512_div_ps(self.0, b.0)))
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        Avx512(ops!(_mm512_sqrt_ps(self.0)))
    }

    #[inline(always)]
    fn fma(self, b: Self, c: Self) -> Self {
        Avx512(ops!(_mm512_fmadd_ps(self.0, b.0, c.0)))
    }

    #[inline(always)]
    fn neg(self) -> Self {
        Avx512(ops!(_mm512_xor_ps(self.0, _mm512_set1_ps(-0.0))))
    }

    #[inline(always)]
    fn abs(self) -> Self {
        Avx512(ops!(_mm512_abs_ps(self.0)))
    }

    #[inline(always)]
    fn min(self, b: Self) -> Self {
        Avx512(ops!(_mm512_min_ps(self.0, b.0)))
    }

    #[inline(always)]
    fn max(self, b: Self) -> Self {
        Avx512(ops!(_mm512_max_ps(self.0, b.0)))
    }

    #[inline(always)]
    fn select_lt(self, b: Self, yes: Self, no: Self) -> Self {
        Avx512(ops!({
            let less = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, b.0);
            _mm512_mask_blend_ps(less, no.0, yes.0)
        }))
    }

    #[inline(always)]
    fn round(self) -> Self {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        Avx512(ops!(_mm512_roundscale_ps::<NEAREST>(self.0)))
    }

    #[inline(always)]
    fn scale2(self, n: Self) -> Self {
        Avx512(ops!(_mm512_scalef_ps(self.0, n.0)))
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        ops!({
            let y = _mm256_add_ps(low(self.0), high(self.0));
            super::avx2::sum8(y)
        })
    }

    #[inline(always)]
    fn sum4(x: [Self; 4]) -> [f32; 4] {
        ops!({
            // (l, l + 8) of two vectors in one, (l, l + 4) of four in one: a quarter each.
            let ab = halves(x[0].0, x[1].0);
            let cd = halves(x[2].0, x[3].0);
            let even = _mm512_shuffle_f32x4::<0b10_00_10_00>(ab, cd);
            let odd = _mm512_shuffle_f32x4::<0b11_01_11_01>(ab, cd);
            let y = _mm512_add_ps(even, odd);
            let y = _mm512_add_ps(y, _mm512_permute_ps::<0b01_00_11_10>(y));
            let y = _mm512_add_ps(y, _mm512_permute_ps::<0b10_11_00_01>(y));
            let first = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
            let y = _mm512_castps512_ps128(_mm512_permutexvar_ps(first, y));
            let mut out = [0.0; 4];
            _mm_storeu_ps(out.as_mut_ptr(), y);
            out
        })
    }

    #[inline(always)]
    fn transposed(mut x: [Self; LANES]) -> [Self; LANES] {
        // Loops: a closure of `map` may stay outside of the function that has the instructions.
        let mut y = [ops!(_mm512_setzero_ps()); LANES];
        for i in 0..LANES {
            y[i] = x[i].0;
        }
        ops!(transpose(&mut y));
        for i in 0..LANES {
            x[i].0 = y[i];
        }
        x
    }

    #[inline(always)]
    fn wide_zero() -> [__m512d; 2] {
        [ops!(_mm512_setzero_pd()); 2]
    }

    #[inline(always)]
    fn widen(self) -> [__m512d; 2] {
        ops!([_mm512_cvtps_pd(low(self.0)), _mm512_cvtps_pd(high(self.0))])
    }

    #[inline(always)]
    fn wide_add(a: [__m512d; 2], b: [__m512d; 2]) -> [__m512d; 2] {
        ops!([_mm512_add_pd(a[0], b[0]), _mm512_add_pd(a[1], b[1])])
    }

    #[inline(always)]
    fn wide_sub(a: [__m512d; 2], b: [__m512d; 2]) -> [__m512d; 2] {
        ops!([_mm512_sub_pd(a[0], b[0]), _mm512_sub_pd(a[1], b[1])])
    }

    #[inline(always)]
    fn wide_fma(a: [__m512d; 2], b: [__m512d; 2], c: [__m512d; 2]) -> [__m512d; 2] {
        ops!([
            _mm512_fmadd_pd(a[0], b[0], c[0]),
            _mm512_fmadd_pd(a[1], b[1], c[1])
        ])
    }

    #[inline(always)]
    fn wide_sum(x: [__m512d; 2]) -> f64 {
        ops!({
            let y = _mm512_add_pd(x[0], x[1]);
            super::avx2::sum4(_mm256_add_pd(
                _mm512_castpd512_pd256(y),
                _mm512_extractf64x4_pd::<1>(y),
            ))
        })
    }

    #[inline(always)]
    fn max_lane(self) -> f32 {
        ops!({
            let y = _mm256_max_ps(low(self.0), high(self.0));
            super::avx2::max8(y)
        })
    }
}

/// The upper 16 bits of each 32.
const fn odd_halves() -> [u16; 2 * LANES] {
    let (mut order, mut i) = ([0; 2 * LANES], 0);
    while i < 2 * LANES {
        order[i] = 2 * i as u16 + 1;
        i += 1;
    }
    order
}

/// Rounded to bf16 in the upper halves; the lower ones are of no meaning.
#[inline(always)]
fn rounded_bf16(x: __m512) -> __m512i {
    ops!({
        let bits = _mm512_castps_si512(x);
        let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
        let half = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
        let rounded = _mm512_add_epi32(bits, half);
        let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
        _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x40_0000))
    })
}

#[inline(always)]
fn first(n: usize) -> __mmask16 {
    ((1u32 << n.min(LANES)) - 1) as __mmask16
}

#[inline(always)]
fn low(x: __m512) -> __m256 {
    ops!(_mm512_castps512_ps256(x))
}

#[inline(always)]
fn high(x: __m512) -> __m256 {
    ops!(_mm512_extractf32x8_ps::<1>(x))
}

/// Lanes l + (l + 8) of `a` in the lower half, of `b` in the upper.
#[inline(always)]
fn halves(a: __m512, b: __m512) -> __m512 {
    ops!({
        let low = _mm512_shuffle_f32x4::<0b01_00_01_00>(a, b);
        let high = _mm512_shuffle_f32x4::<0b11_10_11_10>(a, b);
        _mm512_add_ps(low, high)
    })
}

/// [`transpose`], of a copy.
///
/// # Safety
/// The machine has AVX-512.
#[inline(always)]
pub(crate) unsafe fn transposed(mut x: [__m512; 16]) -> [__m512; 16] {
    // SAFETY: the caller's promise.
    unsafe { transpose(&mut x) };
    x
}

/// Lane j of row i becomes lane i of row j.
///
/// # Safety
/// The machine has AVX-512.
#[inline(always)]
pub(crate) unsafe fn transpose(out: &mut [__m512; 16]) {
    let x = *out;
    ops!({
        // Of four rows in turn: u[4 b + c] has column 4 q + c of rows 4 b.. in its q-th 128 bits.
        let mut u = x;
        for b in (0..16).step_by(4) {
            let low = [
                _mm512_castps_pd(_mm512_unpacklo_ps(x[b], x[b + 1])),
                _mm512_castps_pd(_mm512_unpacklo_ps(x[b + 2], x[b + 3])),
            ];
            let high = [
                _mm512_castps_pd(_mm512_unpackhi_ps(x[b], x[b + 1])),
                _mm512_castps_pd(_mm512_unpackhi_ps(x[b + 2], x[b + 3])),
            ];
            u[b] = _mm512_castpd_ps(_mm512_unpacklo_pd(low[0], low[1]));
            u[b + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low[0], low[1]));
            u[b + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(high[0], high[1]));
            u[b + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(high[0], high[1]));
        }
        // Then 128 bits are the elements.
        for c in 0..4 {
            let even = _mm512_shuffle_f32x4::<0b10_00_10_00>(u[c], u[4 + c]);
            let odd = _mm512_shuffle_f32x4::<0b11_01_11_01>(u[c], u[4 + c]);
            let even_last = _mm512_shuffle_f32x4::<0b10_00_10_00>(u[8 + c], u[12 + c]);
            let odd_last = _mm512_shuffle_f32x4::<0b11_01_11_01>(u[8 + c], u[12 + c]);
            out[c] = _mm512_shuffle_f32x4::<0b10_00_10_00>(even, even_last);
            out[4 + c] = _mm512_shuffle_f32x4::<0b10_00_10_00>(odd, odd_last);
            out[8 + c] = _mm512_shuffle_f32x4::<0b11_01_11_01>(even, even_last);
            out[12 + c] = _mm512_shuffle_f32x4::<0b11_01_11_01>(odd, odd_last);
        }
    });
}
