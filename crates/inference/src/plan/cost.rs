//! What a plan costs, from a dry run over it: no weights are needed.

use super::{Arena, Op, Plan, State, Step, Weight};

/// What one step costs for one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StepCost {
    /// Weight values read. An embedding reads one row; a mixture reads the experts it visits.
    pub weight_values: u64,
    /// Floating-point operations, a multiply-add counting two.
    pub flops: u64,
    /// Further operations for each key in the sequence (attention).
    pub flops_per_key: u64,
}

/// Memory that running a plan needs, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// Weights as the backend keeps them.
    pub weights_bytes: u64,
    /// Keys and values per token of a sequence.
    pub kv_bytes_per_token: u64,
    /// Recurrent state per sequence, whatever its length.
    pub state_bytes: u64,
    /// Buffers between the steps of a batch.
    pub scratch_bytes: u64,
}

impl Footprint {
    /// Bytes with one sequence of `context_tokens`.
    pub fn total_bytes(&self, context_tokens: usize) -> u64 {
        let kv = self
            .kv_bytes_per_token
            .saturating_mul(context_tokens as u64);
        self.weights_bytes + kv + self.state_bytes + self.scratch_bytes
    }
}

impl Plan {
    /// Memory for batches of `batch_tokens` with `output_rows`, with `weight_bytes` per weight and
    /// `kv_bytes` per token of a state.
    pub fn footprint(
        &self,
        weight_bytes: impl Fn(&Weight) -> u64,
        kv_bytes: impl Fn(&State) -> usize,
        batch_tokens: usize,
        output_rows: usize,
    ) -> Footprint {
        let per_token: usize = self.states.iter().map(kv_bytes).sum();
        let fixed: usize = self.states.iter().map(|state| state.fixed_len()).sum();
        Footprint {
            weights_bytes: self.weights.iter().map(weight_bytes).sum(),
            kv_bytes_per_token: per_token as u64,
            state_bytes: (fixed * 4) as u64,
            scratch_bytes: Arena::of(self).bytes(batch_tokens, output_rows),
        }
    }

    /// Cost of one step for one token.
    pub fn cost(&self, step: &Step) -> StepCost {
        let width = self.value(step.out).width as u64;
        let values = |id| self.weight(id).len() as u64;
        let elementwise = |flops: u64| StepCost {
            flops,
            ..StepCost::default()
        };
        match &step.op {
            Op::Embed { .. } => StepCost {
                weight_values: width,
                ..StepCost::default()
            },
            Op::RmsNorm { gain, .. } => StepCost {
                weight_values: values(*gain),
                flops: 4 * width,
                flops_per_key: 0,
            },
            Op::LayerNorm { gain, bias, .. } => StepCost {
                weight_values: values(*gain) + values(*bias),
                flops: 8 * width,
                flops_per_key: 0,
            },
            Op::Linear { weight, bias, .. } => StepCost {
                weight_values: values(*weight) + bias.map_or(0, values),
                flops: 2 * values(*weight) + bias.map_or(0, values),
                flops_per_key: 0,
            },
            Op::Rope { shape, .. } => elementwise(6 * (shape.heads * shape.inv_freq.len()) as u64),
            Op::Attention { shape, .. } => StepCost {
                flops_per_key: 4 * (shape.heads * shape.head_dim) as u64,
                ..StepCost::default()
            },
            Op::Conv1d { weight, .. } => StepCost {
                weight_values: values(*weight),
                flops: 2 * values(*weight) + 5 * width,
                flops_per_key: 0,
            },
            Op::GatedDelta { shape, .. } => {
                let matrix = (shape.value_heads * shape.key_dim * shape.value_dim) as u64;
                elementwise(7 * matrix)
            }
            Op::Act { .. } => elementwise(5 * width),
            Op::Glu { .. } => elementwise(6 * width),
            Op::Moe { experts, .. } => {
                let all = values(experts.gate) + values(experts.up) + values(experts.down);
                let count = self.weight(experts.gate).shape[0] as u64;
                let visited = all / count * experts.top_k as u64;
                StepCost {
                    weight_values: visited,
                    flops: 2 * visited,
                    flops_per_key: 0,
                }
            }
            Op::Add { .. } | Op::Pool { .. } => elementwise(width),
            Op::TakeRows { .. } => StepCost::default(),
        }
    }

    /// Cost of all steps for one token that wants an output row.
    pub fn cost_per_token(&self) -> StepCost {
        self.steps
            .iter()
            .map(|step| self.cost(step))
            .fold(StepCost::default(), |sum, cost| StepCost {
                weight_values: sum.weight_values + cost.weight_values,
                flops: sum.flops + cost.flops,
                flops_per_key: sum.flops_per_key + cost.flops_per_key,
            })
    }

    /// Values of all weights: the model's parameters as run (a tied table counts once).
    pub fn parameters(&self) -> u64 {
        self.weights.iter().map(|weight| weight.len() as u64).sum()
    }
}
