//! Tiny encoder models with what sentence-transformers makes of texts with them in float32.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// A tiny model that makes vectors.
#[derive(Debug, Clone)]
pub struct EncoderGolden {
    /// The folder's name, such as `bert_mean`.
    pub name: String,
    /// The model's directory.
    pub dir: PathBuf,
    /// Some texts, and what becomes of them.
    pub texts: VectorsGolden,
}

/// What becomes of texts.
#[derive(Debug, Clone, Deserialize)]
pub struct VectorsGolden {
    /// The texts.
    pub texts: Vec<String>,
    /// Without a prompt.
    pub plain: EncodedGolden,
    /// After the query prompt, of models that have one.
    pub query: Option<EncodedGolden>,
    /// Rows without a prompt with another way of pooling, by its name.
    #[serde(default)]
    pub pooled: BTreeMap<String, Vec<Vec<f32>>>,
    /// After a prompt that is not pooled with the text, by the way of pooling.
    #[serde(default)]
    pub without_prompt: BTreeMap<String, EncodedGolden>,
}

/// Ids and vectors of the texts.
#[derive(Debug, Clone, Deserialize)]
pub struct EncodedGolden {
    /// What stands before each text.
    pub prompt: String,
    /// With special tokens, cut to the greatest length.
    pub ids: Vec<Vec<u32>>,
    /// A vector for each text.
    pub rows: Vec<Vec<f32>>,
}

/// A tiny model that scores pairs.
#[derive(Debug, Clone)]
pub struct CrossGolden {
    /// The folder's name, such as `bert_cross`.
    pub name: String,
    /// The model's directory.
    pub dir: PathBuf,
    /// Some pairs, and what becomes of them.
    pub pairs: PairsGolden,
}

/// What becomes of pairs.
#[derive(Debug, Clone, Deserialize)]
pub struct PairsGolden {
    /// The pairs.
    pub pairs: Vec<[String; 2]>,
    /// With special tokens, cut to the greatest length.
    pub ids: Vec<Vec<u32>>,
    /// Which text of the pair each id belongs to, where the model tells.
    pub type_ids: Vec<Vec<u32>>,
    /// A row of labels for each pair.
    pub logits: Vec<Vec<f32>>,
    /// The same after the model's own activation.
    pub scores: Vec<Vec<f32>>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/encoders")
}

fn read<T: for<'de> Deserialize<'de>>(dir: &Path) -> T {
    let file = dir.join("golden.json");
    let text = fs::read_to_string(&file);
    let text = text.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The models that make vectors.
///
/// # Panics
/// A file of theirs is missing or broken.
pub fn encoders() -> Vec<EncoderGolden> {
    let names = [
        "bert_cls",
        "bert_mean",
        "bert_dense",
        "xlm_roberta_mean",
        "qwen3_last",
    ];
    names.map(encoder).into()
}

/// One of [`encoders`].
///
/// # Panics
/// As [`encoders`].
pub fn encoder(name: &str) -> EncoderGolden {
    let dir = root().join(name);
    EncoderGolden {
        name: name.to_owned(),
        texts: read(&dir),
        dir,
    }
}

/// The models that score pairs.
///
/// # Panics
/// As [`encoders`].
pub fn cross_encoders() -> Vec<CrossGolden> {
    let cross = |name: &str| {
        let dir = root().join(name);
        CrossGolden {
            name: name.to_owned(),
            pairs: read(&dir),
            dir,
        }
    };
    ["bert_cross", "xlm_roberta_cross"].map(cross).into()
}
