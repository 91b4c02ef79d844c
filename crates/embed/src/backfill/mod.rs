//! A store of texts and their vectors, and its way from one model to another.
//!
//! In: texts with ids, and whoever makes vectors of them ([`Embed`]: a closure, so a model is one and a test is another).
//! Out: a directory of shards (Parquet or JSON lines) and a manifest. It does not know: models, terminals.
//!
//! The way, each step a method of [`Store`]:
//!
//! | step | from | to | what is done |
//! |---|---|---|---|
//! | [`plan`](Store::plan) | settled | filling | a second generation, without rows, made by another model |
//! | [`fill`](Store::fill) | filling | filled | its shards are written, one by one; a run that breaks off goes on |
//! | [`verify`](Store::verify) | filled, verified | verified | counts, hashes, ids, texts, every number; a sample is embedded again |
//! | [`cut_over`](Store::cut_over) | verified | cut over | the new generation is the one that is read |
//! | [`rollback`](Store::rollback) | cut over | verified | the old one is read again |
//! | [`prune`](Store::prune) | cut over | settled | the old one is removed |
//! | [`abandon`](Store::abandon) | filling, filled, verified | settled | the new one is removed |
//!
//! **The window.** As long as there are two generations, from `plan` to `prune` or `abandon`, rows that arrive are embedded by
//! both models and written to both ([`Store::append`]): so the new one lacks nothing when it takes over, and the old one
//! lacks nothing when it comes back.
//!
//! **The truth** is the manifest, and one rename changes it. A kill at any moment leaves the old one or the new one; files
//! that it does not name are not there.
//!
//! ```
//! use lattice_embed::backfill::{Dtype, FillOptions, Identity, Numbers, Row, ShardForm, ShardIds, ShardKind, Store};
//! use std::ops::ControlFlow;
//!
//! # fn main() -> Result<(), lattice_embed::backfill::BackfillError> {
//! # let dir = std::env::temp_dir().join(format!("lattice-store-doc-{}", std::process::id()));
//! # let _ = std::fs::remove_dir_all(&dir);
//! let identity = |model: &str, dims| Identity {
//!     model: model.to_owned(), revision: "1".to_owned(), dims, dtype: Dtype::F32, settings: Vec::new(),
//! };
//! let (old, new) = (identity("old", 1), identity("new", 2));
//! let mut by_old = |texts: &[&str]| Ok(Numbers::F32(texts.iter().map(|text| text.len() as f32).collect()));
//! let mut by_new = |texts: &[&str]| Ok(Numbers::F32(texts.iter().flat_map(|text| [text.len() as f32, 1.0]).collect()));
//!
//! let store = Store::create(&dir, ShardForm { kind: ShardKind::Parquet, ids: ShardIds::None }, &old)?;
//! store.append(&[Row::of_text("one"), Row::of_text("three")], &mut by_old, None)?;
//! store.plan(&new)?;
//! store.append(&[Row::of_text("meanwhile")], &mut by_old, Some(&mut by_new))?;
//! store.fill(&new, &mut by_new, &FillOptions::default(), &mut |_| ControlFlow::Continue(()))?;
//! store.verify(&new, &mut by_new, 64)?;
//! store.cut_over()?;
//! store.prune()?;
//! assert_eq!(store.status()?.current.rows, 3);
//! # std::fs::remove_dir_all(&dir).expect("ours");
//! # Ok(())
//! # }
//! ```

mod append;
mod error;
mod fill;
mod manifest;
mod shard;
mod store;
mod turn;
mod verify;

pub use append::Row;
pub use error::BackfillError;
pub use fill::{FillOptions, Filled, Progress};
pub use manifest::{Dtype, Identity, ShardForm, ShardIds, ShardKind, Stage};
pub use store::{GenerationStatus, Status, Store};
pub use verify::Verified;

/// Makes vectors of texts: as many as texts, one after the other, or says why not.
pub type Embed<'a> = dyn FnMut(&[&str]) -> Result<Numbers, String> + 'a;

/// Vectors, one after the other, as they are stored.
#[derive(Debug, Clone, PartialEq)]
pub enum Numbers {
    /// [`Dtype::F32`].
    F32(Vec<f32>),
    /// [`Dtype::I8`].
    I8 {
        /// A byte for each dimension.
        values: Vec<i8>,
        /// What each vector's bytes are multiplied by; as many as vectors.
        scales: Vec<f32>,
    },
    /// [`Dtype::Binary`], eight dimensions to a byte.
    Binary(Vec<u8>),
}
