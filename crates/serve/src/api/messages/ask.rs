//! What a request of Anthropic's interface asks for, in the words of the chat.

use lattice_inference::tokenizer::Role;
use serde_json::{Value, json};

use super::turns::{system, turns};
use crate::api::prepare::{Conversation, ThinkingAsked};
use crate::wire::form::{form, function_tool};
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
    /// Reads the fields of a body.
    ///
    /// # Errors
    /// 400, which names the field.
    pub(crate) fn take(fields: Fields) -> Result<MessagesAsk, ApiError> {
        MessagesAsk::read(fields).map_err(renamed)
    }

    fn read(mut fields: Fields) -> Result<MessagesAsk, ApiError> {
        let mut ignored = Vec::new();
        let model = fields.text("model")?;
        let mut messages = system(&mut fields, &mut ignored)?;
        messages.extend(turns(&mut fields, &mut ignored)?);
        let last = messages.last();
        let continues = last.is_some_and(|last| last.role == Role::Assistant);
        if continues && last.is_some_and(|last| last.tool_calls.is_some()) {
            let reason = "the last message calls tools, and their results are missing";
            return Err(fields.error("messages", reason));
        }
        tools(&mut fields, &mut ignored)?;
        tool_choice(&mut fields, &mut ignored)?;
        let thinking = thinking(&mut fields, &mut ignored)?;
        let form = form(&mut fields)?;
        let sampling = sampling(&mut fields)?;
        let stream = fields.truth("stream")?.unwrap_or(false);
        // Everything that was read before is used again, wherever it is marked.
        let _ = fields.value("cache_control");
        fields.ignored_into(&mut ignored);
        Ok(MessagesAsk {
            model,
            conversation: Conversation {
                messages,
                form,
                thinking,
                sampling,
                choices: 1,
                continue_final_message: continues,
                ..Conversation::default()
            },
            stream,
            ignored,
        })
    }
}

/// An error about a field of the chat, by the name that it has here.
pub(super) fn renamed(error: ApiError) -> ApiError {
    error
        .renamed(".function.parameters", ".input_schema")
        .renamed(".function", "")
        .renamed("response_format", "output_config.format")
}

fn sampling(fields: &mut Fields) -> Result<Sampling, ApiError> {
    if let Some(temperature) = fields.number_within("temperature", 0.0..=1.0)? {
        fields.put("temperature", temperature);
    }
    let max_tokens = fields.count("max_tokens", 1..=TOKENS_MAX)?;
    let stop = fields.texts("stop_sequences")?;
    let mut sampling = Sampling::take(fields)?;
    sampling.max_tokens = max_tokens;
    if !stop.is_empty() {
        sampling.stop = stop;
    }
    Ok(sampling)
}

/// Writes the tools as the chat has them. Those that a server would have to run are left out, and named.
fn tools(fields: &mut Fields, ignored: &mut Vec<String>) -> Result<(), ApiError> {
    let Some(list) = fields.objects("tools")? else {
        return Ok(());
    };
    let mut tools = Vec::with_capacity(list.len());
    for mut tool in list {
        let kind = tool.text("type")?.unwrap_or_else(|| "custom".to_owned());
        if kind == "custom" {
            tools.push(function_tool(&mut tool, "input_schema"));
            let _ = tool.value("cache_control");
            tool.ignored_into(ignored);
        } else {
            ignored.push(format!("tools.{kind}"));
        }
    }
    fields.put("tools", tools);
    Ok(())
}

fn tool_choice(fields: &mut Fields, ignored: &mut Vec<String>) -> Result<(), ApiError> {
    let Some(mut choice) = fields.object("tool_choice")? else {
        return Ok(());
    };
    let kind = choice.word("type", &["auto", "any", "tool", "none"])?;
    let value = match choice.needed("type", kind)? {
        "any" => json!("required"),
        "tool" => {
            let name = choice.text("name")?;
            json!({"type": "function", "function": {"name": choice.needed("name", name)?}})
        }
        word => json!(word),
    };
    if let Some(alone) = choice.truth("disable_parallel_tool_use")? {
        fields.put("parallel_tool_calls", !alone);
    }
    fields.put("tool_choice", value);
    choice.ignored_into(ignored);
    Ok(())
}

/// Takes `thinking` and `output_config`. Who does not ask for thoughts gets none.
fn thinking(fields: &mut Fields, ignored: &mut Vec<String>) -> Result<ThinkingAsked, ApiError> {
    let mut enable = false;
    if let Some(mut thinking) = fields.object("thinking")? {
        let kind = thinking.word("type", &["enabled", "adaptive", "disabled"])?;
        enable = thinking.needed("type", kind)? != "disabled";
        if let Some(budget) = thinking.count("budget_tokens", 1..=TOKENS_MAX)? {
            fields.put("thinking_budget", budget);
        }
        thinking.ignored_into(ignored);
    }
    if let Some(mut config) = fields.object("output_config")? {
        let effort = config.word("effort", &["low", "medium", "high", "xhigh", "max"])?;
        match effort {
            Some(_) if !enable => ignored.push("output_config.effort".to_owned()),
            Some("max") => fields.put("reasoning_effort", "xhigh"),
            Some(effort) => fields.put("reasoning_effort", effort),
            None => {}
        }
        format(fields, config.value("format"));
        config.ignored_into(ignored);
    }
    let older = fields.value("output_format");
    format(fields, older);
    if fields.peek("enable_thinking").is_null() {
        fields.put("enable_thinking", enable);
    }
    let asked = ThinkingAsked::take(fields)?;
    let field = asked.field.map(|_| "thinking");
    Ok(ThinkingAsked { field, ..asked })
}

/// `{"type": "json_schema", "schema": ...}` is the chat's without its wrapper.
fn format(fields: &mut Fields, format: Option<Value>) {
    if let Some(format) = format {
        fields.put("response_format", format);
    }
}
