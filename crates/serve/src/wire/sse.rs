//! Server-sent events: answers that come piece by piece.
//!
//! In: a source of events. Out: a body. Where the source is silent, comments keep the connection open; when the client
//! goes away the body is dropped, and the source with it.

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Response, header};
use futures_util::stream;
use serde::Serialize;
use serde_json::Value;

/// Something that has events until it has no more.
pub(crate) trait Source: Send + 'static {
    /// The next events, ready to be sent; `None` at the end. Dropping the future loses nothing.
    fn next(&mut self) -> impl Future<Output = Option<Bytes>> + Send;
}

/// An event without a name.
pub(crate) fn data(value: &impl Serialize) -> Vec<u8> {
    let json = serde_json::to_string(value).unwrap_or_default();
    format!("data: {json}\n\n").into_bytes()
}

/// An event whose name is the `type` of its value.
pub(crate) fn named(value: &Value) -> Vec<u8> {
    let name = value["type"].as_str().unwrap_or_default();
    [format!("event: {name}\n").into_bytes(), data(value)].concat()
}

/// The end of OpenAI's streams.
pub(crate) const DONE: &[u8] = b"data: [DONE]\n\n";

/// The response that sends what `source` has.
pub(crate) fn response(source: impl Source, keep_alive: Duration) -> Response<Body> {
    let events = stream::unfold(source, move |mut source| async move {
        let bytes = tokio::select! {
            biased;
            next = source.next() => next?,
            () = tokio::time::sleep(keep_alive) => Bytes::from_static(b": keep-alive\n\n"),
        };
        Some((Ok::<_, Infallible>(bytes), source))
    });
    let mut response = Response::new(Body::from_stream(events));
    let headers = response.headers_mut();
    let events = HeaderValue::from_static("text/event-stream; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, events);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies that collect answers would undo the streaming.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
