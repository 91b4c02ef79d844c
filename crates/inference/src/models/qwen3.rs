//! Qwen3 dense: grouped-query attention with normalised query and key heads, gated MLP.
//!
//! Reference: transformers `modeling_qwen3.py`.

use crate::Error;
use crate::checkpoint::{Config, LoadError};
use crate::plan::{Builder, Plan};

use super::blocks::{Attention, gated_mlp, layer_kinds, silu_only};
use super::{Family, llama};

pub(super) const FAMILY: Family = Family {
    name: "qwen3",
    model_types: &["qwen3"],
    plan,
    sanitize: llama::sanitize,
};

const ROPE_THETA: f64 = 10_000.0;

fn plan(config: &Config) -> Result<Plan, Error> {
    silu_only(config)?;
    let layers = config.layers("num_hidden_layers")?;
    full_attention_only(config, layers)?;
    let attention =
        Attention::of(config, config.size("head_dim")?, Some(ROPE_THETA))?.whole_heads(config)?;
    let ffn = config.size("intermediate_size")?;
    let ends = llama::ends(config)?;
    let mut builder = Builder::new("qwen3", ends.vocab, config.size("max_position_embeddings")?);
    let b = &mut builder;
    let mut h = ends.embed(b);
    for layer in 0..layers {
        let path = format!("model.layers.{layer}");
        let x = ends.norm(b, h, &format!("{path}.input_layernorm.weight"));
        let mixed = attention.mixer(b, &format!("{path}.self_attn"), x, Some(ends.eps));
        h = b.add(&format!("{path}.residual"), h, mixed);
        let x = ends.norm(b, h, &format!("{path}.post_attention_layernorm.weight"));
        let mlp = gated_mlp(b, &format!("{path}.mlp"), x, ffn, false);
        h = b.add(&format!("{path}.mlp.residual"), h, mlp);
    }
    let logits = ends.logits(b, h);
    Ok(builder.finish(logits)?)
}

/// Refuses sliding windows, which this engine does not run.
fn full_attention_only(config: &Config, layers: usize) -> Result<(), LoadError> {
    if config.flag_or("use_sliding_window", false)? {
        return Err(config.refuse(
            "use_sliding_window",
            "sliding-window attention is not supported",
        ));
    }
    config.known(&["sliding_window", "max_window_layers"]);
    let kinds = layer_kinds(config, layers)?;
    match kinds
        .iter()
        .flatten()
        .find(|kind| *kind != "full_attention")
    {
        Some(kind) => Err(config.refuse("layer_types", format!("`{kind}` is not supported"))),
        None => Ok(()),
    }
}
