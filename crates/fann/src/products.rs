//! Products of a layer, forwards and backwards: the definition in plain loops, and who computes it.
//!
//! In: weight `[inputs, outputs]`, rows. Out: rows, gradient sums. It does not know: activations.
//! Products are rounded, then added, in an order that the shape alone decides; so vectors, plain
//! loops and a processor without fused multiply-add give the same bits, and rows do not show in each
//! other's.

pub(crate) mod plain;
#[cfg(feature = "simd")]
mod simd;

#[cfg(not(feature = "simd"))]
pub(crate) use plain::Products;
#[cfg(feature = "simd")]
pub(crate) use simd::Products;

/// Width of a layer on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
}
