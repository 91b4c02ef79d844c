//! Which model, and how many columns of its vectors.

use crate::{EmbedError, EmbeddingModel};

/// A model, and the columns that its vectors are cut to, where that is asked for.
///
/// Vectors of models that were trained for it (Matryoshka representation learning, Kusupati et al. 2022) stay good when
/// their tail is cut off; what is left is brought back to length 1.
///
/// ```
/// use lattice_embed::{EmbeddingModel, ModelConfig};
///
/// assert!(ModelConfig::try_new(EmbeddingModel::Qwen3Embedding0_6B, Some(256)).is_ok());
/// let error = ModelConfig::try_new(EmbeddingModel::BgeSmallEnV15, Some(256)).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "bge-small-en-v1.5: cannot give 256 dimensions: it has 384 and was not trained to be cut"
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct ModelConfig {
    model: EmbeddingModel,
    dims: Option<usize>,
}

impl ModelConfig {
    /// `dims`: `None` for the model's own. A directory's own dimensions are known when it is opened, and checked then.
    ///
    /// # Errors
    /// [`EmbedError::Dims`] for 0, more than the model has, fewer than it was trained for, or any other number than its
    /// own where it was not trained to be cut.
    pub fn try_new(model: EmbeddingModel, dims: Option<usize>) -> Result<Self, EmbedError> {
        if let Some(dims) = dims {
            let facts = model.facts();
            let native = facts.map(|facts| facts.dims);
            let least = facts.map(|facts| facts.dims_min);
            check(&model.to_string(), dims, native, least)?;
        }
        Ok(Self { model, dims })
    }

    /// Which model.
    pub fn model(&self) -> &EmbeddingModel {
        &self.model
    }

    /// The columns asked for; `None`: the model's own.
    pub fn dims(&self) -> Option<usize> {
        self.dims
    }
}

impl From<EmbeddingModel> for ModelConfig {
    fn from(model: EmbeddingModel) -> Self {
        Self { model, dims: None }
    }
}

/// Whether a model's vectors may have `dims` columns. `native`: its own, if known; `least`: the fewest, `Some(None)` where it
/// is known that there is none but its own.
pub(crate) fn check(
    model: &str,
    dims: usize,
    native: Option<usize>,
    least: Option<Option<usize>>,
) -> Result<(), EmbedError> {
    let refused = |reason: String| EmbedError::Dims {
        model: model.to_owned(),
        dims,
        reason,
    };
    if dims == 0 {
        return Err(refused("a vector has at least one".to_owned()));
    }
    let Some(native) = native else {
        return Ok(());
    };
    match least {
        _ if dims > native => Err(refused(format!("it has {native}"))),
        Some(Some(least)) if dims < least => {
            Err(refused(format!("it was trained for {least} to {native}")))
        }
        Some(None) if dims != native => Err(refused(format!(
            "it has {native} and was not trained to be cut"
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dims_have_limits() {
        let allowed = |model: EmbeddingModel, dims| ModelConfig::try_new(model, Some(dims)).is_ok();
        for dims in [32, 33, 1023, 1024] {
            assert!(allowed(EmbeddingModel::Qwen3Embedding0_6B, dims));
        }
        for dims in [0, 1, 31, 1025, usize::MAX] {
            assert!(!allowed(EmbeddingModel::Qwen3Embedding0_6B, dims));
        }
        for model in EmbeddingModel::known() {
            let native = model.facts().unwrap().dims;
            assert!(allowed(model.clone(), native) && !allowed(model, native + 1));
        }
        let local = EmbeddingModel::Local("x".into());
        assert!(allowed(local.clone(), 7) && !allowed(local, 0));
    }
}
