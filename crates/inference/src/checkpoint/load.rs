//! Tensors as runners and the packer read them, whatever form they are stored in.
//!
//! In: a checkpoint, a name. Out: a matrix as the kernels take it, or values of any rows.
//! It does not know: plans, steps, who reads.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use lattice_kernels::unpack;

use super::blocks::repack;
use super::mmap::FileBytes;
use super::{
    AlignedBytes, Bench, BlockBytes, BlockKind, Checkpoint, Form, Kept, LoadError, Rows, Run,
    Tensor,
};

impl Checkpoint {
    /// A matrix in blocks, where it lies; `None` for another form.
    pub(crate) fn blocks(&self, name: &str) -> Option<BlockBytes<'_>> {
        let place = self.tensors.get(name)?;
        let Form::Blocks(blocks) = place.form else {
            return None;
        };
        let parts = place.parts.iter();
        let bytes = |(file, range): &(usize, Range<usize>)| &self.files[*file][range.clone()];
        Some(BlockBytes {
            blocks,
            parts: parts.map(bytes).collect(),
        })
    }

    /// A matrix as the kernels take it: dense or packed ones where they lie, blocks repacked in segments of `segment` rows.
    /// `run` calls tasks on all threads.
    ///
    /// # Errors
    /// [`LoadError::NonFiniteScale`] or [`LoadError::NonFinite`] for blocks with a scale or a value that is, unless they are
    /// allowed; [`LoadError::Missing`], [`LoadError::Repack`]; memory that is not there.
    pub(crate) fn matrix(
        &self,
        name: &str,
        segment: Option<usize>,
        allow_non_finite: bool,
        run: &Run<'_>,
    ) -> Result<(Kept, AlignedBytes), LoadError> {
        let missing = || LoadError::Missing {
            tensor: name.to_owned(),
            near: None,
        };
        let tensor = self.tensor(name).ok_or_else(missing)?;
        let as_stored = |kept| Ok((kept, self.aligned(name).ok_or_else(missing)?));
        let source = match tensor.form {
            Form::Dense(dtype) => return as_stored(Kept::Dense(dtype)),
            Form::Packed(shape) => return as_stored(Kept::Packed(shape)),
            Form::Blocks(_) => self.blocks(name).ok_or_else(missing)?,
        };
        let refused = |reason: String| LoadError::Repack {
            file: tensor.file.to_owned(),
            tensor: name.to_owned(),
            reason,
        };
        let segment = match (segment, source.blocks.scheme()) {
            (None, Some(_)) => {
                return Err(refused("the model reads it value by value, too".to_owned()));
            }
            (segment, _) => segment.unwrap_or(source.blocks.rows()),
        };
        let kept = source.blocks.kept(segment);
        let kept = kept.map_err(|error| refused(error.to_string()))?;
        let done = |rows: Range<usize>| self.release_rows(name, rows);
        let fill = |memory: &mut [u8]| match kept {
            Kept::Packed(shape) => {
                let repacked = repack(source.clone(), shape, allow_non_finite, memory, run, &done);
                repacked.map_err(|reason| {
                    let bad = self.check_finite(name).err().filter(|_| !allow_non_finite);
                    bad.unwrap_or_else(|| refused(reason))
                })
            }
            Kept::Dense(dtype) => {
                copy_rows(&source, memory, run, &done);
                // The copy is looked at: the file's pages would come back for it.
                let copied = Tensor {
                    form: Form::Dense(dtype),
                    bytes: memory,
                    ..tensor
                };
                match copied.non_finite().filter(|_| !allow_non_finite) {
                    None => Ok(()),
                    Some((count, first)) => Err(LoadError::NonFinite {
                        file: tensor.file.to_owned(),
                        tensor: name.to_owned(),
                        count,
                        first,
                    }),
                }
            }
        };
        let len = match kept {
            Kept::Dense(dtype) => tensor.count() * dtype.bits() / 8,
            Kept::Packed(shape) => shape.bytes(),
        };
        let filled = FileBytes::filled(tensor.file.to_owned(), len, fill)?;
        self.release_rows(name, 0..source.blocks.rows());
        let bytes = AlignedBytes::of(&Arc::new(filled), 0..len, kept.into());
        Ok((kept, bytes))
    }

    /// All values of a tensor, exactly, in f32. It is dense F32, F16 or BF16, packed, or in blocks.
    pub(crate) fn values(&self, name: &str) -> Option<Vec<f32>> {
        let tensor = self.tensor(name)?;
        if let Form::Packed(_) = tensor.form {
            let held = self.aligned(name)?;
            let aligned = Tensor {
                bytes: &held,
                ..tensor
            };
            let mut values = vec![0.0; tensor.count()];
            unpack(aligned.as_packed()?, &mut values);
            return Some(values);
        }
        let rows = self.rows(name)?;
        let mut bench = Bench::default();
        rows.values(0..rows.count(), &mut bench);
        Some(bench.into_values())
    }

    /// The rows of a tensor that is not packed.
    pub(crate) fn rows(&self, name: &str) -> Option<Rows<'_>> {
        match self.blocks(name) {
            Some(blocks) => Some(Rows::Blocks(blocks)),
            None => Rows::of_dense(&self.tensor(name)?),
        }
    }

    /// Gives the memory of rows of a tensor in blocks back to the system: where the file has them in the model's order,
    /// else only when these are all rows.
    pub(crate) fn release_rows(&self, name: &str, rows: Range<usize>) {
        let Some(place) = self.tensors.get(name) else {
            return;
        };
        let Form::Blocks(blocks) = place.form else {
            return;
        };
        if rows.len() == blocks.rows() {
            for (file, range) in &place.parts {
                self.files[*file].release(range.clone());
            }
            return;
        }
        let in_rows = matches!(blocks.kind(), BlockKind::Plain(_) | BlockKind::Ggml(_));
        let Some(bytes) = blocks.bytes_of_rows(rows).filter(|_| in_rows) else {
            return;
        };
        let mut before = 0;
        for (file, part) in &place.parts {
            let inside = |byte: usize| part.start + byte.saturating_sub(before).min(part.len());
            let range = inside(bytes.start)..inside(bytes.end);
            if !range.is_empty() {
                self.files[*file].release(range);
            }
            before += part.len();
        }
    }

    /// Looks for NaN and infinity in a tensor in blocks: in scales and minima, or in plain numbers.
    pub(super) fn check_blocks(&self, tensor: &Tensor<'_>) -> Result<(), LoadError> {
        let Some(blocks) = self.blocks(tensor.name) else {
            return Ok(());
        };
        let (file, name) = (tensor.file.to_owned(), tensor.name.to_owned());
        let (mut bench, columns) = (Bench::default(), blocks.blocks.columns());
        let mut all: Option<(usize, usize, usize)> = None;
        for row in 0..blocks.blocks.rows() {
            if let Some((found, column)) = bench.non_finite(&blocks, row) {
                let (count, ..) = *all.get_or_insert((0, row, column));
                all = all.map(|(_, row, column)| (count + found, row, column));
            }
        }
        match (all, blocks.blocks.scheme()) {
            (None, _) => Ok(()),
            (Some((count, row, column)), None) => Err(LoadError::NonFinite {
                file,
                tensor: name,
                count,
                first: row * columns + column,
            }),
            (Some((count, row, _)), Some(_)) => Err(LoadError::NonFiniteScale {
                file,
                tensor: name,
                count,
                row,
            }),
        }
    }
}

/// Copies plain numbers in the model's order.
fn copy_rows(
    source: &BlockBytes<'_>,
    memory: &mut [u8],
    run: &Run<'_>,
    done: &(dyn Fn(Range<usize>) + Sync),
) {
    // Around each page that is read the system maps some more; of large pieces that is little.
    const TASK_BYTES: usize = 1 << 20;
    let bytes = source.blocks.loaded_bytes(source.blocks.columns()).max(1);
    let rows_of_task = (TASK_BYTES / bytes).max(1);
    let tasks: Vec<Mutex<&mut [u8]>> = memory
        .chunks_mut(rows_of_task * bytes)
        .map(Mutex::new)
        .collect();
    run(tasks.len(), &|index| {
        let out = &mut *tasks[index].lock().unwrap_or_else(PoisonError::into_inner);
        let first = index * rows_of_task;
        let rows = first..first + out.len() / bytes;
        source.copy(rows.clone(), out);
        done(rows);
    });
}
