//! The models that the server knows: names, aliases, which are loaded.
//!
//! In: names with a way to open each. Out: loaded models, by name, loaded when they are first asked for. A model is
//! loaded once, however many ask for it.
//! It does not know where models lie, or what they are run on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use lattice_embed::{EmbeddingModel, EmbeddingService, NativeRerankService};
use lattice_inference::{Engine, Front};
use tokio::sync::Mutex;

use crate::id::unix_seconds;
use crate::wire::ApiError;
use crate::worker::Worker;

/// Opens and loads a model. It may take long.
pub type Opener = Arc<dyn Fn() -> Result<Opened, lattice_inference::Error> + Send + Sync>;

/// A model that was opened and loaded.
pub struct Opened {
    /// The model.
    pub engine: Engine,
    /// Memory that it takes when every answer is as long as may be; 0 where nobody knows.
    pub memory_bytes: u64,
}

/// A model that the server may be asked for.
#[derive(Clone)]
pub struct ModelEntry {
    /// What requests call it.
    pub name: String,
    /// What they may call it besides.
    pub aliases: Vec<String>,
    /// What it does, and who does it.
    pub kind: ModelKind,
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
#[repr(u8)]
pub enum ModelState {
    /// Nobody asked for it yet.
    Unloaded,
    /// It is being loaded.
    Loading,
    /// It answers.
    Ready,
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
            ModelState::Ready => "ready",
            ModelState::Failed => "failed",
        }
    }
}

/// A model that answers.
pub(crate) struct Loaded {
    pub(crate) name: String,
    /// Makes requests of texts.
    pub(crate) front: Arc<Front>,
    /// Answers them.
    pub(crate) worker: Worker,
    pub(crate) memory_bytes: u64,
}

/// A model and what became of it.
pub(crate) struct Slot {
    pub(crate) entry: ModelEntry,
    /// When the server learnt of it, in seconds since 1970.
    pub(crate) created: u64,
    state: AtomicU8,
    loaded: Mutex<Option<Arc<Loaded>>>,
}

/// All models, in the order they were named; the first is the one that is meant where nobody names one.
pub(crate) struct Registry {
    slots: Vec<Slot>,
}

impl Registry {
    pub(crate) fn new(entries: Vec<ModelEntry>) -> Registry {
        let slot = |entry| Slot {
            entry,
            created: unix_seconds(),
            state: AtomicU8::new(ModelState::Unloaded as u8),
            loaded: Mutex::new(None),
        };
        let slots = entries.into_iter().map(slot).collect();
        Registry { slots }
    }

    pub(crate) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The model of this name or alias.
    ///
    /// # Errors
    /// 404 where there is none.
    pub(crate) fn find(&self, name: &str) -> Result<&Slot, ApiError> {
        let called = |slot: &&Slot| {
            slot.entry.name == name || slot.entry.aliases.iter().any(|alias| alias == name)
        };
        let found = self.slots.iter().find(called);
        found.ok_or_else(|| ApiError::unknown_model(name))
    }

    /// The model of this name, or the first, that does what `kind` says.
    ///
    /// # Errors
    /// 404 where there is none of this name, 400 where it does something else.
    pub(crate) fn find_kind(&self, name: Option<&str>, kind: &str) -> Result<&Slot, ApiError> {
        let does = |slot: &Slot| slot.entry.kind.word() == kind;
        let Some(name) = name else {
            let first = self.slots.iter().find(|slot| does(slot));
            let missing = || ApiError::field("model", format!("no {kind} model is served here"));
            return first.ok_or_else(missing);
        };
        let found = self.find(name)?;
        if does(found) {
            return Ok(found);
        }
        let word = found.entry.kind.word();
        Err(ApiError::field(
            "model",
            format!("{name:?} is a {word} model, asked for is a {kind} model"),
        ))
    }
}

impl Slot {
    /// Whether it can answer now. Services load their models themselves.
    pub(crate) fn state(&self) -> ModelState {
        if !matches!(self.entry.kind, ModelKind::Text(_)) {
            return ModelState::Ready;
        }
        match self.state.load(Ordering::Relaxed) {
            1 => ModelState::Loading,
            2 => ModelState::Ready,
            3 => ModelState::Failed,
            _ => ModelState::Unloaded,
        }
    }

    fn set(&self, state: ModelState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// The model itself, if it is loaded and nobody is loading it.
    pub(crate) fn peek(&self) -> Option<Arc<Loaded>> {
        self.loaded.try_lock().ok()?.clone()
    }

    /// The model, which is loaded where it is not yet.
    ///
    /// # Errors
    /// 503 where it cannot be loaded.
    pub(crate) async fn load(&self) -> Result<Arc<Loaded>, ApiError> {
        let ModelKind::Text(open_it) = &self.entry.kind else {
            return Err(ApiError::internal());
        };
        let mut loaded = self.loaded.lock().await;
        if let Some(loaded) = &*loaded {
            return Ok(Arc::clone(loaded));
        }
        self.set(ModelState::Loading);
        let (name, open_it) = (self.entry.name.clone(), Arc::clone(open_it));
        let opened = tokio::task::spawn_blocking(move || open(name, &open_it)).await;
        match opened.unwrap_or_else(|_| Err("the loader panicked".to_owned())) {
            Ok(new) => {
                self.set(ModelState::Ready);
                Ok(Arc::clone(loaded.insert(Arc::new(new))))
            }
            Err(reason) => {
                self.set(ModelState::Failed);
                let message = format!("{} cannot be loaded: {reason}", self.entry.name);
                Err(ApiError::unavailable("model_not_loaded", message))
            }
        }
    }
}

fn open(name: String, open_it: &Opener) -> Result<Loaded, String> {
    let opened = open_it().map_err(|error| error.to_string())?;
    let Engine { front, generator } = opened.engine;
    let worker = Worker::start(&name, generator).map_err(|error| error.to_string())?;
    Ok(Loaded {
        name,
        front,
        worker,
        memory_bytes: opened.memory_bytes,
    })
}
