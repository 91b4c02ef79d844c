//! Which of a Parquet file's columns are the vectors, the ids and the texts.

use parquet::basic::{ConvertedType, LogicalType, Repetition, Type};
use parquet::schema::types::{ColumnDescriptor, SchemaDescriptor};

use super::flat::{Kind, is_flat};
use super::{ReadOptions, VECTOR_NAMES, Vectors};
use crate::set::SCALE;
use crate::{Stored, VectorsError};

/// Names of what a row has of its own beside its vector.
const OWN: [&str; 2] = ["id", "text"];

/// The columns that are read, by their place among the leaves.
pub(super) struct Columns {
    pub(super) vectors: Option<Leaf>,
    pub(super) id: Option<usize>,
    pub(super) text: Option<usize>,
    pub(super) scale: Option<usize>,
    /// The others that are read.
    pub(super) rest: Vec<Rest>,
    /// Names of those that are not.
    pub(super) others: Vec<String>,
}

/// A column of single values that is read as a field of each row.
#[derive(Debug)]
pub(super) struct Rest {
    pub(super) index: usize,
    pub(super) name: String,
    pub(super) kind: Kind,
}

/// A column of lists of numbers.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    pub(super) index: usize,
    pub(super) name: String,
    pub(super) stored: Stored,
    /// The level at which a number is there.
    pub(super) definition: i16,
    /// Whether a number may be null.
    pub(super) nullable: bool,
}

impl Columns {
    pub(super) fn find(
        file: &str,
        schema: &SchemaDescriptor,
        options: &ReadOptions,
    ) -> Result<Self, VectorsError> {
        let names: Vec<&str> = schema.columns().iter().map(|leaf| root(leaf)).collect();
        let find = Find {
            file,
            schema,
            names: &names,
        };
        let vectors = match &options.vectors {
            Vectors::Skipped => None,
            Vectors::Named(name) => Some(find.vectors(name)?),
            Vectors::Usual => Some(find.usual_vectors()?),
        };
        let id = find.label(
            options.id.as_deref(),
            "id",
            is_id,
            "a column of texts or whole numbers",
        )?;
        let text = find.label(
            options.text.as_deref(),
            "text",
            is_text,
            "a column of texts",
        )?;
        let float = |leaf: &ColumnDescriptor| leaf.physical_type() == Type::FLOAT;
        let scale = match options.scales {
            true => find.label(None, SCALE, float, "a column of f32")?,
            false => None,
        };
        let read = [vectors.as_ref().map(|leaf| leaf.index), id, text, scale];
        let (mut rest, mut others) = (Vec::new(), Vec::<String>::new());
        for (index, name) in names.iter().enumerate() {
            let usual = options.vectors == Vectors::Skipped && VECTOR_NAMES.contains(name);
            if read.contains(&Some(index)) || usual {
                continue;
            }
            let leaf = schema.column(index);
            // A field of one of these names would stand for the row's own.
            let own = OWN.contains(name) || VECTOR_NAMES.contains(name);
            let asked = options.rest && !own && leaf.path().parts().len() == 1;
            match Kind::of(&leaf).filter(|_| asked) {
                Some(kind) => rest.push(Rest {
                    index,
                    name: (*name).to_owned(),
                    kind,
                }),
                None if others.last().is_some_and(|last| last == name) => {}
                None => others.push((*name).to_owned()),
            }
        }
        Ok(Self {
            vectors,
            id,
            text,
            scale,
            rest,
            others,
        })
    }
}

struct Find<'a> {
    file: &'a str,
    schema: &'a SchemaDescriptor,
    /// The top column of each leaf.
    names: &'a [&'a str],
}

impl Find<'_> {
    fn vectors(&self, name: &str) -> Result<Leaf, VectorsError> {
        let index = self.only(name)?;
        let index = index.ok_or_else(|| self.wrong(format!("no column {name:?}")))?;
        let leaf = self.schema.column(index);
        let stored = stored(&leaf).filter(|_| leaf.max_rep_level() == 1);
        let Some(stored) = stored else {
            let what = "no list of f16, f32, f64, i8 or u8";
            return Err(self.wrong(format!("column {name:?} is {what}")));
        };
        Ok(Leaf {
            index,
            name: name.to_owned(),
            stored,
            definition: leaf.max_def_level(),
            nullable: leaf.self_type().get_basic_info().repetition() == Repetition::OPTIONAL,
        })
    }

    fn usual_vectors(&self) -> Result<Leaf, VectorsError> {
        let usual = VECTOR_NAMES.iter().find(|name| self.names.contains(name));
        match usual {
            Some(name) => self.vectors(name),
            None => {
                let names = VECTOR_NAMES.join(", ");
                Err(self.wrong(format!("no column is called one of {names}")))
            }
        }
    }

    /// A column of single values: the one asked for, or the usual one if it is there and of the right type.
    fn label(
        &self,
        asked: Option<&str>,
        usual: &str,
        fits: impl Fn(&ColumnDescriptor) -> bool,
        wanted: &str,
    ) -> Result<Option<usize>, VectorsError> {
        let name = asked.unwrap_or(usual);
        let index = self.only(name)?;
        let flat = |index: &usize| {
            let leaf = self.schema.column(*index);
            is_flat(&leaf) && fits(&leaf)
        };
        match (index, index.filter(flat)) {
            (None, _) if asked.is_some() => Err(self.wrong(format!("no column {name:?}"))),
            (Some(_), None) if asked.is_some() => {
                Err(self.wrong(format!("column {name:?} is not {wanted}")))
            }
            (_, found) => Ok(found),
        }
    }

    /// The leaf of a top column that has one.
    fn only(&self, name: &str) -> Result<Option<usize>, VectorsError> {
        let found = self.names.iter().enumerate();
        let mut found = found
            .filter(|(_, there)| **there == name)
            .map(|(index, _)| index);
        let first = found.next();
        if found.next().is_some() {
            return Err(self.wrong(format!("column {name:?} is a record of several columns")));
        }
        Ok(first)
    }

    fn wrong(&self, reason: String) -> VectorsError {
        let kind = |leaf: &ColumnDescriptor| {
            let list = if leaf.max_rep_level() > 0 {
                "list of "
            } else {
                ""
            };
            let kind = match stored(leaf) {
                Some(stored) => stored.name().to_owned(),
                None => leaf.physical_type().to_string().to_ascii_lowercase(),
            };
            format!("{} ({list}{kind})", leaf.path().string())
        };
        let leaves = self.schema.columns().iter();
        let found: Vec<String> = leaves.map(|leaf| kind(leaf)).collect();
        VectorsError::Column {
            path: self.file.to_owned(),
            reason,
            found: found.join(", "),
        }
    }
}

fn root(leaf: &ColumnDescriptor) -> &str {
    leaf.path().parts().first().map_or("", |name| name.as_str())
}

fn stored(leaf: &ColumnDescriptor) -> Option<Stored> {
    match leaf.physical_type() {
        Type::FLOAT => Some(Stored::F32),
        Type::DOUBLE => Some(Stored::F64),
        Type::INT32 => match leaf.converted_type() {
            ConvertedType::INT_8 => Some(Stored::I8),
            ConvertedType::UINT_8 => Some(Stored::U8),
            _ => None,
        },
        Type::FIXED_LEN_BYTE_ARRAY => {
            let half = leaf.logical_type_ref() == Some(&LogicalType::Float16);
            (half && leaf.type_length() == 2).then_some(Stored::F16)
        }
        _ => None,
    }
}

fn is_text(leaf: &ColumnDescriptor) -> bool {
    leaf.physical_type() == Type::BYTE_ARRAY
}

fn is_id(leaf: &ColumnDescriptor) -> bool {
    let whole = matches!(leaf.physical_type(), Type::INT32 | Type::INT64);
    let plain = leaf.converted_type() == ConvertedType::NONE
        || format!("{}", leaf.converted_type()).contains("INT");
    is_text(leaf) || (whole && plain)
}
