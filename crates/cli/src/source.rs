//! Which model a command means: a path, a name in the store, or the one inside the binary.

use std::path::PathBuf;

use lattice_inference::checkpoint::{LoadError, ModelFiles, ModelStore};

use crate::args::{self, ModelArgs};
use crate::bundled;

impl ModelArgs {
    /// The directory of named models: --model-dir, LATTICE_MODEL_CACHE, else ~/.lattice/models.
    pub(crate) fn store(&self) -> ModelStore {
        let named = args::variable("LATTICE_MODEL_CACHE").map(PathBuf::from);
        let root = self.model_dir.clone().or(named);
        let root = root.or_else(|| Some(args::home()?.join(".lattice/models")));
        ModelStore {
            root: root.unwrap_or_else(|| PathBuf::from(".lattice/models")),
            hub_cache: None,
        }
    }

    /// The files of `model`; those of the bundled one where it is not given, or called by its name and not in the store.
    pub(crate) fn resolve(&self, model: Option<&str>) -> Result<ModelFiles, LoadError> {
        let Some(model) = model else {
            return Ok(bundled::files());
        };
        match self.store().resolve(model) {
            Err(LoadError::UnknownModel { name, .. }) if name == bundled::NAME => {
                Ok(bundled::files())
            }
            Err(LoadError::UnknownModel {
                name,
                mut installed,
                root,
            }) => {
                installed.push(format!("{} (bundled)", bundled::NAME));
                Err(LoadError::UnknownModel {
                    name,
                    installed,
                    root,
                })
            }
            found => found,
        }
    }
}
