//! `/v1/shutdown`: the end of the server, asked for by who sits at this machine.
//!
//! Other machines never may: neither by themselves nor through a proxy on this one, as far as proxies say that they are
//! such. Pages of browsers never may either. What asks for everything once, to try it, lacks the header that is wanted.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Response, header};
use serde_json::json;

use crate::app::App;
use crate::http::Peer;
use crate::wire::{ApiError, json_response};

/// The header that says that it is meant.
const MEANT: (&str, &str) = ("x-lattice-shutdown", "now");
/// Headers by which a proxy says that it is one.
const OF_PROXIES: [&str; 5] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-real-ip",
    "via",
];

/// Asks the server to stop, as a signal does.
pub(crate) async fn shutdown(
    State(app): State<App>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
) -> Result<Response<Body>, ApiError> {
    let Some(stop) = &app.options().shutdown else {
        return Err(ApiError::forbidden(
            "this server is not stopped by requests",
        ));
    };
    let here = peer.is_some_and(|Extension(peer)| peer.is_local);
    let direct = !OF_PROXIES.iter().any(|name| headers.contains_key(*name));
    if !here || !direct || headers.contains_key(header::ORIGIN) {
        let reason = "only a program on the same machine may stop the server";
        return Err(ApiError::forbidden(reason));
    }
    if headers.get(MEANT.0).is_none_or(|value| value != MEANT.1) {
        let reason = format!("send the header {}: {}", MEANT.0, MEANT.1);
        return Err(ApiError::forbidden(reason));
    }
    stop();
    Ok(json_response(&json!({"status": "stopping"})))
}
