//! Whether the server is there, and whether it answers.

use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use serde_json::json;

use crate::app::App;
use crate::models::ModelState;
use crate::wire::json_response;

/// It is there.
pub(crate) async fn live() -> Response<Body> {
    json_response(&json!({"status": "ok"}))
}

/// It takes requests: it is not stopping, and its first model is not on its way.
pub(crate) async fn ready(State(app): State<App>) -> Response<Body> {
    let first = app.models().slots().first().map(|slot| slot.state());
    let word = match first {
        _ if app.draining() => "stopping",
        Some(ModelState::Loading) => "loading",
        Some(ModelState::Failed) => "failed",
        _ => "ok",
    };
    let mut response = json_response(&json!({"status": word}));
    if word != "ok" {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}
