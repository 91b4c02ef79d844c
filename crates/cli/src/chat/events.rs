//! Events for programs: lines of `@@lattice ` and one JSON object with the tag `ev`.
//!
//! In: pieces and turns. Out: lines, each written and flushed at once.
//! A request ends with one `gen_token` that is `done`, or with one `error`. The tokens that are not `thinking`
//! concatenate to the answer; text that was held back until the end comes with `token_id` null.

use std::io::{self, Write};

use lattice_inference::Piece;
use lattice_inference::tools::ToolEvent;
use serde_json::{Value, json};

use super::session::{Session, Turn, call_id};

/// What each line begins with.
const MARK: &str = "@@lattice ";

/// An event as it is written: one line with its end.
pub(crate) fn line(event: &Value) -> String {
    raw_line(&event.to_string())
}

/// An event that is JSON text already.
pub(crate) fn raw_line(event: &str) -> String {
    format!("{MARK}{event}\n")
}

/// Writes events.
pub(crate) struct Events<W> {
    out: W,
}

impl<W: Write> Events<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out }
    }

    /// The model is loaded.
    pub(crate) fn ready(&mut self, session: &Session) -> io::Result<()> {
        let engine = &session.engine;
        self.send(&json!({
            "ev": "ready",
            "model": session.name,
            "family": engine.model.family.name,
            "parameters": engine.model.plan.parameters(),
            "context": engine.generator.limits().context_tokens_max,
            "version": env!("CARGO_PKG_VERSION"),
            "tool_format": engine.tool_format().map(|format| format.name()),
            "notes": engine.model.all_notes().collect::<Vec<_>>(),
        }))
    }

    /// A piece of an answer.
    pub(crate) fn piece(&mut self, piece: &Piece) -> io::Result<()> {
        let mut event = json!({
            "ev": "gen_token",
            "token": piece.text,
            "token_id": piece.id,
            "done": false,
        });
        if piece.thinking {
            event["thinking"] = Value::Bool(true);
        }
        self.send(&event)?;
        piece.calls.iter().try_for_each(|call| self.call(call))
    }

    /// A piece of a call of a tool.
    fn call(&mut self, event: &ToolEvent) -> io::Result<()> {
        let event = match event {
            // Text came with the token, and notes come with the end.
            ToolEvent::Text(_) | ToolEvent::Note(_) => return Ok(()),
            ToolEvent::Begin { index, name } => {
                json!({"index": index, "id": call_id(*index), "name": name})
            }
            ToolEvent::Arguments { index, json } => json!({"index": index, "arguments": json}),
            ToolEvent::End { index } => json!({"index": index, "done": true}),
            ToolEvent::Broken { index } => json!({"index": index, "broken": true}),
        };
        let mut tagged = json!({"ev": "tool_call"});
        if let (Value::Object(tagged), Value::Object(fields)) = (&mut tagged, event) {
            tagged.extend(fields);
        }
        self.send(&tagged)
    }

    /// The end of an answer.
    pub(crate) fn done(&mut self, turn: &Turn) -> io::Result<()> {
        for note in &turn.notes {
            self.warning(note)?;
        }
        let usage = &turn.usage;
        let mut event = json!({
            "ev": "gen_token",
            "token": "",
            "done": true,
            "stop_reason": turn.reason.word(),
            "stop_detail": turn.reason.detail(),
            "tok_s": usage.tokens_per_second(),
            "ttft_ms": usage.ttft_ms,
            "total_ms": usage.total_ms,
            "prompt_tokens": usage.prompt_tokens,
            "cached_tokens": usage.cached_tokens,
            "gen_tokens": usage.generated_tokens,
        });
        if turn.incomplete {
            event["incomplete"] = Value::Bool(true);
        }
        if !turn.calls.is_empty() {
            event["tool_calls"] = json!(turn.calls);
            if turn.reason.word() == "stop" {
                event["stop_reason"] = json!("tool_calls");
            }
        }
        if let Some(failure) = turn.failure() {
            event["msg"] = Value::String(failure.to_string());
        }
        self.send(&event)
    }

    /// A request, or the whole program, came to nothing.
    pub(crate) fn error(&mut self, msg: &str) -> io::Result<()> {
        self.send(&json!({"ev": "error", "msg": msg}))
    }

    /// Something to know that stops nothing.
    pub(crate) fn warning(&mut self, msg: &str) -> io::Result<()> {
        self.send(&json!({"ev": "warning", "msg": msg}))
    }

    fn send(&mut self, event: &Value) -> io::Result<()> {
        // One write for the line: a reader never sees a part of it because of us.
        self.out.write_all(line(event).as_bytes())?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use lattice_inference::generate::{StopReason, Usage};

    use super::*;

    fn sent(write: impl Fn(&mut Events<Vec<u8>>) -> io::Result<()>) -> Value {
        let mut events = Events::new(Vec::new());
        write(&mut events).unwrap();
        let line = String::from_utf8(events.out).unwrap();
        let json = line.strip_prefix(MARK).unwrap().strip_suffix('\n').unwrap();
        assert!(!json.contains('\n'));
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_token_says_whether_it_is_thought() {
        let piece = |id, thinking| Piece {
            id,
            text: "a\n\"".to_owned(),
            thinking,
            ..Piece::default()
        };
        let event = sent(|events| events.piece(&piece(Some(7), false)));
        let expected = json!({"ev": "gen_token", "token": "a\n\"", "token_id": 7, "done": false});
        assert_eq!(event, expected);
        let event = sent(|events| events.piece(&piece(None, true)));
        assert_eq!(event["thinking"], json!(true));
        assert_eq!(event["token_id"], Value::Null);
    }

    #[test]
    fn figures_are_numbers_or_null() {
        let turn = Turn {
            text: String::new(),
            thinking: String::new(),
            reason: StopReason::Cancelled,
            incomplete: false,
            calls: Vec::new(),
            usage: Usage::default(),
            notes: Vec::new(),
        };
        let event = sent(|events| events.done(&turn));
        assert_eq!(event["done"], json!(true));
        assert_eq!(event["stop_reason"], json!("cancelled"));
        assert_eq!(event["tok_s"], Value::Null);
        assert_eq!(event["total_ms"], json!(0.0));
    }
}
