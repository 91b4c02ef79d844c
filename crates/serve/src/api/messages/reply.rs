//! The answer as one message of blocks.

use lattice_inference::generate::{StopReason, Usage};
use serde_json::{Value, json};

use crate::api::answers::{Answers, End, Heard};
use crate::api::chat::reply::Said;
use crate::api::head::Head;
use crate::wire::ApiError;

/// Waits for the answer.
pub(super) async fn collected(
    mut answers: Answers,
    head: &Head,
    stops: &[String],
) -> Result<Value, ApiError> {
    let mut said = Said::default();
    let mut ended = None;
    while let Some((_, heard)) = answers.next().await {
        match heard {
            Heard::Failed(error) => return Err(error),
            Heard::Prompt(_) => {}
            Heard::Piece(piece) => said.take(&piece, head),
            Heard::End(end) => {
                if let Some(piece) = &end.piece {
                    said.take(piece, head);
                }
                ended = Some(end);
            }
        }
    }
    let end = ended.ok_or_else(ApiError::internal)?;
    let mut content = Vec::new();
    if let Some(thoughts) = said.thoughts() {
        content.push(json!({"type": "thinking", "thinking": thoughts, "signature": ""}));
    }
    let calls = said.whole_calls();
    if !said.text.is_empty() || calls.is_empty() {
        content.push(json!({"type": "text", "text": said.text}));
    }
    for call in calls {
        let input: Value = serde_json::from_str(&call.function.arguments).unwrap_or_default();
        content.push(
            json!({"type": "tool_use", "id": call.id, "name": call.function.name, "input": input}),
        );
    }
    let mut message = empty(head);
    message["content"] = Value::Array(content);
    message["stop_reason"] = json!(stop_reason(&end));
    message["stop_sequence"] = json!(stop_sequence(&end, stops));
    message["usage"] = usage(&end.usage);
    Ok(message)
}

/// A message that nothing was said in yet.
pub(super) fn empty(head: &Head) -> Value {
    json!({
        "id": head.id, "type": "message", "role": "assistant", "model": head.model, "content": [], "stop_reason": null,
        "stop_sequence": null, "usage": null,
    })
}

/// Tokens that were taken over from an earlier request are counted apart.
pub(super) fn usage(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.generated_tokens,
    })
}

pub(super) fn stop_reason(end: &End) -> &'static str {
    match (end.finish_reason(), &end.reason) {
        ("tool_calls", _) => "tool_use",
        ("length", _) => "max_tokens",
        (_, StopReason::StopString(_)) => "stop_sequence",
        _ => "end_turn",
    }
}

/// The stop sequence that ended it.
pub(super) fn stop_sequence<'a>(end: &End, stops: &'a [String]) -> Option<&'a str> {
    match end.reason {
        StopReason::StopString(index) => stops.get(index).map(String::as_str),
        _ => None,
    }
}
