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
        words: Box<Words>,
        behavior: SplitDelimiterBehavior,
        invert: bool,
        adds_prefix_space: bool,
    },
    /// Any other kind, done by the library.
    Library(Box<PreTokenizerWrapper>),
}

/// The words of GPT-2: what a `ByteLevel` stage with `use_regex` splits by.
pub(super) const GPT2_WORDS: &str =
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// What an expression with look-around may spend on one match before the text is refused: about 0.1 s.
const BACKTRACK_STEPS_MAX: usize = 10_000_000;

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
        words: Box::new(words),
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
        words: Box::new(Words::new(GPT2_WORDS)?),
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
                part.split(Invert(&**words), behavior)
            } else {
                part.split(&**words, behavior)
            }
        })
    }
}

/// A regular expression whose matches are words.
#[derive(Debug)]
pub(super) struct Words {
    regex: Regex,
    /// Set where the expression ended in [`TRAILING_SPACE`]: then `regex` ends in `|\s+`, and this is what came before.
    before_space: Option<Regex>,
}

/// How the expressions of GPT-2 and its heirs end: white space, less the last character where a word follows. Backtracking
/// would need a step and a stack entry for each character of it; without the look-ahead the rest runs in linear time.
const TRAILING_SPACE: &str = r"|\s+(?!\S)|\s+";

impl Words {
    fn new(pattern: &str) -> Result<Self, TextError> {
        let compile = |pattern: &str| {
            let mut builder = RegexBuilder::new(pattern);
            builder.backtrack_limit(BACKTRACK_STEPS_MAX);
            builder
                .build()
                .map_err(|error| wrong(format!("regex {pattern:?}: {error}")))
        };
        if let Some(before) = pattern
            .strip_suffix(TRAILING_SPACE)
            .filter(|p| looks_nowhere(p))
        {
            // Where the part before is not an expression of its own, the ending belongs to a group.
            if let Ok(before_space) = compile(before) {
                let regex = compile(&format!(r"{before}|\s+"))?;
                return Ok(Words {
                    regex,
                    before_space: Some(before_space),
                });
            }
        }
        Ok(Words {
            regex: compile(pattern)?,
            before_space: None,
        })
    }

    /// The first match at or after byte `at`.
    fn find(&self, text: &str, at: usize) -> tokenizers::Result<Option<(usize, usize)>> {
        let Some(found) = self.regex.find_from_pos(text, at)? else {
            return Ok(None);
        };
        let (start, end) = (found.start(), found.end());
        let Some(before_space) = &self.before_space else {
            return Ok(Some((start, end)));
        };
        let word = &text[start..end];
        if end == text.len() || !word.chars().all(char::is_whitespace) {
            return Ok(Some((start, end)));
        }
        // An earlier alternative that matches here was the one that matched.
        let earlier = before_space
            .find(word)?
            .is_some_and(|earlier| earlier.start() == 0);
        let last = word.char_indices().next_back().map_or(0, |(last, _)| last);
        let end = if earlier || last == 0 {
            end
        } else {
            start + last
        };
        Ok(Some((start, end)))
    }
}

/// Whether an expression depends on nothing but the text that it matches.
fn looks_nowhere(pattern: &str) -> bool {
    let looks = [
        "(?=", "(?!", "(?<", "(?P", "^", "$", "\\b", "\\B", "\\A", "\\z", "\\Z", "\\G", "\\K",
    ];
    let pattern = pattern.replace("[^", "[");
    !looks.iter().any(|look| pattern.contains(look))
}

impl Pattern for &Words {
    fn find_matches(&self, inside: &str) -> tokenizers::Result<Vec<((usize, usize), bool)>> {
        let mut matches = Vec::new();
        let (mut done, mut at) = (0, 0);
        while let Some((start, end)) = self.find(inside, at)? {
            if done != start {
                matches.push(((done, start), false));
            }
            matches.push(((start, end), true));
            done = end;
            // An empty match would be found again and again.
            let step = if start == end {
                inside[end..].chars().next().map(char::len_utf8)
            } else {
                Some(0)
            };
            let Some(step) = step else { break };
            at = end + step;
        }
        if done != inside.len() || inside.is_empty() {
            matches.push(((done, inside.len()), false));
        }
        Ok(matches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const QWEN_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    #[test]
    fn only_an_ending_of_the_whole_expression_is_rewritten() {
        assert!(Words::new(QWEN_WORDS).unwrap().before_space.is_some());
        assert!(Words::new(GPT2_WORDS).unwrap().before_space.is_some());
        assert!(
            Words::new(r"(?=a)b|\s+(?!\S)|\s+")
                .unwrap()
                .before_space
                .is_none()
        );
        assert!(Words::new(r"(a|\s+(?!\S)|\s+").is_err());
    }

    proptest! {
        #[test]
        fn the_rewritten_expression_finds_what_the_written_one_finds(
            text in "([ \t\r\n\u{a0}\u{85}]|a|é|1|'s|-|中|\u{301}){0,24}",
        ) {
            for pattern in [QWEN_WORDS, GPT2_WORDS] {
                let rewritten = Words::new(pattern).unwrap();
                let written = Words { regex: Regex::new(pattern).unwrap(), before_space: None };
                let found = (&rewritten).find_matches(&text).unwrap();
                prop_assert_eq!(found, (&written).find_matches(&text).unwrap());
            }
        }
    }
}
