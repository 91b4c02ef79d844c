//! Operations on vectors of numbers: how alike two of them are.
//!
//! In: slices of [`Element`]s or of packed bits, of one length; an instruction set. Out: sums.
//! It does not know: what the vectors mean, files, threads but those of a [`crate::Cpu`].
//! Layout, Contract: `float`, `brain`, `wide`, `bytes` and `bits` beside it say in what order they
//! add and how large the error is.
//! Measured: AMD EPYC (Zen 5, family 26 model 2), `examples/vectors`, one thread, best of many beside
//! other work. Two vectors of 384 in the first cache, dot product: f32 6.0 ns (loading them takes 6.0), in
//! f64 19.5, f16 10.0, bf16 3.8, i8 3.8; bits 1.5. SimSIMD 6.5 beside it: 12.6, -, 33, 7.1, 7.4, 1.9; NumKong
//! 7.8: 32 in f64, 14.8, 6.7, 4.3, 1.7. They have one sum where we have four. One query against 100,000
//! rows: f32, f16, bf16 95 to 100 % of a plain read's rate, i8 84 to 89. All pairs of 4,096: f32 246 GFLOP/s,
//! bf16 441, i8 256. See docs/bench/2026-11-vectors.md.

mod all;
mod bits;
mod brain;
mod bytes;
mod element;
mod float;
mod isa;
mod matrix;
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
pub use matrix::{Matrix, OwnedMatrix};
pub use pair::{
    cosine, cosine_f64, dot, dot_f64, euclidean, hamming, manhattan, norm, normalise, products,
    squared_euclidean, squared_euclidean_f64,
};
pub use search::{Metric, Query, hamming_distances, hamming_top, scores, top};
pub use top::Hit;
