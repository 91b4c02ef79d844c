//! Where a model's files are: among those that are here, or on the hub.
//!
//! In: a model. Out: its files, fetched first if need be. What is here is used as it is, without a question to the network.

use std::path::PathBuf;

use lattice_hub::{Choice, Hub, HubOptions, ModelName, Record, Taken};
use lattice_inference::checkpoint::{ModelFiles, ModelStore};

use crate::{EmbedError, EmbeddingModel, Facts};

/// Where models are kept in a home directory: the place that `lattice pull` has without settings.
const MODELS: &str = ".lattice/models";
/// Where the Hugging Face libraries keep them.
const HUB_CACHE: &str = ".cache/huggingface/hub";

/// Where models come from.
#[derive(Debug, Clone)]
pub struct ModelSource {
    /// Where models are, and new ones go.
    pub store: ModelStore,
    /// Where models are got that are not here; `None`: from nowhere.
    pub hub: Option<HubOptions>,
}

impl ModelSource {
    /// The home directory's models, and the hub for others. Of the environment nothing is read but what the system goes by to find
    /// the home directory; variables like `HF_HOME` are for programs to read, which fill in the fields.
    ///
    /// # Errors
    /// [`EmbedError::NoHome`].
    pub fn home() -> Result<Self, EmbedError> {
        let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
        let home = home.ok_or(EmbedError::NoHome)?;
        let store = ModelStore {
            root: home.join(MODELS),
            hub_cache: Some(home.join(HUB_CACHE)),
        };
        Ok(Self {
            store,
            hub: Some(HubOptions::default()),
        })
    }

    /// Models in `root` alone.
    pub fn offline(root: impl Into<PathBuf>) -> Self {
        let store = ModelStore {
            root: root.into(),
            hub_cache: None,
        };
        Self { store, hub: None }
    }

    /// The files of a model; `watch` hears about a download, and stops it.
    ///
    /// # Errors
    /// [`EmbedError::NotHere`] where the network may not be used; what the network, or the disk, says.
    pub fn files(
        &self,
        model: &EmbeddingModel,
        watch: &mut lattice_hub::Watch<'_>,
    ) -> Result<ModelFiles, EmbedError> {
        let Some(name) = model.hub_name() else {
            return match model {
                EmbeddingModel::Local(path) => Ok(ModelFiles::open(path)?),
                other => Ok(self.store.resolve(&other.to_string())?),
            };
        };
        let name: ModelName = name.parse()?;
        let directory = name.directory();
        if self.store.find(&directory).is_none() {
            let not_here = || EmbedError::NotHere {
                model: model.to_string(),
            };
            let options = self.hub.as_ref().filter(|options| !options.offline);
            self.pull(&name, options.ok_or_else(not_here)?, watch)?;
        }
        Ok(self.store.resolve(&directory)?)
    }

    fn pull(
        &self,
        name: &ModelName,
        options: &HubOptions,
        watch: &mut lattice_hub::Watch<'_>,
    ) -> Result<(), EmbedError> {
        let hub = Hub::new(options.clone())?;
        let listing = hub.listing(name)?;
        let choice = Choice::of(&listing, &[])?;
        if let Taken::Pull(pull) = hub.take(&self.store.root, listing, choice, watch)? {
            pull.check_room()?;
            pull.fetch(watch)?;
        }
        Ok(())
    }
}

/// Which of the nine a directory is: as the record of its download says, or its name.
pub(crate) fn facts_of(files: &ModelFiles) -> Option<&'static Facts> {
    let record = files.path().and_then(|path| Record::open(path).ok()?);
    if let Some(record) = record {
        return Facts::of_hub(&record.name);
    }
    let name = files.name();
    let last = |facts: &&Facts| {
        let (_, last) = facts.hub.split_once('/').unwrap_or(("", facts.hub));
        last.eq_ignore_ascii_case(&name) || facts.hub.eq_ignore_ascii_case(&name)
    };
    let mut known = EmbeddingModel::known().filter_map(|model| model.facts());
    known.find(last)
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use lattice_testkit::ScratchDir;

    use super::*;

    #[test]
    fn what_is_not_here_is_said_with_what_to_do() {
        let dir = ScratchDir::new().unwrap();
        let source = ModelSource::offline(dir.path());
        let watch = &mut |_event: lattice_hub::Event<'_>| ControlFlow::Continue(());
        let words = |model: EmbeddingModel, watch: &mut lattice_hub::Watch<'_>| {
            source.files(&model, watch).unwrap_err().to_string()
        };
        let found = words(EmbeddingModel::default(), watch);
        assert!(
            found.contains("`lattice pull bge-small-en-v1.5`"),
            "{found}"
        );
        let found = words(EmbeddingModel::Local(dir.path().join("none")), watch);
        assert!(found.contains("cannot open"), "{found}");
    }

    #[test]
    fn a_directory_is_one_of_the_nine_by_its_name() {
        let dir = ScratchDir::new().unwrap();
        let facts = |name: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir(&path).unwrap();
            facts_of(&ModelFiles::open(&path).unwrap()).map(|facts| facts.name)
        };
        assert_eq!(facts("all-MiniLM-L6-v2"), Some("all-minilm-l6-v2"));
        assert_eq!(facts("all-MiniLM-L6-v2-mine"), None);
    }
}
