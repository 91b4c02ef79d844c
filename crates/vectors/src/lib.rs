//! Sets of vectors in files.
//!
//! In: paths to npy, JSONL or Parquet files. Out: rows of numbers with their texts and ids, in pieces; and the way back.
//! It does not know: models, what the numbers mean, terminals, the environment.

#![doc = include_str!("../README.md")]

mod error;
mod format;
mod npy;
mod read;
mod set;
mod write;

pub use error::VectorsError;
pub use format::{Format, Stored};
pub use npy::{write_npy_header, write_npy_values};
pub use read::{PIECE_ROWS, ReadOptions, VECTOR_NAMES, VectorReader, Vectors};
pub use set::{Field, Id, Label, Rows, Values, VectorSet};
pub use write::{Ids, VectorWriter, WriteOptions, write_json_line};
