//! Reads the numbers of an .npy file, rows or columns first, in either byte order.

use std::io::SeekFrom;

use half::f16;

use super::{Place, ReadOptions, Source, Vectors};
use crate::npy::Header;
use crate::{Stored, VectorSet, VectorsError};

pub(super) struct NpyReader {
    place: Place,
    header: Header,
    source: Box<dyn Source>,
    skipped: bool,
    bytes: Vec<u8>,
}

impl NpyReader {
    pub(super) fn open(
        name: &str,
        mut source: Box<dyn Source>,
        file_bytes: u64,
        options: &ReadOptions,
    ) -> Result<Self, VectorsError> {
        let header = Header::read(&mut source, file_bytes)
            .map_err(|reason| VectorsError::file(name, reason))?;
        Ok(Self {
            place: Place::new(name, options),
            header,
            source,
            skipped: options.vectors == Vectors::Skipped,
            bytes: Vec::new(),
        })
    }

    pub(super) fn rows(&self) -> u64 {
        self.header.rows
    }

    pub(super) fn stored(&self) -> Stored {
        self.header.stored
    }

    pub(super) fn read(
        &mut self,
        rows_max: usize,
        piece: &mut VectorSet,
    ) -> Result<(), VectorsError> {
        let left = self.header.rows - self.place.row;
        let rows = left.min(rows_max as u64);
        piece.first_row = self.place.row;
        piece.stored = self.header.stored;
        piece.rows = rows as usize;
        piece.columns = 0;
        if !self.skipped {
            // The header was held against the file's length, so a row's bytes are no more than there are.
            piece.columns = self.header.columns as usize;
            if self.header.fortran {
                self.read_columns(piece)?;
            } else {
                self.read_rows(piece)?;
            }
            self.place.check_finite(&piece.values, piece.columns)?;
        }
        self.place.row += rows;
        Ok(())
    }

    fn read_rows(&mut self, piece: &mut VectorSet) -> Result<(), VectorsError> {
        let count = piece.rows * piece.columns;
        self.fill(count)?;
        numbers(&self.header, &self.bytes, |value| piece.values.push(value));
        Ok(())
    }

    /// A column of the piece is consecutive in the file; the next one is all rows further.
    fn read_columns(&mut self, piece: &mut VectorSet) -> Result<(), VectorsError> {
        let (rows, columns) = (piece.rows, piece.columns);
        piece.values.resize(rows * columns, 0.0);
        for column in 0..columns {
            let at = column as u64 * self.header.rows + self.place.row;
            let at = self.header.data_at + at * self.header.stored.bytes();
            self.source
                .seek(SeekFrom::Start(at))
                .map_err(VectorsError::io(&self.place.name, "seek in"))?;
            self.fill(rows)?;
            let mut to = piece.values[column..].iter_mut().step_by(columns);
            numbers(&self.header, &self.bytes, |value| {
                if let Some(to) = to.next() {
                    *to = value;
                }
            });
        }
        Ok(())
    }

    fn fill(&mut self, count: usize) -> Result<(), VectorsError> {
        let bytes = count * self.header.stored.bytes() as usize;
        self.bytes.resize(bytes, 0);
        self.source
            .read_exact(&mut self.bytes)
            .map_err(VectorsError::io(&self.place.name, "read"))
    }
}

/// Gives each number of `bytes` to `put`, as f32.
fn numbers(header: &Header, bytes: &[u8], mut put: impl FnMut(f32)) {
    fn each<const N: usize>(bytes: &[u8], big_endian: bool, mut put: impl FnMut([u8; N])) {
        for number in bytes.as_chunks::<N>().0 {
            let mut number = *number;
            if big_endian {
                number.reverse();
            }
            put(number);
        }
    }
    let big = header.big_endian;
    match header.stored {
        Stored::F32 => each(bytes, big, |number| put(f32::from_le_bytes(number))),
        Stored::F16 => each(
            bytes,
            big,
            |number| put(f16::from_le_bytes(number).to_f32()),
        ),
        Stored::F64 => each(bytes, big, |number| put(f64::from_le_bytes(number) as f32)),
        Stored::I8 => each(bytes, big, |[number]| put(f32::from(number.cast_signed()))),
        Stored::U8 => each(bytes, big, |[number]| put(f32::from(number))),
    }
}
