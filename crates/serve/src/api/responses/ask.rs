//! What a request of the newer interface asks for, as the conversation that all endpoints answer.

use lattice_inference::grammar::Grammar;
use lattice_inference::tokenizer::{ChatMessage, Function, Role, ToolCall};
use serde_json::{Map, Value, json};

use crate::api::prepare::{Conversation, EFFORT_WORDS, ThinkingAsked};
use crate::past::Past;
use crate::wire::form::{Form, Tools};
use crate::wire::sampling::{Sampling, TOKENS_MAX};
use crate::wire::{ApiError, Fields};

/// Fields of the request that the answer repeats.
const REPEATED: [&str; 8] = [
    "instructions",
    "metadata",
    "parallel_tool_calls",
    "previous_response_id",
    "temperature",
    "tool_choice",
    "tools",
    "top_p",
];

/// A request that was understood.
pub(crate) struct ResponsesAsk {
    pub(crate) model: Option<String>,
    pub(crate) conversation: Conversation,
    /// What the answer repeats of it.
    pub(crate) echo: Map<String, Value>,
    /// The conversation as it is kept, where it is to be: without the instructions, which hold for one answer.
    pub(crate) past: Option<Vec<ChatMessage>>,
    pub(crate) stream: bool,
    /// Fields without effect.
    pub(crate) ignored: Vec<String>,
}

impl ResponsesAsk {
    /// Reads a body.
    ///
    /// # Errors
    /// 400, which names the field.
    pub(crate) fn from_body(bytes: &[u8], past: &Past) -> Result<ResponsesAsk, ApiError> {
        let mut fields = Fields::from_body(bytes)?;
        let echo = fields.copies(&REPEATED);
        let model = fields.text("model")?;
        let mut messages = before(&mut fields, past)?;
        input(&mut fields, &mut messages)?;
        let store = fields.truth("store")?.unwrap_or(true);
        let kept = store.then(|| messages.clone());
        if let Some(instructions) = fields.text("instructions")? {
            messages.insert(0, ChatMessage::new(Role::System, instructions));
        }
        let mut sampling = Sampling::take(&mut fields)?;
        sampling.max_tokens = fields.count("max_output_tokens", 1..=TOKENS_MAX)?;
        let form = form(&mut fields)?;
        let thinking = thinking(&mut fields)?;
        let stream = fields.truth("stream")?.unwrap_or(false);
        // It changes nothing here, and is repeated.
        let _ = fields.value("metadata");
        Ok(ResponsesAsk {
            model,
            conversation: Conversation {
                messages,
                form,
                thinking,
                sampling,
                choices: 1,
                ..Conversation::default()
            },
            echo,
            past: kept,
            stream,
            ignored: fields.ignored(),
        })
    }
}

fn before(fields: &mut Fields, past: &Past) -> Result<Vec<ChatMessage>, ApiError> {
    let Some(id) = fields.text("previous_response_id")? else {
        return Ok(Vec::new());
    };
    past.find(&id).ok_or_else(|| {
        fields.error(
            "previous_response_id",
            format!("no response {id:?} is kept here"),
        )
    })
}

fn thinking(fields: &mut Fields) -> Result<ThinkingAsked, ApiError> {
    let Some(mut reasoning) = fields.object("reasoning")? else {
        return Ok(ThinkingAsked::default());
    };
    let effort = reasoning.word("effort", &EFFORT_WORDS)?;
    Ok(ThinkingAsked::new(None, effort, None))
}

fn form(fields: &mut Fields) -> Result<Form, ApiError> {
    let mut grammar = None;
    if let Some(mut text) = fields.object("text")?
        && let Some(format) = text.value("format")
    {
        let read = Grammar::from_response_format(&format);
        grammar = read.map_err(|error| fields.error("text.format", error))?;
    }
    let values = fields.list("tools")?.unwrap_or_default();
    let mut tools = Vec::with_capacity(values.len());
    for (index, value) in values.into_iter().enumerate() {
        let kind = value["type"].as_str().unwrap_or_default();
        if kind != "function" {
            let reason = format!("tools of type {kind:?} run elsewhere; allowed is \"function\"");
            return Err(fields.error(&format!("tools[{index}].type"), reason));
        }
        tools.push(json!({"type": "function", "function": value}));
    }
    let mut choice = fields.value("tool_choice").unwrap_or_default();
    if let Some(name) = choice.get("name").cloned() {
        choice = json!({"type": "function", "function": {"name": name}});
    }
    let parallel = fields.truth("parallel_tool_calls")?.unwrap_or(true);
    let tools = Tools::read(tools, &choice, parallel)?;
    if grammar.is_some() && tools.is_some() {
        return Err(fields.error("text.format", "a format and tools exclude each other"));
    }
    Ok(Form { grammar, tools })
}

/// `input`: a text, or a list of items.
fn input(fields: &mut Fields, to: &mut Vec<ChatMessage>) -> Result<(), ApiError> {
    match fields.value("input") {
        Some(Value::String(text)) => to.push(ChatMessage::new(Role::User, text)),
        Some(Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                self::item(item, &format!("input[{index}]"), to)?;
            }
        }
        Some(_) => return Err(fields.error("input", "expected a text or a list of items")),
        None => return Err(fields.error("input", "missing")),
    }
    Ok(())
}

fn item(item: &Value, field: &str, to: &mut Vec<ChatMessage>) -> Result<(), ApiError> {
    let text = |name: &str| {
        let text = item[name].as_str().map(str::to_owned);
        text.ok_or_else(|| ApiError::field(format!("{field}.{name}"), "expected a text"))
    };
    match item["type"].as_str().unwrap_or("message") {
        "message" => {
            let role = match item["role"].as_str() {
                Some("user") => Role::User,
                Some("assistant") => Role::Assistant,
                Some("system") => Role::System,
                Some("developer") => Role::Developer,
                _ => {
                    let reason = "allowed is user, assistant, system or developer";
                    return Err(ApiError::field(format!("{field}.role"), reason));
                }
            };
            let content = text_of(&item["content"], &format!("{field}.content"))?;
            to.push(ChatMessage::new(role, content));
        }
        "function_call" => {
            let call = ToolCall {
                id: Some(text("call_id")?),
                kind: Some("function".to_owned()),
                function: Function {
                    name: text("name")?,
                    arguments: Value::String(text("arguments")?),
                },
            };
            // Calls belong to the words before them.
            match to.last_mut().filter(|last| last.role == Role::Assistant) {
                Some(last) => last.tool_calls.get_or_insert_default().push(call),
                None => to.push(ChatMessage {
                    content: None,
                    tool_calls: Some(vec![call]),
                    ..ChatMessage::new(Role::Assistant, "")
                }),
            }
        }
        "function_call_output" => {
            let output = text_of(&item["output"], &format!("{field}.output"))?;
            to.push(ChatMessage {
                tool_call_id: Some(text("call_id")?),
                ..ChatMessage::new(Role::Tool, output)
            });
        }
        // Templates leave thoughts of past answers out.
        "reasoning" => {}
        other => {
            let reason = format!("an item of type {other:?} is not taken");
            return Err(ApiError::field(format!("{field}.type"), reason));
        }
    }
    Ok(())
}

/// A text, or parts of nothing but text.
fn text_of(value: &Value, field: &str) -> Result<String, ApiError> {
    let parts = match value {
        Value::String(text) => return Ok(text.clone()),
        Value::Array(parts) => parts,
        _ => return Err(ApiError::field(field, "expected a text or a list of parts")),
    };
    let mut texts = Vec::with_capacity(parts.len());
    for (index, part) in parts.iter().enumerate() {
        let kind = part["type"].as_str().unwrap_or_default();
        match part["text"].as_str() {
            Some(text) if ["input_text", "output_text", "text"].contains(&kind) => texts.push(text),
            _ => {
                let reason = format!("a part of type {kind:?} is not taken");
                return Err(ApiError::field(format!("{field}[{index}]"), reason));
            }
        }
    }
    Ok(texts.join("\n"))
}
