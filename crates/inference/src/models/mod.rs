//! Model families: a configuration becomes a plan. One file each; this table is the list.
//!
//! In: a [`Config`]. Out: a checked [`Plan`], and the names a checkpoint's tensors go by.
//! It does not know: backends, devices, weight formats, tokenizers.

mod bert;
mod blocks;
mod delta;
mod ending;
mod experts;
mod llama;
mod qwen3;
mod qwen3_5;
mod rope;

use crate::Error;
use crate::checkpoint::{Config, LoadError, Renamed};
use crate::plan::Plan;

pub use ending::{DenseLayer, Ending};

/// A model family.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// Its name in plans and messages.
    pub name: &'static str,
    /// The `model_type` values of config.json that mean this family.
    pub model_types: &'static [&'static str],
    /// Whether its models read whole texts, and have no head for next tokens.
    pub encodes: bool,
    /// Turns a configuration into the plan, with what it is to end in.
    pub plan: fn(&Config, &Ending) -> Result<Plan, Error>,
    /// Says under which name the plan knows a tensor of the checkpoint, or why it is left out.
    pub sanitize: fn(&str) -> Renamed<'_>,
}

/// Every family there is.
pub const FAMILIES: &[Family] = &[
    qwen3_5::DENSE,
    qwen3_5::MOE,
    qwen3::FAMILY,
    llama::QWEN2,
    llama::LLAMA,
    llama::MISTRAL,
    bert::BERT,
    bert::ROBERTA,
];

/// The family of a configuration.
pub fn family_of(config: &Config) -> Result<&'static Family, LoadError> {
    let model_type = config.model_type();
    let known = |family: &&Family| family.model_types.contains(&model_type);
    FAMILIES.iter().find(known).ok_or_else(|| {
        let names: Vec<&str> = FAMILIES
            .iter()
            .flat_map(|f| f.model_types)
            .copied()
            .collect();
        LoadError::Field {
            file: "config.json".to_owned(),
            field: "model_type".to_owned(),
            reason: format!(
                "`{model_type}` is not supported; supported: {}",
                names.join(", ")
            ),
        }
    })
}
