//! Which path leads to which handler.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware;
use axum::routing::{get, post};

use super::entry;
use crate::api;
use crate::app::App;
use crate::wire::ApiError;

/// All paths, behind the checks that every request passes.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/livez", get(api::health::live))
        .route("/readyz", get(api::health::ready))
        .route("/health", get(api::health::ready))
        .route("/metrics", get(api::metrics::metrics))
        .route("/v1/models", get(api::models::list))
        .route("/v1/models/{*id}", get(api::models::one))
        .route("/v1/plan", get(api::plan::first).post(api::plan::plan))
        .route("/v1/plan/{*id}", get(api::plan::one))
        .route("/v1/chat/completions", post(api::chat::complete))
        .route("/v1/completions", post(api::completions::complete))
        .route("/v1/embeddings", post(api::embeddings::embed))
        .route("/v1/rerank", post(api::rerank::rank))
        .route("/v1/messages", post(api::messages::create))
        .route("/v1/messages/count_tokens", post(api::messages::count))
        .route("/v1/responses", post(api::responses::create))
        .route(
            "/v1/responses/{id}",
            get(api::responses::read).delete(api::responses::delete),
        )
        .route("/tokenize", post(api::tokens::tokenize))
        .route("/detokenize", post(api::tokens::detokenize))
        .route("/apply-template", post(api::tokens::apply_template))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(app.clone(), entry::entry))
        .with_state(app)
}

async fn unknown(method: Method, request: Request) -> ApiError {
    ApiError::unknown_path(method.as_str(), request.uri().path())
}

async fn wrong_method(State(_): State<App>, method: Method, request: Request) -> ApiError {
    ApiError::wrong_method(method.as_str(), request.uri().path())
}
