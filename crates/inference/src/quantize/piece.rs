//! One tensor, piece by piece: widened and packed on all threads while the piece before is hashed and written.
//!
//! In: a tensor where it lies in its file. Out: its packed bytes, in order, to a sink. Memory: two sets of pieces, a few
//! MiB whatever the tensor's size.
//! It does not know: where the bytes go.

use std::sync::{Mutex, PoisonError};

use lattice_kernels::{Cpu, PackError, PackedShape};

use super::QuantizeError;
use crate::checkpoint::{Bench, BlockBytes, Piece, Pieces, Rows, Tensor};

/// Bytes copied at a time of what stays as it is.
const COPY_BYTES: usize = 4 << 20;

/// Takes the bytes of a tensor, in order; an error ends the tensor.
pub(super) type Sink<'a> = dyn FnMut(&[u8]) -> Result<(), QuantizeError> + Send + 'a;

/// How much of a tensor was read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Read {
    /// Bytes of its place.
    Bytes(usize),
    /// Rows of its matrix, which lie in blocks.
    Rows(usize),
}

/// Room for a piece, used again and again.
#[derive(Default)]
struct Packing {
    bench: Bench,
    packed: Vec<u8>,
    failed: Option<QuantizeError>,
}

/// Packs the rows of `tensor` as `shape`; `between` hears after some pieces how much was read, and says whether to go on.
pub(super) fn pack_tensor(
    cpu: &Cpu,
    (tensor, rows): (&Tensor<'_>, &Rows<'_>),
    shape: PackedShape,
    sink: &mut Sink<'_>,
    mut between: impl FnMut(Read) -> Result<(), QuantizeError>,
) -> Result<(), QuantizeError> {
    let set =
        || -> Vec<Mutex<Packing>> { (0..2 * cpu.threads()).map(|_| Mutex::default()).collect() };
    let (mut now, mut before) = (set(), set());
    let mut filled = 0;
    let sink = Mutex::new((sink, Ok(())));
    let mut pieces = Pieces::of(shape);
    loop {
        let batch = next_batch(&mut pieces, now.len(), tensor)?;
        if batch.is_empty() && filled == 0 {
            return Ok(());
        }
        cpu.run(1 + batch.len(), &|task| match task.checked_sub(1) {
            None => drain(&before[..filled], &sink),
            Some(index) => fill(&now[index], (tensor, rows), &batch[index]),
        });
        std::mem::replace(&mut lock(&sink).1, Ok(()))?;
        for bench in &now[..batch.len()] {
            if let Some(error) = lock(bench).failed.take() {
                return Err(error);
            }
        }
        filled = batch.len();
        std::mem::swap(&mut now, &mut before);
        between(match rows {
            Rows::Dense { .. } => Read::Bytes(pieces.next_row() * rows.row_bytes()),
            Rows::Blocks(_) => Read::Rows(pieces.next_row()),
        })?;
    }
}

fn next_batch(
    pieces: &mut Pieces,
    most: usize,
    tensor: &Tensor<'_>,
) -> Result<Vec<Piece>, QuantizeError> {
    let mut batch = Vec::with_capacity(most);
    while batch.len() < most {
        let next = pieces.next().map_err(|reason| QuantizeError::Shape {
            tensor: tensor.name.to_owned(),
            reason,
        })?;
        match next {
            Some(piece) => batch.push(piece),
            None => break,
        }
    }
    Ok(batch)
}

type Drain<'a, 'b> = Mutex<(&'a mut Sink<'b>, Result<(), QuantizeError>)>;

fn drain(benches: &[Mutex<Packing>], sink: &Drain<'_, '_>) {
    let (sink, result) = &mut *lock(sink);
    for bench in benches {
        if result.is_ok() {
            *result = sink(&lock(bench).packed);
        }
    }
}

fn fill(packing: &Mutex<Packing>, (tensor, rows): (&Tensor<'_>, &Rows<'_>), piece: &Piece) {
    let Packing {
        bench,
        packed,
        failed,
    } = &mut *lock(packing);
    packed.resize(piece.shape.bytes(), 0);
    let result = bench.pack(rows, piece, false, packed);
    *failed = result
        .err()
        .map(|error| named(error, tensor, piece.first_row));
}

/// The packer's refusal, with the place in the whole tensor.
fn named(error: PackError, of: &Tensor<'_>, first_row: usize) -> QuantizeError {
    let (file, tensor) = (of.file.to_owned(), of.name.to_owned());
    match error {
        PackError::NonFinite { row, column, value } => QuantizeError::NonFinite {
            file,
            tensor,
            row: first_row + row,
            column,
            value,
        },
        PackError::TooLarge { row, value } => QuantizeError::TooLarge {
            file,
            tensor,
            row: first_row + row,
            value,
        },
        reason => QuantizeError::Pack { tensor, reason },
    }
}

/// Hands a tensor on as it is stored.
pub(super) fn copy_tensor(
    tensor: &Tensor<'_>,
    sink: &mut Sink<'_>,
    mut between: impl FnMut(Read) -> Result<(), QuantizeError>,
) -> Result<(), QuantizeError> {
    let mut read = 0;
    for bytes in tensor.bytes.chunks(COPY_BYTES) {
        sink(bytes)?;
        read += bytes.len();
        between(Read::Bytes(read))?;
    }
    Ok(())
}

/// Hands plain numbers on whose rows or columns are stored in another order.
pub(super) fn copy_blocks(
    source: &BlockBytes<'_>,
    sink: &mut Sink<'_>,
    mut between: impl FnMut(Read) -> Result<(), QuantizeError>,
) -> Result<(), QuantizeError> {
    let (rows, row_bytes) = (source.blocks.rows(), source.blocks.row_bytes());
    let step = (COPY_BYTES / row_bytes.max(1)).max(1);
    let mut bytes = Vec::new();
    for first in (0..rows).step_by(step) {
        let last = rows.min(first + step);
        bytes.resize((last - first) * row_bytes, 0);
        source.copy(first..last, &mut bytes);
        sink(&bytes)?;
        between(Read::Rows(last))?;
    }
    Ok(())
}

/// Refuses a dense tensor with a value that no run can use.
pub(super) fn check_finite(tensor: &Tensor<'_>) -> Result<(), QuantizeError> {
    let Some((_count, first)) = tensor.non_finite() else {
        return Ok(());
    };
    let columns = tensor.shape.last().copied().unwrap_or(1).max(1);
    let mut bench = Bench::default();
    let row = first / columns;
    let values = Rows::of_dense(tensor).map(|rows| rows.values(row..row + 1, &mut bench));
    let value = values.and_then(|values| values.get(first % columns).copied());
    Err(QuantizeError::NonFinite {
        file: tensor.file.to_owned(),
        tensor: tensor.name.to_owned(),
        row,
        column: first % columns,
        value: value.unwrap_or(f32::NAN),
    })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use lattice_kernels::{CpuOptions, PackedScheme, pack};

    use super::*;
    use crate::checkpoint::{Dtype, Form};

    #[test]
    fn pieces_are_the_whole() {
        // More rows than a piece has; segments of less than a tile, of some tiles, of more than a piece.
        let shapes = [
            (4100, 96, 4100),
            (4100, 96, 10),
            (4100, 96, 1025),
            (40, 7000, 40),
            (6000, 64, 3000),
            (1, 1, 1),
        ];
        for (threads, (rows, columns, segment)) in (1..4).cycle().zip(shapes) {
            let cpu = Cpu::new(CpuOptions {
                threads,
                ..CpuOptions::default()
            });
            let cpu = cpu.expect("threads start");
            let count = rows * columns;
            let values: Vec<f32> = (0..count).map(|i| (i * 37 % 1009) as f32 - 500.0).collect();
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            let tensor = Tensor {
                name: "t",
                form: Form::Dense(Dtype::F32),
                shape: &[rows, columns],
                bytes: &bytes,
                stored_bytes: bytes.len(),
                file: "f",
            };
            let rows_of = Rows::of_dense(&tensor).expect("a weight");
            let shape = PackedShape::new(PackedScheme::Q8, rows, columns, segment);
            let shape = shape.expect("a shape");
            let mut whole = vec![0; shape.bytes()];
            pack(&values, shape, &mut whole).expect("finite");
            let mut found = Vec::new();
            let mut sink = |bytes: &[u8]| {
                found.extend_from_slice(bytes);
                Ok(())
            };
            pack_tensor(&cpu, (&tensor, &rows_of), shape, &mut sink, |_| Ok(())).expect("packed");
            assert!(found == whole, "{rows} {columns} {segment}");
        }
    }
}
