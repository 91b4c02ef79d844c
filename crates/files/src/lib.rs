//! Names that are safe as paths, and directories that are complete or absent.
//!
//! In: names that others wrote, directories that somebody wants to fill. Out: a refusal, or a [`Stage`]: a working
//! directory under a lock, and one rename that gives it its name; a [`Journal`] of what is done so far.
//! It does not know: what stands in the files, models, networks.
//!
//! ```
//! use lattice_files::{Paths, check_model_name, check_relative};
//!
//! # fn main() -> Result<(), lattice_files::FilesError> {
//! assert!(check_relative("1_Pooling/config.json").is_ok() && check_relative("../x").is_err());
//! assert!(check_model_name("org/name").is_ok() && check_model_name("CON").is_err());
//! # let dir = std::env::temp_dir().join(format!("lattice-files-doc-{}", std::process::id()));
//! # let _ = std::fs::remove_dir_all(&dir);
//! # std::fs::create_dir(&dir).expect("a temporary directory");
//! let stage = Paths::of(&dir.join("out"))?.take()?;
//! std::fs::write(stage.partial().join("file"), "all of it").expect("room for it");
//! assert!(!dir.join("out").exists());
//! stage.publish(&[])?;
//! assert!(dir.join("out/file").is_file());
//! # std::fs::remove_dir_all(&dir).expect("ours");
//! # Ok(())
//! # }
//! ```

mod error;
mod folder;
mod journal;
mod name;
mod stage;

pub use error::FilesError;
pub use folder::{available_bytes, make_folders, no_follow, sync_dir};
pub use journal::{Earlier, Journal};
pub use name::{check_model_name, check_plain, check_relative, matches};
pub use stage::{Paths, Stage, is_unfinished, lock};

/// What a directory that was pulled holds beside the model: where it came from, and its files' hashes.
pub const PULL_RECORD: &str = "lattice-pull.json";
