//! What all handlers share.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use lattice_embed::EmbedError;
use lattice_inference::generate::Request;
use tokio::sync::{Semaphore, watch};

use crate::api::responses::Store;
use crate::counters::Counters;
use crate::models::{Held, Loaded, ModelEntry, ModelMemory, ModelState, Registry, Slot};
use crate::options::ServeOptions;
use crate::wire::ApiError;
use crate::worker::Ticket;

/// Conversations that are made tokens, and grammars that are compiled, at a time.
const PREPARED_AT_ONCE: usize = 4;

/// Requests for vectors and scores that are computed or wait; more are refused.
const EMBEDDED_AT_ONCE: usize = 256;

/// The server: its models and its options. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Inner>);

struct Inner {
    options: Arc<ServeOptions>,
    models: Registry,
    preparing: Semaphore,
    embedding: Semaphore,
    draining: AtomicBool,
    /// True when answers under way must end at once.
    over: watch::Sender<bool>,
    counters: Arc<Counters>,
    responses: Store,
}

impl App {
    /// A server for these models, the first of which is meant where a request names none. Nothing is loaded yet.
    #[must_use]
    pub fn new(models: Vec<ModelEntry>, mut options: ServeOptions) -> App {
        let counters = Arc::<Counters>::default();
        let (counting, sink) = (Arc::clone(&counters), options.sink);
        options.sink = Arc::new(move |event| {
            counting.take(&event);
            sink(event);
        });
        let options = Arc::new(options);
        App(Arc::new(Inner {
            counters,
            responses: Store::new(options.responses_max, options.responses_bytes_max),
            models: Registry::new(models, Arc::clone(&options)),
            options,
            preparing: Semaphore::new(PREPARED_AT_ONCE),
            embedding: Semaphore::new(EMBEDDED_AT_ONCE),
            draining: AtomicBool::new(false),
            over: watch::Sender::new(false),
        }))
    }

    /// Loads a model before anybody asks for it.
    ///
    /// # Errors
    /// There is none of this name, or it cannot be loaded.
    pub async fn load(&self, name: &str) -> Result<(), ApiError> {
        let slot = self.models().find(name)?;
        self.models().hold(slot).await.map(drop)
    }

    /// Unloads a model when the requests that it is at work with are answered. The next request for it loads it again.
    ///
    /// # Errors
    /// There is none of this name, or its requests took longer than one may.
    pub async fn unload(&self, name: &str) -> Result<(), ApiError> {
        self.models().unload(self.models().find(name)?).await
    }

    /// Memory of the loaded models.
    #[must_use]
    pub fn memory(&self) -> ModelMemory {
        let slots = self.models().slots().iter();
        let loaded = slots.filter(|slot| slot.state() == ModelState::Loaded);
        let sum = |sum: ModelMemory, slot: &Arc<Slot>| ModelMemory {
            model_bytes: sum
                .model_bytes
                .saturating_add(slot.entry.memory.model_bytes),
            cache_bytes: sum
                .cache_bytes
                .saturating_add(slot.entry.memory.cache_bytes),
        };
        loaded.fold(ModelMemory::default(), sum)
    }

    /// Writes what the loaded models keep for reuse into their folders, where they have any; how many beginnings of texts
    /// that were not written yet.
    ///
    /// # Errors
    /// What the system says of the first one that it refuses.
    pub async fn save(&self) -> std::io::Result<usize> {
        // One that is being unloaded writes what it keeps by itself.
        self.models().rest().await;
        let mut saved = 0;
        for slot in self.models().slots() {
            if let Some(model) = slot.peek() {
                saved += model.worker.save().await?;
            }
        }
        Ok(saved)
    }

    pub(crate) fn options(&self) -> &ServeOptions {
        &self.0.options
    }

    pub(crate) fn models(&self) -> &Registry {
        &self.0.models
    }

    /// From now on it is not ready: answers under way end, new ones are refused.
    pub(crate) fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// Whether it is about to stop.
    pub(crate) fn draining(&self) -> bool {
        self.0.draining.load(Ordering::Relaxed)
    }

    /// What was counted so far.
    pub(crate) fn counters(&self) -> &Counters {
        &self.0.counters
    }

    /// The responses that were kept.
    pub(crate) fn responses(&self) -> &Store {
        &self.0.responses
    }

    /// Ends the answers that are still under way.
    pub(crate) fn end_streams(&self) {
        let _ = self.0.over.send(true);
    }

    /// Hears when answers must end.
    pub(crate) fn over(&self) -> watch::Receiver<bool> {
        self.0.over.subscribe()
    }

    /// The text model that a request names, loaded; without a name, the first.
    pub(crate) async fn model(&self, name: Option<&str>) -> Result<Loaded, ApiError> {
        Loaded::new(self.hold(self.slot(name, "text")?).await?)
    }

    /// Takes hold of a model, which is loaded where it is not; in the time that a request has.
    pub(crate) async fn hold(&self, slot: &Arc<Slot>) -> Result<Held, ApiError> {
        let held = self.models().hold(slot);
        let held = tokio::time::timeout(self.options().request_timeout, held).await;
        held.map_err(|_elapsed| ApiError::too_slow("the model was not loaded in time"))?
    }

    /// The model that a request names, if it does what `kind` says.
    pub(crate) fn slot(&self, name: Option<&str>, kind: &str) -> Result<&Arc<Slot>, ApiError> {
        if self.draining() {
            let message = "the server is stopping";
            return Err(ApiError::unavailable("draining", message));
        }
        self.models().find_kind(name, kind)
    }

    /// Waits for an answer of an embedding service: a few at once, each in its time.
    pub(crate) async fn embedded<T>(
        &self,
        answer: impl Future<Output = Result<T, EmbedError>>,
    ) -> Result<T, ApiError> {
        let place = self.0.embedding.try_acquire();
        let _place = place.map_err(|_none_free| ApiError::queue_full())?;
        let waited = tokio::time::timeout(self.options().request_timeout, answer).await;
        let late = |_elapsed| ApiError::too_slow("the request took longer than it may");
        Ok(waited.map_err(late)??)
    }

    /// Does work that takes its time, a few of them at once, beside the model's thread. A panic in it is a 500.
    pub(crate) async fn prepare<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let permit = self.0.preparing.acquire().await;
        let done = tokio::task::spawn_blocking(work).await;
        drop(permit);
        done.unwrap_or_else(|_| Err(ApiError::internal()))
    }

    /// Hands requests over, all or none.
    pub(crate) async fn submit(
        &self,
        model: &Loaded,
        requests: Vec<Request>,
    ) -> Result<Vec<Ticket>, ApiError> {
        let deadline = Instant::now() + self.options().request_timeout;
        let mut tickets = Vec::with_capacity(requests.len());
        for mut request in requests {
            if let Some(hook) = &self.options().hook {
                hook(&mut request);
            }
            tickets.push(
                model
                    .worker
                    .submit(request, deadline)?
                    .holding(model.held()),
            );
        }
        for ticket in &mut tickets {
            ticket.accepted().await?;
        }
        Ok(tickets)
    }
}
