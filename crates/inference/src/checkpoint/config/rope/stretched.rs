//! Rotary numbers of contexts that were stretched by YaRN or LongRoPE, as transformers reads them.
//!
//! In: the places where rotary numbers stand. Out: a [`RopeScaling`] with nothing left to default.
//! It does not know: frequencies, head sizes.

use serde_json::Value;

use super::{Factors, ORIGINAL, Places, RopeScaling, Yarn, positive, tokens};
use crate::checkpoint::LoadError;

const CONTEXT: &str = "max_position_embeddings";

pub(super) fn yarn(rope: &Places<'_>) -> Result<RopeScaling, LoadError> {
    let (original_max_position, factor) = original_and_factor(rope)?;
    let number = |key| rope.number(key, "a number from 0 up", not_negative);
    let (mscale, mscale_all_dim) = (number("mscale")?, number("mscale_all_dim")?);
    // As in Python, 0 is as good as nothing.
    let given = |value: Option<f64>| value.filter(|value| *value > 0.0);
    let scale = |of: f64| 0.1 * of * libm::log(factor) + 1.0;
    let by_itself = match (given(mscale), given(mscale_all_dim)) {
        (Some(mscale), Some(all)) => scale(mscale) / scale(all),
        _ => scale(1.0),
    };
    let attention_factor = rope.number("attention_factor", "a number above 0", positive)?;
    let (fast, slow) = (number("beta_fast")?, number("beta_slow")?);
    let truncate = rope.number("truncate", "true or false", Value::as_bool)?;
    Ok(RopeScaling::Yarn(Yarn {
        factor,
        original_max_position,
        attention_factor: attention_factor.unwrap_or(by_itself),
        beta_fast: given(fast).unwrap_or(32.0),
        beta_slow: given(slow).unwrap_or(1.0),
        truncate: truncate.unwrap_or(true),
    }))
}

pub(super) fn longrope(rope: &Places<'_>) -> Result<RopeScaling, LoadError> {
    let (original_max_position, factor) = original_and_factor(rope)?;
    let each = numbers(rope, "short_factor")?;
    // Sequences beyond the original context are not run, but a file without these is broken.
    numbers(rope, "long_factor")?;
    let by_itself = if factor > 1.0 {
        (1.0 + libm::log(factor) / libm::log(original_max_position.max(2) as f64)).sqrt()
    } else {
        1.0
    };
    let attention_factor = rope.number("attention_factor", "a number above 0", positive)?;
    Ok(RopeScaling::Factors(Factors {
        field: "short_factor",
        each,
        attention_factor: attention_factor.unwrap_or(by_itself),
        context_tokens: Some(original_max_position),
    }))
}

pub(super) fn factors(rope: &Places<'_>) -> Result<RopeScaling, LoadError> {
    Ok(RopeScaling::Factors(Factors {
        field: "factors",
        each: numbers(rope, "factors")?,
        attention_factor: 1.0,
        context_tokens: None,
    }))
}

fn numbers(rope: &Places<'_>, key: &str) -> Result<Vec<f64>, LoadError> {
    let numbers = |value: &Value| value.as_array()?.iter().map(positive).collect();
    rope.required(key, "a list of numbers above 0", numbers)
}

/// The original context, which is the whole one where no other is said, and by how much it was stretched.
fn original_and_factor(rope: &Places<'_>) -> Result<(usize, f64), LoadError> {
    let context = rope.config.size(CONTEXT)?;
    let original = rope.number(ORIGINAL, "an integer above 0", tokens)?;
    let original = original.unwrap_or(context);
    let one_up = |value: &Value| positive(value).filter(|factor| *factor >= 1.0);
    let factor = rope.number("factor", "a number from 1 up", one_up)?;
    let by_itself = (context as f64 / original as f64).max(1.0);
    Ok((original, factor.unwrap_or(by_itself)))
}

fn not_negative(value: &Value) -> Option<f64> {
    value
        .as_f64()
        .filter(|number| number.is_finite() && *number >= 0.0)
}
