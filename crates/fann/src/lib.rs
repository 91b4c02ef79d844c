//! Tiny dense networks.
//!
//! In: layer sizes and activations, rows of f32. Out: rows of f32; trained weights; files.
//! It does not know: other crates of this project, terminals, the environment.
