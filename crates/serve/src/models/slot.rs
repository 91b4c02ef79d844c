//! A model and what became of it: its state, who holds it, when it was used last.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lattice_embed::ModelConfig;
use lattice_inference::Engine;
use tokio::sync::{Notify, oneshot};

use super::{ModelEntry, ModelKind, ModelState, Opener, TextModel};
use crate::id::unix_seconds;
use crate::options::Clock;
use crate::worker::Worker;

/// A model and what became of it.
pub(crate) struct Slot {
    pub(crate) entry: ModelEntry,
    /// When the server learnt of it, in seconds since 1970.
    pub(crate) created: u64,
    clock: Clock,
    inside: Mutex<Inside>,
    /// Told when nobody holds it any more.
    let_go: Notify,
}

struct Inside {
    state: ModelState,
    /// The model itself, where it generates text; services keep theirs.
    text: Option<Arc<TextModel>>,
    /// Requests that hold it.
    at_work: usize,
    /// By the clock of the server: when it was loaded, or let go of last.
    used: Duration,
    loads: u64,
}

/// What listings say of a model.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SlotFigures {
    pub(crate) state: ModelState,
    /// Requests that hold it.
    pub(crate) at_work: usize,
    /// Since it was used last; `None` where it never was, zero while it is at work.
    pub(crate) idle: Option<Duration>,
    /// How often it was loaded.
    pub(crate) loads: u64,
}

/// A request's hold on a model.
#[derive(Clone)]
pub(crate) struct Held(Arc<Hold>);

struct Hold {
    slot: Arc<Slot>,
    text: Option<Arc<TextModel>>,
}

impl Held {
    /// The model, where it generates text.
    pub(crate) fn text(&self) -> Option<Arc<TextModel>> {
        self.0.text.clone()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // Before the count: who waits for that wants the memory as well.
        self.text = None;
        let now = (self.slot.clock)();
        let mut inside = self.slot.inside();
        inside.at_work -= 1;
        inside.used = now;
        if inside.at_work == 0 {
            self.slot.let_go.notify_waiters();
        }
    }
}

impl Slot {
    pub(super) fn new(entry: ModelEntry, clock: Clock) -> Slot {
        Slot {
            entry,
            created: unix_seconds(),
            clock,
            inside: Mutex::new(Inside {
                state: ModelState::Unloaded,
                text: None,
                at_work: 0,
                used: Duration::ZERO,
                loads: 0,
            }),
            let_go: Notify::new(),
        }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it can answer now.
    pub(crate) fn state(&self) -> ModelState {
        self.inside().state
    }

    /// The model itself, where it is loaded and generates text: to look at, not to answer with.
    pub(crate) fn peek(&self) -> Option<Arc<TextModel>> {
        self.inside().text.clone()
    }

    pub(crate) fn figures(&self) -> SlotFigures {
        let now = (self.clock)();
        let inside = self.inside();
        let idle = match inside.at_work {
            0 => now.saturating_sub(inside.used),
            _ => Duration::ZERO,
        };
        SlotFigures {
            state: inside.state,
            at_work: inside.at_work,
            idle: (inside.loads > 0).then_some(idle),
            loads: inside.loads,
        }
    }

    /// Takes hold of it, if it is loaded and stays so.
    pub(super) fn hold(self: &Arc<Self>) -> Option<Held> {
        let mut inside = self.inside();
        if inside.state != ModelState::Loaded {
            return None;
        }
        inside.at_work += 1;
        let text = inside.text.clone();
        let slot = Arc::clone(self);
        Some(Held(Arc::new(Hold { slot, text })))
    }

    /// When it was used last and by how many it is held, if it is loaded.
    pub(super) fn loaded(&self) -> Option<(Duration, usize)> {
        let inside = self.inside();
        (inside.state == ModelState::Loaded).then_some((inside.used, inside.at_work))
    }

    /// From now on nobody takes hold of it.
    pub(super) fn close(&self) {
        self.change(ModelState::Loaded, ModelState::Unloading);
    }

    /// As [`Self::close`], where it is loaded and nobody holds it now; whether that is so.
    pub(super) fn close_free(&self) -> bool {
        let mut inside = self.inside();
        let free = inside.state == ModelState::Loaded && inside.at_work == 0;
        if free {
            inside.state = ModelState::Unloading;
        }
        free
    }

    /// Takes [`Self::close`] back.
    pub(super) fn reopen(&self) {
        self.change(ModelState::Unloading, ModelState::Loaded);
    }

    fn change(&self, from: ModelState, to: ModelState) {
        let mut inside = self.inside();
        if inside.state == from {
            inside.state = to;
        }
    }

    /// Waits until nobody holds it.
    pub(super) async fn free(&self) {
        loop {
            let told = self.let_go.notified();
            let mut told = std::pin::pin!(told);
            // From here it hears.
            told.as_mut().enable();
            if self.inside().at_work == 0 {
                return;
            }
            told.await;
        }
    }

    /// Loads it. Only who has the registry's turn calls this.
    pub(super) async fn load(&self) -> Result<(), String> {
        self.inside().state = ModelState::Loading;
        let loaded = self.text_model().await;
        let mut inside = self.inside();
        match loaded {
            Ok(text) => {
                inside.state = ModelState::Loaded;
                inside.text = text;
                inside.used = (self.clock)();
                inside.loads += 1;
                Ok(())
            }
            Err(reason) => {
                inside.state = ModelState::Failed;
                Err(reason)
            }
        }
    }

    async fn text_model(&self) -> Result<Option<Arc<TextModel>>, String> {
        match &self.entry.kind {
            ModelKind::Text(open_it) => {
                let (name, open_it) = (self.entry.name.clone(), Arc::clone(open_it));
                let opened = on_thread("load", move || open(name, &open_it)).await;
                Ok(Some(Arc::new(opened??)))
            }
            ModelKind::Vectors(service, model) => {
                let config = ModelConfig::try_new(model.clone(), None);
                let config = config.map_err(|error| error.to_string())?;
                let loaded = service.identity(&config).await;
                loaded.map(|_| None).map_err(|error| error.to_string())
            }
            ModelKind::Scores(service, model) => {
                let loaded = service.load(model).await;
                loaded.map(|()| None).map_err(|error| error.to_string())
            }
        }
    }

    /// Gives its memory back; what it kept of texts is written first, where it has a folder. Only who has the registry's
    /// turn calls this, after [`Self::close`] and [`Self::free`].
    ///
    /// # Errors
    /// What was kept could not be written; the memory is given back all the same.
    pub(super) async fn unload(&self) -> std::io::Result<()> {
        let text = self.inside().text.take();
        let saved = match &text {
            Some(text) => text.worker.save().await.map(drop),
            None => Ok(()),
        };
        let kind = self.entry.kind.clone();
        let give_back = move || match (kind, text) {
            (ModelKind::Vectors(service, model), _) => service.unload(&model),
            (ModelKind::Scores(service, model), _) => service.unload(&model),
            (ModelKind::Text(_), Some(text)) => text.worker.end(),
            (ModelKind::Text(_), None) => {}
        };
        // Without a thread to wait on, the model's own ends when it hears that nobody has it any more.
        let _ = on_thread("unload", give_back).await;
        self.inside().state = ModelState::Unloaded;
        saved
    }
}

/// Does work that blocks on a thread of its own. The runtime has threads for that, but where the system gives no more it
/// lets the work wait for one of those that never end.
async fn on_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let (tell, done) = oneshot::channel();
    let thread = std::thread::Builder::new().name(name.to_owned());
    let started = thread.spawn(move || {
        let _ = tell.send(work());
    });
    started.map_err(|error| format!("there is no thread for it: {error}"))?;
    done.await
        .map_err(|_panicked| format!("the thread that was to {name} it panicked"))
}

fn open(name: String, open_it: &Opener) -> Result<TextModel, String> {
    let opened = open_it().map_err(|error| error.to_string())?;
    let Engine { front, generator } = opened;
    let worker = Worker::start(&name, generator).map_err(|error| error.to_string())?;
    Ok(TextModel {
        name,
        front,
        worker,
    })
}
