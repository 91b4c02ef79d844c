//! Requests: with a token where it belongs, redirects by hand, and words for every failure.
//!
//! In: a URL and headers. Out: an answer with its headers, its body unread.
//! The token goes to the hub's own origin alone; a redirect to another server is followed without it, and none leads
//! from https to plain http. Nothing is taken in a compressed form.

use std::fmt;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use ureq::http::{HeaderMap, StatusCode};
use ureq::{Agent, Body};

use crate::url::{self, Origin};
use crate::{HubError, tls};

/// Redirects in a row.
const REDIRECTS_MAX: usize = 8;
/// Bytes of a server's words that are shown.
const MESSAGE_BYTES_MAX: usize = 300;
/// Seconds that a server may ask us to wait.
const RETRY_S_MAX: u64 = 300;

/// What opens private models. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A token as the hub gives it.
    ///
    /// # Errors
    /// [`HubError::Option`] for text that cannot stand in a header.
    pub fn new(text: &str) -> Result<Self, HubError> {
        let text = text.trim();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(HubError::Option {
                option: "token",
                found: "...".to_owned(),
                reason: "has characters that no token has".to_owned(),
            });
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(...)")
    }
}

/// A server that requests go through.
#[derive(Clone)]
pub struct Proxy {
    /// `http://[user:password@]host:port`.
    pub url: String,
    /// Hosts that are asked directly: `host`, `.domain`, `*`.
    pub bypass: Vec<String>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may have a password in it.
        f.debug_struct("Proxy")
            .field("bypass", &self.bypass)
            .finish_non_exhaustive()
    }
}

/// How to talk with the hub.
#[derive(Debug, Clone)]
pub struct HubOptions {
    /// The hub, or a mirror of it.
    pub endpoint: String,
    /// For private models.
    pub token: Option<Token>,
    /// None: straight to the server.
    pub proxy: Option<Proxy>,
    /// Certificate authorities to believe besides Mozilla's: a PEM file.
    pub certificates: Option<PathBuf>,
    /// Open no socket.
    pub offline: bool,
    /// How long a server may be silent.
    pub silence: Duration,
    /// Failures in a row, without a byte in between, before a file is given up.
    pub tries: u32,
    /// The wait after the first failure; it doubles with each one.
    pub pause: Duration,
    /// Files fetched at once.
    pub at_once: usize,
}

impl Default for HubOptions {
    fn default() -> Self {
        Self {
            endpoint: "https://huggingface.co".to_owned(),
            token: None,
            proxy: None,
            certificates: None,
            offline: false,
            silence: Duration::from_secs(30),
            tries: 6,
            pause: Duration::from_millis(500),
            at_once: 4,
        }
    }
}

/// A hub that models come from.
#[derive(Debug)]
pub struct Hub {
    pub(crate) options: HubOptions,
    /// Without a slash at its end.
    pub(crate) base: String,
    origin: Origin,
}

impl Hub {
    /// Checks the options. Opens no socket.
    ///
    /// # Errors
    /// [`HubError::Option`].
    pub fn new(options: HubOptions) -> Result<Self, HubError> {
        let base = options.endpoint.trim().trim_end_matches('/').to_owned();
        let refused = |reason: String| HubError::Option {
            option: "endpoint",
            found: url::shown(&base),
            reason,
        };
        let origin = Origin::of(&base).map_err(|error| match error {
            HubError::Answer { reason, .. } => refused(reason),
            other => refused(other.to_string()),
        })?;
        if base.contains(['?', '#']) {
            return Err(refused("has more than a server and a path".to_owned()));
        }
        Ok(Self {
            options,
            base,
            origin,
        })
    }

    /// The hub's address.
    pub fn endpoint(&self) -> &str {
        &self.base
    }

    /// Connections for one piece of work on `name`.
    pub(crate) fn client(&self, name: &impl fmt::Display) -> Result<Client<'_>, HubError> {
        let options = &self.options;
        if options.offline {
            return Err(HubError::Offline {
                name: name.to_string(),
            });
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("lattice/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .timeout_resolve(Some(options.silence))
            .timeout_connect(Some(options.silence))
            .timeout_per_read(Some(options.silence))
            .timeout_per_write(Some(options.silence))
            .timeout_recv_response(Some(options.silence * 2))
            .proxy(options.proxy.as_ref().map(proxy).transpose()?)
            .tls_config(tls::config(options.certificates.as_deref())?)
            .build();
        Ok(Client {
            agent: config.new_agent(),
            hub: self,
        })
    }
}

fn proxy(proxy: &Proxy) -> Result<ureq::Proxy, HubError> {
    let refused = |reason: String| HubError::Option {
        option: "proxy",
        found: "...".to_owned(),
        reason,
    };
    let plain = ureq::Proxy::new(&proxy.url).map_err(|error| refused(error.to_string()))?;
    if !matches!(
        plain.protocol(),
        ureq::ProxyProtocol::Http | ureq::ProxyProtocol::Https
    ) {
        return Err(refused("only http and https proxies are known".to_owned()));
    }
    let mut builder = ureq::Proxy::builder(plain.protocol())
        .host(plain.host())
        .port(plain.port());
    if let Some(user) = plain.username() {
        builder = builder.username(user);
    }
    if let Some(password) = plain.password() {
        builder = builder.password(password);
    }
    for host in &proxy.bypass {
        builder = builder.no_proxy(host);
    }
    builder.build().map_err(|error| refused(error.to_string()))
}

/// Connections to a hub and to the storage servers it names.
pub(crate) struct Client<'a> {
    agent: Agent,
    pub(crate) hub: &'a Hub,
}

impl Client<'_> {
    /// Ends every request that is under way, from another thread.
    pub(crate) fn shut_down(&self) {
        self.agent.clone().shutdown();
    }

    /// Asks for a URL and follows where it leads. Any final answer is one; see [`Answer::good`].
    pub(crate) fn get(&self, url: &str, headers: &[(&str, &str)]) -> Result<Answer, HubError> {
        let mut url = url.to_owned();
        for _ in 0..=REDIRECTS_MAX {
            let origin = Origin::of(&url)?;
            if origin.is_https()
                && let Some(lack) = tls::https_missing()
            {
                return Err(HubError::answer(&url, lack));
            }
            let mut request = self.agent.get(&url);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            if let Some(Token(token)) = &self.hub.options.token
                && origin == self.hub.origin
            {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let response = request.call().map_err(|error| failure(&url, &error))?;
            let (parts, body) = response.into_parts();
            let answer = Answer {
                url,
                status: parts.status,
                headers: parts.headers,
                body,
            };
            if !matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(answer);
            }
            let location = answer.header("location").unwrap_or_default();
            url = url::join(&answer.url, location)?;
        }
        Err(HubError::answer(&url, "redirects without an end"))
    }

    /// [`Self::get`], until there is an answer that is no passing trouble.
    pub(crate) fn patiently(
        &self,
        url: &str,
        headers: &[(&str, &str)],
    ) -> Result<Answer, HubError> {
        let options = &self.hub.options;
        let mut pause = options.pause;
        for _ in 1..options.tries.max(1) {
            match self.get(url, headers) {
                Ok(answer) if !matches!(answer.status.as_u16(), 429 | 500..=599) => {
                    return Ok(answer);
                }
                Err(error) if !error.may_pass() => return Err(error),
                _ => std::thread::sleep(pause),
            }
            pause = pause.saturating_mul(2);
        }
        self.get(url, headers)
    }
}

/// What ureq says, in words that name no library. Who is not believed will not be a moment later.
fn failure(url: &str, error: &ureq::Error) -> HubError {
    let words = match error {
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => {
            return HubError::answer(url, format!("https: {error}"));
        }
        ureq::Error::Io(reason) if reason.kind() == ErrorKind::InvalidData => {
            return HubError::answer(url, format!("https: {reason}"));
        }
        ureq::Error::Io(reason) => reason.to_string(),
        ureq::Error::HostNotFound => "no server of that name was found".to_owned(),
        ureq::Error::Timeout(_) => "the server was silent too long".to_owned(),
        ureq::Error::ConnectionFailed => "no connection".to_owned(),
        other => other.to_string(),
    };
    HubError::network(url, words)
}

/// An answer, its body unread.
pub(crate) struct Answer {
    /// Where it came from in the end.
    pub(crate) url: String,
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    body: Body,
}

impl Answer {
    /// A header's value, if it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The type of the body, without parameters, in lower case.
    pub(crate) fn kind(&self) -> String {
        let kind = self.header("content-type").unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default();
        kind.trim().to_ascii_lowercase()
    }

    /// This answer, unless it is a refusal.
    pub(crate) fn good(self) -> Result<Self, HubError> {
        if self.status.is_success() {
            return Ok(self);
        }
        let message = self.header("x-error-message").unwrap_or_default();
        let message: String = message.chars().take(MESSAGE_BYTES_MAX).collect();
        let retry_s = self
            .header("retry-after")
            .and_then(|text| text.trim().parse().ok());
        Err(HubError::Status {
            url: url::shown(&self.url),
            status: self.status.as_u16(),
            message,
            retry_s: retry_s.map(|seconds: u64| seconds.min(RETRY_S_MAX)),
        })
    }

    /// The body's bytes as they come.
    pub(crate) fn into_reader(self) -> impl std::io::Read {
        self.body.into_reader()
    }
}
