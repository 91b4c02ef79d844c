//! Two vectors.

use lattice_kernels::vector::{self, Element, Float, VectorIsa, Word};

use super::VectorError;

fn same_length<T>(a: &[T], b: &[T]) -> Result<VectorIsa, VectorError> {
    if a.len() == b.len() {
        return Ok(VectorIsa::detect());
    }
    Err(VectorError::Lengths {
        left: a.len(),
        right: b.len(),
    })
}

/// The cosine of the angle between two vectors, -1..=1; 0 where one of them is zero or both are empty.
///
/// # Errors
/// [`VectorError::Lengths`] if they differ in length.
///
/// ```
/// use lattice_embed::utils::cosine_similarity;
///
/// assert_eq!(cosine_similarity(&[1.0, 0.0], &[3.0, 4.0])?, 0.6);
/// assert_eq!(cosine_similarity(&[1i8, 2, 3], &[-1, -2, -3])?, -1.0);
/// assert_eq!(cosine_similarity(&[0.0, 0.0], &[3.0, 4.0])?, 0.0);
/// assert!(cosine_similarity(&[1.0], &[3.0, 4.0]).is_err());
/// # Ok::<(), lattice_embed::utils::VectorError>(())
/// ```
#[inline]
pub fn cosine_similarity<T: Element>(a: &[T], b: &[T]) -> Result<f32, VectorError> {
    Ok(vector::cosine(same_length(a, b)?, a, b))
}

/// As [`cosine_similarity`], added up in f64.
///
/// # Errors
/// [`VectorError::Lengths`] if they differ in length.
#[inline]
pub fn cosine_similarity_f64<T: Element>(a: &[T], b: &[T]) -> Result<f64, VectorError> {
    Ok(vector::cosine_f64(same_length(a, b)?, a, b))
}

/// The dot product: f32, or i64 for vectors of i8, which is exact.
///
/// # Errors
/// [`VectorError::Lengths`] if they differ in length.
///
/// ```
/// use lattice_embed::utils::dot_product;
///
/// assert_eq!(dot_product(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0])?, 32.0);
/// assert_eq!(dot_product(&[-128i8; 1000], &[-128; 1000])?, 16_384_000);
/// # Ok::<(), lattice_embed::utils::VectorError>(())
/// ```
#[inline]
pub fn dot_product<T: Element>(a: &[T], b: &[T]) -> Result<T::Total, VectorError> {
    Ok(vector::dot(same_length(a, b)?, a, b))
}

/// The dot product, added up in f64.
///
/// # Errors
/// [`VectorError::Lengths`] if they differ in length.
#[inline]
pub fn dot_product_f64<T: Float>(a: &[T], b: &[T]) -> Result<f64, VectorError> {
    Ok(vector::dot_f64(same_length(a, b)?, a, b))
}

/// The Euclidean distance.
///
/// # Errors
/// [`VectorError::Lengths`] if they differ in length.
///
/// ```
/// use lattice_embed::utils::euclidean_distance;
///
/// assert_eq!(euclidean_distance(&[1.0, 2.0], &[4.0, 6.0])?, 5.0);
/// # Ok::<(), lattice_embed::utils::VectorError>(())
/// ```
#[inline]
pub fn euclidean_distance<T: Element>(a: &[T], b: &[T]) -> Result<f32, VectorError> {
    Ok(vector::euclidean(same_length(a, b)?, a, b))
}

/// The square of the Euclidean distance: f32, or i64 for vectors of i8, which is exact.
///
/// # Errors
/// [`VectorError::Lengths`] if they differ in length.
#[inline]
pub fn squared_euclidean_distance<T: Element>(a: &[T], b: &[T]) -> Result<T::Total, VectorError> {
    Ok(vector::squared_euclidean(same_length(a, b)?, a, b))
}

/// The sum of absolute differences: f32, or i64 for vectors of i8, which is exact.
///
/// # Errors
/// [`VectorError::Lengths`] if they differ in length.
///
/// ```
/// use lattice_embed::utils::manhattan_distance;
///
/// assert_eq!(manhattan_distance(&[1.0, 2.0], &[4.0, -2.0])?, 7.0);
/// # Ok::<(), lattice_embed::utils::VectorError>(())
/// ```
#[inline]
pub fn manhattan_distance<T: Element>(a: &[T], b: &[T]) -> Result<T::Total, VectorError> {
    Ok(vector::manhattan(same_length(a, b)?, a, b))
}

/// The bits in which two vectors of packed bits differ; words of u8 or u64.
///
/// # Errors
/// [`VectorError::Lengths`] if they differ in length.
///
/// ```
/// use lattice_embed::utils::hamming_distance;
///
/// assert_eq!(hamming_distance(&[0b1010u8, 0xff], &[0b0110, 0x0f])?, 6);
/// # Ok::<(), lattice_embed::utils::VectorError>(())
/// ```
#[inline]
pub fn hamming_distance<W: Word>(a: &[W], b: &[W]) -> Result<u64, VectorError> {
    Ok(vector::hamming(same_length(a, b)?, a, b))
}

/// The Euclidean length of a vector.
#[inline]
pub fn norm<T: Float>(vector: &[T]) -> f32 {
    vector::norm(VectorIsa::detect(), vector)
}

/// Divides `vector` by its Euclidean length, which it returns. A vector whose length is 0, infinite or
/// NaN stays as it is.
///
/// ```
/// use lattice_embed::utils::normalize;
///
/// let mut vector = [3.0, 4.0];
/// assert_eq!(normalize(&mut vector), 5.0);
/// assert_eq!(vector, [0.6, 0.8]);
/// ```
#[inline]
pub fn normalize<T: Float>(vector: &mut [T]) -> f32 {
    vector::normalise(VectorIsa::detect(), vector)
}

/// [`cosine_similarity`] of each pair, in order.
///
/// # Errors
/// [`VectorError::Lengths`] for the first pair that differs in length.
///
/// ```
/// use lattice_embed::utils::batch_cosine_similarity;
///
/// let (a, b) = ([1.0, 0.0], [0.0, 2.0]);
/// assert_eq!(batch_cosine_similarity(&[(&a, &a), (&a, &b)])?, [1.0, 0.0]);
/// # Ok::<(), lattice_embed::utils::VectorError>(())
/// ```
pub fn batch_cosine_similarity<T: Element>(
    pairs: &[(&[T], &[T])],
) -> Result<Vec<f32>, VectorError> {
    pairs.iter().map(|(a, b)| cosine_similarity(a, b)).collect()
}

/// [`dot_product`] of each pair, in order.
///
/// # Errors
/// [`VectorError::Lengths`] for the first pair that differs in length.
pub fn batch_dot_product<T: Element>(pairs: &[(&[T], &[T])]) -> Result<Vec<T::Total>, VectorError> {
    pairs.iter().map(|(a, b)| dot_product(a, b)).collect()
}
