//! The blocking way: a model that the caller owns, and texts.
//!
//! In: a model's files, texts. Out: vectors in the order of the texts. Texts go in windows: while one is computed, the next
//! one is tokenised on another thread; in a window, texts of like lengths go in one batch.
//! It does not know: where models come from, caches, other callers.

use std::ops::ControlFlow;

use lattice_inference::backend::{Backend, LoadOptions};
use lattice_inference::checkpoint::{ModelFiles, OpenOptions};
use lattice_inference::encoder::{EncodedText, Encoder, EncoderOptions, EncoderSettings, Given};

use crate::config::check;
use crate::output::cut;
use crate::pipeline::{Texts, ahead, tokenise};
use crate::prompts::Prompts;
use crate::window::{Budget, batches};
use crate::{
    AsInput, Done, EmbedError, EmbedOptions, EmbeddingModel, Embeddings, Facts, OnLong, Role,
    Truncated, Values, Watch,
};

/// Texts that are tokenised and sorted at a time, unless they come to more bytes than [`WINDOW_BYTES`].
const WINDOW_TEXTS: usize = 1024;
const WINDOW_BYTES: usize = 1 << 20;

/// Everything a caller may choose about an embedder.
#[derive(Debug, Clone)]
pub struct EmbedderOptions {
    /// How the files are opened.
    pub open: OpenOptions,
    /// What the runner holds. `batch_tokens_max` is the budget of a batch, `sequences_max` its texts.
    pub load: LoadOptions,
    /// What the caller says about the model instead of its files.
    pub given: Given,
}

impl Default for EmbedderOptions {
    fn default() -> Self {
        Self {
            open: OpenOptions::default(),
            load: LoadOptions {
                sequences_max: 256,
                batch_tokens_max: 2048,
                ..LoadOptions::default()
            },
            given: Given::default(),
        }
    }
}

/// A model that is loaded, and belongs to the caller.
///
/// ```no_run
/// use lattice_embed::{EmbedOptions, Embedder, EmbedderOptions, Role};
/// use lattice_inference::backend::cpu::Cpu;
/// use lattice_inference::checkpoint::ModelFiles;
///
/// # fn main() -> Result<(), lattice_embed::EmbedError> {
/// let files = ModelFiles::open("all-MiniLM-L6-v2".as_ref())?;
/// let mut embedder = Embedder::open(&files, &Cpu, &EmbedderOptions::default())?;
/// let options = EmbedOptions { role: Role::Passage, ..EmbedOptions::default() };
/// let answer = embedder.embed(&["one text", "another one"], &options)?;
/// assert_eq!((answer.len(), answer.dims), (2, 384));
/// # Ok(())
/// # }
/// ```
pub struct Embedder {
    encoder: Encoder,
    name: String,
    facts: Option<&'static Facts>,
    prompts: Prompts,
    notes: Vec<String>,
    /// Threads that tokenise beside the compute.
    ahead: usize,
}

impl Embedder {
    /// Opens and loads the model of a directory. Where its name, or the record of its download, says that it is one of the nine,
    /// its table stands in where its files are silent.
    ///
    /// # Errors
    /// What is wrong with which file, field or tensor; a model that makes no vectors; memory that is not there.
    pub fn open(
        files: &ModelFiles,
        backend: &dyn Backend,
        options: &EmbedderOptions,
    ) -> Result<Self, EmbedError> {
        let facts = crate::source::facts_of(files);
        Self::open_as(files, facts, backend, options)
    }

    /// [`Self::open`] for files that are those of `model`.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_model(
        files: &ModelFiles,
        model: &EmbeddingModel,
        backend: &dyn Backend,
        options: &EmbedderOptions,
    ) -> Result<Self, EmbedError> {
        let facts = model.facts().or_else(|| crate::source::facts_of(files));
        Self::open_as(files, facts, backend, options)
    }

    fn open_as(
        files: &ModelFiles,
        facts: Option<&'static Facts>,
        backend: &dyn Backend,
        options: &EmbedderOptions,
    ) -> Result<Self, EmbedError> {
        let given = with_defaults(&options.given, facts, files)?;
        let encoder = Encoder::open(
            files,
            backend,
            &EncoderOptions {
                open: options.open,
                load: options.load.clone(),
                given,
            },
        )?;
        let name = facts.map_or_else(|| files.name(), |facts| facts.name.to_owned());
        let mut notes = encoder.model.notes.clone();
        let prompts = Prompts::new(encoder.settings(), facts);
        if let Some(facts) = facts {
            notes.extend(differences(facts, encoder.settings()));
        }
        Ok(Self {
            ahead: (cores_of(&options.load) / 8).clamp(1, 8),
            encoder,
            name,
            facts,
            prompts,
            notes,
        })
    }

    /// What the model is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What a person should know: what nothing uses, and where the files say something else than the table.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// How texts are cut, pooled and scaled.
    pub fn settings(&self) -> &EncoderSettings {
        self.encoder.settings()
    }

    /// The loaded model.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// The names of the prompts there are.
    pub fn prompts(&self) -> impl Iterator<Item = &str> {
        self.prompts.names()
    }

    /// What stands before a text of this role.
    ///
    /// # Errors
    /// [`EmbedError::Prompt`].
    pub fn prompt(&self, role: &Role) -> Result<&str, EmbedError> {
        self.prompts.of(role, &self.name)
    }

    /// What two vectors of one prompt have in common that may be compared: name, hashes of `files`, settings; not how they were
    /// computed.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn origin(&self, files: &ModelFiles) -> Result<String, EmbedError> {
        crate::identity::of_model(self, files)
    }

    /// Everything but text, dimensions and role that a vector depends on: name, settings, hashes of `files`, how it is
    /// computed. `files` and `options` are those it was opened with.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn identity(
        &self,
        files: &ModelFiles,
        options: &EmbedderOptions,
    ) -> Result<String, EmbedError> {
        crate::identity::of(self, files, options)
    }

    /// Columns of a vector, where `dims` are asked for.
    ///
    /// # Errors
    /// [`EmbedError::Dims`].
    pub fn dims(&self, dims: Option<usize>) -> Result<usize, EmbedError> {
        let native = self.settings().dims;
        let Some(dims) = dims else {
            return Ok(native);
        };
        let least = self.facts.map(|facts| facts.dims_min);
        check(&self.name, dims, Some(native), least)?;
        Ok(dims)
    }

    /// A vector for each text.
    ///
    /// # Errors
    /// A text that is too long, unless that is cut; dimensions or a prompt that the model does not have; what the runner
    /// refuses.
    pub fn embed<T: AsInput + Sync>(
        &mut self,
        texts: &[T],
        options: &EmbedOptions,
    ) -> Result<Embeddings, EmbedError> {
        self.embed_watched(texts, options, &mut |_done| ControlFlow::Continue(()))
    }

    /// [`Self::embed`], with somebody who hears how far it is after each batch, and stops it.
    ///
    /// # Errors
    /// As [`Self::embed`], and [`EmbedError::Stopped`].
    pub fn embed_watched<T: AsInput + Sync>(
        &mut self,
        texts: &[T],
        options: &EmbedOptions,
        watch: &mut Watch<'_>,
    ) -> Result<Embeddings, EmbedError> {
        let dims = self.dims(options.dims)?;
        let prompt = self.prompt(&options.role)?.to_owned();
        let ends = crate::window::windows(
            texts.iter().map(|text| text.as_input().bytes()),
            WINDOW_TEXTS,
            WINDOW_BYTES,
        );
        let side = std::sync::Arc::clone(&self.encoder.text);
        let source = Texts {
            side: &side,
            prompt: &prompt,
            texts,
        };
        let mut run = Run::new(texts.len(), dims, options, watch);
        match ends.as_slice() {
            // One window: there is nothing to do beside it.
            [] | [_] => {
                let rows = tokenise(&source, 0..texts.len(), 1)?;
                run.window(self, &rows)?;
            }
            _ => ahead(&source, &ends, self.ahead, |rows| run.window(self, &rows))?,
        }
        run.answer.encoded(options.encoding)
    }

    /// The vector of one text, as [`Role::Plain`].
    ///
    /// # Errors
    /// As [`Self::embed`].
    pub fn embed_one(&mut self, text: &str) -> Result<Vec<f32>, EmbedError> {
        self.one(text, Role::Plain)
    }

    /// The vector of one question.
    ///
    /// # Errors
    /// As [`Self::embed`].
    pub fn embed_query(&mut self, text: &str) -> Result<Vec<f32>, EmbedError> {
        self.one(text, Role::Query)
    }

    /// The vector of one text to be found.
    ///
    /// # Errors
    /// As [`Self::embed`].
    pub fn embed_passage(&mut self, text: &str) -> Result<Vec<f32>, EmbedError> {
        self.one(text, Role::Passage)
    }

    fn one(&mut self, text: &str, role: Role) -> Result<Vec<f32>, EmbedError> {
        let options = EmbedOptions {
            role,
            ..EmbedOptions::default()
        };
        match self.embed(&[text], &options)?.values {
            Values::F32(row) => Ok(row),
            _ => Err(EmbedError::Encoding),
        }
    }
}

/// A request under way.
struct Run<'a, 'w> {
    answer: Embeddings,
    done: Done,
    on_long: OnLong,
    watch: &'a mut Watch<'w>,
    /// The first text of the window.
    first: usize,
}

impl<'a, 'w> Run<'a, 'w> {
    fn new(texts: usize, dims: usize, options: &EmbedOptions, watch: &'a mut Watch<'w>) -> Self {
        Self {
            answer: Embeddings {
                dims,
                values: Values::F32(Vec::new()),
                truncated: Vec::new(),
                text_tokens: Vec::with_capacity(texts),
            },
            done: Done {
                of: texts,
                ..Done::default()
            },
            on_long: options.on_long,
            watch,
            first: 0,
        }
    }

    /// Computes the texts of a window.
    fn window(&mut self, embedder: &mut Embedder, rows: &[EncodedText]) -> Result<(), EmbedError> {
        self.count(embedder, rows)?;
        let dims = self.answer.dims;
        let Values::F32(values) = &mut self.answer.values else {
            return Err(EmbedError::Encoding);
        };
        values.resize((self.first + rows.len()) * dims, 0.0);
        let (done, watch) = (&mut self.done, &mut self.watch);
        let values = &mut values[self.first * dims..];
        embedder.compute(rows, &mut |batch, vectors, native| {
            for (text, vector) in batch.iter().zip(vectors.chunks_exact(native)) {
                put(vector, &mut values[text * dims..][..dims]);
                done.tokens += rows[*text].ids.len() as u64;
            }
            done.texts += batch.len();
            watch(*done)
        })?;
        self.first += rows.len();
        Ok(())
    }

    /// Notes the tokens of texts, and those that were cut.
    fn count(&mut self, embedder: &Embedder, rows: &[EncodedText]) -> Result<(), EmbedError> {
        for (text, row) in (self.first..).zip(rows) {
            let (tokens, kept) = (row.tokens_before, row.ids.len());
            if row.is_cut() {
                if self.on_long == OnLong::Error {
                    return Err(EmbedError::TooLong {
                        model: embedder.name.clone(),
                        text,
                        tokens,
                        tokens_max: kept,
                    });
                }
                self.answer.truncated.push(Truncated { text, tokens, kept });
            }
            let kept = u32::try_from(kept).unwrap_or(u32::MAX);
            self.answer.text_tokens.push(kept);
        }
        Ok(())
    }
}

/// Writes a vector, whole or cut.
fn put(vector: &[f32], out: &mut [f32]) {
    if vector.len() == out.len() {
        out.copy_from_slice(vector);
    } else {
        cut(vector, out);
    }
}

/// Takes the vectors of a batch: their texts, `[texts, native]` and `native`.
type Take<'a> = dyn FnMut(&[usize], &[f32], usize) -> ControlFlow<()> + 'a;

impl Embedder {
    /// Computes rows, texts of like lengths together.
    fn compute(&mut self, rows: &[EncodedText], take: &mut Take<'_>) -> Result<(), EmbedError> {
        let limits = self.encoder.limits();
        let budget = Budget {
            tokens: limits.batch_tokens_max,
            texts: limits.sequences_max,
        };
        let native = self.settings().dims;
        let lengths: Vec<usize> = rows.iter().map(|row| row.ids.len()).collect();
        for batch in batches(&lengths, budget) {
            let texts: Vec<&EncodedText> = batch.iter().map(|text| &rows[*text]).collect();
            let vectors = self.encoder.encode_texts(&texts)?;
            if take(&batch, &vectors, native).is_break() {
                return Err(EmbedError::Stopped);
            }
        }
        Ok(())
    }
}

/// What the caller says, and what the table says where the files are silent.
fn with_defaults(
    given: &Given,
    facts: Option<&Facts>,
    files: &ModelFiles,
) -> Result<Given, EmbedError> {
    let mut given = given.clone();
    let Some(facts) = facts else {
        return Ok(given);
    };
    if files.bytes("modules.json")?.is_none() {
        given.pooling.get_or_insert(facts.pooling);
        given.normalise.get_or_insert(true);
    }
    if files.bytes("sentence_bert_config.json")?.is_none() {
        given.max_tokens.get_or_insert(facts.max_tokens);
    }
    Ok(given)
}

/// Where files say something else than the table.
fn differences(facts: &Facts, settings: &EncoderSettings) -> Vec<String> {
    let name = facts.name;
    let mut notes = Vec::new();
    let mut differ = |what: &str, theirs: String, ours: String| {
        if theirs != ours {
            notes.push(format!(
                "{name}: {what}: its files say {theirs}, known is {ours}; the files count"
            ));
        }
    };
    let text = |number: usize| number.to_string();
    differ("dimensions", text(settings.dims), text(facts.dims));
    differ(
        "tokens at most",
        text(settings.max_tokens),
        text(facts.max_tokens),
    );
    differ(
        "pooling",
        format!("{:?}", settings.pooling),
        format!("{:?}", facts.pooling),
    );
    differ(
        "scaled to length 1",
        settings.normalise.to_string(),
        true.to_string(),
    );
    for (role, known) in [("query", facts.query), ("passage", facts.passage)] {
        if let Some(said) = Prompts::said(settings, role) {
            differ(
                &format!("prompt of a {role}"),
                format!("{said:?}"),
                format!("{known:?}"),
            );
        }
    }
    notes
}

/// Threads that compute.
fn cores_of(load: &LoadOptions) -> usize {
    match load.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    }
}
