//! A service that remembers.
//!
//! In: a service, limits, and a directory if vectors are to outlive the program. Out: a service that asks the other one only for
//! what it does not have. Vectors are kept as f32 under model, revision, arithmetic, dimensions, role and text; bytes and bits
//! are made of them. One text is computed once, whoever asks for it at the same time.

mod disk;
mod key;
mod memory;
mod pending;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::{
    AsInput as _, EmbedError, EmbeddingModel, EmbeddingService, Embeddings, Encoding, ModelConfig,
    OnLong, Request, Truncated, Values,
};
use disk::{Disk, DiskFill};
use key::{Key, KeyMaker};
use memory::{Entry, Memory};
use pending::{Claim, Pending};

/// How much a cache may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheOptions {
    /// Vectors in memory.
    pub entries_max: usize,
    /// Bytes in memory.
    pub bytes_max: usize,
    /// Where vectors are kept beyond the end of the program. One process at a time has a directory open.
    pub dir: Option<PathBuf>,
    /// Bytes on the disk. The oldest files are removed to stay below.
    pub disk_bytes_max: u64,
}

impl Default for CacheOptions {
    /// 100,000 vectors in at most 256 MiB of memory, none on the disk.
    fn default() -> Self {
        Self {
            entries_max: 100_000,
            bytes_max: 256 << 20,
            dir: None,
            disk_bytes_max: 1 << 30,
        }
    }
}

/// What a cache did, and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheStats {
    /// Texts whose vector was there.
    pub hits: u64,
    /// Of these, those that came from the disk.
    pub disk_hits: u64,
    /// Of these, those that another request was computing already.
    pub shared: u64,
    /// Texts that the service behind was asked for.
    pub misses: u64,
    /// Vectors that had to make room in memory.
    pub evicted: u64,
    /// Vectors in memory.
    pub entries: usize,
    /// Bytes of memory.
    pub bytes: usize,
    /// Vectors on the disk.
    pub disk_entries: usize,
    /// Bytes on the disk.
    pub disk_bytes: u64,
    /// Places on the disk that were found broken, and are computed again.
    pub corrupt: u64,
}

/// A service that remembers what another one answered.
///
/// ```no_run
/// use lattice_embed::{CachedEmbeddingService, EmbeddingModel, EmbeddingService as _, NativeEmbeddingService};
///
/// # async fn example() -> Result<(), lattice_embed::EmbedError> {
/// let service = CachedEmbeddingService::new(NativeEmbeddingService::default());
/// let first = service.embed_one("a text", EmbeddingModel::default()).await?;
/// let again = service.embed_one("a text", EmbeddingModel::default()).await?;
/// assert_eq!(first, again);
/// assert_eq!((service.stats().misses, service.stats().hits), (1, 1));
/// # Ok(())
/// # }
/// ```
pub struct CachedEmbeddingService<S> {
    inner: S,
    memory: Memory,
    disk: Option<Mutex<Disk>>,
    pending: Pending,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    hits: AtomicU64,
    disk_hits: AtomicU64,
    shared: AtomicU64,
    misses: AtomicU64,
}

impl<S: EmbeddingService> CachedEmbeddingService<S> {
    /// Remembers in memory, as [`CacheOptions::default`] says.
    pub fn new(inner: S) -> Self {
        let options = CacheOptions::default();
        Self::of(inner, &options, None)
    }

    /// Remembers as `options` say.
    ///
    /// # Errors
    /// [`EmbedError::Cache`]: the directory cannot be had, or another process has it open.
    pub fn with_options(inner: S, options: &CacheOptions) -> Result<Self, EmbedError> {
        let open = |dir: &PathBuf| Disk::open(dir, options.disk_bytes_max);
        let disk = options.dir.as_ref().map(open).transpose()?;
        Ok(Self::of(inner, options, disk))
    }

    fn of(inner: S, options: &CacheOptions, disk: Option<Disk>) -> Self {
        Self {
            inner,
            memory: Memory::new(options.entries_max, options.bytes_max),
            disk: disk.map(Mutex::new),
            pending: Pending::default(),
            counts: Counts::default(),
        }
    }

    /// The service behind.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// What it did, and what it holds.
    pub fn stats(&self) -> CacheStats {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let fill = self.memory.fill();
        let disk = self.disk().map_or(DiskFill::default(), |disk| disk.fill());
        CacheStats {
            hits: count(&self.counts.hits),
            disk_hits: count(&self.counts.disk_hits),
            shared: count(&self.counts.shared),
            misses: count(&self.counts.misses),
            evicted: fill.evicted,
            entries: fill.entries,
            bytes: fill.bytes,
            disk_entries: disk.entries,
            disk_bytes: disk.bytes,
            corrupt: disk.corrupt,
        }
    }

    /// What is to be said about the files on the disk: those that were broken, or could not be written. Each is told once.
    pub fn take_notes(&self) -> Vec<String> {
        self.disk().map_or(Vec::new(), |mut disk| disk.take_notes())
    }

    /// Forgets what is in memory.
    pub fn clear(&self) {
        self.memory.clear();
    }

    fn disk(&self) -> Option<MutexGuard<'_, Disk>> {
        let disk = self.disk.as_ref()?;
        Some(disk.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn find(&self, key: &Key) -> Option<Arc<Entry>> {
        let found = self.memory.get(key);
        if found.is_some() {
            count(&self.counts.hits, 1);
            return found;
        }
        let found = Arc::new(self.disk()?.get(key)?);
        count(&self.counts.hits, 1);
        count(&self.counts.disk_hits, 1);
        self.memory.put(*key, Arc::clone(&found));
        Some(found)
    }

    fn keep(&self, key: Key, entry: &Arc<Entry>) {
        self.memory.put(key, Arc::clone(entry));
        if let Some(mut disk) = self.disk() {
            disk.put(key, entry);
        }
    }
}

fn count(count: &AtomicU64, more: usize) {
    count.fetch_add(more as u64, Ordering::Relaxed);
}

/// A text of a request, whose vector is not there.
struct Missing {
    key: Key,
    /// Which text.
    text: usize,
}

impl<S: EmbeddingService> CachedEmbeddingService<S> {
    /// Asks the service behind for some of the texts, and keeps what it answers.
    async fn compute(
        &self,
        request: &Request,
        missing: &[Missing],
    ) -> Result<Vec<Arc<Entry>>, EmbedError> {
        count(&self.counts.misses, missing.len());
        let texts = missing.iter().map(|one| request.texts[one.text].clone());
        let inner = Request {
            texts: texts.collect(),
            encoding: Encoding::F32,
            ..request.clone()
        };
        let answer = self.inner.answer(inner).await;
        let answer = answer.map_err(|error| renumbered(error, missing))?;
        let entries = entries(&answer, missing.len())?;
        for (one, entry) in missing.iter().zip(&entries) {
            self.keep(one.key, entry);
        }
        Ok(entries)
    }
}

/// The rows of an answer as they are kept.
fn entries(answer: &Embeddings, texts: usize) -> Result<Vec<Arc<Entry>>, EmbedError> {
    let rows = answer.f32_rows().ok_or(EmbedError::Encoding)?;
    if rows.len() != texts {
        return Err(EmbedError::Encoding);
    }
    let cut: BTreeMap<usize, Truncated> = answer
        .truncated
        .iter()
        .map(|one| (one.text, *one))
        .collect();
    let entry = |(text, row): (usize, &[f32])| {
        let cut = cut.get(&text);
        let counted = answer.text_tokens.get(text).copied().unwrap_or(0);
        Arc::new(Entry {
            row: row.into(),
            tokens: counted,
            tokens_before: cut.map_or(counted, |cut| cut.tokens.try_into().unwrap_or(u32::MAX)),
        })
    };
    Ok(rows.enumerate().map(entry).collect())
}

/// An error of the service behind, with the number that the text has here.
fn renumbered(error: EmbedError, missing: &[Missing]) -> EmbedError {
    match error {
        EmbedError::TooLong {
            model,
            text,
            tokens,
            tokens_max,
        } => EmbedError::TooLong {
            model,
            text: missing.get(text).map_or(text, |one| one.text),
            tokens,
            tokens_max,
        },
        other => other,
    }
}

#[async_trait]
impl<S: EmbeddingService> EmbeddingService for CachedEmbeddingService<S> {
    async fn answer(&self, request: Request) -> Result<Embeddings, EmbedError> {
        let identity = self.inner.identity(&request.model).await?;
        let maker = KeyMaker::new(&identity, request.model.dims(), &request.role);
        let keys: Vec<Key> = request
            .texts
            .iter()
            .map(|text| maker.key(text.as_input()))
            .collect();
        let mut found: Vec<Option<Arc<Entry>>> = vec![None; keys.len()];
        let (mut mine, mut theirs, mut claims) = (Vec::new(), Vec::new(), Vec::new());
        for (text, key) in keys.iter().enumerate() {
            found[text] = self.find(key);
            if found[text].is_some() {
                continue;
            }
            let one = Missing { key: *key, text };
            match self.pending.claim(*key) {
                Claim::Mine(claim) => {
                    claims.push(claim);
                    mine.push(one);
                }
                Claim::Theirs(waiter) => theirs.push((one, waiter)),
            }
        }
        if !mine.is_empty() {
            let computed = self.compute(&request, &mine).await?;
            for ((one, entry), claim) in mine.iter().zip(computed).zip(claims) {
                claim.fulfil(&entry);
                found[one.text] = Some(entry);
            }
        }
        let mut left = Vec::new();
        for (one, waiter) in theirs {
            match waiter.await {
                Ok(entry) => {
                    count(&self.counts.hits, 1);
                    count(&self.counts.shared, 1);
                    found[one.text] = Some(entry);
                }
                // Whoever computed it failed or went away.
                Err(_gone) => left.push(one),
            }
        }
        if !left.is_empty() {
            let computed = self.compute(&request, &left).await?;
            for (one, entry) in left.iter().zip(computed) {
                found[one.text] = Some(entry);
            }
        }
        joined(&request, found)
    }

    fn unload(&self, model: &EmbeddingModel) {
        self.inner.unload(model);
    }

    async fn identity(&self, model: &ModelConfig) -> Result<String, EmbedError> {
        self.inner.identity(model).await
    }
}

/// The answer to a request out of what is known about its texts.
fn joined(request: &Request, found: Vec<Option<Arc<Entry>>>) -> Result<Embeddings, EmbedError> {
    let mut answer = Embeddings::default();
    let mut values = Vec::new();
    for (text, entry) in found.into_iter().enumerate() {
        let entry = entry.ok_or(EmbedError::Stopped)?;
        let (tokens, kept) = (entry.tokens_before as usize, entry.tokens as usize);
        if tokens > kept {
            if request.on_long == OnLong::Error {
                return Err(EmbedError::TooLong {
                    model: request.model.model().to_string(),
                    text,
                    tokens,
                    tokens_max: kept,
                });
            }
            answer.truncated.push(Truncated { text, tokens, kept });
        }
        answer.dims = entry.row.len();
        answer.text_tokens.push(entry.tokens);
        values.extend_from_slice(&entry.row);
    }
    answer.values = Values::F32(values);
    answer.encoded(request.encoding)
}

/// Removes every vector that a cache keeps in a directory, and nothing else.
///
/// # Errors
/// [`EmbedError::Cache`]: another process has it open, or the system refuses.
pub fn clear_disk_cache(dir: &Path) -> Result<(), EmbedError> {
    Disk::open(dir, 0).map(drop)
}
