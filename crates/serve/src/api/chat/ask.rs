//! What a chat request asks for.

use lattice_inference::sample::SamplerOptions;
use lattice_inference::tokenizer::ChatMessage;
use serde_json::{Map, Value};

use crate::api::prepare::{Conversation, ThinkingAsked};
use crate::wire::form::form;
use crate::wire::sampling::{Sampling, TOKENS_MAX};
use crate::wire::{ApiError, Fields};

/// Fields of a message that have a meaning.
const MESSAGE_FIELDS: [&str; 8] = [
    "role",
    "content",
    "reasoning_content",
    "reasoning",
    "thinking",
    "tool_calls",
    "tool_call_id",
    "name",
];

/// How the answer is written.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Style {
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    pub(crate) logprobs: bool,
    pub(crate) timings: bool,
}

/// A request that was understood.
pub(crate) struct ChatAsk {
    pub(crate) model: Option<String>,
    pub(crate) conversation: Conversation,
    pub(crate) style: Style,
    /// Fields without effect.
    pub(crate) ignored: Vec<String>,
}

impl ChatAsk {
    /// Reads the fields of a body.
    ///
    /// # Errors
    /// 400, which names the field.
    pub(crate) fn take(mut fields: Fields, choices_max: usize) -> Result<ChatAsk, ApiError> {
        let model = fields.text("model")?;
        let (messages, mut ignored) = messages(&mut fields)?;
        let style = Style::take(&mut fields)?;
        let mut sampling = Sampling::take(&mut fields)?;
        let newer = fields.count("max_completion_tokens", 1..=TOKENS_MAX)?;
        let older = fields.count("max_tokens", 1..=TOKENS_MAX)?;
        sampling.max_tokens = newer.or(older);
        let top_logprobs = top_logprobs(&mut fields, style.logprobs)?;
        let choices = fields.count("n", 1..=choices_max as u64)?.unwrap_or(1);
        let form = form(&mut fields)?;
        let mut thinking = ThinkingAsked::take(&mut fields)?;
        let mut template_values = template_values(&mut fields)?;
        if let Some(Value::Bool(enable)) = template_values.get("enable_thinking") {
            thinking.enable = thinking.enable.or(Some(*enable));
            template_values.remove("enable_thinking");
        }
        let continue_final_message = continues(&mut fields)?;
        ignored.extend(fields.ignored());
        Ok(ChatAsk {
            model,
            conversation: Conversation {
                messages,
                form,
                thinking,
                sampling,
                top_logprobs,
                choices,
                continue_final_message,
                template_values,
            },
            style,
            ignored,
        })
    }
}

impl Style {
    fn take(fields: &mut Fields) -> Result<Style, ApiError> {
        let stream = fields.truth("stream")?.unwrap_or(false);
        let include_usage = include_usage(fields, stream)?;
        Ok(Style {
            stream,
            include_usage,
            logprobs: fields.truth("logprobs")?.unwrap_or(false),
            timings: fields.truth("timings")?.unwrap_or(false),
        })
    }
}

/// `stream_options.include_usage`; its other options have no effect here and change nothing of an answer.
pub(crate) fn include_usage(fields: &mut Fields, stream: bool) -> Result<bool, ApiError> {
    let Some(mut options) = fields.object("stream_options")? else {
        return Ok(false);
    };
    if !stream {
        return Err(fields.error("stream_options", "only with stream: true"));
    }
    Ok(options.truth("include_usage")?.unwrap_or(false))
}

/// The messages, and the names of their fields without effect.
pub(crate) fn messages(fields: &mut Fields) -> Result<(Vec<ChatMessage>, Vec<String>), ApiError> {
    let Some(values) = fields.list("messages")? else {
        return Err(fields.error("messages", "missing"));
    };
    let mut ignored: Vec<String> = Vec::new();
    for message in values.iter().filter_map(Value::as_object) {
        for (name, value) in message {
            let name_of = || format!("messages.{name}");
            let known = MESSAGE_FIELDS.contains(&name.as_str()) || value.is_null();
            if !known && !ignored.contains(&name_of()) {
                ignored.push(name_of());
            }
        }
    }
    let messages = ChatMessage::list_from_json(&Value::Array(values))?;
    Ok((messages, ignored))
}

fn top_logprobs(fields: &mut Fields, wanted: bool) -> Result<Option<u32>, ApiError> {
    let most = u64::from(SamplerOptions::LOGPROBS_MAX);
    let top = fields.count("top_logprobs", 0..=most)?;
    if top.is_some() && !wanted {
        return Err(fields.error("top_logprobs", "only with logprobs: true"));
    }
    Ok(wanted.then(|| top.unwrap_or(0) as u32))
}

/// Variables of the template. A template of one's own is not taken: it would run here.
pub(crate) fn template_values(fields: &mut Fields) -> Result<Map<String, Value>, ApiError> {
    if fields.value("chat_template").is_some() {
        let reason = "a request may not bring a template; the model's own is used";
        return Err(fields.error("chat_template", reason));
    }
    let values = fields.object("chat_template_kwargs")?;
    Ok(values.map(Fields::into_map).unwrap_or_default())
}

/// `continue_final_message`. `add_generation_prompt` may say the same again, and nothing else.
pub(crate) fn continues(fields: &mut Fields) -> Result<bool, ApiError> {
    let continues = fields.truth("continue_final_message")?.unwrap_or(false);
    match fields.truth("add_generation_prompt")? {
        Some(prompt) if prompt == continues => {
            let reason = "it is the opposite of continue_final_message";
            Err(fields.error("add_generation_prompt", reason))
        }
        _ => Ok(continues),
    }
}
