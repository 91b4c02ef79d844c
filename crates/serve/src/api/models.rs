//! `/v1/models`: what may be asked for, and what of it is loaded.

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::Response;
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::http::read_body;
use crate::id::unix_seconds;
use crate::models::Slot;
use crate::wire::{ApiError, Fields, json_response};

/// Which model is to be loaded or unloaded.
pub(crate) struct ModelAsk {
    model: String,
}

impl ModelAsk {
    pub(crate) fn take(mut fields: Fields) -> Result<ModelAsk, ApiError> {
        let model = fields.text("model")?;
        let model = model.ok_or_else(|| fields.error("model", "missing"))?;
        Ok(ModelAsk { model })
    }
}

/// All models.
pub(crate) async fn list(State(app): State<App>) -> Response<Body> {
    let models: Vec<_> = app
        .models()
        .slots()
        .iter()
        .map(|slot| described(slot))
        .collect();
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

/// Loads a model, so that its first request need not wait for that.
pub(crate) async fn load(
    State(app): State<App>,
    request: Request,
) -> Result<Response<Body>, ApiError> {
    let name = named(&app, request).await?;
    app.load(&name).await?;
    one(State(app), Path(name)).await
}

/// Unloads a model when its requests are answered. One that is not loaded stays so.
pub(crate) async fn unload(
    State(app): State<App>,
    request: Request,
) -> Result<Response<Body>, ApiError> {
    let name = named(&app, request).await?;
    app.unload(&name).await?;
    one(State(app), Path(name)).await
}

async fn named(app: &App, request: Request) -> Result<String, ApiError> {
    let bytes = read_body(request, app.options()).await?;
    Ok(ModelAsk::take(Fields::from_body(&bytes)?)?.model)
}

/// `requests` hold it now; `last_used` is a time of day, for people: `idle_s` is by a clock that is never set.
fn described(slot: &Slot) -> Value {
    let (figures, memory) = (slot.figures(), slot.entry.memory);
    let last_used = figures
        .idle
        .map(|idle| unix_seconds().saturating_sub(idle.as_secs()));
    let mut model = json!({
        "id": slot.entry.name,
        "object": "model",
        "created": slot.created,
        "owned_by": "lattice",
        "aliases": slot.entry.aliases,
        "state": figures.state.word(),
        "kind": slot.entry.kind.word(),
        "requests": figures.at_work,
        "last_used": last_used,
        "idle_s": figures.idle.map(|idle| idle.as_secs()),
        "loads": figures.loads,
        "memory_bytes": memory.most_bytes(),
        "model_bytes": memory.model_bytes,
        "cache_bytes": memory.cache_bytes,
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
