//! Two vectors: products, cosines and distances.
//!
//! In: two slices of one length. Out: a number. It does not know: other vectors.
//! Layout: see [`super`].
//! Contract: sums as [`super`] says. A cosine of a zero vector is 0; other cosines lie in -1..=1. Sums
//! of squares that f32 would overflow or lose are added again in f64, so cosines and distances are
//! right for elements of any size. NaN in either vector gives NaN.
//! Measured: see [`super`].

use super::bits::Word;
use super::element::{Element, Float, Sum as _};
use super::{Products, VectorIsa, bits};

/// Below it squares of f32 may have vanished, which would show.
const SMALL: f64 = 1.0 / (1u128 << 80) as f64;

impl<T: super::Sum> Products<T> {
    /// Each in f64.
    #[inline]
    pub fn to_f64(self) -> Products<f64> {
        Products {
            ab: self.ab.to_f64(),
            aa: self.aa.to_f64(),
            bb: self.bb.to_f64(),
        }
    }
}

impl Products<f64> {
    /// The cosine, -1..=1: 0 where a vector is zero, NaN where a product is or both overflow.
    #[inline]
    pub fn cosine(self) -> f64 {
        let squared = self.aa * self.bb;
        if squared == 0.0 {
            return 0.0;
        }
        (self.ab / squared.sqrt()).clamp(-1.0, 1.0)
    }

    /// Whether both sums of squares are as right as their rounding.
    #[inline]
    pub(super) fn are_ordinary(&self) -> bool {
        is_ordinary(self.aa) & is_ordinary(self.bb)
    }
}

/// Whether a sum of squares is as right as its rounding.
#[inline]
pub(super) fn is_ordinary(squares: f64) -> bool {
    (SMALL..=f64::from(f32::MAX)).contains(&squares)
}

#[inline]
#[track_caller]
fn same_length<T>(a: &[T], b: &[T]) {
    assert_eq!(a.len(), b.len(), "elements of two vectors");
}

/// The dot product; 0 of empty vectors.
///
/// # Panics
/// If the lengths differ.
#[inline]
pub fn dot<T: Element>(isa: VectorIsa, a: &[T], b: &[T]) -> T::Total {
    same_length(a, b);
    T::dot(isa, a, b)
}

/// The dot product, added up in f64.
///
/// # Panics
/// If the lengths differ.
#[inline]
pub fn dot_f64<T: Float>(isa: VectorIsa, a: &[T], b: &[T]) -> f64 {
    same_length(a, b);
    T::dot_f64(isa, a, b)
}

/// The dot products of a cosine.
///
/// # Panics
/// If the lengths differ.
#[inline]
pub fn products<T: Element>(isa: VectorIsa, a: &[T], b: &[T]) -> Products<T::Total> {
    same_length(a, b);
    T::products(isa, a, b)
}

/// The cosine of the angle between two vectors, -1..=1; 0 where one of them is zero.
///
/// # Panics
/// If the lengths differ.
#[inline]
pub fn cosine<T: Element>(isa: VectorIsa, a: &[T], b: &[T]) -> f32 {
    let products = products(isa, a, b).to_f64();
    if products.are_ordinary() {
        return products.cosine() as f32;
    }
    cosine_again(isa, a, b)
}

#[cold]
fn cosine_again<T: Element>(isa: VectorIsa, a: &[T], b: &[T]) -> f32 {
    T::products_f64(isa, a, b).cosine() as f32
}

/// As [`cosine`], added up in f64.
///
/// # Panics
/// If the lengths differ.
#[inline]
pub fn cosine_f64<T: Element>(isa: VectorIsa, a: &[T], b: &[T]) -> f64 {
    same_length(a, b);
    T::products_f64(isa, a, b).cosine()
}

/// The square of the Euclidean distance.
///
/// # Panics
/// If the lengths differ.
#[inline]
pub fn squared_euclidean<T: Element>(isa: VectorIsa, a: &[T], b: &[T]) -> T::Total {
    same_length(a, b);
    T::squared(isa, a, b)
}

/// As [`squared_euclidean`], added up in f64.
///
/// # Panics
/// If the lengths differ.
#[inline]
pub fn squared_euclidean_f64<T: Element>(isa: VectorIsa, a: &[T], b: &[T]) -> f64 {
    same_length(a, b);
    T::squared_f64(isa, a, b)
}

/// The Euclidean distance.
///
/// # Panics
/// If the lengths differ.
#[inline]
pub fn euclidean<T: Element>(isa: VectorIsa, a: &[T], b: &[T]) -> f32 {
    let squared = squared_euclidean(isa, a, b).to_f64();
    if is_ordinary(squared) {
        return squared.sqrt() as f32;
    }
    euclidean_again(isa, a, b)
}

#[cold]
fn euclidean_again<T: Element>(isa: VectorIsa, a: &[T], b: &[T]) -> f32 {
    T::squared_f64(isa, a, b).sqrt() as f32
}

/// The sum of the absolute differences.
///
/// # Panics
/// If the lengths differ.
#[inline]
pub fn manhattan<T: Element>(isa: VectorIsa, a: &[T], b: &[T]) -> T::Total {
    same_length(a, b);
    T::absolute(isa, a, b)
}

/// The bits in which two vectors of packed bits differ.
///
/// # Panics
/// If the lengths differ.
#[inline]
pub fn hamming<W: Word>(isa: VectorIsa, a: &[W], b: &[W]) -> u64 {
    same_length(a, b);
    bits::hamming(isa.bits, W::bytes(a), W::bytes(b))
}

/// The Euclidean length of a vector; 0 of an empty one.
#[inline]
pub fn norm<T: Float>(isa: VectorIsa, x: &[T]) -> f32 {
    let squared = T::dot(isa, x, x).to_f64();
    if is_ordinary(squared) {
        return squared.sqrt() as f32;
    }
    T::dot_f64(isa, x, x).sqrt() as f32
}

/// Divides `x` by its length, which it returns. A vector whose length is 0, infinite or NaN stays.
#[inline]
pub fn normalise<T: Float>(isa: VectorIsa, x: &mut [T]) -> f32 {
    let norm = norm(isa, x);
    if norm > 0.0 && norm.is_finite() {
        T::divide(isa, x, norm);
    }
    norm
}
