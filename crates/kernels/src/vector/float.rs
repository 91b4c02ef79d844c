//! Pairs of float vectors: dot products, squared and absolute differences.
//!
//! Layout: elements as they lie, widened to f32 as they are loaded.
//! Contract: element i belongs to sum i / 16 % 4, lane i % 16; the last 64 are filled up with zeros; each lane adds its elements in order,
//! with fused multiply-add where it multiplies. Then (sum 0 + sum 1) + (sum 2 + sum 3), then the
//! lanes along the tree of [`crate::lanes`]. All instruction sets give the same bits. With u = 2^-24
//! the error is below (n / 64 + 7) u times the sum of the absolute terms, where nothing overflows;
//! a difference is one more rounding of its term.
//! NaN in either vector, or infinities that cancel, give NaN.
//! Measured: see [`super`].

use std::marker::PhantomData;

use super::rows::AHEAD;
use crate::dense::Format;
use crate::lanes::{LANES, Lanes, PairBody};
use crate::linear::{LINE_BYTES, prefetch};

/// Independent sums: so many multiply-adds are under way at once.
pub(super) const SUMS: usize = 4;

/// What two elements add to a sum.
pub(crate) trait Measure {
    fn step<L: Lanes>(a: L, b: L, sum: L) -> L;
}

/// The sum of a b.
pub(crate) struct Dot;
/// The sum of (a - b)^2.
pub(crate) struct Squared;
/// The sum of |a - b|.
pub(crate) struct Absolute;

impl Measure for Dot {
    #[inline(always)]
    fn step<L: Lanes>(a: L, b: L, sum: L) -> L {
        a.fma(b, sum)
    }
}

impl Measure for Squared {
    #[inline(always)]
    fn step<L: Lanes>(a: L, b: L, sum: L) -> L {
        let apart = a.sub(b);
        apart.fma(apart, sum)
    }
}

impl Measure for Absolute {
    #[inline(always)]
    fn step<L: Lanes>(a: L, b: L, sum: L) -> L {
        sum.add(a.sub(b).abs())
    }
}

/// What a walk over two vectors adds up.
pub(super) trait Sums<L: Lanes>: Sized {
    fn zero() -> Self;
    /// Adds a vector of each side to the sums of number `s`, below [`SUMS`].
    fn step(&mut self, s: usize, a: L, b: L);
}

/// The sums of the measure M.
pub(super) struct MeasureSums<L, M>([L; SUMS], PhantomData<M>);

impl<L: Lanes, M: Measure> Sums<L> for MeasureSums<L, M> {
    #[inline(always)]
    fn zero() -> Self {
        MeasureSums([L::zero(); SUMS], PhantomData)
    }

    #[inline(always)]
    fn step(&mut self, s: usize, a: L, b: L) {
        self.0[s] = M::step(a, b, self.0[s]);
    }
}

impl<L: Lanes, M> MeasureSums<L, M> {
    #[inline(always)]
    pub(super) fn total(self) -> f32 {
        merge(self.0).sum()
    }

    #[inline(always)]
    pub(super) fn merged(self) -> L {
        merge(self.0)
    }
}

/// The sums of all three dot products: twelve, for types that have so many registers.
pub(super) struct ProductSums<L>(Products<[L; SUMS]>);

impl<L: Lanes> Sums<L> for ProductSums<L> {
    #[inline(always)]
    fn zero() -> Self {
        let zero = [L::zero(); SUMS];
        ProductSums(Products {
            ab: zero,
            aa: zero,
            bb: zero,
        })
    }

    #[inline(always)]
    fn step(&mut self, s: usize, a: L, b: L) {
        let sums = &mut self.0;
        sums.ab[s] = a.fma(b, sums.ab[s]);
        sums.aa[s] = a.fma(a, sums.aa[s]);
        sums.bb[s] = b.fma(b, sums.bb[s]);
    }
}

impl<L: Lanes> ProductSums<L> {
    #[inline(always)]
    pub(super) fn total(self) -> Products<f32> {
        sum_products(merge(self.0.ab), merge(self.0.aa), merge(self.0.bb))
    }
}

/// The sums of the dot product and of b by itself.
pub(super) struct DotSquareSums<L>([L; SUMS], [L; SUMS]);

impl<L: Lanes> DotSquareSums<L> {
    #[inline(always)]
    pub(super) fn merged(self) -> (L, L) {
        (merge(self.0), merge(self.1))
    }
}

impl<L: Lanes> Sums<L> for DotSquareSums<L> {
    #[inline(always)]
    fn zero() -> Self {
        DotSquareSums([L::zero(); SUMS], [L::zero(); SUMS])
    }

    #[inline(always)]
    fn step(&mut self, s: usize, a: L, b: L) {
        self.0[s] = a.fma(b, self.0[s]);
        self.1[s] = b.fma(b, self.1[s]);
    }
}

/// The four sums in one.
#[inline(always)]
pub(super) fn merge<L: Lanes>(sums: [L; SUMS]) -> L {
    sums[0].add(sums[1]).add(sums[2].add(sums[3]))
}

/// The lanes of each added.
#[inline(always)]
pub(super) fn sum_products<L: Lanes>(ab: L, aa: L, bb: L) -> Products<f32> {
    let [ab, aa, bb, _] = L::sum4([ab, aa, bb, bb]);
    Products { ab, aa, bb }
}

/// Adds two vectors of `n` elements to `sums`.
///
/// # Safety
/// `n` readable elements at `a` and at `b`.
#[inline(always)]
unsafe fn walk<L: Lanes, A: Format, B: Format>(
    a: *const A::Bits,
    b: *const B::Bits,
    n: usize,
    sums: &mut impl Sums<L>,
) {
    let mut i = 0;
    while i + SUMS * LANES <= n {
        for s in 0..SUMS {
            let at = i + s * LANES;
            // SAFETY: at + 16 <= n.
            sums.step(s, unsafe { A::load(a.add(at)) }, unsafe {
                B::load(b.add(at))
            });
        }
        i += SUMS * LANES;
    }
    if i < n {
        for s in 0..SUMS {
            let at = i + s * LANES;
            let left = n.saturating_sub(at);
            let (a, b) = (a.wrapping_add(at), b.wrapping_add(at));
            // SAFETY: `left` elements remain.
            sums.step(s, unsafe { A::load_up_to(a, left) }, unsafe {
                B::load_up_to(b, left)
            });
        }
    }
}

/// As [`walk`] for R rows, one behind the other, side by side. Asks for what lies ahead of them, line
/// after line as it lies in memory.
///
/// # Safety
/// `n` readable elements at `a`, R times as many at `rows`.
#[inline(always)]
pub(super) unsafe fn walk_rows<L: Lanes, A: Format, B: Format, const R: usize>(
    a: *const A::Bits,
    rows: *const B::Bits,
    n: usize,
    sums: &mut [impl Sums<L>; R],
) {
    let mut i = 0;
    while i + SUMS * LANES <= n {
        for s in 0..SUMS {
            let at = i + s * LANES;
            // SAFETY: at + 16 <= n.
            let x: L = unsafe { A::load(a.add(at)) };
            for r in 0..R {
                if (r * LANES * size_of::<B::Bits>()).is_multiple_of(LINE_BYTES) {
                    let line = rows.wrapping_add(at * R + r * LANES).cast::<u8>();
                    prefetch(line.wrapping_add(AHEAD));
                }
                // SAFETY: as above, in row r.
                sums[r].step(s, x, unsafe { B::load(rows.add(r * n + at)) });
            }
        }
        i += SUMS * LANES;
    }
    if i < n {
        for s in 0..SUMS {
            let at = i + s * LANES;
            let left = n.saturating_sub(at);
            // SAFETY: `left` elements remain.
            let x: L = unsafe { A::load_up_to(a.wrapping_add(at), left) };
            for r in 0..R {
                let row = rows.wrapping_add(r * n + at);
                // SAFETY: as above, in row r.
                sums[r].step(s, x, unsafe { B::load_up_to(row, left) });
            }
        }
    }
}

/// The measure M of two vectors of `n` elements.
///
/// # Safety
/// `n` readable elements at `a` and at `b`.
#[inline(always)]
pub(crate) unsafe fn measure<L: Lanes, M: Measure, A: Format, B: Format>(
    a: *const A::Bits,
    b: *const B::Bits,
    n: usize,
) -> f32 {
    let mut sums = MeasureSums::<L, M>::zero();
    // SAFETY: the caller's promise.
    unsafe { walk::<L, A, B>(a, b, n, &mut sums) };
    sums.total()
}

/// The dot products that a cosine is made of.
#[derive(Debug, Clone, Copy)]
pub struct Products<T> {
    /// a by b.
    pub ab: T,
    /// a by itself.
    pub aa: T,
    /// b by itself.
    pub bb: T,
}

/// All three dot products of two vectors of `n` elements.
///
/// # Safety
/// `n` readable elements at `a` and at `b`.
#[inline(always)]
pub(crate) unsafe fn products<L: Lanes, A: Format, B: Format>(
    a: *const A::Bits,
    b: *const B::Bits,
    n: usize,
) -> Products<f32> {
    if !L::WIDE {
        // Twelve sums do not fit the registers; what lies in the first cache is read again instead.
        // SAFETY: the caller's promise.
        return unsafe {
            Products {
                ab: measure::<L, Dot, A, B>(a, b, n),
                aa: measure::<L, Dot, A, A>(a, a, n),
                bb: measure::<L, Dot, B, B>(b, b, n),
            }
        };
    }
    let mut sums = ProductSums::<L>::zero();
    // SAFETY: the caller's promise.
    unsafe { walk::<L, A, B>(a, b, n, &mut sums) };
    sums.total()
}

/// The dot product of two vectors of `n` elements, and that of `b` by itself.
///
/// # Safety
/// `n` readable elements at `a` and at `b`.
#[inline(always)]
pub(super) unsafe fn dot_and_square<L: Lanes, A: Format, B: Format>(
    a: *const A::Bits,
    b: *const B::Bits,
    n: usize,
) -> (f32, f32) {
    if !L::WIDE {
        // SAFETY: the caller's promise.
        return unsafe {
            (
                measure::<L, Dot, A, B>(a, b, n),
                measure::<L, Dot, B, B>(b, b, n),
            )
        };
    }
    let mut sums = DotSquareSums::<L>::zero();
    // SAFETY: the caller's promise.
    unsafe { walk::<L, A, B>(a, b, n, &mut sums) };
    (merge(sums.0).sum(), merge(sums.1).sum())
}

/// The measure M of two vectors of one length.
pub(super) struct Pair<M, F>(PhantomData<(M, F)>);

impl<M: Measure, F: Format> PairBody for Pair<M, F> {
    type Element = F::Bits;
    type Out = f32;

    #[inline(always)]
    unsafe fn run<L: Lanes>(a: *const F::Bits, b: *const F::Bits, n: usize) -> f32 {
        // SAFETY: the caller's promise.
        unsafe { measure::<L, M, F, F>(a, b, n) }
    }
}

/// All three dot products of two vectors of one length.
pub(super) struct PairProducts<F>(PhantomData<F>);

impl<F: Format> PairBody for PairProducts<F> {
    type Element = F::Bits;
    type Out = Products<f32>;

    #[inline(always)]
    unsafe fn run<L: Lanes>(a: *const F::Bits, b: *const F::Bits, n: usize) -> Products<f32> {
        // SAFETY: the caller's promise.
        unsafe { products::<L, F, F>(a, b, n) }
    }
}
