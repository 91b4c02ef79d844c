//! The architectures that GGUF files are read of: their names and sizes, and what their tensors are called elsewhere.
//!
//! In: metadata, tensor names. Out: sizes, and for each tensor its name in a checkpoint of the hub and what a converter
//! did to it on the way.
//! It does not know: bytes, number types.
//! Source: the conversion scripts of llama.cpp.

use std::borrow::Cow;

use super::header::TensorEntry;
use super::metadata::GgufMetadata;
use crate::checkpoint::LoadError;
use crate::checkpoint::blocks::Order;

const KEY: &str = "general.architecture";
/// Layers, heads and widths are below this.
const SIZE_MAX: u64 = 1 << 24;

/// An architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arch {
    Llama,
    Qwen3,
    Qwen35,
    Qwen35Moe,
}

impl Arch {
    const ALL: [Self; 4] = [Self::Llama, Self::Qwen3, Self::Qwen35, Self::Qwen35Moe];

    /// The architecture that the metadata names.
    pub(super) fn of(metadata: &GgufMetadata) -> Result<Self, LoadError> {
        let found = metadata.required(KEY, metadata.text(KEY)?)?;
        let known = Self::ALL.into_iter().find(|arch| arch.name() == found);
        known.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            metadata.refuse(
                KEY,
                format!("`{found}` is not supported in GGUF files; supported: {names}"),
            )
        })
    }

    /// As GGUF files call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen3 => "qwen3",
            Self::Qwen35 => "qwen35",
            Self::Qwen35Moe => "qwen35moe",
        }
    }

    /// `model_type` of config.json.
    pub(super) fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen3 => "qwen3",
            Self::Qwen35 => "qwen3_5_text",
            Self::Qwen35Moe => "qwen3_5_moe_text",
        }
    }

    /// `architectures` of config.json.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Qwen3 => "Qwen3ForCausalLM",
            Self::Qwen35 => "Qwen3_5ForCausalLM",
            Self::Qwen35Moe => "Qwen3_5MoeForCausalLM",
        }
    }

    pub(super) fn is_mixture(self) -> bool {
        self == Self::Qwen35Moe
    }

    /// Whether layers of the gated delta rule are among its layers.
    fn is_delta(self) -> bool {
        matches!(self, Self::Qwen35 | Self::Qwen35Moe)
    }

    fn prefix(self) -> &'static str {
        match self.is_delta() {
            true => "model.language_model.",
            false => "model.",
        }
    }
}

/// What the names and orders of tensors depend on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) arch: Arch,
    /// Without those of a head that drafts.
    pub(super) layers: u64,
    pub(super) hidden: u64,
    pub(super) heads: u64,
    pub(super) kv_heads: u64,
    pub(super) vocab: u64,
    /// Whether the head is the embedding table.
    pub(super) tied: bool,
    pub(super) attention_bias: bool,
    pub(super) mlp_bias: bool,
    pub(super) delta: Option<DeltaSizes>,
}

/// Heads of the gated delta rule.
#[derive(Debug, Clone, Copy)]
pub(super) struct DeltaSizes {
    pub(super) key_heads: u64,
    pub(super) value_heads: u64,
    pub(super) key_dim: u64,
    pub(super) value_dim: u64,
}

impl Sizes {
    pub(super) fn of(metadata: &GgufMetadata, tensors: &[&TensorEntry]) -> Result<Self, LoadError> {
        let arch = Arch::of(metadata)?;
        let key = |end: &str| format!("{}.{end}", arch.name());
        let size = |end: &str| -> Result<u64, LoadError> {
            let found = metadata.integer(&key(end), 1..=SIZE_MAX)?;
            metadata.required(&key(end), found)
        };
        let tensor = |name: &str| tensors.iter().find(|tensor| tensor.name == name);
        let drafts = metadata.integer(&key("nextn_predict_layers"), 0..=SIZE_MAX)?;
        let layers = size("block_count")?.saturating_sub(drafts.unwrap_or(0));
        let heads = size("attention.head_count")?;
        let kv_heads = metadata.integer(&key("attention.head_count_kv"), 1..=SIZE_MAX)?;
        let vocab = metadata.integer(&key("vocab_size"), 1..=SIZE_MAX)?;
        let table = tensor("token_embd.weight").and_then(|table| table.shape.first());
        let table = table.map(|rows| *rows as u64);
        let delta = match arch.is_delta() {
            false => None,
            true => Some(DeltaSizes::of(metadata, size)?),
        };
        Ok(Self {
            arch,
            layers,
            hidden: size("embedding_length")?,
            heads,
            kv_heads: kv_heads.unwrap_or(heads),
            vocab: vocab.or(table).unwrap_or(0),
            tied: tensor("output.weight").is_none(),
            attention_bias: tensor("blk.0.attn_q.bias").is_some(),
            mlp_bias: tensor("blk.0.ffn_gate.bias").is_some(),
            delta,
        })
    }
}

impl DeltaSizes {
    fn of(
        metadata: &GgufMetadata,
        size: impl Fn(&str) -> Result<u64, LoadError>,
    ) -> Result<Self, LoadError> {
        let (key_heads, value_heads) = (size("ssm.group_count")?, size("ssm.time_step_rank")?);
        let inner = size("ssm.inner_size")?;
        if !value_heads.is_multiple_of(key_heads) || !inner.is_multiple_of(value_heads) {
            let reason = format!(
                "{key_heads} key heads, {value_heads} value heads and {inner} values do not go together"
            );
            return Err(metadata.refuse("ssm.time_step_rank", reason));
        }
        Ok(Self {
            key_heads,
            value_heads,
            key_dim: size("ssm.state_size")?,
            value_dim: inner / value_heads,
        })
    }
}

/// What becomes of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Named {
    /// It has this name in a checkpoint, and this was done to it.
    Tensor(String, Change),
    /// It is the gate half, or the up half, of the stack of that name.
    Half(String, Half),
    /// It is left out, and why.
    Ignored(&'static str),
    /// No model of this architecture has it.
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Half {
    Gate,
    Up,
}

/// What a converter did to a tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Change {
    /// Nothing.
    Nothing,
    /// Its rows (or, of a vector, its values) and columns stand in another order.
    Order { rows: Order, columns: Order },
    /// 1 was added.
    OnePlus,
    /// The logarithm was taken off: `-exp(a)`; its values stand in another order.
    MinusExp(Order),
    /// Convolution taps `[channels, 1, taps]` lost the middle dimension, channels stand in another order.
    Taps(Order),
    /// `[1, columns]` lost its first dimension.
    OneRow,
}

impl Change {
    fn rows(rows: Order) -> Self {
        Self::Order {
            rows,
            columns: Order::SAME,
        }
    }
}

/// Names below `blk.N.` that all architectures share.
const LAYER: &[(&str, &str)] = &[
    ("attn_norm.weight", "input_layernorm.weight"),
    ("attn_q.weight", "self_attn.q_proj.weight"),
    ("attn_q.bias", "self_attn.q_proj.bias"),
    ("attn_k.weight", "self_attn.k_proj.weight"),
    ("attn_k.bias", "self_attn.k_proj.bias"),
    ("attn_v.weight", "self_attn.v_proj.weight"),
    ("attn_v.bias", "self_attn.v_proj.bias"),
    ("attn_output.weight", "self_attn.o_proj.weight"),
    ("attn_output.bias", "self_attn.o_proj.bias"),
    ("ffn_gate.weight", "mlp.gate_proj.weight"),
    ("ffn_gate.bias", "mlp.gate_proj.bias"),
    ("ffn_up.weight", "mlp.up_proj.weight"),
    ("ffn_up.bias", "mlp.up_proj.bias"),
    ("ffn_down.weight", "mlp.down_proj.weight"),
    ("ffn_down.bias", "mlp.down_proj.bias"),
];
/// Those of families that normalise heads.
const HEAD_NORMS: &[(&str, &str)] = &[
    ("attn_q_norm.weight", "self_attn.q_norm.weight"),
    ("attn_k_norm.weight", "self_attn.k_norm.weight"),
];
const PLAIN_NORM: &[(&str, &str)] = &[("ffn_norm.weight", "post_attention_layernorm.weight")];
const DELTA: &[(&str, &str)] = &[
    (
        "post_attention_norm.weight",
        "post_attention_layernorm.weight",
    ),
    ("attn_qkv.weight", "linear_attn.in_proj_qkv.weight"),
    ("attn_gate.weight", "linear_attn.in_proj_z.weight"),
    ("ssm_beta.weight", "linear_attn.in_proj_b.weight"),
    ("ssm_alpha.weight", "linear_attn.in_proj_a.weight"),
    ("ssm_conv1d.weight", "linear_attn.conv1d.weight"),
    ("ssm_dt.bias", "linear_attn.dt_bias"),
    ("ssm_a", "linear_attn.A_log"),
    ("ssm_norm.weight", "linear_attn.norm.weight"),
    ("ssm_out.weight", "linear_attn.out_proj.weight"),
];
const EXPERTS: &[(&str, &str)] = &[
    ("ffn_gate_inp.weight", "mlp.gate.weight"),
    ("ffn_gate_up_exps.weight", "mlp.experts.gate_up_proj"),
    ("ffn_down_exps.weight", "mlp.experts.down_proj"),
    ("ffn_gate_inp_shexp.weight", "mlp.shared_expert_gate.weight"),
    (
        "ffn_gate_shexp.weight",
        "mlp.shared_expert.gate_proj.weight",
    ),
    ("ffn_up_shexp.weight", "mlp.shared_expert.up_proj.weight"),
    (
        "ffn_down_shexp.weight",
        "mlp.shared_expert.down_proj.weight",
    ),
];

impl Sizes {
    fn tables(&self) -> &'static [&'static [(&'static str, &'static str)]] {
        match self.arch {
            Arch::Llama => &[LAYER, PLAIN_NORM],
            Arch::Qwen3 => &[LAYER, PLAIN_NORM, HEAD_NORMS],
            Arch::Qwen35 => &[LAYER, HEAD_NORMS, DELTA],
            Arch::Qwen35Moe => &[LAYER, HEAD_NORMS, DELTA, EXPERTS],
        }
    }

    /// What a tensor of the file is in a checkpoint.
    pub(super) fn named(&self, name: &str, rows: usize) -> Named {
        let prefix = self.arch.prefix();
        let norm = match self.arch.is_delta() {
            true => Change::OnePlus,
            false => Change::Nothing,
        };
        let top = match name {
            "token_embd.weight" => Some((format!("{prefix}embed_tokens.weight"), Change::Nothing)),
            "output.weight" => Some(("lm_head.weight".to_owned(), Change::Nothing)),
            "output_norm.weight" => Some((format!("{prefix}norm.weight"), norm)),
            "rope_freqs.weight" => return Named::Ignored("part of the configuration"),
            _ => None,
        };
        if let Some((name, change)) = top {
            return Named::Tensor(name, change);
        }
        let Some((layer, leaf)) = name
            .strip_prefix("blk.")
            .and_then(|rest| rest.split_once('.'))
        else {
            return Named::Unknown;
        };
        let Some(number) = layer.parse::<u64>().ok().filter(|n| n.to_string() == layer) else {
            return Named::Unknown;
        };
        if number >= self.layers {
            return Named::Ignored("multi-token prediction head, not run");
        }
        let path = format!("{prefix}layers.{number}.");
        let half = |half| Named::Half(format!("{path}mlp.experts.gate_up_proj"), half);
        match leaf {
            "ffn_gate_exps.weight" if self.arch.is_mixture() => return half(Half::Gate),
            "ffn_up_exps.weight" if self.arch.is_mixture() => return half(Half::Up),
            _ => {}
        }
        let mut entries = self.tables().iter().copied().flatten();
        match entries.find(|(known, _)| *known == leaf) {
            Some((_, new)) => Named::Tensor(format!("{path}{new}"), self.change(leaf, rows)),
            None => Named::Unknown,
        }
    }

    /// What was done to the tensor `leaf` of a layer, which has `rows` rows (or values).
    fn change(&self, leaf: &str, rows: usize) -> Change {
        let stem: Cow<'_, str> = leaf.rsplit_once('.').map_or(leaf, |(stem, _)| stem).into();
        match (&*stem, self.delta) {
            ("attn_q", None) if self.arch == Arch::Llama => pairs(rows, self.heads),
            ("attn_k", None) if self.arch == Arch::Llama => pairs(rows, self.kv_heads),
            ("attn_norm" | "post_attention_norm" | "attn_q_norm" | "attn_k_norm", Some(_)) => {
                Change::OnePlus
            }
            ("ffn_gate_inp_shexp", Some(_)) => Change::OneRow,
            ("attn_qkv", Some(delta)) => Change::rows(delta.values_behind_keys()),
            ("ssm_conv1d", Some(delta)) => Change::Taps(delta.values_behind_keys()),
            ("attn_gate", Some(delta)) => Change::rows(delta.order(delta.value_dim)),
            ("ssm_beta" | "ssm_alpha" | "ssm_dt", Some(delta)) => Change::rows(delta.order(1)),
            ("ssm_a", Some(delta)) => Change::MinusExp(delta.order(1)),
            ("ssm_out", Some(delta)) => Change::Order {
                rows: Order::SAME,
                columns: delta.order(delta.value_dim),
            },
            _ => Change::Nothing,
        }
    }
}

/// Rows of heads that turn neighbours, where the checkpoint turns the two halves of a head.
fn pairs(rows: usize, heads: u64) -> Change {
    let heads = usize::try_from(heads).unwrap_or(usize::MAX);
    let half = rows / heads / 2;
    if half == 0 || !rows.is_multiple_of(2 * heads) {
        return Change::Nothing;
    }
    Change::rows(Order::swapped(2, half, 1))
}

impl DeltaSizes {
    /// Value heads counted first by their number beside a key head, where the checkpoint counts them key head by key head.
    fn order(&self, together: u64) -> Order {
        let size = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
        let (outer, inner) = (
            size(self.key_heads),
            size(self.value_heads / self.key_heads),
        );
        if outer == 1 || inner == 1 {
            return Order::SAME;
        }
        Order::swapped(outer, inner, size(together))
    }

    fn values_behind_keys(&self) -> Order {
        let keys = 2 * self.key_heads * self.key_dim;
        self.order(self.value_dim)
            .behind(usize::try_from(keys).unwrap_or(usize::MAX))
    }
}
