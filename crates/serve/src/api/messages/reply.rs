//! The answer as one message, and as the events that it is made of.
//!
//! One writer makes the events; what they add up to is the message.

use axum::body::Bytes;
use lattice_inference::generate::StopReason;
use serde_json::{Map, Value, json};

use crate::api::answers::{Answers, End};
use crate::api::blocks::{Change, Kind, Speech, Step};
use crate::api::head::Head;
use crate::id::fresh;
use crate::wire::ApiError;
use crate::wire::sse::{Source, named};

/// Writes one message.
pub(super) struct Writer {
    head: Head,
    prompt_tokens: usize,
    request_id: String,
    /// The texts that end it, in the order of the request.
    stop: Vec<String>,
    /// The blocks that have ended. A call that must not be made is none of them.
    content: Vec<Value>,
    open: Value,
    text: String,
    /// Blocks that have begun.
    begun: usize,
}

impl Writer {
    pub(super) fn new(head: Head, answers: &Answers, stop: Vec<String>) -> Writer {
        Writer {
            head,
            prompt_tokens: answers.prompt_tokens(),
            request_id: answers.request_id(),
            stop,
            content: Vec::new(),
            open: Value::Null,
            text: String::new(),
            begun: 0,
        }
    }

    /// Waits for the whole message.
    pub(super) async fn collected(mut self, mut speech: Speech) -> Result<Value, ApiError> {
        loop {
            match speech.next().await {
                Some(Step::Change(change)) => drop(self.change(change)),
                Some(Step::End(end)) => {
                    let usage = usage(&end);
                    let (reason, sequence) = self.stop(&end);
                    return Ok(self.message(&reason, &sequence, &usage));
                }
                Some(Step::Failed(error)) => return Err(error),
                None => return Err(ApiError::internal()),
            }
        }
    }

    fn message(&self, stop_reason: &Value, stop_sequence: &Value, usage: &Value) -> Value {
        json!({
            "id": self.head.id,
            "type": "message",
            "role": "assistant",
            "model": self.head.model,
            "content": self.content,
            "stop_reason": stop_reason,
            "stop_sequence": stop_sequence,
            "usage": usage,
        })
    }

    /// The first event: the message, still empty.
    fn begin(&self) -> Value {
        let usage = json!({
            "input_tokens": self.prompt_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 0,
        });
        let message = self.message(&Value::Null, &Value::Null, &usage);
        json!({"type": "message_start", "message": message})
    }

    /// The event of a change, if it is one here.
    fn change(&mut self, change: Change) -> Option<Value> {
        Some(match change {
            // Nobody can ask for them.
            Change::Logprobs(_) => return None,
            Change::Begin(kind) => {
                self.open = empty_block(&kind);
                self.text.clear();
                self.begun += 1;
                json!({"type": "content_block_start", "index": self.begun - 1, "content_block": self.open})
            }
            Change::More(text) => {
                self.text.push_str(&text);
                let (kind, field) = match self.open["type"].as_str() {
                    Some("thinking") => ("thinking_delta", "thinking"),
                    Some("tool_use") => ("input_json_delta", "partial_json"),
                    _ => ("text_delta", "text"),
                };
                let delta = json!({"type": kind, field: text});
                json!({"type": "content_block_delta", "index": self.last(), "delta": delta})
            }
            Change::End { whole } => {
                self.close(whole);
                json!({"type": "content_block_stop", "index": self.last()})
            }
        })
    }

    fn last(&self) -> usize {
        self.begun.saturating_sub(1)
    }

    fn close(&mut self, whole: bool) {
        let mut block = std::mem::take(&mut self.open);
        let text = std::mem::take(&mut self.text);
        let called = block["type"] == "tool_use";
        if called {
            let input: Map<String, Value> = serde_json::from_str(&text).unwrap_or_default();
            block["input"] = input.into();
        } else if block["type"] == "thinking" {
            block["thinking"] = text.into();
        } else {
            block["text"] = text.into();
        }
        if whole || !called {
            self.content.push(block);
        }
    }

    /// The last events: how it ended, and that it did.
    fn end(&self, end: &End) -> [Value; 2] {
        let (reason, sequence) = self.stop(end);
        let delta = json!({"stop_reason": reason, "stop_sequence": sequence});
        let usage = usage(end);
        [
            json!({"type": "message_delta", "delta": delta, "usage": usage}),
            json!({"type": "message_stop"}),
        ]
    }

    /// `stop_reason` and `stop_sequence`.
    fn stop(&self, end: &End) -> (Value, Value) {
        let word = match end.reason {
            _ if end.finish_reason() == "tool_calls" => "tool_use",
            StopReason::StopString(index) => {
                let text = self.stop.get(index);
                return (json!("stop_sequence"), json!(text));
            }
            StopReason::ContextFull => "model_context_window_exceeded",
            StopReason::MaxTokens => "max_tokens",
            _ => "end_turn",
        };
        (json!(word), Value::Null)
    }
}

/// What was read anew, what was there already, what was written.
fn usage(end: &End) -> Value {
    let usage = &end.usage;
    json!({
        "input_tokens": usage.prompt_tokens.saturating_sub(usage.cached_tokens),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.generated_tokens,
    })
}

fn empty_block(kind: &Kind) -> Value {
    match kind {
        Kind::Thinking => json!({"type": "thinking", "thinking": "", "signature": ""}),
        Kind::Text => json!({"type": "text", "text": ""}),
        Kind::Call(name) => {
            json!({"type": "tool_use", "id": fresh("toolu_"), "name": name, "input": {}})
        }
    }
}

/// The source of the events.
pub(super) struct MessageStream {
    speech: Speech,
    writer: Writer,
    at: At,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Begin,
    Middle,
    End,
}

impl MessageStream {
    pub(super) fn new(speech: Speech, writer: Writer) -> MessageStream {
        MessageStream {
            speech,
            writer,
            at: At::Begin,
        }
    }

    async fn step(&mut self) -> Option<Vec<u8>> {
        Some(match self.at {
            At::End => return None,
            At::Begin => {
                self.at = At::Middle;
                let ping = json!({"type": "ping"});
                [named(&self.writer.begin()), named(&ping)].concat()
            }
            At::Middle => match self.speech.next().await? {
                Step::Change(change) => {
                    let event = self.writer.change(change);
                    event.as_ref().map(named).unwrap_or_default()
                }
                Step::End(end) => {
                    self.at = At::End;
                    self.writer.end(&end).map(|event| named(&event)).concat()
                }
                Step::Failed(error) => {
                    self.at = At::End;
                    named(&error.to_anthropic(&self.writer.request_id))
                }
            },
        })
    }
}

impl Source for MessageStream {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let bytes = self.step().await?;
            if !bytes.is_empty() {
                return Some(bytes.into());
            }
        }
    }
}
