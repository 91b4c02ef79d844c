//! Added tokens: spellings that are cut out of a text before the model of the tokenizer sees it.
//!
//! In: the `added_tokens` of tokenizer.json and a text. Out: where they stand in it, as the `tokenizers` library finds
//! them: leftmost, then longest, then the rules `single_word`, `lstrip` and `rstrip`. The caller says which spans may not
//! be one. It does not know normalizers.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, Input, MatchKind};
use serde::Deserialize;

use super::TextError;

/// One entry of `added_tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct AddedToken {
    pub(super) id: u32,
    pub(super) content: String,
    #[serde(default)]
    pub(super) single_word: bool,
    #[serde(default)]
    pub(super) lstrip: bool,
    #[serde(default)]
    pub(super) rstrip: bool,
    #[serde(default)]
    pub(super) normalized: bool,
    #[serde(default)]
    pub(super) special: bool,
}

impl AddedToken {
    /// A token that is found wherever its spelling stands, and nothing more.
    pub(super) fn plain(id: u32, content: String) -> Self {
        AddedToken {
            id,
            content,
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: false,
            special: false,
        }
    }

    /// A run of white space that is not marked special is vocabulary in another drawer, not a control token.
    pub(super) fn is_control(&self) -> bool {
        self.special || !self.content.chars().all(char::is_whitespace)
    }
}

/// All added tokens, findable by spelling and by id.
#[derive(Debug, Default)]
pub(super) struct AddedTokens {
    pub(super) tokens: Vec<AddedToken>,
    by_content: HashMap<String, u32>,
}

impl AddedTokens {
    pub(super) fn new(tokens: Vec<AddedToken>) -> Self {
        let by_content = tokens.iter().map(|t| (t.content.clone(), t.id)).collect();
        AddedTokens { tokens, by_content }
    }

    pub(super) fn id(&self, content: &str) -> Option<u32> {
        self.by_content.get(content).copied()
    }
}

/// Finds one set of added tokens in a text.
#[derive(Debug)]
pub(super) struct Matcher {
    automaton: AhoCorasick,
    tokens: Vec<AddedToken>,
}

/// A piece of a text: an added token, or text between them (`id` is `None`). Bytes.
pub(super) type Piece = (Option<u32>, Range<usize>);

impl Matcher {
    /// A matcher for `(spelling, token)` pairs; `None` where there is nothing to find.
    pub(super) fn new(mut pairs: Vec<(String, AddedToken)>) -> Result<Option<Self>, TextError> {
        // A normalizer may leave nothing of a spelling, and nothing is found everywhere.
        pairs.retain(|(spelling, _)| !spelling.is_empty());
        if pairs.is_empty() {
            return Ok(None);
        }
        let (spellings, tokens): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(&spellings)
            .map_err(|error| TextError::file(format!("added_tokens: {error}")))?;
        Ok(Some(Matcher { automaton, tokens }))
    }

    /// Cuts `text` at its added tokens. `allowed` says whether a token may stand at a span.
    pub(super) fn pieces(
        &self,
        text: &str,
        allowed: impl Fn(&AddedToken, Range<usize>) -> bool,
    ) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let (mut done, mut at) = (0, 0);
        while let Some(found) = self.automaton.find(Input::new(text).range(at..)) {
            let token = &self.tokens[found.pattern().as_usize()];
            at = found.end();
            if !allowed(token, found.range()) {
                // Another token may begin inside this one.
                at = found.start()
                    + text[found.start()..]
                        .chars()
                        .next()
                        .map_or(1, char::len_utf8);
                continue;
            }
            if token.single_word && !stands_alone(text, found.range()) {
                continue;
            }
            let span = widened(text, token, found.range(), done);
            if done < span.start {
                pieces.push((None, done..span.start));
            }
            at = at.max(span.end);
            done = span.end;
            pieces.push((Some(token.id), span));
        }
        if done < text.len() {
            pieces.push((None, done..text.len()));
        }
        pieces
    }
}

/// The span of a token together with the white space that it swallows on its sides.
fn widened(text: &str, token: &AddedToken, span: Range<usize>, done: usize) -> Range<usize> {
    let Range { mut start, mut end } = span;
    if token.lstrip {
        start = text[..start].trim_end().len().max(done);
    }
    if token.rstrip {
        end = text.len() - text[end..].trim_start().len();
    }
    start..end
}

fn stands_alone(text: &str, span: Range<usize>) -> bool {
    let before = text[..span.start].chars().next_back();
    let after = text[span.end..].chars().next();
    !before.is_some_and(is_word) && !after.is_some_and(is_word)
}

/// Whether `\w` matches, by the same Unicode tables as in the reference.
fn is_word(c: char) -> bool {
    static WORD: LazyLock<fancy_regex::Regex> = LazyLock::new(|| {
        fancy_regex::Regex::new(r"^\w$").expect("the pattern is a constant and compiles")
    });
    WORD.is_match(c.encode_utf8(&mut [0; 4])).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(id: u32, content: &str) -> AddedToken {
        let flags = r#""single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true"#;
        serde_json::from_str(&format!(r#"{{"id":{id},"content":"{content}",{flags}}}"#)).unwrap()
    }

    fn cut(tokens: Vec<AddedToken>, text: &str) -> Vec<(Option<u32>, String)> {
        let pairs = tokens.into_iter().map(|t| (t.content.clone(), t)).collect();
        let matcher = Matcher::new(pairs).unwrap().unwrap();
        let pieces = matcher.pieces(text, |_, _| true);
        pieces
            .into_iter()
            .map(|(id, span)| (id, text[span].to_owned()))
            .collect()
    }

    #[test]
    fn the_longest_of_the_leftmost_wins() {
        let pieces = cut(
            vec![token(0, "<a>"), token(1, "<a><b>"), token(2, "<b>")],
            "x<a><b><b>",
        );
        let want = [(None, "x"), (Some(1), "<a><b>"), (Some(2), "<b>")];
        assert_eq!(pieces, want.map(|(id, text)| (id, text.to_owned())));
    }

    #[test]
    fn a_token_swallows_the_white_space_it_declares() {
        let wide = AddedToken {
            lstrip: true,
            rstrip: true,
            ..token(7, "<m>")
        };
        let pieces = cut(vec![wide], "a  <m> \n b <m>");
        let want = [
            (None, "a"),
            (Some(7), "  <m> \n "),
            (None, "b"),
            (Some(7), " <m>"),
        ];
        assert_eq!(pieces, want.map(|(id, text)| (id, text.to_owned())));
    }

    #[test]
    fn a_single_word_needs_a_border_on_both_sides() {
        let word = AddedToken {
            single_word: true,
            ..token(3, "or")
        };
        let pieces = cut(vec![word], "word or or_ \u{301}or");
        let want = [(None, "word "), (Some(3), "or"), (None, " or_ \u{301}or")];
        assert_eq!(pieces, want.map(|(id, text)| (id, text.to_owned())));
    }

    #[test]
    fn a_forbidden_match_does_not_hide_the_one_that_begins_inside_it() {
        let tokens = vec![token(0, "ab"), token(1, "bc")];
        let pairs = tokens.into_iter().map(|t| (t.content.clone(), t)).collect();
        let matcher = Matcher::new(pairs).unwrap().unwrap();
        let pieces = matcher.pieces("abc", |_, span| span.start > 0);
        assert_eq!(pieces, [(None, 0..1), (Some(1), 1..3)]);
    }
}
