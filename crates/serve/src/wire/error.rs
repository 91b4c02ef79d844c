//! The one error that a client sees, as OpenAI and as Anthropic write it.
//!
//! In: what went wrong, in the words of the library. Out: status, headers, JSON. What is a fault of ours says no more
//! than that; what is the request's names the field.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use lattice_embed::EmbedError;
use lattice_inference::Error;
use lattice_inference::backend::RunError;
use lattice_inference::encoder::EncoderError;
use lattice_inference::generate::{Failure, RequestError};
use lattice_inference::grammar::GrammarError;
use lattice_inference::sample::SampleError;
use lattice_inference::tokenizer::TextError;
use serde_json::{Value, json};

/// Seconds after which a client may try again where the queue is full.
const RETRY_AFTER_S: u64 = 1;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// OpenAI's `type`.
    pub kind: &'static str,
    /// OpenAI's `code`.
    pub code: Option<&'static str>,
    /// The field at fault.
    pub param: Option<String>,
    /// What is wrong, for people.
    pub message: String,
    /// Seconds after which it is worth another try.
    pub retry_after_s: Option<u64>,
}

const INVALID: &str = "invalid_request_error";

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> ApiError {
        ApiError {
            status,
            kind,
            code: None,
            param: None,
            message: message.into(),
            retry_after_s: None,
        }
    }

    fn code(self, code: &'static str) -> ApiError {
        ApiError {
            code: Some(code),
            ..self
        }
    }

    /// The request is wrong, and no one field of it.
    pub(crate) fn bad_request(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, INVALID, message)
    }

    /// A field of the request is wrong.
    pub(crate) fn field(param: impl Into<String>, message: impl std::fmt::Display) -> ApiError {
        let param = param.into();
        ApiError {
            message: format!("{param}: {message}"),
            param: Some(param),
            ..ApiError::bad_request("")
        }
    }

    /// The model that a request names is not here.
    pub(crate) fn unknown_model(name: &str) -> ApiError {
        let message =
            format!("the model {name:?} does not exist here; GET /v1/models lists those that do");
        ApiError {
            param: Some("model".to_owned()),
            ..ApiError::new(StatusCode::NOT_FOUND, INVALID, message).code("model_not_found")
        }
    }

    /// Nothing is at this path.
    pub(crate) fn unknown_path(method: &str, path: &str) -> ApiError {
        let message = format!("unknown path: {method} {path}");
        ApiError::new(StatusCode::NOT_FOUND, INVALID, message).code("unknown_url")
    }

    /// The path takes other methods.
    pub(crate) fn wrong_method(method: &str, path: &str) -> ApiError {
        let message = format!("{path} does not take {method}");
        ApiError::new(StatusCode::METHOD_NOT_ALLOWED, INVALID, message).code("method_not_allowed")
    }

    /// The body is larger than may be.
    pub(crate) fn body_too_large(most: usize) -> ApiError {
        let message = format!("the body is larger than {most} bytes");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, INVALID, message).code("request_too_large")
    }

    /// The body is no JSON by its own account.
    pub(crate) fn wrong_type(found: &str) -> ApiError {
        let message = format!("content-type is {found:?}, allowed is application/json");
        ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, INVALID, message)
            .code("unsupported_media_type")
    }

    /// The body, or the answer, took too long.
    pub(crate) fn too_slow(what: &str) -> ApiError {
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout_error", what).code("timeout")
    }

    /// There is no key, or a wrong one.
    pub(crate) fn no_key() -> ApiError {
        let message = "a valid key is needed: Authorization: Bearer KEY, or x-api-key: KEY";
        ApiError::new(StatusCode::UNAUTHORIZED, "authentication_error", message)
            .code("invalid_api_key")
    }

    /// The request comes from where it may not come from.
    pub(crate) fn forbidden(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::FORBIDDEN, "permission_error", message).code("forbidden")
    }

    /// As many requests wait as may wait.
    pub(crate) fn queue_full() -> ApiError {
        let message = "as many requests are waiting as may wait; try again in a moment";
        ApiError {
            retry_after_s: Some(RETRY_AFTER_S),
            ..ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message)
                .code("queue_full")
        }
    }

    /// It cannot be done now.
    pub(crate) fn unavailable(code: &'static str, message: impl Into<String>) -> ApiError {
        ApiError {
            retry_after_s: Some(RETRY_AFTER_S),
            ..ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message).code(code)
        }
    }

    /// A fault of ours. What it was stays here; the id of the request leads to it.
    pub(crate) fn internal() -> ApiError {
        let message = "the server failed in a way that it should not";
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
            .code("internal_error")
    }

    fn context_length(param: &'static str, message: String) -> ApiError {
        ApiError {
            param: Some(param.to_owned()),
            ..ApiError::bad_request(message).code("context_length_exceeded")
        }
    }

    /// There is no response of this id, or not any more.
    pub(crate) fn unknown_response(id: &str) -> ApiError {
        let message = format!("there is no response with the id {id:?}, or not any more");
        ApiError::new(StatusCode::NOT_FOUND, INVALID, message).code("response_not_found")
    }

    /// The response that a request goes on from is not there, or not any more.
    pub(crate) fn unknown_previous(id: &str) -> ApiError {
        let reason = format!("there is no response with the id {id:?}, or not any more");
        ApiError::field("previous_response_id", reason).code("previous_response_not_found")
    }

    /// With the field by the name that another interface has for it.
    pub(crate) fn renamed(mut self, from: &str, to: &str) -> ApiError {
        if let Some(param) = self.param.as_mut().filter(|param| param.contains(from)) {
            *param = param.replacen(from, to, 1);
            self.message = self.message.replacen(from, to, 1);
        }
        self
    }

    /// As OpenAI writes it.
    pub(crate) fn to_openai(&self) -> Value {
        json!({"error": {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }})
    }

    /// As Anthropic writes it.
    pub(crate) fn to_anthropic(&self, request_id: &str) -> Value {
        let kind = match self.status.as_u16() {
            404 => "not_found_error",
            413 => "request_too_large",
            503 => "overloaded_error",
            500.. => "api_error",
            _ if self.kind == INVALID => INVALID,
            _ => self.kind,
        };
        json!({
            "type": "error",
            "error": {"type": kind, "message": self.message},
            "request_id": request_id,
        })
    }

    /// With the id of the request in its words, where only that id leads to the reason.
    pub(crate) fn with_request_id(mut self, request_id: &str) -> ApiError {
        if self.status.is_server_error() && !self.message.contains(request_id) {
            self.message = format!("{} (request {request_id})", self.message);
        }
        self
    }
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> ApiError {
        match error {
            RequestError::Field(wrong) => {
                let message = format!("{}, allowed is {}", wrong.value, wrong.allowed);
                ApiError::field(wrong.field, message)
            }
            RequestError::QueueFull { .. } => ApiError::queue_full(),
            RequestError::ContextLength {
                prompt_tokens,
                context_tokens,
            } => ApiError::context_length(
                "messages",
                format!(
                    "this model's maximum context length is {context_tokens} tokens, and the prompt has {prompt_tokens}: \
                     it leaves no room for an answer"
                ),
            ),
            RequestError::EmptyPrompt => ApiError::field("prompt", "it has no tokens"),
            other => ApiError::field("prompt", other),
        }
    }
}

impl From<TextError> for ApiError {
    fn from(error: TextError) -> ApiError {
        match error {
            TextError::Conversation { field, reason } => ApiError::field(field, reason),
            TextError::TooLong { .. } => ApiError::context_length("messages", error.to_string()),
            TextError::Refused(_) | TextError::TemplateBudget { .. } | TextError::Encode(_) => {
                ApiError::field("messages", error)
            }
            TextError::Template { .. } => {
                ApiError::field("messages", error).code("no_chat_template")
            }
            _ => ApiError::internal(),
        }
    }
}

impl From<GrammarError> for ApiError {
    fn from(error: GrammarError) -> ApiError {
        match error {
            GrammarError::Vocabulary(_) => ApiError::internal(),
            other => ApiError::field("response_format", other).code("invalid_grammar"),
        }
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> ApiError {
        match failure {
            Failure::Run(RunError::CacheFull(_)) => ApiError::unavailable(
                "insufficient_memory",
                "there is no memory left for this context",
            ),
            // What rules out all tokens, a grammar or a bias, is the request's.
            Failure::Sample(error @ (SampleError::DeadEnd { .. } | SampleError::Guide { .. })) => {
                ApiError::bad_request(error.to_string()).code("no_token")
            }
            _ => ApiError::internal(),
        }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> ApiError {
        match error {
            Error::Request(error) => error.into(),
            Error::Text(error) => error.into(),
            Error::Grammar(error) => error.into(),
            Error::Tool(error) => ApiError::field(error.field, error.reason),
            Error::Run(error) => Failure::from(error).into(),
            Error::Sample(error) => Failure::from(error).into(),
            _ => ApiError::internal(),
        }
    }
}

impl From<EmbedError> for ApiError {
    fn from(error: EmbedError) -> ApiError {
        match error.root() {
            EmbedError::Dims { .. } => ApiError::field("dimensions", error),
            EmbedError::TooLong { .. } => {
                ApiError::field("input", error).code("context_length_exceeded")
            }
            EmbedError::Prompt { .. } => ApiError::field("input_type", error),
            EmbedError::Labels { .. } => ApiError::field("model", error),
            EmbedError::Model(Error::Encoder(
                EncoderError::UnknownId { .. } | EncoderError::IdsAfterPrompt,
            )) => ApiError::field("input", error),
            EmbedError::Model(Error::Text(TextError::TooLong { .. } | TextError::Encode(_))) => {
                ApiError::field("input", error)
            }
            EmbedError::NotHere { .. } | EmbedError::NoHome | EmbedError::Hub(_) => {
                ApiError::unavailable("model_not_loaded", "the model's files are not here")
            }
            _ => ApiError::internal(),
        }
    }
}

impl IntoResponse for ApiError {
    /// OpenAI's form. The error stays with the response, for whoever wants to write it otherwise.
    fn into_response(self) -> Response<Body> {
        let mut response = super::json_response(&self.to_openai());
        *response.status_mut() = self.status;
        if let Some(seconds) = self.retry_after_s {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let bearer = HeaderValue::from_static("Bearer");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, bearer);
        }
        response.extensions_mut().insert(self);
        response
    }
}
