//! What a request for a response asks for, in the words of the chat.

use lattice_inference::sample::SamplerOptions;
use lattice_inference::tokenizer::{ChatMessage, Role};
use serde_json::{Map, Value, json};

use super::items::messages;
use crate::api::prepare::{Conversation, ThinkingAsked};
use crate::id::fresh;
use crate::wire::form::{form, function_tool};
use crate::wire::sampling::{Sampling, TOKENS_MAX};
use crate::wire::{ApiError, Content, Fields};

/// Fields that a response repeats, and what it says where they were not given.
const ECHOED: [(&str, &str); 14] = [
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("max_tool_calls", "null"),
    ("metadata", "{}"),
    ("parallel_tool_calls", "true"),
    ("previous_response_id", "null"),
    ("reasoning", r#"{"effort": null, "summary": null}"#),
    ("store", "true"),
    ("temperature", "null"),
    ("text", r#"{"format": {"type": "text"}}"#),
    ("tool_choice", r#""auto""#),
    ("tools", "[]"),
    ("top_p", "null"),
    ("user", "null"),
];

/// What asks for log probabilities.
const LOGPROBS: &str = "message.output_text.logprobs";

/// A request that was understood.
pub(crate) struct ResponsesAsk {
    pub(crate) model: Option<String>,
    /// The response that it goes on from.
    pub(crate) previous: Option<String>,
    instructions: Option<String>,
    pub(crate) conversation: Conversation,
    pub(crate) stream: bool,
    /// Whether the response is kept.
    pub(crate) store: bool,
    /// What the response repeats of the request.
    pub(crate) echo: Map<String, Value>,
    /// What the request brought, item by item.
    pub(crate) items: Vec<Value>,
    /// Fields without effect.
    pub(crate) ignored: Vec<String>,
}

impl ResponsesAsk {
    /// Reads the fields of a body. The conversation has only what is new.
    ///
    /// # Errors
    /// 400, which names the field.
    pub(crate) fn take(fields: Fields) -> Result<ResponsesAsk, ApiError> {
        ResponsesAsk::read(fields).map_err(renamed)
    }

    fn read(mut fields: Fields) -> Result<ResponsesAsk, ApiError> {
        refuse(&mut fields)?;
        let echo = echo(&fields);
        let store = fields.truth("store")?.unwrap_or(true);
        // A response that is not kept is never asked what its request brought.
        let items = if store {
            input_items(fields.peek("input"))
        } else {
            Vec::new()
        };
        let mut ignored = Vec::new();
        let model = fields.text("model")?;
        let instructions = fields.text("instructions")?;
        let messages = input(&mut fields, &mut ignored)?;
        tools(&mut fields, &mut ignored)?;
        tool_choice(&mut fields)?;
        text(&mut fields, &mut ignored)?;
        let thinking = thinking(&mut fields, &mut ignored)?;
        let form = form(&mut fields)?;
        let max_tokens = fields.count("max_output_tokens", 1..=TOKENS_MAX)?;
        let mut sampling = Sampling::take(&mut fields)?;
        sampling.max_tokens = max_tokens;
        let top_logprobs = top_logprobs(&mut fields, &mut ignored)?;
        let stream = fields.truth("stream")?.unwrap_or(false);
        let previous = fields.text("previous_response_id")?;
        if fields.word("truncation", &["auto", "disabled"])? == Some("auto") {
            ignored.push("truncation".to_owned());
        }
        // It is repeated, which is all that is asked of it.
        let _ = fields.object("metadata")?;
        fields.ignored_into(&mut ignored);
        Ok(ResponsesAsk {
            model,
            previous,
            instructions,
            conversation: Conversation {
                messages,
                form,
                thinking,
                sampling,
                top_logprobs,
                choices: 1,
                ..Conversation::default()
            },
            stream,
            store,
            echo,
            items,
            ignored,
        })
    }

    /// Puts what was said `before` in front of what is new, and the instructions in front of both. Returns what was
    /// said by now, without the instructions, which hold for one response.
    pub(crate) fn follow(&mut self, before: &[ChatMessage]) -> Result<Vec<ChatMessage>, ApiError> {
        let new = std::mem::take(&mut self.conversation.messages);
        let said: Vec<_> = before.iter().cloned().chain(new).collect();
        if said.is_empty() {
            return Err(ApiError::field("input", "missing"));
        }
        let instructions = self.instructions.take();
        let instructions = instructions.map(|text| ChatMessage::new(Role::System, text));
        let all = instructions.into_iter().chain(said.iter().cloned());
        self.conversation.messages = all.collect();
        Ok(said)
    }
}

/// An error about a field of the chat, by the name that it has here.
pub(super) fn renamed(error: ApiError) -> ApiError {
    error
        .renamed("tool_choice.allowed_tools.", "tool_choice.")
        .renamed(".function", "")
        .renamed("response_format", "text.format")
        .renamed("reasoning_effort", "reasoning.effort")
        .renamed("messages", "input")
}

/// What would change the answer beyond doubt, and is not done.
fn refuse(fields: &mut Fields) -> Result<(), ApiError> {
    for name in ["conversation", "prompt"] {
        if fields.value(name).is_some() {
            return Err(fields.error(
                name,
                "it is not taken; send the items, or previous_response_id",
            ));
        }
    }
    if fields.truth("background")? == Some(true) {
        return Err(fields.error("background", "true, allowed is false"));
    }
    Ok(())
}

fn echo(fields: &Fields) -> Map<String, Value> {
    let one = |(name, default): (&str, &str)| {
        let given = Some(fields.peek(name)).filter(|value| !value.is_null());
        let value = given.unwrap_or_else(|| serde_json::from_str(default).unwrap_or_default());
        (name.to_owned(), value)
    };
    ECHOED.into_iter().map(one).collect()
}

/// The items of a request, each with an id.
fn input_items(input: Value) -> Vec<Value> {
    let items = match input {
        Value::String(text) => {
            let content = json!([{"type": "input_text", "text": text}]);
            vec![json!({"type": "message", "role": "user", "content": content})]
        }
        Value::Array(items) => items,
        _ => Vec::new(),
    };
    let with_id = |mut item: Value| {
        if let Value::Object(fields) = &mut item {
            let id = fields.entry("id").or_insert(Value::Null);
            if id.is_null() {
                *id = fresh("item_").into();
            }
            fields.entry("type").or_insert_with(|| json!("message"));
        }
        item
    };
    items.into_iter().map(with_id).collect()
}

fn input(fields: &mut Fields, ignored: &mut Vec<String>) -> Result<Vec<ChatMessage>, ApiError> {
    match fields.content("input")? {
        None => Ok(Vec::new()),
        Some(Content::Text(text)) => Ok(vec![ChatMessage::new(Role::User, text)]),
        Some(Content::Parts(items)) => messages(items, ignored),
    }
}

/// Writes the tools as the chat has them. Those that a server would have to run are left out, and named.
fn tools(fields: &mut Fields, ignored: &mut Vec<String>) -> Result<(), ApiError> {
    let Some(list) = fields.objects("tools")? else {
        return Ok(());
    };
    let mut tools = Vec::with_capacity(list.len());
    for mut tool in list {
        let kind = tool.text("type")?;
        let kind = tool.needed("type", kind)?;
        if kind == "function" {
            tools.push(function_tool(&mut tool, "parameters"));
            tool.ignored_into(ignored);
        } else {
            ignored.push(format!("tools.{kind}"));
        }
    }
    fields.put("tools", tools);
    Ok(())
}

/// `{"type": "function", "name": ...}` is the chat's without its wrapper, and so are the tools of `allowed_tools`.
fn tool_choice(fields: &mut Fields) -> Result<(), ApiError> {
    let Value::Object(choice) = fields.peek("tool_choice") else {
        return Ok(());
    };
    let function = |name: &Value| json!({"type": "function", "function": {"name": name}});
    if choice.get("type") == Some(&json!("allowed_tools")) {
        let tools = choice.get("tools").and_then(Value::as_array);
        let tools = tools.map(|tools| tools.iter().map(|tool| function(&tool["name"])).collect());
        let allowed = json!({"mode": choice.get("mode"), "tools": tools.map(Value::Array)});
        let choice = json!({"type": "allowed_tools", "allowed_tools": allowed});
        fields.put("tool_choice", choice);
        return Ok(());
    }
    let name = choice
        .get("name")
        .filter(|_| choice.get("type") == Some(&json!("function")));
    let Some(name) = name else {
        let reason = "allowed is auto, none, required, {\"type\": \"function\", \"name\": ...} or allowed_tools";
        return Err(fields.error("tool_choice", reason));
    };
    let choice = function(name);
    fields.put("tool_choice", choice);
    Ok(())
}

fn text(fields: &mut Fields, ignored: &mut Vec<String>) -> Result<(), ApiError> {
    if let Some(mut text) = fields.object("text")? {
        if let Some(format) = text.value("format") {
            fields.put("response_format", format);
        }
        text.ignored_into(ignored);
    }
    Ok(())
}

/// Takes `include` and `top_logprobs`: log probabilities are what can be included.
fn top_logprobs(fields: &mut Fields, ignored: &mut Vec<String>) -> Result<Option<u32>, ApiError> {
    let included = fields.texts("include")?;
    let wanted = included.iter().any(|name| name == LOGPROBS);
    if included.iter().any(|name| name != LOGPROBS) {
        ignored.push("include".to_owned());
    }
    let most = u64::from(SamplerOptions::LOGPROBS_MAX);
    let top = fields.count("top_logprobs", 0..=most)?;
    if top.is_some() && !wanted {
        let reason = format!("only with include: [{LOGPROBS:?}]");
        return Err(fields.error("top_logprobs", reason));
    }
    Ok(wanted.then(|| top.unwrap_or(0) as u32))
}

/// Takes `reasoning`.
fn thinking(fields: &mut Fields, ignored: &mut Vec<String>) -> Result<ThinkingAsked, ApiError> {
    if let Some(mut reasoning) = fields.object("reasoning")? {
        if let Some(effort) = reasoning.value("effort") {
            fields.put("reasoning_effort", effort);
        }
        reasoning.ignored_into(ignored);
    }
    ThinkingAsked::take(fields)
}
