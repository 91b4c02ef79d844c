//! Pairs of bf16 vectors.
//!
//! Layout: bf16 bits as they lie, two at a time: those of even and those of odd index.
//! Contract: element i belongs to sum i / 32 % 2 * 2 + i % 2, lane i % 32 / 2; then as
//! [`super::float`]: the same bits on all instruction sets, the error below (n / 64 + 7) u.
//! Dot products go to `vdpbf16ps` where there is one: element i belongs to sum i / 32 % 4, whose
//! lanes take two products at once, in the processor's own order, subnormal numbers counting as
//! zeros. Those bits differ from the others; the error is below (n / 64 + 8) u.
//! Measured: see [`super`].

use std::marker::PhantomData;

use super::float::{Dot, Measure, MeasureSums, ProductSums, Products, Sums};
use crate::lanes::{Lanes, PairBody};

/// Elements of a step.
const STEP: usize = 32;

/// Adds two vectors of `n` elements to `sums`.
///
/// # Safety
/// `n` readable elements at `a` and at `b`.
#[inline(always)]
unsafe fn walk<L: Lanes>(a: *const u16, b: *const u16, n: usize, sums: &mut impl Sums<L>) {
    let mut i = 0;
    // SAFETY: 32 elements from each place on, in the vectors or in a padded copy.
    unsafe {
        while i + 2 * STEP <= n {
            pairs(0, a.add(i), b.add(i), sums);
            pairs(1, a.add(i + STEP), b.add(i + STEP), sums);
            i += 2 * STEP;
        }
        if i < n {
            let (a, b) = (padded(a.add(i), n - i), padded(b.add(i), n - i));
            pairs(0, a.as_ptr(), b.as_ptr(), sums);
            pairs(1, a[STEP..].as_ptr(), b[STEP..].as_ptr(), sums);
        }
    }
}

/// Adds 32 elements to the sums of number 2 `half` and the next.
///
/// # Safety
/// 32 readable elements at `a` and at `b`.
#[inline(always)]
unsafe fn pairs<L: Lanes>(half: usize, a: *const u16, b: *const u16, sums: &mut impl Sums<L>) {
    // SAFETY: the caller's promise.
    let ([a0, a1], [b0, b1]) = unsafe { (L::load_bf16_pairs(a), L::load_bf16_pairs(b)) };
    sums.step(2 * half, a0, b0);
    sums.step(2 * half + 1, a1, b1);
}

/// # Safety
/// `n` readable elements at `p`, n < 64.
#[inline(always)]
unsafe fn padded(p: *const u16, n: usize) -> [u16; 2 * STEP] {
    let mut all = [0; 2 * STEP];
    // SAFETY: the caller's promise; `all` has 64.
    unsafe { std::ptr::copy_nonoverlapping(p, all.as_mut_ptr(), n.min(2 * STEP)) };
    all
}

/// # Safety
/// `n` readable elements at `a` and at `b`.
#[inline(always)]
pub(super) unsafe fn measure<L: Lanes, M: Measure>(a: *const u16, b: *const u16, n: usize) -> f32 {
    let mut sums = MeasureSums::<L, M>::zero();
    // SAFETY: the caller's promise.
    unsafe { walk(a, b, n, &mut sums) };
    sums.total()
}

/// # Safety
/// `n` readable elements at `a` and at `b`.
#[inline(always)]
pub(super) unsafe fn products<L: Lanes>(a: *const u16, b: *const u16, n: usize) -> Products<f32> {
    if !L::WIDE {
        // SAFETY: the caller's promise.
        return unsafe {
            Products {
                ab: measure::<L, Dot>(a, b, n),
                aa: measure::<L, Dot>(a, a, n),
                bb: measure::<L, Dot>(b, b, n),
            }
        };
    }
    let mut sums = ProductSums::<L>::zero();
    // SAFETY: the caller's promise.
    unsafe { walk(a, b, n, &mut sums) };
    sums.total()
}

/// The measure M of two vectors of one length.
pub(super) struct Pair<M>(PhantomData<M>);

impl<M: Measure> PairBody for Pair<M> {
    type Element = u16;
    type Out = f32;

    #[inline(always)]
    unsafe fn run<L: Lanes>(a: *const u16, b: *const u16, n: usize) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { measure::<L, M>(a, b, n) }
    }
}

/// All three dot products of two vectors of one length.
pub(super) struct PairProducts;

impl PairBody for PairProducts {
    type Element = u16;
    type Out = Products<f32>;

    #[inline(always)]
    unsafe fn run<L: Lanes>(a: *const u16, b: *const u16, n: usize) -> Products<f32> {
        // SAFETY: the caller's promise.
        unsafe { products::<L>(a, b, n) }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod vdpbf16 {
    //! By `vdpbf16ps`.

    use std::arch::x86_64::*;

    use super::super::float::{Products, SUMS, merge, sum_products};
    use super::super::rows::AHEAD;
    use super::STEP;
    use crate::lanes::Lanes as _;
    use crate::lanes::avx512::Avx512;
    use crate::linear::prefetch;

    /// What a walk adds up.
    trait Sums {
        /// # Safety
        /// Inside a function that has AVX512-BF16 and BMI2 on.
        unsafe fn step(&mut self, s: usize, a: __m512bh, b: __m512bh);
    }

    struct DotSums([__m512; SUMS]);

    impl Sums for DotSums {
        #[inline(always)]
        unsafe fn step(&mut self, s: usize, a: __m512bh, b: __m512bh) {
            // SAFETY: the caller's promise.
            self.0[s] = unsafe { _mm512_dpbf16_ps(self.0[s], a, b) };
        }
    }

    struct ProductSums(Products<[__m512; SUMS]>);

    impl Sums for ProductSums {
        #[inline(always)]
        unsafe fn step(&mut self, s: usize, a: __m512bh, b: __m512bh) {
            let sums = &mut self.0;
            // SAFETY: the caller's promise.
            unsafe {
                sums.ab[s] = _mm512_dpbf16_ps(sums.ab[s], a, b);
                sums.aa[s] = _mm512_dpbf16_ps(sums.aa[s], a, a);
                sums.bb[s] = _mm512_dpbf16_ps(sums.bb[s], b, b);
            }
        }
    }

    /// # Safety
    /// The machine has AVX512-BF16 and BMI2; `n` readable elements at `a` and at `b`.
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,bmi2")]
    pub(crate) unsafe fn dot(a: *const u16, b: *const u16, n: usize) -> f32 {
        // SAFETY: the features are on, and the caller's promise.
        unsafe { dot_inline(a, b, n) }
    }

    /// # Safety
    /// Inside a function that has AVX512-BF16 and BMI2 on; `n` readable elements at `a` and at `b`.
    #[inline(always)]
    pub(crate) unsafe fn dot_inline(a: *const u16, b: *const u16, n: usize) -> f32 {
        // SAFETY: the caller's promise.
        unsafe {
            let mut sums = DotSums([_mm512_setzero_ps(); SUMS]);
            walk(a, b, n, &mut sums);
            one(sums.0).sum()
        }
    }

    /// # Safety
    /// The machine has AVX512-BF16 and BMI2; `n` readable elements at `a` and at `b`.
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,bmi2")]
    pub(crate) unsafe fn products(a: *const u16, b: *const u16, n: usize) -> Products<f32> {
        // SAFETY: the features are on, and the caller's promise.
        unsafe { products_inline(a, b, n) }
    }

    /// # Safety
    /// Inside a function that has AVX512-BF16 and BMI2 on; `n` readable elements at `a` and at `b`.
    #[inline(always)]
    pub(crate) unsafe fn products_inline(a: *const u16, b: *const u16, n: usize) -> Products<f32> {
        // SAFETY: the caller's promise.
        unsafe {
            let zero = [_mm512_setzero_ps(); SUMS];
            let mut sums = ProductSums(Products {
                ab: zero,
                aa: zero,
                bb: zero,
            });
            walk(a, b, n, &mut sums);
            let Products { ab, aa, bb } = sums.0;
            sum_products(one(ab), one(aa), one(bb))
        }
    }

    /// The dot products of `a` and four rows, one behind the other. Asks for what lies ahead of them.
    ///
    /// # Safety
    /// Inside a function that has AVX512-BF16 and BMI2 on; `n` readable elements at `a`, four times as
    /// many at `rows`.
    #[inline(always)]
    pub(crate) unsafe fn four_dots(a: *const u16, rows: *const u16, n: usize) -> [f32; 4] {
        // SAFETY: the caller's promise. Short rows come faster from memory two at a time.
        unsafe {
            let [x, y] = two_rows(a, rows, n);
            let [z, w] = two_rows(a, rows.add(2 * n), n);
            Avx512::sum4([x, y, z, w])
        }
    }

    /// The lanes of the dot products of `a` and two rows, as [`four_dots`].
    ///
    /// # Safety
    /// Inside a function that has AVX512-BF16 and BMI2 on; `n` readable elements at `a`, twice as many at
    /// `rows`.
    #[inline(always)]
    unsafe fn two_rows(a: *const u16, rows: *const u16, n: usize) -> [Avx512; 2] {
        let mut sums = [[Avx512::zero().0; SUMS]; 2];
        let mut i = 0;
        // SAFETY: the caller's promise; the mask reads what is left of a row.
        unsafe {
            while i + SUMS * STEP <= n {
                for s in 0..SUMS {
                    let at = i + s * STEP;
                    let x = load(a.add(at));
                    for r in 0..2 {
                        let line = rows.wrapping_add(2 * at + r * STEP).cast::<u8>();
                        prefetch(line.wrapping_add(AHEAD));
                        sums[r][s] = _mm512_dpbf16_ps(sums[r][s], x, load(rows.add(r * n + at)));
                    }
                }
                i += SUMS * STEP;
            }
            if i < n {
                for s in 0..SUMS {
                    let at = i + s * STEP;
                    let mask = _bzhi_u32(u32::MAX, n.saturating_sub(at).min(STEP) as u32);
                    let x = bf16(_mm512_maskz_loadu_epi16(mask, a.wrapping_add(at).cast()));
                    for r in 0..2 {
                        let row = rows.wrapping_add(r * n + at).cast();
                        let y = bf16(_mm512_maskz_loadu_epi16(mask, row));
                        sums[r][s] = _mm512_dpbf16_ps(sums[r][s], x, y);
                    }
                }
            }
        }
        [one(sums[0]), one(sums[1])]
    }

    #[inline(always)]
    fn one(x: [__m512; SUMS]) -> Avx512 {
        merge([Avx512(x[0]), Avx512(x[1]), Avx512(x[2]), Avx512(x[3])])
    }

    /// # Safety
    /// Inside a function that has AVX512-BF16 and BMI2 on; `n` readable elements at `a` and at `b`.
    #[inline(always)]
    unsafe fn walk(a: *const u16, b: *const u16, n: usize, sums: &mut impl Sums) {
        let mut i = 0;
        // SAFETY: a step has 32 elements, the last as many as its mask.
        unsafe {
            while i + SUMS * STEP <= n {
                for s in 0..SUMS {
                    let at = i + s * STEP;
                    sums.step(s, load(a.add(at)), load(b.add(at)));
                }
                i += SUMS * STEP;
            }
            if i < n {
                for s in 0..SUMS {
                    let at = i + s * STEP;
                    let mask = _bzhi_u32(u32::MAX, n.saturating_sub(at).min(STEP) as u32);
                    let a = _mm512_maskz_loadu_epi16(mask, a.wrapping_add(at).cast());
                    let b = _mm512_maskz_loadu_epi16(mask, b.wrapping_add(at).cast());
                    sums.step(s, bf16(a), bf16(b));
                }
            }
        }
    }

    /// # Safety
    /// 32 readable elements at `p`, inside a function that has AVX-512 on.
    #[inline(always)]
    unsafe fn load(p: *const u16) -> __m512bh {
        // SAFETY: the caller's promise.
        bf16(unsafe { _mm512_loadu_si512(p.cast()) })
    }

    /// The same bits as bf16.
    #[inline(always)]
    fn bf16(x: __m512i) -> __m512bh {
        // SAFETY: both are 64 bytes, and all bits are valid in both.
        unsafe { std::mem::transmute(x) }
    }
}
