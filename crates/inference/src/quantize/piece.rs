//! One tensor, piece by piece: widened and packed on all threads while the piece before is hashed and written.
//!
//! In: a tensor where it lies in its file. Out: its packed bytes, in order, to a sink. Memory: two sets of pieces, a few
//! MiB whatever the tensor's size.
//! It does not know: where the bytes go.

use std::sync::{Mutex, PoisonError};

use lattice_kernels::{Cpu, PackError, PackedShape, pack};

use super::QuantizeError;
use crate::checkpoint::{Dtype, Tensor};

/// Values of a piece, about: half a MiB of f32.
const PIECE_VALUES: usize = 1 << 17;
/// Rows that pack together.
const TILE: usize = 16;
/// Bytes copied at a time of what stays as it is.
const COPY_BYTES: usize = 4 << 20;

/// Takes the bytes of a tensor, in order; an error ends the tensor.
pub(super) type Sink<'a> = dyn FnMut(&[u8]) -> Result<(), QuantizeError> + Send + 'a;

/// Rows that are packed in one go, whole tiles of whole segments or of one.
struct Piece {
    first_row: usize,
    shape: PackedShape,
}

/// The pieces of a matrix, from its first row to its last.
struct Pieces {
    whole: PackedShape,
    next_row: usize,
}

impl Pieces {
    fn next(&mut self) -> Result<Option<Piece>, lattice_kernels::PackedError> {
        let (whole, first_row) = (self.whole, self.next_row);
        if first_row == whole.rows() {
            return Ok(None);
        }
        let (columns, segment) = (whole.columns(), whole.segment());
        let wanted = (PIECE_VALUES / columns / TILE).max(1) * TILE;
        let (rows, segment) = if segment <= wanted {
            let left = whole.rows() - first_row;
            ((wanted / segment * segment).min(left), segment)
        } else {
            let left = segment - first_row % segment;
            (wanted.min(left), wanted.min(left))
        };
        self.next_row += rows;
        let shape = PackedShape::new(whole.scheme(), rows, columns, segment)?;
        Ok(Some(Piece { first_row, shape }))
    }
}

/// Room for a piece, used again and again.
#[derive(Default)]
struct Bench {
    values: Vec<f32>,
    packed: Vec<u8>,
    failed: Option<QuantizeError>,
}

/// Packs `tensor` as `shape`; `between` hears after some pieces how many of the tensor's bytes were read, and says
/// whether to go on.
pub(super) fn pack_tensor(
    cpu: &Cpu,
    tensor: &Tensor<'_>,
    shape: PackedShape,
    sink: &mut Sink<'_>,
    mut between: impl FnMut(usize) -> Result<(), QuantizeError>,
) -> Result<(), QuantizeError> {
    let set =
        || -> Vec<Mutex<Bench>> { (0..2 * cpu.threads()).map(|_| Mutex::default()).collect() };
    let dtype = dense(tensor)?;
    let (mut now, mut before) = (set(), set());
    let mut filled = 0;
    let sink = Mutex::new((sink, Ok(())));
    let mut pieces = Pieces {
        whole: shape,
        next_row: 0,
    };
    loop {
        let batch = next_batch(&mut pieces, now.len(), tensor)?;
        if batch.is_empty() && filled == 0 {
            return Ok(());
        }
        cpu.run(1 + batch.len(), &|task| match task.checked_sub(1) {
            None => drain(&before[..filled], &sink),
            Some(index) => fill(&now[index], (tensor, dtype), &batch[index]),
        });
        std::mem::replace(&mut lock(&sink).1, Ok(()))?;
        for bench in &now[..batch.len()] {
            if let Some(error) = lock(bench).failed.take() {
                return Err(error);
            }
        }
        filled = batch.len();
        std::mem::swap(&mut now, &mut before);
        between(pieces.next_row * shape.columns() * dtype.bits() / 8)?;
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

fn drain(benches: &[Mutex<Bench>], sink: &Drain<'_, '_>) {
    let (sink, result) = &mut *lock(sink);
    for bench in benches {
        if result.is_ok() {
            *result = sink(&lock(bench).packed);
        }
    }
}

fn fill(bench: &Mutex<Bench>, (tensor, dtype): (&Tensor<'_>, Dtype), piece: &Piece) {
    let bench = &mut *lock(bench);
    let shape = piece.shape;
    let row_bytes = shape.columns() * dtype.bits() / 8;
    let stored = &tensor.bytes[piece.first_row * row_bytes..][..shape.rows() * row_bytes];
    bench.values.clear();
    dtype.widen(stored, &mut bench.values);
    bench.packed.resize(shape.bytes(), 0);
    bench.failed = pack(&bench.values, shape, &mut bench.packed)
        .err()
        .map(|error| named(error, tensor, piece.first_row));
}

/// How a tensor's values lie one after the other.
fn dense(tensor: &Tensor<'_>) -> Result<Dtype, QuantizeError> {
    tensor
        .form
        .dtype()
        .ok_or_else(|| QuantizeError::AlreadyPacked {
            file: tensor.file.to_owned(),
            tensor: tensor.name.to_owned(),
        })
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
    mut between: impl FnMut(usize) -> Result<(), QuantizeError>,
) -> Result<(), QuantizeError> {
    let mut read = 0;
    for bytes in tensor.bytes.chunks(COPY_BYTES) {
        sink(bytes)?;
        read += bytes.len();
        between(read)?;
    }
    Ok(())
}

/// Refuses a dense tensor with a value that no run can use.
pub(super) fn check_finite(tensor: &Tensor<'_>) -> Result<(), QuantizeError> {
    let Some((_count, first)) = tensor.non_finite() else {
        return Ok(());
    };
    let columns = tensor.shape.last().copied().unwrap_or(1).max(1);
    let dtype = dense(tensor)?;
    let bytes = dtype.bits() / 8;
    let mut value = Vec::new();
    dtype.widen(&tensor.bytes[first * bytes..][..bytes], &mut value);
    Err(QuantizeError::NonFinite {
        file: tensor.file.to_owned(),
        tensor: tensor.name.to_owned(),
        row: first / columns,
        column: first % columns,
        value: value.first().copied().unwrap_or(f32::NAN),
    })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use lattice_kernels::{CpuOptions, PackedScheme};

    use super::*;
    use crate::checkpoint::Form;

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
                file: "f",
            };
            let shape = PackedShape::new(PackedScheme::Q8, rows, columns, segment);
            let shape = shape.expect("a shape");
            let mut whole = vec![0; shape.bytes()];
            pack(&values, shape, &mut whole).expect("finite");
            let mut found = Vec::new();
            let mut sink = |bytes: &[u8]| {
                found.extend_from_slice(bytes);
                Ok(())
            };
            pack_tensor(&cpu, &tensor, shape, &mut sink, |_| Ok(())).expect("packed");
            assert!(found == whole, "{rows} {columns} {segment}");
        }
    }
}
