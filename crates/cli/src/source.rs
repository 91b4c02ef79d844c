//! Which model a command means: a path, a name in the store, a short name, or the one inside the binary.

use std::path::PathBuf;

use clap::Args;
use lattice_hub::{ALIASES, ModelName, alias_of};
use lattice_inference::checkpoint::{LoadError, ModelFiles, ModelStore};

use crate::args::{self, ModelArgs};
use crate::bundled;

/// How alike a name must be to be asked for: 1 is the same.
const ALIKE: f64 = 0.7;
/// Models that are named where one is not found.
const NAMED_MAX: usize = 20;

/// Where models lie that are called by name.
#[derive(Debug, Args, Clone)]
pub(crate) struct StoreArgs {
    /// Where models lie that are called by name [default: $LATTICE_MODEL_CACHE, else ~/.lattice/models]
    #[arg(long, value_name = "DIR")]
    pub(crate) model_dir: Option<PathBuf>,
}

/// Why no model was found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A name that leads nowhere: what is here, what was meant, how to get it.
    #[error("no model {name:?} in {root}: {installed}{hint}")]
    Unknown {
        name: String,
        root: String,
        installed: String,
        hint: String,
    },
}

impl StoreArgs {
    /// The directory of named models: --model-dir, LATTICE_MODEL_CACHE, else ~/.lattice/models; and the cache of the Hugging
    /// Face libraries.
    pub(crate) fn store(&self) -> ModelStore {
        let named = args::variable("LATTICE_MODEL_CACHE").map(PathBuf::from);
        let root = self.model_dir.clone().or(named);
        let root = root.or_else(|| Some(args::home()?.join(".lattice/models")));
        ModelStore {
            root: root.unwrap_or_else(|| PathBuf::from(".lattice/models")),
            hub_cache: hub_cache(),
        }
    }
}

/// HF_HUB_CACHE, else the folder `hub` in HF_HOME, else where these libraries keep it.
fn hub_cache() -> Option<PathBuf> {
    let variable = |name| args::variable(name).map(PathBuf::from);
    if let Some(cache) = variable("HF_HUB_CACHE") {
        return Some(cache);
    }
    let caches = || variable("XDG_CACHE_HOME").or_else(|| Some(args::home()?.join(".cache")));
    let home = variable("HF_HOME").or_else(|| Some(caches()?.join("huggingface")));
    Some(home?.join("hub"))
}

impl ModelArgs {
    /// The files of `model`; those of the bundled one where it is not given, or called by its name and not in the store.
    pub(crate) fn resolve(&self, model: Option<&str>) -> Result<ModelFiles, SourceError> {
        let Some(model) = model else {
            return Ok(bundled::files());
        };
        let store = self.store.store();
        match store.resolve(model) {
            Err(LoadError::UnknownModel { name, .. }) if name == bundled::NAME => {
                Ok(bundled::files())
            }
            Err(LoadError::UnknownModel {
                name, installed, ..
            }) => match meant(&store, &name) {
                Some(meant) => Ok(store.resolve(&meant)?),
                None => Err(unknown(name, &store, installed)),
            },
            // A revision may have more parts than a directory has.
            Err(LoadError::Name { name, reason }) => match meant(&store, &name) {
                Some(meant) => Ok(store.resolve(&meant)?),
                None => Err(LoadError::Name { name, reason }.into()),
            },
            found => Ok(found?),
        }
    }
}

/// Where the model lies that a short name or a revision means, if it is here.
fn meant(store: &ModelStore, name: &str) -> Option<String> {
    let meant = name.parse::<ModelName>().ok()?.directory();
    store.find(&meant).map(|_| meant)
}

fn unknown(name: String, store: &ModelStore, mut installed: Vec<String>) -> SourceError {
    installed.push(format!("{} (bundled)", bundled::NAME));
    let hint = hint(&name, &installed);
    if installed.len() > NAMED_MAX {
        let more = installed.len() - NAMED_MAX;
        installed.truncate(NAMED_MAX);
        installed.push(format!("and {more} more"));
    }
    SourceError::Unknown {
        root: store.root.display().to_string(),
        installed: format!("there are {}", installed.join(", ")),
        hint,
        name,
    }
}

/// What to do about a name that leads nowhere.
fn hint(name: &str, installed: &[String]) -> String {
    if name.parse::<ModelName>().is_ok() {
        return format!("; `lattice pull {name}` gets it from the hub");
    }
    let here = installed
        .iter()
        .map(|name| name.trim_end_matches(" (bundled)"));
    // The end of a model's whole name is what people remember of it.
    let here = here.flat_map(|whole| [(whole, whole), (short_of(whole), whole)]);
    let known = here.chain(ALIASES.iter().map(|alias| (alias.short, alias.short)));
    let lower = name.to_lowercase();
    let likeness = |(known, whole): (&str, &'_ str)| {
        let likeness = strsim::jaro_winkler(&lower, &known.to_lowercase());
        (likeness, whole.to_owned())
    };
    let best = known
        .map(likeness)
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let Some((_, best)) = best else {
        return "; `lattice pull org/name` gets one from the hub".to_owned();
    };
    match alias_of(&best) {
        Some(_) => format!("; did you mean {best}? `lattice pull {best}` gets it"),
        None => format!("; did you mean {best}?"),
    }
}

fn short_of(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_says_what_to_do() {
        let installed = [
            "org/My-Model".to_owned(),
            "lattice-tiny (bundled)".to_owned(),
        ];
        let hint = |name: &str| hint(name, &installed);
        assert!(hint("qwen3.5-0.8b").contains("`lattice pull qwen3.5-0.8b` gets it"));
        assert!(hint("org/other").contains("`lattice pull org/other` gets it"));
        assert!(hint("my-modl").contains("did you mean org/My-Model?"));
        assert!(hint("latice-tiny").contains("did you mean lattice-tiny?"));
        assert!(hint("qwen3.5-0.8").contains("did you mean qwen3.5-0.8b? `lattice pull"));
        assert!(hint("zzz").contains("`lattice pull org/name`"));
    }
}
