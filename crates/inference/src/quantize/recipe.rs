//! What becomes of which tensor.
//!
//! In: words and patterns of a person. Out: the scheme of a matrix, by its names and its part in the model.
//! It does not know: files, shapes, how a scheme packs.

use std::fmt;
use std::str::FromStr;

use lattice_kernels::PackedScheme;
use serde_json::{Value, json};

use super::QuantizeError;

/// What becomes of one matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// It is packed so.
    Packed(PackedScheme),
    /// It stays as it is stored. Blocks of other makers become the form of ours that holds them.
    Keep,
}

impl FromStr for Scheme {
    type Err = QuantizeError;

    fn from_str(text: &str) -> Result<Self, QuantizeError> {
        if text == "keep" {
            return Ok(Self::Keep);
        }
        let own = text.parse().ok().filter(|s| PackedScheme::OWN.contains(s));
        own.map(Self::Packed).ok_or_else(|| QuantizeError::Scheme {
            found: text.to_owned(),
        })
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Packed(scheme) => scheme.fmt(f),
            Self::Keep => f.write_str("keep"),
        }
    }
}

/// How a model is packed: one scheme for its matrices, and exceptions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// What becomes of every matrix that nothing below names. Under a scheme of 4 bits, matrices of less than 64 rows
    /// (routers, gates, decay inputs) are Q8: they are small, and much hangs on them. Q8 of a model that makes vectors or
    /// scores is [`PackedScheme::FINE8`]: errors of all its layers show in each of them.
    pub to: Scheme,
    /// The embedding table, also where it is the head.
    pub embed: Option<Scheme>,
    /// The head, where it is a tensor of its own.
    pub head: Option<Scheme>,
    /// Patterns over tensor names (`*` stands for any text) and their schemes; they win over all of the above, later
    /// ones over earlier ones.
    pub mixed: Vec<(String, Scheme)>,
}

impl Recipe {
    /// One scheme for all.
    pub fn new(to: PackedScheme) -> Self {
        Self::of(Scheme::Packed(to))
    }

    /// Everything as it is stored; blocks of other makers in the form of ours that holds them.
    pub fn keep() -> Self {
        Self::of(Scheme::Keep)
    }

    fn of(to: Scheme) -> Self {
        Self {
            to,
            embed: None,
            head: None,
            mixed: Vec::new(),
        }
    }

    /// As the manifest and the journal write it.
    pub(super) fn as_json(&self) -> Value {
        let word = |scheme: &Scheme| scheme.to_string();
        let mixed = self
            .mixed
            .iter()
            .map(|(pattern, scheme)| json!({"pattern": pattern, "scheme": word(scheme)}));
        json!({
            "to": word(&self.to),
            "embed": self.embed.as_ref().map(word),
            "head": self.head.as_ref().map(word),
            "mixed": mixed.collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_have_words() {
        for word in ["q8", "keep"] {
            let scheme: Scheme = word.parse().expect("a scheme");
            assert_eq!(scheme.to_string(), word);
        }
        // Grouped schemes are for weights that come packed.
        for word in ["Q5", "g8_32"] {
            let error = word.parse::<Scheme>().expect_err("none");
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
