//! vocab.txt: the WordPiece of BERT, one token a line.
//!
//! In: the file, and what tokenizer_config.json says of letters. Out: the canonical form.

use serde_json::{Value, json};

use super::super::TextError;
use super::super::error::wrong_in;
use super::super::file::{ModelFile, TokenizerFile, VocabFile};
use super::{AddedToken, Known, Settings, around};

/// The names that BERT has for its special tokens.
const USUAL: [(&str, &str); 5] = [
    ("unk_token", "[UNK]"),
    ("sep_token", "[SEP]"),
    ("pad_token", "[PAD]"),
    ("cls_token", "[CLS]"),
    ("mask_token", "[MASK]"),
];

/// Classes that are BERT's in all but their names.
const CLASSES: [&str; 5] = [
    "BertTokenizer",
    "DistilBertTokenizer",
    "ElectraTokenizer",
    "PreTrainedTokenizer",
    "TokenizersBackend",
];

/// How BERT sees letters.
pub(super) struct Letters {
    pub(super) lowercase: bool,
    /// Follows `lowercase` where nothing is said.
    pub(super) strip_accents: Option<bool>,
    pub(super) chinese_apart: bool,
}

/// The canonical form of a vocab.txt.
pub(super) fn file(text: &str, settings: &Settings) -> Result<TokenizerFile, TextError> {
    if let Some(class) = settings.class().filter(|class| !CLASSES.contains(class)) {
        let reason = format!("tokenizer_class: what {class} makes of a vocab.txt is not known");
        return Err(wrong_in("tokenizer_config.json", reason));
    }
    let vocab: Vec<(String, u32)> = lines(text).map(str::to_owned).zip(0..).collect();
    let entries = vocab.iter().map(|(token, id)| (token.as_str(), *id));
    let known = Known::new(settings, entries, &USUAL)?;
    let letters = Letters {
        lowercase: settings.flag("do_lower_case", true)?,
        strip_accents: settings.maybe_flag("strip_accents")?,
        chinese_apart: settings.flag("tokenize_chinese_chars", true)?,
    };
    let unk = known.named("unk_token")?;
    let ends = (known.named("cls_token")?, known.named("sep_token")?);
    let added = known.added;
    Ok(TokenizerFile {
        added_tokens: added,
        ..bert(vocab, unk.map(|token| token.content), &letters, ends)
    })
}

/// The canonical form of BERT's tokenizer, without its added tokens.
pub(super) fn bert(
    vocab: Vec<(String, u32)>,
    unk_token: Option<String>,
    letters: &Letters,
    ends: (Option<AddedToken>, Option<AddedToken>),
) -> TokenizerFile {
    let post_processor = match &ends {
        (Some(cls), Some(sep)) => around::sentences(cls, sep),
        _ => Value::Null,
    };
    TokenizerFile {
        normalizer: json!({
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": letters.chinese_apart,
            "strip_accents": letters.strip_accents, "lowercase": letters.lowercase,
        }),
        pre_tokenizer: json!({"type": "BertPreTokenizer"}),
        post_processor,
        decoder: json!({"type": "WordPiece", "prefix": "##", "cleanup": false}),
        model: ModelFile {
            kind: Some("WordPiece".to_owned()),
            vocab: VocabFile::Ids(vocab),
            unk_token,
            ..ModelFile::default()
        },
        ..TokenizerFile::default()
    }
}

/// Lines as Python reads them; a last one need not be ended.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let ends_line = text.ends_with(['\n', '\r']);
    let text = match text.strip_suffix("\r\n") {
        Some(text) => text,
        None if ends_line => &text[..text.len() - 1],
        None => text,
    };
    let lines = text.split('\n');
    lines.flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_as_in_python() {
        let read = |text| lines(text).collect::<Vec<_>>();
        assert_eq!(read("a\nb"), ["a", "b"]);
        assert_eq!(read("a\nb\n"), ["a", "b"]);
        assert_eq!(read("a\r\n\r\nb \r\n"), ["a", "", "b "]);
        assert_eq!(read("a\rb\u{2028}c\n"), ["a", "b\u{2028}c"]);
    }
}
