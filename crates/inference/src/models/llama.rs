//! Llama and its relatives (SmolLM2, TinyLlama, Mistral, Qwen2): grouped-query attention, rotary over whole heads, gated MLP.
//!
//! Reference: transformers `modeling_llama.py`, `modeling_mistral.py`, `modeling_qwen2.py`.

use crate::Error;
use crate::checkpoint::{Config, LoadError, Renamed};
use crate::plan::{Builder, Fold, Plan};

use super::Family;
use super::blocks::{Attention, Ends, gated_mlp, silu_only, windows};
use super::ending::Ending;

pub(super) const LLAMA: Family = Family {
    name: "llama",
    model_types: &["llama"],
    encodes: false,
    plan: llama,
    sanitize,
};

pub(super) const MISTRAL: Family = Family {
    name: "mistral",
    model_types: &["mistral"],
    encodes: false,
    plan: mistral,
    sanitize,
};

pub(super) const QWEN2: Family = Family {
    name: "qwen2",
    model_types: &["qwen2"],
    encodes: false,
    plan: qwen2,
    sanitize,
};

/// What transformers' configurations mean where the field is left out, as their own saver does for default values.
const ROPE_THETA: f64 = 10_000.0;
const MISTRAL_WINDOW: usize = 4096;

/// What tells one relative from another.
pub(super) struct Decoder {
    /// The family's name.
    pub(super) family: &'static str,
    /// Its attention.
    pub(super) attention: Attention,
    /// Whether each query and key head is normalised.
    pub(super) head_norms: bool,
    /// The window of each layer.
    pub(super) windows: Vec<Option<usize>>,
    /// Whether the MLP has biases.
    pub(super) mlp_bias: bool,
}

fn llama(config: &Config, ending: &Ending) -> Result<Plan, Error> {
    config.must_be("pretraining_tp", 1, "split weights are not supported")?;
    Decoder {
        family: "llama",
        attention: attention(config, head_dim(config)?)?,
        head_norms: false,
        windows: vec![None; config.layers("num_hidden_layers")?],
        mlp_bias: config.flag_or("mlp_bias", false)?,
    }
    .plan(config, ending)
}

fn mistral(config: &Config, ending: &Ending) -> Result<Plan, Error> {
    let window = if config.is_null("sliding_window") {
        None
    } else {
        Some(config.size_or("sliding_window", MISTRAL_WINDOW)?)
    };
    Decoder {
        family: "mistral",
        attention: attention(config, head_dim(config)?)?,
        head_norms: false,
        windows: vec![window; config.layers("num_hidden_layers")?],
        mlp_bias: false,
    }
    .plan(config, ending)
}

fn qwen2(config: &Config, ending: &Ending) -> Result<Plan, Error> {
    Decoder {
        family: "qwen2",
        attention: Attention {
            bias: true,
            out_bias: false,
            ..attention(config, head_dim(config)?)?
        },
        head_norms: false,
        windows: windows(config, config.layers("num_hidden_layers")?)?,
        mlp_bias: false,
    }
    .plan(config, ending)
}

/// The width of a head: as it stands, or as heads share the hidden size.
fn head_dim(config: &Config) -> Result<usize, LoadError> {
    let hidden = config.size("hidden_size")?;
    let heads = config.size("num_attention_heads")?;
    let head_dim = config.size_or("head_dim", hidden / heads)?;
    if head_dim * heads != hidden {
        config.size("head_dim").map_err(|_missing| {
            config.refuse(
                "num_attention_heads",
                format!("{heads} heads do not divide {hidden}"),
            )
        })?;
    }
    Ok(head_dim)
}

/// Attention whose whole heads turn.
pub(super) fn attention(config: &Config, head_dim: usize) -> Result<Attention, LoadError> {
    Attention::of(config, head_dim, Some(ROPE_THETA))?.whole_heads(config)
}

impl Decoder {
    /// The whole plan.
    pub(super) fn plan(&self, config: &Config, ending: &Ending) -> Result<Plan, Error> {
        silu_only(config)?;
        let ffn = config.size("intermediate_size")?;
        let ends = Ends {
            prefix: "model",
            hidden: config.size("hidden_size")?,
            vocab: config.size("vocab_size")?,
            tied: config.flag_or("tie_word_embeddings", false)?,
            fold: Fold::None,
            eps: config.positive("rms_norm_eps")? as f32,
        };
        let context_tokens = self.attention.turns.context_tokens;
        let mut builder = Builder::new(self.family, ends.vocab, context_tokens);
        let b = &mut builder;
        let mut h = ends.embed(b);
        let norm_eps = self.head_norms.then_some(ends.eps);
        for (layer, window) in self.windows.iter().enumerate() {
            let path = format!("model.layers.{layer}");
            let x = ends.norm(b, h, &format!("{path}.input_layernorm.weight"));
            let mixer = format!("{path}.self_attn");
            let mixed = self.attention.mixer(b, &mixer, x, norm_eps, *window);
            let last = layer + 1 == self.windows.len();
            h = Ends::residual(b, &path, (h, mixed), last.then_some(ending));
            let x = ends.norm(b, h, &format!("{path}.post_attention_layernorm.weight"));
            let mlp = gated_mlp(b, &format!("{path}.mlp"), x, ffn, self.mlp_bias);
            h = b.add(&format!("{path}.mlp.residual"), h, mlp);
        }
        let out = ends.end(config, b, h, ending)?;
        Ok(builder.finish(out)?)
    }
}

/// Older checkpoints carry the rotary table as a tensor; it follows from the configuration. Base models leave `model.` out.
pub(super) fn sanitize(name: &str) -> Renamed<'_> {
    if name.ends_with(".rotary_emb.inv_freq") {
        return Renamed::Ignore("computed from the configuration");
    }
    if is_of_decoder(name) {
        return Renamed::Keep(format!("model.{name}").into());
    }
    Renamed::Keep(name.into())
}

/// Whether a name is that of a tensor of the decoder, without the decoder's own name before it.
pub(super) fn is_of_decoder(name: &str) -> bool {
    ["embed_tokens.", "layers.", "norm."]
        .iter()
        .any(|start| name.starts_with(start))
}
