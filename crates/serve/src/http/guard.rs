//! Who may come in: by the host that was called, the origin of a page, the key.
//!
//! A page of a stranger that a browser shows must not reach a server on the same machine: neither by its own name led
//! here (Host), nor by a request across origins (Origin).

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version, header};
use subtle::{Choice, ConstantTimeEq as _};

use crate::app::App;
use crate::options::ServeOptions;
use crate::wire::ApiError;

/// Paths that tell nothing but that the server is there, and what every server of this version takes.
pub(crate) const OPEN_PATHS: [&str; 5] = ["/health", "/livez", "/readyz", "/openapi.json", "/docs"];

/// What becomes of a request.
pub(super) enum Admission {
    /// It goes on; its answer gets these headers.
    Enter(Cors),
    /// It was only the question whether a page may send one.
    Preflight(Response<Body>),
}

/// The headers that let a page read the answer, if it is one that may.
#[derive(Debug, Default)]
pub(super) struct Cors(Option<HeaderValue>);

impl Cors {
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        let Some(origin) = &self.0 else { return };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.append(header::VARY, HeaderValue::from_static("origin"));
        let exposed = HeaderValue::from_static("x-request-id, x-lattice-ignored, retry-after");
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
}

/// Lets a request in, or says why not.
pub(super) fn admit(app: &App, request: &Request) -> Result<Admission, ApiError> {
    let options = app.options();
    check_host(options, request)?;
    let cors = check_origin(options, request.headers())?;
    if request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
    {
        return Ok(Admission::Preflight(preflight(&cors)));
    }
    if !OPEN_PATHS.contains(&request.uri().path()) {
        check_key(options, request.headers())?;
    }
    Ok(Admission::Enter(cors))
}

fn check_host(options: &ServeOptions, request: &Request) -> Result<(), ApiError> {
    let mut given = request.headers().get_all(header::HOST).iter();
    let (first, second) = (given.next(), given.next());
    let host = match (first, second) {
        (_, Some(_)) => return Err(ApiError::bad_request("two Host headers")),
        (None, None) if request.version() < Version::HTTP_11 => return Ok(()),
        (None, None) => return Err(ApiError::bad_request("no Host header")),
        (Some(host), None) => host.to_str().unwrap_or("?"),
    };
    let name = without_port(host).to_ascii_lowercase();
    let listed = options
        .allowed_hosts
        .iter()
        .any(|allowed| allowed.eq_ignore_ascii_case(&name));
    if is_local(&name) || is_address(&name) || listed {
        return Ok(());
    }
    Err(ApiError::forbidden(format!(
        "the host {name:?} is not allowed; start the server with it on its list of hosts"
    )))
}

fn check_origin(options: &ServeOptions, headers: &HeaderMap) -> Result<Cors, ApiError> {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return Ok(Cors::default());
    };
    let text = origin.to_str().unwrap_or("?");
    let listed = options.allowed_origins.iter();
    let listed = listed
        .into_iter()
        .any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(text));
    let host = text
        .strip_prefix("http://")
        .or(text.strip_prefix("https://"));
    let local = host.is_some_and(|host| is_local(&without_port(host).to_ascii_lowercase()));
    if listed || local {
        return Ok(Cors(Some(origin.clone())));
    }
    Err(ApiError::forbidden(format!(
        "pages of the origin {text:?} may not send requests; start the server with it on its list of origins"
    )))
}

fn preflight(cors: &Cors) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    cors.write(headers);
    let methods = HeaderValue::from_static("GET, POST, OPTIONS");
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    // By name: a star does not stand for Authorization.
    let allowed = HeaderValue::from_static(
        "authorization, content-type, x-api-key, x-request-id, anthropic-version, anthropic-beta, \
         x-stainless-arch, x-stainless-lang, x-stainless-os, x-stainless-package-version, \
         x-stainless-retry-count, x-stainless-runtime, x-stainless-runtime-version, x-stainless-timeout, \
         x-stainless-helper-method, x-stainless-async, openai-organization, openai-project",
    );
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    headers.insert(
        header::ACCESS_CONTROL_MAX_AGE,
        HeaderValue::from_static("600"),
    );
    response
}

fn check_key(options: &ServeOptions, headers: &HeaderMap) -> Result<(), ApiError> {
    if options.api_keys.is_empty() {
        return Ok(());
    }
    let given = given_key(headers).ok_or_else(ApiError::no_key)?;
    // All keys are compared, each in a time that depends on its length alone.
    let right = options.api_keys.iter().fold(Choice::from(0), |right, key| {
        right | key.as_bytes().ct_eq(given.as_bytes())
    });
    if bool::from(right) {
        return Ok(());
    }
    Err(ApiError::no_key())
}

/// The one key of a request; `None` where there is none, or more than one header for it.
fn given_key(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get_all(header::AUTHORIZATION).iter();
    let plain = headers.get_all("x-api-key").iter();
    let bearer: Vec<_> = bearer.map(|value| value.to_str().ok()).collect();
    let plain: Vec<_> = plain.map(|value| value.to_str().ok()).collect();
    match (bearer[..].as_ref(), plain[..].as_ref()) {
        ([Some(value)], []) => {
            let (scheme, key) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
        }
        ([], [Some(key)]) => Some(key.trim()),
        // Some clients send the same key both ways.
        ([Some(value)], [Some(key)]) => {
            let (scheme, same) = value.split_once(' ')?;
            (scheme.eq_ignore_ascii_case("bearer") && same.trim() == key.trim()).then(|| key.trim())
        }
        _ => None,
    }
}

/// A host without its port and brackets.
fn without_port(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    }
}

fn is_local(name: &str) -> bool {
    matches!(name, "localhost" | "127.0.0.1" | "::1") || name.ends_with(".localhost")
}

/// An address in numbers: no name can be led to another place by it.
fn is_address(name: &str) -> bool {
    name.parse::<std::net::IpAddr>().is_ok()
}
