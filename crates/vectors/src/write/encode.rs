//! What each kind of file is made of: bytes before the pieces, pieces, bytes behind them.

use super::{Ids, WriteOptions, jsonl, npy, parquet};
use crate::{Format, Label, Stored, Values, VectorsError};

/// Makes one kind of file out of pieces.
pub(super) trait Encoder: Send {
    /// The bytes the file begins with. Those of [`Ending::head`] take their place at the end.
    fn head(&self) -> Vec<u8>;

    /// Whether a row may have this beside its numbers.
    fn check(&self, label: &Label) -> Result<(), String>;

    /// A piece's bytes, a function of its rows alone.
    fn encode(&mut self, piece: &Piece<'_>) -> Result<Encoded, String>;

    /// The end of a file of these pieces.
    fn ending(&self, pieces: &[PieceLine]) -> Result<Ending, String>;
}

/// Rows of one piece.
pub(super) struct Piece<'a> {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) values: Values<'a>,
    /// As many as rows.
    pub(super) labels: &'a [Label],
}

/// A piece as it stands in the file.
pub(super) struct Encoded {
    pub(super) bytes: Vec<u8>,
    /// What the end of the file will need to know of it; no newline.
    pub(super) note: String,
}

/// A piece that is in the file.
pub(super) struct PieceLine {
    pub(super) rows: u64,
    /// Where it begins.
    pub(super) begin: u64,
    pub(super) bytes: u64,
    pub(super) note: String,
}

/// What a file ends with.
pub(super) struct Ending {
    /// In place of the first bytes, as many.
    pub(super) head: Vec<u8>,
    /// Behind the last piece.
    pub(super) tail: Vec<u8>,
}

/// The encoder of a kind of file.
pub(super) fn of(options: &WriteOptions) -> Result<Box<dyn Encoder>, VectorsError> {
    Ok(match options.format {
        Format::Npy => Box::new(npy::Npy::new(options.stored, options.columns)),
        Format::Jsonl => Box::new(jsonl::Jsonl),
        Format::Parquet => Box::new(parquet::Parquet::new(options)?),
    })
}

/// Rows that wait for their piece to be full.
pub(super) struct Pending {
    values: Numbers,
    labels: Vec<Label>,
}

enum Numbers {
    F32(Vec<f32>),
    I8(Vec<i8>),
    U8(Vec<u8>),
}

impl Pending {
    pub(super) fn new(stored: Stored) -> Self {
        let values = match stored {
            Stored::I8 => Numbers::I8(Vec::new()),
            Stored::U8 => Numbers::U8(Vec::new()),
            Stored::F16 | Stored::F32 | Stored::F64 => Numbers::F32(Vec::new()),
        };
        Self {
            values,
            labels: Vec::new(),
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.labels.len()
    }

    /// Adds `values[range]`, which are `rows` rows of the type it was made for, and their labels, if there are any.
    pub(super) fn add(
        &mut self,
        values: Values<'_>,
        range: std::ops::Range<usize>,
        labels: &[Label],
        rows: usize,
    ) {
        match (&mut self.values, values) {
            (Numbers::F32(to), Values::F32(from)) => to.extend_from_slice(&from[range]),
            (Numbers::I8(to), Values::I8(from)) => to.extend_from_slice(&from[range]),
            (Numbers::U8(to), Values::U8(from)) => to.extend_from_slice(&from[range]),
            _ => debug_assert!(false, "the writer compares the types first"),
        }
        let rows = self.labels.len() + rows;
        self.labels.extend_from_slice(labels);
        self.labels.resize_with(rows, Label::default);
    }

    pub(super) fn piece(&self, columns: usize) -> Piece<'_> {
        let values = match &self.values {
            Numbers::F32(values) => Values::F32(values),
            Numbers::I8(values) => Values::I8(values),
            Numbers::U8(values) => Values::U8(values),
        };
        Piece {
            rows: self.labels.len(),
            columns,
            values,
            labels: &self.labels,
        }
    }

    pub(super) fn clear(&mut self) {
        match &mut self.values {
            Numbers::F32(values) => values.clear(),
            Numbers::I8(values) => values.clear(),
            Numbers::U8(values) => values.clear(),
        }
        self.labels.clear();
    }
}

/// Whether ids of this kind fit this label.
pub(super) fn check_id(ids: Ids, label: &Label) -> Result<(), String> {
    use crate::Id;
    match (ids, &label.id) {
        (_, None) | (Ids::Int, Some(Id::Int(_))) | (Ids::Text, Some(Id::Text(_))) => Ok(()),
        (Ids::No, Some(id)) => Err(format!("has the id {id}, the file is to have none")),
        (_, Some(id)) => Err(format!("the id {id} is of another type than the file's")),
    }
}
