//! The models that the server knows: names, aliases, which are loaded.
//!
//! In: names with a way to open each. Out: loaded models, by name, loaded when they are first asked for. A model is
//! loaded once, however many ask for it.
//! It does not know where models lie, or what they are run on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

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
    /// Loads it.
    pub open: Opener,
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

    /// The model of this name or alias; without one, the first.
    ///
    /// # Errors
    /// 404 where there is none.
    pub(crate) fn find(&self, name: Option<&str>) -> Result<&Slot, ApiError> {
        let Some(name) = name else {
            return self
                .slots
                .first()
                .ok_or_else(|| ApiError::unknown_model(""));
        };
        let called = |slot: &&Slot| {
            slot.entry.name == name || slot.entry.aliases.iter().any(|alias| alias == name)
        };
        let found = self.slots.iter().find(called);
        found.ok_or_else(|| ApiError::unknown_model(name))
    }
}

impl Slot {
    /// Whether it can answer now.
    pub(crate) fn state(&self) -> ModelState {
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
        let mut loaded = self.loaded.lock().await;
        if let Some(loaded) = &*loaded {
            return Ok(Arc::clone(loaded));
        }
        self.set(ModelState::Loading);
        let entry = self.entry.clone();
        let opened = tokio::task::spawn_blocking(move || open(&entry)).await;
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

fn open(entry: &ModelEntry) -> Result<Loaded, String> {
    let opened = (entry.open)().map_err(|error| error.to_string())?;
    let Engine { front, generator } = opened.engine;
    let worker = Worker::start(&entry.name, generator).map_err(|error| error.to_string())?;
    Ok(Loaded {
        name: entry.name.clone(),
        front,
        worker,
        memory_bytes: opened.memory_bytes,
    })
}
