//! Tiny checkpoints, goldens and the tolerance table. Development only.
//!
//! In: the files under `goldens/`, made by transformers (`goldens/make.py`).
//! Out: prompts with the logits and greedy ids that the reference gives for them, the limits within
//! which a result counts as the same, and small things tests share: an error measure, random numbers
//! that never change, and writers of safetensors checkpoints and GGUF files, packed and broken ones included.
//! It does not know the engine: `lattice-inference` depends on it in tests, never the other way round.
//! Everything here panics with the file's name when a golden is not as `make.py` writes it.

mod compare;
mod gguf;
mod golden;
mod packed;
mod rng;
mod safetensors;
mod scratch;
pub mod tolerance;

pub use compare::{max_abs_error, nmse};
pub use gguf::{GgufFile, GgufTensor, GgufValue};
pub use golden::{
    BlockGolden, ChatGolden, GgufGolden, Golden, Greedy, GroupedGolden, PromptGolden, families,
    gguf_blocks, gguf_files, grouped, grouped_in, lattice_tiny,
};
pub use packed::{PackedFile, StoredTensor};
pub use rng::SplitMix64;
pub use safetensors::{
    TensorBytes, bf16_bytes, f16_bytes, f32_bytes, write_checkpoint, write_safetensors,
};
pub use scratch::ScratchDir;
