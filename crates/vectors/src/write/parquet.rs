//! Pieces of a Parquet file: groups of rows.
//!
//! Each piece is written by the `parquet` crate as a whole small file in memory. Its group of rows goes into ours as it is;
//! its footer is kept as the piece's note, in hex. At the end, the footer of the whole is made of those of the pieces: the
//! same groups, moved to where they lie.

use std::sync::Arc;

use parquet::basic::{Compression, Encoding, IntType, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, FloatType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ColumnChunkMetaData, FileMetaData, KeyValue, ParquetMetaData, ParquetMetaDataReader,
    ParquetMetaDataWriter, RowGroupMetaData,
};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{ColumnPath, Type, TypePtr};

use super::encode::{Encoded, Encoder, Ending, Piece, PieceLine, check_id};
use super::{Ids, WriteOptions};
use crate::set::SCALE;
use crate::{Id, Label, Stored, VECTOR_NAMES, Values, VectorsError};

/// The version is that of the form, not of the crate: the same rows make the same bytes.
const CREATED_BY: &str = "lattice-vectors version 1";
const MAGIC: &[u8] = b"PAR1";
/// Magic and length at a file's end.
const TRAILER: usize = 8;
/// Groups that a file may have.
const GROUPS_MAX: usize = i16::MAX as usize;

pub(super) struct Parquet {
    schema: TypePtr,
    properties: WriterPropertiesPtr,
    ids: Ids,
    texts: bool,
    scales: bool,
    notes: Vec<KeyValue>,
    /// Of the last piece: they are the same for all pieces of as many rows.
    levels: Levels,
}

#[derive(Default)]
struct Levels {
    rows: usize,
    definition: Vec<i16>,
    repetition: Vec<i16>,
}

impl Parquet {
    pub(super) fn new(options: &WriteOptions) -> Result<Self, VectorsError> {
        let schema =
            schema(options).map_err(|error| VectorsError::file("the schema", error.to_string()))?;
        let note = |(name, value): &(String, String)| KeyValue::new(name.clone(), value.clone());
        Ok(Self {
            schema: Arc::new(schema),
            properties: Arc::new(properties(options.stored)),
            ids: options.ids,
            texts: options.texts,
            scales: options.scales,
            notes: options.fingerprint.iter().map(note).collect(),
            levels: Levels::default(),
        })
    }

    /// A whole file of one group.
    fn file(&mut self, piece: &Piece<'_>) -> Result<Vec<u8>, ParquetError> {
        if self.levels.rows != piece.rows {
            self.levels = Levels {
                rows: piece.rows,
                definition: vec![1; piece.rows * piece.columns],
                repetition: vec![1; piece.rows * piece.columns],
            };
            let firsts = self.levels.repetition.iter_mut().step_by(piece.columns);
            firsts.for_each(|level| *level = 0);
        }
        let (schema, properties) = (Arc::clone(&self.schema), Arc::clone(&self.properties));
        let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties)?;
        let mut group = writer.next_row_group()?;
        match self.ids {
            Ids::No => {}
            Ids::Int => {
                write_numbers::<Int64Type>(&mut group, piece.labels, |label| match label.id {
                    Some(Id::Int(id)) => Some(id),
                    _ => None,
                })?
            }
            Ids::Text => write_texts(&mut group, piece.labels, |label| match &label.id {
                Some(Id::Text(id)) => Some(id),
                _ => None,
            })?,
        }
        if self.texts {
            write_texts(&mut group, piece.labels, |label| label.text.as_ref())?;
        }
        if self.scales {
            let scale = |label: &Label| label.scale;
            write_numbers::<FloatType>(&mut group, piece.labels, scale)?;
        }
        self.levels.write(&mut group, piece.values)?;
        group.close()?;
        writer.into_inner()
    }

    fn footer(&self, pieces: &[PieceLine]) -> Result<Vec<u8>, ParquetError> {
        let wrong = |words: &str| ParquetError::General(words.to_owned());
        let mut groups = Vec::new();
        let mut rows = 0;
        let mut schema = None;
        for (index, piece) in pieces.iter().enumerate() {
            let footer =
                from_hex(&piece.note).ok_or_else(|| wrong("a piece without its footer"))?;
            let metadata = ParquetMetaDataReader::decode_metadata(&footer)?;
            let [group] = metadata.row_groups() else {
                return Err(wrong("a piece that is no group of rows"));
            };
            let by = piece.begin as i64 - MAGIC.len() as i64;
            groups.push(moved(group, by, index)?);
            rows += piece.rows as i64;
            schema = Some(metadata.file_metadata().schema_descr_ptr());
        }
        let schema = match schema {
            Some(schema) => schema,
            None => Arc::new(parquet::schema::types::SchemaDescriptor::new(Arc::clone(
                &self.schema,
            ))),
        };
        let notes = (!self.notes.is_empty()).then(|| self.notes.clone());
        let created_by = Some(self.properties.created_by().to_owned());
        let file = FileMetaData::new(1, rows, created_by, notes, schema, None);
        let metadata = ParquetMetaData::new(file, groups);
        let mut bytes = Vec::new();
        ParquetMetaDataWriter::new(&mut bytes, &metadata).finish()?;
        Ok(bytes)
    }
}

impl Encoder for Parquet {
    fn head(&self) -> Vec<u8> {
        MAGIC.to_vec()
    }

    fn check(&self, label: &Label) -> Result<(), String> {
        check_id(self.ids, label)?;
        if label.text.is_some() && !self.texts {
            return Err("has a text, the file is to have none".to_owned());
        }
        if label.scale.is_some() && !self.scales {
            return Err("has a scale, the file is to have none".to_owned());
        }
        match label.rest.first() {
            Some(field) => Err(format!(
                "a field {:?}, for which the file has no column",
                field.name
            )),
            None => Ok(()),
        }
    }

    fn encode(&mut self, piece: &Piece<'_>) -> Result<Encoded, String> {
        let mut bytes = self.file(piece).map_err(|error| error.to_string())?;
        let trailer = bytes.len() - TRAILER;
        let length: [u8; 4] = bytes[trailer..trailer + 4].try_into().unwrap_or_default();
        let footer = trailer - u32::from_le_bytes(length) as usize;
        let note = bytes[footer..trailer]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        bytes.truncate(footer);
        bytes.drain(..MAGIC.len());
        Ok(Encoded { bytes, note })
    }

    fn ending(&self, pieces: &[PieceLine]) -> Result<Ending, String> {
        if pieces.len() > GROUPS_MAX {
            let pieces = pieces.len();
            return Err(format!(
                "{pieces} groups of rows; a Parquet file has at most {GROUPS_MAX}"
            ));
        }
        Ok(Ending {
            head: MAGIC.to_vec(),
            tail: self.footer(pieces).map_err(|error| error.to_string())?,
        })
    }
}

fn schema(options: &WriteOptions) -> Result<Type, ParquetError> {
    let mut fields = Vec::new();
    let field = |name: &str, physical, logical| {
        Type::primitive_type_builder(name, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical)
            .build()
            .map(Arc::new)
    };
    match options.ids {
        Ids::No => {}
        Ids::Int => fields.push(field("id", Physical::INT64, None)?),
        Ids::Text => fields.push(field(
            "id",
            Physical::BYTE_ARRAY,
            Some(LogicalType::String),
        )?),
    }
    if options.texts {
        fields.push(field(
            "text",
            Physical::BYTE_ARRAY,
            Some(LogicalType::String),
        )?);
    }
    if options.scales {
        fields.push(field(SCALE, Physical::FLOAT, None)?);
    }
    let byte = |is_signed| {
        Some(LogicalType::Integer(IntType {
            bit_width: 8,
            is_signed,
        }))
    };
    let (physical, logical) = match options.stored {
        Stored::I8 => (Physical::INT32, byte(true)),
        Stored::U8 => (Physical::INT32, byte(false)),
        Stored::F16 | Stored::F32 | Stored::F64 => (Physical::FLOAT, None),
    };
    let element = Type::primitive_type_builder("element", physical)
        .with_repetition(Repetition::REQUIRED)
        .with_logical_type(logical)
        .build()?;
    let list = Type::group_type_builder("list")
        .with_repetition(Repetition::REPEATED)
        .with_fields(vec![Arc::new(element)])
        .build()?;
    let vectors = Type::group_type_builder(VECTOR_NAMES[0])
        .with_repetition(Repetition::REQUIRED)
        .with_logical_type(Some(LogicalType::List))
        .with_fields(vec![Arc::new(list)])
        .build()?;
    fields.push(Arc::new(vectors));
    Type::group_type_builder("schema")
        .with_fields(fields)
        .build()
}

/// Vectors plain, as nothing makes them smaller; bytes by a dictionary, which is one byte for each; texts by snappy.
fn properties(stored: Stored) -> WriterProperties {
    let path = [VECTOR_NAMES[0], "list", "element"].map(str::to_owned);
    let vectors = ColumnPath::new(path.to_vec());
    let bytes = matches!(stored, Stored::I8 | Stored::U8);
    WriterProperties::builder()
        .set_created_by(CREATED_BY.to_owned())
        .set_compression(Compression::SNAPPY)
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_offset_index_disabled(true)
        .set_encoding(Encoding::PLAIN)
        .set_column_compression(vectors.clone(), Compression::UNCOMPRESSED)
        .set_column_dictionary_enabled(vectors, bytes)
        .set_max_row_group_row_count(None)
        .build()
}

impl Levels {
    fn write(
        &self,
        group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
        values: Values<'_>,
    ) -> Result<(), ParquetError> {
        let Some(mut column) = group.next_column()? else {
            return Ok(());
        };
        let (definition, repetition) = (Some(&self.definition[..]), Some(&self.repetition[..]));
        let widened: Vec<i32> = match values {
            Values::F32(values) => {
                let typed = column.typed::<FloatType>();
                typed.write_batch(values, definition, repetition)?;
                return column.close();
            }
            Values::I8(values) => values.iter().map(|value| i32::from(*value)).collect(),
            Values::U8(values) => values.iter().map(|value| i32::from(*value)).collect(),
        };
        let typed = column.typed::<Int32Type>();
        typed.write_batch(&widened, definition, repetition)?;
        column.close()
    }
}

fn write_numbers<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    labels: &[Label],
    number: impl Fn(&Label) -> Option<T::T>,
) -> Result<(), ParquetError> {
    let Some(mut column) = group.next_column()? else {
        return Ok(());
    };
    let numbers: Vec<T::T> = labels.iter().filter_map(&number).collect();
    let there = labels
        .iter()
        .map(|label| i16::from(number(label).is_some()));
    let there: Vec<i16> = there.collect();
    column
        .typed::<T>()
        .write_batch(&numbers, Some(&there), None)?;
    column.close()
}

fn write_texts(
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    labels: &[Label],
    text: impl Fn(&Label) -> Option<&String>,
) -> Result<(), ParquetError> {
    let Some(mut column) = group.next_column()? else {
        return Ok(());
    };
    let texts = labels.iter().filter_map(&text);
    let texts: Vec<ByteArray> = texts.map(|text| ByteArray::from(text.as_str())).collect();
    let there = labels.iter().map(|label| i16::from(text(label).is_some()));
    let there: Vec<i16> = there.collect();
    column
        .typed::<ByteArrayType>()
        .write_batch(&texts, Some(&there), None)?;
    column.close()
}

/// The group, all its places `by` bytes further.
fn moved(
    group: &RowGroupMetaData,
    by: i64,
    index: usize,
) -> Result<RowGroupMetaData, ParquetError> {
    let columns: Result<Vec<ColumnChunkMetaData>, ParquetError> = group
        .columns()
        .iter()
        .map(|column| {
            column
                .clone()
                .into_builder()
                .set_data_page_offset(column.data_page_offset() + by)
                .set_dictionary_page_offset(column.dictionary_page_offset().map(|at| at + by))
                .build()
        })
        .collect();
    let ordinal = i32::try_from(index).unwrap_or(i32::MAX);
    let builder = group.clone().into_builder().set_column_metadata(columns?);
    let builder = builder.set_ordinal(ordinal);
    match group.file_offset() {
        Some(at) => builder.set_file_offset(at + by).build(),
        None => builder.build(),
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.0.iter().map(byte).collect()
}
