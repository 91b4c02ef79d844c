//! The text side of a model's files: tokenizer, template, ids that end a text.
//!
//! In: the files, and the model that they belong to. Out: a tokenizer whose ids the model has rows for.
//! It does not know weights.

mod gguf;

use crate::Error;
use crate::checkpoint::{Config, FileBytes, GenerationDefaults, LoadError, ModelFiles};
use crate::model::Model;
use crate::tokenizer::{
    ChatTemplate, GgufVocabulary, HfTokenizer, TemplateFiles, TextError, Tokenizer as _,
    TokenizerFiles, Vocabulary,
};
use crate::tools::ToolFormat;

/// Template and tokenizer_config files are text that people wrote: far below this.
const TEXT_BYTES_MAX: u64 = 16 << 20;

/// The largest vocabulary file that is read: the largest known one has 33 MB.
const VOCABULARY_BYTES_MAX: u64 = 128 << 20;

/// The names that SentencePiece models go by.
const SENTENCE_PIECE: [&str; 3] = ["tokenizer.model", "sentencepiece.bpe.model", "spiece.model"];

/// Vocabularies that are known and not read.
const REFUSED: [(&str, &str); 4] = [
    ("tiktoken.model", "a tiktoken vocabulary"),
    ("qwen.tiktoken", "a tiktoken vocabulary"),
    ("tekken.json", "a tekken vocabulary"),
    ("vocab.json", "a vocabulary without merges.txt beside it"),
];

/// A vocabulary with its bytes, as it was found.
enum Found {
    Json(FileBytes),
    Merges { vocab: String, merges: String },
    Words(String),
    SentencePiece(&'static str, FileBytes),
    Gguf(Box<GgufVocabulary>),
}

impl Found {
    /// The first vocabulary that there is: tokenizer.json, vocab.json with merges.txt, vocab.txt, tokenizer.model,
    /// tokenizer.gguf. A GGUF file has its own.
    fn search(files: &ModelFiles) -> Result<Self, Error> {
        if let Some(metadata) = files.gguf() {
            return Ok(Found::Gguf(Box::new(gguf::vocabulary(metadata)?)));
        }
        if let Some(json) = files.bytes("tokenizer.json")? {
            return Ok(Found::Json(json));
        }
        let text = |name| files.text(name, VOCABULARY_BYTES_MAX);
        if let Some(merges) = text("merges.txt")?
            && let Some(vocab) = text("vocab.json")?
        {
            return Ok(Found::Merges { vocab, merges });
        }
        if let Some(words) = text("vocab.txt")? {
            return Ok(Found::Words(words));
        }
        for name in SENTENCE_PIECE {
            if let Some(bytes) = files.bytes(name)? {
                return Ok(Found::SentencePiece(name, bytes));
            }
        }
        if let Some(metadata) = files.gguf_vocabulary()? {
            return Ok(Found::Gguf(Box::new(gguf::vocabulary(&metadata)?)));
        }
        let names = files.names()?;
        for (name, what) in REFUSED {
            if names.iter().any(|known| known == name) {
                let (file, reason) = (
                    name.to_owned(),
                    format!("{what}, which is not supported; tokenizer.json is"),
                );
                return Err(TextError::Tokenizer { file, reason }.into());
            }
        }
        Err(LoadError::NoFile {
            model: files.name(),
            file: "tokenizer.json, vocab.json with merges.txt, vocab.txt or tokenizer.model",
        }
        .into())
    }

    fn vocabulary(&self) -> Vocabulary<'_> {
        match self {
            Found::Json(json) => Vocabulary::Json(json),
            Found::Merges { vocab, merges } => Vocabulary::Merges {
                vocab: vocab.as_bytes(),
                merges,
            },
            Found::Words(words) => Vocabulary::Words(words),
            Found::SentencePiece(name, bytes) => Vocabulary::SentencePiece { name, bytes },
            Found::Gguf(vocabulary) => Vocabulary::Gguf(vocabulary),
        }
    }
}

/// The file or files that a model's tokenizer is made of, in words.
///
/// # Errors
/// There are none, or one cannot be read.
pub fn tokenizer_source(files: &ModelFiles) -> Result<String, Error> {
    Ok(Found::search(files)?.vocabulary().source().to_owned())
}

/// The tokenizer of a model's files: of tokenizer.json, else of vocab.json and merges.txt, else of vocab.txt, else of
/// tokenizer.model; or of the metadata of a GGUF file.
///
/// # Errors
/// It is missing, broken, or belongs to another model than `model`.
pub fn open_tokenizer(files: &ModelFiles, model: &Model) -> Result<HfTokenizer, Error> {
    let found = Found::search(files)?;
    let text = |name| files.text(name, TEXT_BYTES_MAX);
    let config = text("tokenizer_config.json")?;
    // tokenizer.json says all that the two older files say.
    let older = |name| match found {
        Found::Json(_) => Ok(None),
        _ => text(name),
    };
    let (special, added) = (
        older("special_tokens_map.json")?,
        older("added_tokens.json")?,
    );
    let tokenizer = HfTokenizer::from_files(&TokenizerFiles {
        vocabulary: found.vocabulary(),
        tokenizer_config: config.as_deref(),
        special_tokens_map: special.as_deref(),
        added_tokens: added.as_deref(),
        model_type: Some(model.config.top_model_type()),
    })?;
    check_vocabulary(model, &tokenizer)?;
    Ok(tokenizer)
}

pub(crate) fn open_template(
    files: &ModelFiles,
    tokenizer: &HfTokenizer,
) -> Result<Option<ChatTemplate>, Error> {
    let config = files.text("tokenizer_config.json", TEXT_BYTES_MAX)?;
    let jinja = files.text("chat_template.jinja", TEXT_BYTES_MAX)?;
    let files = TemplateFiles {
        jinja: jinja.as_deref(),
        tokenizer_config: config.as_deref(),
    };
    Ok(ChatTemplate::new(files, tokenizer.control_tokens())?)
}

/// The form in which a model writes calls of tools, as its template asks for it; `None` without a template that does.
///
/// # Errors
/// The template or what it needs of the tokenizer is broken.
pub fn tool_format(files: &ModelFiles, model: &Model) -> Result<Option<ToolFormat>, Error> {
    let template = open_template(files, &open_tokenizer(files, model)?)?;
    Ok(template.and_then(|template| ToolFormat::from_template(template.tools_source())))
}

/// A tokenizer whose ids do not fit the embedding belongs to another model.
fn check_vocabulary(model: &Model, tokenizer: &HfTokenizer) -> Result<(), LoadError> {
    let (ids, vocab) = (tokenizer.ids_max(), model.plan.vocab);
    if ids <= vocab {
        return Ok(());
    }
    let reason = format!("is {vocab}, the tokenizer has ids up to {}", ids - 1);
    Err(model.config.refuse("vocab_size", reason))
}

pub(crate) fn stop_ids(
    config: &Config,
    defaults: &GenerationDefaults,
    tokenizer: &HfTokenizer,
) -> Result<Vec<u32>, LoadError> {
    let mut ids = defaults.eos_token_ids.clone();
    ids.extend(config.ids("eos_token_id")?);
    ids.extend(tokenizer.end_ids());
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}
