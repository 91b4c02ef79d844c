//! What is known of a model before it runs: its size, its steps, what it takes, where it computes.
//!
//! In: an opened model, options. Out: figures that can be written as JSON. It does not know: terminals, HTTP.

use lattice_kernels::{Bf16Isa, IntIsa, Isa};
use serde::Serialize;

use crate::backend::LoadOptions;
use crate::model::Model;
use crate::plan::{Footprint, State, Step, Weight};

/// A model in figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Facts {
    /// Its family.
    pub family: &'static str,
    /// `model_type` of its configuration.
    pub model_type: String,
    /// Values of all weights.
    pub parameters: u64,
    /// Bytes of its tensors as stored.
    pub weights_bytes: u64,
    /// Bits of a value with its share of the scales, without what fills packed tensors up to whole pages.
    pub bits_per_weight: f64,
    /// The types and packed schemes that its tensors are stored in.
    pub forms: Vec<String>,
    /// Ids of its vocabulary.
    pub vocab: usize,
    /// The longest context that it was made for.
    pub context_tokens_max: usize,
    /// Weight values read for each token.
    pub weight_values_per_token: u64,
    /// Operations for each token, a multiply-add counting two.
    pub flops_per_token: u64,
    /// Further operations for each token and each key before it.
    pub flops_per_key: u64,
    /// What a person should know: what nothing uses, and what is left out on purpose.
    pub notes: Vec<String>,
}

/// Memory that sequences of one length take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Tokens of each sequence.
    pub context_tokens: usize,
    /// Sequences.
    pub sequences: usize,
    /// Weights as they are kept.
    pub weights_bytes: u64,
    /// How keys and values are kept.
    pub kv_format: &'static str,
    /// Keys and values for each token; the room is taken as the context fills.
    pub kv_bytes_per_token: u64,
    /// Recurrent state of each sequence.
    pub state_bytes: u64,
    /// Buffers between the steps of a batch.
    pub scratch_bytes: u64,
    /// All of it.
    pub total_bytes: u64,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepFacts {
    /// The checkpoint path that it belongs to.
    pub name: String,
    /// The operation.
    pub op: &'static str,
    /// Columns of what it makes.
    pub width: usize,
    /// What it reads of the checkpoint.
    pub weights: Vec<WeightFacts>,
    /// What it keeps of each sequence.
    pub state: Option<StateFacts>,
    /// Bytes of weights read for each token.
    pub bytes: u64,
    /// Operations for each token.
    pub flops: u64,
    /// Further operations for each token and each key before it.
    pub flops_per_key: u64,
}

/// A weight of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WeightFacts {
    /// Path of the tensor in the checkpoint.
    pub tensor: String,
    /// Its shape in the plan, slowest first.
    pub shape: Vec<usize>,
    /// The type or packed scheme that it is stored in.
    pub form: Option<String>,
    /// Its bytes as stored.
    pub bytes: u64,
}

/// What a step keeps of each sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct StateFacts {
    /// `kv`, `conv` or `delta`.
    pub kind: &'static str,
    /// Values for each token.
    pub values_per_token: usize,
    /// Values whatever the length.
    pub values_fixed: usize,
}

/// Where products are computed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Device {
    /// Instruction set of everything in f32.
    pub isa: String,
    /// That of integer products.
    pub int_isa: String,
    /// That of bf16 products.
    pub bf16_isa: String,
    /// Threads, the caller's among them.
    pub threads: usize,
}

impl Memory {
    /// That of `sequences` sequences of `context_tokens` each.
    #[must_use]
    pub fn new(
        footprint: Footprint,
        kv_format: &'static str,
        context_tokens: usize,
        sequences: usize,
    ) -> Memory {
        let Footprint {
            weights_bytes,
            kv_bytes_per_token,
            state_bytes,
            scratch_bytes,
        } = footprint;
        let kv = kv_bytes_per_token.saturating_mul(context_tokens as u64);
        let each = kv.saturating_add(state_bytes);
        let all = each.saturating_mul(sequences as u64);
        Memory {
            context_tokens,
            sequences,
            weights_bytes,
            kv_format,
            kv_bytes_per_token,
            state_bytes,
            scratch_bytes,
            total_bytes: all.saturating_add(weights_bytes + scratch_bytes),
        }
    }
}

impl Device {
    /// Where a runner with these options computes on this machine.
    #[must_use]
    pub fn of(options: &LoadOptions) -> Device {
        let isa = options.isa.unwrap_or_else(Isa::detect);
        let int_isa = options.int_isa.unwrap_or_else(|| IntIsa::beside(isa));
        let bf16_isa = options.bf16_isa.unwrap_or_else(|| Bf16Isa::beside(isa));
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        Device {
            isa: isa.to_string(),
            int_isa: int_isa.to_string(),
            bf16_isa: bf16_isa.to_string(),
            threads: match options.threads {
                0 => cores(),
                threads => threads,
            },
        }
    }
}

impl Model {
    /// The model in figures.
    pub fn facts(&self) -> Facts {
        let cost = self.plan.cost_per_token();
        Facts {
            family: self.family.name,
            model_type: self.config.model_type().to_owned(),
            parameters: self.plan.parameters(),
            weights_bytes: self.checkpoint.weight_bytes(),
            bits_per_weight: self.bits_per_weight(),
            forms: self.forms(),
            vocab: self.plan.vocab,
            context_tokens_max: self.plan.context_tokens_max,
            weight_values_per_token: cost.weight_values,
            flops_per_token: cost.flops,
            flops_per_key: cost.flops_per_key,
            notes: self.all_notes().cloned().collect(),
        }
    }

    /// Memory under `options` with `sequences` sequences of the greatest length that they allow.
    pub fn memory(&self, options: &LoadOptions, sequences: usize) -> Memory {
        let made_for = self.plan.context_tokens_max;
        let context = options.context_tokens_max.min(made_for);
        let kv = self.kv_format(options).name();
        Memory::new(self.footprint(options), kv, context, sequences)
    }

    /// The steps of its plan, in order.
    pub fn step_facts(&self) -> Vec<StepFacts> {
        let plan = &self.plan;
        let bytes = |weight: &Weight| self.weight_bytes(weight);
        let weight = |weight: &Weight| WeightFacts {
            tensor: weight.tensor.clone(),
            shape: weight.shape.clone(),
            form: self
                .checkpoint
                .tensor(&weight.tensor)
                .map(|tensor| tensor.form.to_string()),
            bytes: bytes(weight),
        };
        let step = |step: &Step| {
            let Step { op, out, name } = step;
            let cost = plan.cost(step);
            let weights = op.weights().into_iter();
            StepFacts {
                name: name.clone(),
                op: op.kind(),
                width: plan.value(*out).width,
                weights: weights.map(|id| weight(plan.weight(id))).collect(),
                state: op.state().map(|id| state_facts(plan.state(id))),
                bytes: plan.bytes_read(step, &bytes),
                flops: cost.flops,
                flops_per_key: cost.flops_per_key,
            }
        };
        plan.steps.iter().map(step).collect()
    }

    fn forms(&self) -> Vec<String> {
        let tensors = self.checkpoint.tensors();
        let mut names: Vec<String> = tensors.map(|tensor| tensor.form.to_string()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn bits_per_weight(&self) -> f64 {
        let (mut values, mut bytes) = (0, 0);
        for tensor in self.checkpoint.tensors() {
            let packed = tensor.form.packed();
            bytes += packed.map_or(tensor.stored_bytes, |shape| shape.bytes());
            values += tensor.count();
        }
        bytes as f64 * 8.0 / values.max(1) as f64
    }
}

fn state_facts(state: State) -> StateFacts {
    StateFacts {
        kind: match state {
            State::Kv { .. } => "kv",
            State::Conv { .. } => "conv",
            State::Delta { .. } => "delta",
        },
        values_per_token: state.len_per_token(),
        values_fixed: state.fixed_len(),
    }
}

/// Memory that programs may still take (Linux): the system's, or the control group's limit where that is less.
#[must_use]
pub fn memory_available_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find(|line| line.starts_with("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let group = group.and_then(|text| text.trim().parse::<u64>().ok());
    Some(group.map_or(kib * 1024, |limit| limit.min(kib * 1024)))
}
