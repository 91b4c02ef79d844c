//! The weights as the cpu backend keeps them: matrices as stored, in the file's own memory; vectors as f32.

use lattice_kernels::{Dense, DenseData, Rows};

use super::super::weights::f32_values;
use crate::checkpoint::{AlignedBytes, Checkpoint, Dtype, LoadError};
use crate::plan::{Part, Plan, Weight, WeightId};

/// All weights of a plan.
pub(super) struct Weights {
    loaded: Vec<Loaded>,
}

enum Loaded {
    /// A matrix, or a stack of them, in its stored format.
    Matrix {
        bytes: AlignedBytes,
        dtype: Dtype,
        rows: usize,
        columns: usize,
        part: Part,
    },
    /// A norm gain, a bias, a small vector or a convolution's taps.
    Vector(Vec<f32>),
}

impl Weights {
    /// Holds on to every weight of the plan; copies vectors, and matrices that lie at an odd address.
    pub(super) fn load(plan: &Plan, checkpoint: &Checkpoint) -> Result<Self, LoadError> {
        let matrices = plan.matrices();
        let load = |(weight, matrix): (&Weight, bool)| {
            if !matrix {
                return Ok(Loaded::Vector(f32_values(weight, checkpoint)?));
            }
            let dtype = checkpoint.require(&weight.tensor, &weight.stored)?.dtype;
            let bytes = checkpoint
                .aligned(&weight.tensor)
                .ok_or_else(|| LoadError::Missing {
                    tensor: weight.tensor.clone(),
                    near: None,
                })?;
            let (rows, columns) = (weight.rows(), weight.columns());
            Ok(Loaded::Matrix {
                bytes,
                dtype,
                rows,
                columns,
                part: weight.part,
            })
        };
        let loaded = plan
            .weights
            .iter()
            .zip(matrices)
            .map(load)
            .collect::<Result<_, _>>()?;
        Ok(Self { loaded })
    }

    /// A matrix.
    pub(super) fn matrix(&self, id: WeightId) -> Dense<'_> {
        let Loaded::Matrix {
            bytes,
            dtype,
            rows,
            columns,
            part,
        } = &self.loaded[id.index()]
        else {
            unreachable!("`Plan::matrices` named every weight that a step takes as a matrix")
        };
        let data = data(bytes, *dtype);
        match *part {
            Part::Whole => Dense::new(data, *rows, *columns),
            Part::Rows {
                period,
                start,
                take,
            } => Dense::parts(
                data,
                *columns,
                Rows {
                    period,
                    start,
                    take,
                },
            ),
        }
    }

    /// Matrix `index` of a stack of matrices with `rows` rows each.
    pub(super) fn stacked(&self, id: WeightId, index: usize, rows: usize) -> Dense<'_> {
        let Loaded::Matrix {
            bytes,
            dtype,
            columns,
            part,
            ..
        } = &self.loaded[id.index()]
        else {
            unreachable!("`Plan::matrices` named every weight that a step takes as a matrix")
        };
        let first = match *part {
            Part::Whole => index * rows,
            Part::Rows { period, start, .. } => index * period + start,
        };
        let range = first * columns..(first + rows) * columns;
        Dense::new(data(bytes, *dtype).slice(range), rows, *columns)
    }

    /// A vector, or a small matrix kept as one, in f32.
    pub(super) fn vector(&self, id: WeightId) -> &[f32] {
        match &self.loaded[id.index()] {
            Loaded::Vector(values) => values,
            Loaded::Matrix { .. } => unreachable!("only steps' matrices are kept as stored"),
        }
    }
}

fn data(bytes: &AlignedBytes, dtype: Dtype) -> DenseData<'_> {
    // `aligned` placed the bytes for their type, and `require` let only these three types through.
    if dtype == Dtype::F32 {
        return DenseData::F32(bytemuck::cast_slice(bytes));
    }
    let bits = bytemuck::cast_slice(bytes);
    if dtype == Dtype::F16 {
        DenseData::F16(bits)
    } else {
        DenseData::Bf16(bits)
    }
}
