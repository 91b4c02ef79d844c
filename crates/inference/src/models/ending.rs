//! What a plan ends in: logits over a vocabulary, one vector for each text, or scores.
//!
//! In: what a model's files and its caller ask for. Out: the last steps.
//! It does not know: which files said so.

use crate::checkpoint::{Config, LoadError};
use crate::plan::{Act, Builder, Pooling, Val};

/// What a plan ends in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Logits over the vocabulary, for the rows that the batch asks for.
    Logits,
    /// One vector for each text.
    Vector {
        /// How its last hidden states become one row.
        pooling: Pooling,
        /// Layers over that row, in order.
        dense: Vec<DenseLayer>,
    },
    /// The scores that the checkpoint's classifier gives each text or pair of texts.
    Scores,
}

/// A layer over one row: `act(x weight^T + bias)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DenseLayer {
    /// What its tensors' names begin with: `2_Dense.linear`.
    pub path: String,
    /// Columns of its input, as its own files say.
    pub inputs: usize,
    /// Columns of its output.
    pub outputs: usize,
    /// Whether it has a bias.
    pub bias: bool,
    /// Applied to the result.
    pub act: Option<Act>,
}

impl Ending {
    /// Whether it looks at the rows that the batch asks for, and at no other.
    pub(super) fn takes_rows(&self) -> bool {
        match self {
            Self::Logits => true,
            Self::Vector { pooling, .. } => *pooling == Pooling::LastToken,
            Self::Scores => false,
        }
    }
}

impl DenseLayer {
    /// Its steps.
    pub(super) fn steps(&self, b: &mut Builder, x: Val) -> Val {
        let bias = format!("{}.bias", self.path);
        let bias = self.bias.then_some(bias.as_str());
        let y = b.linear(x, &format!("{}.weight", self.path), self.outputs, bias);
        match self.act {
            Some(act) => b.act(&format!("{}.act", self.path), act, y),
            None => y,
        }
    }
}

/// The vector of a text: `x`, a row for each token, pooled, and through the layers.
pub(super) fn vector(
    b: &mut Builder,
    x: Val,
    pooling: Pooling,
    dense: &[DenseLayer],
) -> Result<Val, LoadError> {
    let pooled = b.pool("pooling", x, pooling);
    through(b, pooled, dense)
}

/// A row through the layers.
pub(super) fn through(b: &mut Builder, x: Val, dense: &[DenseLayer]) -> Result<Val, LoadError> {
    let mut x = x;
    for layer in dense {
        let width = b.width(x);
        if width != layer.inputs {
            return Err(LoadError::Field {
                file: layer.path.clone(),
                field: "in_features".to_owned(),
                reason: format!("is {}, the layer's input has {width} columns", layer.inputs),
            });
        }
        x = layer.steps(b, x);
    }
    Ok(x)
}

/// Refuses a family's wish to end in `what`, which it does not.
pub(super) fn refuse(config: &Config, what: &str) -> LoadError {
    let reason = format!("`{}` models do not end in {what}", config.model_type());
    config.refuse("model_type", reason)
}
