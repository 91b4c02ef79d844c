//! Which tensors a plan reads as matrices, and how their rows are cut: what may be stored packed.
//!
//! In: a plan. Out: for each such tensor its rows, columns and segment.
//! It does not know: formats, files, or which tensors somebody wants packed.

use std::collections::BTreeMap;

use super::{Fold, Part, Plan, Weight};

/// A tensor that steps read as a matrix, or as a stack of matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packing {
    /// Rows over all leading dimensions.
    pub rows: usize,
    /// The fastest dimension.
    pub columns: usize,
    /// Rows that are packed together; divides `rows`. Every part that a step takes of the tensor, and every matrix of a
    /// stack, is whole segments.
    pub segment: usize,
}

/// The tensors, by their names in the plan, that steps read as matrices and as nothing else.
///
/// ```
/// use lattice_inference::Model;
/// use lattice_inference::checkpoint::{ModelFiles, OpenOptions};
/// use lattice_inference::plan::packing;
///
/// # fn main() -> Result<(), lattice_inference::Error> {
/// let files = ModelFiles::open("../../models/lattice-tiny".as_ref())?;
/// let model = Model::open(&files, &OpenOptions::default())?;
/// let packing = packing(&model.plan);
/// let table = packing["model.language_model.embed_tokens.weight"];
/// assert_eq!(table.segment, table.rows);
/// # Ok(())
/// # }
/// ```
pub fn packing(plan: &Plan) -> BTreeMap<String, Packing> {
    let matrices = plan.matrices();
    let mut found: BTreeMap<String, Packing> = BTreeMap::new();
    for (weight, _) in plan.weights.iter().zip(&matrices).filter(|(_, is)| **is) {
        let (rows, columns) = (stored_rows(weight), weight.columns());
        let entry = found.entry(weight.tensor.clone()).or_insert(Packing {
            rows,
            columns,
            segment: rows,
        });
        entry.segment = gcd(entry.segment, segment(weight));
    }
    // What a step reads as a vector, or changed, is wanted value by value.
    for (weight, matrix) in plan.weights.iter().zip(&matrices) {
        let last = weight.stored.last().copied().unwrap_or(1);
        if !matrix || weight.fold != Fold::None || last != weight.columns() {
            found.remove(&weight.tensor);
        }
    }
    found
}

impl Plan {
    /// Which weights some step takes as a matrix, or as a stack of them.
    pub fn matrices(&self) -> Vec<bool> {
        let mut matrices = vec![false; self.weights.len()];
        for step in &self.steps {
            for id in step.op.matrices() {
                matrices[id.index()] = true;
            }
        }
        matrices
    }
}

/// Rows of the tensor that the weight is made of.
fn stored_rows(weight: &Weight) -> usize {
    weight.stored.iter().product::<usize>() / weight.columns().max(1)
}

/// The most rows that divide everything a step takes of the tensor for this weight.
fn segment(weight: &Weight) -> usize {
    let matrix = match weight.shape[..] {
        [_, rows, _] => rows,
        _ => weight.rows(),
    };
    match weight.part {
        Part::Whole => matrix,
        Part::Rows {
            period,
            start,
            take,
        } => gcd(matrix, gcd(period, gcd(start, take))),
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
