//! Weights checked, and as f32 values: parts taken, folds applied. Backends that keep a stored format use the values for
//! vectors only.

use std::sync::{Mutex, PoisonError};

use lattice_kernels::unpack;

use crate::checkpoint::{Checkpoint, Form, LoadError, Tensor, Wanted};
use crate::plan::{Fold, Part, Plan, Weight, packing};

/// What the plan needs of a checkpoint.
pub(crate) fn wanted(plan: &Plan) -> Vec<Wanted> {
    let packing = packing(plan);
    let wanted = |weight: &Weight| Wanted {
        tensor: weight.tensor.clone(),
        shape: weight.stored.clone(),
        segment: packing.get(&weight.tensor).map(|packing| packing.segment),
    };
    plan.weights.iter().map(wanted).collect()
}

/// Bytes of a weight as the checkpoint stores it, without what fills a packed one up to whole pages.
pub(crate) fn stored_bytes(weight: &Weight, checkpoint: &Checkpoint) -> u64 {
    let form = checkpoint.tensor(&weight.tensor).map(|t| t.form);
    let bytes = match form {
        Some(Form::Packed(shape)) => weight.rows() / shape.segment() * shape.segment_bytes(),
        Some(Form::Dense(dtype)) => weight.len() * dtype.bits() / 8,
        None => weight.len() * 4,
    };
    bytes as u64
}

/// Checks that every weight of the plan is in the checkpoint as it is needed, all at once.
pub(super) fn check_forms(plan: &Plan, checkpoint: &Checkpoint) -> Result<(), LoadError> {
    checkpoint.check(&wanted(plan)).map(drop)
}

/// Checks the bytes of every tensor that has a checksum and, unless they are allowed, that no weight is NaN or infinite;
/// `run` calls a task for each of a number of tensors, in any order.
pub(super) fn check_values(
    plan: &Plan,
    checkpoint: &Checkpoint,
    allow_non_finite: bool,
    run: impl Fn(usize, &(dyn Fn(usize) + Sync)),
) -> Result<(), LoadError> {
    if checkpoint.has_checksums() {
        let names: Vec<&str> = checkpoint.names().collect();
        check_each(&names, &run, |name| checkpoint.check_sum(name))?;
    }
    if allow_non_finite {
        return Ok(());
    }
    let mut names: Vec<&str> = plan.weights.iter().map(|w| w.tensor.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    check_each(&names, &run, |name| checkpoint.check_finite(name))
}

/// The error of the first name that has one, whatever the order they are looked at.
fn check_each(
    names: &[&str],
    run: impl Fn(usize, &(dyn Fn(usize) + Sync)),
    check: impl Fn(&str) -> Result<(), LoadError> + Sync,
) -> Result<(), LoadError> {
    let first: Mutex<Option<(usize, LoadError)>> = Mutex::new(None);
    run(names.len(), &|index| {
        if let Err(error) = check(names[index]) {
            let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
            if first.as_ref().is_none_or(|(known, _)| *known > index) {
                *first = Some((index, error));
            }
        }
    });
    let first = first.into_inner().unwrap_or_else(PoisonError::into_inner);
    first.map_or(Ok(()), |(_, error)| Err(error))
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
    let stored = widened(&tensor, checkpoint);
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

/// Stored values, exactly, as f32. `Checkpoint::require` let only f32, f16, bf16 and packed ones through.
fn widened(tensor: &Tensor<'_>, checkpoint: &Checkpoint) -> Vec<f32> {
    let Some(dtype) = tensor.form.dtype() else {
        return unpacked(tensor, checkpoint);
    };
    let mut values = Vec::with_capacity(tensor.count());
    dtype.widen(tensor.bytes, &mut values);
    values
}

fn unpacked(tensor: &Tensor<'_>, checkpoint: &Checkpoint) -> Vec<f32> {
    let held = checkpoint.aligned(tensor.name);
    let held = held.expect("a tensor of the checkpoint has bytes");
    let aligned = Tensor {
        bytes: &held,
        ..*tensor
    };
    let packed = aligned.as_packed();
    let packed = packed.expect("the header's length was checked, and the bytes are aligned");
    let mut values = vec![0.0; tensor.count()];
    unpack(packed, &mut values);
    values
}
