//! The numbers that vectors are made of, and the kernels of each.
//!
//! In: slices of one length. Out: sums. It does not know: what becomes of them.
//! Layout, Contract, Measured: see [`super`].

use std::borrow::Cow;

use half::{bf16, f16};

use super::float::{self, Absolute, Dot, Products, Squared};
use super::rows::{BrainRows, ByteRows, FloatRows, RowTask};
use super::{VectorIsa, brain, bytes, wide};
use crate::dense::{Bf16, F16, F32, Format, Widen};
use crate::lanes::{Body, LANES, Lanes};
use crate::{Cpu, PanelFormat};

/// A number that vectors are made of: f32, f16, bf16 or i8.
pub trait Element:
    Copy + std::fmt::Debug + Send + Sync + 'static + Kernels<Sum = Self::Total>
{
    /// What sums come as: f32, or i64, which is exact.
    type Total: Sum;
}

/// An [`Element`] that sums in f64 are offered for.
pub trait Float: Element<Total = f32> + WideKernels {
    /// Rounded to the nearest, ties to even.
    fn from_f32(x: f32) -> Self;
    /// Exactly.
    fn to_f32(self) -> f32;
}

/// A sum over elements.
pub trait Sum: Copy + PartialOrd + std::fmt::Debug + Send + Sync + 'static {
    /// In f64: exactly, but for i64 beyond 2^53.
    fn to_f64(self) -> f64;
}

impl Sum for f32 {
    #[inline]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
}

impl Sum for i32 {
    #[inline]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
}

impl Sum for i64 {
    #[inline]
    fn to_f64(self) -> f64 {
        self as f64
    }
}

/// The kernels of an element; callers have checked that both lengths are one.
pub trait Kernels: Sized {
    /// See [`Element::Total`].
    type Sum;

    /// The sum of a b.
    fn dot(isa: VectorIsa, a: &[Self], b: &[Self]) -> Self::Sum;
    /// The sum of (a - b)^2.
    fn squared(isa: VectorIsa, a: &[Self], b: &[Self]) -> Self::Sum;
    /// The sum of |a - b|.
    fn absolute(isa: VectorIsa, a: &[Self], b: &[Self]) -> Self::Sum;
    /// The dot products of a cosine.
    fn products(isa: VectorIsa, a: &[Self], b: &[Self]) -> Products<Self::Sum>;
    /// The same in f64, where nothing overflows or vanishes.
    fn products_f64(isa: VectorIsa, a: &[Self], b: &[Self]) -> Products<f64>;
    /// The sum of (a - b)^2 in f64.
    fn squared_f64(isa: VectorIsa, a: &[Self], b: &[Self]) -> f64;

    /// What [`crate::Panels`] of them are on `cpu`; None: they are not multiplied as floats.
    fn panels(cpu: &Cpu) -> Option<PanelFormat>;
    /// In f32, exactly.
    fn widened(isa: VectorIsa, x: &[Self]) -> Cow<'_, [f32]>
    where
        Self: Clone;

    /// How one of them is kept that meets many.
    type Kept: Copy + std::fmt::Debug + Send + Sync;
    /// Sums of rows: f32, or i32.
    type RowSum: Sum + Default;
    /// The most columns that `rows` takes.
    const COLUMNS_MAX: usize;

    /// One that meets many.
    fn kept(self) -> Self::Kept;
    /// Adds up `query` with each of the task's rows.
    fn rows(isa: VectorIsa, query: &[Self::Kept], task: RowTask<'_, Self, Self::RowSum>);
    /// The same, each sum rounded once.
    fn scores(isa: VectorIsa, query: &[Self::Kept], task: RowTask<'_, Self, f32>);
}

/// The kernels of a float alone.
pub trait WideKernels: Sized {
    /// The sum of a b in f64.
    fn dot_f64(isa: VectorIsa, a: &[Self], b: &[Self]) -> f64;
    /// Divides each of `x`, in f32.
    fn divide(isa: VectorIsa, x: &mut [Self], by: f32);
}

struct Divide<'a> {
    x: &'a mut [f32],
    by: f32,
}

impl Body for Divide<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self) {
        let by = L::splat(self.by);
        for i in (0..self.x.len()).step_by(LANES) {
            L::get(self.x, i).div(by).put(self.x, i);
        }
    }
}

fn divide_f32(isa: VectorIsa, x: &mut [f32], by: f32) {
    isa.float.run(Divide { x, by });
}

fn divide_narrow<T: Float>(_: VectorIsa, x: &mut [T], by: f32) {
    for x in x {
        *x = T::from_f32(x.to_f32() / by);
    }
}

/// The kernels in f64, which take bits.
macro_rules! wide_kernels {
    ($format:ty, $bits:expr) => {
        #[inline]
        fn products_f64(isa: VectorIsa, a: &[Self], b: &[Self]) -> Products<f64> {
            isa.float
                .run_pair::<wide::PairProducts<$format>>($bits(a), $bits(b))
        }

        #[inline]
        fn squared_f64(isa: VectorIsa, a: &[Self], b: &[Self]) -> f64 {
            isa.float
                .run_pair::<wide::Pair<Squared, $format>>($bits(a), $bits(b))
        }
    };
}

macro_rules! wide_dot {
    ($type:ty, $format:ty, $bits:expr, $divide:expr) => {
        impl WideKernels for $type {
            fn divide(isa: VectorIsa, x: &mut [Self], by: f32) {
                $divide(isa, x, by);
            }

            #[inline]
            fn dot_f64(isa: VectorIsa, a: &[Self], b: &[Self]) -> f64 {
                isa.float
                    .run_pair::<wide::Pair<Dot, $format>>($bits(a), $bits(b))
            }
        }
    };
}

/// The kernels of a float that is widened as it is loaded.
macro_rules! float_kernels {
    ($type:ty, $format:ty, $bits:expr, $widened:expr) => {
        impl Kernels for $type {
            type Sum = f32;

            #[inline]
            fn dot(isa: VectorIsa, a: &[Self], b: &[Self]) -> f32 {
                isa.float
                    .run_pair::<float::Pair<Dot, $format>>($bits(a), $bits(b))
            }

            #[inline]
            fn squared(isa: VectorIsa, a: &[Self], b: &[Self]) -> f32 {
                isa.float
                    .run_pair::<float::Pair<Squared, $format>>($bits(a), $bits(b))
            }

            #[inline]
            fn absolute(isa: VectorIsa, a: &[Self], b: &[Self]) -> f32 {
                isa.float
                    .run_pair::<float::Pair<Absolute, $format>>($bits(a), $bits(b))
            }

            #[inline]
            fn products(isa: VectorIsa, a: &[Self], b: &[Self]) -> Products<f32> {
                isa.float
                    .run_pair::<float::PairProducts<$format>>($bits(a), $bits(b))
            }

            wide_kernels!($format, $bits);

            fn panels(_: &Cpu) -> Option<PanelFormat> {
                Some(PanelFormat::F32)
            }

            fn widened(isa: VectorIsa, x: &[Self]) -> Cow<'_, [f32]> {
                $widened(isa, $bits(x))
            }

            type Kept = f32;
            type RowSum = f32;
            const COLUMNS_MAX: usize = usize::MAX;

            fn kept(self) -> f32 {
                Float::to_f32(self)
            }

            fn rows(isa: VectorIsa, query: &[f32], task: RowTask<'_, Self, f32>) {
                let task = task.reinterpret($bits);
                isa.float.run(FloatRows::<F32, $format> { query, task });
            }

            fn scores(isa: VectorIsa, query: &[f32], task: RowTask<'_, Self, f32>) {
                Self::rows(isa, query, task);
            }
        }
    };
}

float_kernels!(f32, F32, std::convert::identity, |_, x| Cow::Borrowed(x));
float_kernels!(f16, F16, bits_of_f16, widen::<F16>);
wide_dot!(f32, F32, std::convert::identity, divide_f32);
wide_dot!(f16, F16, bits_of_f16, divide_narrow);
wide_dot!(bf16, Bf16, bits_of_bf16, divide_narrow);

fn widen<F: Format>(isa: VectorIsa, row: &[F::Bits]) -> Cow<'_, [f32]> {
    let mut wide = vec![0.0; row.len()];
    let out = &mut wide[..];
    isa.float.run(Widen::<F> { row, out });
    Cow::Owned(wide)
}

#[inline]
fn bits_of_f16(x: &[f16]) -> &[u16] {
    half::slice::HalfFloatSliceExt::reinterpret_cast(x)
}

#[inline]
fn bits_of_bf16(x: &[bf16]) -> &[u16] {
    half::slice::HalfFloatSliceExt::reinterpret_cast(x)
}

impl Kernels for bf16 {
    type Sum = f32;

    #[inline]
    fn dot(isa: VectorIsa, a: &[Self], b: &[Self]) -> f32 {
        let (a, b) = (bits_of_bf16(a), bits_of_bf16(b));
        #[cfg(target_arch = "x86_64")]
        if isa.bf16 {
            // SAFETY: so many elements of each; a `VectorIsa` holds only what is available.
            return unsafe { brain::vdpbf16::dot(a.as_ptr(), b.as_ptr(), a.len().min(b.len())) };
        }
        isa.float.run_pair::<brain::Pair<Dot>>(a, b)
    }

    #[inline]
    fn squared(isa: VectorIsa, a: &[Self], b: &[Self]) -> f32 {
        let (a, b) = (bits_of_bf16(a), bits_of_bf16(b));
        isa.float.run_pair::<brain::Pair<Squared>>(a, b)
    }

    #[inline]
    fn absolute(isa: VectorIsa, a: &[Self], b: &[Self]) -> f32 {
        let (a, b) = (bits_of_bf16(a), bits_of_bf16(b));
        isa.float.run_pair::<brain::Pair<Absolute>>(a, b)
    }

    #[inline]
    fn products(isa: VectorIsa, a: &[Self], b: &[Self]) -> Products<f32> {
        let (a, b) = (bits_of_bf16(a), bits_of_bf16(b));
        #[cfg(target_arch = "x86_64")]
        if isa.bf16 {
            // SAFETY: so many elements of each; a `VectorIsa` holds only what is available.
            return unsafe {
                brain::vdpbf16::products(a.as_ptr(), b.as_ptr(), a.len().min(b.len()))
            };
        }
        isa.float.run_pair::<brain::PairProducts>(a, b)
    }

    wide_kernels!(Bf16, bits_of_bf16);

    fn panels(cpu: &Cpu) -> Option<PanelFormat> {
        Some(PanelFormat::bf16_on(cpu))
    }

    fn widened(isa: VectorIsa, x: &[Self]) -> Cow<'_, [f32]> {
        widen::<Bf16>(isa, bits_of_bf16(x))
    }

    type Kept = u16;
    type RowSum = f32;
    const COLUMNS_MAX: usize = usize::MAX;

    fn kept(self) -> u16 {
        self.to_bits()
    }

    fn rows(isa: VectorIsa, query: &[u16], task: RowTask<'_, Self, f32>) {
        let task = task.reinterpret(bits_of_bf16);
        BrainRows { query, task }.run_on(isa);
    }

    fn scores(isa: VectorIsa, query: &[u16], task: RowTask<'_, Self, f32>) {
        Self::rows(isa, query, task);
    }
}

impl Kernels for i8 {
    type Sum = i64;

    #[inline]
    fn dot(isa: VectorIsa, a: &[Self], b: &[Self]) -> i64 {
        bytes::run::<bytes::Pair<Dot>>(isa.int, a, b)
    }

    #[inline]
    fn squared(isa: VectorIsa, a: &[Self], b: &[Self]) -> i64 {
        bytes::run::<bytes::Pair<Squared>>(isa.int, a, b)
    }

    #[inline]
    fn absolute(isa: VectorIsa, a: &[Self], b: &[Self]) -> i64 {
        bytes::run::<bytes::Pair<Absolute>>(isa.int, a, b)
    }

    #[inline]
    fn products(isa: VectorIsa, a: &[Self], b: &[Self]) -> Products<i64> {
        bytes::run::<bytes::PairProducts>(isa.int, a, b)
    }

    fn products_f64(isa: VectorIsa, a: &[Self], b: &[Self]) -> Products<f64> {
        Self::products(isa, a, b).to_f64()
    }

    fn squared_f64(isa: VectorIsa, a: &[Self], b: &[Self]) -> f64 {
        Self::squared(isa, a, b).to_f64()
    }

    fn panels(_: &Cpu) -> Option<PanelFormat> {
        None
    }

    fn widened(_: VectorIsa, x: &[Self]) -> Cow<'_, [f32]> {
        x.iter().map(|&x| f32::from(x)).collect()
    }

    type Kept = i8;
    type RowSum = i32;
    const COLUMNS_MAX: usize = bytes::COLUMNS_MAX;

    fn kept(self) -> i8 {
        self
    }

    fn rows(isa: VectorIsa, query: &[i8], task: RowTask<'_, Self, i32>) {
        bytes::run_task(isa.int, ByteRows { query, task });
    }

    fn scores(isa: VectorIsa, query: &[i8], task: RowTask<'_, Self, f32>) {
        bytes::run_task(isa.int, ByteRows { query, task });
    }
}

impl Element for f32 {
    type Total = f32;
}

impl Element for f16 {
    type Total = f32;
}

impl Element for bf16 {
    type Total = f32;
}

impl Element for i8 {
    type Total = i64;
}

impl Float for f32 {
    fn from_f32(x: f32) -> f32 {
        x
    }

    fn to_f32(self) -> f32 {
        self
    }
}

impl Float for f16 {
    fn from_f32(x: f32) -> f16 {
        f16::from_f32(x)
    }

    fn to_f32(self) -> f32 {
        f16::to_f32(self)
    }
}

impl Float for bf16 {
    fn from_f32(x: f32) -> bf16 {
        bf16::from_f32(x)
    }

    fn to_f32(self) -> f32 {
        bf16::to_f32(self)
    }
}
