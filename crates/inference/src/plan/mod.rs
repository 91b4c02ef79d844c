//! A plan: the list of transformer-sized steps that a model family makes of a configuration.
//!
//! In: a family's calls on [`Builder`]. Out: a checked [`Plan`] that any backend can load.
//! It knows shapes, names and state; it does not know weight formats, devices or what a token means.

mod arena;
mod builder;
mod check;
mod cost;
mod op;
mod packing;
mod print;

pub use arena::Arena;
pub use builder::Builder;
pub use check::PlanError;
pub use cost::{Footprint, StepCost};
pub use op::{Act, DeltaShape, Experts, HeadShape, Index, Mask, Op, Pooling, RopeShape};
pub use packing::{Packing, packing};

/// Names a value: the output of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Val(pub(crate) u32);

/// Names a weight of the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WeightId(pub(crate) u32);

/// Names a piece of sequence memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StateId(pub(crate) u32);

impl Val {
    /// Place in [`Plan::values`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl WeightId {
    /// Place in [`Plan::weights`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl StateId {
    /// Place in [`Plan::states`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Which rows a value has: one per token of the batch, or one per output row asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// One row per token of the batch.
    Tokens,
    /// One row per output row that the batch asks for.
    Outputs,
}

/// The shape of a value: f32 `[rows, width]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value {
    /// Columns.
    pub width: usize,
    /// What its rows stand for.
    pub rows: Rows,
}

/// One step: an operation and the value it defines.
#[derive(Debug, Clone)]
pub struct Step {
    /// What to compute, and from which values, weights and state.
    pub op: Op,
    /// The value it defines. Each value is defined once.
    pub out: Val,
    /// The checkpoint path it belongs to, e.g. `model.layers.3.self_attn.q_proj.weight`.
    pub name: String,
}

/// Which rows of a stored tensor a weight is made of; rows count over all leading dimensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of them.
    Whole,
    /// Of every `period` rows, the `take` rows from `start` on: one half of an interleaved projection.
    Rows {
        /// Rows after which the pattern repeats.
        period: usize,
        /// First row taken.
        start: usize,
        /// Rows taken of each period.
        take: usize,
    },
}

/// How a stored value becomes the weight's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fold {
    /// As stored.
    None,
    /// The tensor stores `g`, the weight is `1 + g` (zero-centred norm gains).
    OnePlus,
}

/// A weight of the plan and where it stands in the checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weight {
    /// Path of the tensor in the checkpoint.
    pub tensor: String,
    /// Shape of that tensor.
    pub stored: Vec<usize>,
    /// Which of its rows make this weight.
    pub part: Part,
    /// What happens to its values at load.
    pub fold: Fold,
    /// Shape of the weight itself, slowest first: `[out, in]`, `[experts, out, in]` or `[length]`.
    pub shape: Vec<usize>,
}

impl Weight {
    /// Values in the weight.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it holds no value. Never true in a checked plan.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Columns of a row: the fastest dimension, 1 for a vector.
    pub fn columns(&self) -> usize {
        if self.shape.len() < 2 {
            1
        } else {
            self.shape[self.shape.len() - 1]
        }
    }

    /// Rows over all leading dimensions: the length of a vector.
    pub fn rows(&self) -> usize {
        self.len() / self.columns().max(1)
    }
}

/// A piece of memory that each sequence owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Keys and values of every past token; can be cut back.
    Kv {
        /// Key/value heads.
        kv_heads: usize,
        /// Width of a head.
        head_dim: usize,
    },
    /// The last `taps` inputs of a causal convolution, f32 `[taps, channels]`, oldest first.
    Conv {
        /// Channels.
        channels: usize,
        /// Inputs kept: kernel size - 1.
        taps: usize,
    },
    /// The delta rule's matrix per value head, f32 `[heads, key_dim, value_dim]`.
    Delta {
        /// Value heads.
        heads: usize,
        /// Rows of a head's matrix.
        key_dim: usize,
        /// Columns of a head's matrix.
        value_dim: usize,
    },
}

impl State {
    /// f32 values a sequence keeps whatever its length; 0 for keys and values.
    pub fn fixed_len(&self) -> usize {
        match *self {
            Self::Kv { .. } => 0,
            Self::Conv { channels, taps } => channels * taps,
            Self::Delta {
                heads,
                key_dim,
                value_dim,
            } => heads * key_dim * value_dim,
        }
    }

    /// Values a sequence keeps per token; 0 for recurrent state.
    pub fn len_per_token(&self) -> usize {
        match *self {
            Self::Kv { kv_heads, head_dim } => 2 * kv_heads * head_dim,
            Self::Conv { .. } | Self::Delta { .. } => 0,
        }
    }

    /// Rows of `head_dim` values a sequence keeps per token, of keys and of values; 0 for recurrent state.
    pub fn rows_per_token(&self) -> usize {
        match *self {
            Self::Kv { kv_heads, .. } => 2 * kv_heads,
            Self::Conv { .. } | Self::Delta { .. } => 0,
        }
    }
}

/// The whole computation of a model, independent of device and weight format.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Name of the family that made it.
    pub family: String,
    /// In order of execution.
    pub steps: Vec<Step>,
    /// Shape of each value.
    pub values: Vec<Value>,
    /// Each weight once, also where two steps share it.
    pub weights: Vec<Weight>,
    /// Sequence memory.
    pub states: Vec<State>,
    /// The value a caller gets.
    pub output: Val,
    /// Rows of the embedding table: ids must be below.
    pub vocab: usize,
    /// Longest sequence the model was made for, in tokens.
    pub context_tokens_max: usize,
}

impl Plan {
    /// Shape of a value.
    pub fn value(&self, val: Val) -> Value {
        self.values[val.index()]
    }

    /// A weight.
    pub fn weight(&self, id: WeightId) -> &Weight {
        &self.weights[id.index()]
    }

    /// A piece of state.
    pub fn state(&self, id: StateId) -> State {
        self.states[id.index()]
    }

    /// Whether a sequence is always one entry of a batch: some step looks at all of its rows at once. Nothing of it is
    /// kept afterwards.
    pub fn is_whole(&self) -> bool {
        let whole = |step: &Step| match step.op {
            Op::Attention { state, .. } => state.is_none(),
            Op::Pool { .. } => true,
            _ => false,
        };
        self.steps.iter().any(whole)
    }

    /// Whether an entry has one output row at most, made of all of its rows.
    pub fn pools(&self) -> bool {
        let pools = |step: &Step| matches!(step.op, Op::Pool { .. });
        self.steps.iter().any(pools)
    }

    /// Token types that the plan tells apart; 0 where it reads none.
    pub fn types(&self) -> usize {
        let tables = self.steps.iter().filter_map(|step| match step.op {
            Op::Embed {
                table,
                by: Index::Type,
            } => Some(self.weight(table).rows()),
            _ => None,
        });
        tables.min().unwrap_or(0)
    }

    /// Whether a sequence can be cut back without a snapshot: nothing in it is recurrent.
    pub fn rewinds(&self) -> bool {
        self.states.iter().all(|state| state.fixed_len() == 0)
    }
}
