//! Blocks that several families share: the gated MLP, plain grouped-query attention, embedding and head.

use crate::checkpoint::{Config, LoadError};
use crate::plan::{Act, Builder, Fold, HeadShape, Pooling, RopeShape, Val};

use super::ending::{Ending, refuse, through, vector};
use super::rope::{Turns, turns};

/// Refuses two fields of which the first must divide the second.
pub(super) fn divides(
    config: &Config,
    part: (&str, usize),
    whole: (&str, usize),
) -> Result<(), LoadError> {
    if whole.1.is_multiple_of(part.1) {
        return Ok(());
    }
    Err(config.refuse(
        part.0,
        format!("{} does not divide {} ({})", part.1, whole.0, whole.1),
    ))
}

/// The kind of each layer, or `None` where the field is absent; a list of another length is refused.
pub(super) fn layer_kinds(
    config: &Config,
    layers: usize,
) -> Result<Option<Vec<String>>, LoadError> {
    let kinds = config.texts("layer_types")?;
    match &kinds {
        Some(kinds) if kinds.len() != layers => {
            let reason = format!("has {} entries for {layers} layers", kinds.len());
            Err(config.refuse("layer_types", reason))
        }
        _ => Ok(kinds),
    }
}

/// The window of each layer, of families that say it as Qwen does: `layer_types`, or else all layers from
/// `max_window_layers` on; none where `use_sliding_window` is false.
pub(super) fn windows(config: &Config, layers: usize) -> Result<Vec<Option<usize>>, LoadError> {
    config.known(&["sliding_window", "max_window_layers"]);
    let active = config.flag_or("use_sliding_window", false)? && !config.is_null("sliding_window");
    let window = if active {
        // What transformers means where the fields are left out.
        Some(config.size_or("sliding_window", 4096)?)
    } else {
        None
    };
    let Some(kinds) = layer_kinds(config, layers)? else {
        let from = config.count_or("max_window_layers", 28)?;
        return Ok((0..layers)
            .map(|layer| window.filter(|_| layer >= from))
            .collect());
    };
    let of = |kind: &String| match (kind.as_str(), window) {
        ("full_attention", _) => Ok(None),
        ("sliding_attention", Some(window)) => Ok(Some(window)),
        ("sliding_attention", None) => {
            let reason = "has sliding_attention, and no window is in use";
            Err(config.refuse("layer_types", reason))
        }
        (other, _) => Err(config.refuse("layer_types", format!("`{other}` is not supported"))),
    };
    kinds.iter().map(of).collect()
}

/// Refuses any activation but the one these families have.
pub(super) fn silu_only(config: &Config) -> Result<(), LoadError> {
    config.must_be("hidden_act", "silu", "no other activation is supported")
}

/// The widest head: four times that of any model, and the angles of all layers still fit in a few megabytes.
const HEAD_DIM_MAX: usize = 2048;

/// Heads and angles of a family's attention layers.
pub(super) struct Attention {
    /// Heads.
    pub(super) shape: HeadShape,
    /// How they turn.
    pub(super) turns: Turns,
    /// Whether the projections of queries, keys and values have biases.
    pub(super) bias: bool,
    /// Whether the output projection has one.
    pub(super) out_bias: bool,
}

impl Attention {
    /// Reads heads and rope from the configuration.
    pub(super) fn of(
        config: &Config,
        head_dim: usize,
        theta: Option<f64>,
    ) -> Result<Self, LoadError> {
        let heads = config.size("num_attention_heads")?;
        let kv_heads = config.size_or("num_key_value_heads", heads)?;
        divides(
            config,
            ("num_key_value_heads", kv_heads),
            ("num_attention_heads", heads),
        )?;
        if head_dim > HEAD_DIM_MAX {
            return Err(config.refuse("head_dim", format!("is more than {HEAD_DIM_MAX}")));
        }
        let context_tokens = config.size("max_position_embeddings")?;
        let turns = turns(&config.rope(theta)?, head_dim, context_tokens)
            .map_err(|reason| config.refuse("rope_scaling", reason))?;
        if turns.inv_freq.is_empty() {
            return Err(config.refuse("head_dim", "leaves no dimension to the rotary embedding"));
        }
        let shape = HeadShape {
            heads,
            kv_heads,
            head_dim,
        };
        let bias = config.flag_or("attention_bias", false)?;
        Ok(Self {
            shape,
            turns,
            bias,
            out_bias: bias,
        })
    }

    /// Refuses a configuration that turns part of each head: the reference of these families turns all of it, whatever
    /// the file says, so one of the two is not what was trained.
    pub(super) fn whole_heads(self, config: &Config) -> Result<Self, LoadError> {
        if 2 * self.turns.inv_freq.len() == self.shape.head_dim {
            return Ok(self);
        }
        Err(config.refuse("partial_rotary_factor", "this family turns whole heads"))
    }

    /// Turns every head of `x`, which holds `heads` of them.
    pub(super) fn rope(&self, b: &mut Builder, name: &str, x: Val, heads: usize) -> Val {
        let shape = RopeShape {
            heads,
            head_dim: self.shape.head_dim,
            inv_freq: self.turns.inv_freq.clone(),
            factor: self.turns.factor,
        };
        b.rope(name, x, shape)
    }

    /// `softmax(q k^T / sqrt(head_dim)) v`, over the last `window` keys or over all.
    pub(super) fn attend(
        &self,
        b: &mut Builder,
        path: &str,
        qkv: (Val, Val, Val),
        window: Option<usize>,
    ) -> Val {
        let scale = (1.0 / (self.shape.head_dim as f64).sqrt()) as f32;
        let name = format!("{path}.attention");
        match window {
            None => b.attention(&name, qkv, self.shape, scale),
            Some(window) => b.attention_window(&name, qkv, self.shape, scale, window),
        }
    }

    /// `out` columns of `x` through the projection of queries, keys or values at `path`.
    pub(super) fn project(&self, b: &mut Builder, path: &str, x: Val, out: usize) -> Val {
        linear(b, path, x, out, self.bias)
    }

    /// `out` columns of `x` through the output projection at `path`.
    pub(super) fn project_out(&self, b: &mut Builder, path: &str, x: Val, out: usize) -> Val {
        linear(b, path, x, out, self.out_bias)
    }

    /// A whole attention mixer at `path`: projections, optional norm of each query and key head, rope, attention,
    /// output projection. `norm_eps` is given where the family normalises heads, `window` where a layer has one.
    pub(super) fn mixer(
        &self,
        b: &mut Builder,
        path: &str,
        x: Val,
        norm_eps: Option<f32>,
        window: Option<usize>,
    ) -> Val {
        let HeadShape {
            heads,
            kv_heads,
            head_dim,
        } = self.shape;
        let hidden = b.width(x);
        let mut q = self.project(b, &format!("{path}.q_proj"), x, heads * head_dim);
        let mut k = self.project(b, &format!("{path}.k_proj"), x, kv_heads * head_dim);
        let v = self.project(b, &format!("{path}.v_proj"), x, kv_heads * head_dim);
        if let Some(eps) = norm_eps {
            q = b.rms_norm(
                q,
                &format!("{path}.q_norm.weight"),
                head_dim,
                Fold::None,
                eps,
            );
            k = b.rms_norm(
                k,
                &format!("{path}.k_norm.weight"),
                head_dim,
                Fold::None,
                eps,
            );
        }
        let q = self.rope(b, &format!("{path}.q_rope"), q, heads);
        let k = self.rope(b, &format!("{path}.k_rope"), k, kv_heads);
        let context = self.attend(b, path, (q, k, v), window);
        self.project_out(b, &format!("{path}.o_proj"), context, hidden)
    }
}

/// `out` columns of `x` through the weight at `path`, and its bias if it has one.
pub(super) fn linear(b: &mut Builder, path: &str, x: Val, out: usize, bias: bool) -> Val {
    let tensor = format!("{path}.bias");
    let bias = bias.then_some(tensor.as_str());
    b.linear(x, &format!("{path}.weight"), out, bias)
}

/// `down(silu(gate x) * up x)`
pub(super) fn gated_mlp(b: &mut Builder, path: &str, x: Val, ffn: usize, bias: bool) -> Val {
    let hidden = b.width(x);
    let gate = linear(b, &format!("{path}.gate_proj"), x, ffn, bias);
    let up = linear(b, &format!("{path}.up_proj"), x, ffn, bias);
    let product = b.glu(&format!("{path}.act"), Act::Silu, gate, up);
    linear(b, &format!("{path}.down_proj"), product, hidden, bias)
}

/// Names and sizes around the layers of a decoder.
pub(super) struct Ends<'a> {
    /// Prefix of the decoder's tensors, e.g. `model`.
    pub(super) prefix: &'a str,
    /// Width of the hidden state.
    pub(super) hidden: usize,
    /// Rows of the embedding table.
    pub(super) vocab: usize,
    /// Whether the head is the embedding table.
    pub(super) tied: bool,
    /// How norm gains are stored.
    pub(super) fold: Fold,
    /// Epsilon of the norms.
    pub(super) eps: f32,
}

impl Ends<'_> {
    /// Token ids to hidden states.
    pub(super) fn embed(&self, b: &mut Builder) -> Val {
        let table = b.weight(
            &format!("{}.embed_tokens.weight", self.prefix),
            &[self.vocab, self.hidden],
        );
        b.embed(table)
    }

    /// Norm `name` of layer or model.
    pub(super) fn norm(&self, b: &mut Builder, x: Val, name: &str) -> Val {
        b.rms_norm(x, name, self.hidden, self.fold, self.eps)
    }

    /// `h + mixed`, which goes on to the layer's MLP; in the last layer only those of its rows that the ending looks at, as no
    /// layer needs the keys and values of others any more.
    pub(super) fn residual(
        b: &mut Builder,
        path: &str,
        (h, mixed): (Val, Val),
        ending: Option<&Ending>,
    ) -> Val {
        let sum = b.add(&format!("{path}.residual"), h, mixed);
        match ending {
            Some(ending) if ending.takes_rows() => b.take_rows("outputs", sum),
            _ => sum,
        }
    }

    /// What follows the last layer; where the ending takes rows, `x` has these alone.
    pub(super) fn end(
        &self,
        config: &Config,
        b: &mut Builder,
        x: Val,
        ending: &Ending,
    ) -> Result<Val, LoadError> {
        let norm = format!("{}.norm.weight", self.prefix);
        match ending {
            Ending::Logits => Ok(self.logits(b, x)),
            // The last row is there also where the rows before it ran in earlier batches.
            Ending::Vector {
                pooling: Pooling::LastToken,
                dense,
            } => {
                let last = self.norm(b, x, &norm);
                through(b, last, dense)
            }
            Ending::Vector { pooling, dense } => {
                let x = self.norm(b, x, &norm);
                vector(b, x, *pooling, dense)
            }
            Ending::Scores => Err(refuse(config, "scores of texts")),
        }
    }

    /// Final norm and head.
    fn logits(&self, b: &mut Builder, x: Val) -> Val {
        let x = self.norm(b, x, &format!("{}.norm.weight", self.prefix));
        let head = if self.tied {
            format!("{}.embed_tokens.weight", self.prefix)
        } else {
            "lm_head.weight".to_owned()
        };
        b.linear(x, &head, self.vocab, None)
    }
}
