//! Pairs of vectors, added up in f64.
//!
//! Layout: elements as they lie, widened as they are loaded; element i belongs to sum i / 16 % 2,
//! lane i % 16.
//! Contract: products of elements are exact in f64; each lane adds its elements in order, then the two
//! sums, then the lanes along the tree. All instruction sets give the same bits. The error is below
//! (n / 32 + 6) 2^-53 times the sum of the absolute terms: for ordinary sizes the exact result,
//! rounded once or twice. Squares neither overflow nor vanish.
//! Measured: see [`super`].

use std::marker::PhantomData;

use super::float::{Dot, Products, Squared};
use crate::dense::Format;
use crate::lanes::{LANES, Lanes, PairBody};

/// What two elements add to a sum in f64.
pub(super) trait WideMeasure {
    fn step<L: Lanes>(a: L::Wide, b: L::Wide, sum: L::Wide) -> L::Wide;
}

impl WideMeasure for Dot {
    #[inline(always)]
    fn step<L: Lanes>(a: L::Wide, b: L::Wide, sum: L::Wide) -> L::Wide {
        L::wide_fma(a, b, sum)
    }
}

impl WideMeasure for Squared {
    #[inline(always)]
    fn step<L: Lanes>(a: L::Wide, b: L::Wide, sum: L::Wide) -> L::Wide {
        let apart = L::wide_sub(a, b);
        L::wide_fma(apart, apart, sum)
    }
}

/// What a walk over two vectors adds up.
trait Sums<L: Lanes> {
    /// Adds a vector of each side to the sums of number `s`, 0 or 1.
    fn step(&mut self, s: usize, a: L, b: L);
}

struct MeasureSums<L: Lanes, M>([L::Wide; 2], PhantomData<M>);

impl<L: Lanes, M: WideMeasure> Sums<L> for MeasureSums<L, M> {
    #[inline(always)]
    fn step(&mut self, s: usize, a: L, b: L) {
        self.0[s] = M::step::<L>(a.widen(), b.widen(), self.0[s]);
    }
}

struct ProductSums<L: Lanes>(Products<[L::Wide; 2]>);

impl<L: Lanes> Sums<L> for ProductSums<L> {
    #[inline(always)]
    fn step(&mut self, s: usize, a: L, b: L) {
        let (a, b, sums) = (a.widen(), b.widen(), &mut self.0);
        sums.ab[s] = L::wide_fma(a, b, sums.ab[s]);
        sums.aa[s] = L::wide_fma(a, a, sums.aa[s]);
        sums.bb[s] = L::wide_fma(b, b, sums.bb[s]);
    }
}

/// Adds two vectors of `n` elements to `sums`.
///
/// # Safety
/// `n` readable elements at `a` and at `b`.
#[inline(always)]
unsafe fn walk<L: Lanes, F: Format>(
    a: *const F::Bits,
    b: *const F::Bits,
    n: usize,
    sums: &mut impl Sums<L>,
) {
    let mut i = 0;
    // SAFETY: all that is loaded lies below n.
    unsafe {
        while i + 2 * LANES <= n {
            let at = i + LANES;
            sums.step(0, F::load(a.add(i)), F::load(b.add(i)));
            sums.step(1, F::load(a.add(at)), F::load(b.add(at)));
            i += 2 * LANES;
        }
        if i < n {
            let (a, b, left) = (a.add(i), b.add(i), n - i);
            sums.step(0, F::load_up_to(a, left), F::load_up_to(b, left));
            let (a, b) = (a.wrapping_add(LANES), b.wrapping_add(LANES));
            let left = left.saturating_sub(LANES);
            sums.step(1, F::load_up_to(a, left), F::load_up_to(b, left));
        }
    }
}

#[inline(always)]
fn total<L: Lanes>(sums: [L::Wide; 2]) -> f64 {
    L::wide_sum(L::wide_add(sums[0], sums[1]))
}

/// The measure M of two vectors of one length.
pub(super) struct Pair<M, F>(PhantomData<(M, F)>);

impl<M: WideMeasure, F: Format> PairBody for Pair<M, F> {
    type Element = F::Bits;
    type Out = f64;

    #[inline(always)]
    unsafe fn run<L: Lanes>(a: *const F::Bits, b: *const F::Bits, n: usize) -> f64 {
        let mut sums = MeasureSums::<L, M>([L::wide_zero(); 2], PhantomData);
        // SAFETY: the caller's promise.
        unsafe { walk::<L, F>(a, b, n, &mut sums) };
        total::<L>(sums.0)
    }
}

/// All three dot products of two vectors of one length.
pub(super) struct PairProducts<F>(PhantomData<F>);

impl<F: Format> PairBody for PairProducts<F> {
    type Element = F::Bits;
    type Out = Products<f64>;

    #[inline(always)]
    unsafe fn run<L: Lanes>(a: *const F::Bits, b: *const F::Bits, n: usize) -> Products<f64> {
        let zero = [L::wide_zero(); 2];
        let mut sums = ProductSums::<L>(Products {
            ab: zero,
            aa: zero,
            bb: zero,
        });
        // SAFETY: the caller's promise.
        unsafe { walk::<L, F>(a, b, n, &mut sums) };
        Products {
            ab: total::<L>(sums.0.ab),
            aa: total::<L>(sums.0.aa),
            bb: total::<L>(sums.0.bb),
        }
    }
}
