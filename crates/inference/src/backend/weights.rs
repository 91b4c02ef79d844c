//! Weights as f32 values: parts taken, folds applied. Backends that keep a stored format use this for vectors only.

use std::sync::{Mutex, PoisonError};

use crate::checkpoint::{Checkpoint, Dtype, LoadError, Tensor};
use crate::plan::{Fold, Part, Plan, Weight};

/// Checks that every weight of the plan is in the checkpoint in the shape it was stored, all at once.
pub(super) fn check_shapes(plan: &Plan, checkpoint: &Checkpoint) -> Result<(), LoadError> {
    let wanted: Vec<(String, Vec<usize>)> = plan
        .weights
        .iter()
        .map(|w| (w.tensor.clone(), w.stored.clone()))
        .collect();
    checkpoint.check(&wanted).map(drop)
}

/// Checks that every value of every weight is finite; `run` calls a task for each of a number of tensors, in any order.
pub(super) fn check_finite(
    plan: &Plan,
    checkpoint: &Checkpoint,
    run: impl Fn(usize, &(dyn Fn(usize) + Sync)),
) -> Result<(), LoadError> {
    let mut names: Vec<&str> = plan.weights.iter().map(|w| w.tensor.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let first: Mutex<Option<(usize, usize, usize, String)>> = Mutex::new(None);
    run(names.len(), &|index| {
        let Some(tensor) = checkpoint.tensor(names[index]) else {
            return;
        };
        if let Some((count, at)) = tensor.non_finite() {
            let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
            if first.as_ref().is_none_or(|(known, ..)| *known > index) {
                *first = Some((index, count, at, tensor.file.to_owned()));
            }
        }
    });
    match first.into_inner().unwrap_or_else(PoisonError::into_inner) {
        None => Ok(()),
        Some((index, count, first, file)) => Err(LoadError::NonFinite {
            file,
            tensor: names[index].to_owned(),
            count,
            first,
        }),
    }
}

/// The stored rows that make a weight, in order, as `(first row, rows)` stretches.
pub(super) fn row_stretches(weight: &Weight) -> Vec<(usize, usize)> {
    let rows = weight.stored.iter().product::<usize>() / weight.columns();
    match weight.part {
        Part::Whole => vec![(0, rows)],
        Part::Rows {
            period,
            start,
            take,
        } => (0..rows / period)
            .map(|block| (block * period + start, take))
            .collect(),
    }
}

/// The values of a weight in f32.
pub(super) fn f32_values(weight: &Weight, checkpoint: &Checkpoint) -> Result<Vec<f32>, LoadError> {
    let tensor = checkpoint.require(&weight.tensor, &weight.stored)?;
    let stored = widened(&tensor);
    let columns = weight.columns();
    let mut values = Vec::with_capacity(weight.len());
    for (first, rows) in row_stretches(weight) {
        values.extend_from_slice(&stored[first * columns..][..rows * columns]);
    }
    match weight.fold {
        Fold::None => {}
        Fold::OnePlus => values.iter_mut().for_each(|g| *g += 1.0),
    }
    Ok(values)
}

/// Stored values, exactly, as f32. `Checkpoint::require` let only f32, f16 and bf16 through.
fn widened(tensor: &Tensor<'_>) -> Vec<f32> {
    let pairs = tensor.bytes.as_chunks::<2>().0.iter().copied();
    if tensor.dtype == Dtype::F32 {
        tensor
            .bytes
            .as_chunks::<4>()
            .0
            .iter()
            .copied()
            .map(f32::from_le_bytes)
            .collect()
    } else if tensor.dtype == Dtype::F16 {
        pairs
            .map(|bytes| half::f16::from_le_bytes(bytes).to_f32())
            .collect()
    } else {
        pairs
            .map(|bytes| half::bf16::from_le_bytes(bytes).to_f32())
            .collect()
    }
}
