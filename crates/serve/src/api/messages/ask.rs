//! What a request of Anthropic's interface asks for, as the conversation that all endpoints answer.

use lattice_inference::grammar::Grammar;
use lattice_inference::tokenizer::{ChatMessage, Role};
use serde_json::{Map, Value, json};

use super::blocks::{messages, system};
use crate::api::prepare::{Conversation, ThinkingAsked};
use crate::wire::form::{Form, Tools};
use crate::wire::sampling::{Sampling, TOKENS_MAX};
use crate::wire::{ApiError, Fields};

/// A request that was understood.
pub(crate) struct MessagesAsk {
    pub(crate) model: Option<String>,
    pub(crate) conversation: Conversation,
    pub(crate) stream: bool,
    /// Fields without effect.
    pub(crate) ignored: Vec<String>,
}

impl MessagesAsk {
    /// Reads a body. `answered`: whether there is to be an answer, which must say how long it may be.
    ///
    /// # Errors
    /// 400, which names the field.
    pub(crate) fn from_body(bytes: &[u8], answered: bool) -> Result<MessagesAsk, ApiError> {
        let mut fields = Fields::from_body(bytes)?;
        let model = fields.text("model")?;
        let mut all: Vec<ChatMessage> = system(&mut fields)?.into_iter().collect();
        all.extend(messages(&mut fields)?);
        let mut sampling = Sampling::take_anthropic(&mut fields)?;
        sampling.max_tokens = fields.count("max_tokens", 1..=TOKENS_MAX)?;
        if answered && sampling.max_tokens.is_none() {
            return Err(fields.error("max_tokens", "missing"));
        }
        let grammar = grammar(&mut fields)?;
        let tools = tools(&mut fields)?;
        if grammar.is_some() && tools.is_some() {
            return Err(fields.error("tools", "an output format and tools exclude each other"));
        }
        // A conversation that ends with the assistant is gone on with.
        let last = all.last().map(|message| message.role);
        Ok(MessagesAsk {
            model,
            stream: fields.truth("stream")?.unwrap_or(false),
            conversation: Conversation {
                continue_final_message: last == Some(Role::Assistant),
                messages: all,
                form: Form { grammar, tools },
                thinking: thinking(&mut fields)?,
                sampling,
                choices: 1,
                ..Conversation::default()
            },
            ignored: fields.ignored(),
        })
    }
}

fn thinking(fields: &mut Fields) -> Result<ThinkingAsked, ApiError> {
    let Some(mut thinking) = fields.object("thinking")? else {
        return Ok(ThinkingAsked::new(Some(false), None, None));
    };
    let kind = thinking.word("type", &["enabled", "disabled", "adaptive"])?;
    let budget = thinking.count("budget_tokens", 1..=TOKENS_MAX)?;
    let enable = kind != Some("disabled");
    Ok(ThinkingAsked::new(
        Some(enable),
        None,
        budget.filter(|_| enable),
    ))
}

/// `output_format`, or `output_config.format`: a JSON schema.
fn grammar(fields: &mut Fields) -> Result<Option<Grammar>, ApiError> {
    let mut format = fields.object("output_format")?;
    if let Some(mut config) = fields.object("output_config")? {
        format = format.or(config.object("format")?);
    }
    let Some(mut format) = format else {
        return Ok(None);
    };
    format.word("type", &["json_schema"])?;
    match format.value("schema") {
        Some(schema) => Ok(Some(Grammar::JsonSchema(schema))),
        None => Err(format.error("schema", "missing")),
    }
}

fn tools(fields: &mut Fields) -> Result<Option<Tools>, ApiError> {
    let values = fields.list("tools")?.unwrap_or_default();
    let mut tools = Vec::with_capacity(values.len());
    for (index, value) in values.iter().enumerate() {
        tools.push(tool(value).map_err(|reason| fields.error(&format!("tools[{index}]"), reason))?);
    }
    let (choice, parallel) = choice(fields)?;
    Tools::read(tools, &choice, parallel)
}

/// A tool as OpenAI writes it.
fn tool(value: &Value) -> Result<Value, String> {
    let kind = value["type"].as_str().unwrap_or("custom");
    if kind != "custom" {
        return Err(format!(
            "tools of type {kind:?} run elsewhere; allowed is \"custom\""
        ));
    }
    let mut function = Map::new();
    for (name, theirs) in [
        ("name", "name"),
        ("description", "description"),
        ("parameters", "input_schema"),
        ("strict", "strict"),
    ] {
        if let Some(value) = value.get(theirs).filter(|value| !value.is_null()) {
            function.insert(name.to_owned(), value.clone());
        }
    }
    Ok(json!({"type": "function", "function": function}))
}

/// The choice as OpenAI writes it; and whether there may be several calls.
fn choice(fields: &mut Fields) -> Result<(Value, bool), ApiError> {
    let Some(mut choice) = fields.object("tool_choice")? else {
        return Ok((Value::Null, true));
    };
    let alone = choice.truth("disable_parallel_tool_use")?.unwrap_or(false);
    let kind = choice.word("type", &["auto", "any", "tool", "none"])?;
    let value = match kind {
        Some("any") => json!("required"),
        Some("none") => json!("none"),
        Some("tool") => {
            let name = choice.text("name")?;
            let name = name.ok_or_else(|| choice.error("name", "missing"))?;
            json!({"type": "function", "function": {"name": name}})
        }
        Some(_) => json!("auto"),
        None => return Err(choice.error("type", "missing")),
    };
    Ok((value, !alone))
}
