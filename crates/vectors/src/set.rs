//! Rows in memory: numbers, and what is known of each row beside them.

use serde_json::value::RawValue;

use crate::Stored;

/// The field or column of [`Label::scale`].
pub(crate) const SCALE: &str = "scale";

/// Rows of vectors: a piece of a file, or all of it.
#[derive(Debug, Clone)]
pub struct VectorSet {
    /// The first row's place in the file, from 0.
    pub first_row: u64,
    /// Rows here.
    pub rows: usize,
    /// Numbers in a row; 0 where the vectors were not asked for.
    pub columns: usize,
    /// How the numbers are kept in the file. Binary vectors are [`Stored::U8`], eight dimensions to a number.
    pub stored: Stored,
    /// `[rows, columns]`.
    pub values: Vec<f32>,
    /// `[rows]`, or empty for a kind of file that has none (.npy).
    pub labels: Vec<Label>,
}

impl VectorSet {
    /// Nothing yet; readers fill it.
    pub fn new() -> Self {
        Self {
            first_row: 0,
            rows: 0,
            columns: 0,
            stored: Stored::F32,
            values: Vec::new(),
            labels: Vec::new(),
        }
    }

    /// One row's numbers.
    ///
    /// # Panics
    /// If `row` is not below `rows`.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.columns..][..self.columns]
    }
}

impl Default for VectorSet {
    fn default() -> Self {
        Self::new()
    }
}

/// What a row is called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Id {
    /// A number.
    Int(i64),
    /// A text.
    Text(String),
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Int(id) => write!(f, "{id}"),
            Self::Text(id) => f.write_str(id),
        }
    }
}

/// What stands beside a row's numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Label {
    /// What the row is called.
    pub id: Option<Id>,
    /// The text it was made of.
    pub text: Option<String>,
    /// What the row's bytes are multiplied by, if they were rounded with a scale each.
    pub scale: Option<f32>,
    /// Other fields of a JSON line, in their order.
    pub rest: Vec<Field>,
}

/// A field of a JSON line that is none of ours.
#[derive(Debug, Clone)]
pub struct Field {
    pub(crate) name: String,
    pub(crate) value: Box<RawValue>,
}

impl Field {
    /// A field, its value as JSON; `None` if that is no JSON.
    pub fn new(name: &str, json: &str) -> Option<Self> {
        let value = RawValue::from_string(json.to_owned()).ok()?;
        Some(Self {
            name: name.to_owned(),
            value,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its value, as JSON, just as it stood in the file.
    pub fn json(&self) -> &str {
        self.value.get()
    }
}

impl PartialEq for Field {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.json() == other.json()
    }
}

/// Rows for a writer.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// `[rows, columns]`.
    pub values: Values<'a>,
    /// `[rows]`; for .npy files, which have none, empty.
    pub labels: &'a [Label],
}

/// Numbers as they are written.
#[derive(Debug, Clone, Copy)]
pub enum Values<'a> {
    /// [`Stored::F32`].
    F32(&'a [f32]),
    /// [`Stored::I8`].
    I8(&'a [i8]),
    /// [`Stored::U8`]: binary vectors, eight dimensions to a byte.
    U8(&'a [u8]),
}

impl<'a> Values<'a> {
    /// Some of them.
    pub(crate) fn part(&self, range: std::ops::Range<usize>) -> Values<'a> {
        match self {
            Self::F32(values) => Values::F32(&values[range]),
            Self::I8(values) => Values::I8(&values[range]),
            Self::U8(values) => Values::U8(&values[range]),
        }
    }

    /// How many numbers.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::I8(values) => values.len(),
            Self::U8(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How they are kept in a file.
    pub fn stored(&self) -> Stored {
        match self {
            Self::F32(_) => Stored::F32,
            Self::I8(_) => Stored::I8,
            Self::U8(_) => Stored::U8,
        }
    }
}
