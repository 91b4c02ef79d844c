//! Which path leads to which handler.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware;

use super::entry;
use crate::api::routes::routes;
use crate::app::App;
use crate::wire::ApiError;

/// All paths, behind the checks that every request passes.
pub fn router(app: App) -> Router {
    let all = routes(app.options().choices_max).into_iter();
    let routes = all.fold(Router::new(), |routes, one| {
        routes.route(one.path, one.handler)
    });
    routes
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
