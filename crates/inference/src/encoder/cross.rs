//! Cross-encoders: a score, or one for each label, of a text or of a pair of texts.
//!
//! In: rows of ids with types. Out: scores. Sources: transformers' `...ForSequenceClassification`, and
//! sentence-transformers 6.2 `cross_encoder/model.py` for what is done to the logits.
//! It does not know: which texts are worth comparing.

use std::sync::Arc;

use serde_json::Value;

use super::batches::{Batches, Row};
use super::settings::{Given, Lengths};
use super::{EncodedText, EncoderError, EncoderOptions, TextSide};
use crate::Error;
use crate::backend::{Backend, Limits};
use crate::checkpoint::{Config, LoadError, ModelFiles};
use crate::model::{Model, Purpose};
use crate::plan::Plan;

/// What is done to a cross-encoder's logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScoreActivation {
    /// Nothing.
    Identity,
    /// `1 / (1 + exp(-x))`
    Sigmoid,
}

/// How pairs become scores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrossSettings {
    /// Names of the scores of a pair, in their order.
    pub labels: Vec<String>,
    /// What is done to the logits.
    pub activation: ScoreActivation,
    /// Tokens of a pair at most, special ones among them: longer pairs are cut there.
    pub max_tokens: usize,
    /// Whether texts are lower-cased before they are tokenised.
    pub lower_case: bool,
}

/// What the files of a model that scores say.
pub(crate) struct ScoreFiles {
    lengths: Lengths,
    labels: Vec<String>,
    activation: ScoreActivation,
    given: Given,
    notes: Vec<String>,
}

impl ScoreFiles {
    pub(super) fn open(
        files: &ModelFiles,
        config: &Config,
        given: &Given,
    ) -> Result<Self, LoadError> {
        let mut notes = Vec::new();
        let lengths = Lengths::open(files, config, &mut notes)?;
        let labels = config.labels()?;
        let activation = activation(config, labels.len())?;
        Ok(Self {
            lengths,
            labels,
            activation,
            given: given.clone(),
            notes,
        })
    }

    pub(super) fn settings(self, plan: &Plan) -> Result<(Purpose, Vec<String>), LoadError> {
        let settings = CrossSettings {
            max_tokens: self.lengths.max_tokens(self.given.max_tokens, plan)?,
            lower_case: self.lengths.lower_case,
            labels: self.labels,
            activation: self.activation,
        };
        Ok((Purpose::Scores(settings), self.notes))
    }
}

/// What config.json says is done to the logits; without a word, the sigmoid of a single one.
fn activation(config: &Config, labels: usize) -> Result<ScoreActivation, LoadError> {
    const OLDER: &str = "sbert_ce_default_activation_function";
    const NEWER: &str = "sentence_transformers";
    let in_object = config.object(NEWER)?;
    let newer = in_object
        .as_ref()
        .and_then(|object| object.get("activation_fn").and_then(Value::as_str));
    let older = config.text_or(OLDER, "")?;
    let (field, name) = match newer {
        Some(name) => (NEWER, name),
        None => (OLDER, older.as_str()),
    };
    match name.rsplit('.').next().unwrap_or_default() {
        "" if labels == 1 => Ok(ScoreActivation::Sigmoid),
        "" | "Identity" => Ok(ScoreActivation::Identity),
        "Sigmoid" => Ok(ScoreActivation::Sigmoid),
        _ => Err(config.refuse(field, format!("`{name}` is not supported"))),
    }
}

/// A loaded model that scores pairs of texts.
///
/// ```
/// use lattice_inference::backend::cpu::Cpu;
/// use lattice_inference::checkpoint::ModelFiles;
/// use lattice_inference::{CrossEncoder, EncoderOptions, Error};
///
/// # fn main() -> Result<(), Error> {
/// let files = ModelFiles::open("../testkit/goldens/encoders/bert_cross".as_ref())?;
/// let mut reranker = CrossEncoder::open(&files, &Cpu, &EncoderOptions::default())?;
/// let pair = reranker.text.tokenise_pair("how tall is it?", "It is 12 m tall.")?;
/// let scores = reranker.score(&[pair])?;
/// assert_eq!(scores.len(), reranker.settings().labels.len());
/// # Ok(())
/// # }
/// ```
pub struct CrossEncoder {
    /// The model as opened.
    pub model: Model,
    /// Text to ids: shared, so that texts are tokenised on other threads beside the compute.
    pub text: Arc<TextSide>,
    settings: CrossSettings,
    batches: Batches,
}

impl CrossEncoder {
    /// Opens and loads a model.
    ///
    /// # Errors
    /// What is wrong with which file, field or tensor; a model that scores nothing; memory that is not there.
    pub fn open(
        files: &ModelFiles,
        backend: &dyn Backend,
        options: &EncoderOptions,
    ) -> Result<Self, Error> {
        let model = Model::open_given(files, &options.open, &options.given)?;
        let Purpose::Scores(settings) = &model.purpose else {
            return Err(EncoderError::NoScores(model.description()).into());
        };
        let settings = settings.clone();
        let text = Arc::new(TextSide::of_pairs(super::open(files, &model)?, &settings));
        let batches = Batches::load(&model, backend, &options.load, settings.max_tokens)?;
        Ok(Self {
            model,
            text,
            settings,
            batches,
        })
    }

    /// How pairs are cut and scored.
    pub fn settings(&self) -> &CrossSettings {
        &self.settings
    }

    /// What the runner was loaded to hold: how many tokens and pairs go in one batch.
    pub fn limits(&self) -> Limits {
        self.batches.limits()
    }

    /// The logits of pairs, `[pairs, labels]` row-major in their order. A pair's bits depend on itself alone.
    ///
    /// # Errors
    /// As [`super::Encoder::encode`]; and a type that the model has no row for.
    pub fn logits(&mut self, pairs: &[EncodedText]) -> Result<Vec<f32>, Error> {
        self.batches.run(pairs.iter().map(Row::from))
    }

    /// [`Self::logits`] after [`CrossSettings::activation`].
    ///
    /// # Errors
    /// As [`Self::logits`].
    pub fn score(&mut self, pairs: &[EncodedText]) -> Result<Vec<f32>, Error> {
        let mut scores = self.logits(pairs)?;
        match self.settings.activation {
            ScoreActivation::Identity => {}
            ScoreActivation::Sigmoid => scores.iter_mut().for_each(|x| *x = sigmoid(*x)),
        }
        Ok(scores)
    }
}

/// In f64, so that it is the nearest f32 on every machine.
fn sigmoid(x: f32) -> f32 {
    (1.0 / (1.0 + libm::exp(-f64::from(x)))) as f32
}
