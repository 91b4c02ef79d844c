//! Transformer inference in pure Rust.
//!
//! In: a model directory (config.json, tokenizer.json, safetensors) or the same files from memory.
//! Out: logits, tokens, text.
//! The way of the data is the order of the modules: `checkpoint` -> `plan` (built by `models`) ->
//! `backend` -> `sample` -> `generate`, with `tokenizer` at both ends.
//! It does not know: HTTP, terminals, the environment.
//!
//! ```
//! use lattice_inference::backend::cpu::Cpu;
//! use lattice_inference::checkpoint::ModelFiles;
//! use lattice_inference::tokenizer::{ChatMessage, ChatOptions, Role};
//! use lattice_inference::{Engine, EngineOptions, Error};
//! use std::ops::ControlFlow;
//!
//! # fn main() -> Result<(), Error> {
//! let files = ModelFiles::open("../../models/lattice-tiny".as_ref())?;
//! let mut engine = Engine::open(&files, &Cpu, &EngineOptions::default())?;
//! let messages = [ChatMessage::new(Role::User, "Hello!")];
//! let mut request = engine.chat(&messages, &ChatOptions::default())?.request;
//! request.max_tokens = Some(8);
//! let answer = engine.generator.generate(request, |_event| ControlFlow::Continue(()))?;
//! assert!(!answer.text.is_empty());
//! # Ok(())
//! # }
//! ```

mod answer;
pub mod backend;
pub mod checkpoint;
mod deep;
pub mod encoder;
mod engine;
mod error;
pub mod facts;
pub mod generate;
pub mod grammar;
mod model;
pub mod models;
pub mod plan;
pub mod quality;
pub mod quantize;
pub mod sample;
mod text;
pub mod tokenizer;
pub mod tools;

pub use answer::{AnswerReader, Piece};
pub use encoder::{CrossEncoder, Encoder, EncoderOptions};
pub use engine::{ChatRequest, Engine, EngineOptions, Front};
pub use error::Error;
pub use model::{Model, Purpose};
pub use text::{open_tokenizer, tokenizer_source, tool_format};
