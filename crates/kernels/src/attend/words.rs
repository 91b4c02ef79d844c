//! What chains of products go through: floats, or pairs of bf16 in the place of one.
//!
//! Layout: a word is 32 bits: an f32, or two bf16, the first in the lower half. Words lie in memory
//! for floats and are never read as such.
//! Contract: [`Floats`] has the same bits on every instruction set; pairs are the processor's.
//! Measured: with [`super::whole`].

use std::marker::PhantomData;

use crate::lanes::Lanes;
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

    /// 16 words of `x` from word `word` on, zeros beyond its end.
    fn row(x: &[f32], word: usize) -> Self::Float;

    /// Words of a value of one row and one of the next.
    fn joined(a: Self::Float, b: impl FnOnce() -> Self::Float) -> Self::Float;

    /// The words of `x`, in `room` unless they are `x`.
    fn words_of<'a>(x: &'a [f32], room: &'a mut [f32]) -> &'a [f32];

    /// Makes words of `x`, at its front.
    fn narrow(x: &mut [f32]);

    /// `vectors` (1 to 4; 1 where the lanes are not wide) vectors of the chains of N rows over `n` words
    /// to `out`, whose rows are `out_stride` apart; `w`: the words and their stride.
    ///
    /// # Safety
    /// As [`float::chain`].
    unsafe fn chain_to<const N: usize>(
        vectors: usize,
        w: (*const f32, usize),
        x: [*const f32; N],
        n: usize,
        out: &mut [f32],
        out_stride: usize,
    );
}

/// Writes `sums` to `out`.
#[inline(always)]
fn put<L: Lanes, const V: usize, const N: usize>(
    sums: [[L; V]; N],
    out: &mut [f32],
    stride: usize,
) {
    for (n, sums) in sums.into_iter().enumerate() {
        for (v, sum) in sums.into_iter().enumerate() {
            sum.put(&mut out[n * stride..], v * 16);
        }
    }
}

/// Floats.
pub(super) struct Floats<L>(PhantomData<L>);

impl<L: Lanes> Words for Floats<L> {
    type Float = L;
    const PER_WORD: usize = 1;

    #[inline(always)]
    fn row(x: &[f32], word: usize) -> L {
        L::get(x, word)
    }

    #[inline(always)]
    fn joined(a: L, _: impl FnOnce() -> L) -> L {
        a
    }

    #[inline(always)]
    fn words_of<'a>(x: &'a [f32], _: &'a mut [f32]) -> &'a [f32] {
        x
    }

    #[inline(always)]
    fn narrow(_: &mut [f32]) {}

    #[inline(always)]
    unsafe fn chain_to<const N: usize>(
        vectors: usize,
        (w, stride): (*const f32, usize),
        x: [*const f32; N],
        n: usize,
        out: &mut [f32],
        out_stride: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            match (L::WIDE, vectors) {
                (true, 2) => put(float::chain::<L, 2, N>(w, stride, x, n), out, out_stride),
                (true, 3) => put(float::chain::<L, 3, N>(w, stride, x, n), out, out_stride),
                (true, 4) => put(float::chain::<L, 4, N>(w, stride, x, n), out, out_stride),
                _ => put(float::chain::<L, 1, N>(w, stride, x, n), out, out_stride),
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use pairs::run as run_pairs;

#[cfg(target_arch = "x86_64")]
mod pairs {
    use std::arch::x86_64::*;

    use super::super::whole::Whole;
    use super::{Words, put};
    use crate::lanes::avx512::Avx512;
    use crate::lanes::{LANES, Lanes as _};
    use crate::panel::bf16::chain;

    /// Runs a task on pairs of bf16.
    ///
    /// # Safety
    /// The machine has [`crate::Bf16Isa::Avx512Bf16`].
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    pub(in super::super) unsafe fn run(task: Whole<'_>) {
        task.run_words::<Pairs>();
    }

    /// Pairs of bf16.
    struct Pairs;

    /// Register-only intrinsics.
    macro_rules! ops {
        ($e:expr) => {
            // SAFETY: `Pairs` is named under `run` alone, whose caller checked the features.
            unsafe { $e }
        };
    }

    impl Words for Pairs {
        type Float = Avx512;
        const PER_WORD: usize = 2;

        #[inline(always)]
        fn row(x: &[f32], word: usize) -> Avx512 {
            let (low, high) = (Avx512::get(x, 2 * word), Avx512::get(x, 2 * word + LANES));
            Avx512(ops!(std::mem::transmute::<__m512bh, __m512>(
                _mm512_cvtne2ps_pbh(high.0, low.0)
            )))
        }

        #[inline(always)]
        fn joined(a: Avx512, b: impl FnOnce() -> Avx512) -> Avx512 {
            let b = b();
            // The words (a, b) of 16 columns, from all a and then all b.
            let order: [u16; 32] = std::array::from_fn(|i| (i / 2 + i % 2 * LANES) as u16);
            Avx512(ops!({
                let both = _mm512_cvtne2ps_pbh(b.0, a.0);
                let both = std::mem::transmute::<__m512bh, __m512i>(both);
                let order = _mm512_loadu_si512(order.as_ptr().cast());
                _mm512_castsi512_ps(_mm512_permutexvar_epi16(order, both))
            }))
        }

        #[inline(always)]
        fn words_of<'a>(x: &'a [f32], room: &'a mut [f32]) -> &'a [f32] {
            for word in (0..Self::words(x.len())).step_by(LANES) {
                Self::row(x, word).put(room, word);
            }
            room
        }

        #[inline(always)]
        fn narrow(x: &mut [f32]) {
            for word in (0..Self::words(x.len())).step_by(LANES) {
                let words = Self::row(x, word);
                words.put(x, word);
            }
        }

        #[inline(always)]
        unsafe fn chain_to<const N: usize>(
            vectors: usize,
            (w, stride): (*const f32, usize),
            x: [*const f32; N],
            n: usize,
            out: &mut [f32],
            out_stride: usize,
        ) {
            let (w, x) = (w.cast::<i32>(), x.map(|x| x.cast::<i32>()));
            // SAFETY: the caller's promise; the features as in `ops`.
            unsafe {
                match vectors {
                    1 => put(chain::<1, N>(w, stride, x, n), out, out_stride),
                    2 => put(chain::<2, N>(w, stride, x, n), out, out_stride),
                    3 => put(chain::<3, N>(w, stride, x, n), out, out_stride),
                    _ => put(chain::<4, N>(w, stride, x, n), out, out_stride),
                }
            }
        }
    }
}
