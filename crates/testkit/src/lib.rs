//! Tiny checkpoints, goldens and the tolerance table. Development only.
//!
//! In: the files under `goldens/`, made by transformers (`goldens/make.py`).
//! Out: prompts with the logits and greedy ids that the reference gives for them, the limits within
//! which a result counts as the same, and small things tests share: an error measure, random numbers
//! that never change, writers of safetensors checkpoints and GGUF files, packed and broken ones included, and a server
//! that speaks the model hub's protocol, well or badly.
//! It does not know the engine: `lattice-inference` depends on it in tests, never the other way round.
//! Everything here panics with the file's name when a golden is not as `make.py` writes it.

mod compare;
mod encoder_golden;
mod fake_hub;
mod gguf;
mod golden;
mod packed;
mod rng;
mod safetensors;
mod scratch;
pub mod tolerance;

pub use compare::{max_abs_error, nmse};
pub use encoder_golden::{
    CrossGolden, EncodedGolden, EncoderGolden, PairsGolden, VectorsGolden, cross_encoders, encoder,
    encoders,
};
pub use fake_hub::{FakeHub, FakeModel, FakeReply, FakeRequest, sha256_hex};
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
