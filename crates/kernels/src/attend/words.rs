//! What chains of products go through: floats, or pairs of bf16 in the place of one.
//!
//! Layout: a word is 32 bits: an f32, or two bf16, the first in the lower half. Words lie in memory
//! for floats and are never read as such.
//! Contract: [`Floats`] has the same bits on every instruction set; pairs are the processor's.
//! Measured: with [`super::whole`].

use std::marker::PhantomData;

use crate::lanes::{LANES, Lanes};
use crate::math;
use crate::panel::float;

/// A kind of word and the lanes beside it.
pub(super) trait Words {
    type Float: Lanes;
    /// Values of a word.
    const PER_WORD: usize;

    /// Words of `n` values.
    #[inline(always)]
    fn words(n: usize) -> usize {
        n.div_ceil(Self::PER_WORD)
    }

    /// What scores are multiplied by before [`Words::exp`] takes them.
    fn scale(scale: f32) -> Self::Float;

    /// e^(score scaled - most), of a score of at most `most`, which is scaled already, as near as a word keeps it.
    fn exp(score: Self::Float, scale: Self::Float, most: Self::Float) -> Self::Float;

    /// Words of a number of one row and, of two to a word, one of the next.
    fn joined(a: Self::Float, b: Self::Float) -> Self::Float;

    /// From 16 words of one row and 16 of the next, words of a column of both each, the first 16 columns in the
    /// first vector; of one column to a word, those of the first row.
    fn columns(a: Self::Float, b: Self::Float) -> [Self::Float; 2];

    /// V vectors (1 where the lanes are not wide) of the chains of N rows over `n` words, whose words are S apart;
    /// `w`: the words and their stride.
    ///
    /// # Safety
    /// As [`float::chain`].
    unsafe fn chain<const V: usize, const N: usize, const S: usize>(
        w: (*const f32, usize),
        x: [*const f32; N],
        n: usize,
    ) -> [[Self::Float; V]; N];
}

/// Writes `sums` to `out`, rows `stride` apart.
#[inline(always)]
pub(super) fn put<L: Lanes, const V: usize, const N: usize>(
    sums: [[L; V]; N],
    out: &mut [f32],
    stride: usize,
) {
    assert!(out.len() >= (N - 1) * stride + V * LANES);
    for (n, sums) in sums.into_iter().enumerate() {
        for (v, sum) in sums.into_iter().enumerate() {
            // SAFETY: as asserted, 16 floats lie there.
            unsafe { sum.store(out.as_mut_ptr().add(n * stride + v * LANES)) };
        }
    }
}

/// Floats.
pub(super) struct Floats<L>(PhantomData<L>);

impl<L: Lanes> Words for Floats<L> {
    type Float = L;
    const PER_WORD: usize = 1;

    #[inline(always)]
    fn scale(scale: f32) -> L {
        L::splat(scale)
    }

    #[inline(always)]
    fn exp(score: L, scale: L, most: L) -> L {
        math::exp(score.mul(scale).sub(most))
    }

    #[inline(always)]
    fn joined(a: L, _: L) -> L {
        a
    }

    #[inline(always)]
    fn columns(a: L, b: L) -> [L; 2] {
        [a, b]
    }

    #[inline(always)]
    unsafe fn chain<const V: usize, const N: usize, const S: usize>(
        (w, stride): (*const f32, usize),
        x: [*const f32; N],
        n: usize,
    ) -> [[L; V]; N] {
        // SAFETY: the caller's promise.
        unsafe { float::chain::<L, V, N, S>(w, stride, x, n) }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use pairs::{Pairs, run as run_pairs};

#[cfg(target_arch = "x86_64")]
mod pairs {
    use std::arch::x86_64::*;

    use super::super::whole::Whole;
    use super::Words;
    use crate::lanes::avx512::Avx512;
    use crate::lanes::{LANES, Lanes as _};
    use crate::math;
    use crate::panel::bf16::chain;

    /// Runs a task on pairs of bf16.
    ///
    /// # Safety
    /// The machine has [`crate::Bf16Isa::Avx512Bf16`].
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    pub(in super::super) unsafe fn run(task: Whole<'_>) {
        task.run_words::<Pairs>();
    }

    /// Pairs of bf16. Its functions are for those alone that have the features of [`run`].
    pub(in super::super) struct Pairs;

    /// The words (a, b) of 16 columns, from all a and then all b.
    const fn order() -> [u16; 32] {
        let (mut order, mut i) = ([0; 32], 0);
        while i < 32 {
            order[i] = (i / 2 + i % 2 * LANES) as u16;
            i += 1;
        }
        order
    }

    /// Of a and b, 32 columns each, those from `first` on in turn.
    const fn between(first: u16) -> [u16; 32] {
        let (mut order, mut i) = ([0; 32], 0);
        while i < 32 {
            order[i] = first + i as u16 / 2 + i as u16 % 2 * 32;
            i += 1;
        }
        order
    }

    /// Register-only intrinsics.
    macro_rules! ops {
        ($e:expr) => {
            // SAFETY: `Pairs` is for those who have the features.
            unsafe { $e }
        };
    }

    impl Pairs {
        /// Words of 32 values of one row.
        #[inline(always)]
        pub(in super::super) fn both(low: Avx512, high: Avx512) -> Avx512 {
            Avx512(ops!(std::mem::transmute::<__m512bh, __m512>(
                _mm512_cvtne2ps_pbh(high.0, low.0)
            )))
        }

        /// The 16 values of 8 words from word `word` on.
        #[inline(always)]
        pub(in super::super) fn widened(x: &[f32], word: usize) -> Avx512 {
            let words = Avx512::get(x, word);
            ops!({
                let words = _mm256_castps_si256(_mm512_castps512_ps256(words.0));
                let halves = _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(words));
                Avx512(_mm512_castsi512_ps(halves))
            })
        }
    }

    impl Words for Pairs {
        type Float = Avx512;
        const PER_WORD: usize = 2;

        #[inline(always)]
        fn scale(scale: f32) -> Avx512 {
            Avx512::splat(scale * math::LOG2_E)
        }

        #[inline(always)]
        fn exp(score: Avx512, scale: Avx512, most: Avx512) -> Avx512 {
            math::exp2_coarse(score.fma(scale, most.neg()))
        }

        #[inline(always)]
        fn joined(a: Avx512, b: Avx512) -> Avx512 {
            const ORDER: [u16; 32] = order();
            Avx512(ops!({
                let both = _mm512_cvtne2ps_pbh(b.0, a.0);
                let both = std::mem::transmute::<__m512bh, __m512i>(both);
                let order = _mm512_loadu_si512(ORDER.as_ptr().cast());
                _mm512_castsi512_ps(_mm512_permutexvar_epi16(order, both))
            }))
        }

        #[inline(always)]
        fn columns(a: Avx512, b: Avx512) -> [Avx512; 2] {
            const LOW: [u16; 32] = between(0);
            const HIGH: [u16; 32] = between(LANES as u16);
            ops!({
                let (a, b) = (_mm512_castps_si512(a.0), _mm512_castps_si512(b.0));
                let low = _mm512_loadu_si512(LOW.as_ptr().cast());
                let high = _mm512_loadu_si512(HIGH.as_ptr().cast());
                [
                    Avx512(_mm512_castsi512_ps(_mm512_permutex2var_epi16(a, low, b))),
                    Avx512(_mm512_castsi512_ps(_mm512_permutex2var_epi16(a, high, b))),
                ]
            })
        }

        #[inline(always)]
        unsafe fn chain<const V: usize, const N: usize, const S: usize>(
            (w, stride): (*const f32, usize),
            x: [*const f32; N],
            n: usize,
        ) -> [[Avx512; V]; N] {
            let mut words = [std::ptr::null::<i32>(); N];
            for i in 0..N {
                words[i] = x[i].cast();
            }
            // SAFETY: the caller's promise; the features as in `ops`.
            unsafe { chain::<V, N, S>(w.cast(), stride, words, n) }
        }
    }
}
