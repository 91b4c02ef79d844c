//! The rows that `goldens/vectors.py` writes, and those that it reads.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::path::{Path, PathBuf};

use lattice_vectors::{
    Id, Ids, Label, Rows, Stored, Values, VectorWriter, VectorsError, WriteOptions,
};

pub(crate) const ROWS: usize = 9;
pub(crate) const COLUMNS: usize = 5;

/// A file of the goldens.
pub(crate) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../testkit/goldens/vectors")
        .join(name)
}

/// What all i8 sets hold; u8 ones hold 50 more, the others an eighth.
pub(crate) fn whole(rows: usize, columns: usize) -> Vec<i8> {
    let number = |row: usize, column: usize| ((7 * row + 13 * column) % 101) as i8 - 50;
    (0..rows * columns)
        .map(|at| number(at / columns, at % columns))
        .collect()
}

/// The numbers of a set as it is stored.
pub(crate) fn numbers(stored: Stored, rows: usize, columns: usize) -> Vec<f32> {
    let from = |value: i8| match stored {
        Stored::I8 => f32::from(value),
        Stored::U8 => f32::from(value) + 50.0,
        Stored::F16 | Stored::F32 | Stored::F64 => f32::from(value) / 8.0,
    };
    whole(rows, columns).into_iter().map(from).collect()
}

/// Ids and texts, or nothing; rows 1 and 4 have none if `nulls`.
pub(crate) fn labels(rows: usize, ids: Ids, nulls: bool) -> Vec<Label> {
    let label = |row: usize| {
        let id = match ids {
            Ids::No => None,
            Ids::Int => Some(Id::Int(100 + row as i64)),
            Ids::Text => Some(Id::Text(format!("t{row}"))),
        };
        if nulls && [1, 4].contains(&row) {
            return Label::default();
        }
        Label {
            id,
            text: Some(format!("text {row} é")),
            ..Label::default()
        }
    };
    if ids == Ids::No {
        return Vec::new();
    }
    (0..rows).map(label).collect()
}

/// How the files that Python reads are written.
pub(crate) fn options(out: &Path, stored: Stored, ids: Ids) -> WriteOptions {
    let mut options = WriteOptions::of(out, COLUMNS).unwrap();
    options.stored = stored;
    options.ids = ids;
    options.texts = ids != Ids::No;
    options.piece_rows = 4;
    options.fingerprint = vec![("model".to_owned(), "mine".to_owned())];
    options
}

/// Pushes rows from where the writer is.
pub(crate) fn push(
    writer: &mut VectorWriter,
    stored: Stored,
    labels: &[Label],
    rows: usize,
) -> Result<(), VectorsError> {
    let begin = writer.rows() as usize;
    let range = COLUMNS * begin..COLUMNS * rows;
    let labels = labels.get(begin..rows).unwrap_or_default();
    let (whole, reals) = (whole(rows, COLUMNS), numbers(Stored::F32, rows, COLUMNS));
    let bytes: Vec<u8> = whole
        .iter()
        .map(|value| (i16::from(*value) + 50) as u8)
        .collect();
    let values = match stored {
        Stored::I8 => Values::I8(&whole[range]),
        Stored::U8 => Values::U8(&bytes[range]),
        _ => Values::F32(&reals[range]),
    };
    writer.push(Rows { values, labels })
}

/// The files that Python reads.
pub(crate) fn write_ours(dir: &Path) -> Result<(), VectorsError> {
    for (name, stored, ids) in OURS {
        let out = dir.join(name);
        let mut writer = VectorWriter::open(&out, options(&out, stored, ids))?;
        push(&mut writer, stored, &labels(ROWS, ids, true), ROWS)?;
        writer.finish()?;
    }
    Ok(())
}

pub(crate) const OURS: [(&str, Stored, Ids); 7] = [
    ("f32.npy", Stored::F32, Ids::No),
    ("i8.npy", Stored::I8, Ids::No),
    ("u8.npy", Stored::U8, Ids::No),
    ("f32.jsonl", Stored::F32, Ids::Int),
    ("f32.parquet", Stored::F32, Ids::Text),
    ("i8.parquet", Stored::I8, Ids::Int),
    ("u8.parquet", Stored::U8, Ids::No),
];
