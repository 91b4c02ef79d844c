//! What all parts of an answer say: its id, its time, its model.

use std::sync::Arc;

use lattice_inference::Front;

use crate::id::{fresh, unix_seconds};
use crate::models::Loaded;

/// What `system_fingerprint` says.
pub(crate) const FINGERPRINT: &str = concat!("lattice-", env!("CARGO_PKG_VERSION"));

/// What all parts of an answer say, and the tokenizer that spells its tokens.
#[derive(Clone)]
pub(crate) struct Head {
    pub(crate) id: String,
    pub(crate) created: u64,
    pub(crate) model: String,
    pub(crate) front: Arc<Front>,
}

impl Head {
    /// The head of a new answer, whose id begins with `prefix`.
    pub(crate) fn new(prefix: &str, model: &Loaded) -> Head {
        Head {
            id: fresh(prefix),
            created: unix_seconds(),
            model: model.name.clone(),
            front: Arc::clone(&model.front),
        }
    }
}
