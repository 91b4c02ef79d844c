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
pub(crate) mod prepare;
pub(crate) mod rerank;
pub(crate) mod responses;
pub(crate) mod shutdown;
pub(crate) mod tokens;

use axum::body::Body;
use axum::http::{HeaderValue, Response};
use lattice_embed::OnLong;

use crate::wire::{ApiError, Fields};

/// Bytes of the header that lists fields without effect.
const IGNORED_BYTES_MAX: usize = 1024;

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
