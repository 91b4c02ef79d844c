//! The goldens in memory: prompts with the logits and greedy ids of the reference.

use std::path::{Path, PathBuf};
use std::{fmt, fs};

use serde::Deserialize;

use crate::safetensors::Tensors;
use crate::tolerance::GREEDY_GAP;

/// The lengths in tokens of every family's prompts: one row, a few, and both sides of a chunk of 64.
const PROMPT_TOKENS: [usize; 5] = [1, 7, 64, 65, 300];

/// The lengths in tokens of the prompts of [`grouped`].
const GROUPED_TOKENS: [usize; 2] = [7, 65];

/// One family's tiny checkpoint and what transformers says about it, in float32.
#[derive(Debug, Clone)]
pub struct Golden {
    /// The folder's name, such as `qwen3_5_moe`.
    pub name: String,
    /// The checkpoint: config.json and safetensors.
    pub dir: PathBuf,
    /// By length, shortest first.
    pub prompts: Vec<PromptGolden>,
    /// Greedy decoding from the prompt of 7 tokens. It stops at no stop id, and meets none.
    pub greedy: Greedy,
    /// Columns of the logits.
    pub vocab: usize,
}

/// A tiny checkpoint as MLX, AWQ or GPTQ stores it, and what its logits are in float32.
#[derive(Debug, Clone)]
pub struct GroupedGolden {
    /// The folder's name, such as `mlx_llama_4`.
    pub name: String,
    /// The checkpoint: config.json and safetensors.
    pub dir: PathBuf,
    /// By length, shortest first.
    pub prompts: Vec<PromptGolden>,
    /// Columns of the logits.
    pub vocab: usize,
}

/// A tiny GGUF file by llama.cpp's own tools.
#[derive(Debug, Clone)]
pub struct GgufGolden {
    /// The file's name without its ending, such as `qwen3_q8_0`.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// By transformers in float32, on the weights that the blocks stand for.
    pub prompt: PromptGolden,
    /// The same rows by llama.cpp, which rounds the inputs of its products to 8 bits.
    pub llama_cpp: Vec<f32>,
    /// Columns of the logits.
    pub vocab: usize,
}

/// Some blocks of one kind, and what they stand for.
#[derive(Debug, Clone)]
pub struct BlockGolden {
    /// Such as `Q4_K`.
    pub kind: String,
    /// As stored, filled up to a multiple of 4.
    pub bytes: Vec<u8>,
    /// By the `gguf` package.
    pub values: Vec<f32>,
}

/// A prompt from an empty state.
#[derive(Debug, Clone)]
pub struct PromptGolden {
    /// The tokens of the prompt.
    pub ids: Vec<u32>,
    /// The position of the first row kept in `logits`; the rows after it are all there.
    pub first_row: usize,
    /// `[ids.len() - first_row, vocab]`.
    pub logits: Vec<f32>,
}

/// A greedy continuation by the reference.
#[derive(Debug, Clone, Deserialize)]
pub struct Greedy {
    /// The tokens before it.
    pub prompt: Vec<u32>,
    /// The tokens chosen, a stop id included if one ended it.
    pub ids: Vec<u32>,
    /// For each of `ids`, how far its logit was above the second best.
    pub gaps: Vec<f32>,
}

impl Greedy {
    /// The first step at which `found` is wrong: another id, or an end, where the choice was clear.
    ///
    /// None if all is right. After a difference at a gap of at most [`GREEDY_GAP`] the texts are two
    /// texts, so nothing later is compared.
    pub fn first_difference(&self, found: &[u32]) -> Option<usize> {
        let steps = self.ids.len().max(found.len());
        let step = (0..steps).find(|&t| self.ids.get(t) != found.get(t))?;
        let clear = self.gaps.get(step).is_none_or(|&gap| gap > GREEDY_GAP);
        clear.then_some(step)
    }
}

/// A conversation with the bundled model.
#[derive(Clone, Deserialize)]
pub struct ChatGolden {
    /// OpenAI-style messages, as a chat template takes them.
    pub messages: serde_json::Value,
    /// Whether the template was asked for thinking.
    pub enable_thinking: bool,
    /// What the checkpoint's template makes of the messages, generation prompt included.
    pub rendered: String,
    /// Its ids and the answer, at most 64 tokens; it ends with a stop id if it is shorter.
    pub greedy: Greedy,
    /// The answer's text without special tokens.
    pub text: String,
    /// The last row of the prompt's logits, `[vocab]`; kept for the first four conversations.
    #[serde(skip)]
    pub last_logits: Option<Vec<f32>>,
}

impl fmt::Debug for ChatGolden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatGolden")
            .field("rendered", &self.rendered)
            .finish_non_exhaustive()
    }
}

/// Every family, sorted by name.
///
/// # Panics
/// If a file is absent or not as `make.py` writes it.
pub fn families() -> Vec<Golden> {
    let root = goldens().join("families");
    folders(&root).into_iter().map(family).collect()
}

/// Conversations with `lattice-tiny`, whose own files lie elsewhere in the repository.
///
/// # Panics
/// If a file is absent or not as `make.py` writes it.
pub fn lattice_tiny() -> Vec<ChatGolden> {
    let path = goldens().join("lattice_tiny.json");
    let json = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut chats: Vec<ChatGolden> =
        serde_json::from_slice(&json).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let file = Tensors::read(&goldens().join("lattice_tiny.safetensors"));
    for (i, chat) in chats.iter_mut().enumerate() {
        chat.last_logits = file.f32s(&format!("chat_{i}.logits")).map(|(row, _)| row);
    }
    chats
}

fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens")
}

/// Tiny checkpoints as other makers store them, sorted by name.
///
/// # Panics
/// If a file is absent or not as `grouped.py` writes it.
pub fn grouped() -> Vec<GroupedGolden> {
    grouped_in(&goldens().join("grouped"))
}

/// The same for the folders of another folder.
///
/// # Panics
/// As [`grouped`].
pub fn grouped_in(folder: &Path) -> Vec<GroupedGolden> {
    let golden = |dir: PathBuf| {
        let name = name_of(&dir);
        let file = Tensors::read(&dir.join("logits.safetensors"));
        let (prompts, vocab) = prompts(&name, &file, &GROUPED_TOKENS);
        GroupedGolden {
            name,
            dir,
            prompts,
            vocab,
        }
    };
    folders(folder).into_iter().map(golden).collect()
}

/// Tiny GGUF files, sorted by name.
///
/// # Panics
/// If a file is absent or not as `gguf_files.py` writes it.
pub fn gguf_files() -> Vec<GgufGolden> {
    const TOKENS: usize = 40;
    let golden = |path: PathBuf| {
        let name = name_of(&path.with_extension(""));
        let file = Tensors::read(&path.with_extension("safetensors"));
        let (mut prompts, vocab) = prompts(&name, &file, &[TOKENS]);
        let llama_cpp = file.f32s(&format!("llama_{TOKENS}.logits"));
        GgufGolden {
            prompt: prompts.remove(0),
            llama_cpp: llama_cpp.expect("the script writes both").0,
            name,
            path,
            vocab,
        }
    };
    let mut paths = entries(&goldens().join("gguf"));
    paths.retain(|path| path.extension().is_some_and(|end| end == "gguf"));
    paths.into_iter().map(golden).collect()
}

/// Blocks of every kind that GGUF files have and that are read, sorted by name.
///
/// # Panics
/// As [`gguf_files`].
pub fn gguf_blocks() -> Vec<BlockGolden> {
    let file = Tensors::read(&goldens().join("gguf/blocks.safetensors"));
    let kinds = file.names().filter_map(|name| name.strip_suffix(".bytes"));
    let golden = |kind: &str| {
        let words = file.u32s(&format!("{kind}.bytes"));
        let values = file.f32s(&format!("{kind}.values"));
        let (Some(words), Some((values, _))) = (words, values) else {
            panic!("{kind}: no bytes or no values");
        };
        BlockGolden {
            kind: kind.to_owned(),
            bytes: words.iter().flat_map(|word| word.to_le_bytes()).collect(),
            values,
        }
    };
    let mut found: Vec<BlockGolden> = kinds.map(golden).collect();
    found.sort_by(|a, b| a.kind.cmp(&b.kind));
    found
}

/// The folders of a folder of goldens, sorted.
fn folders(of: &Path) -> Vec<PathBuf> {
    let mut dirs = entries(of);
    dirs.retain(|path| path.is_dir());
    dirs
}

/// What is in a folder, sorted.
fn entries(of: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(of).unwrap_or_else(|e| panic!("{}: {e}", of.display()));
    let paths = entries.map(|entry| entry.expect("a folder just opened can be listed").path());
    let mut paths: Vec<PathBuf> = paths.collect();
    paths.sort();
    paths
}

fn name_of(dir: &Path) -> String {
    let name = dir.file_name().expect("listed folders have names");
    name.to_string_lossy().into_owned()
}

/// The prompts of these lengths, and the columns of their logits.
fn prompts(name: &str, file: &Tensors, lengths: &[usize]) -> (Vec<PromptGolden>, usize) {
    let mut vocab = 0;
    let prompt = |tokens: &usize| {
        let ids = file.u32s(&format!("prompt_{tokens}.ids"));
        let logits = file.f32s(&format!("prompt_{tokens}.logits"));
        let (Some(ids), Some((logits, shape))) = (ids, logits) else {
            panic!("{name}: no prompt of {tokens} tokens");
        };
        vocab = shape[1];
        PromptGolden {
            first_row: ids.len() - shape[0],
            ids,
            logits,
        }
    };
    let prompts = lengths.iter().map(prompt).collect();
    (prompts, vocab)
}

fn family(dir: PathBuf) -> Golden {
    let name = name_of(&dir);
    let file = Tensors::read(&dir.join("logits.safetensors"));
    let ids = |key: &str| file.u32s(key).unwrap_or_else(|| panic!("{name}: no {key}"));
    let floats = |key: &str| file.f32s(key).unwrap_or_else(|| panic!("{name}: no {key}"));
    let (prompts, vocab) = prompts(&name, &file, &PROMPT_TOKENS);
    let (gaps, _) = floats("greedy.gaps");
    let greedy = Greedy {
        prompt: ids("greedy.prompt"),
        ids: ids("greedy.ids"),
        gaps,
    };
    Golden {
        prompts,
        greedy,
        vocab,
        name,
        dir,
    }
}

#[cfg(test)]
mod tests;
