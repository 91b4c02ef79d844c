//! Reading a set in pieces of rows, in bounded memory.

mod codec;
mod flat;
mod jsonl;
mod npy;
mod pages;
mod parquet;
mod schema;

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read, Seek};
use std::path::Path;

use crate::{Format, Stored, VectorSet, VectorsError};

/// Names that vectors go by, in the order they are looked for.
pub const VECTOR_NAMES: [&str; 4] = ["embedding", "vector", "embeddings", "vectors"];
/// Rows in a piece, where the caller has no reason for another number.
pub const PIECE_ROWS: usize = 4096;

/// What is read, and by which names.
#[derive(Debug, Clone, Default)]
pub struct ReadOptions {
    /// The vectors.
    pub vectors: Vectors,
    /// The field or column with ids [default: `id`, if there is one].
    pub id: Option<String>,
    /// The field or column with texts [default: `text`, if there is one].
    pub text: Option<String>,
    /// Read the field or column `scale`, if there is one, as [`Label::scale`](crate::Label::scale); otherwise it is one of
    /// the others.
    pub scales: bool,
    /// Read the other columns of a Parquet file, too, as fields of their rows: texts, numbers, truths. Rows without a value
    /// have no such field. JSON lines' other fields are always read.
    pub rest: bool,
    /// Accept numbers that are NaN or infinite.
    pub allow_non_finite: bool,
}

/// Which field or column the vectors are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Vectors {
    /// The first of [`VECTOR_NAMES`] that is there.
    #[default]
    Usual,
    /// The one of that name.
    Named(String),
    /// None of them: ids and texts alone are read.
    Skipped,
}

/// A file of vectors, open, and how far it is read.
///
/// ```
/// use lattice_vectors::{ReadOptions, VectorReader, VectorSet};
///
/// # fn main() -> Result<(), lattice_vectors::VectorsError> {
/// let lines = "{\"id\":7,\"text\":\"one\",\"embedding\":[1.0,0.5]}\n{\"id\":8,\"text\":\"two\",\"embedding\":[0.25,-1]}\n";
/// let mut reader = VectorReader::from_lines("in memory", Box::new(lines.as_bytes()), &ReadOptions::default());
/// let mut piece = VectorSet::new();
/// while reader.read(1, &mut piece)? > 0 {
///     assert_eq!((piece.rows, piece.columns), (1, 2));
/// }
/// # Ok(())
/// # }
/// ```
pub struct VectorReader {
    kind: Kind,
}

enum Kind {
    Npy(npy::NpyReader),
    Jsonl(jsonl::JsonlReader),
    Parquet(Box<parquet::ParquetReader>),
}

/// Bytes that can be read from any place.
trait Source: Read + Seek + Send {}
impl<T: Read + Seek + Send> Source for T {}

impl VectorReader {
    /// Opens a file, its kind told by its ending. The header is checked against the file's length.
    ///
    /// # Errors
    /// An ending that says no kind; what the system says; a header that lies; no such column.
    pub fn open(path: &Path, options: &ReadOptions) -> Result<Self, VectorsError> {
        let format = Format::of(path)?;
        let name = path.display().to_string();
        let file = File::open(path).map_err(VectorsError::io(&name, "open"))?;
        let found = file
            .metadata()
            .map_err(VectorsError::io(&name, "look at"))?;
        if found.is_dir() {
            return Err(VectorsError::file(&name, "is a directory"));
        }
        let kind = match format {
            Format::Npy => Kind::Npy(npy::NpyReader::open(
                &name,
                Box::new(BufReader::new(file)),
                found.len(),
                options,
            )?),
            Format::Jsonl => Kind::Jsonl(jsonl::JsonlReader::new(
                &name,
                Box::new(BufReader::with_capacity(1 << 16, file)),
                options,
            )),
            Format::Parquet => Kind::Parquet(Box::new(parquet::ParquetReader::open(
                &name, file, options,
            )?)),
        };
        Ok(Self { kind })
    }

    /// Reads a file that is in memory. `name` stands in errors.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(
        name: &str,
        format: Format,
        bytes: Vec<u8>,
        options: &ReadOptions,
    ) -> Result<Self, VectorsError> {
        let length = bytes.len() as u64;
        let bytes_read = Cursor::new(bytes);
        let kind = match format {
            Format::Npy => Kind::Npy(npy::NpyReader::open(
                name,
                Box::new(bytes_read),
                length,
                options,
            )?),
            Format::Jsonl => {
                return Ok(Self::from_lines(name, Box::new(bytes_read), options));
            }
            Format::Parquet => Kind::Parquet(Box::new(parquet::ParquetReader::open(
                name,
                bytes::Bytes::from(bytes_read.into_inner()),
                options,
            )?)),
        };
        Ok(Self { kind })
    }

    /// Reads JSON lines from anywhere, standard input for one. `name` stands in errors.
    pub fn from_lines(name: &str, lines: Box<dyn BufRead + Send>, options: &ReadOptions) -> Self {
        Self {
            kind: Kind::Jsonl(jsonl::JsonlReader::new(name, lines, options)),
        }
    }

    /// Rows in the file; `None` for JSON lines, which are counted by reading them.
    pub fn rows(&self) -> Option<u64> {
        match &self.kind {
            Kind::Npy(reader) => Some(reader.rows()),
            Kind::Jsonl(_) => None,
            Kind::Parquet(reader) => Some(reader.rows()),
        }
    }

    /// How the numbers are kept; [`Stored::F64`] are rounded to f32. `None` where the vectors are skipped.
    pub fn stored(&self) -> Option<Stored> {
        match &self.kind {
            Kind::Npy(reader) => Some(reader.stored()),
            Kind::Jsonl(reader) => reader.stored(),
            Kind::Parquet(reader) => reader.stored(),
        }
    }

    /// Columns of a Parquet file that are not read: those that are neither vectors, ids nor texts, or, where
    /// [`ReadOptions::rest`] is asked for, those of them that are lists, records, times, decimals or bytes.
    pub fn others(&self) -> &[String] {
        match &self.kind {
            Kind::Npy(_) | Kind::Jsonl(_) => &[],
            Kind::Parquet(reader) => reader.others(),
        }
    }

    /// Pairs of name and value that a writer left in the file; empty but for Parquet.
    pub fn notes(&self) -> Vec<(String, String)> {
        match &self.kind {
            Kind::Npy(_) | Kind::Jsonl(_) => Vec::new(),
            Kind::Parquet(reader) => reader.notes(),
        }
    }

    /// Reads the next rows, at most `rows_max`, into `piece` in place of what is there, and says how many they were; 0 is
    /// the end. Memory is that of the piece; all rows of a file have the same number of columns.
    ///
    /// # Errors
    /// The row, column, line and byte of a number that is none, of NaN or infinity unless allowed, of a row that is longer
    /// or shorter than the first; what the system says. The reader is of no use afterwards.
    pub fn read(&mut self, rows_max: usize, piece: &mut VectorSet) -> Result<usize, VectorsError> {
        piece.values.clear();
        piece.labels.clear();
        piece.rows = 0;
        match &mut self.kind {
            Kind::Npy(reader) => reader.read(rows_max, piece)?,
            Kind::Jsonl(reader) => reader.read(rows_max, piece)?,
            Kind::Parquet(reader) => reader.read(rows_max, piece)?,
        }
        Ok(piece.rows)
    }

    /// Reads all rows that are left.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_all(mut self) -> Result<VectorSet, VectorsError> {
        let (mut all, mut piece) = (VectorSet::new(), VectorSet::new());
        while self.read(PIECE_ROWS, &mut piece)? > 0 {
            if all.rows == 0 {
                (all.first_row, all.columns) = (piece.first_row, piece.columns);
                all.stored = piece.stored;
            }
            all.rows += piece.rows;
            all.values.append(&mut piece.values);
            all.labels.append(&mut piece.labels);
        }
        Ok(all)
    }
}

impl VectorSet {
    /// Reads all of a file.
    ///
    /// # Errors
    /// As [`VectorReader::open`] and [`VectorReader::read`].
    pub fn open(path: &Path, options: &ReadOptions) -> Result<Self, VectorsError> {
        VectorReader::open(path, options)?.read_all()
    }
}

/// What a set's reader knows of where it is, for errors and for what every kind checks.
struct Place {
    name: String,
    /// Rows that were read before.
    row: u64,
    allow_non_finite: bool,
}

impl Place {
    fn new(name: &str, options: &ReadOptions) -> Self {
        Self {
            name: name.to_owned(),
            row: 0,
            allow_non_finite: options.allow_non_finite,
        }
    }

    fn wrong(&self, row: u64, place: String, reason: impl Into<String>) -> VectorsError {
        VectorsError::Row {
            path: self.name.clone(),
            row,
            place,
            reason: reason.into(),
        }
    }

    /// Refuses NaN and infinity in rows of `columns`, the first of which is `self.row`.
    fn check_finite(&self, values: &[f32], columns: usize) -> Result<(), VectorsError> {
        if self.allow_non_finite {
            return Ok(());
        }
        let Some(at) = values.iter().position(|value| !value.is_finite()) else {
            return Ok(());
        };
        let row = self.row + (at / columns) as u64;
        let place = format!(", column {}", at % columns);
        Err(self.wrong(row, place, format!("{} is no finite number", values[at])))
    }
}
