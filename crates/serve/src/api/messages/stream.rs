//! The answer block by block: each begins, grows and ends, between the beginning and the end of the message.

use axum::body::Bytes;
use lattice_inference::Piece;
use lattice_inference::generate::Usage;
use lattice_inference::tools::ToolEvent;
use serde_json::{Value, json};

use super::reply::{empty, stop_reason, stop_sequence, usage};
use crate::api::answers::{Answers, End, Heard};
use crate::api::head::Head;
use crate::id::fresh;
use crate::wire::sse::{Source, named};

/// The source of the events.
pub(super) struct MessageStream {
    answers: Answers,
    head: Head,
    stops: Vec<String>,
    prompt_tokens: usize,
    request_id: String,
    at: At,
    /// The kind of the block that is open.
    open: Option<Block>,
    /// Blocks that have begun.
    blocks: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Begin,
    Middle,
    End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    Text,
    Thinking,
    Call,
}

/// An event, whose name stands in its data as well.
fn event(value: &Value) -> Vec<u8> {
    named(value["type"].as_str().unwrap_or_default(), value)
}

impl MessageStream {
    pub(super) fn new(
        answers: Answers,
        head: Head,
        stops: Vec<String>,
        prompt_tokens: usize,
        request_id: String,
    ) -> MessageStream {
        MessageStream {
            answers,
            head,
            stops,
            prompt_tokens,
            request_id,
            at: At::Begin,
            open: None,
            blocks: 0,
        }
    }

    fn begin(&self) -> Vec<u8> {
        let mut message = empty(&self.head);
        message["usage"] = usage(&Usage {
            prompt_tokens: self.prompt_tokens,
            ..Usage::default()
        });
        event(&json!({"type": "message_start", "message": message}))
    }

    /// Ends the block that is open.
    fn close(&mut self, out: &mut Vec<u8>) {
        if self.open.take().is_some() {
            let index = self.blocks - 1;
            out.extend(event(
                &json!({"type": "content_block_stop", "index": index}),
            ));
        }
    }

    fn open(&mut self, kind: Block, block: &Value, out: &mut Vec<u8>) {
        self.close(out);
        let index = self.blocks;
        self.blocks += 1;
        self.open = Some(kind);
        let start = json!({"type": "content_block_start", "index": index, "content_block": block});
        out.extend(event(&start));
    }

    fn delta(&self, delta: &Value, out: &mut Vec<u8>) {
        let index = self.blocks.saturating_sub(1);
        let delta = json!({"type": "content_block_delta", "index": index, "delta": delta});
        out.extend(event(&delta));
    }

    fn piece(&mut self, piece: &Piece) -> Vec<u8> {
        let mut out = Vec::new();
        if piece.thinking && !piece.text.is_empty() {
            // The line that a template opens a thought with is no part of it.
            let begins = self.open != Some(Block::Thinking);
            let text = if begins {
                piece.text.trim_start_matches('\n')
            } else {
                &piece.text
            };
            if begins && !text.is_empty() {
                let block = json!({"type": "thinking", "thinking": "", "signature": ""});
                self.open(Block::Thinking, &block, &mut out);
            }
            if !text.is_empty() {
                self.delta(
                    &json!({"type": "thinking_delta", "thinking": text}),
                    &mut out,
                );
            }
        } else if !piece.text.is_empty() {
            self.text(&piece.text, &mut out);
        }
        for call in &piece.calls {
            self.call(call, &mut out);
        }
        out
    }

    fn text(&mut self, text: &str, out: &mut Vec<u8>) {
        if self.open != Some(Block::Text) {
            self.open(Block::Text, &json!({"type": "text", "text": ""}), out);
        }
        self.delta(&json!({"type": "text_delta", "text": text}), out);
    }

    fn call(&mut self, call: &ToolEvent, out: &mut Vec<u8>) {
        match call {
            ToolEvent::Begin { name, .. } => {
                let id = fresh("toolu_");
                let block = json!({"type": "tool_use", "id": id, "name": name, "input": {}});
                self.open(Block::Call, &block, out);
            }
            ToolEvent::Arguments { json, .. } => {
                let delta = json!({"type": "input_json_delta", "partial_json": json});
                self.delta(&delta, out);
            }
            ToolEvent::End { .. } | ToolEvent::Broken { .. } => self.close(out),
            ToolEvent::Text(_) | ToolEvent::Note(_) => {}
        }
    }

    fn end(&mut self, end: &End) -> Vec<u8> {
        let mut out = match &end.piece {
            Some(piece) => self.piece(piece),
            None => Vec::new(),
        };
        if self.blocks == 0 {
            self.open(Block::Text, &json!({"type": "text", "text": ""}), &mut out);
        }
        self.close(&mut out);
        let delta = json!({
            "stop_reason": stop_reason(end), "stop_sequence": stop_sequence(end, &self.stops),
        });
        let usage = usage(&end.usage);
        out.extend(event(
            &json!({"type": "message_delta", "delta": delta, "usage": usage}),
        ));
        out.extend(event(&json!({"type": "message_stop"})));
        out
    }
}

impl Source for MessageStream {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let bytes = match self.at {
                At::End => return None,
                At::Begin => {
                    self.at = At::Middle;
                    self.begin()
                }
                At::Middle => match self.answers.next().await {
                    Some((_, Heard::Piece(piece))) => self.piece(&piece),
                    Some((_, Heard::End(end))) => self.end(&end),
                    Some((_, Heard::Prompt(_))) => Vec::new(),
                    Some((_, Heard::Failed(error))) => {
                        self.at = At::End;
                        event(&error.to_anthropic(&self.request_id))
                    }
                    None => {
                        self.at = At::End;
                        Vec::new()
                    }
                },
            };
            if !bytes.is_empty() {
                return Some(bytes.into());
            }
        }
    }
}
