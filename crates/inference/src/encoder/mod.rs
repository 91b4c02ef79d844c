//! Texts to vectors, and pairs of texts to scores: encoder models with their text side.
//!
//! In: a model's files, a backend and options. Out: [`Encoder`] (a vector for each text) and [`CrossEncoder`] (scores for
//! each pair), both over rows of token ids that a [`TextSide`] makes, on any thread.
//! How texts are cut, pooled and scaled is what the model's own files say, see [`EncoderSettings`].
//! It does not know: terminals, HTTP, which device it runs on, formats of weights, caches of vectors.

mod batches;
mod cross;
mod error;
mod modules;
mod settings;
mod text;

use std::sync::Arc;

use crate::Error;
use crate::backend::{Backend, Limits, LoadOptions, Spent};
use crate::checkpoint::{ModelFiles, OpenOptions};
use crate::model::{Model, Purpose};
use crate::text::open_tokenizer;
use crate::tokenizer::HfTokenizer;
use batches::{Batches, Row};

pub use cross::{CrossEncoder, CrossSettings, ScoreActivation};
pub use error::EncoderError;
pub use modules::module_folders;
pub use settings::{EncoderSettings, Given};
pub use text::{EncodedText, TextSide};

pub(crate) use settings::asked;

/// Everything a caller may choose about an encoder.
#[derive(Debug, Clone, Default)]
pub struct EncoderOptions {
    /// How the files are opened.
    pub open: OpenOptions,
    /// What the runner holds. A batch always has room for a text of the greatest length where the model reads a text as a
    /// whole; `context_tokens_max` is the settings' `max_tokens`.
    pub load: LoadOptions,
    /// What the caller says where the model's files say nothing, or something else.
    pub given: Given,
}

/// A loaded model that makes vectors of texts.
///
/// ```
/// use lattice_inference::backend::cpu::Cpu;
/// use lattice_inference::checkpoint::ModelFiles;
/// use lattice_inference::{Encoder, EncoderOptions, Error};
///
/// # fn main() -> Result<(), Error> {
/// let files = ModelFiles::open("../testkit/goldens/encoders/bert_mean".as_ref())?;
/// let mut encoder = Encoder::open(&files, &Cpu, &EncoderOptions::default())?;
/// let text = encoder.text.tokenise("A sentence.")?;
/// let vector = encoder.encode(&[&text.ids])?;
/// assert_eq!(vector.len(), encoder.settings().dims);
/// # Ok(())
/// # }
/// ```
pub struct Encoder {
    /// The model as opened.
    pub model: Model,
    /// Text to ids: shared, so that texts are tokenised on other threads beside the compute.
    pub text: Arc<TextSide>,
    settings: EncoderSettings,
    batches: Batches,
}

impl Encoder {
    /// Opens and loads a model.
    ///
    /// # Errors
    /// What is wrong with which file, field or tensor; a model that makes no vectors; memory that is not there.
    pub fn open(
        files: &ModelFiles,
        backend: &dyn Backend,
        options: &EncoderOptions,
    ) -> Result<Self, Error> {
        let model = Model::open_given(files, &options.open, &options.given)?;
        let Purpose::Vectors(settings) = &model.purpose else {
            return Err(EncoderError::NoVectors(model.description()).into());
        };
        let settings = settings.clone();
        let text = Arc::new(TextSide::of_vectors(open(files, &model)?, &settings)?);
        let batches = Batches::load(&model, backend, &options.load, settings.max_tokens)?;
        Ok(Self {
            model,
            text,
            settings,
            batches,
        })
    }

    /// How texts are cut, pooled and scaled.
    pub fn settings(&self) -> &EncoderSettings {
        &self.settings
    }

    /// The tokenizer of the text side.
    pub fn tokenizer(&self) -> &Arc<HfTokenizer> {
        self.text.tokenizer()
    }

    /// What the runner was loaded to hold: how many tokens and texts go in one batch.
    pub fn limits(&self) -> Limits {
        self.batches.limits()
    }

    /// What the batches since the last call took, see [`crate::backend::Runner::take_profile`].
    pub fn take_profile(&mut self) -> Vec<Spent> {
        self.batches.take_profile()
    }

    /// The vectors of texts given as ids with their special tokens, `[texts, dims]` row-major in their order; scaled to
    /// length 1 where the settings say so. Texts of any mix of lengths: they run in as few batches as the limits allow, in
    /// their order, with no padding. A vector's bits depend on its own text alone.
    ///
    /// # Errors
    /// A text without ids or longer than [`EncoderSettings::max_tokens`], an id that the model has no row for, what the
    /// runner refuses.
    pub fn encode(&mut self, texts: &[&[u32]]) -> Result<Vec<f32>, Error> {
        self.run(texts.iter().map(|ids| Row::of_ids(ids)))
    }

    /// [`Self::encode`] of texts as the text side made them. Where [`EncoderSettings::include_prompt`] is false their prompts
    /// are not pooled.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_texts(&mut self, texts: &[&EncodedText]) -> Result<Vec<f32>, Error> {
        self.run(texts.iter().map(|text| Row::from(*text)))
    }

    fn run<'a>(
        &mut self,
        rows: impl ExactSizeIterator<Item = Row<'a>> + Clone,
    ) -> Result<Vec<f32>, Error> {
        let mut rows = self.batches.run(rows)?;
        if self.settings.normalise {
            rows.chunks_exact_mut(self.settings.dims.max(1))
                .for_each(normalise);
        }
        Ok(rows)
    }
}

fn open(files: &ModelFiles, model: &Model) -> Result<Arc<HfTokenizer>, Error> {
    Ok(Arc::new(open_tokenizer(files, model)?))
}

/// Scales a vector to length 1; one shorter than 1e-12 is divided by that, as `torch.nn.functional.normalize` does.
fn normalise(vector: &mut [f32]) {
    let square: f64 = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    let length = square.sqrt().max(1e-12);
    vector
        .iter_mut()
        .for_each(|x| *x = (f64::from(*x) / length) as f32);
}
