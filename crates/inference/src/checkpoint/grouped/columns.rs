//! AWQ and GPTQ: `qweight`, `qzeros`, `scales`, and GPTQ's `g_idx`.
//!
//! In: a checkpoint that has them. Out: the same with one matrix for each. Columns must be in the order of their groups.

use super::{BlockKind, FLOATS, Groups, Part, WORDS, bases, place};
use crate::checkpoint::blocks::AffineLayout;
use crate::checkpoint::{Checkpoint, Dtype, LoadError};

/// Joins all of them.
pub(super) fn join(
    checkpoint: &mut Checkpoint,
    layout: AffineLayout,
    groups: Groups,
) -> Result<(), LoadError> {
    for base in bases(checkpoint, ".qweight") {
        let near = format!("{base}.qweight");
        let words = Part::need(checkpoint, &base, "qweight", &near)?;
        let zeros = Part::need(checkpoint, &base, "qzeros", &near)?;
        let scales = Part::need(checkpoint, &base, "scales", &near)?;
        let order = Part::take(checkpoint, &base, "g_idx");
        let (rows, columns) = shape(checkpoint, &words, layout, groups)?;
        let (per_word, group) = (32 / groups.bits.bits(), groups.group.columns());
        words.check(checkpoint, &WORDS, &words.place.shape.clone())?;
        zeros.check(checkpoint, &WORDS, &[columns / group, rows / per_word])?;
        let float = scales.check(checkpoint, &FLOATS, &[columns / group, rows])?;
        if let Some(order) = order {
            check_order(checkpoint, &order, columns, group)?;
        }
        let kind = BlockKind::Affine(groups.block(layout, float));
        let joined = place([&words, &scales, &zeros], kind, vec![rows, columns]);
        checkpoint.tensors.insert(format!("{base}.weight"), joined);
    }
    Ok(())
}

/// Rows and columns of the matrix in the model's way.
fn shape(
    checkpoint: &Checkpoint,
    words: &Part,
    layout: AffineLayout,
    groups: Groups,
) -> Result<(usize, usize), LoadError> {
    let (per_word, group) = (32 / groups.bits.bits(), groups.group.columns());
    let found = match (layout, &words.place.shape[..]) {
        (AffineLayout::Awq, [columns, row_words]) => {
            row_words.checked_mul(per_word).map(|rows| (rows, *columns))
        }
        (_, [column_words, rows]) => column_words
            .checked_mul(per_word)
            .map(|columns| (*rows, columns)),
        _ => None,
    };
    let whole = |(rows, columns): &(usize, usize)| {
        *rows > 0 && *columns > 0 && rows.is_multiple_of(per_word) && columns.is_multiple_of(group)
    };
    found.filter(whole).ok_or_else(|| {
        let shape = &words.place.shape;
        words.refuse(
            checkpoint,
            format!("shape {shape:?} is no matrix of words in groups of {group}"),
        )
    })
}

/// Columns sorted by how much they matter have no form here.
fn check_order(
    checkpoint: &Checkpoint,
    order: &Part,
    columns: usize,
    group: usize,
) -> Result<(), LoadError> {
    order.check(checkpoint, &[Dtype::I32], &[columns])?;
    let stored = order.bytes(checkpoint).as_chunks::<4>().0;
    let mut stored = stored
        .iter()
        .map(|bytes| i32::from_le_bytes(*bytes))
        .enumerate();
    match stored.find(|(column, of)| usize::try_from(*of) != Ok(column / group)) {
        None => Ok(()),
        Some((column, of)) => Err(order.refuse(
            checkpoint,
            format!("column {column} is in group {of}: an order of columns (act-order, `desc_act`) is not supported"),
        )),
    }
}
