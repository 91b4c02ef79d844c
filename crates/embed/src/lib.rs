//! Sentences to vectors.
//!
//! In: texts and the name of an embedding model. Out: vectors that depend on their own text alone, to the bit.
//! The way of the data: [`EmbeddingModel`] -> [`ModelSource`] -> [`Embedder`] -> [`Embeddings`]; before it, for many callers,
//! [`NativeEmbeddingService`] and [`CachedEmbeddingService`].
//! It does not know: HTTP servers, terminals, the environment.

#![doc = include_str!("../README.md")]

pub mod backfill;
mod cache;
mod config;
mod embedder;
mod error;
mod identity;
mod model;
mod output;
mod pipeline;
mod prompts;
mod request;
mod rerank;
mod service;
mod source;
pub mod utils;
mod window;

pub use cache::{CacheOptions, CacheStats, CachedEmbeddingService, clear_disk_cache};
pub use config::ModelConfig;
pub use embedder::{Embedder, EmbedderOptions};
pub use error::EmbedError;
pub use model::{EmbeddingModel, Facts};
pub use output::{
    Embeddings, Encoding, Int8Ranges, Truncated, Values, binary_bytes, bits_from_f32, i8_from_f32,
};
pub use request::{
    AsInput, CancelToken, Done, EmbedOptions, Input, InputRef, OnLong, Request, Role, Watch,
};
pub use rerank::{Ranked, Reranker, Scores};
pub use service::{
    Download, EmbeddingService, NativeEmbeddingService, NativeOptions, NativeRerankService,
    RerankRequest,
};
pub use source::ModelSource;
