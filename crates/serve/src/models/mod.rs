//! The models that the server knows: names, aliases, which are loaded, which are at work.
//!
//! In: names with a way to open each, the memory that they take. Out: loaded models, by name, loaded when they are first
//! asked for and unloaded when nobody asks any more or another one needs their memory. Who answers with a model holds it:
//! one that is held is not unloaded.
//! It does not know where models lie, or what they are run on.

mod load;
mod slot;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use lattice_embed::{EmbeddingModel, EmbeddingService, NativeRerankService};
use lattice_inference::{Engine, Front};

pub(crate) use load::Registry;
pub(crate) use slot::{Held, Slot};

use crate::wire::ApiError;
use crate::worker::Worker;

/// Opens and loads a model. It may take long.
pub type Opener = Arc<dyn Fn() -> Result<Engine, lattice_inference::Error> + Send + Sync>;

/// A model that the server may be asked for.
#[derive(Clone)]
pub struct ModelEntry {
    /// What requests call it.
    pub name: String,
    /// What they may call it besides.
    pub aliases: Vec<String>,
    /// What it does, and who does it.
    pub kind: ModelKind,
    /// Memory that it takes when it is loaded; zeros where nobody knows.
    pub memory: ModelMemory,
}

/// Memory of a model, known before it is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ModelMemory {
    /// Weights and buffers: taken as long as it is loaded.
    pub model_bytes: u64,
    /// What the texts that it works on and keeps may grow to: keys, values, states.
    pub cache_bytes: u64,
}

impl ModelMemory {
    /// The most that it takes.
    #[must_use]
    pub fn most_bytes(self) -> u64 {
        self.model_bytes.saturating_add(self.cache_bytes)
    }
}

/// What a model does.
#[derive(Clone)]
pub enum ModelKind {
    /// It generates text. It is loaded by this.
    Text(Opener),
    /// It makes vectors of texts, by a service that loads it when it is first asked.
    Vectors(Arc<dyn EmbeddingService>, EmbeddingModel),
    /// It ranks documents, by a service that loads it when it is first asked.
    Scores(Arc<NativeRerankService>, EmbeddingModel),
}

impl ModelKind {
    /// Its word in listings.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            ModelKind::Text(_) => "text",
            ModelKind::Vectors(..) => "embedding",
            ModelKind::Scores(..) => "rerank",
        }
    }
}

/// Whether a model can answer now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelState {
    /// Nobody asked for it yet, or not for long.
    Unloaded,
    /// It is being loaded.
    Loading,
    /// It answers.
    Loaded,
    /// It ends what it was asked, or its memory is being given back.
    Unloading,
    /// It could not be loaded; the next request tries again.
    Failed,
}

impl ModelState {
    /// Its word in listings.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            ModelState::Unloaded => "unloaded",
            ModelState::Loading => "loading",
            ModelState::Loaded => "loaded",
            ModelState::Unloading => "unloading",
            ModelState::Failed => "failed",
        }
    }
}

/// A model that generates text, ready to.
pub(crate) struct TextModel {
    pub(crate) name: String,
    /// Makes requests of texts.
    pub(crate) front: Arc<Front>,
    /// Answers them.
    pub(crate) worker: Worker,
}

/// A text model that somebody holds: it is not unloaded before all copies are gone.
#[derive(Clone)]
pub(crate) struct Loaded {
    model: Arc<TextModel>,
    held: Held,
}

impl Loaded {
    /// Of a model that is held, if it generates text.
    pub(crate) fn new(held: Held) -> Result<Loaded, ApiError> {
        let model = held.text().ok_or_else(ApiError::internal)?;
        Ok(Loaded { model, held })
    }

    /// What keeps it loaded.
    pub(crate) fn held(&self) -> &Held {
        &self.held
    }
}

impl std::ops::Deref for Loaded {
    type Target = TextModel;

    fn deref(&self) -> &TextModel {
        &self.model
    }
}
