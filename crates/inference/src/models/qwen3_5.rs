//! Qwen3.5 and 3.6: gated delta rule layers with a gated attention layer every few, dense or mixture of experts.
//!
//! Reference: transformers `modeling_qwen3_5.py`, `modeling_qwen3_5_moe.py`; the delta rule is Yang et al. 2024,
//! "Gated Delta Networks". Norm gains are stored zero-centred, except the one inside the delta rule.

use crate::Error;
use crate::checkpoint::{Config, LoadError, OfExpert, Renamed};
use crate::plan::{Act, Builder, Fold, HeadShape, Part, Plan, Val, Weight, WeightId};

use super::blocks::{Attention, Ends, gated_mlp, layer_kinds, silu_only};
use super::delta::Delta;
use super::ending::Ending;
use super::experts::SparseMlp;
use super::{Family, experts, llama};

pub(super) const DENSE: Family = Family {
    name: "qwen3_5",
    model_types: &["qwen3_5_text", "qwen3_5"],
    encodes: false,
    plan: dense,
    sanitize,
};

pub(super) const MOE: Family = Family {
    name: "qwen3_5_moe",
    model_types: &["qwen3_5_moe_text", "qwen3_5_moe"],
    encodes: false,
    plan: mixture,
    sanitize,
};

const PREFIX: &str = "model.language_model";

fn dense(config: &Config, ending: &Ending) -> Result<Plan, Error> {
    let ffn = config.size("intermediate_size")?;
    plan((config, ending), "qwen3_5", |b, path, x| {
        gated_mlp(b, path, x, ffn, false)
    })
}

fn mixture(config: &Config, ending: &Ending) -> Result<Plan, Error> {
    let experts = SparseMlp::of(config)?;
    plan((config, ending), "qwen3_5_moe", |b, path, x| {
        experts.block(b, path, x)
    })
}

fn plan(
    (config, ending): (&Config, &Ending),
    family: &str,
    mlp: impl Fn(&mut Builder, &str, Val) -> Val,
) -> Result<Plan, Error> {
    silu_only(config)?;
    config.must_be(
        "attn_output_gate",
        true,
        "attention without a gate is not supported",
    )?;
    config.must_be(
        "mamba_ssm_dtype",
        "float32",
        "the delta rule runs in float32",
    )?;
    // The draft head is another model in the same files; its fields say nothing about this one.
    config.known(&["mtp_num_hidden_layers", "mtp_use_dedicated_embeddings"]);
    let ends = Ends {
        prefix: PREFIX,
        hidden: config.size("hidden_size")?,
        vocab: config.size("vocab_size")?,
        tied: config.flag_or("tie_word_embeddings", false)?,
        fold: Fold::OnePlus,
        eps: config.positive("rms_norm_eps")? as f32,
    };
    let attention = Attention::of(config, config.size("head_dim")?, None)?;
    let delta = Delta::of(config, ends.eps)?;
    let full = full_layers(config)?;
    let mut builder = Builder::new(family, ends.vocab, attention.turns.context_tokens);
    let b = &mut builder;
    let mut h = ends.embed(b);
    let layers = full.len();
    for (layer, full) in full.into_iter().enumerate() {
        let path = format!("{PREFIX}.layers.{layer}");
        let x = ends.norm(b, h, &format!("{path}.input_layernorm.weight"));
        let mixed = if full {
            gated_attention(b, &format!("{path}.self_attn"), x, &attention, ends.eps)
        } else {
            delta.mixer(b, &format!("{path}.linear_attn"), x)
        };
        h = Ends::residual(
            b,
            &path,
            (h, mixed),
            (layer + 1 == layers).then_some(ending),
        );
        let x = ends.norm(b, h, &format!("{path}.post_attention_layernorm.weight"));
        let out = mlp(b, &format!("{path}.mlp"), x);
        h = b.add(&format!("{path}.mlp.residual"), h, out);
    }
    let out = ends.end(config, b, h, ending)?;
    Ok(builder.finish(out)?)
}

/// Which layers are full attention: `layer_types`, else every `full_attention_interval`-th.
fn full_layers(config: &Config) -> Result<Vec<bool>, LoadError> {
    let layers = config.layers("num_hidden_layers")?;
    let interval = config.count_or("full_attention_interval", 0)?;
    if let Some(kinds) = layer_kinds(config, layers)? {
        return kinds
            .iter()
            .map(|kind| match kind.as_str() {
                "full_attention" => Ok(true),
                "linear_attention" => Ok(false),
                other => Err(config.refuse("layer_types", format!("`{other}` is not supported"))),
            })
            .collect();
    }
    if interval == 0 {
        return Err(config.refuse(
            "layer_types",
            "is missing, and full_attention_interval gives none",
        ));
    }
    Ok((1..=layers)
        .map(|layer| layer.is_multiple_of(interval))
        .collect())
}

/// Attention whose context is gated: `q_proj` stores, head by head, the query and then the gate.
fn gated_attention(b: &mut Builder, path: &str, x: Val, attention: &Attention, eps: f32) -> Val {
    let HeadShape {
        heads,
        kv_heads,
        head_dim,
    } = attention.shape;
    let hidden = b.width(x);
    let query = interleaved(b, path, x, attention, 0);
    let gate = interleaved(b, path, x, attention, head_dim);
    let k = attention.project(b, &format!("{path}.k_proj"), x, kv_heads * head_dim);
    let v = attention.project(b, &format!("{path}.v_proj"), x, kv_heads * head_dim);
    let q = b.rms_norm(
        query,
        &format!("{path}.q_norm.weight"),
        head_dim,
        Fold::OnePlus,
        eps,
    );
    let k = b.rms_norm(
        k,
        &format!("{path}.k_norm.weight"),
        head_dim,
        Fold::OnePlus,
        eps,
    );
    let q = attention.rope(b, &format!("{path}.q_rope"), q, heads);
    let k = attention.rope(b, &format!("{path}.k_rope"), k, kv_heads);
    let context = attention.attend(b, path, (q, k, v), None);
    let gated = b.glu(&format!("{path}.gate"), Act::Sigmoid, gate, context);
    attention.project_out(b, &format!("{path}.o_proj"), gated, hidden)
}

/// The half of `q_proj` that starts at row `start` of each head's `2 * head_dim` rows.
fn interleaved(b: &mut Builder, path: &str, x: Val, attention: &Attention, start: usize) -> Val {
    let HeadShape {
        heads, head_dim, ..
    } = attention.shape;
    let columns = b.width(x);
    let mut half = |name: &str, stored: &[usize], shape: &[usize]| -> WeightId {
        b.declare(Weight {
            tensor: format!("{path}.q_proj.{name}"),
            stored: stored.to_vec(),
            part: Part::Rows {
                period: 2 * head_dim,
                start,
                take: head_dim,
            },
            fold: Fold::None,
            shape: shape.to_vec(),
        })
    };
    let rows = heads * head_dim;
    let weight = half("weight", &[2 * rows, columns], &[rows, columns]);
    let bias = attention.bias.then(|| half("bias", &[2 * rows], &[rows]));
    b.linear_of(x, weight, bias)
}

/// Text-only checkpoints say `model.` where the full ones say `model.language_model.`, base models leave `model.` out,
/// and some tools put it last; draft heads and image towers are other models in the same files.
fn sanitize(name: &str) -> Renamed<'_> {
    if name.starts_with("mtp.") {
        return Renamed::Ignore("multi-token prediction head, not run");
    }
    if name.starts_with("model.visual.") || name.starts_with("visual.") {
        return Renamed::Ignore("image tower, not run");
    }
    let inner = name.strip_prefix("model.").unwrap_or(name);
    let inner = inner.strip_prefix("language_model.").unwrap_or(inner);
    let inner = inner.strip_prefix("model.").unwrap_or(inner);
    if let Some(of) = experts::of_expert(inner) {
        let stack = format!("{PREFIX}.{}", of.stack);
        return Renamed::OfExpert(OfExpert { stack, ..of });
    }
    if llama::is_of_decoder(inner) {
        return Renamed::Keep(format!("{PREFIX}.{inner}").into());
    }
    if inner.starts_with("lm_head.") {
        return Renamed::Keep(inner.into());
    }
    Renamed::Keep(name.into())
}
