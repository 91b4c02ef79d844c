//! Operations on vectors: how alike two of them are, and which of many are most alike.
//!
//! In: slices of f32, f16, bf16 or i8 ([`Element`]), or of packed bits. Out: numbers, or a
//! [`VectorError`] where lengths do not fit; nothing here panics.
//! It does not know: texts, models, files.
//!
//! Sums of floats are added in f32, of i8 exactly; `_f64` variants add in f64. Sums of empty vectors are
//! 0. The cosine of a zero vector with any other is 0 (scipy and numpy give NaN there); other cosines lie
//! in -1..=1. NaN in a vector makes its results NaN, and in a search its row comes last. Elements may
//! have any size: squares that f32 cannot hold are added again in f64.

mod error;
mod many;
mod pair;

pub use error::VectorError;
pub use lattice_kernels::vector::{Element, Float, Hit, Metric, Sum, Word, bf16, f16};
pub use lattice_kernels::{Cpu, CpuError, CpuOptions};
pub use many::{
    OwnedRows, PreparedQuery, Rows, all_pairs, hamming_distances, hamming_top_k, scores, top_k,
};
pub use pair::{
    batch_cosine_similarity, batch_dot_product, cosine_similarity, cosine_similarity_f64,
    dot_product, dot_product_f64, euclidean_distance, hamming_distance, manhattan_distance, norm,
    normalize, squared_euclidean_distance,
};

#[cfg(test)]
mod tests;
