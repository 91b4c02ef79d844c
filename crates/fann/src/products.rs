//! Products of a layer, forwards and backwards, and steps by a gradient: the definition in plain
//! loops, and who computes it.
//!
//! In: weight `[inputs, outputs]`, rows. Out: rows, gradient sums. It does not know: activations.
//! Products are rounded, then added, in an order that the shape alone decides; so vectors, plain
//! loops and a processor without fused multiply-add give the same bits, and rows do not show in each
//! other's.

pub(crate) mod plain;
#[cfg(feature = "simd")]
mod simd;
#[cfg(any(test, not(feature = "simd")))]
mod steps;

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

/// What gradient sums are added to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Onto {
    Zeros,
    Held,
}

/// A step of gradient descent by `scale` times the gradient sums.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SgdStep {
    pub(crate) scale: f32,
    pub(crate) rate: f32,
    pub(crate) momentum: f32,
    pub(crate) nesterov: bool,
    pub(crate) decay: f32,
}

/// A step of Adam by `scale` times the gradient sums. `keep` is of the parameter; `step` and `root`
/// have the corrections for the first steps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AdamStep {
    pub(crate) scale: f32,
    pub(crate) beta1: f32,
    pub(crate) beta2: f32,
    pub(crate) epsilon: f32,
    pub(crate) keep: f32,
    pub(crate) step: f32,
    pub(crate) root: f32,
}
