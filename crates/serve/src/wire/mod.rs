//! What goes over the wire: requests read strictly, answers written, errors in one envelope.
//!
//! In: bytes of a body. Out: typed values; JSON of answers. It does not know models or connections.

mod error;
mod fields;
pub(crate) mod form;
mod json;
pub(crate) mod sampling;
pub(crate) mod sse;
pub(crate) mod usage;

use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use serde::Serialize;

pub use error::ApiError;
pub(crate) use fields::{Asked, Content, Fields, Heard};

/// A body of JSON, with status 200.
pub(crate) fn json_response(value: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(bytes) => {
            let mut response = Response::new(Body::from(bytes));
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
            response
        }
        // No type of ours has keys that are no texts.
        Err(_) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = axum::http::StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    }
}
