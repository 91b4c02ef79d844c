//! Text to rows of ids, as an encoder's own files say: prompts, the greatest length, special tokens.
//!
//! In: text. Out: ids with special tokens, and how many there were before the text was cut.
//! It does not know weights or runners; one is shared by any number of threads.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::EncoderError;
use super::cross::CrossSettings;
use super::settings::EncoderSettings;
use crate::Error;
use crate::tokenizer::{HfTokenizer, TokenRow, Tokenizer as _};

/// A text as ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedText {
    /// The ids, special tokens among them, at most the greatest length.
    pub ids: Vec<u32>,
    /// For each id, which text of a pair it belongs to; empty where there is one text, and all are 0.
    pub type_ids: Vec<u32>,
    /// Tokens before the text was cut to the greatest length, special ones among them.
    pub tokens_before: usize,
    /// So many of the first ids are a prompt that is not to be pooled; less than all of them.
    pub prompt_tokens: usize,
}

impl EncodedText {
    /// Whether the text was cut.
    pub fn is_cut(&self) -> bool {
        self.tokens_before > self.ids.len()
    }
}

/// The text side of an encoder.
#[derive(Debug)]
pub struct TextSide {
    tokenizer: Arc<HfTokenizer>,
    max_tokens: usize,
    lower_case: bool,
    prompts: BTreeMap<String, String>,
    default_prompt: String,
    /// Whether prompts are pooled with the text.
    include_prompt: bool,
    /// Ends every text, once.
    eos: Option<u32>,
}

impl TextSide {
    pub(super) fn of_vectors(
        tokenizer: Arc<HfTokenizer>,
        settings: &EncoderSettings,
    ) -> Result<Self, Error> {
        let default = settings.default_prompt.as_ref();
        let default = default.and_then(|name| settings.prompts.get(name));
        let eos = settings
            .append_eos
            .then(|| end_id(&tokenizer))
            .transpose()?;
        Ok(Self {
            max_tokens: settings.max_tokens,
            lower_case: settings.lower_case,
            default_prompt: default.cloned().unwrap_or_default(),
            prompts: settings.prompts.clone(),
            include_prompt: settings.include_prompt,
            eos,
            tokenizer,
        })
    }

    pub(super) fn of_pairs(tokenizer: Arc<HfTokenizer>, settings: &CrossSettings) -> Self {
        Self {
            max_tokens: settings.max_tokens,
            lower_case: settings.lower_case,
            default_prompt: String::new(),
            prompts: BTreeMap::new(),
            include_prompt: true,
            eos: None,
            tokenizer,
        }
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Arc<HfTokenizer> {
        &self.tokenizer
    }

    /// Tokens of a text at most, special ones among them.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// The text of a prompt by its name.
    ///
    /// # Errors
    /// [`EncoderError::UnknownPrompt`] names those there are.
    pub fn prompt(&self, name: &str) -> Result<&str, EncoderError> {
        let found = self.prompts.get(name).map(String::as_str);
        found.ok_or_else(|| EncoderError::UnknownPrompt {
            name: name.to_owned(),
            known: self.prompts.keys().cloned().collect(),
        })
    }

    /// The ids of a text after the model's default prompt, if it has one; cut at the greatest length. Nothing in the text
    /// becomes a control token.
    ///
    /// # Errors
    /// The tokenizer refuses the text.
    pub fn tokenise(&self, text: &str) -> Result<EncodedText, Error> {
        self.tokenise_after(&self.default_prompt, text)
    }

    /// [`Self::tokenise`] after `prompt` in the place of the default one.
    ///
    /// # Errors
    /// As [`Self::tokenise`].
    pub fn tokenise_after(&self, prompt: &str, text: &str) -> Result<EncodedText, Error> {
        let mut encoded = self.whole(&self.written(prompt, text))?;
        if !self.include_prompt && !prompt.is_empty() {
            let before = encoded.ids.len().saturating_sub(1);
            encoded.prompt_tokens = self.tokens_of_prompt(prompt)?.min(before);
        }
        Ok(encoded)
    }

    /// The tokens of a prompt alone, as sentence-transformers counts them: with special tokens before it, not with one behind it.
    fn tokens_of_prompt(&self, prompt: &str) -> Result<usize, Error> {
        let ids = self.whole(&self.written(prompt, ""))?.ids;
        let empty = self.whole("")?.ids;
        let ends = empty.last().is_some_and(|end| ids.last() == Some(end));
        Ok(ids.len() - usize::from(ends))
    }

    /// A text that is ids of this model's vocabulary already, as [`Self::tokenise_after`] would have made them of it: the
    /// special tokens are put around them, unless they stand there. With the ids of the same text the row is the same.
    ///
    /// # Errors
    /// An id that no token has; there is a prompt, whose end and whose text may be one token.
    pub fn row_from_ids(&self, prompt: &str, ids: &[u32]) -> Result<EncodedText, Error> {
        if !prompt.is_empty() {
            return Err(EncoderError::IdsAfterPrompt.into());
        }
        let unknown = |id: &&u32| self.tokenizer.bytes_from_id(**id).is_none();
        if let Some(id) = ids.iter().find(unknown) {
            return Err(EncoderError::UnknownId { id: *id }.into());
        }
        let row = self.tokenizer.row_from_ids_within(ids, self.max_tokens)?;
        Ok(self.ended(row))
    }

    /// The ids of a text as the tokenizer gets it.
    fn whole(&self, text: &str) -> Result<EncodedText, Error> {
        let row = self.tokenizer.row_from_text_within(text, self.max_tokens)?;
        Ok(self.ended(row))
    }

    /// A row with the token that ends a text, where there is one; and the tokens that there were before it was cut.
    fn ended(&self, (row, tokens_before): (TokenRow, usize)) -> EncodedText {
        let room = self.max_tokens;
        let mut encoded = EncodedText {
            ids: row.ids,
            type_ids: Vec::new(),
            tokens_before,
            prompt_tokens: 0,
        };
        if let Some(eos) = self.eos
            && encoded.ids.last() != Some(&eos)
        {
            encoded.tokens_before += 1;
            encoded.ids.truncate(room.saturating_sub(1));
            encoded.ids.push(eos);
        }
        encoded
    }

    /// The ids and type ids of a pair of texts; of the longer one as much is cut as the greatest length asks for.
    ///
    /// # Errors
    /// The tokenizer refuses a text.
    pub fn tokenise_pair(&self, first: &str, second: &str) -> Result<EncodedText, Error> {
        let (first, second) = (self.written("", first), self.written("", second));
        let pair = self
            .tokenizer
            .row_from_pair_within(&first, &second, self.max_tokens)?;
        let (row, tokens_before) = pair;
        Ok(EncodedText {
            ids: row.ids,
            type_ids: row.type_ids,
            tokens_before,
            prompt_tokens: 0,
        })
    }

    /// The text as the tokenizer gets it.
    fn written<'a>(&self, prompt: &str, text: &'a str) -> std::borrow::Cow<'a, str> {
        match (prompt.is_empty(), self.lower_case) {
            (true, false) => text.into(),
            (_, false) => [prompt, text].concat().into(),
            (_, true) => [prompt, text].concat().to_lowercase().into(),
        }
    }
}

/// The id that ends a text.
fn end_id(tokenizer: &HfTokenizer) -> Result<u32, Error> {
    let end = tokenizer.end_ids().last().copied();
    let end = end.or_else(|| tokenizer.id_from_token("<|endoftext|>"));
    end.ok_or_else(|| EncoderError::NoEnd.into())
}
