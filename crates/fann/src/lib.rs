#![doc = include_str!("../README.md")]
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
