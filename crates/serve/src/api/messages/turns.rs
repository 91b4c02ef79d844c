//! The turns of a conversation as Anthropic writes them, as messages of the chat.
//!
//! In: `system` and `messages`: texts, or blocks. Out: messages, in order: results of tools are messages of their own.

use lattice_inference::tokenizer::{ChatMessage, Content as Said, Function, Role, ToolCall};

use crate::wire::{ApiError, Content, Fields};

/// Where a client writes about itself what changes with every request: the model has no use for it, and behind it nothing
/// that was read before could be used again.
const CLIENT_NOTE: &str = "x-anthropic-billing-header:";

/// What an assistant said, thought and called, or what a user said since the last result of a tool.
#[derive(Default)]
struct Turn {
    texts: Vec<String>,
    thoughts: Vec<String>,
    calls: Vec<ToolCall>,
}

/// The system prompt; no message where there is none.
pub(super) fn system(
    fields: &mut Fields,
    ignored: &mut Vec<String>,
) -> Result<Vec<ChatMessage>, ApiError> {
    let Some(content) = fields.content("system")? else {
        return Ok(Vec::new());
    };
    let mut text = text_of(content, ignored)?;
    if text.starts_with(CLIENT_NOTE) {
        text = text
            .split_once('\n')
            .map_or("", |(_, rest)| rest)
            .to_owned();
        ignored.push("system.x-anthropic-billing-header".to_owned());
    }
    let said = !text.is_empty();
    let message = said.then(|| ChatMessage::new(Role::System, text));
    Ok(message.into_iter().collect())
}

/// The turns.
pub(super) fn turns(
    fields: &mut Fields,
    ignored: &mut Vec<String>,
) -> Result<Vec<ChatMessage>, ApiError> {
    let list = fields.objects("messages")?;
    let list = fields.needed("messages", list)?;
    if list.is_empty() {
        return Err(fields.error("messages", "there are none"));
    }
    let mut messages = Vec::with_capacity(list.len());
    for mut message in list {
        let role = message.word("role", &["user", "assistant", "system"])?;
        let role = match message.needed("role", role)? {
            "assistant" => Role::Assistant,
            "system" => Role::System,
            _ => Role::User,
        };
        let content = message.content("content")?;
        match message.needed("content", content)? {
            Content::Text(text) => messages.push(ChatMessage::new(role, text)),
            Content::Parts(blocks) => turn(role, blocks, &mut messages, ignored)?,
        }
        message.ignored_into(ignored);
    }
    Ok(messages)
}

fn turn(
    role: Role,
    blocks: Vec<Fields>,
    messages: &mut Vec<ChatMessage>,
    ignored: &mut Vec<String>,
) -> Result<(), ApiError> {
    let mut turn = Turn::default();
    let silent = blocks.is_empty();
    for mut block in blocks {
        let _ = block.value("cache_control");
        let kind = block.text("type")?;
        match (block.needed("type", kind)?.as_str(), role) {
            ("text", _) => turn.texts.push(needed_text(&mut block, "text")?),
            ("thinking", Role::Assistant) => {
                turn.thoughts.push(needed_text(&mut block, "thinking")?);
                let _ = block.value("signature");
            }
            ("redacted_thinking", Role::Assistant) => {}
            ("tool_use", Role::Assistant) => turn.calls.push(call(&mut block)?),
            ("tool_result", Role::User) => {
                turn.close(role, messages);
                messages.push(result(&mut block, ignored)?);
            }
            (kind, _) => {
                let reason = format!("a block of type {kind:?} is not taken here");
                return Err(block.error("type", reason));
            }
        }
        block.ignored_into(ignored);
    }
    if silent {
        turn.texts.push(String::new());
    }
    turn.close(role, messages);
    Ok(())
}

impl Turn {
    /// Adds the message, if anything was said since the last.
    fn close(&mut self, role: Role, messages: &mut Vec<ChatMessage>) {
        let Turn {
            texts,
            thoughts,
            calls,
        } = std::mem::take(self);
        if texts.is_empty() && thoughts.is_empty() && calls.is_empty() {
            return;
        }
        // Blocks of an answer were cut from one text.
        let between = if role == Role::Assistant { "" } else { "\n" };
        let silent = texts.is_empty() && !calls.is_empty();
        messages.push(ChatMessage {
            content: (!silent).then(|| Said::Text(texts.join(between))),
            reasoning_content: (!thoughts.is_empty()).then(|| thoughts.concat()),
            tool_calls: (!calls.is_empty()).then_some(calls),
            ..ChatMessage::new(role, "")
        });
    }
}

fn call(block: &mut Fields) -> Result<ToolCall, ApiError> {
    let input = block.object("input")?;
    Ok(ToolCall {
        id: block.text("id")?,
        kind: Some("function".to_owned()),
        function: Function {
            name: needed_text(block, "name")?,
            arguments: block.needed("input", input)?.into_map().into(),
        },
    })
}

fn result(block: &mut Fields, ignored: &mut Vec<String>) -> Result<ChatMessage, ApiError> {
    let text = match block.content("content")? {
        Some(content) => text_of(content, ignored)?,
        None => String::new(),
    };
    let id = block.text("tool_use_id")?;
    // Only that something went wrong has no place in a template.
    if block.truth("is_error")? == Some(true) {
        block.put("is_error", true);
    }
    Ok(ChatMessage {
        tool_call_id: Some(block.needed("tool_use_id", id)?),
        ..ChatMessage::new(Role::Tool, text)
    })
}

/// The text of what may only be text.
fn text_of(content: Content, ignored: &mut Vec<String>) -> Result<String, ApiError> {
    let blocks = match content {
        Content::Text(text) => return Ok(text),
        Content::Parts(blocks) => blocks,
    };
    let mut texts = Vec::with_capacity(blocks.len());
    for mut block in blocks {
        let _ = block.value("cache_control");
        let kind = block.text("type")?;
        let kind = block.needed("type", kind)?;
        if kind != "text" {
            let reason = format!("a block of type {kind:?} is not taken here");
            return Err(block.error("type", reason));
        }
        texts.push(needed_text(&mut block, "text")?);
        block.ignored_into(ignored);
    }
    Ok(texts.join("\n"))
}

fn needed_text(block: &mut Fields, name: &str) -> Result<String, ApiError> {
    let text = block.text(name)?;
    block.needed(name, text)
}
