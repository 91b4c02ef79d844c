//! What is asked for.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Encoding, ModelConfig};

/// What a text is for: which prompt the model wants before it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Role {
    /// The prompt that the model's files have as the default, which is mostly none: `encode` of sentence-transformers.
    #[default]
    Plain,
    /// A question to search with: the prompt `query`.
    Query,
    /// A text to be found: the prompt `document`, `passage` or `corpus`, the first one there is.
    Passage,
    /// A prompt that the model's files have under this name.
    Named(String),
}

/// What becomes of a text that is longer than the model reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnLong {
    /// The request fails, and names the text.
    #[default]
    Error,
    /// Its tail is left out, as sentence-transformers does without a word; the answer says of which texts and how much.
    Truncate,
}

/// How vectors are to be made. It does not say of what, or by which model.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct EmbedOptions {
    /// What the texts are for.
    pub role: Role,
    /// Columns that vectors are cut to; `None`: the model's own.
    pub dims: Option<usize>,
    /// How the numbers are given out.
    pub encoding: Encoding,
    /// What becomes of long texts.
    pub on_long: OnLong,
}

/// How far a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Done {
    /// Texts that have a vector.
    pub texts: usize,
    /// Texts of the request.
    pub of: usize,
    /// Tokens read so far.
    pub tokens: u64,
}

/// Hears how far a request is, and stops it.
pub type Watch<'a> = dyn FnMut(Done) -> ControlFlow<()> + 'a;

/// Stops requests from elsewhere; all of its copies are one.
#[derive(Debug, Clone, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// Stops the requests that have it, before their next batch.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody did.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A text to make a vector of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// As it is written.
    Text(String),
    /// As ids of the model's own vocabulary. The model's special tokens are put around them, unless they stand there: the
    /// vector is that of the text that these are the ids of. They go with [`Role::Plain`] and no other prompt.
    Ids(Vec<u32>),
}

/// A look at an [`Input`], or at a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputRef<'a> {
    /// As [`Input::Text`].
    Text(&'a str),
    /// As [`Input::Ids`].
    Ids(&'a [u32]),
}

/// What vectors are made of: texts of any type, and [`Input`].
pub trait AsInput {
    /// A look at it.
    fn as_input(&self) -> InputRef<'_>;
}

impl<T: AsRef<str>> AsInput for T {
    fn as_input(&self) -> InputRef<'_> {
        InputRef::Text(self.as_ref())
    }
}

impl AsInput for Input {
    fn as_input(&self) -> InputRef<'_> {
        match self {
            Self::Text(text) => InputRef::Text(text),
            Self::Ids(ids) => InputRef::Ids(ids),
        }
    }
}

impl AsInput for InputRef<'_> {
    fn as_input(&self) -> InputRef<'_> {
        *self
    }
}

impl InputRef<'_> {
    /// Its size, to cut work by.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Ids(ids) => size_of_val(ids),
        }
    }
}

impl From<String> for Input {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&String> for Input {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<&str> for Input {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// Texts to make vectors of, and how.
#[derive(Clone)]
pub struct Request {
    /// The texts.
    pub texts: Vec<Input>,
    /// The model.
    pub model: ModelConfig,
    /// What the texts are for.
    pub role: Role,
    /// How the numbers are given out.
    pub encoding: Encoding,
    /// What becomes of long texts.
    pub on_long: OnLong,
    /// Hears how far it is, on the thread that computes: it should be quick.
    pub progress: Option<Arc<dyn Fn(Done) + Send + Sync>>,
    /// Stops it. Dropping the future of the answer does the same.
    pub cancel: Option<CancelToken>,
}

impl Request {
    /// Plain vectors of texts.
    pub fn new<T: Into<Input>>(
        texts: impl IntoIterator<Item = T>,
        model: impl Into<ModelConfig>,
    ) -> Self {
        Self {
            texts: texts.into_iter().map(Into::into).collect(),
            model: model.into(),
            role: Role::Plain,
            encoding: Encoding::F32,
            on_long: OnLong::Error,
            progress: None,
            cancel: None,
        }
    }

    /// The same for another role.
    #[must_use]
    pub fn role(self, role: Role) -> Self {
        Self { role, ..self }
    }

    /// The same in another encoding.
    #[must_use]
    pub fn encoding(self, encoding: Encoding) -> Self {
        Self { encoding, ..self }
    }

    /// The same with another rule for long texts.
    #[must_use]
    pub fn on_long(self, on_long: OnLong) -> Self {
        Self { on_long, ..self }
    }

    /// The same with somebody who hears how far it is.
    #[must_use]
    pub fn progress(self, progress: impl Fn(Done) + Send + Sync + 'static) -> Self {
        let progress: Arc<dyn Fn(Done) + Send + Sync> = Arc::new(progress);
        Self {
            progress: Some(progress),
            ..self
        }
    }

    /// The same with something that stops it.
    #[must_use]
    pub fn cancelled_by(self, cancel: &CancelToken) -> Self {
        Self {
            cancel: Some(cancel.clone()),
            ..self
        }
    }

    /// How its vectors are to be made.
    pub fn options(&self) -> EmbedOptions {
        EmbedOptions {
            role: self.role.clone(),
            dims: self.model.dims(),
            encoding: self.encoding,
            on_long: self.on_long,
        }
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Texts are people's: they do not belong into logs.
        f.debug_struct("Request")
            .field("texts", &self.texts.len())
            .field("model", &self.model)
            .field("options", &self.options())
            .finish_non_exhaustive()
    }
}
