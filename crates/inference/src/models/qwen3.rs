//! Qwen3 dense: grouped-query attention with normalised query and key heads, gated MLP.
//!
//! Reference: transformers `modeling_qwen3.py`.

use crate::Error;
use crate::checkpoint::Config;
use crate::plan::Plan;

use super::Family;
use super::blocks::windows;
use super::ending::Ending;
use super::llama::{Decoder, attention, sanitize};

pub(super) const FAMILY: Family = Family {
    name: "qwen3",
    model_types: &["qwen3"],
    encodes: false,
    plan,
    sanitize,
};

fn plan(config: &Config, ending: &Ending) -> Result<Plan, Error> {
    Decoder {
        family: "qwen3",
        attention: attention(config, config.size("head_dim")?)?,
        head_norms: true,
        windows: windows(config, config.layers("num_hidden_layers")?)?,
        mlp_bias: false,
    }
    .plan(config, ending)
}
