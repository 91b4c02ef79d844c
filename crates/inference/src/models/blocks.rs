//! Blocks that several families share: the gated MLP, plain grouped-query attention, embedding and head.

use crate::checkpoint::{Config, LoadError};
use crate::plan::{Act, Builder, Fold, HeadShape, RopeShape, Val};

use super::rope::{has_factors, inv_freq};

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
    /// Radians per token.
    pub(super) inv_freq: Vec<f64>,
    /// Whether the projections have biases.
    pub(super) bias: bool,
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
        let rope = config.rope(theta)?;
        let angles = inv_freq(&rope, head_dim);
        if angles.is_empty() {
            return Err(config.refuse("head_dim", "leaves no dimension to the rotary embedding"));
        }
        if !has_factors(&rope.scaling, angles.len()) {
            let reason = format!("the rotary embedding has no {} factors", angles.len());
            return Err(config.refuse("head_dim", reason));
        }
        let shape = HeadShape {
            heads,
            kv_heads,
            head_dim,
        };
        Ok(Self {
            shape,
            inv_freq: angles,
            bias: config.flag_or("attention_bias", false)?,
        })
    }

    /// Refuses a configuration that turns part of each head: the reference of these families turns all of it, whatever
    /// the file says, so one of the two is not what was trained.
    pub(super) fn whole_heads(self, config: &Config) -> Result<Self, LoadError> {
        if 2 * self.inv_freq.len() == self.shape.head_dim {
            return Ok(self);
        }
        Err(config.refuse("partial_rotary_factor", "this family turns whole heads"))
    }

    /// Turns every head of `x`, which holds `heads` of them.
    pub(super) fn rope(&self, b: &mut Builder, name: &str, x: Val, heads: usize) -> Val {
        let (head_dim, inv_freq) = (self.shape.head_dim, self.inv_freq.clone());
        b.rope(
            name,
            x,
            RopeShape {
                heads,
                head_dim,
                inv_freq,
            },
        )
    }

    /// `softmax(q k^T / sqrt(head_dim)) v`
    pub(super) fn attend(&self, b: &mut Builder, path: &str, qkv: (Val, Val, Val)) -> Val {
        let scale = 1.0 / (self.shape.head_dim as f64).sqrt();
        b.attention(&format!("{path}.attention"), qkv, self.shape, scale as f32)
    }

    /// `out` columns of `x` through the projection `path.name`.
    pub(super) fn project(&self, b: &mut Builder, path: &str, x: Val, out: usize) -> Val {
        let bias = format!("{path}.bias");
        b.linear(
            x,
            &format!("{path}.weight"),
            out,
            self.bias.then_some(bias.as_str()),
        )
    }

    /// A whole attention mixer at `path`: projections, optional norm of each query and key head, rope, attention,
    /// output projection. `norm_eps` is given where the family normalises heads.
    pub(super) fn mixer(&self, b: &mut Builder, path: &str, x: Val, norm_eps: Option<f32>) -> Val {
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
        let context = self.attend(b, path, (q, k, v));
        self.project(b, &format!("{path}.o_proj"), context, hidden)
    }
}

/// `down(silu(gate x) * up x)`
pub(super) fn gated_mlp(b: &mut Builder, path: &str, x: Val, ffn: usize, bias: bool) -> Val {
    let hidden = b.width(x);
    let mut linear = |name: &str, x: Val, out: usize| {
        let tensor = format!("{path}.{name}.bias");
        b.linear(
            x,
            &format!("{path}.{name}.weight"),
            out,
            bias.then_some(tensor.as_str()),
        )
    };
    let gate = linear("gate_proj", x, ffn);
    let up = linear("up_proj", x, ffn);
    let product = b.glu(&format!("{path}.act"), Act::Silu, gate, up);
    let bias = bias.then(|| format!("{path}.down_proj.bias"));
    b.linear(
        product,
        &format!("{path}.down_proj.weight"),
        hidden,
        bias.as_deref(),
    )
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

    /// Final norm and head, for the rows that the batch asks for.
    pub(super) fn logits(&self, b: &mut Builder, x: Val) -> Val {
        let rows = b.take_rows("outputs", x);
        let x = self.norm(b, rows, &format!("{}.norm.weight", self.prefix));
        let head = if self.tied {
            format!("{}.embed_tokens.weight", self.prefix)
        } else {
            "lm_head.weight".to_owned()
        };
        b.linear(x, &head, self.vocab, None)
    }
}
