//! Columns of single values: ids, texts, and whatever else JSON has a word for.

use std::collections::VecDeque;

use parquet::basic::{ConvertedType, Type};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, DataType};
use parquet::schema::types::ColumnDescriptor;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::parquet::{Levels, read_column};
use crate::Id;

/// What a column's values are in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Truth,
    Whole,
    /// Kept in signed numbers of as many bits.
    Unsigned,
    Real,
    Text,
}

impl Kind {
    /// `None`: lists, records, and numbers or bytes that mean more than they are: times, decimals.
    pub(super) fn of(leaf: &ColumnDescriptor) -> Option<Self> {
        if !is_flat(leaf) {
            return None;
        }
        match (leaf.physical_type(), leaf.converted_type()) {
            (Type::BOOLEAN, _) => Some(Self::Truth),
            (Type::FLOAT | Type::DOUBLE, _) => Some(Self::Real),
            (Type::INT32 | Type::INT64, ConvertedType::NONE)
                if leaf.logical_type_ref().is_none() =>
            {
                Some(Self::Whole)
            }
            (
                Type::INT32 | Type::INT64,
                ConvertedType::INT_8
                | ConvertedType::INT_16
                | ConvertedType::INT_32
                | ConvertedType::INT_64,
            ) => Some(Self::Whole),
            (
                Type::INT32 | Type::INT64,
                ConvertedType::UINT_8
                | ConvertedType::UINT_16
                | ConvertedType::UINT_32
                | ConvertedType::UINT_64,
            ) => Some(Self::Unsigned),
            (Type::BYTE_ARRAY, ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON) => {
                Some(Self::Text)
            }
            _ => None,
        }
    }
}

/// Whether a row has one value or none.
pub(super) fn is_flat(leaf: &ColumnDescriptor) -> bool {
    leaf.max_rep_level() == 0 && leaf.max_def_level() <= 1
}

/// Reads a column of texts or whole numbers, nulls among them.
pub(super) fn read_ids(reader: &mut ColumnReader, rows: usize) -> Result<Vec<Option<Id>>, String> {
    match reader {
        ColumnReader::Int64ColumnReader(reader) => read_flat(reader, rows, |id| Ok(Id::Int(id))),
        ColumnReader::Int32ColumnReader(reader) => {
            read_flat(reader, rows, |id| Ok(Id::Int(i64::from(id))))
        }
        ColumnReader::ByteArrayColumnReader(reader) => {
            read_flat(reader, rows, |value| text(&value).map(Id::Text))
        }
        _ => Err("ids or texts of another type".to_owned()),
    }
}

/// Reads a column of this kind as JSON, nulls among them. NaN and infinity, which JSON has not, are the word null.
pub(super) fn read_json(
    reader: &mut ColumnReader,
    kind: Kind,
    rows: usize,
) -> Result<Vec<Option<Box<RawValue>>>, String> {
    match (reader, kind) {
        (ColumnReader::BoolColumnReader(reader), _) => read_flat(reader, rows, json),
        (ColumnReader::FloatColumnReader(reader), _) => read_flat(reader, rows, json),
        (ColumnReader::DoubleColumnReader(reader), _) => read_flat(reader, rows, json),
        (ColumnReader::Int32ColumnReader(reader), Kind::Unsigned) => {
            read_flat(reader, rows, |value| json(value.cast_unsigned()))
        }
        (ColumnReader::Int64ColumnReader(reader), Kind::Unsigned) => {
            read_flat(reader, rows, |value| json(value.cast_unsigned()))
        }
        (ColumnReader::Int32ColumnReader(reader), _) => read_flat(reader, rows, json),
        (ColumnReader::Int64ColumnReader(reader), _) => read_flat(reader, rows, json),
        (ColumnReader::ByteArrayColumnReader(reader), _) => {
            read_flat(reader, rows, |value| json(text(&value)?))
        }
        _ => Err("a column of another type than its schema says".to_owned()),
    }
}

/// Reads `rows` values, each made by `of`.
pub(super) fn read_flat<T: DataType, V>(
    reader: &mut ColumnReaderImpl<T>,
    rows: usize,
    of: impl Fn(T::T) -> Result<V, String>,
) -> Result<Vec<Option<V>>, String> {
    let (mut levels, mut values) = (Levels::default(), Vec::new());
    let found = read_column(reader, rows, &mut levels, &mut values);
    let found = found.map_err(|error| error.to_string())?;
    if found != rows {
        return Err(format!("a column ends after {found} of {rows} rows more"));
    }
    let values: Result<VecDeque<V>, String> = values.into_iter().map(of).collect();
    let mut values = values?;
    if levels.definition.is_empty() {
        return Ok(values.into_iter().map(Some).collect());
    }
    let next = |level| if level > 0 { values.pop_front() } else { None };
    Ok(levels.definition.into_iter().map(next).collect())
}

fn json(value: impl Serialize) -> Result<Box<RawValue>, String> {
    to_raw_value(&value).map_err(|error| error.to_string())
}

fn text(value: &ByteArray) -> Result<String, String> {
    let text = std::str::from_utf8(value.data());
    text.map(str::to_owned)
        .map_err(|_not_utf8| "a text that is not UTF-8".to_owned())
}
