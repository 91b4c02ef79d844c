//! Threads that own a model each.
//!
//! In: jobs for a model. Out: each job's answer, through a channel of its own. A model's thread begins with its first job, and ends when
//! others take its place.
//! It does not know: what models do, async runtimes.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{Builder, JoinHandle};

use super::NativeOptions;
use crate::{EmbedError, EmbeddingModel};

/// Jobs that are looked at together.
const JOBS_MAX: usize = 64;

/// Where an answer goes.
pub(super) type Answer<T> = oneshot::Sender<Result<T, EmbedError>>;

/// A loaded model, as its thread sees it.
pub(super) trait Engine: Sized {
    /// What it is asked.
    type Job: Send + 'static;
    /// Gets and loads the model.
    fn load(model: &EmbeddingModel, options: &NativeOptions) -> Result<Self, EmbedError>;
    /// What its answers depend on.
    fn identity(&self) -> &str;
    /// Answers jobs that waited together.
    fn run(&mut self, jobs: Vec<Self::Job>);
    /// Says why a job has no answer.
    fn fail(job: Self::Job, error: EmbedError);
}

/// The models that are loaded.
pub(super) struct Pool<E: Engine> {
    options: Arc<NativeOptions>,
    /// The one that was asked last stands last.
    workers: Mutex<Vec<(EmbeddingModel, Worker<E>)>>,
}

/// A model's thread, from outside.
struct Worker<E: Engine> {
    jobs: Sender<E::Job>,
    /// Whether its thread takes no more jobs. Held while one is sent, so that none is sent to nobody.
    closed: Arc<Mutex<bool>>,
    /// Known once the model is loaded.
    identity: Arc<OnceLock<String>>,
    thread: JoinHandle<()>,
}

impl<E: Engine + 'static> Pool<E> {
    pub(super) fn new(options: NativeOptions) -> Self {
        Self {
            options: Arc::new(options),
            workers: Mutex::default(),
        }
    }

    /// The models, in the order in which they were asked last.
    pub(super) fn models(&self) -> Vec<EmbeddingModel> {
        self.workers()
            .iter()
            .map(|(model, _)| model.clone())
            .collect()
    }

    fn workers(&self) -> MutexGuard<'_, Vec<(EmbeddingModel, Worker<E>)>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The identity of a model that is loaded, without a wait for what it is doing.
    pub(super) fn identity(&self, model: &EmbeddingModel) -> Option<String> {
        let workers = self.workers();
        let (_, worker) = workers.iter().find(|(loaded, _)| loaded == model)?;
        let known = worker.identity.get();
        known.filter(|_| !worker.thread.is_finished()).cloned()
    }

    /// Lets go of a model's memory: its thread ends when it has answered all that it was asked, which is waited for.
    pub(super) fn unload(&self, model: &EmbeddingModel) {
        let mut workers = self.workers();
        let at = workers.iter().position(|(loaded, _)| loaded == model);
        let worker = at.map(|at| workers.remove(at).1);
        drop(workers);
        if let Some(worker) = worker {
            worker.end();
        }
    }

    /// Gives a job to the model's thread, and starts one where there is none, or where it ended.
    pub(super) fn ask(&self, model: &EmbeddingModel, job: E::Job) -> Result<(), EmbedError> {
        let mut workers = self.workers();
        let mut job = job;
        if let Some(at) = workers.iter().position(|(loaded, _)| loaded == model) {
            let found = workers.remove(at);
            match found.1.send(job) {
                Ok(()) => {
                    workers.push(found);
                    return Ok(());
                }
                Err(back) => job = back,
            }
        }
        let most = self.options.models_max.max(1);
        let surplus = (workers.len() + 1).saturating_sub(most);
        let before = workers.drain(..surplus).map(|(_, worker)| worker);
        let options = Arc::clone(&self.options);
        let worker = Worker::start(model.clone(), options, before.collect(), job)?;
        workers.push((model.clone(), worker));
        Ok(())
    }
}

impl<E: Engine + 'static> Worker<E> {
    /// Starts a thread that loads `model` once `before` is gone with its memory, and has a job already.
    fn start(
        model: EmbeddingModel,
        options: Arc<NativeOptions>,
        before: Vec<Self>,
        first: E::Job,
    ) -> Result<Self, EmbedError> {
        let (jobs, inbox) = channel();
        // The other end is in the next lines.
        let _ = jobs.send(first);
        let identity = Arc::new(OnceLock::new());
        let known = Arc::clone(&identity);
        let closed = Arc::new(Mutex::new(false));
        let closes = Arc::clone(&closed);
        let builder = Builder::new().name("lattice-embed".to_owned());
        let run = move || {
            for worker in before {
                worker.end();
            }
            if let Err(error) = work::<E>(&model, &options, &inbox, &known) {
                *closes.lock().unwrap_or_else(PoisonError::into_inner) = true;
                let error = Arc::new(error);
                for job in inbox.try_iter() {
                    E::fail(job, EmbedError::Shared(Arc::clone(&error)));
                }
            }
        };
        let thread = builder.spawn(run).map_err(EmbedError::Thread)?;
        Ok(Self {
            jobs,
            closed,
            identity,
            thread,
        })
    }

    /// Gives it a job, or the job back if its thread takes none.
    fn send(&self, job: E::Job) -> Result<(), E::Job> {
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        match *closed {
            true => Err(job),
            false => self.jobs.send(job).map_err(|back| back.0),
        }
    }

    /// Lets it finish what it was asked, and waits for that.
    fn end(self) {
        drop(self.jobs);
        // It has said to its callers why it ended.
        let _ = self.thread.join();
    }
}

/// Loads the model and answers jobs until nobody can ask any more.
fn work<E: Engine>(
    model: &EmbeddingModel,
    options: &NativeOptions,
    inbox: &Receiver<E::Job>,
    known: &OnceLock<String>,
) -> Result<(), EmbedError> {
    let mut engine = E::load(model, options)?;
    known.get_or_init(|| engine.identity().to_owned());
    while let Ok(first) = inbox.recv() {
        let more = inbox.try_iter().take(JOBS_MAX - 1);
        engine.run(std::iter::once(first).chain(more).collect());
    }
    Ok(())
}

/// The error of a job whose thread ended without an answer.
pub(super) fn gone(model: &EmbeddingModel) -> EmbedError {
    EmbedError::Gone {
        model: model.to_string(),
    }
}
