//! Ranking for whoever asks, from any thread and in any async runtime.

use lattice_inference::backend::cpu::Cpu;

use super::NativeOptions;
use super::pool::{Answer, Engine, Pool, gone};
use crate::{EmbedError, EmbeddingModel, OnLong, Reranker, Scores};

/// Documents to be scored for a query.
#[derive(Debug, Clone)]
pub struct RerankRequest {
    /// The query.
    pub query: String,
    /// The documents.
    pub documents: Vec<String>,
    /// The cross-encoder: a directory, or what the hub calls it.
    pub model: EmbeddingModel,
    /// What becomes of a document that, with the query, is longer than the model reads.
    pub on_long: OnLong,
}

/// Ranks on this machine: [`crate::NativeEmbeddingService`] for cross-encoders.
///
/// ```no_run
/// use lattice_embed::{NativeRerankService, OnLong, RerankRequest};
///
/// # async fn example() -> Result<(), lattice_embed::EmbedError> {
/// let service = NativeRerankService::default();
/// let request = RerankRequest {
///     query: "how tall is it?".to_owned(),
///     documents: vec!["The tower is 330 m tall.".to_owned(), "Cats sleep a lot.".to_owned()],
///     model: "BAAI/bge-reranker-base".parse()?,
///     on_long: OnLong::Truncate,
/// };
/// let best = service.score(request).await?.ranked(Some(1))?;
/// assert_eq!(best[0].document, 0);
/// # Ok(())
/// # }
/// ```
pub struct NativeRerankService {
    pool: Pool<Loaded>,
}

impl Default for NativeRerankService {
    fn default() -> Self {
        Self::new(NativeOptions::default())
    }
}

impl NativeRerankService {
    /// A service with other options than [`NativeOptions::default`].
    pub fn new(options: NativeOptions) -> Self {
        Self {
            pool: Pool::new(options),
        }
    }

    /// Scores the documents of a request. Dropping the future before the model comes to it withdraws it.
    ///
    /// # Errors
    /// The model cannot be had, or scores no pairs; a pair is too long, unless that is cut.
    pub async fn score(&self, request: RerankRequest) -> Result<Scores, EmbedError> {
        let model = request.model.clone();
        let (answer, receiver) = oneshot::async_channel();
        self.pool
            .ask(&model, Job::Score(Box::new(request), answer))?;
        receiver.await.unwrap_or_else(|_| Err(gone(&model)))
    }

    /// Loads a model before anybody asks for it.
    ///
    /// # Errors
    /// The model cannot be had, or scores no pairs.
    pub async fn load(&self, model: &EmbeddingModel) -> Result<(), EmbedError> {
        let (answer, receiver) = oneshot::async_channel();
        self.pool.ask(model, Job::Load(answer))?;
        receiver.await.unwrap_or_else(|_| Err(gone(model)))
    }

    /// Lets go of the memory of a model: what it was asked is answered first, and the thread waits for that. The next
    /// request loads it again.
    pub fn unload(&self, model: &EmbeddingModel) {
        self.pool.unload(model);
    }
}

/// What a model's thread is asked.
enum Job {
    Score(Box<RerankRequest>, Answer<Scores>),
    Load(Answer<()>),
}

struct Loaded(Reranker);

impl Engine for Loaded {
    type Job = Job;

    fn load(model: &EmbeddingModel, options: &NativeOptions) -> Result<Self, EmbedError> {
        let files = options.files(model)?;
        Ok(Self(Reranker::open(&files, &Cpu, &options.embedder)?))
    }

    fn identity(&self) -> &str {
        self.0.name()
    }

    fn run(&mut self, jobs: Vec<Job>) {
        for job in jobs {
            // A caller who went away needs no answer.
            match job {
                Job::Load(answer) => drop(answer.send(Ok(()))),
                Job::Score(_, answer) if answer.is_closed() => {}
                Job::Score(request, answer) => {
                    let (query, documents) = (&request.query, &request.documents);
                    drop(answer.send(self.0.score(query, documents, request.on_long)));
                }
            }
        }
    }

    fn fail(job: Job, error: EmbedError) {
        match job {
            Job::Score(_, answer) => drop(answer.send(Err(error))),
            Job::Load(answer) => drop(answer.send(Err(error))),
        }
    }
}
