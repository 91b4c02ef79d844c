//! How tokens are chosen, as requests say it.
//!
//! In: fields. Out: changes to a request that has the model's own defaults. Ranges are the library's.

use lattice_inference::generate::Request;
use lattice_inference::sample::SamplerOptions;
use serde_json::Value;

use super::{ApiError, Fields};

/// Tokens that a request may ask for: what the context has no room for is left out by the generator.
pub(crate) const TOKENS_MAX: u64 = u32::MAX as u64;

/// The sampling fields that all endpoints share. What is not set is the model's own.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sampling {
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<u32>,
    min_p: Option<f32>,
    repetition_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
    seed: Option<u64>,
    logit_bias: Vec<(u32, f32)>,
    pub(crate) stop: Vec<String>,
    pub(crate) max_tokens: Option<usize>,
}

impl Sampling {
    /// Takes the fields. `max_tokens` is left to the endpoints, which call it differently.
    pub(crate) fn take(fields: &mut Fields) -> Result<Sampling, ApiError> {
        Ok(Sampling {
            temperature: fields.number("temperature")?,
            top_p: fields.number("top_p")?,
            top_k: top_k(fields)?,
            min_p: fields.number("min_p")?,
            repetition_penalty: fields.number("repetition_penalty")?,
            presence_penalty: fields.number("presence_penalty")?,
            frequency_penalty: fields.number("frequency_penalty")?,
            seed: fields.integer("seed")?.map(i64::cast_unsigned),
            logit_bias: logit_bias(fields)?,
            stop: fields.texts("stop")?,
            max_tokens: None,
        })
    }

    /// Takes the few fields that Anthropic's interface has.
    pub(crate) fn take_anthropic(fields: &mut Fields) -> Result<Sampling, ApiError> {
        let temperature = fields.number("temperature")?;
        if temperature.is_some_and(|temperature| temperature > 1.0) {
            return Err(fields.error("temperature", "allowed is 0 to 1"));
        }
        Ok(Sampling {
            temperature,
            top_p: fields.number("top_p")?,
            top_k: top_k(fields)?,
            stop: fields.texts("stop_sequences")?,
            ..Sampling::default()
        })
    }

    /// Puts the choices into choice number `index` of a request. Its seed differs from those of the others.
    pub(crate) fn apply(&self, request: &mut Request, index: usize) {
        let to = &mut request.sampler;
        to.temperature = self.temperature.unwrap_or(to.temperature);
        to.top_p = self.top_p.unwrap_or(to.top_p);
        to.top_k = self.top_k.unwrap_or(to.top_k);
        to.min_p = self.min_p.unwrap_or(to.min_p);
        to.repetition_penalty = self.repetition_penalty.unwrap_or(to.repetition_penalty);
        to.presence_penalty = self.presence_penalty.unwrap_or(to.presence_penalty);
        to.frequency_penalty = self.frequency_penalty.unwrap_or(to.frequency_penalty);
        to.seed = self.seed.map(|seed| seed.wrapping_add(index as u64));
        to.logit_bias.clone_from(&self.logit_bias);
        request.max_tokens = self.max_tokens.or(request.max_tokens);
        request.stop.clone_from(&self.stop);
    }
}

/// -1 is what some clients write for no limit.
fn top_k(fields: &mut Fields) -> Result<Option<u32>, ApiError> {
    let Some(top_k) = fields.integer("top_k")? else {
        return Ok(None);
    };
    let top_k = if top_k == -1 { 0 } else { top_k };
    let read = u32::try_from(top_k).map_err(|_out_of_range| {
        fields.error(
            "top_k",
            format!("{top_k}, allowed is 0 (all) to {}", u32::MAX),
        )
    })?;
    Ok(Some(read))
}

fn logit_bias(fields: &mut Fields) -> Result<Vec<(u32, f32)>, ApiError> {
    let Some(biases) = fields.object("logit_bias")? else {
        return Ok(Vec::new());
    };
    let biases = biases.into_map();
    if biases.len() > SamplerOptions::BIAS_ENTRIES_MAX {
        let (found, most) = (biases.len(), SamplerOptions::BIAS_ENTRIES_MAX);
        return Err(fields.error("logit_bias", format!("{found} entries, allowed is {most}")));
    }
    let pair = |(id, bias): (&String, &Value)| {
        Some((id.parse().ok()?, bias.as_f64().map(|bias| bias as f32)?))
    };
    let pairs: Option<_> = biases.iter().map(pair).collect();
    pairs.ok_or_else(|| fields.error("logit_bias", "expected numbers by token id"))
}
