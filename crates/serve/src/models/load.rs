//! Which models are in memory: loaded when they are asked for, unloaded to make room or when nobody asks any more.
//!
//! One model is loaded or unloaded at a time, in the order of asking (the turn); who asks for a loaded one waits for
//! nobody. A model that has to go takes no new requests: those wait for a turn of their own, so that nobody who is always
//! busy keeps others out; those under way are answered to their end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, OwnedMutexGuard, Semaphore};

use super::{Held, ModelEntry, ModelState, Slot};
use crate::event::{ModelReport, ServeEvent};
use crate::options::ServeOptions;
use crate::wire::ApiError;

/// All models, in the order they were named; the first is the one that is meant where nobody names one.
pub(crate) struct Registry {
    slots: Vec<Arc<Slot>>,
    /// Held by who loads and unloads.
    turn: Arc<Mutex<()>>,
    /// Places of requests that wait for a model.
    waiting: Semaphore,
    options: Arc<ServeOptions>,
}

/// How long those wait who want nothing to be loaded or unloaded meanwhile.
const REST: Duration = Duration::from_secs(10);
/// Requests that wait for models to be loaded; more are refused.
const WAITING_MAX: usize = 1024;

/// Why a model is unloaded.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Why {
    Idle,
    Room,
    Asked,
}

impl Why {
    fn word(self) -> &'static str {
        match self {
            Why::Idle => "idle",
            Why::Room => "room for another",
            Why::Asked => "asked for",
        }
    }
}

/// Models that take no new requests; they do again when this is dropped, unless they were unloaded.
struct Leaving(Vec<Arc<Slot>>);

impl Leaving {
    fn new(slots: Vec<Arc<Slot>>) -> Leaving {
        for slot in &slots {
            slot.close();
        }
        Leaving(slots)
    }

    /// Waits until nobody holds any of them.
    async fn free(&self) {
        for slot in &self.0 {
            slot.free().await;
        }
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        for slot in &self.0 {
            slot.reopen();
        }
    }
}

impl Registry {
    pub(crate) fn new(entries: Vec<ModelEntry>, options: Arc<ServeOptions>) -> Registry {
        let slot = |entry| Arc::new(Slot::new(entry, Arc::clone(&options.clock)));
        Registry {
            slots: entries.into_iter().map(slot).collect(),
            turn: Arc::default(),
            waiting: Semaphore::new(WAITING_MAX),
            options,
        }
    }

    pub(crate) fn slots(&self) -> &[Arc<Slot>] {
        &self.slots
    }

    /// The model of this name or alias.
    ///
    /// # Errors
    /// 404 where there is none.
    pub(crate) fn find(&self, name: &str) -> Result<&Arc<Slot>, ApiError> {
        let called = |slot: &&Arc<Slot>| {
            slot.entry.name == name || slot.entry.aliases.iter().any(|alias| alias == name)
        };
        let found = self.slots.iter().find(called);
        found.ok_or_else(|| ApiError::unknown_model(name))
    }

    /// The model of this name, or the first, that does what `kind` says.
    ///
    /// # Errors
    /// 404 where there is none of this name, 400 where it does something else.
    pub(crate) fn find_kind(&self, name: Option<&str>, kind: &str) -> Result<&Arc<Slot>, ApiError> {
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

    /// Takes hold of a model, which is loaded where it is not.
    ///
    /// # Errors
    /// 503 where it cannot be loaded, or there is no room for it and none will be; 429 where too many wait.
    pub(crate) async fn hold(&self, slot: &Arc<Slot>) -> Result<Held, ApiError> {
        if let Some(held) = slot.hold() {
            return Ok(held);
        }
        let place = self.waiting.try_acquire();
        let _place = place.map_err(|_none_free| ApiError::queue_full())?;
        let turn = Arc::clone(&self.turn).lock_owned().await;
        // Others may have loaded it meanwhile.
        if let Some(held) = slot.hold() {
            return Ok(held);
        }
        let leaving = self.room_for(slot).await?;
        let (slot, options) = (Arc::clone(slot), Arc::clone(&self.options));
        // Whoever asked may leave: what was begun is done all the same, and the next one waits for it.
        let work = tokio::spawn(async move {
            unload(leaving, Why::Room, &options).await;
            let held = load(&slot, &options).await;
            drop::<OwnedMutexGuard<()>>(turn);
            held
        });
        work.await.unwrap_or_else(|_| Err(ApiError::internal()))
    }

    /// Unloads a model when those who hold it are done with it.
    ///
    /// # Errors
    /// 408 where that takes longer than a request may.
    pub(crate) async fn unload(&self, slot: &Arc<Slot>) -> Result<(), ApiError> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let leaving = Leaving::new(self.loaded(|other| Arc::ptr_eq(other, slot)));
        let freed = tokio::time::timeout(self.options.request_timeout, leaving.free()).await;
        freed.map_err(|_elapsed| ApiError::too_slow("the model did not come to rest"))?;
        let options = Arc::clone(&self.options);
        let work = tokio::spawn(async move {
            unload(leaving, Why::Asked, &options).await;
            drop::<OwnedMutexGuard<()>>(turn);
        });
        work.await.map_err(|_panicked| ApiError::internal())
    }

    /// Unloads what nobody has held for `idle`. Returns how many.
    pub(crate) async fn unload_idle(&self, idle: Duration) -> usize {
        let is_idle = |slot: &Arc<Slot>| {
            let now = (self.options.clock)();
            let used = slot.loaded().filter(|(_, at_work)| *at_work == 0);
            used.is_some_and(|(used, _)| now.saturating_sub(used) >= idle)
        };
        if !self.slots.iter().any(is_idle) {
            return 0;
        }
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let idle = self.loaded(is_idle).into_iter();
        let leaving = Leaving(idle.filter(|slot| slot.close_free()).collect());
        let (count, options) = (leaving.0.len(), Arc::clone(&self.options));
        let work = tokio::spawn(async move {
            unload(leaving, Why::Idle, &options).await;
            drop::<OwnedMutexGuard<()>>(turn);
        });
        // A panic in there leaves them as they are.
        let _ = work.await;
        count
    }

    /// Waits until nothing is being loaded or unloaded, but not for ever.
    pub(crate) async fn rest(&self) {
        let _ = tokio::time::timeout(REST, self.turn.lock()).await;
    }

    fn loaded(&self, which: impl Fn(&Arc<Slot>) -> bool) -> Vec<Arc<Slot>> {
        let loaded = self.slots.iter().filter(|slot| slot.loaded().is_some());
        loaded.filter(|slot| which(slot)).cloned().collect()
    }

    /// The models that have to go for this one, which nobody holds any more: those used longest ago, of those that
    /// nobody holds at first.
    async fn room_for(&self, slot: &Arc<Slot>) -> Result<Leaving, ApiError> {
        let Some(budget) = self.options.memory_bytes_max else {
            return Ok(Leaving(Vec::new()));
        };
        let need = slot.entry.memory.most_bytes();
        if need > budget {
            return Err(no_room(slot, budget, "more than all models may take"));
        }
        let mut others = self.loaded(|_| true);
        others.sort_by_key(|other| {
            let (used, at_work) = other.loaded().unwrap_or_default();
            (at_work > 0, used)
        });
        let bytes = |slot: &Arc<Slot>| slot.entry.memory.most_bytes();
        let mut taken: u64 = others
            .iter()
            .fold(0, |sum, other| sum.saturating_add(bytes(other)));
        let mut going = Vec::new();
        for other in others {
            if taken.saturating_add(need) <= budget {
                break;
            }
            taken = taken.saturating_sub(bytes(&other));
            going.push(other);
        }
        let leaving = Leaving::new(going);
        let freed = tokio::time::timeout(self.options.request_timeout, leaving.free()).await;
        match freed {
            Ok(()) => Ok(leaving),
            Err(_elapsed) => Err(no_room(slot, budget, "and others are at work with it")),
        }
    }
}

fn no_room(slot: &Slot, budget: u64, why: &str) -> ApiError {
    let (name, memory) = (&slot.entry.name, slot.entry.memory);
    let message = format!(
        "{name} takes up to {} bytes of memory ({} for the model, {} for texts), {why}: the budget is {budget} bytes",
        memory.most_bytes(),
        memory.model_bytes,
        memory.cache_bytes,
    );
    ApiError::unavailable("insufficient_memory", message)
}

/// Loads a model and takes hold of it.
async fn load(slot: &Arc<Slot>, options: &ServeOptions) -> Result<Held, ApiError> {
    let began = Instant::now();
    let loaded = slot.load().await;
    report(slot, "loaded", "asked for", began, options);
    let name = &slot.entry.name;
    loaded.map_err(|reason| {
        let message = format!("{name} cannot be loaded: {reason}");
        ApiError::unavailable("model_not_loaded", message)
    })?;
    slot.hold().ok_or_else(ApiError::internal)
}

/// Unloads models that nobody holds.
async fn unload(leaving: Leaving, why: Why, options: &ServeOptions) {
    for slot in &leaving.0 {
        let began = Instant::now();
        if let Err(error) = slot.unload().await {
            let name = &slot.entry.name;
            let warning = format!("{name}: what it kept of texts could not be written: {error}");
            (options.sink)(ServeEvent::Warning(warning));
        }
        report(slot, "unloaded", why.word(), began, options);
    }
}

fn report(
    slot: &Slot,
    done: &'static str,
    why: &'static str,
    began: Instant,
    options: &ServeOptions,
) {
    let failed = slot.state() == ModelState::Failed;
    (options.sink)(ServeEvent::Model(ModelReport {
        model: slot.entry.name.clone(),
        state: if failed { "failed" } else { done },
        why,
        took_ms: began.elapsed().as_secs_f64() * 1e3,
        memory_bytes: slot.entry.memory.most_bytes(),
    }));
}
