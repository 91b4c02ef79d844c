//! The tensors of GGUF files as a checkpoint of the hub has them.
//!
//! In: headers, and the files' bytes. Out: places by the checkpoint's names. Matrices stay where they lie, whatever their
//! order; vectors that a converter changed are changed back here, into memory of their own.
//! It does not know: metadata, plans.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::arch::{Change, Named, Sizes};
use super::header::TensorEntry;
use super::types::Stored;
use crate::checkpoint::blocks::{Bench, BlockBytes, BlockKind, Blocks, Order};
use crate::checkpoint::mmap::FileBytes;
use crate::checkpoint::stack::halves;
use crate::checkpoint::{Dtype, Form, LoadError, Place};

/// Values of a vector: as many as the largest width there may be.
const VECTOR_MAX: usize = 1 << 24;
/// What vectors in memory begin on a multiple of.
const ALIGN: usize = 64;

/// The tensors of some files.
#[derive(Default)]
pub(in crate::checkpoint) struct Tensors {
    /// The files, and memory with vectors that were changed back.
    pub(in crate::checkpoint) files: Vec<Arc<FileBytes>>,
    pub(in crate::checkpoint) places: BTreeMap<String, Place>,
    pub(in crate::checkpoint) ignored: Vec<(String, &'static str)>,
    changed: Vec<u8>,
}

/// A tensor, its file's number and its file.
type In<'a> = (usize, &'a Arc<FileBytes>, &'a TensorEntry);

/// What gives a value back that a converter changed.
type Back = fn(f32) -> f32;

/// Reads off what `shards` have; `files` are their bytes.
pub(super) fn tensors(
    sizes: &Sizes,
    shards: &[&[TensorEntry]],
    mut files: Vec<Arc<FileBytes>>,
) -> Result<Tensors, LoadError> {
    let mut tensors = Tensors::default();
    let mut halves: BTreeMap<String, [Option<In<'_>>; 2]> = BTreeMap::new();
    for (file, entries) in shards.iter().enumerate() {
        for entry in *entries {
            let found = (file, &files[file], entry);
            match sizes.named(&entry.name, entry.rows()) {
                Named::Ignored(why) => tensors.ignored.push((entry.name.clone(), why)),
                Named::Unknown => {
                    tensors
                        .ignored
                        .push((entry.name.clone(), "no part of this architecture"));
                }
                Named::Half(name, half) => {
                    halves.entry(name).or_default()[half as usize] = Some(found);
                }
                Named::Tensor(name, change) => {
                    let place = tensors.place(found, change, files.len())?;
                    tensors.insert(name, place, &files)?;
                }
            }
        }
    }
    for (name, halves) in halves {
        let place = stack(halves)?;
        tensors.insert(name, place, &files)?;
    }
    let name = files.first().map_or("", |file| file.name()).to_owned();
    let changed = std::mem::take(&mut tensors.changed);
    files.push(Arc::new(FileBytes::from_memory(name, &changed)?));
    tensors.files = files;
    Ok(tensors)
}

impl Tensors {
    fn insert(
        &mut self,
        name: String,
        place: Place,
        files: &[Arc<FileBytes>],
    ) -> Result<(), LoadError> {
        let file = |place: &Place| {
            files
                .get(place.parts[0].0)
                .map_or("memory", |file| file.name())
        };
        if let Some(other) = self.places.get(&name) {
            return Err(LoadError::TensorTwice {
                first: format!("{} ({})", file(other), other.original),
                second: format!("{} ({})", file(&place), place.original),
                tensor: name,
            });
        }
        self.places.insert(name, place);
        Ok(())
    }

    fn place(&mut self, found: In<'_>, change: Change, memory: usize) -> Result<Place, LoadError> {
        let entry = found.2;
        let mut shape = entry.shape.clone();
        match change {
            Change::Taps(_) if shape.len() == 2 => shape.insert(1, 1),
            Change::OneRow if shape.len() == 1 => shape.insert(0, 1),
            _ => {}
        }
        let is_vector = entry.shape.len() < 2;
        let new: Option<(Order, Back)> = match change {
            Change::Nothing | Change::OneRow => None,
            Change::Order { rows, .. } if is_vector => Some((rows, |value| value)),
            Change::Order { rows, columns } => {
                return ordered(found, shape, rows, columns);
            }
            // What fits into f32 as 1 + g gives g back without rounding.
            Change::OnePlus => Some((Order::SAME, |value| value - 1.0)),
            Change::MinusExp(order) => Some((order, |value| libm::log(f64::from(-value)) as f32)),
            Change::Taps(order) => Some((order, |value| value)),
        };
        match new {
            Some((order, change)) => self.changed(found, shape, order, change, memory),
            None => ordered(found, shape, Order::SAME, Order::SAME),
        }
    }

    /// A vector, or a few taps, changed back and kept in memory as F32.
    fn changed(
        &mut self,
        (_, file, entry): In<'_>,
        shape: Vec<usize>,
        order: Order,
        change: Back,
        memory: usize,
    ) -> Result<Place, LoadError> {
        let columns = if entry.shape.len() < 2 {
            1
        } else {
            entry.columns()
        };
        let count: usize = entry.shape.iter().product();
        if count > VECTOR_MAX {
            return Err(entry.refuse(
                file,
                format!("{count} values, a vector has at most {VECTOR_MAX}"),
            ));
        }
        let stored = values(file, entry)?;
        let order = order.fitting(entry.rows());
        let begin = self.changed.len().next_multiple_of(ALIGN);
        self.changed.resize(begin, 0);
        for index in 0..count {
            let (row, column) = (index / columns, index % columns);
            let value = change(stored[order.stored(row) * columns + column]);
            self.changed.extend_from_slice(&value.to_le_bytes());
        }
        Ok(Place {
            original: entry.name.clone(),
            form: Form::Dense(Dtype::F32),
            shape,
            parts: vec![(memory, begin..self.changed.len())],
            checksum: None,
        })
    }
}

/// A tensor where it lies.
fn ordered(
    (file, bytes, entry): In<'_>,
    shape: Vec<usize>,
    rows: Order,
    columns: Order,
) -> Result<Place, LoadError> {
    let kind = entry.stored(bytes)?;
    let (rows, columns) = (rows.fitting(entry.rows()), columns.fitting(entry.columns()));
    let dense = match kind {
        BlockKind::Plain(dtype) if rows.is_same() && columns.is_same() => Some(dtype),
        _ if entry.range.is_empty() => Some(Dtype::F32),
        _ => None,
    };
    let form = match dense {
        Some(dtype) => Form::Dense(dtype),
        None => {
            let blocks = entry.blocks(kind).ordered(rows, columns);
            Form::Blocks(blocks.ok_or_else(|| {
                let reason = "columns that share a scale belong to different heads".to_owned();
                entry.refuse(bytes, reason)
            })?)
        }
    };
    Ok(Place {
        original: entry.name.clone(),
        form,
        shape,
        parts: vec![(file, entry.range.clone())],
        checksum: None,
    })
}

/// Gate and up of all experts as one stack: expert by expert the gate's rows and then those of up.
fn stack(gate_and_up: [Option<In<'_>>; 2]) -> Result<Place, LoadError> {
    let [Some(gate), Some(up)] = gate_and_up else {
        let there = gate_and_up.into_iter().flatten().next();
        let name = there.map_or("", |(_, _, entry)| &entry.name);
        let other = match name.contains("_gate_") {
            true => name.replace("_gate_", "_up_"),
            false => name.replace("_up_", "_gate_"),
        };
        return Err(LoadError::Missing {
            tensor: other,
            near: Some(name.to_owned()),
        });
    };
    let ((_, file, one), (_, _, two)) = (gate, up);
    let [experts, rows, columns] = one.shape[..] else {
        return Err(one.refuse(
            file,
            format!("shape {:?}, expected three dimensions", one.shape),
        ));
    };
    if two.shape != one.shape || two.kind != one.kind || one.range.is_empty() {
        let reason = format!(
            "{} {:?}, and {} is {} {:?}; halves of a stack are alike",
            one.kind.name, one.shape, two.name, two.kind.name, two.shape
        );
        return Err(one.refuse(file, reason));
    }
    let parts = [gate, up].map(|(number, _, entry)| (number, entry.range.clone()));
    let shape = [experts, rows, columns];
    let place = halves(&one.name, one.stored(file)?, shape, parts.to_vec());
    place.ok_or_else(|| one.refuse(file, "no columns".to_owned()))
}

/// All values of a tensor, as stored, in f32.
pub(super) fn values(file: &FileBytes, entry: &TensorEntry) -> Result<Vec<f32>, LoadError> {
    let kind = entry.stored(file)?;
    if entry.range.is_empty() {
        return Ok(Vec::new());
    }
    let source = BlockBytes {
        blocks: entry.blocks(kind),
        parts: vec![&file[entry.range.clone()]],
    };
    Ok(Bench::default()
        .values(&source, 0..entry.rows_of_blocks())
        .to_vec())
}

impl TensorEntry {
    /// Rows over all leading dimensions; the values of a vector.
    fn rows(&self) -> usize {
        match self.shape.split_last() {
            Some((_, [])) | None => self.shape.iter().product(),
            Some((_, leading)) => leading.iter().product(),
        }
    }

    fn columns(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Rows of [`Self::columns`]: 1 for a vector.
    fn rows_of_blocks(&self) -> usize {
        self.shape.iter().rev().skip(1).product()
    }

    fn blocks(&self, kind: BlockKind) -> Blocks {
        Blocks::new(kind, self.rows_of_blocks(), self.columns())
    }

    /// How it is read; refuses types that are not.
    fn stored(&self, file: &FileBytes) -> Result<BlockKind, LoadError> {
        match self.kind.stored {
            Stored::Dense(dtype) if dtype.is_weight() => Ok(BlockKind::Plain(dtype)),
            Stored::Blocks(block) => Ok(BlockKind::Ggml(block)),
            Stored::Dense(_) | Stored::Unknown => Err(LoadError::BlockType {
                file: file.name().to_owned(),
                tensor: self.name.clone(),
                kind: self.kind.name,
            }),
        }
    }

    fn refuse(&self, file: &FileBytes, reason: String) -> LoadError {
        LoadError::Layout {
            file: file.name().to_owned(),
            tensor: self.name.clone(),
            byte: self.range.start as u64,
            reason,
        }
    }
}
