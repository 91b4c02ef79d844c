//! Conversations as the OpenAI API writes them, checked, and as templates want to see them.
//!
//! In: JSON of a request. Out: typed messages, and the values that a chat template reads.
//! It does not know templates or tokens.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::TextError;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions of the application.
    System,
    /// Instructions of the application, in the newer word.
    Developer,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// The answer of a tool.
    Tool,
}

/// What is said: text, or a list of parts. Only text parts are taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// Plain text.
    Text(String),
    /// Parts, as `{"type": "text", "text": "..."}`.
    Parts(Vec<Value>),
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// Who speaks.
    pub role: Role,
    /// What is said; absent where an assistant only calls tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
    /// What an assistant thought before it answered.
    #[serde(default, alias = "reasoning", alias = "thinking")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// Tools that an assistant called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Vec<ToolCall>>,
    /// The call that a tool answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// The name of the speaker, or of the tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// One call of a tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Links the call to its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Always `function`, where given.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// What is called.
    pub function: Function,
}

/// A function and its arguments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Function {
    /// Name of the function.
    pub name: String,
    /// Its arguments: an object, or that object written as a string of JSON.
    #[serde(default)]
    pub arguments: Value,
}

/// How to render a conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatOptions {
    /// Whether the prompt ends with the head of the assistant's answer.
    pub add_generation_prompt: bool,
    /// Whether the last message is left open for the model to go on with.
    pub continue_final_message: bool,
    /// Whether the model thinks first; `None` leaves it to the template.
    pub enable_thinking: Option<bool>,
    /// Tools, each as `{"type": "function", "function": {...}}`.
    pub tools: Option<Vec<Value>>,
    /// Whether system and developer messages that the template refuses, or would drop without a word, are merged in front.
    pub merge_system: bool,
    /// Further variables of the template. Names that the template's own inputs have are refused.
    pub extra: Map<String, Value>,
    /// The time that `strftime_now` tells, in seconds since 1970 (UTC); `None` asks the clock.
    pub now_unix_s: Option<i64>,
}

impl Default for ChatOptions {
    fn default() -> Self {
        ChatOptions {
            add_generation_prompt: true,
            continue_final_message: false,
            enable_thinking: None,
            tools: None,
            merge_system: true,
            extra: Map::new(),
            now_unix_s: None,
        }
    }
}

impl ChatMessage {
    /// A message of plain text.
    pub fn new(role: Role, text: impl Into<String>) -> Self {
        ChatMessage {
            role,
            content: Some(Content::Text(text.into())),
            reasoning_content: None,
            tool_calls: None,
            tool_call_id: None,
            name: None,
        }
    }

    /// The messages of a request.
    ///
    /// # Errors
    /// [`TextError::Conversation`] names the field that is wrong, as in `messages[2]`.
    pub fn list_from_json(messages: &Value) -> Result<Vec<Self>, TextError> {
        let list = messages
            .as_array()
            .ok_or_else(|| TextError::field("messages", "not a list"))?;
        let message = |(index, value): (usize, &Value)| {
            ChatMessage::deserialize(value)
                .map_err(|error| TextError::field(format!("messages[{index}]"), error))
        };
        list.iter().enumerate().map(message).collect()
    }

    /// The text of the content; parts are joined by line breaks.
    pub fn text(&self) -> String {
        match &self.content {
            None => String::new(),
            Some(Content::Text(text)) => text.clone(),
            Some(Content::Parts(parts)) => parts
                .iter()
                .filter_map(|part| part["text"].as_str())
                .collect::<Vec<_>>()
                .join("\n"),
        }
    }

    /// The message as a template reads it: absent fields are absent, arguments are objects.
    /// `index` is its place, for errors; lists of parts are joined unless the template `takes_parts`.
    pub(super) fn to_template_value(
        &self,
        index: usize,
        takes_parts: bool,
    ) -> Result<Map<String, Value>, TextError> {
        let mut value = Map::new();
        value.insert("role".to_owned(), json!(self.role));
        match &self.content {
            None => {}
            Some(Content::Parts(parts)) => {
                check_parts(parts, index)?;
                let content = if takes_parts {
                    json!(parts)
                } else {
                    json!(self.text())
                };
                value.insert("content".to_owned(), content);
            }
            Some(Content::Text(text)) => {
                value.insert("content".to_owned(), json!(text));
            }
        }
        let optional = [("tool_call_id", &self.tool_call_id), ("name", &self.name)];
        for (name, field) in optional {
            if let Some(text) = field {
                value.insert(name.to_owned(), json!(text));
            }
        }
        if let Some(reasoning) = &self.reasoning_content {
            value.insert("thinking".to_owned(), json!(reasoning));
            value.insert("reasoning_content".to_owned(), json!(reasoning));
        }
        if let Some(calls) = &self.tool_calls {
            let calls = calls.iter().enumerate().map(|(number, call)| {
                call.to_template_value(&format!("messages[{index}].tool_calls[{number}]"))
            });
            value.insert(
                "tool_calls".to_owned(),
                Value::Array(calls.collect::<Result<_, _>>()?),
            );
        }
        Ok(value)
    }
}

impl ToolCall {
    fn to_template_value(&self, field: &str) -> Result<Value, TextError> {
        let mut call = self.clone();
        call.function.arguments = match &self.function.arguments {
            Value::Null => json!({}),
            Value::Object(map) => Value::Object(map.clone()),
            Value::String(text) if text.trim().is_empty() => json!({}),
            Value::String(text) => {
                let parsed: Result<Map<String, Value>, _> = serde_json::from_str(text);
                let wrong = |error| TextError::field(format!("{field}.function.arguments"), error);
                Value::Object(parsed.map_err(wrong)?)
            }
            _ => {
                let field = format!("{field}.function.arguments");
                return Err(TextError::field(
                    field,
                    "neither an object nor a string of JSON",
                ));
            }
        };
        serde_json::to_value(call).map_err(|error| TextError::field(field, error))
    }
}

fn check_parts(parts: &[Value], index: usize) -> Result<(), TextError> {
    for (number, part) in parts.iter().enumerate() {
        let kind = part["type"].as_str();
        if !part["text"].is_string() || kind.is_some_and(|kind| kind != "text") {
            let field = format!("messages[{index}].content[{number}]");
            let kind = kind.unwrap_or("unknown");
            return Err(TextError::field(
                field,
                format!("a part of type {kind:?} is not taken"),
            ));
        }
    }
    Ok(())
}
