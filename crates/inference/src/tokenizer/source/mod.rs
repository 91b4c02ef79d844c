//! Tokenizers that are not written as tokenizer.json.
//!
//! In: a vocabulary as a model directory or a GGUF file holds it, and the settings beside it. Out: the parts of a
//! tokenizer.json that says the same, so that everything after is the same for all of them.
//! It does not know how text is split or joined: it only writes down how.

mod around;
mod byte_level;
mod gguf;
mod pieces;
mod protobuf;
mod sentence_piece;
mod settings;
mod word_piece;
mod words;

use std::collections::HashMap;
use std::fmt;

pub use gguf::GgufVocabulary;
pub(super) use settings::Settings;

use super::TextError;
use super::added::AddedToken;
use super::error::wrong_in;
use super::file::TokenizerFile;
use settings::NAMES;

/// What a model's tokenizer is made of: one vocabulary, and the settings beside it where there are files for them.
#[derive(Debug, Clone, Copy)]
pub struct TokenizerFiles<'a> {
    /// The tokens.
    pub vocabulary: Vocabulary<'a>,
    /// tokenizer_config.json.
    pub tokenizer_config: Option<&'a str>,
    /// special_tokens_map.json.
    pub special_tokens_map: Option<&'a str>,
    /// added_tokens.json.
    pub added_tokens: Option<&'a str>,
    /// `model_type` of config.json: says how text is split where the settings do not.
    pub model_type: Option<&'a str>,
}

/// A vocabulary by its kind, in the order in which a directory is searched for one.
#[derive(Debug, Clone, Copy)]
pub enum Vocabulary<'a> {
    /// tokenizer.json: everything in one file.
    Json(&'a [u8]),
    /// vocab.json and merges.txt: byte-level BPE.
    Merges {
        /// vocab.json.
        vocab: &'a [u8],
        /// merges.txt.
        merges: &'a str,
    },
    /// vocab.txt: WordPiece.
    Words(&'a str),
    /// tokenizer.model and the like: SentencePiece, BPE or Unigram.
    SentencePiece {
        /// The file's name.
        name: &'a str,
        /// Its bytes.
        bytes: &'a [u8],
    },
    /// The metadata of a GGUF file, which leaves no room for other settings.
    Gguf(&'a GgufVocabulary),
}

/// The largest vocabulary that is read: the largest known one (256 k tokens) has 33 MB.
const BYTES_MAX: usize = 128 << 20;

impl<'a> Vocabulary<'a> {
    /// The file or files that it stands in.
    pub fn source(&self) -> &'a str {
        match self {
            Vocabulary::Json(_) => super::error::CANONICAL,
            Vocabulary::Merges { .. } => "vocab.json and merges.txt",
            Vocabulary::Words(_) => "vocab.txt",
            Vocabulary::SentencePiece { name, .. } => name,
            Vocabulary::Gguf(_) => "GGUF metadata",
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Vocabulary::Json(bytes) | Vocabulary::SentencePiece { bytes, .. } => bytes.len(),
            Vocabulary::Merges { vocab, merges } => vocab.len().saturating_add(merges.len()),
            Vocabulary::Words(text) => text.len(),
            Vocabulary::Gguf(vocabulary) => vocabulary.tokens.iter().map(String::len).sum(),
        }
    }
}

/// What is wrong with a vocabulary, before it is said in which file.
#[derive(Debug)]
pub(super) struct Fault(String);

impl Fault {
    fn new(reason: impl fmt::Display) -> Self {
        Fault(reason.to_string())
    }
}

impl From<Fault> for TextError {
    fn from(Fault(reason): Fault) -> Self {
        TextError::file(reason)
    }
}

/// The canonical form of any vocabulary.
pub(super) fn canonical(
    files: &TokenizerFiles<'_>,
    settings: &Settings,
) -> Result<TokenizerFile, TextError> {
    let bytes = files.vocabulary.bytes();
    if bytes > BYTES_MAX {
        return Err(Fault::new(format!("{bytes} bytes, the most is {BYTES_MAX}")).into());
    }
    match files.vocabulary {
        Vocabulary::Json(json) => {
            let mut file = TokenizerFile::from_bytes(json)?;
            settings.add_to(&mut file.added_tokens)?;
            file.model.unwritten = unwritten(&file);
            Ok(file)
        }
        Vocabulary::Merges { vocab, merges } => {
            byte_level::file(vocab, merges, settings, files.model_type)
        }
        Vocabulary::Words(text) => word_piece::file(text, settings),
        Vocabulary::SentencePiece { bytes, .. } => {
            sentence_piece::file(bytes, settings, files.model_type)
        }
        Vocabulary::Gguf(vocabulary) => vocabulary.file(),
    }
}

/// Special tokens that the Unigram of a tokenizer.json would find in any text, as they are among its pieces. Where a mark
/// takes the place of spaces, a spelling with a space keeps them out.
fn unwritten(file: &TokenizerFile) -> Vec<u32> {
    let marks = |kind: &str| kind == "Metaspace" || kind == "WhitespaceSplit";
    let kinds = file.pre_tokenizer["pretokenizers"].as_array();
    let kinds = kinds.map_or(std::slice::from_ref(&file.pre_tokenizer), Vec::as_slice);
    let mut kinds = kinds.iter().filter_map(|part| part["type"].as_str());
    if !kinds.any(marks) {
        return Vec::new();
    }
    let special = file.added_tokens.iter().filter(|token| token.special);
    special.map(|token| token.id).collect()
}

/// Ids by spelling, and the added tokens as the settings describe them.
struct Known<'a> {
    settings: &'a Settings,
    ids: HashMap<&'a str, u32>,
    /// The names that the tokenizer's class has for its special tokens.
    usual: &'a [(&'a str, &'a str)],
    added: Vec<AddedToken>,
}

impl<'a> Known<'a> {
    /// The tokens of a vocabulary and of the settings.
    fn new(
        settings: &'a Settings,
        vocabulary: impl Iterator<Item = (&'a str, u32)>,
        usual: &'a [(&'a str, &'a str)],
    ) -> Result<Self, TextError> {
        let mut known = Known {
            settings,
            ids: vocabulary.collect(),
            usual,
            added: settings.added.clone(),
        };
        for token in &settings.added {
            known.ids.entry(&token.content).or_insert(token.id);
        }
        for name in NAMES {
            if let Some(token) = known.named(name)? {
                known.add_special(token);
            }
        }
        for token in settings.unnamed() {
            if let Some(&id) = known.ids.get(token.content.as_str()) {
                known.add_special(AddedToken { id, ..token });
            }
        }
        Ok(known)
    }

    /// A special token by its name. One that only its class knows need not have an id, nor need those that no text is made
    /// with.
    fn named(&self, name: &str) -> Result<Option<AddedToken>, TextError> {
        let said = self.settings.named(name);
        let must = said.is_some() && !["pad_token", "mask_token"].contains(&name);
        let is_null = |value: &serde_json::Value| value.is_null();
        let none = self.settings.config.get(name).is_some_and(is_null);
        let usual = self.usual.iter().find(|(known, _)| *known == name && !none);
        let usual = usual.map(|(_, spelling)| AddedToken {
            special: true,
            ..AddedToken::plain(0, (*spelling).to_owned())
        });
        let Some(token) = said.or(usual) else {
            return Ok(None);
        };
        match self.ids.get(token.content.as_str()) {
            Some(&id) => Ok(Some(AddedToken { id, ..token })),
            None if must => {
                let reason = format!("{name}: {:?} is not in the vocabulary", token.content);
                Err(wrong_in("tokenizer_config.json", reason))
            }
            None => Ok(None),
        }
    }

    /// What the settings say of a token counts, but that it is special.
    fn add_special(&mut self, token: AddedToken) {
        match self
            .added
            .iter_mut()
            .find(|known| known.content == token.content)
        {
            Some(known) => known.special = true,
            None => self.added.push(token),
        }
    }

    /// All added tokens: those of the settings, and those that only the vocabulary knows.
    fn with(self, listed: Vec<AddedToken>) -> Vec<AddedToken> {
        let mut added = self.added;
        let new = |token: &AddedToken| !added.iter().any(|known| known.content == token.content);
        let listed: Vec<AddedToken> = listed.into_iter().filter(new).collect();
        added.extend(listed);
        added
    }
}
