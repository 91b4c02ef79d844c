//! Sixty-four signed bytes, and the sums of integers that vectors of them are compared by.
//!
//! Layout: bytes as they lie.
//! Contract: all sums are exact in 32 bits for [`COLUMNS_MAX`] bytes and fewer: products are at most
//! 2^14, squares of differences 255^2. Where the processor multiplies unsigned by signed bytes alone,
//! a side is stored with [`Bytes::BIAS`] more and the surplus taken off at the end; sums may wrap in
//! between.
//! Measured: see [`super::super`].

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512_vnni;
#[cfg(target_arch = "x86_64")]
mod avx_vnni;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

use std::marker::PhantomData;

use scalar::Scalar;

use super::float::{Absolute, Dot, Products, Squared};
use super::rows::AHEAD;
use crate::IntIsa;
use crate::linear::prefetch;

/// Bytes of a vector.
pub(super) const WIDTH: usize = 64;
/// Bytes that may be summed at once.
pub(super) const COLUMNS_MAX: usize = 1 << 15;

/// An operation on two vectors of one length, written once for every type of [`Bytes`]. `run` must be
/// `#[inline(always)]`, as must all it calls with them.
pub(super) trait BytesBody {
    type Out;

    /// # Safety
    /// `n` readable bytes at `a` and at `b`.
    unsafe fn run<V: Bytes>(a: *const i8, b: *const i8, n: usize) -> Self::Out;
}

/// An operation on whatever it holds, written once for every type of [`Bytes`].
pub(super) trait Task {
    /// # Safety
    /// Inside a function that has the features of V on.
    unsafe fn run<V: Bytes>(self);
}

/// Sixty-four signed bytes.
pub(super) trait Bytes: Copy {
    /// Running sums in 32 bits.
    type Sum: Copy;
    /// What the first side of a product has too much.
    const BIAS: i32;

    fn zero() -> Self::Sum;
    fn total(sum: Self::Sum) -> i32;
    /// [`Bytes::total`] of four.
    #[inline(always)]
    fn total4([a, b, c, d]: [Self::Sum; 4]) -> [i32; 4] {
        [
            Self::total(a),
            Self::total(b),
            Self::total(c),
            Self::total(d),
        ]
    }
    /// a + b BIAS.
    fn plus_bias(a: Self::Sum, b: Self::Sum) -> Self::Sum;
    /// a - b BIAS.
    fn less_bias(a: Self::Sum, b: Self::Sum) -> Self::Sum;

    /// # Safety
    /// 64 readable bytes at `p`.
    unsafe fn load(p: *const i8) -> Self;

    /// The first `n` bytes, then zeros.
    /// # Safety
    /// `n` readable bytes at `p`, n < 64.
    #[inline(always)]
    unsafe fn load_partial(p: *const i8, n: usize) -> Self {
        let mut bytes = [0; WIDTH];
        // SAFETY: the caller's promise; `bytes` has 64.
        unsafe {
            std::ptr::copy_nonoverlapping(p, bytes.as_mut_ptr(), n.min(WIDTH));
            Self::load(bytes.as_ptr())
        }
    }

    /// Adds (self + BIAS) b.
    fn dot(self, b: Self, sum: Self::Sum) -> Self::Sum;
    /// Adds self.
    fn sum(self, sum: Self::Sum) -> Self::Sum;
    /// |self - b|, unsigned.
    fn apart(self, b: Self) -> Self;
    /// Adds x (x - BIAS), x being self unsigned.
    fn squares(self, sum: Self::Sum) -> Self::Sum;
    /// Adds self, unsigned.
    fn sum_unsigned(self, sum: Self::Sum) -> Self::Sum;
}

/// Runs `B` with the bytes of `isa`, which must be available.
#[inline]
pub(super) fn run<B: BytesBody>(isa: IntIsa, a: &[i8], b: &[i8]) -> B::Out {
    // Asked first, as in `Isa::run_pair`.
    #[cfg(target_arch = "x86_64")]
    if isa == IntIsa::Avx512Vnni {
        let n = a.len().min(b.len());
        // SAFETY: n bytes of each; a `VectorIsa` holds only what is available.
        return unsafe { avx512_vnni::run::<B>(a.as_ptr(), b.as_ptr(), n) };
    }
    run_other::<B>(isa, a, b)
}

#[inline(never)]
fn run_other<B: BytesBody>(isa: IntIsa, a: &[i8], b: &[i8]) -> B::Out {
    let n = a.len().min(b.len());
    let (a, b) = (a.as_ptr(), b.as_ptr());
    match isa {
        // SAFETY: n bytes of each.
        IntIsa::Scalar => unsafe { B::run::<Scalar>(a, b, n) },
        // SAFETY: as above; a `VectorIsa` holds only what is available.
        #[cfg(target_arch = "x86_64")]
        IntIsa::Avx2 => unsafe { avx2::run::<B>(a, b, n) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        IntIsa::AvxVnni => unsafe { avx_vnni::run::<B>(a, b, n) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        IntIsa::AmxInt8 => unsafe { avx512_vnni::run::<B>(a, b, n) },
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        IntIsa::Neon => unsafe { neon::run::<B>(a, b, n) },
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        IntIsa::NeonDot | IntIsa::NeonI8mm => unsafe { neon::run_dot::<B>(a, b, n) },
        _ => unreachable!("an instruction set of another architecture is never available"),
    }
}

/// Runs `task` with the bytes of `isa`, which must be available.
pub(super) fn run_task(isa: IntIsa, task: impl Task) {
    match isa {
        // SAFETY: no features are asked for.
        IntIsa::Scalar => unsafe { task.run::<Scalar>() },
        // SAFETY: a `VectorIsa` holds only what is available.
        #[cfg(target_arch = "x86_64")]
        IntIsa::Avx2 => unsafe { avx2::run_task(task) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        IntIsa::AvxVnni => unsafe { avx_vnni::run_task(task) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        IntIsa::Avx512Vnni | IntIsa::AmxInt8 => unsafe { avx512_vnni::run_task(task) },
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        IntIsa::Neon => unsafe { neon::run_task(task) },
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        IntIsa::NeonDot | IntIsa::NeonI8mm => unsafe { neon::run_task_dot(task) },
        _ => unreachable!("an instruction set of another architecture is never available"),
    }
}

/// What two vectors of bytes are compared by.
pub(super) trait Measure {
    type Sums<V: Bytes>: Sums<V, Total = i32>;
    type RowSums<V: Bytes>: RowSums<V>;
}

/// What a walk over two vectors adds up.
pub(super) trait Step<V: Bytes>: Copy {
    fn step(&mut self, a: V, b: V);
}

/// Of two vectors that know nothing of each other.
pub(super) trait Sums<V: Bytes>: Step<V> {
    type Total;
    fn zero() -> Self;
    fn total(self) -> Self::Total;
}

/// Of many rows a and one b. Rows have one or two sums: the one asked for, and that of the row by itself or 0.
pub(super) trait RowSums<V: Bytes>: Step<V> {
    /// Where sums begin; `of_b` is what [`bias_of`] says.
    fn begin(of_b: V::Sum) -> Self;
    fn row(self) -> (i32, i32);
    fn four(rows: [Self; 4]) -> ([i32; 4], [i32; 4]);
}

/// The sums of `n` bytes at `b` where products have a bias, else zeros.
///
/// # Safety
/// `n` readable bytes at `b`; inside a function that has the features of V on.
#[inline(always)]
pub(super) unsafe fn bias_of<V: Bytes>(b: *const i8, n: usize) -> V::Sum {
    let mut sum = V::zero();
    if V::BIAS == 0 {
        return sum;
    }
    let full = n / WIDTH * WIDTH;
    for i in (0..full).step_by(WIDTH) {
        // SAFETY: i + 64 <= n.
        sum = unsafe { V::load(b.add(i)) }.sum(sum);
    }
    if full < n {
        // SAFETY: `n - full` bytes remain, fewer than 64.
        sum = unsafe { V::load_partial(b.add(full), n - full) }.sum(sum);
    }
    sum
}

/// Sums of products, and of their second sides where a bias is to be taken off.
#[derive(Clone, Copy)]
pub(super) struct DotSums<V: Bytes>(V::Sum, V::Sum);

impl<V: Bytes> Step<V> for DotSums<V> {
    #[inline(always)]
    fn step(&mut self, a: V, b: V) {
        self.0 = a.dot(b, self.0);
        self.1 = bias_sum(b, self.1);
    }
}

impl<V: Bytes> Sums<V> for DotSums<V> {
    type Total = i32;

    #[inline(always)]
    fn zero() -> Self {
        DotSums(V::zero(), V::zero())
    }

    #[inline(always)]
    fn total(self) -> i32 {
        V::total(V::less_bias(self.0, self.1))
    }
}

/// Sums of products that begin with the bias taken off.
#[derive(Clone, Copy)]
pub(super) struct RowDotSums<V: Bytes>(V::Sum);

impl<V: Bytes> Step<V> for RowDotSums<V> {
    #[inline(always)]
    fn step(&mut self, a: V, b: V) {
        self.0 = a.dot(b, self.0);
    }
}

impl<V: Bytes> RowSums<V> for RowDotSums<V> {
    #[inline(always)]
    fn begin(of_b: V::Sum) -> Self {
        RowDotSums(V::less_bias(V::zero(), of_b))
    }

    #[inline(always)]
    fn row(self) -> (i32, i32) {
        (V::total(self.0), 0)
    }

    #[inline(always)]
    fn four([a, b, c, d]: [Self; 4]) -> ([i32; 4], [i32; 4]) {
        (V::total4([a.0, b.0, c.0, d.0]), [0; 4])
    }
}

/// Sums of squares of differences, and of the differences where a bias is to be added.
#[derive(Clone, Copy)]
pub(super) struct SquaredSums<V: Bytes>(V::Sum, V::Sum);

impl<V: Bytes> SquaredSums<V> {
    /// With the bias added.
    #[inline(always)]
    fn right(self) -> V::Sum {
        V::plus_bias(self.0, self.1)
    }
}

impl<V: Bytes> Step<V> for SquaredSums<V> {
    #[inline(always)]
    fn step(&mut self, a: V, b: V) {
        let apart = a.apart(b);
        self.0 = apart.squares(self.0);
        if V::BIAS != 0 {
            self.1 = apart.sum_unsigned(self.1);
        }
    }
}

impl<V: Bytes> Sums<V> for SquaredSums<V> {
    type Total = i32;

    #[inline(always)]
    fn zero() -> Self {
        SquaredSums(V::zero(), V::zero())
    }

    #[inline(always)]
    fn total(self) -> i32 {
        V::total(self.right())
    }
}

impl<V: Bytes> RowSums<V> for SquaredSums<V> {
    #[inline(always)]
    fn begin(_: V::Sum) -> Self {
        Self::zero()
    }

    #[inline(always)]
    fn row(self) -> (i32, i32) {
        (self.total(), 0)
    }

    #[inline(always)]
    fn four([a, b, c, d]: [Self; 4]) -> ([i32; 4], [i32; 4]) {
        let rows = [a.right(), b.right(), c.right(), d.right()];
        (V::total4(rows), [0; 4])
    }
}

/// Sums of absolute differences.
#[derive(Clone, Copy)]
pub(super) struct AbsoluteSums<V: Bytes>(V::Sum);

impl<V: Bytes> Step<V> for AbsoluteSums<V> {
    #[inline(always)]
    fn step(&mut self, a: V, b: V) {
        self.0 = a.apart(b).sum_unsigned(self.0);
    }
}

impl<V: Bytes> Sums<V> for AbsoluteSums<V> {
    type Total = i32;

    #[inline(always)]
    fn zero() -> Self {
        AbsoluteSums(V::zero())
    }

    #[inline(always)]
    fn total(self) -> i32 {
        V::total(self.0)
    }
}

impl<V: Bytes> RowSums<V> for AbsoluteSums<V> {
    #[inline(always)]
    fn begin(_: V::Sum) -> Self {
        Self::zero()
    }

    #[inline(always)]
    fn row(self) -> (i32, i32) {
        (self.total(), 0)
    }

    #[inline(always)]
    fn four([a, b, c, d]: [Self; 4]) -> ([i32; 4], [i32; 4]) {
        (V::total4([a.0, b.0, c.0, d.0]), [0; 4])
    }
}

/// All three dot products, and the sums of both sides where a bias is to be taken off.
#[derive(Clone, Copy)]
pub(super) struct ProductSums<V: Bytes> {
    products: Products<V::Sum>,
    of_a: V::Sum,
    of_b: V::Sum,
}

impl<V: Bytes> Step<V> for ProductSums<V> {
    #[inline(always)]
    fn step(&mut self, a: V, b: V) {
        let sums = &mut self.products;
        sums.ab = a.dot(b, sums.ab);
        sums.aa = a.dot(a, sums.aa);
        sums.bb = b.dot(b, sums.bb);
        self.of_a = bias_sum(a, self.of_a);
        self.of_b = bias_sum(b, self.of_b);
    }
}

impl<V: Bytes> Sums<V> for ProductSums<V> {
    type Total = Products<i32>;

    #[inline(always)]
    fn zero() -> Self {
        let zero = V::zero();
        let products = Products {
            ab: zero,
            aa: zero,
            bb: zero,
        };
        ProductSums {
            products,
            of_a: zero,
            of_b: zero,
        }
    }

    #[inline(always)]
    fn total(self) -> Products<i32> {
        let Products { ab, aa, bb } = self.products;
        Products {
            ab: V::total(V::less_bias(ab, self.of_b)),
            aa: V::total(V::less_bias(aa, self.of_a)),
            bb: V::total(V::less_bias(bb, self.of_b)),
        }
    }
}

/// The dot product, and that of a by itself.
#[derive(Clone, Copy)]
pub(super) struct RowDotSquareSums<V: Bytes> {
    ab: RowDotSums<V>,
    aa: V::Sum,
    of_a: V::Sum,
}

impl<V: Bytes> RowDotSquareSums<V> {
    /// That of a by itself, the bias taken off.
    #[inline(always)]
    fn right_aa(self) -> V::Sum {
        V::less_bias(self.aa, self.of_a)
    }
}

impl<V: Bytes> Step<V> for RowDotSquareSums<V> {
    #[inline(always)]
    fn step(&mut self, a: V, b: V) {
        self.ab.step(a, b);
        self.aa = a.dot(a, self.aa);
        self.of_a = bias_sum(a, self.of_a);
    }
}

impl<V: Bytes> RowSums<V> for RowDotSquareSums<V> {
    #[inline(always)]
    fn begin(of_b: V::Sum) -> Self {
        RowDotSquareSums {
            ab: RowDotSums::begin(of_b),
            aa: V::zero(),
            of_a: V::zero(),
        }
    }

    #[inline(always)]
    fn row(self) -> (i32, i32) {
        (V::total(self.ab.0), V::total(self.right_aa()))
    }

    #[inline(always)]
    fn four([a, b, c, d]: [Self; 4]) -> ([i32; 4], [i32; 4]) {
        let aa = [a.right_aa(), b.right_aa(), c.right_aa(), d.right_aa()];
        let ab = [a.ab.0, b.ab.0, c.ab.0, d.ab.0];
        (V::total4(ab), V::total4(aa))
    }
}

/// Adds `x` where products have a bias.
#[inline(always)]
fn bias_sum<V: Bytes>(x: V, sum: V::Sum) -> V::Sum {
    if V::BIAS == 0 { sum } else { x.sum(sum) }
}

impl Measure for Dot {
    type Sums<V: Bytes> = DotSums<V>;
    type RowSums<V: Bytes> = RowDotSums<V>;
}

impl Measure for Squared {
    type Sums<V: Bytes> = SquaredSums<V>;
    type RowSums<V: Bytes> = SquaredSums<V>;
}

impl Measure for Absolute {
    type Sums<V: Bytes> = AbsoluteSums<V>;
    type RowSums<V: Bytes> = AbsoluteSums<V>;
}

/// What S adds up of two vectors of `n` bytes, at most [`COLUMNS_MAX`].
///
/// # Safety
/// `n` readable bytes at `a` and at `b`.
#[inline(always)]
unsafe fn walk<V: Bytes, S: Sums<V>>(a: *const i8, b: *const i8, n: usize) -> S::Total {
    // SAFETY: the caller's promise.
    unsafe { walk_from(S::zero(), a, b, n) }.total()
}

/// What two vectors of `n` bytes, at most [`COLUMNS_MAX`], add to `sums`.
///
/// # Safety
/// `n` readable bytes at `a` and at `b`.
#[inline(always)]
pub(super) unsafe fn walk_from<V: Bytes, S: Step<V>>(
    mut sums: S,
    a: *const i8,
    b: *const i8,
    n: usize,
) -> S {
    let full = n / WIDTH * WIDTH;
    for i in (0..full).step_by(WIDTH) {
        // SAFETY: i + 64 <= n.
        let (a, b) = unsafe { (V::load(a.add(i)), V::load(b.add(i))) };
        sums.step(a, b);
    }
    if full < n {
        let left = n - full;
        // SAFETY: `left` bytes remain, fewer than 64.
        let (a, b) = unsafe {
            (
                V::load_partial(a.add(full), left),
                V::load_partial(b.add(full), left),
            )
        };
        sums.step(a, b);
    }
    sums
}

/// As [`walk_from`] for four rows, one behind the other, side by side. Asks for what lies ahead of them.
///
/// # Safety
/// `n` readable bytes at `b`, four times as many at `rows`.
#[inline(always)]
pub(super) unsafe fn walk_four<V: Bytes, S: Step<V>>(
    begin: S,
    rows: *const i8,
    b: *const i8,
    n: usize,
) -> [S; 4] {
    let mut sums = [begin; 4];
    let full = n / WIDTH * WIDTH;
    for i in (0..full).step_by(WIDTH) {
        // SAFETY: i + 64 <= n, in each row.
        let with = unsafe { V::load(b.add(i)) };
        for (r, sum) in sums.iter_mut().enumerate() {
            let line = rows.wrapping_add(4 * i + r * WIDTH).cast::<u8>();
            prefetch(line.wrapping_add(AHEAD));
            // SAFETY: as above.
            sum.step(unsafe { V::load(rows.add(r * n + i)) }, with);
        }
    }
    if full < n {
        let left = n - full;
        // SAFETY: `left` bytes remain in each row, fewer than 64.
        let with = unsafe { V::load_partial(b.add(full), left) };
        for (r, sum) in sums.iter_mut().enumerate() {
            // SAFETY: as above.
            sum.step(
                unsafe { V::load_partial(rows.add(r * n + full), left) },
                with,
            );
        }
    }
    sums
}

/// The measure M of two vectors of one length, whatever that is.
pub(super) struct Pair<M>(PhantomData<M>);

impl<M: Measure> BytesBody for Pair<M> {
    type Out = i64;

    #[inline(always)]
    unsafe fn run<V: Bytes>(a: *const i8, b: *const i8, n: usize) -> i64 {
        let mut total = 0;
        let mut i = 0;
        loop {
            let part = (n - i).min(COLUMNS_MAX);
            // SAFETY: i + part <= n.
            let sum = unsafe { walk::<V, M::Sums<V>>(a.add(i), b.add(i), part) };
            total += i64::from(sum);
            i += part;
            if i == n {
                return total;
            }
        }
    }
}

/// All three dot products of two vectors of one length, whatever that is.
pub(super) struct PairProducts;

impl BytesBody for PairProducts {
    type Out = Products<i64>;

    #[inline(always)]
    unsafe fn run<V: Bytes>(a: *const i8, b: *const i8, n: usize) -> Products<i64> {
        let mut total = Products {
            ab: 0,
            aa: 0,
            bb: 0,
        };
        let mut i = 0;
        loop {
            let part = (n - i).min(COLUMNS_MAX);
            // SAFETY: i + part <= n.
            let sums = unsafe { walk::<V, ProductSums<V>>(a.add(i), b.add(i), part) };
            total.ab += i64::from(sums.ab);
            total.aa += i64::from(sums.aa);
            total.bb += i64::from(sums.bb);
            i += part;
            if i == n {
                return total;
            }
        }
    }
}
