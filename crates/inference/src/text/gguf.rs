//! The vocabulary of a GGUF file: its metadata as the tokenizer takes it.

use crate::checkpoint::{GgufMetadata, LoadError, Texts};
use crate::tokenizer::GgufVocabulary;

/// Ids are below this, whatever the vocabulary.
const ID_MAX: u64 = 1 << 24;

/// Reads the `tokenizer.ggml.*` fields.
pub(super) fn vocabulary(metadata: &GgufMetadata) -> Result<GgufVocabulary, LoadError> {
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let text = |name: &str| metadata.text(&key(name));
    let flag = |name: &str| metadata.flag(&key(name));
    let id = |name: &str| -> Result<Option<u32>, LoadError> {
        let found = metadata.integer(&key(name), 0..=ID_MAX)?;
        Ok(found.and_then(|id| u32::try_from(id).ok()))
    };
    let missing = |name: &str| metadata.refuse(&key(name), "is missing");
    let owned = |texts: &Texts| texts.iter().map(str::to_owned).collect();
    let tokens = metadata.texts(&key("tokens"))?;
    let scores = metadata.numbers(&key("scores"))?;
    let types = metadata.integers(&key("token_type"))?;
    let charsmap = metadata.integers(&key("precompiled_charsmap"))?;
    Ok(GgufVocabulary {
        model: text("model")?.ok_or_else(|| missing("model"))?.to_owned(),
        pre: text("pre")?.map(str::to_owned),
        tokens: tokens.map(owned).ok_or_else(|| missing("tokens"))?,
        scores: scores.map(|scores| scores.iter().map(|score| *score as f32).collect()),
        types: types.map(|types| {
            types
                .iter()
                .map(|kind| i32::try_from(*kind).unwrap_or(-1))
                .collect()
        }),
        merges: metadata.texts(&key("merges"))?.map(owned),
        // Bytes are written as signed or unsigned ones.
        charsmap: charsmap.map(|bytes| {
            bytes
                .iter()
                .map(|byte| byte.rem_euclid(256) as u8)
                .collect()
        }),
        bos: id("bos_token_id")?,
        eos: id("eos_token_id")?,
        eot: id("eot_token_id")?,
        eom: id("eom_token_id")?,
        unk: id("unknown_token_id")?,
        sep: id("seperator_token_id")?,
        pad: id("padding_token_id")?,
        add_bos: flag("add_bos_token")?,
        add_eos: flag("add_eos_token")?,
        add_space_prefix: flag("add_space_prefix")?,
        remove_extra_whitespaces: flag("remove_extra_whitespaces")?,
        lowercase: flag("normalizer.lowercase")?,
        strip_accents: flag("normalizer.strip_accents")?,
    })
}
