//! `/v1/models`: what may be asked for, and what of it is loaded.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::Response;
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::models::Slot;
use crate::wire::{ApiError, json_response};

/// All models.
pub(crate) async fn list(State(app): State<App>) -> Response<Body> {
    let models: Vec<_> = app.models().slots().iter().map(described).collect();
    json_response(&json!({"object": "list", "data": models}))
}

/// One model, by its name or an alias.
pub(crate) async fn one(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Response<Body>, ApiError> {
    app.models()
        .find(&id)
        .map(|slot| json_response(&described(slot)))
}

fn described(slot: &Slot) -> Value {
    let mut model = json!({
        "id": slot.entry.name,
        "object": "model",
        "created": slot.created,
        "owned_by": "lattice",
        "aliases": slot.entry.aliases,
        "state": slot.state().word(),
        "kind": slot.entry.kind.word(),
    });
    if let (Some(loaded), Some(model)) = (slot.peek(), model.as_object_mut()) {
        let (front, limits) = (&loaded.front, loaded.worker.limits());
        let known = json!({
            "family": front.model.family.name,
            "parameters": front.model.plan.parameters(),
            "context_length": limits.context_tokens_max,
            "max_model_len": limits.context_tokens_max,
            "made_for_context_length": front.model.plan.context_tokens_max,
            "vocab_size": limits.vocab,
            "parallel": limits.sequences_max,
            "memory_bytes": loaded.memory_bytes,
            "tool_format": front.tool_format().map(|format| format.name()),
            "chat_template": front.has_template(),
        });
        model.extend(match known {
            Value::Object(known) => known,
            _ => Map::new(),
        });
    }
    model
}
