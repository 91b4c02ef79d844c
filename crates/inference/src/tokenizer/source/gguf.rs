//! The vocabulary in the metadata of a GGUF file.
//!
//! In: the `tokenizer.ggml.*` fields as data. Out: the canonical form. Where a field is missing, what GGUF's reference reader
//! takes counts. It does not know how a GGUF file is written.

use super::super::TextError;
use super::super::file::{Prefix, TokenizerFile, VocabFile};
use super::byte_level::{byte_level, merges_from_list};
use super::pieces::{Kind, MARK, Piece, Pieces};
use super::word_piece::{Letters, bert};
use super::words::{Words, by_pre};
use super::{AddedToken, Fault, around};

/// `tokenizer.ggml.*` of a GGUF file. What the file does not say is `None`.
#[derive(Debug, Clone, Default)]
pub struct GgufVocabulary {
    /// `model`: "llama", "gpt2", "bert", "t5".
    pub model: String,
    /// `pre`: how text is cut into words, for "gpt2".
    pub pre: Option<String>,
    /// `tokens`.
    pub tokens: Vec<String>,
    /// `scores`.
    pub scores: Option<Vec<f32>>,
    /// `token_type`: 1 normal, 2 unknown, 3 control, 4 defined by people, 5 unused, 6 a byte.
    pub types: Option<Vec<i32>>,
    /// `merges`.
    pub merges: Option<Vec<String>>,
    /// `precompiled_charsmap`.
    pub charsmap: Option<Vec<u8>>,
    /// `bos_token_id`.
    pub bos: Option<u32>,
    /// `eos_token_id`.
    pub eos: Option<u32>,
    /// `eot_token_id`.
    pub eot: Option<u32>,
    /// `eom_token_id`.
    pub eom: Option<u32>,
    /// `unknown_token_id`.
    pub unk: Option<u32>,
    /// `seperator_token_id`, as GGUF spells it.
    pub sep: Option<u32>,
    /// `padding_token_id`.
    pub pad: Option<u32>,
    /// `add_bos_token`.
    pub add_bos: Option<bool>,
    /// `add_eos_token`.
    pub add_eos: Option<bool>,
    /// `add_space_prefix`.
    pub add_space_prefix: Option<bool>,
    /// `remove_extra_whitespaces`.
    pub remove_extra_whitespaces: Option<bool>,
    /// `normalizer.lowercase`.
    pub lowercase: Option<bool>,
    /// `normalizer.strip_accents`.
    pub strip_accents: Option<bool>,
}

/// Spellings that end an answer wherever they are control tokens: files rarely say so.
const ENDS: [&str; 9] = [
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<EOT>",
    "<｜end▁of▁sentence｜>",
];

impl GgufVocabulary {
    /// The canonical form.
    pub(super) fn file(&self) -> Result<TokenizerFile, TextError> {
        let pieces = self.pieces()?;
        let ends = self.ends(&pieces)?;
        let file = match self.model.as_str() {
            "llama" => self.sentence_piece(pieces, false)?,
            "t5" => self.sentence_piece(pieces, true)?,
            "gpt2" => self.byte_level(&pieces)?,
            "bert" => self.word_piece(&pieces)?,
            other => {
                let reason =
                    format!("model: {other:?} is a kind of tokenizer that is not supported");
                return Err(Fault::new(reason).into());
            }
        };
        Ok(TokenizerFile { ends, ..file })
    }

    /// The tokens with what the file says of each. Unused ones at the end only fill the embedding up.
    fn pieces(&self) -> Result<Vec<Piece>, Fault> {
        let count = self.tokens.len();
        let lengths = [
            ("scores", self.scores.as_ref().map(Vec::len)),
            ("token_type", self.types.as_ref().map(Vec::len)),
        ];
        for (field, length) in lengths {
            if let Some(length) = length.filter(|length| *length != count) {
                return Err(Fault::new(format!(
                    "{field}: {length} entries for {count} tokens"
                )));
            }
        }
        let kind = |id: usize| match self.types.as_ref().map(|types| types[id]) {
            None | Some(0) => Ok(Kind::Normal),
            Some(number) => u64::try_from(number)
                .ok()
                .and_then(Kind::from_number)
                .ok_or_else(|| Fault::new(format!("token_type[{id}]: {number} is not known"))),
        };
        let piece = |(id, text): (usize, &String)| {
            let score = self.scores.as_ref().map_or(0.0, |scores| scores[id]);
            let empty = format!("[EMPTY_{id}]");
            let text = if text.is_empty() { empty } else { text.clone() };
            Ok(Piece::new(text, score, kind(id)?))
        };
        let mut pieces = self
            .tokens
            .iter()
            .enumerate()
            .map(piece)
            .collect::<Result<Vec<_>, Fault>>()?;
        let used = pieces.iter().rposition(|piece| piece.kind != Kind::Unused);
        pieces.truncate(used.map_or(0, |last| last + 1));
        if pieces.is_empty() {
            return Err(Fault::new("tokens: there are none"));
        }
        Ok(pieces)
    }

    /// A special token by the id that the file gives, or by the one that its kind of tokenizer has.
    fn token(
        &self,
        field: &str,
        said: Option<u32>,
        usual: Option<u32>,
        pieces: &[Piece],
    ) -> Result<Option<AddedToken>, Fault> {
        let Some(id) = said.or(usual) else {
            return Ok(None);
        };
        match (pieces.get(id as usize), said) {
            // The usual id is another token here.
            (Some(piece), None) if self.types.is_some() && piece.kind == Kind::Normal => Ok(None),
            (Some(piece), _) => Ok(Some(AddedToken {
                special: true,
                ..AddedToken::plain(id, piece.text.clone())
            })),
            (None, None) => Ok(None),
            (None, Some(_)) => Err(Fault::new(format!(
                "{field}: {id}, but there are only {} tokens",
                pieces.len()
            ))),
        }
    }

    /// Ids that end a text, the file's own first.
    fn ends(&self, pieces: &[Piece]) -> Result<Vec<u32>, Fault> {
        let mut ends = Vec::new();
        for (field, id) in [
            ("eos_token_id", self.eos),
            ("eot_token_id", self.eot),
            ("eom_token_id", self.eom),
        ] {
            ends.extend(self.token(field, id, None, pieces)?.map(|token| token.id));
        }
        let known = pieces.iter().zip(0..);
        let known = known.filter(|(piece, _)| {
            piece.kind == Kind::Control && ENDS.contains(&piece.text.as_str())
        });
        ends.extend(known.map(|(_, id)| id));
        Ok(ends)
    }

    /// Tokens that stand around each text.
    fn around(
        &self,
        pieces: &[Piece],
        usual: (Option<u32>, Option<u32>),
        adds: (bool, bool),
    ) -> Result<serde_json::Value, Fault> {
        let begin = self.token("bos_token_id", self.bos, usual.0, pieces)?;
        let end = self.token("eos_token_id", self.eos, usual.1, pieces)?;
        let begin = begin.filter(|_| self.add_bos.unwrap_or(adds.0));
        let end = end.filter(|_| self.add_eos.unwrap_or(adds.1));
        Ok(around::each(begin.as_ref(), end.as_ref()))
    }

    fn sentence_piece(&self, list: Vec<Piece>, unigram: bool) -> Result<TokenizerFile, Fault> {
        let (usual, adds) = if unigram {
            ((None, Some(1)), (false, true))
        } else {
            ((Some(1), Some(2)), (true, false))
        };
        let post_processor = self.around(&list, usual, adds)?;
        let squeezes = unigram && self.remove_extra_whitespaces.unwrap_or(false);
        let prefixed = self.add_space_prefix.unwrap_or(!unigram) || squeezes;
        let byte_fallback = list.iter().any(|piece| piece.kind == Kind::Byte);
        let charsmap = self.charsmap.clone().filter(|_| unigram);
        let pieces = Pieces {
            list: self.with_unknown(list)?,
            unigram,
            byte_fallback,
            charsmap: charsmap.unwrap_or_default(),
            prefix: Some(Prefix::Parts).filter(|_| prefixed),
            squeezes,
        };
        let added_tokens = pieces.added_tokens();
        Ok(TokenizerFile {
            post_processor,
            added_tokens,
            ..pieces.file()?
        })
    }

    /// The unknown token is known by its id, its type may be another.
    fn with_unknown(&self, mut list: Vec<Piece>) -> Result<Vec<Piece>, Fault> {
        if list.iter().any(|piece| piece.kind == Kind::Unknown) {
            return Ok(list);
        }
        if let Some(token) = self.token("unknown_token_id", self.unk, None, &list)? {
            list[token.id as usize].kind = Kind::Unknown;
        }
        Ok(list)
    }

    fn byte_level(&self, pieces: &[Piece]) -> Result<TokenizerFile, Fault> {
        let pre = self.pre.as_deref().unwrap_or_default();
        let unknown = || {
            Fault::new(format!(
                "pre: {pre:?} is a way to cut text that is not known"
            ))
        };
        let words: Words = by_pre(pre).ok_or_else(unknown)?;
        let merges = self
            .merges
            .as_deref()
            .ok_or_else(|| Fault::new("merges: are missing"))?;
        let post_processor = self.around(pieces, (None, None), (words.begins, false))?;
        let added = |(piece, id): (&Piece, u32)| piece.added(id);
        let added_tokens: Vec<AddedToken> = pieces.iter().zip(0..).filter_map(added).collect();
        // What is cut out before is no word of the model: no text makes it.
        let plain = pieces
            .iter()
            .zip(0..)
            .filter(|(piece, id)| piece.added(*id).is_none());
        let vocab = plain.map(|(piece, id)| (piece.text.clone(), id)).collect();
        let prefix = self.add_space_prefix.unwrap_or(false);
        let file = byte_level(
            VocabFile::Ids(vocab),
            merges_from_list(merges)?,
            words,
            prefix,
        );
        Ok(TokenizerFile {
            post_processor,
            added_tokens,
            ..file
        })
    }

    /// WordPiece, where the file marks the tokens that begin a word and not those that go on.
    fn word_piece(&self, pieces: &[Piece]) -> Result<TokenizerFile, Fault> {
        let find = |field, said, usual| self.token(field, said, Some(usual), pieces);
        let cls = find("bos_token_id", self.bos, 101)?;
        let sep = find("seperator_token_id", self.sep, 102)?;
        let unk = find("unknown_token_id", self.unk, 100)?;
        let special = [&cls, &sep, &unk].map(|token| token.as_ref().map(|token| token.id));
        let is_special =
            |id, piece: &Piece| special.contains(&Some(id)) || piece.kind == Kind::Control;
        let spelling = |(piece, id): (&Piece, u32)| {
            let text = if is_special(id, piece) {
                piece.text.clone()
            } else if let Some(begin) = piece.text.strip_prefix(MARK) {
                begin.to_owned()
            } else {
                format!("##{}", piece.text)
            };
            (text, id)
        };
        let vocab: Vec<(String, u32)> = pieces.iter().zip(0..).map(spelling).collect();
        let added = pieces
            .iter()
            .zip(0..)
            .filter(|(piece, id)| is_special(*id, piece));
        let added = added.map(|(piece, id)| AddedToken {
            special: true,
            ..AddedToken::plain(id, piece.text.clone())
        });
        let added_tokens = added.collect();
        let lowercase = self.lowercase.unwrap_or(true);
        let letters = Letters {
            lowercase,
            strip_accents: Some(self.strip_accents.unwrap_or(lowercase)),
            chinese_apart: true,
        };
        Ok(TokenizerFile {
            added_tokens,
            ..bert(vocab, unk.map(|token| token.content), &letters, (cls, sep))
        })
    }
}
