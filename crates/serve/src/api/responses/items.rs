//! The items of a conversation as OpenAI's responses have them, as messages of the chat.
//!
//! In: items of a request. Out: messages, in order: what an assistant thought, said and called after each other is one.

use lattice_inference::tokenizer::{ChatMessage, Function, Role, ToolCall};
use serde_json::Value;

use crate::wire::{ApiError, Content, Fields};

/// Messages, and thoughts that belong to the next of the assistant's.
#[derive(Default)]
struct Messages {
    list: Vec<ChatMessage>,
    thoughts: Option<String>,
    /// Whether the last message is the assistant's and may still get calls.
    open: bool,
}

/// The messages that items are.
pub(super) fn messages(
    items: Vec<Fields>,
    ignored: &mut Vec<String>,
) -> Result<Vec<ChatMessage>, ApiError> {
    let mut messages = Messages::default();
    for mut item in items {
        // What these say is in the other fields.
        let _ = (item.value("id"), item.value("status"));
        let kind = item.text("type")?.unwrap_or_else(|| "message".to_owned());
        match kind.as_str() {
            "message" => messages.message(&mut item, ignored)?,
            "reasoning" => messages.reasoning(&mut item, ignored)?,
            "function_call" => messages.call(&mut item)?,
            "function_call_output" => messages.result(&mut item, ignored)?,
            other => {
                let reason = format!("an item of type {other:?} is not taken");
                return Err(item.error("type", reason));
            }
        }
        item.ignored_into(ignored);
    }
    Ok(messages.list)
}

impl Messages {
    fn message(&mut self, item: &mut Fields, ignored: &mut Vec<String>) -> Result<(), ApiError> {
        let role = item.word("role", &["user", "assistant", "system", "developer"])?;
        let role = match item.needed("role", role)? {
            "assistant" => Role::Assistant,
            "system" => Role::System,
            "developer" => Role::Developer,
            _ => Role::User,
        };
        let text = texts(item, "content", ignored)?;
        self.open = role == Role::Assistant;
        let thoughts = self.thoughts.take().filter(|_| self.open);
        self.list.push(ChatMessage {
            reasoning_content: thoughts,
            ..ChatMessage::new(role, text)
        });
        Ok(())
    }

    fn reasoning(&mut self, item: &mut Fields, ignored: &mut Vec<String>) -> Result<(), ApiError> {
        // The thoughts themselves; where there are none, what was told of them.
        let mut thoughts = parts(item, "content", ignored)?;
        let told = parts(item, "summary", ignored)?;
        if thoughts.is_empty() {
            thoughts = told;
        }
        self.thoughts = (!thoughts.is_empty()).then_some(thoughts);
        self.open = false;
        Ok(())
    }

    fn call(&mut self, item: &mut Fields) -> Result<(), ApiError> {
        let (id, name) = (item.text("call_id")?, item.text("name")?);
        let arguments = item.text("arguments")?;
        let call = ToolCall {
            id: Some(item.needed("call_id", id)?),
            kind: Some("function".to_owned()),
            function: Function {
                name: item.needed("name", name)?,
                arguments: Value::String(item.needed("arguments", arguments)?),
            },
        };
        if !self.open {
            let thoughts = self.thoughts.take();
            self.list.push(ChatMessage {
                content: None,
                reasoning_content: thoughts,
                ..ChatMessage::new(Role::Assistant, "")
            });
            self.open = true;
        }
        if let Some(last) = self.list.last_mut() {
            last.tool_calls.get_or_insert_default().push(call);
        }
        Ok(())
    }

    fn result(&mut self, item: &mut Fields, ignored: &mut Vec<String>) -> Result<(), ApiError> {
        let id = item.text("call_id")?;
        let message = ChatMessage {
            tool_call_id: Some(item.needed("call_id", id)?),
            ..ChatMessage::new(Role::Tool, texts(item, "output", ignored)?)
        };
        self.list.push(message);
        self.open = false;
        Ok(())
    }
}

/// What the parts of a thought say together.
fn parts(item: &mut Fields, name: &str, ignored: &mut Vec<String>) -> Result<String, ApiError> {
    let mut all = String::new();
    for mut part in item.objects(name)?.unwrap_or_default() {
        let text = part.text("text")?;
        all.push_str(&part.needed("text", text)?);
        let _ = part.value("type");
        part.ignored_into(ignored);
    }
    Ok(all)
}

/// A text, or parts that are texts.
fn texts(item: &mut Fields, name: &str, ignored: &mut Vec<String>) -> Result<String, ApiError> {
    let content = item.content(name)?;
    let parts = match item.needed(name, content)? {
        Content::Text(text) => return Ok(text),
        Content::Parts(parts) => parts,
    };
    let mut texts = Vec::with_capacity(parts.len());
    for mut part in parts {
        let kind = part.text("type")?;
        let kind = part.needed("type", kind)?;
        let field = match kind.as_str() {
            "input_text" | "output_text" | "text" => "text",
            "refusal" => "refusal",
            other => {
                let reason = format!("a part of type {other:?} is not taken");
                return Err(part.error("type", reason));
            }
        };
        let text = part.text(field)?;
        texts.push(part.needed(field, text)?);
        // What an answer has beside its text.
        let _ = (part.value("annotations"), part.value("logprobs"));
        part.ignored_into(ignored);
    }
    Ok(texts.join("\n"))
}
