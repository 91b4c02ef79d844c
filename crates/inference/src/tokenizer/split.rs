//! The pre-tokenizer: cuts a normalized text into words.
//!
//! In: the `pre_tokenizer` of tokenizer.json. Out: stages that split a text as the `tokenizers` library does, except that a
//! regular expression that gives up is an error here, where the library silently leaves the rest of the text in one piece.

use fancy_regex::{Regex, RegexBuilder};
use serde::Deserialize;
use serde_json::Value;
use tokenizers::pattern::{Invert, Pattern};
use tokenizers::{
    NormalizedString, PreTokenizedString, PreTokenizer as _, PreTokenizerWrapper,
    SplitDelimiterBehavior,
};

use super::TextError;

/// One stage of the pre-tokenizer.
#[derive(Debug)]
pub(super) enum Stage {
    /// Splits by a regular expression.
    Split {
        words: Words,
        behavior: SplitDelimiterBehavior,
        invert: bool,
        adds_prefix_space: bool,
    },
    /// Any other kind, done by the library.
    Library(Box<PreTokenizerWrapper>),
}

/// The words of GPT-2: what a `ByteLevel` stage with `use_regex` splits by.
const GPT2_WORDS: &str =
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// A run of white space costs a step of backtracking for each of its characters, so the limit must exceed the longest
/// text; what a hostile expression can waste with it is about a second for each match.
const BACKTRACK_STEPS_MAX: usize = 4 * super::hf::TEXT_BYTES_MAX;

/// The stages of a `pre_tokenizer` value, in order; a `Sequence` is unrolled.
pub(super) fn stages_from_json(value: &Value) -> Result<Vec<Stage>, TextError> {
    if value.is_null() {
        return Ok(Vec::new());
    }
    let kind = value
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    match kind {
        "Sequence" => {
            let parts = value.get("pretokenizers").and_then(Value::as_array);
            let parts = parts.ok_or_else(|| wrong("a Sequence needs a list `pretokenizers`"))?;
            let stages: Result<Vec<_>, _> = parts.iter().map(stages_from_json).collect();
            Ok(stages?.into_iter().flatten().collect())
        }
        "Split" if value.pointer("/pattern/Regex").is_some() => Ok(vec![split_stage(value)?]),
        "ByteLevel" if value.get("use_regex").is_none_or(|flag| flag == true) => byte_level(value),
        _ => Ok(vec![library_stage(value)?]),
    }
}

fn wrong(reason: impl std::fmt::Display) -> TextError {
    TextError::file(format!("pre_tokenizer: {reason}"))
}

fn library_stage(value: &Value) -> Result<Stage, TextError> {
    let stage = PreTokenizerWrapper::deserialize(value).map_err(wrong)?;
    Ok(Stage::Library(Box::new(stage)))
}

fn split_stage(value: &Value) -> Result<Stage, TextError> {
    let pattern = value.pointer("/pattern/Regex").and_then(Value::as_str);
    let words = Words::new(pattern.ok_or_else(|| wrong("a Split needs a string as its Regex"))?)?;
    let behavior = value.get("behavior").cloned().unwrap_or_default();
    let behavior = SplitDelimiterBehavior::deserialize(behavior).map_err(wrong)?;
    let invert = value
        .get("invert")
        .and_then(Value::as_bool)
        .unwrap_or(false);
    Ok(Stage::Split {
        words,
        behavior,
        invert,
        adds_prefix_space: false,
    })
}

/// A `ByteLevel` stage as two: its words, then its bytes.
fn byte_level(value: &Value) -> Result<Vec<Stage>, TextError> {
    let adds_prefix_space = value
        .get("add_prefix_space")
        .and_then(Value::as_bool)
        .unwrap_or(true);
    let words = Stage::Split {
        words: Words::new(GPT2_WORDS)?,
        behavior: SplitDelimiterBehavior::Isolated,
        invert: false,
        adds_prefix_space,
    };
    let mut bytes = value.clone();
    bytes["use_regex"] = Value::Bool(false);
    bytes["add_prefix_space"] = Value::Bool(false);
    Ok(vec![words, library_stage(&bytes)?])
}

impl Stage {
    /// Splits every part of `text` that is not a token yet.
    pub(super) fn apply(&self, text: &mut PreTokenizedString) -> tokenizers::Result<()> {
        let (words, behavior, invert, prefix) = match self {
            Stage::Library(stage) => return stage.pre_tokenize(text),
            Stage::Split {
                words,
                behavior,
                invert,
                adds_prefix_space,
            } => (words, *behavior, *invert, *adds_prefix_space),
        };
        text.split(|_, mut part: NormalizedString| {
            if prefix && !part.get().starts_with(' ') {
                part.prepend(" ");
            }
            if invert {
                part.split(Invert(words), behavior)
            } else {
                part.split(words, behavior)
            }
        })
    }
}

/// A regular expression whose matches are words.
#[derive(Debug)]
pub(super) struct Words(Regex);

impl Words {
    fn new(pattern: &str) -> Result<Self, TextError> {
        let mut builder = RegexBuilder::new(pattern);
        builder.backtrack_limit(BACKTRACK_STEPS_MAX);
        builder
            .build()
            .map(Words)
            .map_err(|error| wrong(format!("regex {pattern:?}: {error}")))
    }
}

impl Pattern for &Words {
    fn find_matches(&self, inside: &str) -> tokenizers::Result<Vec<((usize, usize), bool)>> {
        let mut matches = Vec::new();
        let mut done = 0;
        for found in self.0.find_iter(inside) {
            let found = found?;
            if done != found.start() {
                matches.push(((done, found.start()), false));
            }
            matches.push(((found.start(), found.end()), true));
            done = found.end();
        }
        if done != inside.len() || inside.is_empty() {
            matches.push(((done, inside.len()), false));
        }
        Ok(matches)
    }
}
