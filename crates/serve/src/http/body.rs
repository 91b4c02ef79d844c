//! Reads a body of JSON: of its size, in its time.

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use crate::options::ServeOptions;
use crate::wire::ApiError;

/// The bytes of a request that brings JSON.
///
/// # Errors
/// 415 where it says that it is something else, 413 where it is too large, 408 where it is too slow.
pub(crate) async fn read_body(
    request: Request<Body>,
    options: &ServeOptions,
) -> Result<Bytes, ApiError> {
    let most = options.body_bytes_max;
    check_type(request.headers())?;
    if announced(request.headers()).is_some_and(|bytes| bytes > most as u64) {
        return Err(ApiError::body_too_large(most));
    }
    let body = Limited::new(request.into_body(), most).collect();
    match tokio::time::timeout(options.body_timeout, body).await {
        Err(_) => Err(ApiError::too_slow("the body took too long to come")),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::body_too_large(most)),
        Ok(Err(_)) => Err(ApiError::bad_request("the body broke off")),
    }
}

fn check_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(given) = headers.get(header::CONTENT_TYPE) else {
        return Ok(());
    };
    let given = given.to_str().unwrap_or("?").to_ascii_lowercase();
    let kind = given.split(';').next().unwrap_or_default().trim();
    let is_json =
        kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"));
    if is_json {
        return Ok(());
    }
    Err(ApiError::wrong_type(kind))
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}
