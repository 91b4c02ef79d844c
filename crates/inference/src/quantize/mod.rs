//! A model's packed copy: its matrices in integers, everything else as it was.
//!
//! In: a model as it is stored, a recipe, a directory that is not there yet. Out: that directory, complete or not there.
//! Weights stream from the mapped source to the file, so memory does not grow with the model. Whatever ends the program,
//! the next run of the same work goes on behind the last finished tensor; nothing carries the output's name before all
//! of it is on the disk.
//! It does not know: terminals, signals, how a packed model runs.
//!
//! ```
//! use lattice_inference::checkpoint::{ModelFiles, OpenOptions};
//! use lattice_inference::quantize::{Recipe, Source, WriteOptions, plan_tensors, write};
//! use std::ops::ControlFlow;
//!
//! # fn main() -> Result<(), lattice_inference::Error> {
//! # let dir = std::env::temp_dir().join(format!("lattice-doc-{}", std::process::id()));
//! # let _ = std::fs::remove_dir_all(&dir);
//! # std::fs::create_dir(&dir).expect("a temporary directory");
//! # let out = dir.join("tiny-q8");
//! let files = ModelFiles::open("../../models/lattice-tiny".as_ref())?;
//! let source = Source::open(&files, &OpenOptions::default())?;
//! let recipe = Recipe::new("q8".parse().expect("a scheme"));
//! let targets = plan_tensors(&source, &recipe, false)?; // what would be written
//! let options = WriteOptions::default();
//! let staged = write(&source, &recipe, &out, &options, &mut |_progress| ControlFlow::Continue(()))?;
//! let report = staged.publish(None)?; // now it carries its name
//! assert_eq!(report.tensors, targets.tensors.len());
//! assert!(report.after_bytes < report.before_bytes);
//! # std::fs::remove_dir_all(&dir).expect("ours");
//! # Ok(())
//! # }
//! ```

mod error;
mod hash;
mod journal;
mod layout;
mod manifest;
mod piece;
mod place;
mod recipe;
mod stage;
mod targets;
mod write;

pub use error::QuantizeError;
pub use hash::sha256;
pub use recipe::{Recipe, Scheme};
pub use stage::{Report, Staged};
pub use targets::{Source, Target, Targets, plan_tensors};
pub use write::{Progress, Watch, WriteOptions, write};
