//! Which kind of file a set is in, and how its numbers are kept there.

use std::path::Path;

use crate::VectorsError;

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// numpy's `.npy`: a header and the numbers, nothing else.
    Npy,
    /// `.jsonl` or `.ndjson`: one JSON object per line.
    Jsonl,
    /// `.parquet`: columns in groups of rows.
    Parquet,
}

impl Format {
    /// The kind a path's ending says.
    ///
    /// # Errors
    /// [`VectorsError::File`] for any other ending.
    pub fn of(path: &Path) -> Result<Self, VectorsError> {
        let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
        match ending.to_str() {
            Some("npy") => Ok(Self::Npy),
            Some("jsonl" | "ndjson") => Ok(Self::Jsonl),
            Some("parquet") => Ok(Self::Parquet),
            _ => Err(VectorsError::file(
                &path.display().to_string(),
                "the name ends with none of .npy, .jsonl, .ndjson and .parquet",
            )),
        }
    }
}

/// How a number is kept in a file. All but [`F64`](Self::F64) are exact as f32, which is what readers give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// IEEE half precision.
    F16,
    /// IEEE single precision.
    F32,
    /// IEEE double precision; read rounded to f32.
    F64,
    /// Signed bytes.
    I8,
    /// Unsigned bytes; binary vectors are packed eight dimensions to one of them.
    U8,
}

impl Stored {
    /// Bytes of one number in an .npy file.
    pub fn bytes(self) -> u64 {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
            Self::I8 | Self::U8 => 1,
        }
    }

    /// The name, as in `f32`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::I8 => "i8",
            Self::U8 => "u8",
        }
    }
}
