//! Messages made of blocks, as the messages that templates know.
//!
//! In: `system` and `messages`. Out: one message for each, and one for each result of a tool.

use lattice_inference::tokenizer::{ChatMessage, Content, Function, Role, ToolCall};
use serde_json::Value;

use crate::wire::{ApiError, Fields};

/// The instructions: a text, or blocks of text.
pub(super) fn system(fields: &mut Fields) -> Result<Option<ChatMessage>, ApiError> {
    let Some(value) = fields.value("system") else {
        return Ok(None);
    };
    let text = text_of(&value, "system")?;
    Ok((!text.is_empty()).then(|| ChatMessage::new(Role::System, text)))
}

/// The conversation.
pub(super) fn messages(fields: &mut Fields) -> Result<Vec<ChatMessage>, ApiError> {
    let Some(values) = fields.list("messages")? else {
        return Err(fields.error("messages", "missing"));
    };
    let mut messages = Vec::with_capacity(values.len());
    for (index, value) in values.iter().enumerate() {
        let field = format!("messages[{index}]");
        let role = match value["role"].as_str() {
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            Some("system") => Role::System,
            _ => {
                let reason = "allowed is user, assistant or system";
                return Err(ApiError::field(format!("{field}.role"), reason));
            }
        };
        message(
            role,
            &value["content"],
            &format!("{field}.content"),
            &mut messages,
        )?;
    }
    Ok(messages)
}

fn message(
    role: Role,
    content: &Value,
    field: &str,
    to: &mut Vec<ChatMessage>,
) -> Result<(), ApiError> {
    let blocks = match content {
        Value::String(text) => {
            to.push(ChatMessage::new(role, text.clone()));
            return Ok(());
        }
        Value::Array(blocks) => blocks,
        _ => {
            return Err(ApiError::field(
                field,
                "expected a text or a list of blocks",
            ));
        }
    };
    let (mut texts, mut calls, mut thoughts) = (Vec::new(), Vec::new(), Vec::new());
    for (index, block) in blocks.iter().enumerate() {
        let field = format!("{field}[{index}]");
        let text = |name: &str| {
            let text = block[name].as_str().map(str::to_owned);
            text.ok_or_else(|| ApiError::field(format!("{field}.{name}"), "expected a text"))
        };
        match (block["type"].as_str().unwrap_or_default(), role) {
            ("text", _) => texts.push(text("text")?),
            ("thinking", Role::Assistant) => thoughts.push(text("thinking")?),
            // Thoughts that were made unreadable are of no use here.
            ("redacted_thinking", Role::Assistant) => {}
            ("tool_use", Role::Assistant) => calls.push(ToolCall {
                id: Some(text("id")?),
                kind: Some("function".to_owned()),
                function: Function {
                    name: text("name")?,
                    arguments: block["input"].clone(),
                },
            }),
            ("tool_result", Role::User) => {
                let result = text_of(&block["content"], &format!("{field}.content"))?;
                to.push(ChatMessage {
                    tool_call_id: Some(text("tool_use_id")?),
                    ..ChatMessage::new(Role::Tool, result)
                });
            }
            (kind, _) => {
                let reason = format!("a block of type {kind:?} is not taken here");
                return Err(ApiError::field(field, reason));
            }
        }
    }
    let only_results = texts.is_empty() && role == Role::User && !blocks.is_empty();
    if only_results {
        return Ok(());
    }
    let silent = texts.is_empty() && role == Role::Assistant;
    to.push(ChatMessage {
        content: (!silent).then(|| Content::Text(texts.join("\n"))),
        reasoning_content: (!thoughts.is_empty()).then(|| thoughts.join("\n")),
        tool_calls: (!calls.is_empty()).then_some(calls),
        ..ChatMessage::new(role, "")
    });
    Ok(())
}

/// A text, or blocks of nothing but text.
fn text_of(value: &Value, field: &str) -> Result<String, ApiError> {
    match value {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        Value::Array(blocks) => {
            let text = |(index, block): (usize, &Value)| match block["text"].as_str() {
                Some(text) if block["type"] == "text" => Ok(text.to_owned()),
                _ => {
                    let field = format!("{field}[{index}]");
                    Err(ApiError::field(
                        field,
                        "only blocks of type \"text\" are taken here",
                    ))
                }
            };
            let texts: Result<Vec<_>, _> = blocks.iter().enumerate().map(text).collect();
            Ok(texts?.join("\n"))
        }
        _ => Err(ApiError::field(
            field,
            "expected a text or a list of blocks",
        )),
    }
}
