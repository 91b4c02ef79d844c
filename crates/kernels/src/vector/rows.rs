//! One vector against rows of others, in one go of an instruction set.
//!
//! Layout: rows one behind the other; the vector likewise.
//! Contract: each row's sums are those of the two vectors alone, see [`super::float`],
//! [`super::brain`] and [`super::bytes`]: the same bits.
//! Asks for the rows that come next: they come from memory.
//! Measured: see [`super`].

use std::marker::PhantomData;

use super::float::{self, Absolute, Dot, DotSquareSums, Measure, MeasureSums, Squared, Sums};
use super::{VectorIsa, brain, bytes};
use crate::dense::Format;
use crate::lanes::{Body, Lanes};
use crate::linear::{LINE_BYTES, prefetch};

/// Bytes ahead of those in use that are asked for.
pub(super) const AHEAD: usize = 16 * 1024;

/// What is added up of the vector and each row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowMeasure {
    /// Products.
    Dot,
    /// Squares of differences.
    Squared,
    /// Absolute differences.
    Absolute,
    /// The dot product, and that of the row by itself.
    DotAndSquare,
}

/// Rows, and where their sums go.
pub struct RowTask<'a, T, R> {
    /// What is added up.
    pub measure: RowMeasure,
    /// `[sums.len(), columns]`.
    pub rows: &'a [T],
    /// Elements of a row; above 0.
    pub columns: usize,
    /// One for each row.
    pub sums: &'a mut [R],
    /// Those of rows by themselves: as many, or none if they are not asked for.
    pub squares: &'a mut [R],
}

impl<'a, T, R> RowTask<'a, T, R> {
    /// The same rows as their bits.
    pub(super) fn reinterpret<B>(self, bits: impl Fn(&'a [T]) -> &'a [B]) -> RowTask<'a, B, R> {
        RowTask {
            measure: self.measure,
            rows: bits(self.rows),
            columns: self.columns,
            sums: self.sums,
            squares: self.squares,
        }
    }
}

/// Rows that are added up together, all four or two and two side by side: one alone leaves the memory waiting.
const SIDE_BY_SIDE: usize = 4;

/// Sums of four rows: those asked for, and those of the rows by themselves or 0.
type Four<R> = ([R; SIDE_BY_SIDE], [R; SIDE_BY_SIDE]);

/// The sums of a vector and one row: first the one asked for, then that of the row by itself or 0.
trait RowSums<T, R: Copy + Default> {
    /// # Safety
    /// `n` readable elements at `row`; inside a function that has the features on.
    unsafe fn row(&self, row: *const T, n: usize) -> (R, R);

    /// The sums of four rows, one behind the other.
    ///
    /// # Safety
    /// `4 n` readable elements at `rows`; inside a function that has the features on.
    #[inline(always)]
    unsafe fn four(&self, rows: *const T, n: usize) -> Four<R>
    where
        Self: Sized,
    {
        // SAFETY: the caller's promise.
        unsafe { one_by_one(self, rows, n) }
    }
}

impl<T, R: Copy + Default> RowTask<'_, T, R> {
    /// Adds up row after row, asking for those ahead.
    ///
    /// # Safety
    /// Inside a function that has the features of `of` on.
    #[inline(always)]
    unsafe fn each(self, of: &impl RowSums<T, R>) {
        let n = self.columns;
        let rows = self.sums.len().min(self.rows.len() / n);
        let (sums, rest) = self.sums[..rows].as_chunks_mut::<SIDE_BY_SIDE>();
        let (squares, rest_squares) = self.squares.as_chunks_mut::<SIDE_BY_SIDE>();
        let mut at = self.rows.as_ptr();
        for (four, sums) in sums.iter_mut().enumerate() {
            // SAFETY: four rows lie from here on; the caller's promise.
            let (ab, bb) = unsafe { of.four(at, n) };
            *sums = ab;
            if let Some(squares) = squares.get_mut(four) {
                *squares = bb;
            }
            at = at.wrapping_add(SIDE_BY_SIDE * n);
        }
        for (r, sum) in rest.iter_mut().enumerate() {
            // SAFETY: as above, one row.
            let (ab, bb) = unsafe { of.row(at, n) };
            *sum = ab;
            if let Some(square) = rest_squares.get_mut(r) {
                *square = bb;
            }
            at = at.wrapping_add(n);
        }
    }
}

/// Rows of floats against a vector stored as A.
pub(super) struct FloatRows<'a, A: Format, F: Format> {
    pub(super) query: &'a [A::Bits],
    pub(super) task: RowTask<'a, F::Bits, f32>,
}

struct Measured<'a, L, M, A: Format, F>(&'a [A::Bits], PhantomData<(L, M, F)>);

impl<L: Lanes, M: Measure, A: Format, F: Format> RowSums<F::Bits, f32>
    for Measured<'_, L, M, A, F>
{
    #[inline(always)]
    unsafe fn row(&self, row: *const F::Bits, n: usize) -> (f32, f32) {
        // SAFETY: the caller's promise; the vector has as many elements as a row.
        (
            unsafe { float::measure::<L, M, A, F>(self.0.as_ptr(), row, n) },
            0.0,
        )
    }

    #[inline(always)]
    unsafe fn four(&self, rows: *const F::Bits, n: usize) -> Four<f32> {
        let q = self.0.as_ptr();
        if !L::WIDE {
            // Sixteen sums do not fit the registers.
            // SAFETY: the caller's promise.
            return unsafe { one_by_one(self, rows, n) };
        }
        let mut merged = [L::zero(); SIDE_BY_SIDE];
        // SAFETY: the caller's promise: all rows lie within the four.
        unsafe {
            if size_of::<F::Bits>() < size_of::<f32>() {
                // Short rows come faster from memory two at a time.
                for r in [0, 2] {
                    let mut sums = [MeasureSums::<L, M>::zero(), MeasureSums::zero()];
                    float::walk_rows::<L, A, F, 2>(q, rows.add(r * n), n, &mut sums);
                    let [a, b] = sums;
                    (merged[r], merged[r + 1]) = (a.merged(), b.merged());
                }
            } else {
                let mut sums = [
                    MeasureSums::<L, M>::zero(),
                    MeasureSums::zero(),
                    MeasureSums::zero(),
                    MeasureSums::zero(),
                ];
                float::walk_rows::<L, A, F, SIDE_BY_SIDE>(q, rows, n, &mut sums);
                let [a, b, c, d] = sums;
                merged = [a.merged(), b.merged(), c.merged(), d.merged()];
            }
        }
        (L::sum4(merged), [0.0; SIDE_BY_SIDE])
    }
}

struct Squares<'a, L, A: Format, F>(&'a [A::Bits], PhantomData<(L, F)>);

impl<L: Lanes, A: Format, F: Format> RowSums<F::Bits, f32> for Squares<'_, L, A, F> {
    #[inline(always)]
    unsafe fn row(&self, row: *const F::Bits, n: usize) -> (f32, f32) {
        // SAFETY: as above.
        unsafe { float::dot_and_square::<L, A, F>(self.0.as_ptr(), row, n) }
    }

    #[inline(always)]
    unsafe fn four(&self, rows: *const F::Bits, n: usize) -> Four<f32> {
        let q = self.0.as_ptr();
        if !L::WIDE {
            // SAFETY: the caller's promise.
            return unsafe { one_by_one(self, rows, n) };
        }
        let (mut ab, mut bb) = ([0.0; SIDE_BY_SIDE], [0.0; SIDE_BY_SIDE]);
        for r in [0, 2] {
            let mut sums = [DotSquareSums::<L>::zero(), DotSquareSums::<L>::zero()];
            // SAFETY: the caller's promise.
            unsafe { float::walk_rows::<L, A, F, 2>(q, rows.add(r * n), n, &mut sums) };
            let [first, second] = sums;
            let ((a, b), (c, d)) = (first.merged(), second.merged());
            [ab[r], bb[r], ab[r + 1], bb[r + 1]] = L::sum4([a, b, c, d]);
        }
        (ab, bb)
    }
}

/// Four rows in turn, asking for those ahead.
///
/// # Safety
/// As [`RowSums::four`].
#[inline(always)]
unsafe fn one_by_one<T, R: Copy + Default>(
    sums: &impl RowSums<T, R>,
    rows: *const T,
    n: usize,
) -> Four<R> {
    let ahead = rows.cast::<u8>().wrapping_add(AHEAD);
    for line in (0..SIDE_BY_SIDE * n * size_of::<T>()).step_by(LINE_BYTES) {
        prefetch(ahead.wrapping_add(line));
    }
    let mut all = [[R::default(); SIDE_BY_SIDE]; 2];
    for r in 0..SIDE_BY_SIDE {
        // SAFETY: row r of the four.
        (all[0][r], all[1][r]) = unsafe { sums.row(rows.add(r * n), n) };
    }
    (all[0], all[1])
}

impl<A: Format, F: Format> Body for FloatRows<'_, A, F> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let FloatRows { query, task } = self;
        assert_eq!(
            query.len(),
            task.columns,
            "elements of a vector and of a row"
        );
        let lanes = PhantomData;
        // SAFETY: `run` has the features on.
        unsafe {
            match task.measure {
                RowMeasure::Dot => task.each(&Measured::<L, Dot, A, F>(query, lanes)),
                RowMeasure::Squared => {
                    task.each(&Measured::<L, Squared, A, F>(query, PhantomData));
                }
                RowMeasure::Absolute => {
                    task.each(&Measured::<L, Absolute, A, F>(query, PhantomData));
                }
                RowMeasure::DotAndSquare => task.each(&Squares::<L, A, F>(query, PhantomData)),
            }
        }
    }
}

/// Rows of bf16 against a vector of bf16.
pub(super) struct BrainRows<'a> {
    pub(super) query: &'a [u16],
    pub(super) task: RowTask<'a, u16, f32>,
}

struct BrainMeasured<'a, L, M>(&'a [u16], PhantomData<(L, M)>);

impl<L: Lanes, M: Measure> RowSums<u16, f32> for BrainMeasured<'_, L, M> {
    #[inline(always)]
    unsafe fn row(&self, row: *const u16, n: usize) -> (f32, f32) {
        // SAFETY: the caller's promise; the vector has as many elements as a row.
        (
            unsafe { brain::measure::<L, M>(self.0.as_ptr(), row, n) },
            0.0,
        )
    }
}

struct BrainSquares<'a, L>(&'a [u16], PhantomData<L>);

impl<L: Lanes> RowSums<u16, f32> for BrainSquares<'_, L> {
    #[inline(always)]
    unsafe fn row(&self, row: *const u16, n: usize) -> (f32, f32) {
        // SAFETY: as above.
        let products = unsafe { brain::products::<L>(self.0.as_ptr(), row, n) };
        (products.ab, products.bb)
    }
}

impl Body for BrainRows<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let BrainRows { query, task } = self;
        assert_eq!(
            query.len(),
            task.columns,
            "elements of a vector and of a row"
        );
        // SAFETY: `run` has the features on.
        unsafe {
            match task.measure {
                RowMeasure::Dot => task.each(&BrainMeasured::<L, Dot>(query, PhantomData)),
                RowMeasure::Squared => task.each(&BrainMeasured::<L, Squared>(query, PhantomData)),
                RowMeasure::Absolute => {
                    task.each(&BrainMeasured::<L, Absolute>(query, PhantomData));
                }
                RowMeasure::DotAndSquare => task.each(&BrainSquares::<L>(query, PhantomData)),
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
struct Pairs<'a>(&'a [u16]);

#[cfg(target_arch = "x86_64")]
impl RowSums<u16, f32> for Pairs<'_> {
    #[inline(always)]
    unsafe fn row(&self, row: *const u16, n: usize) -> (f32, f32) {
        // SAFETY: the caller's promise; the vector has as many elements as a row.
        (
            unsafe { brain::vdpbf16::dot_inline(self.0.as_ptr(), row, n) },
            0.0,
        )
    }

    #[inline(always)]
    unsafe fn four(&self, rows: *const u16, n: usize) -> Four<f32> {
        // SAFETY: as above, four rows.
        let dots = unsafe { brain::vdpbf16::four_dots(self.0.as_ptr(), rows, n) };
        (dots, [0.0; SIDE_BY_SIDE])
    }
}

#[cfg(target_arch = "x86_64")]
struct PairSquares<'a>(&'a [u16]);

#[cfg(target_arch = "x86_64")]
impl RowSums<u16, f32> for PairSquares<'_> {
    #[inline(always)]
    unsafe fn row(&self, row: *const u16, n: usize) -> (f32, f32) {
        // SAFETY: as above.
        let products = unsafe { brain::vdpbf16::products_inline(self.0.as_ptr(), row, n) };
        (products.ab, products.bb)
    }
}

impl BrainRows<'_> {
    /// On the sets of `isa`: dot products by `vdpbf16ps` where it has that.
    pub(super) fn run_on(self, isa: VectorIsa) {
        #[cfg(target_arch = "x86_64")]
        if isa.bf16
            && matches!(
                self.task.measure,
                RowMeasure::Dot | RowMeasure::DotAndSquare
            )
        {
            // SAFETY: a `VectorIsa` holds only what is available.
            unsafe { self.run_pairs() };
            return;
        }
        isa.float.run(self);
    }

    /// # Safety
    /// The machine has AVX512-BF16 and BMI2.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,bmi2")]
    unsafe fn run_pairs(self) {
        let BrainRows { query, task } = self;
        assert_eq!(
            query.len(),
            task.columns,
            "elements of a vector and of a row"
        );
        // SAFETY: the features are on.
        unsafe {
            match task.measure {
                RowMeasure::DotAndSquare => task.each(&PairSquares(query)),
                _ => task.each(&Pairs(query)),
            }
        }
    }
}

/// Rows of bytes against a vector of bytes; at most [`bytes::COLUMNS_MAX`] columns.
pub(super) struct ByteRows<'a, R> {
    pub(super) query: &'a [i8],
    pub(super) task: RowTask<'a, i8, R>,
}

/// How sums of bytes are given out: as they are, or rounded once.
pub(super) trait OfBytes: Copy + Default {
    fn of(sum: i32) -> Self;
}

impl OfBytes for i32 {
    #[inline(always)]
    fn of(sum: i32) -> i32 {
        sum
    }
}

impl OfBytes for f32 {
    #[inline(always)]
    fn of(sum: i32) -> f32 {
        sum as f32
    }
}

/// Sums that begin as S does.
struct ByteSums<'a, V, S>(&'a [i8], S, PhantomData<V>);

impl<'a, V: bytes::Bytes, S: bytes::RowSums<V>> ByteSums<'a, V, S> {
    /// # Safety
    /// Inside a function that has the features of V on.
    #[inline(always)]
    unsafe fn new(query: &'a [i8]) -> Self {
        // SAFETY: so many bytes; the caller's promise.
        let of_query = unsafe { bytes::bias_of::<V>(query.as_ptr(), query.len()) };
        ByteSums(query, S::begin(of_query), PhantomData)
    }
}

/// The one sum of a measure M.
type ByteMeasured<'a, V, M> = ByteSums<'a, V, <M as bytes::Measure>::RowSums<V>>;
type ByteSquares<'a, V> = ByteSums<'a, V, bytes::RowDotSquareSums<V>>;

impl<V: bytes::Bytes, S: bytes::RowSums<V>, R: OfBytes> RowSums<i8, R> for ByteSums<'_, V, S> {
    #[inline(always)]
    unsafe fn row(&self, row: *const i8, n: usize) -> (R, R) {
        // SAFETY: the caller's promise; the vector has as many elements as a row.
        let (ab, aa) = unsafe { bytes::walk_from(self.1, row, self.0.as_ptr(), n) }.row();
        (R::of(ab), R::of(aa))
    }

    #[inline(always)]
    unsafe fn four(&self, rows: *const i8, n: usize) -> Four<R> {
        // SAFETY: as above, four rows.
        let (ab, aa) = S::four(unsafe { bytes::walk_four(self.1, rows, self.0.as_ptr(), n) });
        let of = |[a, b, c, d]: [i32; 4]| [R::of(a), R::of(b), R::of(c), R::of(d)];
        (of(ab), of(aa))
    }
}

impl<R: OfBytes> bytes::Task for ByteRows<'_, R> {
    #[inline(always)]
    unsafe fn run<V: bytes::Bytes>(self) {
        let ByteRows { query, task } = self;
        assert_eq!(
            query.len(),
            task.columns,
            "elements of a vector and of a row"
        );
        // SAFETY: the caller's promise.
        unsafe {
            match task.measure {
                RowMeasure::Dot => task.each(&ByteMeasured::<V, Dot>::new(query)),
                RowMeasure::Squared => task.each(&ByteMeasured::<V, Squared>::new(query)),
                RowMeasure::Absolute => task.each(&ByteMeasured::<V, Absolute>::new(query)),
                RowMeasure::DotAndSquare => task.each(&ByteSquares::<V>::new(query)),
            }
        }
    }
}
