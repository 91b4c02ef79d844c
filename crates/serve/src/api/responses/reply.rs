//! A response: the object, and the events that it is made of.
//!
//! One writer makes the events; what they add up to is the response.

use lattice_inference::generate::Usage;
use lattice_inference::tokenizer::{ChatMessage, Content, Function, Role, ToolCall};
use serde_json::{Map, Value, json};

use crate::api::answers::End;
use crate::api::blocks::{Change, Kind};
use crate::api::head::Head;
use crate::api::logprobs::TokenJson;
use crate::id::{fresh, unix_seconds};
use crate::wire::ApiError;

/// Writes one response.
pub(super) struct Writer {
    head: Head,
    echo: Map<String, Value>,
    /// The number of the next event.
    sequence: u64,
    /// Items that have begun.
    begun: usize,
    open: Item,
    /// Items that have ended. A call that must not be made is none of them.
    output: Vec<Value>,
    /// The same as a message of the chat.
    said: ChatMessage,
}

/// The item that is being written.
struct Item {
    kind: Kind,
    id: String,
    call_id: String,
    text: String,
    logprobs: Vec<TokenJson>,
    /// Those of them that come with the next piece of text.
    fresh: Vec<TokenJson>,
}

impl Item {
    fn new(kind: Kind) -> Item {
        let prefix = match kind {
            Kind::Thinking => "rs_",
            Kind::Text => "msg_",
            Kind::Call(_) => "fc_",
        };
        Item {
            kind,
            id: fresh(prefix),
            call_id: fresh("call_"),
            text: String::new(),
            logprobs: Vec::new(),
            fresh: Vec::new(),
        }
    }

    /// The part of it that has the text; a call has none.
    fn part(&self) -> Option<Value> {
        match self.kind {
            Kind::Thinking => Some(json!({"type": "reasoning_text", "text": self.text})),
            Kind::Text => Some(json!({
                "type": "output_text", "text": self.text, "annotations": [], "logprobs": self.logprobs,
            })),
            Kind::Call(_) => None,
        }
    }

    fn json(&self, status: &str) -> Value {
        let content: Vec<_> = self
            .part()
            .filter(|_| status != "in_progress")
            .into_iter()
            .collect();
        match &self.kind {
            Kind::Thinking => json!({
                "type": "reasoning", "id": self.id, "summary": [], "content": content, "status": status,
            }),
            Kind::Text => json!({
                "type": "message", "id": self.id, "role": "assistant", "content": content, "status": status,
            }),
            Kind::Call(name) => json!({
                "type": "function_call", "id": self.id, "call_id": self.call_id, "name": name,
                "arguments": self.text, "status": status,
            }),
        }
    }

    /// What its events begin with.
    fn events(&self) -> &'static str {
        match self.kind {
            Kind::Thinking => "response.reasoning_text",
            Kind::Text => "response.output_text",
            Kind::Call(_) => "response.function_call_arguments",
        }
    }
}

impl Writer {
    pub(super) fn new(head: Head, echo: Map<String, Value>) -> Writer {
        Writer {
            head,
            echo,
            sequence: 0,
            begun: 0,
            open: Item::new(Kind::Text),
            output: Vec::new(),
            said: ChatMessage {
                content: None,
                ..ChatMessage::new(Role::Assistant, "")
            },
        }
    }

    /// The id of the response.
    pub(super) fn id(&self) -> &str {
        &self.head.id
    }

    /// The answer as a message of the chat.
    pub(super) fn into_said(mut self) -> ChatMessage {
        if self.said.tool_calls.is_none() {
            let silent = Content::Text(String::new());
            self.said.content.get_or_insert(silent);
        }
        self.said
    }

    /// The response as it stands.
    fn response(&self, status: &str, more: Value) -> Value {
        let mut response = json!({
            "id": self.head.id,
            "object": "response",
            "created_at": self.head.created,
            "completed_at": null,
            "status": status,
            "background": false,
            "error": null,
            "incomplete_details": null,
            "model": self.head.model,
            "output": self.output,
            "truncation": "disabled",
            "usage": null,
        });
        if let (Value::Object(all), Value::Object(more)) = (&mut response, more) {
            all.extend(self.echo.clone());
            all.extend(more);
        }
        response
    }

    /// The response at its end.
    pub(super) fn ended(&self, end: &End) -> Value {
        let cut = end.finish_reason() == "length";
        let details = cut.then(|| json!({"reason": "max_output_tokens"}));
        let status = if cut { "incomplete" } else { "completed" };
        let completed_at = (!cut).then(unix_seconds);
        let usage = usage(&end.usage, end.reasoning_tokens);
        self.response(
            status,
            json!({"incomplete_details": details, "completed_at": completed_at, "usage": usage}),
        )
    }

    fn event(&mut self, kind: &str, fields: Value) -> Value {
        let mut event = json!({"type": kind, "sequence_number": self.sequence});
        self.sequence += 1;
        if let (Value::Object(event), Value::Object(fields)) = (&mut event, fields) {
            event.extend(fields);
        }
        event
    }

    /// The first events.
    pub(super) fn begin(&mut self) -> Vec<Value> {
        let response = json!({"response": self.response("in_progress", json!({}))});
        ["response.created", "response.in_progress"]
            .map(|kind| self.event(kind, response.clone()))
            .into()
    }

    /// The last event.
    pub(super) fn end(&mut self, response: &Value) -> Value {
        let kind = format!(
            "response.{}",
            response["status"].as_str().unwrap_or("completed")
        );
        self.event(&kind, json!({"response": response}))
    }

    /// The last event where it came to nothing.
    pub(super) fn failed(&mut self, error: &ApiError) -> Value {
        let code = error.code.unwrap_or("server_error");
        let error = json!({"code": code, "message": error.message});
        let response = self.response("failed", json!({"error": error}));
        self.end(&response)
    }

    /// The events of a change.
    pub(super) fn change(&mut self, change: Change) -> Vec<Value> {
        match change {
            Change::Begin(kind) => {
                self.open = Item::new(kind);
                self.begun += 1;
                let item = self.open.json("in_progress");
                let mut events = vec![self.item_event("added", item)];
                events.extend(self.part_event("response.content_part.added"));
                events
            }
            Change::Logprobs(tokens) => {
                let tokenizer = &self.head.front.tokenizer;
                let tokens = tokens.iter();
                let tokens = tokens.map(|token| TokenJson::new(tokenizer, token));
                let tokens: Vec<_> = tokens.collect();
                self.open.logprobs.extend(tokens.clone());
                self.open.fresh.extend(tokens);
                Vec::new()
            }
            Change::More(text) => {
                self.open.text.push_str(&text);
                vec![self.text_event("delta", "delta", &text)]
            }
            Change::End { whole } => {
                let text = self.open.text.clone();
                let name = if matches!(self.open.kind, Kind::Call(_)) {
                    "arguments"
                } else {
                    "text"
                };
                let mut events = vec![self.text_event("done", name, &text)];
                events.extend(self.part_event("response.content_part.done"));
                let item = self
                    .open
                    .json(if whole { "completed" } else { "incomplete" });
                events.push(self.item_event("done", item.clone()));
                self.close(whole, item);
                events
            }
        }
    }

    fn place(&self) -> Value {
        json!({"item_id": self.open.id, "output_index": self.begun.saturating_sub(1)})
    }

    fn item_event(&mut self, what: &str, item: Value) -> Value {
        let index = self.begun.saturating_sub(1);
        let fields = json!({"output_index": index, "item": item});
        self.event(&format!("response.output_item.{what}"), fields)
    }

    fn part_event(&mut self, kind: &str) -> Option<Value> {
        let part = self.open.part()?;
        let mut fields = self.place();
        fields["content_index"] = json!(0);
        fields["part"] = part;
        Some(self.event(kind, fields))
    }

    fn text_event(&mut self, what: &str, name: &str, text: &str) -> Value {
        let mut fields = self.place();
        fields[name] = json!(text);
        match &self.open.kind {
            Kind::Call(tool) if what == "done" => fields["name"] = json!(tool),
            Kind::Call(_) => {}
            kind => {
                fields["content_index"] = json!(0);
                if *kind == Kind::Text {
                    let fresh = std::mem::take(&mut self.open.fresh);
                    fields["logprobs"] = match what {
                        "done" => json!(self.open.logprobs),
                        _ => json!(fresh),
                    };
                }
            }
        }
        let kind = format!("{}.{what}", self.open.events());
        self.event(&kind, fields)
    }

    fn close(&mut self, whole: bool, item: Value) {
        let text = self.open.text.as_str();
        match &self.open.kind {
            Kind::Thinking => self
                .said
                .reasoning_content
                .get_or_insert_default()
                .push_str(text),
            Kind::Text => {
                let before = self.said.text();
                self.said.content = Some(Content::Text(before + text));
            }
            Kind::Call(_) if !whole => return,
            Kind::Call(name) => {
                let call = ToolCall {
                    id: Some(self.open.call_id.clone()),
                    kind: Some("function".to_owned()),
                    function: Function {
                        name: name.clone(),
                        arguments: text.into(),
                    },
                };
                self.said.tool_calls.get_or_insert_default().push(call);
            }
        }
        self.output.push(item);
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
