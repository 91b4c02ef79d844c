//! What a vector is kept under.

use sha2::{Digest as _, Sha256};

use crate::{InputRef, Role};

/// SHA-256 over everything that a vector depends on. It needs no second look at the text: two texts with one key are not
/// found by anybody, on purpose or not.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Key(pub(super) [u8; Key::BYTES]);

/// What all texts of a request have in common.
pub(super) struct KeyMaker(Sha256);

impl Key {
    pub(super) const BYTES: usize = 32;
}

impl KeyMaker {
    /// `identity`: model, revision and arithmetic, as the service says; `dims`: columns of the vectors.
    pub(super) fn new(identity: &str, dims: Option<usize>, role: &Role) -> Self {
        let mut hash = Sha256::new();
        let dims = dims.map_or(String::new(), |dims| dims.to_string());
        let (kind, name) = match role {
            Role::Plain => ("plain", ""),
            Role::Query => ("query", ""),
            Role::Passage => ("passage", ""),
            Role::Named(name) => ("named", name.as_str()),
        };
        for field in [identity, &dims, kind, name] {
            // With its length before it, no field can run into the next one.
            hash.update((field.len() as u64).to_le_bytes());
            hash.update(field.as_bytes());
        }
        Self(hash)
    }

    pub(super) fn key(&self, text: InputRef<'_>) -> Key {
        let mut hash = self.0.clone();
        match text {
            InputRef::Text(text) => hash.update(text.as_bytes()),
            InputRef::Ids(ids) => {
                // No text begins with this byte.
                hash.update([0xff]);
                ids.iter().for_each(|id| hash.update(id.to_le_bytes()));
            }
        }
        Key(hash.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_counts() {
        let of = |identity: &str, dims, role: Role, text: &str| {
            KeyMaker::new(identity, dims, &role).key(InputRef::Text(text))
        };
        let named = |name: &str| Role::Named(name.to_owned());
        let keys = [
            of("m", None, Role::Plain, "t"),
            of("m2", None, Role::Plain, "t"),
            of("m", Some(32), Role::Plain, "t"),
            of("m", None, Role::Query, "t"),
            of("m", None, Role::Passage, "t"),
            of("m", None, named("query"), "t"),
            of("m", None, named(""), "queryt"),
            of("m", None, Role::Plain, "t "),
            of("", None, Role::Plain, "mt"),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert!(keys[..at].iter().all(|other| other != key), "{at}");
        }
        assert_eq!(keys[0], of("m", None, Role::Plain, "t"));
        let maker = KeyMaker::new("m", None, &Role::Plain);
        let ids = |ids: &[u32]| maker.key(InputRef::Ids(ids));
        assert!(ids(&[]) != maker.key(InputRef::Text("")) && ids(&[1]) != ids(&[1, 0]));
    }
}
