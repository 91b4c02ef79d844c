//! What happens to a text before it is cut into words.
//!
//! In: the `normalizer` of tokenizer.json, parts of a text. Out: whether the one is taken, the other with its mark.

use serde_json::Value;
use tokenizers::NormalizedString;

use super::TextError;
use super::file::Prefix;

/// Bytes that a byte of text may become: more than any script needs.
const GROWTH_MAX: usize = 64;

/// Refuses a normalizer whose replacements, one after the other, blow a text up.
pub(super) fn check_growth(normalizer: &Value) -> Result<(), TextError> {
    match growth(normalizer) {
        Some(factor) if factor <= GROWTH_MAX => Ok(()),
        _ => Err(TextError::file(format!(
            "normalizer: makes texts more than {GROWTH_MAX} times as long"
        ))),
    }
}

/// How many bytes the replacements of a normalizer make of one; `None` beyond counting.
fn growth(normalizer: &Value) -> Option<usize> {
    let parts = normalizer["normalizers"].as_array();
    let inner = parts
        .into_iter()
        .flatten()
        .try_fold(1_usize, |factor, part| factor.checked_mul(growth(part)?))?;
    let content = normalizer["content"].as_str().map_or(1, str::len);
    let pattern = normalizer["pattern"]["String"].as_str().map_or(1, str::len);
    inner.checked_mul(content.div_ceil(pattern.max(1)).max(1))
}

/// Puts SentencePiece's mark before a part of a text, unless nothing is left of the part.
pub(super) fn with_mark(mut part: NormalizedString, prefix: Prefix) -> NormalizedString {
    let first = part.offsets_original().0 == 0;
    if !part.get().is_empty() && (first || prefix == Prefix::Parts) {
        part.prepend("\u{2581}");
    }
    part
}
