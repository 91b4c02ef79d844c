//! Vectors of texts for whoever asks, from any thread and in any async runtime.
//!
//! In: requests. Out: answers. [`NativeEmbeddingService`] computes them; [`crate::CachedEmbeddingService`] stands before another
//! service and asks it for what it does not have.

mod native;
mod pool;
mod rerank;
mod together;

use async_trait::async_trait;

pub use native::{Download, NativeEmbeddingService, NativeOptions};
pub use rerank::{NativeRerankService, RerankRequest};

use crate::{EmbedError, EmbeddingModel, Embeddings, ModelConfig, OnLong, Request, Role, Values};

/// Makes vectors of texts.
///
/// A service needs [`answer`](Self::answer) and [`identity`](Self::identity); the others are made of the first. The short ones refuse
/// a text that is longer than the model reads; a [`Request`] can ask for its head.
#[async_trait]
pub trait EmbeddingService: Send + Sync {
    /// Answers a request. Dropping the future stops the work before its next batch.
    ///
    /// # Errors
    /// The model cannot be had, or does not give what is asked for; a text is too long; somebody stopped it.
    async fn answer(&self, request: Request) -> Result<Embeddings, EmbedError>;

    /// Everything but text, dimensions and role that a vector of the model depends on: its name, its files, how it is computed.
    /// Two vectors of one text with the same identity are the same to the bit.
    ///
    /// # Errors
    /// The model cannot be had.
    async fn identity(&self, model: &ModelConfig) -> Result<String, EmbedError>;

    /// Lets go of the memory of a model, where the service holds any: what it was asked is answered first, and the thread
    /// waits for that. The next request loads it again.
    fn unload(&self, model: &EmbeddingModel) {
        let _ = model;
    }

    /// A vector for each text.
    ///
    /// # Errors
    /// As [`Self::answer`].
    async fn embed(
        &self,
        texts: &[String],
        model: EmbeddingModel,
    ) -> Result<Vec<Vec<f32>>, EmbedError> {
        rows(self.answer(request(texts, model, Role::Plain)).await?)
    }

    /// The vector of a text.
    ///
    /// # Errors
    /// As [`Self::answer`].
    async fn embed_one(&self, text: &str, model: EmbeddingModel) -> Result<Vec<f32>, EmbedError> {
        row(self.answer(request(&[text], model, Role::Plain)).await?)
    }

    /// The vector of a question, with the prompt that the model wants before one.
    ///
    /// # Errors
    /// As [`Self::answer`].
    async fn embed_query(&self, text: &str, model: EmbeddingModel) -> Result<Vec<f32>, EmbedError> {
        row(self.answer(request(&[text], model, Role::Query)).await?)
    }

    /// The vector of a text to be found, with the prompt that the model wants before one.
    ///
    /// # Errors
    /// As [`Self::answer`].
    async fn embed_passage(
        &self,
        text: &str,
        model: EmbeddingModel,
    ) -> Result<Vec<f32>, EmbedError> {
        row(self.answer(request(&[text], model, Role::Passage)).await?)
    }
}

fn request<T: AsRef<str>>(texts: &[T], model: EmbeddingModel, role: Role) -> Request {
    let texts = texts.iter().map(|text| text.as_ref().to_owned());
    Request::new(texts, model).role(role).on_long(OnLong::Error)
}

fn rows(answer: Embeddings) -> Result<Vec<Vec<f32>>, EmbedError> {
    let rows = answer.f32_rows().ok_or(EmbedError::Encoding)?;
    Ok(rows.map(<[f32]>::to_vec).collect())
}

fn row(answer: Embeddings) -> Result<Vec<f32>, EmbedError> {
    match answer.values {
        Values::F32(row) if row.len() == answer.dims => Ok(row),
        _ => Err(EmbedError::Encoding),
    }
}
