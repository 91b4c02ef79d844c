//! What the tests share: tiny models, texts of all lengths.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
#![allow(dead_code, reason = "each test binary uses its part")]

use std::path::Path;

use lattice_embed::{Embedder, EmbedderOptions, EmbeddingModel, ModelSource, NativeOptions};
use lattice_inference::backend::LoadOptions;
use lattice_inference::backend::cpu::Cpu;
use lattice_inference::checkpoint::ModelFiles;
use lattice_testkit::SplitMix64;

/// Options of a runner with these sizes.
pub(crate) fn options(threads: usize, batch_tokens: usize) -> EmbedderOptions {
    let defaults = EmbedderOptions::default();
    EmbedderOptions {
        load: LoadOptions {
            threads,
            batch_tokens_max: batch_tokens,
            ..defaults.load
        },
        ..defaults
    }
}

pub(crate) fn open(dir: &Path, options: &EmbedderOptions) -> Embedder {
    let files = ModelFiles::open(dir).unwrap();
    Embedder::open(&files, &Cpu, options).unwrap()
}

/// One thread, models from this machine alone.
pub(crate) fn native(models_max: usize) -> NativeOptions {
    NativeOptions {
        source: Some(ModelSource::offline("no-such-directory")),
        embedder: options(1, 256),
        models_max,
        ..NativeOptions::default()
    }
}

pub(crate) fn local(name: &str) -> EmbeddingModel {
    EmbeddingModel::Local(lattice_testkit::encoder(name).dir)
}

/// Texts of one word to many, some the same, some empty.
pub(crate) fn texts(count: usize) -> Vec<String> {
    let words = [
        "harbour", "ferry", "blue", "Zimmer", "é", "12", "ice", "a", "?", "night",
    ];
    let mut random = SplitMix64::new(11);
    let mut text = |_| {
        let length = random.below(9);
        let words: Vec<&str> = (0..length)
            .map(|_| words[random.below(words.len())])
            .collect();
        words.join(" ")
    };
    (0..count).map(&mut text).collect()
}

pub(crate) fn bits(rows: &[f32]) -> Vec<u32> {
    rows.iter().map(|x| x.to_bits()).collect()
}
