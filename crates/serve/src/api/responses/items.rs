//! The items of an answer (thoughts, message, calls), built from its pieces, with the events that tell of each step.
//!
//! In: pieces, the end. Out: events, in their order; the whole response at any time. One code for both forms.

use lattice_inference::Piece;
use lattice_inference::generate::Usage;
use lattice_inference::tokenizer::{ChatMessage, Content, Function, Role, ToolCall};
use lattice_inference::tools::ToolEvent;
use serde_json::{Map, Value, json};

use crate::api::answers::End;
use crate::api::head::Head;
use crate::id::fresh;

/// An answer that grows.
pub(super) struct Answer {
    head: Head,
    echo: Map<String, Value>,
    items: Vec<Value>,
    /// The last item is not done.
    open: bool,
    status: &'static str,
    usage: Value,
}

/// The parts of messages and of thoughts: what they are called, and their events.
const TEXT: (&str, &str) = ("output_text", "response.output_text");
const THOUGHT: (&str, &str) = ("reasoning_text", "response.reasoning_text");

impl Answer {
    pub(super) fn new(head: Head, echo: Map<String, Value>) -> Answer {
        Answer {
            head,
            echo,
            items: Vec::new(),
            open: false,
            status: "in_progress",
            usage: Value::Null,
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.head.id
    }

    /// Takes a piece.
    pub(super) fn piece(&mut self, piece: &Piece, events: &mut Vec<Value>) {
        if piece.thinking {
            // The line that a template opens a thought with is no part of it.
            let begins = self.open_kind() != Some("reasoning");
            let text = if begins {
                piece.text.trim_start_matches('\n')
            } else {
                &piece.text
            };
            self.text("reasoning", text, events);
        } else {
            self.text("message", &piece.text, events);
        }
        for call in &piece.calls {
            self.call(call, events);
        }
    }

    /// Takes the end.
    pub(super) fn end(&mut self, end: &End, events: &mut Vec<Value>) {
        if let Some(piece) = &end.piece {
            self.piece(piece, events);
        }
        if self.items.is_empty() {
            self.begin_text("message", events);
        }
        self.close(events);
        let cut = end.finish_reason() == "length";
        self.status = if cut { "incomplete" } else { "completed" };
        self.usage = usage(&end.usage, end.reasoning_tokens);
    }

    /// It broke off.
    pub(super) fn fail(&mut self) {
        self.status = "failed";
    }

    fn open_kind(&self) -> Option<&str> {
        self.items.last().filter(|_| self.open)?["type"].as_str()
    }

    fn at(&self) -> usize {
        self.items.len().saturating_sub(1)
    }

    fn begin(&mut self, item: Value, events: &mut Vec<Value>) {
        self.close(events);
        self.items.push(item.clone());
        self.open = true;
        let index = self.at();
        events.push(
            json!({"type": "response.output_item.added", "output_index": index, "item": item}),
        );
    }

    fn begin_text(&mut self, kind: &str, events: &mut Vec<Value>) {
        let item = match kind {
            "message" => {
                json!({"type": "message", "id": fresh("msg_"), "status": "in_progress", "role": "assistant", "content": []})
            }
            _ => {
                json!({"type": "reasoning", "id": fresh("rs_"), "status": "in_progress", "summary": [], "content": []})
            }
        };
        self.begin(item, events);
        let index = self.at();
        let part = match kind {
            "message" => json!({"type": TEXT.0, "text": "", "annotations": [], "logprobs": []}),
            _ => json!({"type": THOUGHT.0, "text": ""}),
        };
        self.items[index]["content"] = json!([part]);
        events.push(self.about("response.content_part.added", "part", &part));
    }

    /// An event about the part of the item that is open.
    fn about(&self, kind: &str, name: &str, value: &Value) -> Value {
        let index = self.at();
        json!({"type": kind, "item_id": self.items[index]["id"], "output_index": index, "content_index": 0, name: value})
    }

    fn text(&mut self, kind: &str, text: &str, events: &mut Vec<Value>) {
        if text.is_empty() {
            return;
        }
        if self.open_kind() != Some(kind) {
            self.begin_text(kind, events);
        }
        let index = self.at();
        push(&mut self.items[index]["content"][0]["text"], text);
        let (_, name) = if kind == "message" { TEXT } else { THOUGHT };
        let mut delta = self.about(&format!("{name}.delta"), "delta", &json!(text));
        if kind == "message" {
            delta["logprobs"] = json!([]);
        }
        events.push(delta);
    }

    fn call(&mut self, call: &ToolEvent, events: &mut Vec<Value>) {
        match call {
            ToolEvent::Begin { name, .. } => {
                let item = json!({
                    "type": "function_call", "id": fresh("fc_"), "call_id": fresh("call_"), "name": name, "arguments": "",
                    "status": "in_progress",
                });
                self.begin(item, events);
            }
            ToolEvent::Arguments { json: more, .. }
                if self.open_kind() == Some("function_call") =>
            {
                let index = self.at();
                push(&mut self.items[index]["arguments"], more);
                events.push(json!({
                    "type": "response.function_call_arguments.delta", "item_id": self.items[index]["id"], "output_index": index,
                    "delta": more,
                }));
            }
            ToolEvent::End { .. } => self.close(events),
            // It must not be made: it never becomes an item that is completed.
            ToolEvent::Broken { .. } if self.open_kind() == Some("function_call") => {
                let index = self.at();
                self.items[index]["status"] = json!("incomplete");
                self.open = false;
            }
            _ => {}
        }
    }

    /// The item that is open is done.
    fn close(&mut self, events: &mut Vec<Value>) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        let index = self.at();
        self.items[index]["status"] = json!("completed");
        let item = self.items[index].clone();
        if item["type"] == "function_call" {
            events.push(json!({
                "type": "response.function_call_arguments.done", "item_id": item["id"], "output_index": index,
                "arguments": item["arguments"], "name": item["name"],
            }));
        } else {
            let part = &item["content"][0];
            let (_, name) = if item["type"] == "message" {
                TEXT
            } else {
                THOUGHT
            };
            let mut done = self.about(&format!("{name}.done"), "text", &part["text"]);
            if item["type"] == "message" {
                done["logprobs"] = json!([]);
            }
            events.push(done);
            events.push(self.about("response.content_part.done", "part", part));
        }
        events.push(
            json!({"type": "response.output_item.done", "output_index": index, "item": item}),
        );
    }

    /// The response as it is now.
    pub(super) fn response(&self) -> Value {
        let details = (self.status == "incomplete").then(|| json!({"reason": "max_output_tokens"}));
        let mut response = json!({
            "id": self.head.id, "object": "response", "created_at": self.head.created, "status": self.status, "error": null,
            "incomplete_details": details, "model": self.head.model, "output": self.items, "usage": self.usage,
            "instructions": null, "metadata": {}, "parallel_tool_calls": true, "previous_response_id": null,
            "temperature": null, "tool_choice": "auto", "tools": [], "top_p": null,
        });
        for (name, value) in &self.echo {
            response[name] = value.clone();
        }
        response
    }

    fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.items.iter().filter(move |item| item["type"] == kind)
    }

    /// The answer as a message of the conversation.
    pub(super) fn message(&self) -> ChatMessage {
        let text = |item: &Value| {
            item["content"][0]["text"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        let texts: Vec<String> = self.of("message").map(text).collect();
        let thoughts: Vec<String> = self.of("reasoning").map(text).collect();
        let calls = self.of("function_call");
        let whole = calls.filter(|item| item["status"] == "completed");
        let calls = whole.map(|item| ToolCall {
            id: item["call_id"].as_str().map(str::to_owned),
            kind: Some("function".to_owned()),
            function: Function {
                name: item["name"].as_str().unwrap_or_default().to_owned(),
                arguments: item["arguments"].clone(),
            },
        });
        let calls: Vec<_> = calls.collect();
        ChatMessage {
            content: (!texts.is_empty()).then(|| Content::Text(texts.concat())),
            reasoning_content: (!thoughts.is_empty()).then(|| thoughts.concat()),
            tool_calls: (!calls.is_empty()).then_some(calls),
            ..ChatMessage::new(Role::Assistant, "")
        }
    }
}

fn push(text: &mut Value, more: &str) {
    if let Value::String(text) = text {
        text.push_str(more);
    }
}

fn usage(usage: &Usage, reasoning_tokens: usize) -> Value {
    json!({
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.generated_tokens,
        "output_tokens_details": {"reasoning_tokens": reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.generated_tokens,
    })
}
