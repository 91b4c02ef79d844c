//! What a request may ask of the sampler, and the ranges that hold.

use std::ops::RangeInclusive;

/// How the next token is chosen. The default is plain sampling from the model's distribution.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplerOptions {
    /// Divides the logits; 0 takes the best token (the lowest id where several are best). 0 to 100.
    pub temperature: f32,
    /// Keeps the k best tokens, and those equal to the last of them; 0 keeps all.
    pub top_k: u32,
    /// Keeps the best tokens until they hold this share of the probability, at least one. 0 to 1.
    pub top_p: f32,
    /// Drops tokens less probable than this share of the best one's probability. 0 to 1.
    pub min_p: f32,
    /// Divides positive logits and multiplies negative ones of tokens in the prompt or the text so far.
    /// 0.01 to 100; 1 changes nothing.
    pub repetition_penalty: f32,
    /// Taken off the logit of each token generated so far. -2 to 2.
    pub presence_penalty: f32,
    /// Taken off the logit of a token once for each time it was generated so far. -2 to 2.
    pub frequency_penalty: f32,
    /// Added to the logits of these ids, -100 to 100; entries for one id add up. At most 1,024 entries.
    pub logit_bias: Vec<(u32, f32)>,
    /// The draws are a function of it; without one the engine takes one and says which.
    pub seed: Option<u64>,
    /// Log probability of each token, with this many alternatives (0 to 20).
    pub logprobs: Option<u32>,
}

impl Default for SamplerOptions {
    fn default() -> SamplerOptions {
        SamplerOptions {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: None,
            logprobs: None,
        }
    }
}

/// A field of a request outside of its range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}, allowed is {allowed}")]
pub struct FieldError {
    /// The field's name, as in the options.
    pub field: &'static str,
    /// What was asked for.
    pub value: String,
    /// What may be asked for.
    pub allowed: String,
}

impl FieldError {
    pub(crate) fn new(
        field: &'static str,
        value: impl ToString,
        allowed: impl ToString,
    ) -> FieldError {
        FieldError {
            field,
            value: value.to_string(),
            allowed: allowed.to_string(),
        }
    }
}

impl SamplerOptions {
    /// Entries that `logit_bias` may have.
    pub const BIAS_ENTRIES_MAX: usize = 1024;
    /// Alternatives that `logprobs` may ask for.
    pub const LOGPROBS_MAX: u32 = 20;

    /// The range of a field that is one number.
    #[must_use]
    pub fn range(field: &str) -> Option<RangeInclusive<f32>> {
        Some(match field {
            "temperature" => 0.0..=100.0,
            "top_p" | "min_p" => 0.0..=1.0,
            "repetition_penalty" => 0.01..=100.0,
            "presence_penalty" | "frequency_penalty" => -2.0..=2.0,
            "logit_bias" => -100.0..=100.0,
            _ => return None,
        })
    }

    /// Options that always take the best token.
    #[must_use]
    pub fn greedy() -> SamplerOptions {
        SamplerOptions {
            temperature: 0.0,
            ..SamplerOptions::default()
        }
    }

    /// Checks every field against its range, for a vocabulary of `vocab` ids.
    ///
    /// # Errors
    /// The first field outside of its range; NaN and infinities always are.
    pub fn validate(&self, vocab: usize) -> Result<(), FieldError> {
        number("temperature", self.temperature)?;
        number("top_p", self.top_p)?;
        number("min_p", self.min_p)?;
        number("repetition_penalty", self.repetition_penalty)?;
        number("presence_penalty", self.presence_penalty)?;
        number("frequency_penalty", self.frequency_penalty)?;
        self.validate_bias(vocab)?;
        match self.logprobs {
            Some(top) if top > Self::LOGPROBS_MAX => Err(FieldError::new(
                "logprobs",
                top,
                format!("0 to {}", Self::LOGPROBS_MAX),
            )),
            _ => Ok(()),
        }
    }

    fn validate_bias(&self, vocab: usize) -> Result<(), FieldError> {
        let entries = self.logit_bias.len();
        if entries > Self::BIAS_ENTRIES_MAX {
            let allowed = format!("at most {} entries", Self::BIAS_ENTRIES_MAX);
            return Err(FieldError::new(
                "logit_bias",
                format!("{entries} entries"),
                allowed,
            ));
        }
        for &(id, bias) in &self.logit_bias {
            if id as usize >= vocab {
                let allowed = format!("an id below {vocab}");
                return Err(FieldError::new(
                    "logit_bias",
                    format!("for token id {id}"),
                    allowed,
                ));
            }
            number("logit_bias", bias)?;
        }
        Ok(())
    }

    /// Whether the logits are changed before the mask.
    pub(super) fn adjusts(&self) -> bool {
        self.penalizes() || !self.logit_bias.is_empty()
    }

    /// Whether the tokens so far matter.
    pub(super) fn penalizes(&self) -> bool {
        self.repetition_penalty != 1.0
            || self.presence_penalty != 0.0
            || self.frequency_penalty != 0.0
    }
}

fn number(field: &'static str, value: f32) -> Result<(), FieldError> {
    match SamplerOptions::range(field) {
        // NaN is in no range.
        Some(allowed) if !allowed.contains(&value) => {
            let allowed = format!("{} to {}", allowed.start(), allowed.end());
            Err(FieldError::new(field, value, allowed))
        }
        _ => Ok(()),
    }
}
