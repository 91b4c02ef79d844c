//! MLX: `weight`, `scales` and `biases`, and the names and shapes that its models have.
//!
//! In: a checkpoint as MLX writes it. Out: the hub's: matrices made one, the two halves of experts' stacks made one, kernels
//! of convolutions in the hub's shape, and norms less the one that MLX added where the hub stores them zero-centred.

use std::sync::Arc;

use super::{BlockKind, FLOATS, Method, Part, Quantization, WORDS, bases, in_memory, place, stack};
use crate::checkpoint::blocks::AffineLayout;
use crate::checkpoint::{Checkpoint, Dtype, Form, LoadError, Place};

/// The language model of one that has other parts, too: MLX's name and the hub's.
const PREFIXES: [(&str, &str); 2] = [
    ("language_model.model.", "model.language_model."),
    ("language_model.lm_head.", "lm_head."),
];

/// The norms that are stored zero-centred on the hub.
const NORMS: [&str; 5] = [
    ".input_layernorm.weight",
    ".post_attention_layernorm.weight",
    "model.norm.weight",
    ".q_norm.weight",
    ".k_norm.weight",
];

/// Makes one matrix of each three parts.
pub(super) fn join(
    checkpoint: &mut Checkpoint,
    quantization: &Quantization,
) -> Result<(), LoadError> {
    let Some(Method::Mlx(usual)) = quantization.method else {
        return Ok(());
    };
    for base in bases(checkpoint, ".scales") {
        let near = format!("{base}.scales");
        let scales = Part::need(checkpoint, &base, "scales", &near)?;
        let words = Part::need(checkpoint, &base, "weight", &near)?;
        let biases = Part::need(checkpoint, &base, "biases", &near)?;
        let groups = quantization
            .of
            .get(&base)
            .copied()
            .flatten()
            .unwrap_or(usual);
        words.check(checkpoint, &WORDS, &words.place.shape.clone())?;
        let (mut shape, per_word) = (words.place.shape.clone(), 32 / groups.bits.bits());
        let columns = match shape.last_mut() {
            Some(last) => {
                *last = last.saturating_mul(per_word);
                *last
            }
            None => 0,
        };
        let group = groups.group.columns();
        let count: usize = shape.iter().product();
        if shape.len() < 2 || count == 0 || !columns.is_multiple_of(group) {
            let reason = format!(
                "shape {:?} is no matrix of words in groups of {group}",
                words.place.shape
            );
            return Err(words.refuse(checkpoint, reason));
        }
        let mut of_groups = shape.clone();
        of_groups.pop();
        of_groups.push(columns / group);
        let float = scales.check(checkpoint, &FLOATS, &of_groups)?;
        biases.check(checkpoint, &[float], &of_groups)?;
        let kind = BlockKind::Affine(groups.block(AffineLayout::Mlx, float));
        let joined = place([&words, &scales, &biases], kind, shape);
        checkpoint.tensors.insert(format!("{base}.weight"), joined);
    }
    Ok(())
}

/// Gives tensors the hub's names, shapes and centres.
pub(super) fn rename(checkpoint: &mut Checkpoint) -> Result<(), LoadError> {
    let of_mlx = |name: &String| PREFIXES.iter().any(|(prefix, _)| name.starts_with(prefix));
    if !checkpoint.tensors.keys().any(of_mlx) {
        return Ok(());
    }
    let centred = taps(checkpoint);
    experts(checkpoint)?;
    let names: Vec<String> = checkpoint.tensors.keys().cloned().collect();
    for name in names {
        let Some((prefix, hub)) = PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix))
        else {
            continue;
        };
        let Some(mut place) = checkpoint.tensors.remove(&name) else {
            continue;
        };
        if centred && NORMS.iter().any(|norm| name.ends_with(norm)) && place.shape.len() == 1 {
            place = less_one(
                checkpoint,
                Part {
                    name: name.clone(),
                    place,
                },
            )?;
        }
        let renamed = format!("{hub}{}", &name[prefix.len()..]);
        if let Some(other) = checkpoint.tensors.insert(renamed.clone(), place) {
            return Err(LoadError::TensorTwice {
                tensor: renamed,
                first: other.original,
                second: name,
            });
        }
    }
    Ok(())
}

/// Kernels of convolutions `[channels, taps, 1]` become `[channels, 1, taps]`, which are the same bytes. Whether there were
/// any: MLX changes the norms together with them.
fn taps(checkpoint: &mut Checkpoint) -> bool {
    let mut found = false;
    for (name, place) in &mut checkpoint.tensors {
        if let [channels, taps, 1] = place.shape[..]
            && taps > 1
            && name.ends_with("conv1d.weight")
        {
            place.shape = vec![channels, 1, taps];
            found = true;
        }
    }
    found
}

/// Gate and up of all experts become one stack.
fn experts(checkpoint: &mut Checkpoint) -> Result<(), LoadError> {
    for base in bases(checkpoint, ".switch_mlp.gate_proj.weight") {
        let near = format!("{base}.switch_mlp.gate_proj.weight");
        let mut need =
            |end: &str| Part::need(checkpoint, &format!("{base}.switch_mlp"), end, &near);
        let (gate, up) = (need("gate_proj.weight")?, need("up_proj.weight")?);
        let down = need("down_proj.weight")?;
        let both = stack(checkpoint, [gate, up])?;
        checkpoint
            .tensors
            .insert(format!("{base}.experts.gate_up_proj"), both);
        checkpoint
            .tensors
            .insert(format!("{base}.experts.down_proj"), down.place);
    }
    Ok(())
}

/// A norm as the hub stores it. In f32 that is exact both ways.
fn less_one(checkpoint: &mut Checkpoint, part: Part) -> Result<Place, LoadError> {
    let Form::Dense(dtype) = part.place.form else {
        return Ok(part.place);
    };
    if !dtype.is_weight() {
        return Ok(part.place);
    }
    let mut values = Vec::new();
    dtype.widen(part.bytes(checkpoint), &mut values);
    values.iter_mut().for_each(|value| *value -= 1.0);
    let memory = in_memory(checkpoint, &part, &values)?;
    let (file, range) = (checkpoint.files.len(), 0..memory.len());
    checkpoint.files.push(Arc::new(memory));
    Ok(Place {
        form: Form::Dense(Dtype::F32),
        parts: vec![(file, range)],
        checksum: None,
        ..part.place
    })
}
