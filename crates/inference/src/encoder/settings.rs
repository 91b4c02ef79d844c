//! What a model is for, and how an encoder's texts are cut, pooled and scaled: what its files say, and what a caller says.
//!
//! In: a model's files and configuration. Out: the ending of its plan, then its [`Purpose`].
//! Sources: sentence-transformers 6.2 (`base/modules/transformer.py`, `base/model.py`, `cross_encoder/model.py`).
//! It does not know: runners, weights.

use std::collections::BTreeMap;

use super::cross::ScoreFiles;
use super::modules::{BYTES_MAX, Modules};
use crate::checkpoint::{Config, Fields, LoadError, ModelFiles};
use crate::model::Purpose;
use crate::models::{Ending, Family};
use crate::plan::{Plan, Pooling};

const SENTENCE: &str = "config_sentence_transformers.json";
const TOKENIZER: &str = "tokenizer_config.json";
/// The names that sentence-transformers looks for, in its order.
const TRANSFORMER: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];
/// Fields of those files that say what a text model does anyway.
const WITHOUT_EFFECT: [&str; 10] = [
    "__version__",
    "document_length",
    "modality_config",
    "model_type",
    "module_output_name",
    "processing_kwargs",
    "query_expansion",
    "query_length",
    "transformer_task",
    "unpad_inputs",
];

/// What a caller says about an encoder: each field that is `Some` counts instead of what the model's files say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    /// How the last hidden states become one vector.
    pub pooling: Option<Pooling>,
    /// Whether vectors are scaled to length 1.
    pub normalise: Option<bool>,
    /// Tokens of a text at most, special ones among them.
    pub max_tokens: Option<usize>,
    /// Texts that stand before others, by name.
    pub prompts: Option<BTreeMap<String, String>>,
    /// The prompt of texts for which nobody names another.
    pub default_prompt: Option<String>,
    /// Whether every text ends with the end token, once, whatever the tokenizer's own template does.
    pub append_eos: Option<bool>,
}

/// How an encoder's texts become vectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncoderSettings {
    /// How the last hidden states become one vector.
    pub pooling: Pooling,
    /// Whether vectors are scaled to length 1.
    pub normalise: bool,
    /// Tokens of a text at most, special ones among them: longer texts are cut there.
    pub max_tokens: usize,
    /// Whether a prompt's tokens are pooled with the text's.
    pub include_prompt: bool,
    /// Columns of a vector.
    pub dims: usize,
    /// Texts that stand before others, by name.
    pub prompts: BTreeMap<String, String>,
    /// The prompt of texts for which nobody names another.
    pub default_prompt: Option<String>,
    /// Whether every text ends with the end token, once, whatever the tokenizer's own template does.
    pub append_eos: bool,
    /// Whether texts are lower-cased before they are tokenised.
    pub lower_case: bool,
    /// How the model's makers compare its vectors: "cosine", "dot", "euclidean", "manhattan".
    pub similarity: Option<String>,
}

/// What a model's files, and the caller, ask of its plan.
pub(crate) enum Asked {
    /// Logits of next tokens.
    Text,
    /// A vector for each text.
    Vectors(Box<VectorFiles>),
    /// Scores for each text or pair of texts.
    Scores(Box<ScoreFiles>),
}

/// What the files of a model that makes vectors say.
pub(crate) struct VectorFiles {
    modules: Modules,
    pooling: Pooling,
    lengths: Lengths,
    prompts: BTreeMap<String, String>,
    default_prompt: Option<String>,
    similarity: Option<String>,
    given: Given,
    notes: Vec<String>,
}

/// What a model's files and a caller ask of its plan.
///
/// # Errors
/// A file of sentence-transformers that is wrong, or asks for what is not supported.
pub(crate) fn asked(
    files: &ModelFiles,
    config: &Config,
    family: &Family,
    given: &Given,
) -> Result<Asked, LoadError> {
    let classifies = |name: &str| name.ends_with("ForSequenceClassification");
    if family.encodes && config.architecture().is_some_and(classifies) {
        let scores = ScoreFiles::open(files, config, given)?;
        return Ok(Asked::Scores(Box::new(scores)));
    }
    let modules = Modules::open(files)?;
    if modules.is_none() && given.pooling.is_none() && !family.encodes {
        return Ok(Asked::Text);
    }
    let vectors = VectorFiles::open(files, config, modules, given)?;
    Ok(Asked::Vectors(Box::new(vectors)))
}

impl Asked {
    /// What the plan ends in.
    pub(crate) fn ending(&self) -> Ending {
        match self {
            Self::Text => Ending::Logits,
            Self::Vectors(files) => Ending::Vector {
                pooling: files.pooling,
                dense: files.modules.dense.clone(),
            },
            Self::Scores(_) => Ending::Scores,
        }
    }

    /// Files of weights beside the model's own, by the name their tensors' names begin with.
    pub(crate) fn more_weights(&self) -> Vec<(String, String)> {
        match self {
            Self::Vectors(files) => files.modules.weights(),
            Self::Text | Self::Scores(_) => Vec::new(),
        }
    }

    /// All files it is made of that stand in folders of their own.
    pub(crate) fn more_files(&self) -> Vec<String> {
        let mut files = match self {
            Self::Vectors(files) => files.modules.files.clone(),
            Self::Text | Self::Scores(_) => Vec::new(),
        };
        files.extend(self.more_weights().into_iter().map(|(file, _)| file));
        files
    }

    /// What the model is for, and what a person should know.
    ///
    /// # Errors
    /// What the files say does not go with the plan.
    pub(crate) fn purpose(self, plan: &Plan) -> Result<(Purpose, Vec<String>), LoadError> {
        match self {
            Self::Text => Ok((Purpose::Text, Vec::new())),
            Self::Vectors(files) => files.settings(plan),
            Self::Scores(files) => files.settings(plan),
        }
    }
}

impl VectorFiles {
    fn open(
        files: &ModelFiles,
        config: &Config,
        modules: Option<Modules>,
        given: &Given,
    ) -> Result<Self, LoadError> {
        let mut notes = Vec::new();
        let named = modules
            .as_ref()
            .and_then(|modules| modules.pooling.as_ref());
        let named = named.map(|module| module.pooling);
        let pooling = given.pooling.or(named).unwrap_or_else(|| {
            notes.push(
                "no modules.json says how its tokens become one vector: mean pooling is taken"
                    .to_owned(),
            );
            Pooling::Mean
        });
        let mut modules = modules.unwrap_or_default();
        notes.append(&mut modules.notes);
        let mut vectors = Self {
            lengths: Lengths::open(files, config, &mut notes)?,
            modules,
            pooling,
            prompts: BTreeMap::new(),
            default_prompt: None,
            similarity: None,
            given: given.clone(),
            notes,
        };
        vectors.read_sentence(files)?;
        Ok(vectors)
    }

    /// config_sentence_transformers.json: prompts, and how vectors are compared.
    fn read_sentence(&mut self, files: &ModelFiles) -> Result<(), LoadError> {
        let Some(text) = files.text(SENTENCE, BYTES_MAX)? else {
            return Ok(());
        };
        let mut fields = Fields::of(SENTENCE, &text)?;
        let prompts = fields.take("prompts", "texts by name", |value| {
            let texts = value.as_object()?.iter();
            let text = |(name, text): (&String, &serde_json::Value)| {
                Some((name.clone(), text.as_str()?.to_owned()))
            };
            texts.map(text).collect::<Option<BTreeMap<_, _>>>()
        })?;
        self.prompts = prompts.unwrap_or_default();
        self.default_prompt = fields.text("default_prompt_name")?;
        if let Some(name) = &self.default_prompt
            && !self.prompts.contains_key(name)
        {
            let reason = format!("there is no prompt of the name {name:?}");
            return Err(fields.refuse("default_prompt_name", reason));
        }
        self.similarity = fields.text("similarity_fn_name")?;
        let left = fields.left(&WITHOUT_EFFECT);
        if !left.is_empty() {
            self.notes
                .push(format!("{SENTENCE}: not used: {}", left.join(", ")));
        }
        Ok(())
    }

    fn settings(self, plan: &Plan) -> Result<(Purpose, Vec<String>), LoadError> {
        let dims = plan.value(plan.output).width;
        self.modules.check_width(plan)?;
        let given = self.given;
        let max_tokens = self.lengths.max_tokens(given.max_tokens, plan)?;
        let prompts = given.prompts.unwrap_or(self.prompts);
        let default_prompt = given.default_prompt.or(self.default_prompt);
        let default_prompt = default_prompt.filter(|name| prompts.contains_key(name));
        let pooled = self.modules.pooling.as_ref();
        let settings = EncoderSettings {
            include_prompt: pooled.is_none_or(|module| module.include_prompt),
            pooling: self.pooling,
            normalise: given.normalise.unwrap_or(self.modules.normalise),
            max_tokens,
            dims,
            prompts,
            default_prompt,
            append_eos: given.append_eos.unwrap_or(false),
            lower_case: self.lengths.lower_case,
            similarity: self.similarity,
        };
        Ok((Purpose::Vectors(settings), self.notes))
    }
}

/// How long texts may be, and whether they are lower-cased.
pub(super) struct Lengths {
    /// What the transformer's module says, and in which file.
    said: Option<(usize, &'static str)>,
    /// Of the tokenizer and of config.json, where they say so.
    tokenizer: Option<usize>,
    positions: Option<usize>,
    pub(super) lower_case: bool,
}

impl Lengths {
    pub(super) fn open(
        files: &ModelFiles,
        config: &Config,
        notes: &mut Vec<String>,
    ) -> Result<Self, LoadError> {
        let mut lengths = Self {
            said: None,
            tokenizer: model_max_length(files)?,
            positions: Some(config.size("max_position_embeddings")?),
            lower_case: false,
        };
        for file in TRANSFORMER {
            let Some(text) = files.text(file, BYTES_MAX)? else {
                continue;
            };
            let mut fields = Fields::of(file, &text)?;
            lengths.said = fields.size("max_seq_length")?.map(|tokens| (tokens, file));
            lengths.lower_case = fields.flag("do_lower_case")?.unwrap_or(false);
            let left = fields.left(&WITHOUT_EFFECT);
            if !left.is_empty() {
                notes.push(format!("{file}: not used: {}", left.join(", ")));
            }
            break;
        }
        Ok(lengths)
    }

    /// Tokens of a text at most.
    pub(super) fn max_tokens(&self, given: Option<usize>, plan: &Plan) -> Result<usize, LoadError> {
        let most = plan.context_tokens_max;
        let refuse = |tokens: usize, file: &str| LoadError::Field {
            file: file.to_owned(),
            field: "max_seq_length".to_owned(),
            reason: format!("is {tokens}, the model has positions for {most} tokens"),
        };
        match (given, self.said) {
            (Some(0), _) => Err(refuse(0, "asked for")),
            (Some(tokens), _) if tokens > most => Err(refuse(tokens, "asked for")),
            (Some(tokens), _) => Ok(tokens),
            (None, Some((tokens, file))) if tokens > most => Err(refuse(tokens, file)),
            (None, Some((tokens, _))) => Ok(tokens),
            (None, None) => {
                let said = [self.tokenizer, self.positions].into_iter().flatten();
                Ok(said.min().unwrap_or(most).min(most))
            }
        }
    }
}

/// `model_max_length` of tokenizer_config.json; `None` where it stands for no limit.
fn model_max_length(files: &ModelFiles) -> Result<Option<usize>, LoadError> {
    let Some(text) = files.text(TOKENIZER, 16 << 20)? else {
        return Ok(None);
    };
    let mut fields = Fields::of(TOKENIZER, &text)?;
    let tokens = fields.number("model_max_length", "a number above 0", |tokens| {
        tokens >= 1.0
    })?;
    // "No limit" is written as a number like 1e30.
    Ok(tokens
        .filter(|tokens| *tokens <= 1e9)
        .map(|tokens| tokens as usize))
}
