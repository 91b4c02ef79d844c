//! Llama and its relatives (SmolLM2, TinyLlama): grouped-query attention, rotary over whole heads, gated MLP.
//!
//! Reference: transformers `modeling_llama.py`.

use crate::Error;
use crate::checkpoint::{Config, LoadError, Renamed};
use crate::plan::{Builder, Fold, Plan};

use super::Family;
use super::blocks::{Attention, Ends, gated_mlp, silu_only};

pub(super) const FAMILY: Family = Family {
    name: "llama",
    model_types: &["llama"],
    plan,
    sanitize,
};

/// What transformers' `LlamaConfig` means where the field is left out, as its own saver does for default values.
const ROPE_THETA: f64 = 10_000.0;

fn plan(config: &Config) -> Result<Plan, Error> {
    silu_only(config)?;
    config.must_be("pretraining_tp", 1, "split weights are not supported")?;
    let (hidden, heads) = (
        config.size("hidden_size")?,
        config.size("num_attention_heads")?,
    );
    let head_dim = config.size_or("head_dim", hidden / heads)?;
    if head_dim * heads != hidden {
        config.size("head_dim").map_err(|_missing| {
            config.refuse(
                "num_attention_heads",
                format!("{heads} heads do not divide {hidden}"),
            )
        })?;
    }
    let attention = Attention::of(config, head_dim, Some(ROPE_THETA))?.whole_heads(config)?;
    let ffn = config.size("intermediate_size")?;
    let mlp_bias = config.flag_or("mlp_bias", false)?;
    let layers = config.layers("num_hidden_layers")?;
    let ends = ends(config)?;
    let mut builder = Builder::new("llama", ends.vocab, config.size("max_position_embeddings")?);
    let b = &mut builder;
    let mut h = ends.embed(b);
    for layer in 0..layers {
        let path = format!("model.layers.{layer}");
        let x = ends.norm(b, h, &format!("{path}.input_layernorm.weight"));
        let mixed = attention.mixer(b, &format!("{path}.self_attn"), x, None);
        h = b.add(&format!("{path}.residual"), h, mixed);
        let x = ends.norm(b, h, &format!("{path}.post_attention_layernorm.weight"));
        let mlp = gated_mlp(b, &format!("{path}.mlp"), x, ffn, mlp_bias);
        h = b.add(&format!("{path}.mlp.residual"), h, mlp);
    }
    let logits = ends.logits(b, h);
    Ok(builder.finish(logits)?)
}

/// Embedding, norms and head of a decoder whose tensors start with `model.` and whose gains are plain.
pub(super) fn ends(config: &Config) -> Result<Ends<'static>, LoadError> {
    Ok(Ends {
        prefix: "model",
        hidden: config.size("hidden_size")?,
        vocab: config.size("vocab_size")?,
        tied: config.flag_or("tie_word_embeddings", false)?,
        fold: Fold::None,
        eps: config.positive("rms_norm_eps")? as f32,
    })
}

/// Older checkpoints carry the rotary table as a tensor; it follows from the configuration.
pub(super) fn sanitize(name: &str) -> Renamed<'_> {
    if name.ends_with(".rotary_emb.inv_freq") {
        return Renamed::Ignore("computed from the configuration");
    }
    Renamed::Keep(name.into())
}
