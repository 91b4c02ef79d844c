//! Reads a column of lists of numbers out of a Parquet file, with its ids and texts.
//!
//! The pages are decoded by the `parquet` crate; here, rows are made of them, and every one is looked at: nulls, empty
//! lists and rows of another length are errors.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use parquet::data_type::DataType;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::ChunkReader;

use super::flat::{read_flat, read_ids, read_json};
use super::pages::Pages;
use super::schema::{Columns, Leaf};
use super::{Place, ReadOptions};
use crate::{Field, Id, Label, Stored, VectorSet, VectorsError};

/// Numbers in a row, and in what is decoded at a time.
const COLUMNS_MAX: i64 = 1 << 20;
const NUMBERS_MAX: usize = 1 << 24;

pub(super) struct ParquetReader {
    place: Place,
    metadata: ParquetMetaData,
    pages: Box<PagesOf>,
    columns: Columns,
    /// The next group of rows to open.
    group: usize,
    open: Option<Group>,
    /// Numbers in a row, once there was one.
    width: Option<usize>,
}

/// The pages of a group's column, both by their number.
type PagesOf = dyn Fn(&ParquetMetaData, usize, usize) -> Result<Pages, ParquetError> + Send;

/// A group of rows, and how far it is read.
struct Group {
    rows_left: usize,
    /// Rows whose numbers fit what is decoded at a time.
    rows_max: usize,
    vectors: Option<ColumnReader>,
    id: Option<ColumnReader>,
    text: Option<ColumnReader>,
    scale: Option<ColumnReader>,
    /// As many as [`Columns::rest`].
    rest: Vec<ColumnReader>,
}

impl ParquetReader {
    pub(super) fn open(
        name: &str,
        source: impl ChunkReader + 'static,
        options: &ReadOptions,
    ) -> Result<Self, VectorsError> {
        let metadata = guarded(|| ParquetMetaDataReader::new().parse_and_finish(&source))
            .map_err(|reason| VectorsError::file(name, reason))?;
        let columns = Columns::find(name, metadata.file_metadata().schema_descr(), options)?;
        let source = Arc::new(source);
        let pages = move |metadata: &ParquetMetaData, group: usize, leaf: usize| {
            let group = metadata.row_group(group);
            let rows = usize::try_from(group.num_rows())?;
            Pages::of(&source, group.column(leaf), rows)
        };
        Ok(Self {
            place: Place::new(name, options),
            metadata,
            pages: Box::new(pages),
            columns,
            group: 0,
            open: None,
            width: None,
        })
    }

    pub(super) fn rows(&self) -> u64 {
        let rows = self.metadata.file_metadata().num_rows();
        u64::try_from(rows).unwrap_or(0)
    }

    pub(super) fn stored(&self) -> Option<Stored> {
        self.columns.vectors.as_ref().map(|leaf| leaf.stored)
    }

    pub(super) fn others(&self) -> &[String] {
        &self.columns.others
    }

    pub(super) fn notes(&self) -> Vec<(String, String)> {
        let notes = self.metadata.file_metadata().key_value_metadata();
        let pair = |note: &parquet::file::metadata::KeyValue| {
            Some((note.key.clone(), note.value.clone()?))
        };
        notes.into_iter().flatten().filter_map(pair).collect()
    }

    pub(super) fn read(
        &mut self,
        rows_max: usize,
        piece: &mut VectorSet,
    ) -> Result<(), VectorsError> {
        piece.first_row = self.place.row;
        piece.stored = self.stored().unwrap_or(Stored::F32);
        let mut group = loop {
            match self.open.take() {
                Some(group) if group.rows_left > 0 => break group,
                _ if self.group == self.metadata.num_row_groups() => return self.check_count(),
                _ => self.open = Some(self.open_group()?),
            }
        };
        let rows = rows_max.min(group.rows_left).min(group.rows_max);
        piece.rows = rows;
        let mut failed = None;
        let read = guarded(|| {
            failed = self.read_rows(&mut group, rows, piece).err();
            Ok(())
        });
        if let Err(reason) = read {
            return Err(self.wrong_rows(rows, reason));
        }
        if let Some(error) = failed {
            return Err(error);
        }
        piece.columns = self.width.unwrap_or(0);
        group.rows_left -= rows;
        self.place.row += rows as u64;
        self.open = Some(group);
        Ok(())
    }

    fn check_count(&self) -> Result<(), VectorsError> {
        let (said, found) = (self.rows(), self.place.row);
        if said == found {
            return Ok(());
        }
        let reason = format!("the footer says {said} rows, its groups hold {found}");
        Err(VectorsError::file(&self.place.name, reason))
    }

    fn open_group(&mut self) -> Result<Group, VectorsError> {
        let index = self.group;
        self.group += 1;
        let name = &self.place.name;
        let wrong = |reason| VectorsError::file(name, format!("group of rows {index}: {reason}"));
        let metadata = self.metadata.row_group(index);
        let rows = usize::try_from(metadata.num_rows())
            .map_err(|_negative| wrong("a negative number of rows".to_owned()))?;
        let mut rows_max = NUMBERS_MAX;
        if let Some(leaf) = &self.columns.vectors {
            let numbers = metadata.column(leaf.index).num_values();
            let width = numbers.checked_div(metadata.num_rows()).unwrap_or(0);
            if !(0..=COLUMNS_MAX).contains(&width) {
                return Err(wrong(format!("{numbers} numbers in {rows} rows")));
            }
            rows_max = (NUMBERS_MAX / (width as usize).max(1)).max(1);
        }
        let open = |leaf: usize| {
            guarded(|| {
                let pages = (self.pages)(&self.metadata, index, leaf)?;
                let descr = metadata.schema_descr().column(leaf);
                Ok(get_column_reader(descr, Box::new(pages)))
            })
            .map_err(wrong)
        };
        let Columns {
            vectors,
            id,
            text,
            scale,
            rest,
            ..
        } = &self.columns;
        let rest = rest.iter().map(|rest| open(rest.index));
        Ok(Group {
            rows_left: rows,
            rows_max,
            vectors: vectors.as_ref().map(|leaf| open(leaf.index)).transpose()?,
            id: id.map(open).transpose()?,
            text: text.map(open).transpose()?,
            scale: scale.map(open).transpose()?,
            rest: rest.collect::<Result<_, _>>()?,
        })
    }

    fn read_rows(
        &mut self,
        group: &mut Group,
        rows: usize,
        piece: &mut VectorSet,
    ) -> Result<(), VectorsError> {
        if let (Some(reader), Some(leaf)) = (&mut group.vectors, self.columns.vectors.clone()) {
            let mut levels = Levels::default();
            let read = read_numbers(reader, leaf.stored, rows, &mut levels, &mut piece.values);
            let found = read.map_err(|error| self.wrong_rows(rows, error.to_string()))?;
            self.check_lists(&leaf, rows, found, &levels)?;
            let width = self.width.unwrap_or(1);
            self.place.check_finite(&piece.values, width)?;
        }
        let read = self.read_labels(group, rows, &mut piece.labels);
        read.map_err(|reason| self.wrong_rows(rows, reason))
    }

    fn read_labels(
        &self,
        group: &mut Group,
        rows: usize,
        labels: &mut Vec<Label>,
    ) -> Result<(), String> {
        let ids = |reader: &mut Option<ColumnReader>| match reader {
            Some(reader) => read_ids(reader, rows),
            None => Ok(Vec::new()),
        };
        labels.resize_with(rows, Label::default);
        for (label, id) in labels.iter_mut().zip(ids(&mut group.id)?) {
            label.id = id;
        }
        for (label, text) in labels.iter_mut().zip(ids(&mut group.text)?) {
            label.text = text.map(|text| match text {
                Id::Text(text) => text,
                Id::Int(number) => number.to_string(),
            });
        }
        if let Some(ColumnReader::FloatColumnReader(reader)) = &mut group.scale {
            for (label, scale) in labels.iter_mut().zip(read_flat(reader, rows, Ok)?) {
                label.scale = scale;
            }
        }
        for (reader, rest) in group.rest.iter_mut().zip(&self.columns.rest) {
            let values = read_json(reader, rest.kind, rows)
                .map_err(|reason| format!("column {:?}: {reason}", rest.name))?;
            for (label, value) in labels.iter_mut().zip(values) {
                label.rest.extend(value.map(|value| Field {
                    name: rest.name.clone(),
                    value,
                }));
            }
        }
        Ok(())
    }

    /// Every row is a list, every list as long as the first, and no number is missing.
    fn check_lists(
        &mut self,
        leaf: &Leaf,
        rows: usize,
        found: usize,
        levels: &Levels,
    ) -> Result<(), VectorsError> {
        let wrong = |row: usize, reason: String| {
            let row = self.place.row + row as u64;
            let place = format!(", column {:?}", leaf.name);
            self.place.wrong(row, place, reason)
        };
        if found != rows {
            return Err(wrong(
                found,
                format!("the column ends, of {rows} rows more"),
            ));
        }
        let mut ends = levels.repetition.iter().enumerate();
        let mut begin = 0;
        ends.next();
        for row in 0..rows {
            let end = ends
                .find(|(_, level)| **level == 0)
                .map_or(levels.repetition.len(), |(at, _)| at);
            let list = levels.definition.get(begin..end).unwrap_or_default();
            if let Some(at) = list.iter().position(|level| *level != leaf.definition) {
                let null = leaf.nullable && list[at] + 1 == leaf.definition;
                let what = if null {
                    format!("number {at} is null")
                } else {
                    "no list of numbers, but null or empty".to_owned()
                };
                return Err(wrong(row, what));
            }
            let width = *self.width.get_or_insert(list.len());
            if list.len() != width {
                let reason = format!("{} numbers, the rows before have {width}", list.len());
                return Err(wrong(row, reason));
            }
            begin = end;
        }
        if begin != levels.repetition.len() {
            return Err(wrong(
                rows,
                "the column goes on, of no rows more".to_owned(),
            ));
        }
        Ok(())
    }

    fn wrong_rows(&self, rows: usize, reason: String) -> VectorsError {
        let place = match rows {
            0 | 1 => String::new(),
            _ => format!(" to {}", self.place.row + rows as u64 - 1),
        };
        self.place.wrong(self.place.row, place, reason)
    }
}

#[derive(Default)]
pub(super) struct Levels {
    pub(super) definition: Vec<i16>,
    repetition: Vec<i16>,
}

/// Runs the decoder. What it panics at is a broken file, too.
fn guarded<T>(work: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_panic) => Err("the decoder gave up on it".to_owned()),
    }
}

/// Reads whole rows of numbers, as f32, and says how many rows there were.
fn read_numbers(
    reader: &mut ColumnReader,
    stored: Stored,
    rows: usize,
    levels: &mut Levels,
    values: &mut Vec<f32>,
) -> Result<usize, ParquetError> {
    match reader {
        ColumnReader::FloatColumnReader(reader) => read_column(reader, rows, levels, values),
        ColumnReader::DoubleColumnReader(reader) => {
            let mut numbers = Vec::new();
            let found = read_column(reader, rows, levels, &mut numbers)?;
            values.extend(numbers.into_iter().map(|number| number as f32));
            Ok(found)
        }
        ColumnReader::Int32ColumnReader(reader) => {
            let mut numbers = Vec::new();
            let found = read_column(reader, rows, levels, &mut numbers)?;
            let range = if stored == Stored::U8 {
                0..=255
            } else {
                -128..=127
            };
            if let Some(number) = numbers.iter().find(|number| !range.contains(*number)) {
                let name = stored.name();
                return Err(ParquetError::General(format!("{number} is no {name}")));
            }
            values.extend(numbers.into_iter().map(|number| number as f32));
            Ok(found)
        }
        ColumnReader::FixedLenByteArrayColumnReader(reader) => {
            let mut numbers = Vec::new();
            let found = read_column(reader, rows, levels, &mut numbers)?;
            for number in &numbers {
                let [low, high] = *number.data() else {
                    return Err(ParquetError::General(
                        "an f16 that is no two bytes".to_owned(),
                    ));
                };
                values.push(half::f16::from_le_bytes([low, high]).to_f32());
            }
            Ok(found)
        }
        _ => Err(ParquetError::General("numbers of another type".to_owned())),
    }
}

/// Reads `rows` rows of a column, over as many pages as they take.
pub(super) fn read_column<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    rows: usize,
    levels: &mut Levels,
    values: &mut Vec<T::T>,
) -> Result<usize, ParquetError> {
    let mut found = 0;
    while found < rows {
        let (definition, repetition) = (&mut levels.definition, &mut levels.repetition);
        let wanted = rows - found;
        let (more, _, _) =
            reader.read_records(wanted, Some(definition), Some(repetition), values)?;
        if more == 0 {
            break;
        }
        found += more;
    }
    Ok(found)
}
