//! Transformer inference in pure Rust.
//!
//! In: a model directory (config.json, tokenizer.json, safetensors) or the same files from memory.
//! Out: logits, tokens, text.
//! The way of the data is the order of the modules: `checkpoint` -> `plan` (built by `models`) ->
//! `backend` -> `sample` -> `generate`, with `tokenizer` at both ends.
//! It does not know: HTTP, terminals, the environment.

pub mod backend;
pub mod checkpoint;
mod engine;
mod error;
pub mod generate;
mod model;
pub mod models;
pub mod plan;
pub mod sample;
pub mod tokenizer;

pub use engine::{ChatRequest, Engine, EngineOptions};
pub use error::Error;
pub use model::Model;
