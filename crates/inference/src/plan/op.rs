//! The operations. Each is a transformer-sized step whose definition is its function in `backend/reference`.
//!
//! A new operation needs a reference, a row in `tests/ops.rs`, and a reason: two families need it, or composing it
//! of others costs more than 5 %.

use super::{StateId, Val, WeightId};

/// An elementwise function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// `x * sigmoid(x)`
    Silu,
    /// `1 / (1 + exp(-x))`
    Sigmoid,
    /// `x * (1 + erf(x / sqrt 2)) / 2`
    Gelu,
    /// `x * (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2`
    GeluTanh,
    /// `max(x, 0)`
    Relu,
    /// `tanh(x)`
    Tanh,
}

/// Which row of a table a token takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Index {
    /// That of its id.
    Token,
    /// That of its position in the sequence, counted from row `first`.
    Position {
        /// Row of the first position.
        first: usize,
    },
    /// That of its type, which the batch says.
    Type,
}

/// How the rows of a whole text become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The first one, which stands for `[CLS]`.
    Cls,
    /// Their mean.
    Mean,
    /// The last one.
    LastToken,
    /// The greatest value of each column.
    Max,
    /// Their sum over the square root of their number.
    MeanSqrtLen,
    /// Their mean, each counting as often as its position in the text says, from 1.
    WeightedMean,
}

/// Which keys a query row sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// Keys up to its own position.
    Causal,
    /// The last so many keys up to its own position, that one included.
    Window(usize),
    /// All keys of its sequence in this batch (encoders).
    Bidirectional,
}

/// Heads of an attention step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadShape {
    /// Query heads.
    pub heads: usize,
    /// Key/value heads; query head `h` reads key/value head `h / (heads / kv_heads)`.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
}

/// Which part of each head a rotary embedding turns.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeShape {
    /// Heads in a row.
    pub heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Angle per position of pair `i`, that is of dimensions `i` and `i + inv_freq.len()`; the dimensions from
    /// `2 * inv_freq.len()` on pass unchanged. Unit: radians per token.
    pub inv_freq: Vec<f64>,
    /// Multiplies every cosine and sine: 1 but for some stretched contexts.
    pub factor: f64,
}

/// Heads of a gated delta rule step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeltaShape {
    /// Query/key heads; value head `h` uses key head `h / (value_heads / key_heads)`.
    pub key_heads: usize,
    /// Value heads.
    pub value_heads: usize,
    /// Width of a key head.
    pub key_dim: usize,
    /// Width of a value head.
    pub value_dim: usize,
}

/// The expert weights of a mixture step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Experts {
    /// `[experts, ffn, hidden]`
    pub gate: WeightId,
    /// `[experts, ffn, hidden]`
    pub up: WeightId,
    /// `[experts, hidden, ffn]`
    pub down: WeightId,
    /// Experts a token visits.
    pub top_k: usize,
    /// Whether the weights of the visited experts are scaled to sum to 1.
    pub renormalise: bool,
}

/// A step's computation. Values are f32 `[rows, width]`.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// Rows of `table` `[rows, hidden]`, one for each token.
    Embed {
        /// The table.
        table: WeightId,
        /// Which row a token takes.
        by: Index,
    },
    /// `x / sqrt(mean(x^2) + eps) * gain` over each stretch of `gain`'s length: a row, or each head of a row.
    RmsNorm {
        /// Input.
        x: Val,
        /// `[length]`; divides the width of `x`.
        gain: WeightId,
        /// Added to the mean square.
        eps: f32,
    },
    /// `(x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps) * gain + bias` over each row (Ba et al. 2016).
    LayerNorm {
        /// Input.
        x: Val,
        /// `[width of x]`
        gain: WeightId,
        /// `[width of x]`
        bias: WeightId,
        /// Added to the mean square.
        eps: f32,
    },
    /// `x weight^T + bias`, weight `[out, in]`.
    Linear {
        /// Input.
        x: Val,
        /// `[out, in]`
        weight: WeightId,
        /// `[out]`
        bias: Option<WeightId>,
    },
    /// Rotary position embedding, "rotate half" (Su et al. 2021, as in GPT-NeoX).
    Rope {
        /// Input `[heads * head_dim]`.
        x: Val,
        /// Heads and angles.
        shape: RopeShape,
    },
    /// Softmax attention over the sequence's keys and values, which this step extends by `k` and `v`.
    Attention {
        /// `[heads * head_dim]`
        q: Val,
        /// `[kv_heads * head_dim]`
        k: Val,
        /// `[kv_heads * head_dim]`
        v: Val,
        /// Where past keys and values lie; `None` where a sequence is always whole (encoders).
        state: Option<StateId>,
        /// Heads.
        shape: HeadShape,
        /// Multiplies the scores.
        scale: f32,
        /// Which keys a row sees.
        mask: Mask,
    },
    /// Causal depthwise convolution; the last tap meets the current token.
    Conv1d {
        /// Input `[channels]`.
        x: Val,
        /// `[channels, taps]`
        weight: WeightId,
        /// The last inputs.
        state: StateId,
        /// Applied to the result.
        act: Option<Act>,
    },
    /// Gated delta rule (Yang et al. 2024, "Gated Delta Networks"), token by token.
    GatedDelta {
        /// Queries, keys and values side by side, each all heads: `[2 * key_heads * key_dim + value_heads * value_dim]`.
        qkv: Val,
        /// Decay input `[value_heads]`.
        a: Val,
        /// Write-strength input `[value_heads]`, before its sigmoid.
        b: Val,
        /// `[value_heads]`
        a_log: WeightId,
        /// `[value_heads]`
        dt_bias: WeightId,
        /// The matrices.
        state: StateId,
        /// Heads.
        shape: DeltaShape,
    },
    /// `act(x)`
    Act {
        /// Input.
        x: Val,
        /// The function.
        act: Act,
    },
    /// `act(gate) * up`. A gate of width 1 counts for the whole row.
    Glu {
        /// Gate, of `up`'s width or 1.
        gate: Val,
        /// Input.
        up: Val,
        /// Applied to the gate.
        act: Act,
    },
    /// Mixture of experts: softmax over `router`, the best `top_k` experts, `down(silu(gate x) * up x)` of each,
    /// weighted and summed in order of the expert's number.
    Moe {
        /// Input `[hidden]`.
        x: Val,
        /// Router logits `[experts]`.
        router: Val,
        /// Weights.
        experts: Experts,
    },
    /// `a + b`
    Add {
        /// First term.
        a: Val,
        /// Second term.
        b: Val,
    },
    /// The rows that the batch wants an output for.
    TakeRows {
        /// Input, one row per token.
        x: Val,
    },
    /// One row for each entry of the batch that wants an output: all rows of the entry, pooled.
    Pool {
        /// Input, one row per token.
        x: Val,
        /// How.
        pooling: Pooling,
    },
}

impl Op {
    /// Its name, for plans and errors.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Embed { .. } => "embed",
            Self::RmsNorm { .. } => "rms_norm",
            Self::LayerNorm { .. } => "layer_norm",
            Self::Linear { .. } => "linear",
            Self::Rope { .. } => "rope",
            Self::Attention { .. } => "attention",
            Self::Conv1d { .. } => "conv1d",
            Self::GatedDelta { .. } => "gated_delta",
            Self::Act { .. } => "act",
            Self::Glu { .. } => "glu",
            Self::Moe { .. } => "moe",
            Self::Add { .. } => "add",
            Self::TakeRows { .. } => "take_rows",
            Self::Pool { .. } => "pool",
        }
    }

    /// The values it reads.
    pub fn inputs(&self) -> Vec<Val> {
        match *self {
            Self::Embed { .. } => vec![],
            Self::RmsNorm { x, .. }
            | Self::LayerNorm { x, .. }
            | Self::Linear { x, .. }
            | Self::Rope { x, .. }
            | Self::Conv1d { x, .. }
            | Self::Act { x, .. }
            | Self::TakeRows { x }
            | Self::Pool { x, .. } => vec![x],
            Self::Attention { q, k, v, .. } => vec![q, k, v],
            Self::GatedDelta { qkv, a, b, .. } => vec![qkv, a, b],
            Self::Glu { gate, up, .. } => vec![gate, up],
            Self::Moe { x, router, .. } => vec![x, router],
            Self::Add { a, b } => vec![a, b],
        }
    }

    /// The weights it reads.
    pub fn weights(&self) -> Vec<WeightId> {
        match *self {
            Self::Embed { table, .. } => vec![table],
            Self::RmsNorm { gain, .. } => vec![gain],
            Self::LayerNorm { gain, bias, .. } => vec![gain, bias],
            Self::Linear { weight, bias, .. } => std::iter::once(weight).chain(bias).collect(),
            Self::Conv1d { weight, .. } => vec![weight],
            Self::GatedDelta { a_log, dt_bias, .. } => vec![a_log, dt_bias],
            Self::Moe { experts, .. } => vec![experts.gate, experts.up, experts.down],
            Self::Rope { .. }
            | Self::Attention { .. }
            | Self::Act { .. }
            | Self::Glu { .. }
            | Self::Add { .. }
            | Self::TakeRows { .. }
            | Self::Pool { .. } => vec![],
        }
    }

    /// The weights it reads as a matrix, or a stack of them; the others are vectors or small.
    pub fn matrices(&self) -> Vec<WeightId> {
        match *self {
            Self::Embed {
                table,
                by: Index::Token,
            } => vec![table],
            Self::Linear { weight, .. } => vec![weight],
            Self::Moe { experts, .. } => vec![experts.gate, experts.up, experts.down],
            // The tables of positions and types are small.
            Self::Embed { .. }
            | Self::RmsNorm { .. }
            | Self::LayerNorm { .. }
            | Self::Rope { .. }
            | Self::Attention { .. }
            | Self::Conv1d { .. }
            | Self::GatedDelta { .. }
            | Self::Act { .. }
            | Self::Glu { .. }
            | Self::Add { .. }
            | Self::TakeRows { .. }
            | Self::Pool { .. } => vec![],
        }
    }

    /// The sequence memory it reads and writes.
    pub fn state(&self) -> Option<StateId> {
        match *self {
            Self::Attention { state, .. } => state,
            Self::Conv1d { state, .. } | Self::GatedDelta { state, .. } => Some(state),
            Self::Embed { .. }
            | Self::RmsNorm { .. }
            | Self::LayerNorm { .. }
            | Self::Linear { .. }
            | Self::Rope { .. }
            | Self::Act { .. }
            | Self::Glu { .. }
            | Self::Moe { .. }
            | Self::Add { .. }
            | Self::TakeRows { .. }
            | Self::Pool { .. } => None,
        }
    }
}
