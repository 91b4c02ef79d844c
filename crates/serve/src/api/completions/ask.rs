//! What a completion request asks for.

use lattice_inference::generate::Request;
use lattice_inference::sample::SamplerOptions;
use lattice_inference::tokenizer::Tokenizer as _;
use lattice_inference::tools::Form;
use lattice_inference::{AnswerReader, Front};
use serde_json::Value;

use crate::api::chat::ask::include_usage;
use crate::api::prepare::{copied, hold};
use crate::api::token_ids;
use crate::wire::form::grammar;
use crate::wire::sampling::{Sampling, TOKENS_MAX};
use crate::wire::{ApiError, Fields};

/// Tokens of an answer where nobody says how many.
const TOKENS_DEFAULT: usize = 16;

/// A text, or its tokens.
#[derive(Debug, Clone)]
enum Prompt {
    Text(String),
    Tokens(Vec<u32>),
}

/// How the answer is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    /// Whether the prompt is repeated in front of the answer.
    pub(crate) echo: bool,
    pub(crate) logprobs: bool,
    pub(crate) timings: bool,
}

/// A request that was understood.
pub(crate) struct CompletionAsk {
    pub(crate) model: Option<String>,
    prompts: Vec<Prompt>,
    /// Choices for each prompt.
    pub(crate) per_prompt: usize,
    sampling: Sampling,
    form: Form,
    top_logprobs: Option<u32>,
    pub(crate) style: Style,
    pub(crate) ignored: Vec<String>,
}

/// What is handed to the model's thread; what reads its answers; what is repeated before each.
pub(crate) struct Prepared {
    pub(crate) requests: Vec<Request>,
    pub(crate) readers: Vec<AnswerReader>,
    pub(crate) prompts: Vec<Vec<u32>>,
}

impl CompletionAsk {
    /// Reads the fields of a body.
    ///
    /// # Errors
    /// 400, which names the field.
    pub(crate) fn take(mut fields: Fields, choices_max: usize) -> Result<CompletionAsk, ApiError> {
        let model = fields.text("model")?;
        let prompts = prompts(&mut fields)?;
        let most = u64::from(SamplerOptions::LOGPROBS_MAX);
        let top_logprobs = fields.count("logprobs", 0..=most)?.map(|top| top as u32);
        let stream = fields.truth("stream")?.unwrap_or(false);
        let style = Style {
            stream,
            include_usage: include_usage(&mut fields, stream)?,
            echo: fields.truth("echo")?.unwrap_or(false),
            logprobs: top_logprobs.is_some(),
            timings: fields.truth("timings")?.unwrap_or(false),
        };
        let mut sampling = Sampling::take(&mut fields)?;
        let asked = fields.count("max_tokens", 0..=TOKENS_MAX)?;
        sampling.max_tokens = Some(asked.unwrap_or(TOKENS_DEFAULT));
        let per_prompt = per_prompt(&mut fields, prompts.len(), choices_max)?;
        Ok(CompletionAsk {
            model,
            prompts,
            per_prompt,
            sampling,
            form: grammar(&mut fields)?,
            top_logprobs,
            style,
            ignored: fields.ignored(),
        })
    }

    /// Makes the requests: all choices of the first prompt, then those of the next.
    pub(crate) fn prepare(self, front: &Front) -> Result<Prepared, ApiError> {
        let choices = self.prompts.len() * self.per_prompt;
        let mut prepared = Prepared {
            requests: Vec::with_capacity(choices),
            readers: Vec::with_capacity(choices),
            prompts: Vec::with_capacity(choices),
        };
        for prompt in &self.prompts {
            let ids = ids(prompt, front)?;
            let mut base = front.request_of(ids);
            // The text is taken as it is: nothing in it is a thought.
            base.thinking = None;
            base.prompt_logprobs = self.style.echo && self.style.logprobs;
            for index in 0..self.per_prompt {
                let mut request = copied(&base);
                self.sampling.apply(&mut request, index);
                request.sampler.logprobs = self.top_logprobs;
                hold(front, &mut request, &self.form, false)?;
                prepared.requests.push(request);
                prepared.readers.push(AnswerReader::new(None));
                prepared.prompts.push(base.prompt.clone());
            }
        }
        Ok(prepared)
    }
}

/// An error about a conversation, by the name that its text has here.
pub(super) fn renamed(error: ApiError) -> ApiError {
    error.renamed("messages", "prompt")
}

fn ids(prompt: &Prompt, front: &Front) -> Result<Vec<u32>, ApiError> {
    match prompt {
        Prompt::Text(text) => Ok(front.tokenizer.ids_with_specials_from_text(text)?),
        Prompt::Tokens(ids) => {
            let unknown = ids
                .iter()
                .find(|id| front.tokenizer.bytes_from_id(**id).is_none());
            match unknown {
                Some(id) => Err(ApiError::field(
                    "prompt",
                    format!("no token has the id {id}"),
                )),
                None => Ok(ids.clone()),
            }
        }
    }
}

/// A text, a list of texts, a list of tokens, or a list of such lists.
fn prompts(fields: &mut Fields) -> Result<Vec<Prompt>, ApiError> {
    let wrong = |fields: &Fields| {
        let reason =
            "expected a text, a list of texts, a list of token ids, or a list of such lists";
        fields.error("prompt", reason)
    };
    let Some(value) = fields.value("prompt") else {
        return Err(fields.error("prompt", "missing"));
    };
    let prompts = match &value {
        Value::String(text) => Some(vec![Prompt::Text(text.clone())]),
        Value::Array(items) if items.iter().all(Value::is_number) => {
            tokens(items).map(|tokens| vec![tokens])
        }
        Value::Array(items) => items.iter().map(prompt).collect(),
        _ => None,
    };
    prompts
        .filter(|prompts| !prompts.is_empty())
        .ok_or_else(|| wrong(fields))
}

fn prompt(value: &Value) -> Option<Prompt> {
    match value {
        Value::String(text) => Some(Prompt::Text(text.clone())),
        Value::Array(items) => tokens(items),
        _ => None,
    }
}

fn tokens(items: &[Value]) -> Option<Prompt> {
    token_ids(items).map(Prompt::Tokens)
}

/// `n`, and `best_of`, which may only say the same.
fn per_prompt(fields: &mut Fields, prompts: usize, choices_max: usize) -> Result<usize, ApiError> {
    let most = choices_max as u64;
    let n = fields.count("n", 1..=most)?.unwrap_or(1);
    if fields
        .count("best_of", 1..=most)?
        .is_some_and(|best_of| best_of != n)
    {
        return Err(fields.error("best_of", "only as many as n: all choices are returned"));
    }
    if n * prompts > choices_max {
        let reason = format!(
            "{prompts} prompts with {n} choices each, at most {choices_max} are made at once"
        );
        return Err(fields.error("prompt", reason));
    }
    Ok(n)
}
