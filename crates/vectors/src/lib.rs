//! Sets of vectors in files.
//!
//! In: paths to npy, JSONL or Parquet files. Out: rows of numbers with their texts and ids, in pieces; and the way back.
//! It does not know: models, what the numbers mean, terminals, the environment.
