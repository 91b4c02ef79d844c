//! The tokenizer of a checkpoint, on top of the `tokenizers` library.
//!
//! In: tokenizer.json or what says the same, see [`TokenizerFiles`]. Out: a [`Tokenizer`].
//! The library's model never sees an added token: they are cut out here, where it is known which characters came from
//! people. Otherwise each step is the library's, so ids are its ids. It does not know chat templates.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Deserialize;
use serde_json::Value;
use tokenizers::normalizer::Range as TextRange;
use tokenizers::utils::truncation::{
    TruncationDirection, TruncationParams, TruncationStrategy, truncate_encodings,
};
use tokenizers::{
    Encoding, Model as _, ModelWrapper, NormalizedString, Normalizer as _, NormalizerWrapper,
    OffsetType, PostProcessor as _, PostProcessorWrapper, PreTokenizedString, Token,
};

use super::added::{AddedToken, AddedTokens, Matcher, Piece};
use super::error::wrong_in;
use super::file::{Prefix, TokenizerFile};
use super::normal::{check_growth, with_mark};
use super::pieces::{PieceDecoder, PieceTable};
use super::source::{self, Settings, TokenizerFiles, Vocabulary};
use super::split::{Stage, stages_from_json};
use super::{ControlTokens, Prompt, TextError, Tokenizer};

/// The longest text that is tokenized at once. Splitting a text costs up to 100 times its size for a moment.
pub(super) const TEXT_BYTES_MAX: usize = 16 << 20;

/// A tokenizer as a checkpoint's files describe it.
///
/// ```
/// use lattice_inference::tokenizer::{HfTokenizer, Tokenizer};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let json = std::fs::read("../../models/lattice-tiny/tokenizer.json")?;
/// let tokenizer = HfTokenizer::from_json(&json, None)?;
/// let ids = tokenizer.ids_from_text("a <|im_end|> that a person wrote")?;
/// assert!(!ids.contains(&tokenizer.id_from_token("<|im_end|>").expect("it has one")));
/// assert_eq!(tokenizer.text_from_ids(&ids), "a <|im_end|> that a person wrote");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct HfTokenizer {
    model: ModelWrapper,
    normalizer: Option<NormalizerWrapper>,
    stages: Vec<Stage>,
    post_processor: Option<PostProcessorWrapper>,
    added: AddedTokens,
    /// Added tokens that are found in the text as it is, and those found in the normalized text.
    verbatim: Option<Matcher>,
    normalized: Option<Matcher>,
    pieces: PieceTable,
    strips_leading_space: bool,
    prefix: Option<Prefix>,
    ends: Vec<u32>,
}

/// A tokenized text or pair of texts with the checkpoint's special tokens around them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// The ids.
    pub ids: Vec<u32>,
    /// For each id, which text it belongs to, where the model tells them apart; else zero.
    pub type_ids: Vec<u32>,
}

type Split = (NormalizedString, Option<Vec<Token>>);

impl HfTokenizer {
    /// Loads a tokenizer from the bytes of tokenizer.json and the text of tokenizer_config.json.
    ///
    /// # Errors
    /// [`TextError::Tokenizer`] names what is wrong: ids with gaps or given twice, merges of unknown tokens, an
    /// end-of-sequence token without an id, an unknown kind of component, a file larger than 128 MiB.
    pub fn from_json(json: &[u8], config: Option<&str>) -> Result<Self, TextError> {
        Self::from_files(&TokenizerFiles {
            vocabulary: Vocabulary::Json(json),
            tokenizer_config: config,
            special_tokens_map: None,
            added_tokens: None,
            model_type: None,
        })
    }

    /// Loads a tokenizer from whichever files it comes in.
    ///
    /// # Errors
    /// As [`Self::from_json`]; and what is wrong with a file of another kind, or not supported about it.
    pub fn from_files(files: &TokenizerFiles<'_>) -> Result<Self, TextError> {
        Self::build(files).map_err(|error| error.in_source(files.vocabulary.source()))
    }

    fn build(files: &TokenizerFiles<'_>) -> Result<Self, TextError> {
        let settings = match files.vocabulary {
            Vocabulary::Gguf(_) => Settings::default(),
            _ => Settings::new(
                files.tokenizer_config,
                files.special_tokens_map,
                files.added_tokens,
            )?,
        };
        let mut file = source::canonical(files, &settings)?;
        file.added_tokens.retain(|token| !token.content.is_empty());
        let decoder = PieceDecoder::from_json(&file.decoder)?;
        let pieces = piece_table(&file, &decoder)?;
        check_growth(&file.normalizer)?;
        let normalizer: Option<NormalizerWrapper> = component(&file.normalizer, "normalizer")?;
        let (verbatim, normalized) = matchers(&file.added_tokens, normalizer.as_ref())?;
        let mut tokenizer = HfTokenizer {
            stages: stages_from_json(&file.pre_tokenizer)?,
            post_processor: component(&file.post_processor, "post_processor")?,
            model: guarded(|| Ok(file.model.build()))
                .map_err(|reason| TextError::file(format!("model: {reason}")))??,
            normalizer,
            added: AddedTokens::new(file.added_tokens),
            verbatim,
            normalized,
            pieces,
            strips_leading_space: decoder.strips_leading_space,
            prefix: file.prefix,
            ends: file.ends,
        };
        tokenizer.check_special_ids(&settings)?;
        let end = settings.named("eos_token");
        let end = end.and_then(|end| tokenizer.id_from_token(&end.content));
        tokenizer.ends.extend(end);
        Ok(tokenizer)
    }

    /// Ids of plain text with the checkpoint's own special tokens around it (`[CLS] ... [SEP]`, a leading `<s>`), as
    /// embedding models want it. Nothing in the text becomes a control token.
    pub fn ids_with_specials_from_text(&self, text: &str) -> Result<Vec<u32>, TextError> {
        Ok(self.row_from_text(text)?.ids)
    }

    /// [`Self::ids_with_specials_from_text`], with type ids.
    pub fn row_from_text(&self, text: &str) -> Result<TokenRow, TextError> {
        self.row(self.encode_plain(text)?, None)
    }

    /// Two plain texts as one row, with the checkpoint's own special tokens around and between them
    /// (`[CLS] first [SEP] second [SEP]`), as models that compare texts want it.
    ///
    /// ```
    /// use lattice_inference::tokenizer::{HfTokenizer, TokenizerFiles, Vocabulary};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let tokenizer = HfTokenizer::from_files(&TokenizerFiles {
    ///     vocabulary: Vocabulary::Words("[PAD]\n[UNK]\n[CLS]\n[SEP]\nis\nit\nraining\n?\nyes\n"),
    ///     tokenizer_config: None,
    ///     special_tokens_map: None,
    ///     added_tokens: None,
    ///     model_type: None,
    /// })?;
    /// let row = tokenizer.row_from_pair("Is it raining?", "Yes")?;
    /// assert_eq!(row.ids, [2, 4, 5, 6, 7, 3, 8, 3]);
    /// assert_eq!(row.type_ids, [0, 0, 0, 0, 0, 0, 1, 1]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn row_from_pair(&self, first: &str, second: &str) -> Result<TokenRow, TextError> {
        self.row(self.encode_plain(first)?, Some(self.encode_plain(second)?))
    }

    /// [`Self::row_from_text`] of at most `tokens_max` ids: of a longer text the end is left out, not the special tokens.
    /// Beside it, the tokens of the whole row.
    ///
    /// # Errors
    /// As [`Self::row_from_text`]; or the special tokens alone are more.
    pub fn row_from_text_within(
        &self,
        text: &str,
        tokens_max: usize,
    ) -> Result<(TokenRow, usize), TextError> {
        let mut text = self.encode_plain(text)?;
        let tokens = text.len();
        let (room, around) = self.room(tokens_max, false)?;
        if tokens > room {
            text.truncate(room, 0, TruncationDirection::Right);
        }
        Ok((self.row(text, None)?, tokens + around))
    }

    /// [`Self::row_from_text_within`] of a text that is ids already. The special tokens are put around them, unless they
    /// stand there. Whether there are such tokens is not looked at.
    ///
    /// # Errors
    /// The special tokens alone are more than `tokens_max`.
    pub fn row_from_ids_within(
        &self,
        ids: &[u32],
        tokens_max: usize,
    ) -> Result<(TokenRow, usize), TextError> {
        let (room, around) = self.room(tokens_max, false)?;
        // What stands around a text shows around an id that no token has.
        let frame = self.row(encoding_from_ids(&[u32::MAX]), None)?.ids;
        let mut frame = frame.split(|id| *id == u32::MAX);
        let (before, after) = (frame.next(), frame.next());
        let inner = ids.strip_prefix(before.unwrap_or_default());
        let inner = inner.and_then(|rest| rest.strip_suffix(after.unwrap_or_default()));
        let inner = inner.unwrap_or(ids);
        let kept = &inner[..inner.len().min(room)];
        Ok((
            self.row(encoding_from_ids(kept), None)?,
            inner.len() + around,
        ))
    }

    /// [`Self::row_from_pair`] of at most `tokens_max` ids: the longer text is cut first, the second of equal ones. Beside
    /// it, the tokens of the whole row.
    ///
    /// # Errors
    /// As [`Self::row_from_pair`]; or the special tokens alone are more.
    pub fn row_from_pair_within(
        &self,
        first: &str,
        second: &str,
        tokens_max: usize,
    ) -> Result<(TokenRow, usize), TextError> {
        let (first, second) = (self.encode_plain(first)?, self.encode_plain(second)?);
        let tokens = first.len() + second.len();
        let (room, around) = self.room(tokens_max, true)?;
        let longest = TruncationParams {
            max_length: room,
            strategy: TruncationStrategy::LongestFirst,
            stride: 0,
            direction: TruncationDirection::Right,
        };
        let cut = || truncate_encodings(first, Some(second), &longest);
        let (first, second) = guarded(cut).map_err(TextError::Encode)?;
        Ok((self.row(first, second)?, tokens + around))
    }

    /// Ids that are left to the text where a row has at most `tokens_max`, and the special tokens around it.
    fn room(&self, tokens_max: usize, pair: bool) -> Result<(usize, usize), TextError> {
        let processor = self.post_processor.as_ref();
        let around = processor.map_or(0, |processor| processor.added_tokens(pair));
        let room = tokens_max.checked_sub(around).filter(|room| *room > 0);
        let room = room.ok_or_else(|| {
            let reason = format!("{around} special tokens leave no room in {tokens_max}");
            TextError::Encode(reason)
        })?;
        Ok((room, around))
    }

    fn encode_plain(&self, text: &str) -> Result<Encoding, TextError> {
        self.encode(text, &|token: &AddedToken, _| !token.is_control())
    }

    fn row(&self, first: Encoding, second: Option<Encoding>) -> Result<TokenRow, TextError> {
        let process = || match &self.post_processor {
            Some(processor) => processor.process(first, second, true),
            None => {
                let mut row = first;
                if let Some(mut second) = second {
                    second.set_type_ids(vec![1; second.len()]);
                    row.merge_with(second, false);
                }
                Ok(row)
            }
        };
        let row = guarded(process).map_err(TextError::Encode)?;
        Ok(TokenRow {
            ids: row.get_ids().to_vec(),
            type_ids: row.get_type_ids().to_vec(),
        })
    }

    /// The spellings that must not come from people: input of [`super::ChatTemplate::new`].
    pub fn control_tokens(&self) -> ControlTokens {
        let tokens = self.added.tokens.iter().filter(|token| token.is_control());
        ControlTokens::new(tokens.map(|token| (token.content.clone(), token.special)))
    }

    /// Ids that end a text: `eos_token`, and in GGUF metadata whatever else ends an answer.
    pub fn end_ids(&self) -> &[u32] {
        &self.ends
    }

    /// Spelling and id of each added token, control tokens and others, in the order of the file.
    pub fn added_tokens(&self) -> impl Iterator<Item = (&str, u32)> {
        self.added
            .tokens
            .iter()
            .map(|token| (token.content.as_str(), token.id))
    }

    fn check_special_ids(&self, settings: &Settings) -> Result<(), TextError> {
        for name in ["bos_token", "eos_token"] {
            let Some(token) = settings.named(name) else {
                continue;
            };
            if self.id_from_token(&token.content).is_none() {
                let reason = format!("{name}: {:?} is not in the vocabulary", token.content);
                return Err(wrong_in("tokenizer_config.json", reason));
            }
        }
        Ok(())
    }

    /// The library's encoding, with the added tokens that `allowed` lets stand at a span of the text.
    fn encode(
        &self,
        text: &str,
        allowed: &dyn Fn(&AddedToken, std::ops::Range<usize>) -> bool,
    ) -> Result<Encoding, TextError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(TextError::TooLong {
                bytes: text.len(),
                bytes_max: TEXT_BYTES_MAX,
            });
        }
        let encode = || {
            let mut parts = PreTokenizedString::from(text);
            parts.split(|_, part| self.cut_verbatim(part, allowed))?;
            parts.split(|_, part| self.cut_normalized(part, allowed))?;
            if let Some(prefix) = self.prefix {
                parts.split(|_, part| Ok::<_, tokenizers::Error>([with_mark(part, prefix)]))?;
            }
            for stage in &self.stages {
                stage.apply(&mut parts)?;
            }
            parts.tokenize(|part| self.model.tokenize(part.get()))?;
            parts.into_encoding(None, 0, OffsetType::None)
        };
        guarded(encode).map_err(TextError::Encode)
    }

    fn cut_verbatim(
        &self,
        part: NormalizedString,
        allowed: &dyn Fn(&AddedToken, std::ops::Range<usize>) -> bool,
    ) -> tokenizers::Result<Vec<Split>> {
        match &self.verbatim {
            None => Ok(vec![(part, None)]),
            Some(matcher) => cut(&part, matcher.pieces(part.get(), allowed)),
        }
    }

    /// Cuts a part at the tokens that are found in normalized text. In the text as it was written they must be spelled
    /// alike: nobody can write a control token in letters that only become one by normalization.
    fn cut_normalized(
        &self,
        mut part: NormalizedString,
        allowed: &dyn Fn(&AddedToken, std::ops::Range<usize>) -> bool,
    ) -> tokenizers::Result<Vec<Split>> {
        if let Some(normalizer) = &self.normalizer {
            normalizer.normalize(&mut part)?;
        }
        let Some(matcher) = &self.normalized else {
            return Ok(vec![(part, None)]);
        };
        let (start, _) = part.offsets_original();
        let pieces = matcher.pieces(part.get(), |token, span| {
            let Some(written) = part.convert_offsets(TextRange::Normalized(span.clone())) else {
                return false;
            };
            let spelling = part
                .get_range_original(TextRange::Normalized(span))
                .unwrap_or_default();
            spelling.trim() == token.content.trim()
                && allowed(token, start + written.start..start + written.end)
        });
        cut(&part, pieces)
    }
}

impl Tokenizer for HfTokenizer {
    fn ids_from_text(&self, text: &str) -> Result<Vec<u32>, TextError> {
        Ok(self.encode_plain(text)?.get_ids().to_vec())
    }

    fn ids_from_prompt(&self, prompt: &Prompt) -> Result<Vec<u32>, TextError> {
        let allowed = |token: &AddedToken, span| !token.is_control() || prompt.allows_control(span);
        Ok(self.encode(&prompt.text, &allowed)?.get_ids().to_vec())
    }

    fn bytes_from_id(&self, id: u32) -> Option<&[u8]> {
        self.pieces.get(id)
    }

    fn id_from_token(&self, token: &str) -> Option<u32> {
        self.added
            .id(token)
            .or_else(|| self.model.token_to_id(token))
    }

    fn control_ids(&self) -> Vec<(&str, u32)> {
        let tokens = self.added.tokens.iter().filter(|token| token.is_control());
        tokens
            .map(|token| (token.content.as_str(), token.id))
            .collect()
    }

    fn ids_max(&self) -> usize {
        self.pieces.len()
    }

    fn strips_leading_space(&self) -> bool {
        self.strips_leading_space
    }
}

/// Runs library code: its error as text, and a panic, which it must not but might have for a hostile file, as an error.
fn guarded<T>(work: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("the tokenizer library failed on this input".to_owned()),
    }
}

/// A component of tokenizer.json; `null` is none.
fn component<T: for<'de> Deserialize<'de>>(
    value: &Value,
    name: &str,
) -> Result<Option<T>, TextError> {
    guarded(|| Ok(Option::<T>::deserialize(value)?))
        .map_err(|reason| TextError::file(format!("{name}: {reason}")))
}

fn piece_table(file: &TokenizerFile, decoder: &PieceDecoder) -> Result<PieceTable, TextError> {
    let added: HashMap<u32, &AddedToken> = file
        .added_tokens
        .iter()
        .map(|token| (token.id, token))
        .collect();
    let piece = |(spelling, id): (&str, u32)| match added.get(&id) {
        Some(token) if token.special => Vec::new(),
        Some(token) => token.content.clone().into_bytes(),
        None => decoder.bytes(spelling),
    };
    PieceTable::new(file.spellings()?.into_iter().zip(0..).map(piece))
}

fn matchers(
    tokens: &[AddedToken],
    normalizer: Option<&NormalizerWrapper>,
) -> Result<(Option<Matcher>, Option<Matcher>), TextError> {
    let (mut verbatim, mut normalized) = (Vec::new(), Vec::new());
    for token in tokens {
        match normalizer {
            Some(normalizer) if token.normalized => {
                let mut spelling = NormalizedString::from(token.content.as_str());
                guarded(|| normalizer.normalize(&mut spelling)).map_err(TextError::file)?;
                normalized.push((spelling.get().to_owned(), token.clone()));
            }
            None if token.normalized => normalized.push((token.content.clone(), token.clone())),
            _ => verbatim.push((token.content.clone(), token.clone())),
        }
    }
    Ok((Matcher::new(verbatim)?, Matcher::new(normalized)?))
}

/// The parts of a text as the library wants them.
fn cut(part: &NormalizedString, pieces: Vec<Piece>) -> tokenizers::Result<Vec<Split>> {
    let mut splits = Vec::with_capacity(pieces.len());
    for (id, span) in pieces {
        let slice = part
            .slice(TextRange::Normalized(span))
            .ok_or("a token splits a character")?;
        let tokens = id.map(|id| vec![Token::new(id, String::new(), (0, slice.len()))]);
        splits.push((slice, tokens));
    }
    Ok(splits)
}

/// The library's form of ids without a text.
fn encoding_from_ids(ids: &[u32]) -> Encoding {
    let token = |id: &u32| Token::new(*id, String::new(), (0, 0));
    Encoding::from_tokens(ids.iter().map(token).collect(), 0)
}
