//! The weights as the cpu backend keeps them: matrices as stored, in the file's own memory, or repacked from blocks;
//! vectors as f32.

use std::collections::BTreeMap;

use lattice_kernels::{Cpu, Dense, DenseData, Packed, PackedShape, PanelFormat, Rows, conv_taps};

use super::super::weights::f32_values;
use super::super::{Compute, LoadOptions};
use super::matrix::Matrix;
use crate::checkpoint::{AlignedBytes, Checkpoint, Dtype, Kept, LoadError, Run};
use crate::plan::{Op, Part, Plan, Step, WeightId, packing};

/// All weights of a plan.
pub(super) struct Weights {
    loaded: Vec<Loaded>,
}

enum Loaded {
    /// A matrix, or a stack of them, in its stored form.
    Matrix(Stored),
    /// A norm gain, a bias, a small vector or a convolution's taps, `[kernel, channels]`.
    Vector(Vec<f32>),
}

struct Stored {
    bytes: AlignedBytes,
    form: Kept,
    rows: usize,
    columns: usize,
    part: Part,
}

impl Weights {
    /// Holds on to every weight of the plan; copies vectors, and matrices that lie at an odd address; repacks blocks, and
    /// looks at their scales. The forms were checked.
    pub(super) fn load(
        plan: &Plan,
        checkpoint: &Checkpoint,
        allow_non_finite: bool,
        run: &Run<'_>,
    ) -> Result<Self, LoadError> {
        let packing = packing(plan);
        // Two halves of a tensor are two weights of one memory.
        let mut known: BTreeMap<&str, (Kept, AlignedBytes)> = BTreeMap::new();
        let mut loaded = Vec::with_capacity(plan.weights.len());
        for (index, (weight, matrix)) in plan.weights.iter().zip(plan.matrices()).enumerate() {
            let name = weight.tensor.as_str();
            if !matrix {
                if !allow_non_finite && checkpoint.blocks(name).is_some() {
                    checkpoint.check_finite(name)?;
                }
                let values = f32_values(weight, checkpoint)?;
                loaded.push(Loaded::Vector(match channels_of(plan, index) {
                    Some(channels) => conv_taps(&values, values.len() / channels),
                    None => values,
                }));
                continue;
            }
            if !known.contains_key(name) {
                let segment = packing.get(name).map(|packing| packing.segment);
                let found = checkpoint.matrix(name, segment, allow_non_finite, run)?;
                known.insert(name, found);
            }
            let (form, bytes) = known[name].clone();
            loaded.push(Loaded::Matrix(Stored {
                bytes,
                form,
                rows: weight.rows(),
                columns: weight.columns(),
                part: weight.part,
            }));
        }
        Ok(Self { loaded })
    }

    fn stored(&self, id: WeightId) -> &Stored {
        match &self.loaded[id.index()] {
            Loaded::Matrix(stored) => stored,
            Loaded::Vector(_) => {
                unreachable!("`Plan::matrices` named every weight that a step takes as a matrix")
            }
        }
    }

    /// A matrix.
    pub(super) fn matrix(&self, id: WeightId) -> Matrix<'_> {
        let stored = self.stored(id);
        match stored.form {
            Kept::Dense(dtype) => Matrix::Dense(stored.dense(dtype)),
            Kept::Packed(shape) => Matrix::Packed(stored.packed(shape)),
        }
    }

    /// Matrix `index` of a stack of matrices with `rows` rows each.
    pub(super) fn stacked(&self, id: WeightId, index: usize, rows: usize) -> Matrix<'_> {
        let stored = self.stored(id);
        let first = match stored.part {
            Part::Whole => index * rows,
            Part::Rows { period, start, .. } => index * period + start,
        };
        match stored.form {
            Kept::Dense(dtype) => {
                let columns = stored.columns;
                let range = first * columns..(first + rows) * columns;
                let data = data(&stored.bytes, dtype).slice(range);
                Matrix::Dense(Dense::new(data, rows, columns))
            }
            Kept::Packed(shape) => {
                Matrix::Packed(whole(&stored.bytes, shape).slice(first..first + rows))
            }
        }
    }

    /// A vector, or a small matrix kept as one, in f32.
    pub(super) fn vector(&self, id: WeightId) -> &[f32] {
        match &self.loaded[id.index()] {
            Loaded::Vector(values) => values,
            Loaded::Matrix(_) => unreachable!("only steps' matrices are kept as stored"),
        }
    }

    /// What a matrix is rearranged to for its products, if it is.
    pub(super) fn panel_format(
        &self,
        id: WeightId,
        cpu: &Cpu,
        options: &LoadOptions,
        plan: &Plan,
    ) -> Option<PanelFormat> {
        let compute = options.compute;
        let (whole, stays) = (plan.is_whole(), self.stays_packed(id, compute, plan));
        match (compute, self.stored(id).form) {
            (Compute::AsStored, _) if !whole && !options.rearrange => None,
            (Compute::AsStored, Kept::Packed(_)) if !whole && !stays => None,
            (Compute::AsStored, Kept::Dense(Dtype::BF16)) | (Compute::Bf16, _) => {
                Some(PanelFormat::bf16_on(cpu))
            }
            (Compute::AsStored | Compute::F32, _) => Some(PanelFormat::F32),
            (Compute::Int8, _) => Some(PanelFormat::Int8),
        }
    }

    /// Whether a matrix stays packed where products in f32 read it, and is expanded then: that of a model that may be large,
    /// and whose groups are too small for products in integers.
    pub(super) fn stays_packed(&self, id: WeightId, compute: Compute, plan: &Plan) -> bool {
        compute == Compute::AsStored && !plan.is_whole() && self.matrix(id).expands()
    }

    /// Gives the memory back that a mapped file takes for a matrix that is kept otherwise.
    pub(super) fn release(&self, id: WeightId) {
        self.stored(id).bytes.release();
    }

    /// Whether a matrix is packed.
    pub(super) fn is_packed(&self, id: WeightId) -> bool {
        matches!(self.stored(id).form, Kept::Packed(_))
    }
}

impl Stored {
    fn dense(&self, dtype: Dtype) -> Dense<'_> {
        let data = data(&self.bytes, dtype);
        match taken(self.part) {
            None => Dense::new(data, self.rows, self.columns),
            Some(rows) => Dense::parts(data, self.columns, rows),
        }
    }

    fn packed(&self, shape: PackedShape) -> Packed<'_> {
        let packed = whole(&self.bytes, shape);
        match taken(self.part) {
            None => packed,
            Some(rows) => packed.parts(rows),
        }
    }
}

/// The channels of the convolution whose taps weight `index` is, if it is.
fn channels_of(plan: &Plan, index: usize) -> Option<usize> {
    let channels = |step: &Step| {
        let Op::Conv1d { x, weight, .. } = step.op else {
            return None;
        };
        (weight.index() == index).then(|| plan.value(x).width)
    };
    plan.steps.iter().find_map(channels)
}

/// The rows of the tensor that a part takes; `None`: all.
fn taken(part: Part) -> Option<Rows> {
    match part {
        Part::Whole => None,
        Part::Rows {
            period,
            start,
            take,
        } => Some(Rows {
            period,
            start,
            take,
        }),
    }
}

fn whole(bytes: &AlignedBytes, shape: PackedShape) -> Packed<'_> {
    Packed::new(&bytes[..shape.bytes()], shape)
        .expect("the header's length was checked, and `aligned` placed the bytes")
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
