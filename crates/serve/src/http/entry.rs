//! What happens to every request first and last: an id, a report, errors in the form of their endpoint.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use axum::middleware::Next;
use axum::response::IntoResponse as _;

use super::guard;
use crate::app::App;
use crate::event::Record;
use crate::id::fresh;
use crate::wire::{ApiError, json_response};

const REQUEST_ID: &str = "x-request-id";
/// Where errors and headers have Anthropic's form.
const ANTHROPIC: &str = "/v1/messages";
/// Characters of a client's own id.
const ID_CHARACTERS_MAX: usize = 128;

/// Wraps everything else.
pub(super) async fn entry(
    State(app): State<App>,
    mut request: Request,
    next: Next,
) -> Response<Body> {
    let id = given_id(&request).unwrap_or_else(|| fresh("req_"));
    let path = request.uri().path().to_owned();
    let record = Record::new(
        &app.options().sink,
        id.clone(),
        request.method().as_str(),
        &path,
    );
    let head = request.method() == Method::HEAD;
    request.extensions_mut().insert(record.clone());
    let mut response = match guard::admit(&app, &request) {
        Err(error) => error.into_response(),
        Ok(guard::Admission::Preflight(response)) => response,
        Ok(guard::Admission::Enter(cors)) => {
            let mut response = next.run(request).await;
            cors.write(response.headers_mut());
            response
        }
    };
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        record.note(|report| report.error = error.code);
        response = written(response, error, &path, &id);
    }
    if let Ok(id) = HeaderValue::from_str(&id) {
        if path.starts_with(ANTHROPIC) {
            response.headers_mut().insert("request-id", id.clone());
        }
        response.headers_mut().insert(REQUEST_ID, id);
    }
    let headers = response.headers_mut();
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    record.note(|report| report.status = response.status().as_u16());
    if head {
        // Nobody asks for the body.
        record.ended();
    }
    // The report is sent when the body was written, or given up.
    response.map(|body| Body::new(Reported { body, record }))
}

/// An id that the client brought, where it is one that logs can print.
fn given_id(request: &Request) -> Option<String> {
    let id = request.headers().get(REQUEST_ID)?.to_str().ok()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let fits = (1..=ID_CHARACTERS_MAX).contains(&id.len()) && id.chars().all(plain);
    fits.then(|| id.to_owned())
}

/// The error in the form that clients of this path read.
fn written(response: Response<Body>, error: ApiError, path: &str, id: &str) -> Response<Body> {
    let (mut parts, _) = response.into_parts();
    let error = error.with_request_id(id);
    let body = if path.starts_with(ANTHROPIC) {
        error.to_anthropic(id)
    } else {
        error.to_openai()
    };
    if error.status == StatusCode::PAYLOAD_TOO_LARGE || error.status == StatusCode::REQUEST_TIMEOUT
    {
        // What is still to come of the body is not read.
        parts
            .headers
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, json_response(&body).into_body())
}

/// A body that ends its report.
struct Reported {
    body: Body,
    record: Record,
}

impl axum::body::HttpBody for Reported {
    type Data = axum::body::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        let frame = std::pin::Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, std::task::Poll::Ready(None)) || self.body.is_end_stream() {
            self.record.ended();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        let ended = self.body.is_end_stream();
        if ended {
            self.record.ended();
        }
        ended
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}
