//! Operations on vectors of numbers: how alike two of them are.
//!
//! In: slices of [`Element`]s or of packed bits, of one length; an instruction set. Out: sums.
//! It does not know: what the vectors mean, files, threads but those of a [`crate::Cpu`].
//! Layout, Contract: [`float`], [`brain`], [`wide`], [`bytes`] and [`bits`] say in what order they
//! add and how large the error is.
//! Measured: TO BE MEASURED

mod all;
mod bits;
mod brain;
mod bytes;
mod element;
mod float;
mod isa;
mod pair;
mod rows;
mod search;
mod top;
mod wide;

pub use all::all_pairs;
pub use bits::Word;
pub use element::{Element, Float, Sum};
pub use float::Products;
pub use half::{bf16, f16};
pub use isa::VectorIsa;
pub use pair::{
    cosine, cosine_f64, dot, dot_f64, euclidean, hamming, manhattan, norm, normalise, products,
    squared_euclidean, squared_euclidean_f64,
};
pub use search::{Matrix, Metric, Query, hamming_distances, hamming_top, scores, top};
pub use top::Hit;
