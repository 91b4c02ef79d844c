//! Grammars over the bundled vocabulary: their bounds, their masks, the answers that they hold.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod answers;
mod bounds;
mod gbnf;
mod masks;
mod suite;
mod tools;

use std::sync::Arc;

use lattice_inference::backend::cpu::Cpu;
use lattice_inference::checkpoint::ModelFiles;
use lattice_inference::grammar::{Grammar, Grammars};
use lattice_inference::tokenizer::HfTokenizer;
use lattice_inference::{Engine, EngineOptions};
use serde_json::Value;

const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/lattice-tiny");

fn tokenizer() -> Arc<HfTokenizer> {
    let json = std::fs::read(format!("{TINY}/tokenizer.json")).unwrap();
    Arc::new(HfTokenizer::from_json(&json, None).unwrap())
}

fn grammars() -> Grammars {
    Grammars::new(tokenizer())
}

fn engine() -> Engine {
    let files = ModelFiles::open(TINY.as_ref()).unwrap();
    Engine::open(&files, &Cpu, &EngineOptions::default()).unwrap()
}

fn schema(value: Value) -> Grammar {
    Grammar::JsonSchema(value)
}

fn regex(pattern: &str) -> Grammar {
    Grammar::Regex(pattern.to_owned())
}
