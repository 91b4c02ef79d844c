//! tokenizer.json, read and checked.
//!
//! In: the bytes of the file. Out: its parts with every promise checked that the `tokenizers` library takes on trust:
//! each id from 0 up has exactly one token, merges speak of known tokens, nothing is larger than it may be.
//! It does not know how text is split.

use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use tokenizers::ModelWrapper;
use tokenizers::models::bpe::{BpeBuilder, Vocab};
use tokenizers::models::unigram::Unigram;
use tokenizers::models::wordlevel::WordLevelBuilder;
use tokenizers::models::wordpiece::WordPieceBuilder;

use super::TextError;
use super::added::AddedToken;

/// tokenizer.json as it is written.
#[derive(Debug, Default, Deserialize)]
pub(super) struct TokenizerFile {
    #[serde(default)]
    pub(super) version: Option<String>,
    #[serde(default)]
    pub(super) added_tokens: Vec<AddedToken>,
    #[serde(default)]
    pub(super) normalizer: Value,
    #[serde(default)]
    pub(super) pre_tokenizer: Value,
    #[serde(default)]
    pub(super) post_processor: Value,
    #[serde(default)]
    pub(super) decoder: Value,
    pub(super) model: ModelFile,
    /// What SentencePiece puts before a text. The form has components for it that leave it out where the text begins with
    /// a space.
    #[serde(skip)]
    pub(super) prefix: Option<Prefix>,
    /// Ids that end a text, besides the `eos_token` of the settings.
    #[serde(skip)]
    pub(super) ends: Vec<u32>,
}

/// Where the mark of a word's beginning is put before text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prefix {
    /// Before the whole text.
    First,
    /// Before each part between added tokens.
    Parts,
}

/// The `model` of tokenizer.json: the fields of all kinds together.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ModelFile {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) vocab: VocabFile,
    pub(super) merges: Option<Vec<Merge>>,
    pub(super) unk_token: Option<String>,
    pub(super) unk_id: Option<usize>,
    pub(super) fuse_unk: Option<bool>,
    pub(super) byte_fallback: Option<bool>,
    pub(super) ignore_merges: Option<bool>,
    /// Ids of a Unigram that no text spells, whatever it writes: SentencePiece keeps them apart from its pieces.
    #[serde(skip)]
    pub(super) unwritten: Vec<u32>,
    pub(super) continuing_subword_prefix: Option<String>,
    pub(super) end_of_word_suffix: Option<String>,
    pub(super) max_input_chars_per_word: Option<usize>,
}

/// A vocabulary: spellings with ids, or (Unigram) spellings with scores in the order of their ids.
#[derive(Debug)]
pub(super) enum VocabFile {
    Ids(Vec<(String, u32)>),
    Scores(Vec<(String, f64)>),
}

/// Two neighbouring tokens that become one: `["a", "b"]`, or `"a b"` in older files.
#[derive(Debug)]
pub(super) struct Merge(pub(super) String, pub(super) String);

impl Merge {
    /// A merge as older files write it: two tokens divided by one space.
    pub(super) fn from_text(text: &str) -> Option<Self> {
        let (left, right) = text.split_once(' ')?;
        let two = !left.is_empty() && !right.is_empty() && !right.contains(' ');
        two.then(|| Merge(left.to_owned(), right.to_owned()))
    }
}

impl Default for VocabFile {
    fn default() -> Self {
        VocabFile::Ids(Vec::new())
    }
}

impl TokenizerFile {
    /// Reads and checks a whole file.
    pub(super) fn from_bytes(json: &[u8]) -> Result<Self, TextError> {
        let file: TokenizerFile = serde_json::from_slice(json).map_err(TextError::file)?;
        if file
            .version
            .as_deref()
            .is_some_and(|version| version != "1.0")
        {
            return Err(TextError::file(format!(
                "unknown version {:?}",
                file.version
            )));
        }
        Ok(file)
    }

    /// Every spelling by id. Fails unless the ids of vocabulary and added tokens together run from 0 without a gap.
    pub(super) fn spellings(&self) -> Result<Vec<&str>, TextError> {
        let known = self.model.vocab.len();
        let ids_max = known + self.added_tokens.len();
        let mut spellings: Vec<Option<&str>> = vec![None; known];
        let mut added: HashMap<&str, u32> = self
            .added_tokens
            .iter()
            .map(|token| (token.content.as_str(), token.id))
            .collect();
        for (spelling, id) in self.model.vocab.iter() {
            match added.remove(spelling) {
                Some(other) if other != id => {
                    let reason = format!(
                        "added token {spelling:?} has id {other}, the vocabulary gives it {id}"
                    );
                    return Err(TextError::file(reason));
                }
                _ => place(&mut spellings, ids_max, spelling, id)?,
            }
        }
        for token in &self.added_tokens {
            if added.contains_key(token.content.as_str()) {
                place(&mut spellings, ids_max, &token.content, token.id)?;
            }
        }
        let gap = spellings.iter().position(Option::is_none);
        if let Some(id) = gap {
            let last = spellings.len() - 1;
            return Err(TextError::file(format!(
                "no token has id {id}, although ids go up to {last}"
            )));
        }
        Ok(spellings.into_iter().flatten().collect())
    }
}

fn place<'a>(
    spellings: &mut Vec<Option<&'a str>>,
    ids_max: usize,
    spelling: &'a str,
    id: u32,
) -> Result<(), TextError> {
    let index = id as usize;
    if index >= ids_max {
        let reason = format!("token {spelling:?} has id {id}, but there are only {ids_max} tokens");
        return Err(TextError::file(reason));
    }
    if index >= spellings.len() {
        spellings.resize(index + 1, None);
    }
    if let Some(other) = spellings[index].replace(spelling) {
        return Err(TextError::file(format!(
            "tokens {other:?} and {spelling:?} both have id {id}"
        )));
    }
    Ok(())
}

impl VocabFile {
    fn len(&self) -> usize {
        match self {
            VocabFile::Ids(ids) => ids.len(),
            VocabFile::Scores(scores) => scores.len(),
        }
    }

    pub(super) fn iter(&self) -> Box<dyn Iterator<Item = (&str, u32)> + '_> {
        match self {
            VocabFile::Ids(ids) => Box::new(ids.iter().map(|(text, id)| (text.as_str(), *id))),
            VocabFile::Scores(scores) => Box::new(
                scores
                    .iter()
                    .zip(0..)
                    .map(|((text, _), id)| (text.as_str(), id)),
            ),
        }
    }
}

impl ModelFile {
    /// The library's model.
    pub(super) fn build(self) -> Result<ModelWrapper, TextError> {
        let kind = self
            .kind
            .clone()
            .unwrap_or_else(|| self.guessed_kind().to_owned());
        match kind.as_str() {
            "BPE" => self.build_bpe(),
            "Unigram" => self.build_unigram(),
            "WordPiece" => self.build_word_piece(),
            "WordLevel" => self.build_word_level(),
            other => Err(wrong(format!("unknown type {other:?}"))),
        }
    }

    /// Old files do not name the kind.
    fn guessed_kind(&self) -> &'static str {
        match (&self.vocab, &self.merges) {
            (VocabFile::Scores(_), _) => "Unigram",
            (VocabFile::Ids(_), Some(_)) => "BPE",
            (VocabFile::Ids(_), None) => "WordPiece",
        }
    }

    fn build_bpe(self) -> Result<ModelWrapper, TextError> {
        let prefix_bytes = self
            .continuing_subword_prefix
            .as_ref()
            .map_or(0, String::len);
        let merges = self.merges.ok_or_else(|| wrong("a BPE needs `merges`"))?;
        let vocab = vocab_from_ids(self.vocab)?;
        check_merges(&vocab, &merges, prefix_bytes)?;
        let merges = merges
            .into_iter()
            .map(|Merge(left, right)| (left, right))
            .collect();
        let mut builder = BpeBuilder::new()
            .vocab_and_merges(vocab, merges)
            .fuse_unk(self.fuse_unk.unwrap_or(false))
            .byte_fallback(self.byte_fallback.unwrap_or(false))
            .ignore_merges(self.ignore_merges.unwrap_or(false));
        if let Some(unk_token) = self.unk_token {
            builder = builder.unk_token(unk_token);
        }
        if let Some(prefix) = self.continuing_subword_prefix {
            builder = builder.continuing_subword_prefix(prefix);
        }
        if let Some(suffix) = self.end_of_word_suffix {
            builder = builder.end_of_word_suffix(suffix);
        }
        builder.build().map(ModelWrapper::BPE).map_err(wrong)
    }

    fn build_unigram(self) -> Result<ModelWrapper, TextError> {
        let VocabFile::Scores(mut scores) = self.vocab else {
            return Err(wrong(
                "a Unigram needs a list of [spelling, score] as `vocab`",
            ));
        };
        if let Some((spelling, score)) = scores.iter().find(|(_, score)| !score.is_finite()) {
            return Err(wrong(format!("the score of {spelling:?} is {score}")));
        }
        for id in self.unwritten {
            if let Some((spelling, _)) = scores.get_mut(id as usize) {
                // Spaces have become marks when the model sees a text.
                *spelling = format!(" {id}");
            }
        }
        Unigram::from(scores, self.unk_id, self.byte_fallback.unwrap_or(false))
            .map(ModelWrapper::Unigram)
            .map_err(wrong)
    }

    fn build_word_piece(self) -> Result<ModelWrapper, TextError> {
        let vocab = vocab_from_ids(self.vocab)?;
        let unk_token = known_unk(&vocab, self.unk_token, "[UNK]")?;
        WordPieceBuilder::new()
            .vocab(vocab)
            .unk_token(unk_token)
            .continuing_subword_prefix(self.continuing_subword_prefix.unwrap_or("##".to_owned()))
            .max_input_chars_per_word(self.max_input_chars_per_word.unwrap_or(100))
            .build()
            .map(ModelWrapper::WordPiece)
            .map_err(wrong)
    }

    fn build_word_level(self) -> Result<ModelWrapper, TextError> {
        let vocab = vocab_from_ids(self.vocab)?;
        let unk_token = known_unk(&vocab, self.unk_token, "<unk>")?;
        WordLevelBuilder::new()
            .vocab(vocab)
            .unk_token(unk_token)
            .build()
            .map(ModelWrapper::WordLevel)
            .map_err(wrong)
    }
}

fn wrong(reason: impl fmt::Display) -> TextError {
    TextError::file(format!("model: {reason}"))
}

fn vocab_from_ids(vocab: VocabFile) -> Result<Vocab, TextError> {
    match vocab {
        VocabFile::Ids(ids) => {
            let count = ids.len();
            let vocab: Vocab = ids.into_iter().collect();
            let twice = count - vocab.len();
            if twice > 0 {
                Err(wrong(format!("{twice} spellings are given twice")))
            } else {
                Ok(vocab)
            }
        }
        VocabFile::Scores(_) => Err(wrong("only a Unigram has scores in its `vocab`")),
    }
}

fn known_unk(vocab: &Vocab, unk: Option<String>, usual: &str) -> Result<String, TextError> {
    let unk = unk.unwrap_or_else(|| usual.to_owned());
    if vocab.contains_key(&unk) {
        Ok(unk)
    } else {
        Err(wrong(format!("no id for unk_token {unk:?}")))
    }
}

/// The library refuses merges of unknown tokens itself, but it counts on these lengths.
fn check_merges(vocab: &Vocab, merges: &[Merge], prefix_bytes: usize) -> Result<(), TextError> {
    let longest = vocab.keys().map(String::len).max().unwrap_or(0);
    let unfit = |Merge(left, right): &&Merge| {
        !right.is_char_boundary(prefix_bytes) || left.len() + right.len() - prefix_bytes > longest
    };
    match merges.iter().find(unfit) {
        None => Ok(()),
        Some(Merge(left, right)) => Err(wrong(format!(
            "merge of {left:?} and {right:?}: no token is spelled like both"
        ))),
    }
}

impl<'de> Deserialize<'de> for VocabFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct VocabVisitor;
        impl<'de> Visitor<'de> for VocabVisitor {
            type Value = VocabFile;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from spellings to ids or a list of [spelling, score]")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<VocabFile, A::Error> {
                let mut ids = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    ids.push(entry);
                }
                Ok(VocabFile::Ids(ids))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<VocabFile, A::Error> {
                let mut scores = Vec::new();
                while let Some(entry) = seq.next_element()? {
                    scores.push(entry);
                }
                Ok(VocabFile::Scores(scores))
            }
        }
        deserializer.deserialize_any(VocabVisitor)
    }
}

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MergeVisitor;
        impl<'de> Visitor<'de> for MergeVisitor {
            type Value = Merge;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a merge: two tokens, as a list or divided by one space")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Merge, E> {
                Merge::from_text(text)
                    .ok_or_else(|| E::custom(format!("merge {text:?} is not two tokens")))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Merge, A::Error> {
                let pair = (seq.next_element()?, seq.next_element()?);
                let more: Option<String> = seq.next_element()?;
                match (pair, more) {
                    ((Some(left), Some(right)), None) => Ok(Merge(left, right)),
                    _ => Err(A::Error::custom("a merge has two tokens")),
                }
            }
        }
        deserializer.deserialize_any(MergeVisitor)
    }
}
