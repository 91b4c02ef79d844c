//! What a caller may choose about a loaded model. Every field can be printed; nothing is read from elsewhere.

use lattice_kernels::{Bf16Isa, IntIsa, Isa};

use super::Limits;
use crate::checkpoint::Checkpoint;
use crate::plan::{Plan, State};

/// How keys and values are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvFormat {
    /// 4 bytes a value: exact.
    F32,
    /// 2 bytes a value, widened to f32 for use.
    F16,
    /// A byte a value and 2 bytes for the scale of each token's keys, and of its values, in each head.
    Int8,
}

impl KvFormat {
    /// Its name, as `--kv` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Int8 => "int8",
        }
    }

    /// Bytes that `state` takes for each token of a sequence; 0 for recurrent state.
    pub fn token_bytes(self, state: &State) -> usize {
        let scales = match self {
            Self::F32 | Self::F16 => 0,
            Self::Int8 => 2 * state.rows_per_token(),
        };
        state.len_per_token() * self.element_bytes() + scales
    }

    /// Bytes of an element of the memory: of a value.
    pub(super) fn element_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
            Self::Int8 => 1,
        }
    }
}

impl KvFormat {
    /// The format for a checkpoint: f32 where all matrices are stored in f32, else f16.
    pub fn for_checkpoint(plan: &Plan, checkpoint: &Checkpoint) -> Self {
        let exact = plan
            .weights
            .iter()
            .filter(|weight| weight.shape.len() > 1)
            .all(|weight| {
                checkpoint
                    .tensor(&weight.tensor)
                    .is_some_and(|tensor| tensor.form.is_f32())
            });
        if exact { Self::F32 } else { Self::F16 }
    }
}

/// What the products of matrices compute in.
///
/// All but [`Compute::AsStored`] rearrange every matrix of a product in memory, at load.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compute {
    /// In what the file stores. Matrices of a model that reads texts as a whole, or that [`LoadOptions::rearrange`] names, are
    /// rearranged in memory all the same: bf16 as [`Compute::Bf16`]; f32 and f16 for products in f32. So are packed ones,
    /// whose values are then kept as f32 where texts are read as a whole, and else expanded as products read them.
    #[default]
    AsStored,
    /// In f32.
    F32,
    /// In bf16, added in f32, as the processor does it; in f32 where it does not multiply bf16.
    Bf16,
    /// In bytes, of weights and of inputs, with a scale for each 128 columns of both, which are mixed first: coarser than a
    /// packed file, whose inputs keep 15 bits. Products have the same bits on every processor. Attention to whole texts is in bf16 where the
    /// processor multiplies it.
    Int8,
}

impl Compute {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::AsStored, Self::F32, Self::Bf16, Self::Int8];

    /// Its name, as `--compute` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::AsStored => "as-stored",
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }
}

/// Choices at load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadOptions {
    /// Open sequences at a time.
    pub sequences_max: usize,
    /// Tokens a sequence may hold; at most what the model was made for.
    pub context_tokens_max: usize,
    /// Tokens in a batch: how much of a prompt is fed at once.
    pub batch_tokens_max: usize,
    /// Output rows in a batch.
    pub output_rows_max: usize,
    /// How keys and values are kept; `None`: f32 for a checkpoint stored in f32, else f16.
    pub kv: Option<KvFormat>,
    /// Tokens whose keys and values there is room for, over all sequences; `None`: every sequence's whole context.
    /// The room is taken as it fills.
    pub kv_tokens_max: Option<usize>,
    /// Threads, the caller's among them; 0: as many as the machine has cores.
    pub threads: usize,
    /// Instruction set; `None`: the best the machine has.
    pub isa: Option<Isa>,
    /// Instruction set of the products of packed weights; `None`: the best that asks for no wider vectors than `isa`.
    pub int_isa: Option<IntIsa>,
    /// Instruction set of the products of bf16 weights; `None`: the fastest beside `isa`, which may round inputs to bf16.
    pub bf16_isa: Option<Bf16Isa>,
    /// What products compute in.
    pub compute: Compute,
    /// Rearrange matrices for batches of many rows, as encoders run them.
    pub rearrange: bool,
    /// Accept weights that are not finite.
    pub allow_non_finite: bool,
    /// Take the time of every step, for [`super::Runner::take_profile`].
    pub profile: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            sequences_max: 4,
            context_tokens_max: 8192,
            batch_tokens_max: 512,
            output_rows_max: 64,
            kv: None,
            kv_tokens_max: None,
            threads: 0,
            isa: None,
            int_isa: None,
            bf16_isa: None,
            compute: Compute::AsStored,
            rearrange: false,
            allow_non_finite: false,
            profile: false,
        }
    }
}

impl LoadOptions {
    /// The limits these options give `plan`. Sizes of 0 count as 1, and no limit exceeds what it is made of.
    pub(super) fn limits(&self, plan: &Plan) -> Limits {
        let context_tokens_max = self.context_tokens_max.clamp(1, plan.context_tokens_max);
        let sequences_max = self.sequences_max.max(1);
        let batch_tokens_max = self.batch_tokens_max.max(sequences_max);
        Limits {
            sequences_max,
            context_tokens_max,
            batch_tokens_max,
            output_rows_max: self.output_rows_max.clamp(sequences_max, batch_tokens_max),
            output_width: plan.value(plan.output).width,
            vocab: plan.vocab,
            types: plan.types(),
            whole: plan.is_whole(),
            pools: plan.pools(),
            rewinds: plan.rewinds(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_takes_its_values_and_in_int8_a_scale_a_row() {
        let state = State::Kv {
            kv_heads: 3,
            head_dim: 40,
        };
        let bytes = [KvFormat::F32, KvFormat::F16, KvFormat::Int8].map(|kv| kv.token_bytes(&state));
        assert_eq!(bytes, [2 * 3 * 160, 2 * 3 * 80, 2 * 3 * (40 + 2)]);
        let fixed = State::Conv {
            channels: 8,
            taps: 3,
        };
        assert_eq!(KvFormat::Int8.token_bytes(&fixed), 0);
    }
}
