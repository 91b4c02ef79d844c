//! A GGUF file's metadata as the texts that a model's directory holds.
//!
//! In: metadata and the tensors' names and shapes. Out: `config.json`, `generation_config.json` and
//! `tokenizer_config.json`, as the hub has them for the same model.
//! Numbers stored as f32 are written as the shortest text that is that f32, which is what the model's own files had.
//! It does not know: what a family makes of these fields.

use serde_json::{Map, Value, json};

use super::arch::{Arch, Sizes};
use super::metadata::GgufMetadata;
use crate::checkpoint::LoadError;

/// Ids and counts are below this; what a field may really be is the configuration's word.
const COUNT_MAX: u64 = u32::MAX as u64;

/// `config.json`.
pub(super) fn config(
    metadata: &GgufMetadata,
    sizes: &Sizes,
    rope_factors: Option<&[f32]>,
) -> Result<String, LoadError> {
    let key = |end: &str| format!("{}.{end}", sizes.arch.name());
    let count = |end: &str| -> Result<u64, LoadError> {
        let found = metadata.integer(&key(end), 0..=COUNT_MAX)?;
        metadata.required(&key(end), found)
    };
    let number = |end: &str| -> Result<Value, LoadError> {
        let found = metadata.number(&key(end))?;
        Ok(short(metadata.required(&key(end), found)?))
    };
    let mut fields = json!({
        "architectures": [sizes.arch.class()],
        "model_type": sizes.arch.model_type(),
        "hidden_act": "silu",
        "hidden_size": count("embedding_length")?,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.kv_heads,
        "max_position_embeddings": count("context_length")?,
        "rms_norm_eps": number("attention.layer_norm_rms_epsilon")?,
        "vocab_size": sizes.vocab,
        "tie_word_embeddings": sizes.tied,
        "attention_bias": sizes.attention_bias,
    });
    let mut set = |field: &str, value: Value| fields[field] = value;
    if sizes.arch.is_mixture() {
        set(
            "moe_intermediate_size",
            count("expert_feed_forward_length")?.into(),
        );
        set(
            "shared_expert_intermediate_size",
            count("expert_shared_feed_forward_length")?.into(),
        );
        set("num_experts", count("expert_count")?.into());
        set("num_experts_per_tok", count("expert_used_count")?.into());
    } else {
        set("intermediate_size", count("feed_forward_length")?.into());
    }
    if let Some(head_dim) = metadata.integer(&key("attention.key_length"), 0..=COUNT_MAX)? {
        set("head_dim", head_dim.into());
    } else if sizes.arch != Arch::Llama {
        return Err(metadata.refuse(&key("attention.key_length"), "is missing"));
    }
    if sizes.arch == Arch::Llama {
        set("mlp_bias", sizes.mlp_bias.into());
    }
    if let Some(delta) = sizes.delta {
        set("layer_types", layer_types(metadata, sizes)?);
        set("linear_conv_kernel_dim", count("ssm.conv_kernel")?.into());
        set("linear_num_key_heads", delta.key_heads.into());
        set("linear_num_value_heads", delta.value_heads.into());
        set("linear_key_head_dim", delta.key_dim.into());
        set("linear_value_head_dim", delta.value_dim.into());
    }
    set("rope_parameters", rope(metadata, sizes, rope_factors)?);
    for (field, id) in ["bos", "eos", "padding"]
        .into_iter()
        .zip(["bos", "eos", "pad"])
    {
        if let Some(found) = token(metadata, field)? {
            set(&format!("{id}_token_id"), found.into());
        }
    }
    Ok(text(&fields))
}

/// `general.sampling.*`, and the ids that end a text.
pub(super) fn generation(metadata: &GgufMetadata) -> Result<String, LoadError> {
    let mut fields = Map::new();
    for (key, field) in [
        ("temp", "temperature"),
        ("top_p", "top_p"),
        ("min_p", "min_p"),
        ("penalty_repeat", "repetition_penalty"),
    ] {
        if let Some(found) = metadata.number(&format!("general.sampling.{key}"))? {
            fields.insert(field.to_owned(), short(found));
        }
    }
    if let Some(found) = metadata.integer("general.sampling.top_k", 0..=COUNT_MAX)? {
        fields.insert("top_k".to_owned(), found.into());
    }
    let mut ends = Vec::new();
    for name in ["eos", "eot", "eom"] {
        ends.extend(token(metadata, name)?);
    }
    ends.sort_unstable();
    ends.dedup();
    fields.insert("eos_token_id".to_owned(), ends.into());
    Ok(text(&Value::Object(fields)))
}

/// The chat template, the special tokens by their texts, and what is put around a text.
pub(super) fn tokenizer(metadata: &GgufMetadata) -> Result<String, LoadError> {
    let mut fields = Map::new();
    let tokens = metadata.texts("tokenizer.ggml.tokens")?;
    for (key, field) in [
        ("bos", "bos_token"),
        ("eos", "eos_token"),
        ("unknown", "unk_token"),
        ("padding", "pad_token"),
    ] {
        let Some(id) = token(metadata, key)? else {
            continue;
        };
        let Some(tokens) = tokens else { break };
        let index = usize::try_from(id).unwrap_or(usize::MAX);
        let token = tokens.get(index).ok_or_else(|| {
            let key = format!("tokenizer.ggml.{key}_token_id");
            metadata.refuse(&key, format!("is {id}, there are {} tokens", tokens.len()))
        })?;
        fields.insert(field.to_owned(), token.into());
    }
    for end in ["bos", "eos"] {
        if let Some(add) = metadata.flag(&format!("tokenizer.ggml.add_{end}_token"))? {
            fields.insert(format!("add_{end}_token"), add.into());
        }
    }
    if let Some(template) = metadata.text("tokenizer.chat_template")? {
        fields.insert("chat_template".to_owned(), template.into());
    }
    Ok(text(&Value::Object(fields)))
}

fn token(metadata: &GgufMetadata, name: &str) -> Result<Option<u64>, LoadError> {
    metadata.integer(&format!("tokenizer.ggml.{name}_token_id"), 0..=COUNT_MAX)
}

/// Base and scaling of the rotary embedding, and which share of a head it turns.
fn rope(
    metadata: &GgufMetadata,
    sizes: &Sizes,
    factors: Option<&[f32]>,
) -> Result<Value, LoadError> {
    let key = |end: &str| format!("{}.rope.{end}", sizes.arch.name());
    let mut rope = json!({"rope_type": "default"});
    let base = metadata.number(&key("freq_base"))?;
    // What llama.cpp takes where the file says nothing.
    rope["rope_theta"] = short(base.unwrap_or(10_000.0));
    let turned = metadata.integer(&key("dimension_count"), 0..=COUNT_MAX)?;
    let head_dim = metadata.integer(
        &format!("{}.attention.key_length", sizes.arch.name()),
        0..=COUNT_MAX,
    )?;
    let head_dim = head_dim.or_else(|| sizes.hidden.checked_div(sizes.heads));
    if let (Some(turned), Some(head_dim)) = (turned, head_dim)
        && turned != head_dim
    {
        rope["partial_rotary_factor"] = (turned as f64 / head_dim as f64).into();
    }
    match metadata.text(&key("scaling.type"))? {
        None | Some("none") => {}
        Some("linear") => {
            rope["rope_type"] = "linear".into();
            if let Some(factor) = metadata.number(&key("scaling.factor"))? {
                rope["factor"] = short(factor);
            }
        }
        // Other fields than those of config.json say how; none of them was held against llama.cpp.
        Some(kind) => {
            let reason = format!("rope type {kind:?} is not supported in GGUF files");
            return Err(metadata.refuse(&key("scaling.type"), &reason));
        }
    }
    if let Some(factors) = factors {
        rope["rope_type"] = "factors".into();
        let factors = factors.iter().map(|factor| short(f64::from(*factor)));
        rope["factors"] = factors.collect();
    }
    Ok(rope)
}

/// The kind of each layer: a list of flags, else every `full_attention_interval`-th is full attention.
fn layer_types(metadata: &GgufMetadata, sizes: &Sizes) -> Result<Value, LoadError> {
    let name = sizes.arch.name();
    let flags = format!("{name}.attention.recurrent_layers");
    let kind = |recurrent: bool| match recurrent {
        true => "linear_attention",
        false => "full_attention",
    };
    if let Some(flags) = metadata.integers(&flags)? {
        let flags = flags
            .iter()
            .take(usize::try_from(sizes.layers).unwrap_or(0));
        return Ok(flags.map(|flag| kind(*flag != 0)).collect());
    }
    let interval = metadata.integer(&format!("{name}.full_attention_interval"), 1..=COUNT_MAX)?;
    let interval = interval.unwrap_or(4);
    let kinds = (1..=sizes.layers).map(|layer| kind(!layer.is_multiple_of(interval)));
    Ok(kinds.collect())
}

/// The shortest number that is the same f32, where it is one.
fn short(value: f64) -> Value {
    let narrow = value as f32;
    let shortest = (f64::from(narrow) == value).then(|| narrow.to_string().parse().ok());
    shortest.flatten().unwrap_or(value).into()
}

fn text(fields: &Value) -> String {
    format!("{fields:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_short_as_they_were() {
        assert_eq!(short(f64::from(1e-5f32)).to_string(), "0.00001");
        assert_eq!(short(f64::from(1e-6f32)).as_f64(), Some(1e-6));
        assert_eq!(short(1e7).as_f64(), Some(1e7));
        assert_eq!(short(0.1).as_f64(), Some(0.1));
    }
}
