//! From a conversation and choices to requests for the generator.
//!
//! In: messages, sampling, form, thinking. Out: one request and one reader for each choice. It runs beside the model's
//! thread: templates, tokens and grammars take their time.

use std::sync::Arc;

use lattice_inference::generate::Request;
use lattice_inference::grammar::GrammarError;
use lattice_inference::tokenizer::{ChatMessage, ChatOptions, Role};
use lattice_inference::tools::{Form, ToolChoice, Tools};
use lattice_inference::{AnswerReader, Front};
use serde_json::{Map, Value};

use crate::wire::sampling::{Sampling, TOKENS_MAX};
use crate::wire::{ApiError, Fields};

/// Tokens of thought for each word of effort; `high` and above think as long as they like.
const EFFORTS: [(&str, Option<usize>); 6] = [
    ("none", Some(0)),
    ("minimal", Some(256)),
    ("low", Some(1024)),
    ("medium", Some(4096)),
    ("high", None),
    ("xhigh", None),
];

/// Whether and how long the model thinks first.
#[derive(Debug, Clone, Default)]
pub(crate) struct ThinkingAsked {
    /// `None` leaves it to the model's template.
    pub(crate) enable: Option<bool>,
    pub(crate) budget: Option<usize>,
    /// The field that asked for it.
    pub(crate) field: Option<&'static str>,
}

/// A conversation to be answered.
#[derive(Debug, Clone, Default)]
pub(crate) struct Conversation {
    pub(crate) messages: Vec<ChatMessage>,
    pub(crate) form: Form,
    pub(crate) thinking: ThinkingAsked,
    pub(crate) sampling: Sampling,
    /// Alternatives for each token, where log probabilities are asked for.
    pub(crate) top_logprobs: Option<u32>,
    pub(crate) choices: usize,
    pub(crate) continue_final_message: bool,
    /// Further variables of the template.
    pub(crate) template_values: Map<String, Value>,
}

/// What is handed to the model's thread, and what reads its answers.
pub(crate) struct Prepared {
    pub(crate) requests: Vec<Request>,
    pub(crate) readers: Vec<AnswerReader>,
    /// Fields that turned out to have no effect on this model.
    pub(crate) ignored: Vec<String>,
}

impl ThinkingAsked {
    /// Takes `enable_thinking`, `reasoning_effort` and `thinking_budget`. What is said more exactly holds.
    pub(crate) fn take(fields: &mut Fields) -> Result<ThinkingAsked, ApiError> {
        let enable = fields.truth("enable_thinking")?;
        let words = EFFORTS.map(|(word, _)| word);
        let effort = fields.word("reasoning_effort", &words)?;
        let budget = fields.count("thinking_budget", 0..=TOKENS_MAX)?;
        Ok(ThinkingAsked::new(enable, effort, budget))
    }

    fn new(enable: Option<bool>, effort: Option<&str>, budget: Option<usize>) -> ThinkingAsked {
        let effort = effort.and_then(|word| EFFORTS.iter().find(|(known, _)| *known == word));
        let of_effort = effort.map(|(word, _)| *word != "none");
        let field = match (enable, effort, budget) {
            (Some(true), _, _) => Some("enable_thinking"),
            (None, Some(("none", _)), None) | (Some(false), _, _) => None,
            (None, Some(_), _) => Some("reasoning_effort"),
            (None, None, budget) => budget.map(|_| "thinking_budget"),
        };
        ThinkingAsked {
            enable: enable.or(of_effort).or(budget.map(|tokens| tokens > 0)),
            budget: budget.or(effort.and_then(|(_, budget)| *budget)),
            field,
        }
    }
}

impl Conversation {
    /// Makes the requests.
    pub(crate) fn prepare(self, front: &Arc<Front>) -> Result<Prepared, ApiError> {
        let options = self.options()?;
        let mut base = front.chat(&self.messages, &options)?.request;
        let mut ignored = Vec::new();
        match &mut base.thinking {
            Some(thinking) => thinking.budget = self.thinking.budget,
            None => ignored.extend(self.thinking.field.map(str::to_owned)),
        }
        let mut prepared = Prepared {
            requests: Vec::with_capacity(self.choices),
            readers: Vec::with_capacity(self.choices),
            ignored,
        };
        for index in 0..self.choices {
            let mut request = copied(&base);
            self.sampling.apply(&mut request, index);
            request.sampler.logprobs = self.top_logprobs;
            prepared.readers.push(self.hold(front, &mut request)?);
            prepared.requests.push(request);
        }
        Ok(prepared)
    }

    /// Tokens of the prompt that it becomes.
    pub(crate) fn prompt_tokens(&self, front: &Front) -> Result<usize, ApiError> {
        let chat = front.chat(&self.messages, &self.options()?)?;
        Ok(chat.request.prompt.len())
    }

    /// How the conversation is rendered.
    pub(crate) fn options(&self) -> Result<ChatOptions, ApiError> {
        if self.continue_final_message {
            let last = self.messages.last().map(|message| message.role);
            if last != Some(Role::Assistant) {
                let reason = "the last message is not the assistant's";
                return Err(ApiError::field("continue_final_message", reason));
            }
        }
        let tools = self.form.tools.as_ref();
        Ok(ChatOptions {
            add_generation_prompt: !self.continue_final_message,
            continue_final_message: self.continue_final_message,
            enable_thinking: self.thinking.enable,
            tools: tools.map(|tools| tools.values.clone()),
            extra: self.template_values.clone(),
            ..ChatOptions::default()
        })
    }

    /// Holds a request to the form; the reader of its answer.
    fn hold(&self, front: &Front, request: &mut Request) -> Result<AnswerReader, ApiError> {
        hold(
            front,
            request,
            &self.form,
            self.thinking.enable == Some(true),
        )?;
        let Some(tools) = &self.form.tools else {
            return Ok(AnswerReader::new(None));
        };
        hold_calls(front, request, tools, self.thinking.enable)?;
        Ok(AnswerReader::new(Some(
            front.tool_stream(tools.list.clone())?,
        )))
    }
}

/// Holds a request to the grammar of a form, if there is one.
pub(crate) fn hold(
    front: &Front,
    request: &mut Request,
    form: &Form,
    may_think: bool,
) -> Result<(), ApiError> {
    let Some(grammar) = &form.grammar else {
        return Ok(());
    };
    let held = front.hold(request, grammar, may_think);
    held.map_err(|error| ApiError::from(error).renamed("response_format", form.grammar_field))
}

/// Holds the calls of an answer to their form.
fn hold_calls(
    front: &Front,
    request: &mut Request,
    tools: &Tools,
    think: Option<bool>,
) -> Result<(), ApiError> {
    let grammar = front.tool_grammar(&tools.list, &tools.choice, tools.parallel)?;
    let Some(grammar) = grammar else {
        return Ok(());
    };
    // Where nothing is demanded, a model that thinks unasked still may.
    let open = tools.choice == ToolChoice::Auto;
    let may_think = think == Some(true) || open && think.is_none();
    match front.hold(request, &grammar, may_think) {
        // No grammar can be held to with this vocabulary: an open choice goes without.
        Err(lattice_inference::Error::Grammar(GrammarError::Vocabulary(_)))
            if open && !tools.list.iter().any(|tool| tool.strict) =>
        {
            Ok(())
        }
        Err(lattice_inference::Error::Grammar(error)) => Err(ApiError::field("tools", error)),
        held => Ok(held?),
    }
}

/// The same request once more, without guides, which belong to one.
pub(crate) fn copied(request: &Request) -> Request {
    Request {
        prompt: request.prompt.clone(),
        sampler: request.sampler.clone(),
        max_tokens: request.max_tokens,
        stop: request.stop.clone(),
        stop_ids: request.stop_ids.clone(),
        thinking: request.thinking.clone(),
        prompt_logprobs: request.prompt_logprobs,
        keep_marks: request.keep_marks.clone(),
        guides: Vec::new(),
        constraint: None,
    }
}
