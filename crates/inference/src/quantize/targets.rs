//! Which tensors a packed model has, in which form, in which order.
//!
//! In: a model as it is stored, and a recipe. Out: [`Targets`], in the order of the file to be written.
//! Pure: it reads headers, no weights. It does not know: files to write, threads.

use std::collections::{BTreeMap, BTreeSet};

use lattice_files::matches;
use lattice_kernels::{PackedScheme, PackedShape};

use super::{QuantizeError, Recipe, Scheme};
use crate::Error;
use crate::checkpoint::{Checkpoint, Dtype, Form, Kept, ModelFiles, OpenOptions, Renamed};
use crate::model::{Model, Purpose};
use crate::plan::{Index, Op, Plan, WeightId, packing};

/// Packed tensors begin on a page, so that a mapped one shares none with its neighbours.
pub(super) const PAGE: u64 = 4096;

/// Under a 4-bit recipe, a matrix with fewer rows is packed in 8 bits.
const ROWS_MIN: usize = 64;

/// A model to be packed: understood, and as it is stored.
pub struct Source {
    /// The model, its tensors under the plan's names.
    pub model: Model,
    /// Its tensors under the names of its files.
    pub stored: Checkpoint,
    files: ModelFiles,
}

impl Source {
    /// Opens a model and checks that it fits its configuration. Loads no weights.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn open(files: &ModelFiles, options: &OpenOptions) -> Result<Self, Error> {
        let model = Model::open(files, options)?;
        let stored = Checkpoint::open_with(files, *options)?;
        Ok(Self {
            model,
            stored,
            files: files.clone(),
        })
    }

    /// Its files.
    pub fn files(&self) -> &ModelFiles {
        &self.files
    }
}

/// One tensor of the model to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name, in the source as in the output.
    pub name: String,
    /// Its shape, slowest first.
    pub shape: Vec<usize>,
    /// How it is written: packed and filled up to whole pages, or as it is stored.
    pub form: Kept,
    /// Bytes it takes in the source.
    pub before_bytes: u64,
    /// Whether the model reads it.
    pub used: bool,
}

impl Target {
    /// Values it holds.
    pub fn count(&self) -> u64 {
        self.shape.iter().map(|dim| *dim as u64).product()
    }

    /// Bytes it takes in the output, without what fills up its last page.
    pub fn after_bytes(&self) -> u64 {
        match self.form {
            Kept::Packed(shape) => shape.bytes() as u64,
            Kept::Dense(_) => self.before_bytes,
        }
    }

    /// Bytes it takes in the output file.
    pub fn stored_bytes(&self) -> u64 {
        match self.form {
            Kept::Packed(shape) => (shape.bytes() as u64).next_multiple_of(PAGE),
            Kept::Dense(_) => self.before_bytes,
        }
    }

    /// "q8", "q4", ... or the dtype, in lower case.
    pub fn scheme(&self) -> String {
        match self.form {
            Kept::Packed(shape) => shape.scheme().to_string(),
            Kept::Dense(dtype) => dtype.name().to_lowercase(),
        }
    }
}

/// What is to be written, and what is not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Targets {
    /// In the order of the file: packed ones as the model reads them, then the others, wide types before narrow ones.
    pub tensors: Vec<Target>,
    /// Tensors that the model does not read and that are left out.
    pub left_out: usize,
    /// Their bytes.
    pub left_out_bytes: u64,
}

/// Says what becomes of each tensor. `keep_unused` takes along what the model does not read, as stored.
///
/// # Errors
/// A pattern that matches no matrix, a scheme for a head that is the embedding table, a source that is packed already,
/// a matrix that has no packed shape.
pub fn plan_tensors(
    source: &Source,
    recipe: &Recipe,
    keep_unused: bool,
) -> Result<Targets, QuantizeError> {
    let names = Names::of(source);
    let schemes = Schemes::of(&source.model, recipe, &names)?;
    let packings = packing(&source.model.plan);
    let mut targets = Targets::default();
    let mut seen = BTreeSet::new();
    for weight in &source.model.plan.weights {
        let tensor = weight.tensor.as_str();
        if !seen.insert(tensor) {
            continue;
        }
        let name = names.stored(tensor);
        let matrix = packings.get(tensor);
        let form = match (schemes.of_tensor(tensor), matrix) {
            (Some(Scheme::Packed(scheme)), Some(matrix)) => {
                let shape = PackedShape::new(scheme, matrix.rows, matrix.columns, matrix.segment);
                Some(shape.map_err(|reason| QuantizeError::Shape {
                    tensor: name.to_owned(),
                    reason,
                })?)
            }
            _ => None,
        };
        let segment = matrix.map(|matrix| matrix.segment);
        targets
            .tensors
            .extend(target(source, name, (form, segment), true)?);
    }
    for stored in source.stored.tensors().filter(|t| !names.is_used(t.name)) {
        if keep_unused {
            let kept = target(source, stored.name, (None, None), false)?;
            targets.tensors.extend(kept);
        } else {
            targets.left_out += 1;
            targets.left_out_bytes += stored.stored_bytes as u64;
        }
    }
    // Stable: inside each group the model's order of reading stays.
    targets.tensors.sort_by_key(|target| match target.form {
        Kept::Packed(_) => 0,
        Kept::Dense(dtype) => 1 + Dtype::F64.bits().saturating_sub(dtype.bits()),
    });
    Ok(targets)
}

/// The tensor `name`, packed or kept as it is: if that is blocks, in segments of so many rows.
fn target(
    source: &Source,
    name: &str,
    (packed, segment): (Option<PackedShape>, Option<usize>),
    used: bool,
) -> Result<Option<Target>, QuantizeError> {
    let Some(tensor) = source.stored.tensor(name) else {
        return Ok(None);
    };
    let form = match (tensor.form, packed) {
        (Form::Packed(_), _) => {
            return Err(QuantizeError::AlreadyPacked {
                file: tensor.file.to_owned(),
                tensor: name.to_owned(),
            });
        }
        (_, Some(shape)) => Kept::Packed(shape),
        (Form::Dense(dtype), None) => Kept::Dense(dtype),
        (Form::Blocks(blocks), None) => {
            let kept = blocks.kept(segment.unwrap_or(blocks.rows()));
            kept.map_err(|reason| QuantizeError::Shape {
                tensor: name.to_owned(),
                reason,
            })?
        }
    };
    Ok(Some(Target {
        name: name.to_owned(),
        shape: tensor.shape.to_vec(),
        form,
        before_bytes: tensor.stored_bytes as u64,
        used,
    }))
}

/// Names in the plan and in the files.
struct Names {
    /// By the plan's name.
    stored: BTreeMap<String, String>,
    used: BTreeSet<String>,
}

impl Names {
    fn of(source: &Source) -> Self {
        let weights = &source.model.plan.weights;
        let read: BTreeSet<&str> = weights.iter().map(|w| w.tensor.as_str()).collect();
        let mut stored = BTreeMap::new();
        for name in source.stored.names() {
            if let Renamed::Keep(planned) = (source.model.family.sanitize)(name)
                && read.contains(&*planned)
            {
                stored.insert(planned.into_owned(), name.to_owned());
            }
        }
        let used = stored.values().cloned().collect();
        Self { stored, used }
    }

    fn stored<'a>(&'a self, planned: &'a str) -> &'a str {
        self.stored.get(planned).map_or(planned, String::as_str)
    }

    fn is_used(&self, stored: &str) -> bool {
        self.used.contains(stored)
    }
}

/// The scheme of each matrix, by the plan's name.
struct Schemes(BTreeMap<String, Scheme>);

impl Schemes {
    fn of(model: &Model, recipe: &Recipe, names: &Names) -> Result<Self, QuantizeError> {
        let plan = &model.plan;
        let eight_bits = match model.purpose {
            Purpose::Text => PackedScheme::Q8,
            Purpose::Vectors(_) | Purpose::Scores(_) => PackedScheme::FINE8,
        };
        let mut schemes = BTreeMap::new();
        for (tensor, rows) in matrices(plan) {
            let scheme = match recipe.to {
                Scheme::Packed(PackedScheme::Q8) => Scheme::Packed(eight_bits),
                Scheme::Packed(_) if rows < ROWS_MIN => Scheme::Packed(eight_bits),
                to => to,
            };
            schemes.insert(tensor.to_owned(), scheme);
        }
        let (table, head) = ends(plan);
        if let (Some(table), Some(scheme)) = (table, recipe.embed) {
            schemes.insert(plan.weight(table).tensor.clone(), scheme);
        }
        if let (Some(head), Some(scheme)) = (head, recipe.head) {
            let tensor = &plan.weight(head).tensor;
            if table.is_some_and(|table| &plan.weight(table).tensor == tensor) {
                let table = names.stored(tensor).to_owned();
                return Err(QuantizeError::TiedHead { table });
            }
            schemes.insert(tensor.clone(), scheme);
        }
        for (pattern, scheme) in &recipe.mixed {
            let mut found = false;
            for (tensor, of_tensor) in &mut schemes {
                if matches(pattern, tensor) || matches(pattern, names.stored(tensor)) {
                    *of_tensor = *scheme;
                    found = true;
                }
            }
            if !found {
                let example = schemes.keys().next().map(|tensor| names.stored(tensor));
                return Err(QuantizeError::Pattern {
                    pattern: pattern.clone(),
                    example: example.unwrap_or("none").to_owned(),
                });
            }
        }
        Ok(Self(schemes))
    }

    fn of_tensor(&self, planned: &str) -> Option<Scheme> {
        self.0.get(planned).copied()
    }
}

/// The tensors that some step reads as a matrix, and the rows of the smallest matrix in each.
fn matrices(plan: &Plan) -> BTreeMap<&str, usize> {
    let mut matrices = BTreeMap::new();
    for id in plan.steps.iter().flat_map(|step| step.op.matrices()) {
        let weight = plan.weight(id);
        let rows = weight.shape[weight.shape.len().saturating_sub(2)];
        let least = matrices.entry(weight.tensor.as_str()).or_insert(rows);
        *least = rows.min(*least);
    }
    matrices
}

/// The embedding table, and the matrix that makes the logits.
fn ends(plan: &Plan) -> (Option<WeightId>, Option<WeightId>) {
    let mut ends = (None, None);
    for step in &plan.steps {
        match step.op {
            Op::Embed {
                table,
                by: Index::Token,
            } => ends.0 = Some(table),
            Op::Linear { weight, .. } if step.out == plan.output => ends.1 = Some(weight),
            _ => {}
        }
    }
    ends
}
