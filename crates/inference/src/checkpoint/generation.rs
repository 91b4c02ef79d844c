//! `generation_config.json`: how the model's makers suggest to sample from it.
//!
//! In: the file's text. Out: typed values within their ranges; what the file does not say stays
//! `None`.
//! It does not know: how sampling works.

use serde_json::Value;

use super::json::Fields;
use super::{LoadError, ModelFiles};

const FILE: &str = "generation_config.json";
const BYTES_MAX: u64 = 1 << 20;

/// Fields that are about other things than choosing the next token of one text.
const WITHOUT_EFFECT: [&str; 8] = [
    "bos_token_id",
    "pad_token_id",
    "decoder_start_token_id",
    "transformers_version",
    "use_cache",
    "return_dict_in_generate",
    "output_attentions",
    "output_hidden_states",
];

/// What `generation_config.json` says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GenerationDefaults {
    /// Not below 0; 0 is greedy. `do_sample: false` makes it 0 whatever else the file says.
    pub temperature: Option<f64>,
    /// 0 is off.
    pub top_k: Option<u32>,
    /// In 0..=1, and not 0.
    pub top_p: Option<f64>,
    /// In 0..=1.
    pub min_p: Option<f64>,
    /// Above 0; 1 is off.
    pub repetition_penalty: Option<f64>,
    /// Whether to sample at all, as written.
    pub do_sample: Option<bool>,
    /// Ids that end the text.
    pub eos_token_ids: Vec<u32>,
    /// Tokens to generate at most.
    pub max_new_tokens: Option<u32>,
    /// Fields that stand in the file and are not honoured.
    pub unread: Vec<String>,
}

impl GenerationDefaults {
    /// Those of a model; all unset if it has no such file.
    ///
    /// # Errors
    /// As [`Self::from_text`], and if the file cannot be read.
    pub fn open(files: &ModelFiles) -> Result<Self, LoadError> {
        files
            .text(FILE, BYTES_MAX)?
            .map_or(Ok(Self::default()), |text| Self::from_text(&text))
    }

    /// Those in the text of a `generation_config.json`.
    ///
    /// # Errors
    /// [`LoadError::Json`], or [`LoadError::Field`] for a value of the wrong type or out of range.
    pub fn from_text(text: &str) -> Result<Self, LoadError> {
        let mut fields = Fields::of(FILE, text)?;
        let do_sample = fields.take("do_sample", "true or false", Value::as_bool)?;
        let temperature =
            fields.number("temperature", "a number from 0 up", |value| value >= 0.0)?;
        let count = |value: &Value| value.as_u64().and_then(|value| u32::try_from(value).ok());
        let defaults = Self {
            temperature: if do_sample == Some(false) {
                Some(0.0)
            } else {
                temperature
            },
            top_k: fields.take("top_k", "an integer from 0 up", count)?,
            top_p: fields.number("top_p", "a number above 0, at most 1", |value| {
                value > 0.0 && value <= 1.0
            })?,
            min_p: fields.number("min_p", "a number from 0 to 1", |value| {
                (0.0..=1.0).contains(&value)
            })?,
            repetition_penalty: fields.number(
                "repetition_penalty",
                "a number above 0",
                |value| value > 0.0,
            )?,
            do_sample,
            eos_token_ids: fields
                .take("eos_token_id", "a token id or a list of them", ids)?
                .unwrap_or_default(),
            max_new_tokens: fields.take("max_new_tokens", "an integer above 0", |value| {
                count(value).filter(|count| *count > 0)
            })?,
            unread: Vec::new(),
        };
        Ok(Self {
            unread: fields.left(&WITHOUT_EFFECT),
            ..defaults
        })
    }
}

/// One token id or a list of them.
pub(crate) fn ids(value: &Value) -> Option<Vec<u32>> {
    let id = |value: &Value| value.as_u64().and_then(|value| u32::try_from(value).ok());
    match value {
        Value::Array(values) => values.iter().map(id).collect(),
        value => id(value).map(|id| vec![id]),
    }
}
