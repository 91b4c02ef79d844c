//! Tiny dense networks: built in a line, trained from scratch, run in microseconds without allocating.
//!
//! In: layer widths and activations, rows of f32. Out: rows of f32, trained weights, files.
//! It does not know: models, terminals, the environment. It prints nothing and starts no threads.
//!
//! [`NetworkBuilder`] makes a [`Network`], [`mod@train`] teaches it, [`mod@file`] keeps it; [`Int8Network`] and
//! [`Fixed`] are other forms of one that is trained. The same seed, samples and options give the same
//! bits on every machine, with the feature `simd` and without.

#![cfg_attr(not(feature = "simd"), no_std)]

extern crate alloc;

mod activation;
mod aligned;
mod builder;
mod data;
mod error;
mod fixed;
mod gradient;
mod int8;
mod loss;
mod math;
mod network;
mod products;
mod random;

pub mod file;
pub mod train;

pub use activation::Activation;
pub use builder::{Init, NetworkBuilder};
pub use data::Samples;
pub use error::Error;
pub use fixed::{Fixed, FixedLayer};
pub use gradient::Gradients;
pub use int8::Int8Network;
pub use loss::Loss;
pub use network::{Layer, Network, Scratch};

/// The examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
