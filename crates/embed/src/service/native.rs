//! A service that computes.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use async_trait::async_trait;
use lattice_inference::backend::cpu::Cpu;
use lattice_inference::checkpoint::ModelFiles;

use super::pool::{Answer, Engine, Pool, gone};
use super::{EmbeddingService, together};
use crate::{
    CancelToken, Done, EmbedError, Embedder, EmbedderOptions, EmbeddingModel, Embeddings,
    ModelConfig, ModelSource, Request,
};

/// A request of no more texts may go in one batch with others.
const SMALL_TEXTS: usize = 32;

/// Everything a caller may choose about a service that computes.
#[derive(Clone)]
pub struct NativeOptions {
    /// Where models come from; `None`: there is no home directory, which the first request will say.
    pub source: Option<ModelSource>,
    /// How models are loaded.
    pub embedder: EmbedderOptions,
    /// Models that are loaded at once. The one that was not asked for the longest goes first, when it has answered all that it was
    /// asked; the new one waits for that.
    pub models_max: usize,
    /// Hears about downloads, on the thread that waits for them.
    pub download: Option<Arc<Download>>,
}

/// Hears about a download, and stops it.
pub type Download = dyn Fn(&lattice_hub::Event<'_>) -> ControlFlow<()> + Send + Sync;

impl Default for NativeOptions {
    /// Models of the home directory, downloaded when they are first asked for; two at once; all cores.
    fn default() -> Self {
        Self {
            source: ModelSource::home().ok(),
            embedder: EmbedderOptions::default(),
            models_max: 2,
            download: None,
        }
    }
}

impl fmt::Debug for NativeOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NativeOptions")
            .field("source", &self.source)
            .field("embedder", &self.embedder)
            .field("models_max", &self.models_max)
            .finish_non_exhaustive()
    }
}

impl NativeOptions {
    /// The files of a model, fetched first if need be.
    pub(super) fn files(&self, model: &EmbeddingModel) -> Result<ModelFiles, EmbedError> {
        let source = self.source.as_ref().ok_or(EmbedError::NoHome)?;
        source.files(model, &mut |event| match &self.download {
            Some(download) => download(&event),
            None => ControlFlow::Continue(()),
        })
    }
}

/// Computes vectors on this machine, each model on a thread of its own, which loads it when it is first asked for.
///
/// It needs no async runtime: answers come through a channel that any of them can wait for.
///
/// ```no_run
/// use lattice_embed::{EmbeddingModel, EmbeddingService as _, NativeEmbeddingService};
///
/// # async fn example() -> Result<(), lattice_embed::EmbedError> {
/// let service = NativeEmbeddingService::default();
/// let query = service.embed_query("how tall is the tower?", EmbeddingModel::default()).await?;
/// assert_eq!(query.len(), 384);
/// # Ok(())
/// # }
/// ```
pub struct NativeEmbeddingService {
    pool: Pool<Loaded>,
}

impl Default for NativeEmbeddingService {
    fn default() -> Self {
        Self::new(NativeOptions::default())
    }
}

impl NativeEmbeddingService {
    /// A service with other options than [`NativeOptions::default`].
    pub fn new(options: NativeOptions) -> Self {
        Self {
            pool: Pool::new(options),
        }
    }

    /// [`EmbeddingService::answer`] for threads that may wait.
    ///
    /// # Errors
    /// As there.
    pub fn answer_blocking(&self, request: Request) -> Result<Embeddings, EmbedError> {
        let model = request.model.model().clone();
        let (answer, receiver) = oneshot::channel();
        self.pool
            .ask(&model, Job::Embed(Box::new(request), answer))?;
        receiver.recv().unwrap_or_else(|_| Err(gone(&model)))
    }

    /// The models that are loaded, or being loaded; the one that was asked last stands last.
    pub fn loaded(&self) -> Vec<EmbeddingModel> {
        self.pool.models()
    }
}

#[async_trait]
impl EmbeddingService for NativeEmbeddingService {
    async fn answer(&self, request: Request) -> Result<Embeddings, EmbedError> {
        let model = request.model.model().clone();
        let (answer, receiver) = oneshot::async_channel();
        self.pool
            .ask(&model, Job::Embed(Box::new(request), answer))?;
        receiver.await.unwrap_or_else(|_| Err(gone(&model)))
    }

    async fn identity(&self, config: &ModelConfig) -> Result<String, EmbedError> {
        let model = config.model();
        if let Some(known) = self.pool.identity(model) {
            return Ok(known);
        }
        let (answer, receiver) = oneshot::async_channel();
        self.pool.ask(model, Job::Identity(answer))?;
        receiver.await.unwrap_or_else(|_| Err(gone(model)))
    }

    fn unload(&self, model: &EmbeddingModel) {
        self.pool.unload(model);
    }
}

/// What a model's thread is asked.
enum Job {
    Embed(Box<Request>, Answer<Embeddings>),
    Identity(Answer<String>),
}

struct Loaded {
    embedder: Embedder,
    identity: String,
}

impl Engine for Loaded {
    type Job = Job;

    fn load(model: &EmbeddingModel, options: &NativeOptions) -> Result<Self, EmbedError> {
        let files = options.files(model)?;
        let embedder = Embedder::open_model(&files, model, &Cpu, &options.embedder)?;
        let identity = embedder.identity(&files, &options.embedder)?;
        Ok(Self { embedder, identity })
    }

    fn identity(&self) -> &str {
        &self.identity
    }

    fn run(&mut self, jobs: Vec<Job>) {
        let (mut small, mut large) = (Vec::new(), Vec::new());
        for job in jobs {
            match job {
                // A caller who went away needs no answer.
                Job::Identity(answer) => drop(answer.send(Ok(self.identity.clone()))),
                Job::Embed(request, answer) if is_small(&request) => small.push((request, answer)),
                Job::Embed(request, answer) => large.push((request, answer)),
            }
        }
        together::embed(&mut self.embedder, small);
        for (request, answer) in large {
            embed(&mut self.embedder, &request, answer);
        }
    }

    fn fail(job: Job, error: EmbedError) {
        match job {
            Job::Embed(_, answer) => drop(answer.send(Err(error))),
            Job::Identity(answer) => drop(answer.send(Err(error))),
        }
    }
}

/// Whether a request may go in one batch with others.
fn is_small(request: &Request) -> bool {
    request.texts.len() <= SMALL_TEXTS && request.progress.is_none()
}

/// Whether anybody still wants the answer.
pub(super) fn is_wanted<T>(request: &Request, answer: &Answer<T>) -> bool {
    let cancelled = request
        .cancel
        .as_ref()
        .is_some_and(CancelToken::is_cancelled);
    !cancelled && !answer.is_closed()
}

/// Answers a request by itself.
pub(super) fn embed(embedder: &mut Embedder, request: &Request, answer: Answer<Embeddings>) {
    let watch = &mut |done: Done| {
        if let Some(progress) = &request.progress {
            progress(done);
        }
        match is_wanted(request, &answer) {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    };
    let found = match is_wanted(request, &answer) {
        true => embedder.embed_watched(&request.texts, &request.options(), watch),
        false => Err(EmbedError::Stopped),
    };
    drop(answer.send(found));
}
