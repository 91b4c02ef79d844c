//! Weights checked, and as f32 values: parts taken, folds applied. Backends that keep a stored format use the values for
//! vectors only.

use std::sync::{Mutex, PoisonError};

use crate::checkpoint::{Checkpoint, LoadError, Run, Wanted};
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

/// Checks that every weight of the plan is in the checkpoint as it is needed, all at once.
pub(super) fn check_forms(plan: &Plan, checkpoint: &Checkpoint) -> Result<(), LoadError> {
    checkpoint.check(&wanted(plan)).map(drop)
}

/// The tensors of the weights that `is_checked`.
pub(super) fn tensors(plan: &Plan, is_checked: impl Fn(&Weight) -> bool) -> Vec<&str> {
    let weights = plan.weights.iter().filter(|weight| is_checked(weight));
    let mut names: Vec<&str> = weights.map(|weight| weight.tensor.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Checks the bytes of every tensor that has a checksum, and that no value of `finite` is NaN or infinite; `run` calls a
/// task for each of a number of tensors, in any order.
pub(super) fn check_values(
    checkpoint: &Checkpoint,
    finite: &[&str],
    run: &Run<'_>,
) -> Result<(), LoadError> {
    if checkpoint.has_checksums() {
        let names: Vec<&str> = checkpoint.names().collect();
        check_each(&names, run, |name| checkpoint.check_sum(name))?;
    }
    check_each(finite, run, |name| checkpoint.check_finite(name))
}

/// The error of the first name that has one, whatever the order they are looked at.
fn check_each(
    names: &[&str],
    run: &Run<'_>,
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
    let stored = checkpoint.values(tensor.name);
    let stored = stored.expect("`require` let only forms through that have values");
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
