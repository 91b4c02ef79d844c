//! What a model is called.

use std::fmt;
use std::str::FromStr;

use lattice_files::check_model_name;

use crate::{HubError, alias_of};

/// The revision that is meant where none is named.
const MAIN: &str = "main";
/// More than any name on the hub has.
const BYTES_MAX: usize = 200;

/// `org/name`, and which revision of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelName {
    repository: String,
    revision: Option<String>,
}

impl ModelName {
    /// `org/name`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The branch, tag or commit asked for.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(MAIN)
    }

    /// The same model at another revision.
    ///
    /// # Errors
    /// [`HubError::Name`].
    pub fn at(self, revision: &str) -> Result<Self, HubError> {
        check_revision(revision).map_err(|reason| HubError::name(revision, reason))?;
        Ok(Self {
            revision: (revision != MAIN).then(|| revision.to_owned()),
            ..self
        })
    }

    /// Where it lies below the directory of models: `org/name`, or `org/name@revision` with `+` for `/`.
    pub fn directory(&self) -> String {
        match &self.revision {
            None => self.repository.clone(),
            Some(revision) => format!("{}@{}", self.repository, revision.replace('/', "+")),
        }
    }
}

impl FromStr for ModelName {
    type Err = HubError;

    /// Reads a short name, `org/name` or `org/name@revision`.
    fn from_str(text: &str) -> Result<Self, HubError> {
        let (name, revision) = match text.split_once('@') {
            None => (text, None),
            Some((name, revision)) => (name, Some(revision)),
        };
        let repository = alias_of(name).map_or(name, |alias| alias.name);
        let refused = |reason| HubError::name(text, reason);
        if repository.split('/').count() != 2 {
            return Err(refused("is neither a short name nor org/name"));
        }
        check_repository(repository).map_err(refused)?;
        let found = Self {
            repository: repository.to_owned(),
            revision: None,
        };
        match revision {
            None => Ok(found),
            Some(revision) => found.at(revision).map_err(|error| match error {
                HubError::Name { reason, .. } => refused(reason),
                other => other,
            }),
        }
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        match &self.revision {
            None => Ok(()),
            Some(revision) => write!(f, "@{revision}"),
        }
    }
}

/// The hub's own names have fewer characters than the store takes.
fn check_repository(name: &str) -> Result<(), &'static str> {
    check_model_name(name)?;
    let known = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if !name.chars().all(known) || name.len() > BYTES_MAX {
        return Err("a name on the hub has at most 200 letters, digits and -_. in it");
    }
    Ok(())
}

fn check_revision(revision: &str) -> Result<(), &'static str> {
    check_model_name(&format!("x@{}", revision.replace('/', "+")))?;
    let known = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let plain = lattice_files::check_relative(revision).is_ok();
    if !revision.chars().all(known) || !plain || revision.len() > BYTES_MAX {
        return Err("a revision has at most 200 letters, digits and -_./ in it");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_aliases_and_revisions() {
        let read = |text: &str| text.parse::<ModelName>().unwrap();
        let name = read("SmolLM2-135m");
        assert_eq!(name.repository(), "HuggingFaceTB/SmolLM2-135M-Instruct");
        assert_eq!(
            (name.revision(), name.to_string()),
            ("main", name.directory())
        );
        let name = read("org/name@refs/pr/3");
        assert_eq!(
            (name.repository(), name.revision()),
            ("org/name", "refs/pr/3")
        );
        assert_eq!(name.directory(), "org/name@refs+pr+3");
        assert_eq!(read("org/name@main"), read("org/name"));
        for refused in [
            "",
            "name",
            "a/b/c",
            "org/",
            "/name",
            "org/..",
            "../name",
            "org/na me",
            "org/name@",
            "org/name@../x",
            "org/name@a//b",
            "org/name@a@b",
            "org/n\u{ff0f}m",
            "org\\name",
            "C:/x",
            "org/CON",
            "org/name@a%2fb",
            "org/n%2e",
            "org/name@-x/../y",
        ] {
            assert!(refused.parse::<ModelName>().is_err(), "{refused:?}");
        }
    }

    proptest! {
        #[test]
        fn a_directory_is_inside_of_its_root(text in "([a-zA-Z./\\\\:@%~ +-]|\\PC){0,24}") {
            if let Ok(name) = text.parse::<ModelName>() {
                prop_assert_eq!(check_model_name(&name.directory()), Ok(()));
                prop_assert_eq!(name.directory().split('/').count(), 2);
            }
        }
    }
}
