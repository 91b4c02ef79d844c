//! Sentences to vectors.
//!
//! In: texts and the name of an embedding model. Out: vectors that depend on their own text alone, to the bit.
//! It does not know: HTTP servers, terminals, the environment.

pub mod utils;
