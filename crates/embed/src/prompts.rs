//! What stands before a text.
//!
//! In: the prompts that a model's files have, the table's, a role. Out: the prompt. The files win over the table, name by name.

use std::collections::BTreeMap;

use lattice_inference::encoder::EncoderSettings;

use crate::{EmbedError, Facts, Role};

const QUERY: &str = "query";
/// The names that a text to be found goes by, in the order in which sentence-transformers looks.
const PASSAGE: [&str; 3] = ["document", "passage", "corpus"];

/// The prompts of a model.
pub(crate) struct Prompts {
    named: BTreeMap<String, String>,
    plain: String,
}

impl Prompts {
    pub(crate) fn new(settings: &EncoderSettings, facts: Option<&Facts>) -> Self {
        let default = settings.default_prompt.as_ref();
        let plain = default.and_then(|name| settings.prompts.get(name));
        let mut named = settings.prompts.clone();
        if let Some(facts) = facts {
            for (role, prompt) in [(QUERY, facts.query), ("passage", facts.passage)] {
                if Self::said(settings, role).is_none() {
                    named.insert(role.to_owned(), prompt.to_owned());
                }
            }
        }
        Self {
            plain: plain.cloned().unwrap_or_default(),
            named,
        }
    }

    /// What the files say about a role.
    pub(crate) fn said<'a>(settings: &'a EncoderSettings, role: &str) -> Option<&'a str> {
        let names = if role == QUERY {
            &[QUERY][..]
        } else {
            &PASSAGE
        };
        let mut said = names.iter().filter_map(|name| settings.prompts.get(*name));
        said.next().map(String::as_str)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.named.keys().map(String::as_str)
    }

    /// The prompt of a role. A model without one for queries or passages has the plain one for them.
    pub(crate) fn of(&self, role: &Role, model: &str) -> Result<&str, EmbedError> {
        let first = |names: &[&str]| {
            let found = names.iter().find_map(|name| self.named.get(*name));
            found.unwrap_or(&self.plain).as_str()
        };
        match role {
            Role::Plain => Ok(&self.plain),
            Role::Query => Ok(first(&[QUERY])),
            Role::Passage => Ok(first(&PASSAGE)),
            Role::Named(name) => {
                self.named
                    .get(name)
                    .map(String::as_str)
                    .ok_or_else(|| EmbedError::Prompt {
                        model: model.to_owned(),
                        prompt: name.clone(),
                        known: self.names().collect::<Vec<_>>().join(", "),
                    })
            }
        }
    }
}
