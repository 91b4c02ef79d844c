//! The gated delta rule mixer: projections, short convolution, the rule, gated norm.
//!
//! Reference: transformers `modeling_qwen3_5.py`; Yang et al. 2024, "Gated Delta Networks".

use crate::checkpoint::{Config, LoadError};
use crate::plan::{Act, Builder, DeltaShape, Fold, Val};

use super::blocks::divides;

/// A mixer's sizes.
pub(super) struct Delta {
    shape: DeltaShape,
    kernel: usize,
    eps: f32,
}

impl Delta {
    /// Reads them from the configuration.
    pub(super) fn of(config: &Config, eps: f32) -> Result<Self, LoadError> {
        let shape = DeltaShape {
            key_heads: config.size("linear_num_key_heads")?,
            value_heads: config.size("linear_num_value_heads")?,
            key_dim: config.size("linear_key_head_dim")?,
            value_dim: config.size("linear_value_head_dim")?,
        };
        let keys = ("linear_num_key_heads", shape.key_heads);
        divides(config, keys, ("linear_num_value_heads", shape.value_heads))?;
        Ok(Self {
            shape,
            kernel: config.size("linear_conv_kernel_dim")?,
            eps,
        })
    }

    /// The mixer at `path`; its inner norm has plain gains.
    pub(super) fn mixer(&self, b: &mut Builder, path: &str, x: Val) -> Val {
        let DeltaShape {
            key_heads,
            value_heads,
            key_dim,
            value_dim,
        } = self.shape;
        let hidden = b.width(x);
        let (keys, values) = (key_heads * key_dim, value_heads * value_dim);
        let qkv = b.linear(
            x,
            &format!("{path}.in_proj_qkv.weight"),
            2 * keys + values,
            None,
        );
        let qkv = b.conv1d(
            qkv,
            &format!("{path}.conv1d.weight"),
            self.kernel,
            Some(Act::Silu),
        );
        let beta = b.linear(x, &format!("{path}.in_proj_b.weight"), value_heads, None);
        let decay = b.linear(x, &format!("{path}.in_proj_a.weight"), value_heads, None);
        let read = b.gated_delta(path, (qkv, decay, beta), self.shape);
        let normed = b.rms_norm(
            read,
            &format!("{path}.norm.weight"),
            value_dim,
            Fold::None,
            self.eps,
        );
        let z = b.linear(x, &format!("{path}.in_proj_z.weight"), values, None);
        let gated = b.glu(&format!("{path}.gate"), Act::Silu, z, normed);
        b.linear(gated, &format!("{path}.out_proj.weight"), hidden, None)
    }
}
