//! Operations on vectors of numbers: how alike two of them are.
//!
//! In: slices of [`Element`]s or of packed bits, of one length; an instruction set. Out: sums.
//! It does not know: what the vectors mean, files, threads but those of a [`crate::Cpu`].
//! Layout, Contract: `float`, `brain`, `wide`, `bytes` and `bits` beside it say in what order they
//! add and how large the error is.
//! Measured: AMD EPYC (Zen 5, family 26 model 2), `examples/vectors`, best of many on a busy machine,
//! vectors in the first cache. Dot products of 384 elements: f32 7.4 ns (loading them takes 5.8), in f64 19,
//! f16 10.2, bf16 4.3, i8 4.2; of bits 1.5. SimSIMD 6.5 beside it: 12.8, -, 32, 6.6, 7.2, 1.9; NumKong
//! 7.8, which adds f32 in f64: 31 in f64, 14.4, 6.2, 4.2, 1.7. The gap grows with the length: they have one
//! sum where we have four. See docs/bench/2026-11-vectors.md.

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
