//! The sparse MLP: a router, its experts, and one expert that every token visits.
//!
//! Reference: transformers `modeling_qwen3_5_moe.py`, whose router softmaxes over all experts, keeps the best and scales
//! their weights to sum to 1.

use crate::checkpoint::{Config, LoadError, OfExpert};
use crate::plan::{Act, Builder, Experts, Fold, Part, Val, Weight};

use super::blocks::gated_mlp;

/// Sizes of a sparse MLP.
pub(super) struct SparseMlp {
    experts: usize,
    top_k: usize,
    ffn: usize,
    shared_ffn: usize,
}

impl SparseMlp {
    /// Reads them from the configuration.
    pub(super) fn of(config: &Config) -> Result<Self, LoadError> {
        let sizes = Self {
            experts: config.size("num_experts")?,
            top_k: config.size("num_experts_per_tok")?,
            ffn: config.size("moe_intermediate_size")?,
            shared_ffn: config.size("shared_expert_intermediate_size")?,
        };
        if sizes.top_k > sizes.experts {
            return Err(config.refuse("num_experts_per_tok", "is more than num_experts"));
        }
        Ok(sizes)
    }

    /// The block at `path`: what the router chose, plus the shared expert by its own gate.
    pub(super) fn block(&self, b: &mut Builder, path: &str, x: Val) -> Val {
        let router = b.linear(x, &format!("{path}.gate.weight"), self.experts, None);
        let hidden = b.width(x);
        let experts = self.experts(b, path, hidden);
        let routed = b.moe(&format!("{path}.experts"), x, router, experts);
        let all = gated_mlp(
            b,
            &format!("{path}.shared_expert"),
            x,
            self.shared_ffn,
            false,
        );
        let gate = b.linear(x, &format!("{path}.shared_expert_gate.weight"), 1, None);
        let all = b.glu(
            &format!("{path}.shared_expert.scale"),
            Act::Sigmoid,
            gate,
            all,
        );
        b.add(&format!("{path}.sum"), routed, all)
    }

    /// `gate_up_proj` stores, expert by expert, the gate's rows and then those of up.
    fn experts(&self, b: &mut Builder, path: &str, hidden: usize) -> Experts {
        let Self {
            experts,
            top_k,
            ffn,
            ..
        } = *self;
        let mut half = |start: usize| {
            b.declare(Weight {
                tensor: format!("{path}.experts.gate_up_proj"),
                stored: vec![experts, 2 * ffn, hidden],
                part: Part::Rows {
                    period: 2 * ffn,
                    start,
                    take: ffn,
                },
                fold: Fold::None,
                shape: vec![experts, ffn, hidden],
            })
        };
        let (gate, up) = (half(0), half(ffn));
        let down = b.weight(
            &format!("{path}.experts.down_proj"),
            &[experts, hidden, ffn],
        );
        Experts {
            gate,
            up,
            down,
            top_k,
            renormalise: true,
        }
    }
}

/// Checkpoints have the experts stacked, or each by itself: `layers.0.mlp.experts.3.up_proj.weight` is the second part
/// of expert 3 in `layers.0.mlp.experts.gate_up_proj`.
pub(super) fn of_expert(name: &str) -> Option<OfExpert> {
    let (path, rest) = name.split_once(".experts.")?;
    let (number, leaf) = rest.split_once('.')?;
    let expert = number.parse().ok()?;
    let (stack, parts, part): (_, &[&str], _) = match leaf {
        "gate_proj.weight" => ("gate_up_proj", &["gate_proj", "up_proj"], 0),
        "up_proj.weight" => ("gate_up_proj", &["gate_proj", "up_proj"], 1),
        "down_proj.weight" => ("down_proj", &["down_proj"], 0),
        _ => return None,
    };
    Some(OfExpert {
        stack: format!("{path}.experts.{stack}"),
        expert,
        parts,
        part,
    })
}
