//! Writing a set so that a run that breaks off goes on where it was.
//!
//! Rows are written in pieces of a fixed number into `<out>.partial/data`. A piece is on the disk before the journal says
//! so, with its length and its hash; and who goes on believes the journal only as far as the bytes are as it says. A
//! piece is a function of its rows and its place alone, so a run that was broken off any number of times ends with the
//! same bytes as one that was not. When all is written, one rename makes it `<out>`.

mod encode;
mod jsonl;
mod npy;
mod parquet;
mod work;

use std::path::{Path, PathBuf};

use lattice_files::Paths;

use crate::{Format, PIECE_ROWS, Rows, Stored, VectorsError};
use encode::{Encoder, Pending};
pub use jsonl::write_json_line;
use work::Work;

/// What is written, and how.
#[derive(Debug, Clone)]
pub struct WriteOptions {
    /// The kind of file.
    pub format: Format,
    /// Numbers in a row; of binary vectors, bytes.
    pub columns: usize,
    /// How numbers are kept: [`Stored::F32`], [`Stored::I8`] or [`Stored::U8`].
    pub stored: Stored,
    /// Ids, as a column of a Parquet file. JSON lines have those that their labels have.
    pub ids: Ids,
    /// Whether a Parquet file has a column of texts. JSON lines have those that their labels have.
    pub texts: bool,
    /// Whether a Parquet file has a column of scales. JSON lines have those that their labels have.
    pub scales: bool,
    /// Which work this is, as pairs of name and value: the model, its revision, the settings, the source. A run that broke
    /// off goes on only if all of it is the same. A Parquet file keeps the pairs as its notes.
    pub fingerprint: Vec<(String, String)>,
    /// Rows that are written at a time, and at most lost when a run breaks off. It is a part of the work: a Parquet file's
    /// groups have this size.
    pub piece_rows: usize,
}

/// What ids a Parquet file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// None.
    No,
    /// Whole numbers.
    Int,
    /// Texts.
    Text,
}

impl WriteOptions {
    /// A file of `columns` numbers a row, its kind told by its ending: f32, no ids, no texts, of no particular work.
    ///
    /// # Errors
    /// An ending that says no kind.
    pub fn of(out: &Path, columns: usize) -> Result<Self, VectorsError> {
        Ok(Self {
            format: Format::of(out)?,
            columns,
            stored: Stored::F32,
            ids: Ids::No,
            texts: false,
            scales: false,
            fingerprint: Vec::new(),
            piece_rows: PIECE_ROWS,
        })
    }
}

/// A set that is being written.
///
/// ```
/// use lattice_vectors::{Rows, Values, VectorSet, VectorWriter, WriteOptions};
///
/// # fn main() -> Result<(), lattice_vectors::VectorsError> {
/// # let dir = std::env::temp_dir().join(format!("lattice-vectors-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir).expect("a temporary directory");
/// let out = dir.join("set.npy");
/// let all = [1.0_f32, 0.5, 0.25, -1.0];
/// let mut writer = VectorWriter::open(&out, WriteOptions::of(&out, 2)?)?;
/// // An earlier run that broke off may have written some of them.
/// let written = writer.rows() as usize;
/// writer.push(Rows { values: Values::F32(&all[2 * written..]), labels: &[] })?;
/// writer.finish()?;
/// assert_eq!(VectorSet::open(&out, &Default::default())?.row(1), [0.25, -1.0]);
/// # std::fs::remove_dir_all(&dir).expect("ours");
/// # Ok(())
/// # }
/// ```
pub struct VectorWriter {
    out: PathBuf,
    options: WriteOptions,
    encoder: Box<dyn Encoder>,
    work: Work,
    pending: Pending,
    /// Rows that were there when it was opened.
    found_rows: u64,
}

impl VectorWriter {
    /// Opens the output: anew, or where an earlier run of the same work broke off. Until [`finish`](Self::finish), `out`
    /// is absent or the old one.
    ///
    /// # Errors
    /// [`VectorsError::Differs`] where rows of other work are waiting, which [`discard`](Self::discard) throws away;
    /// another process at work on the same output; options that no file can have; what the system says.
    pub fn open(out: &Path, options: WriteOptions) -> Result<Self, VectorsError> {
        check(out, &options)?;
        let stage = Paths::of(out)?.take()?;
        if stage.out().is_dir() {
            return Err(VectorsError::input(out, "is a directory"));
        }
        let encoder = encode::of(&options)?;
        let work = Work::open(stage, &options, encoder.head())?;
        Ok(Self {
            out: out.to_owned(),
            pending: Pending::new(options.stored),
            encoder,
            found_rows: work.rows(),
            work,
            options,
        })
    }

    /// Throws away what an earlier run of any work left of `out`. A finished `out` stays.
    ///
    /// # Errors
    /// Another process at work on it; what the system says.
    pub fn discard(out: &Path) -> Result<(), VectorsError> {
        Ok(Paths::of(out)?.take()?.discard()?)
    }

    /// Rows that are written or waiting to be: the next one pushed is row `rows()` of the file. Right after opening, those
    /// that an earlier run left and that are as they should be.
    pub fn rows(&self) -> u64 {
        self.work.rows() + self.pending.rows() as u64
    }

    /// Rows that an earlier run left.
    pub fn found_rows(&self) -> u64 {
        self.found_rows
    }

    /// Whether an earlier run left all of it: nothing is to be pushed, [`finish`](Self::finish) is all that is to be done.
    pub fn is_whole(&self) -> bool {
        self.work.is_whole()
    }

    /// Takes the next rows. They are on the disk when their piece is full, or when it is finished.
    ///
    /// # Errors
    /// Numbers of another type, or that make no rows; labels that are fewer or more, or that the kind of file cannot hold;
    /// rows for a file that is whole; what the system says.
    pub fn push(&mut self, rows: Rows<'_>) -> Result<(), VectorsError> {
        let columns = self.options.columns;
        let count = rows.values.len() / columns;
        self.check_rows(&rows, count)?;
        let labelled = !rows.labels.is_empty();
        let mut at = 0;
        while at < count {
            let room = self.options.piece_rows - self.pending.rows();
            let next = count.min(at + room);
            let labels = if labelled {
                &rows.labels[at..next]
            } else {
                &[]
            };
            let range = at * columns..next * columns;
            self.pending.add(rows.values, range, labels, next - at);
            at = next;
            if self.pending.rows() == self.options.piece_rows {
                self.write_piece()?;
            }
        }
        Ok(())
    }

    fn check_rows(&self, rows: &Rows<'_>, count: usize) -> Result<(), VectorsError> {
        let columns = self.options.columns;
        let wrong = |reason: String| Err(VectorsError::input(&self.out, reason));
        if self.is_whole() && count > 0 {
            return wrong("is whole, no rows are missing".to_owned());
        }
        if rows.values.stored() != self.options.stored {
            let (wanted, found) = (self.options.stored.name(), rows.values.stored().name());
            return wrong(format!("numbers in {found}, the file is to hold {wanted}"));
        }
        if !rows.values.len().is_multiple_of(columns) {
            let len = rows.values.len();
            return wrong(format!("{len} numbers make no rows of {columns}"));
        }
        if !rows.labels.is_empty() && rows.labels.len() != count {
            let labels = rows.labels.len();
            return wrong(format!("{labels} labels for {count} rows"));
        }
        for (row, label) in rows.labels.iter().enumerate() {
            if let Err(reason) = self.encoder.check(label) {
                return wrong(format!("row {}: {reason}", self.rows() + row as u64));
            }
        }
        Ok(())
    }

    fn write_piece(&mut self) -> Result<(), VectorsError> {
        let piece = self.pending.piece(self.options.columns);
        let encoded = self
            .encoder
            .encode(&piece)
            .map_err(|reason| VectorsError::input(&self.out, reason))?;
        self.work.add(piece.rows, &encoded)?;
        self.pending.clear();
        Ok(())
    }

    /// Writes what is waiting and gives the file its name, in place of an old one.
    ///
    /// # Errors
    /// What the system says; the next run then goes on from here.
    pub fn finish(mut self) -> Result<u64, VectorsError> {
        if !self.is_whole() {
            if self.pending.rows() > 0 {
                self.write_piece()?;
            }
            let pieces = self.work.pieces();
            let ending = self
                .encoder
                .ending(pieces)
                .map_err(|reason| VectorsError::input(&self.out, reason))?;
            self.work.end(&ending)?;
        }
        let rows = self.work.rows();
        self.work.publish()?;
        Ok(rows)
    }
}

fn check(out: &Path, options: &WriteOptions) -> Result<(), VectorsError> {
    let wrong = |reason: &str| Err(VectorsError::input(out, reason));
    let row_bytes = options.columns.checked_mul(options.piece_rows);
    if options.columns == 0 || options.piece_rows == 0 {
        return wrong("rows of no numbers, or pieces of no rows");
    }
    if row_bytes.is_none_or(|numbers| numbers > 1 << 30) {
        return wrong("pieces of more than a billion numbers; ask for fewer rows in one");
    }
    match options.stored {
        Stored::F32 | Stored::I8 | Stored::U8 => Ok(()),
        Stored::F16 | Stored::F64 => wrong("f32, i8 and u8 can be written"),
    }
}
