//! The endpoints: parse, prepare, hand over, answer. One file or folder each.

pub(crate) mod answers;
pub(crate) mod blocks;
pub(crate) mod chat;
pub(crate) mod completions;
pub(crate) mod embeddings;
pub(crate) mod head;
pub(crate) mod health;
pub(crate) mod logprobs;
pub(crate) mod messages;
pub(crate) mod metrics;
pub(crate) mod models;
pub(crate) mod openapi;
pub(crate) mod plan;
pub(crate) mod prepare;
pub(crate) mod rerank;
pub(crate) mod responses;
pub(crate) mod routes;
pub(crate) mod shutdown;
pub(crate) mod tokens;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, Response};
use lattice_embed::OnLong;
use serde_json::Value;

use crate::app::App;
use crate::http::read_body;
use crate::wire::{ApiError, Fields};

/// Bytes of the header that lists fields without effect.
const IGNORED_BYTES_MAX: usize = 1024;

/// What a request asks for: the fields of its body as `take` understands them, beside the threads that answer.
///
/// # Errors
/// The body does not come, is no JSON object, or has a wrong field.
async fn asked<T: Send + 'static>(
    app: &App,
    request: Request,
    take: impl FnOnce(Fields) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let bytes = read_body(request, app.options()).await?;
    app.prepare(move || take(Fields::from_body(&bytes)?)).await
}

/// Numbers that may be ids of tokens.
fn token_ids(items: &[Value]) -> Option<Vec<u32>> {
    let id = |item: &Value| u32::try_from(item.as_u64()?).ok();
    items.iter().map(id).collect()
}

/// The response, with the fields of the request that had no effect.
pub(crate) fn with_ignored(mut response: Response<Body>, ignored: &[String]) -> Response<Body> {
    let plain = |c: char| {
        if c.is_ascii_graphic() && c != ',' {
            c
        } else {
            '?'
        }
    };
    let names = ignored
        .iter()
        .map(|name| name.chars().map(plain).collect::<String>());
    let mut list = names.collect::<Vec<_>>().join(", ");
    list.truncate(IGNORED_BYTES_MAX);
    if let (false, Ok(value)) = (list.is_empty(), HeaderValue::from_str(&list)) {
        response.headers_mut().insert("x-lattice-ignored", value);
    }
    response
}

/// Takes `truncate`: whether texts that are too long are cut, where nothing is said as `default` has it.
fn on_long(fields: &mut Fields, default: bool) -> Result<OnLong, ApiError> {
    let truncate = fields.truth("truncate")?.unwrap_or(default);
    Ok(if truncate {
        OnLong::Truncate
    } else {
        OnLong::Error
    })
}
