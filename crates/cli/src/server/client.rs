//! Asks a server, over TCP, TLS or a Unix socket: one request a connection.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, Uri, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::ServerArgs;

/// For a connection to come about.
const CONNECT: Duration = Duration::from_secs(10);
/// Bytes of an answer.
const ANSWER_MAX: usize = 64 << 20;

/// Where a server is asked to stop.
pub(super) const SHUTDOWN: &str = "/v1/shutdown";

/// A server and how it is reached.
pub(crate) struct Client {
    place: Place,
    /// How people call it.
    url: String,
    key: Option<String>,
    runtime: tokio::runtime::Runtime,
}

enum Place {
    Tcp {
        host: String,
        port: u16,
        tls: Option<TlsConnector>,
    },
    #[cfg(unix)]
    Unix(std::path::PathBuf),
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Client {
    /// Nothing is connected yet.
    ///
    /// # Errors
    /// The address is none, or a file of certificates is wrong.
    pub(crate) fn new(args: &ServerArgs) -> anyhow::Result<Client> {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build()?;
        let key = args.api_key.clone().filter(|key| !key.is_empty());
        #[cfg(unix)]
        if let Some(path) = &args.socket {
            return Ok(Client {
                url: format!("unix:{}", path.display()),
                place: Place::Unix(path.clone()),
                key,
                runtime,
            });
        }
        let url = args.url.trim_end_matches('/').trim_end_matches("/v1");
        Ok(Client {
            place: place(url, args)?,
            url: url.to_owned(),
            key,
            runtime,
        })
    }

    /// How people call the server.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The key that is shown to it.
    pub(crate) fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Whether anybody listens there.
    pub(crate) fn is_there(&self) -> bool {
        self.runtime.block_on(self.connect()).is_ok()
    }

    pub(crate) fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.runtime.block_on(self.ask(Method::GET, path, None))
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.runtime
            .block_on(self.ask(Method::POST, path, Some(body)))
    }

    async fn connect(&self) -> anyhow::Result<Box<dyn Stream>> {
        let connected = tokio::time::timeout(CONNECT, self.place.connect()).await;
        let connected = connected.unwrap_or_else(|_| bail!("it does not answer"));
        let hint = "`lattice serve` starts one, --url or --socket name another";
        connected.with_context(|| format!("no server at {}; {hint}", self.url))
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let stream = self.connect().await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let host = match &self.place {
            Place::Tcp { host, port, .. } => format!("{host}:{port}"),
            #[cfg(unix)]
            Place::Unix(_) => "localhost".to_owned(),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, host);
        if let Some(key) = &self.key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        if path == SHUTDOWN {
            // It is meant.
            request = request.header("x-lattice-shutdown", "now");
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = request.body(Full::new(Bytes::from(body)))?;
        let answer = async {
            let answer = sender.send_request(request).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!("{error}"))?;
            anyhow::Ok((status, body.to_bytes()))
        };
        let answer = tokio::select! {
            answer = answer => answer,
            ended = connection => Err(match ended {
                Ok(()) => anyhow::anyhow!("it closed the connection without an answer"),
                Err(error) => error.into(),
            }),
        };
        let (status, body) = answer.with_context(|| self.url.clone())?;
        let json: Option<Value> = serde_json::from_slice(&body).ok();
        if status.is_success() {
            return json.with_context(|| format!("{}{path}: no JSON came back", self.url));
        }
        let said = json
            .as_ref()
            .and_then(|json| json["error"]["message"].as_str());
        bail!("{}: {} {}", self.url, status.as_u16(), said.unwrap_or(""))
    }
}

impl Place {
    async fn connect(&self) -> anyhow::Result<Box<dyn Stream>> {
        match self {
            Place::Tcp { host, port, tls } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                let Some(tls) = tls else {
                    return Ok(Box::new(stream));
                };
                let name = ServerName::try_from(host.clone())?;
                Ok(Box::new(tls.connect(name, stream).await?))
            }
            #[cfg(unix)]
            Place::Unix(path) => Ok(Box::new(tokio::net::UnixStream::connect(path).await?)),
        }
    }
}

/// Where a URL leads.
fn place(url: &str, args: &ServerArgs) -> anyhow::Result<Place> {
    let wrong = || {
        format!(
            "--url {}: expected http://HOST:PORT or https://HOST:PORT",
            args.url
        )
    };
    let uri: Uri = url.parse().with_context(wrong)?;
    let host = uri.host().with_context(wrong)?;
    let (tls, usual) = match uri.scheme_str() {
        Some("http") => (None, 80),
        Some("https") => (Some(connector(args.ca.as_deref())?), 443),
        _ => bail!(wrong()),
    };
    anyhow::ensure!(matches!(uri.path(), "" | "/"), wrong());
    Ok(Place::Tcp {
        host: host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned(),
        port: uri.port_u16().unwrap_or(usual),
        tls,
    })
}

/// Believes Mozilla's authorities and those in a file.
fn connector(ca: Option<&Path>) -> anyhow::Result<TlsConnector> {
    let mut roots = rustls::RootCertStore::empty();
    let known = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned();
    roots.add_parsable_certificates(known);
    if let Some(path) = ca {
        let name = path.display();
        let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
        let read: Vec<CertificateDer<'static>> =
            read.with_context(|| format!("--ca {name} cannot be read"))?;
        anyhow::ensure!(!read.is_empty(), "--ca {name} has no certificate in it");
        for certificate in read {
            let added = roots.add(certificate);
            added.with_context(|| format!("--ca {name}"))?;
        }
    }
    let provider = Arc::new(crypto()?);
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn crypto() -> anyhow::Result<rustls::crypto::CryptoProvider> {
    if let Some(missing) = lattice_hub::https_missing() {
        bail!(missing);
    }
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    return Ok(rustls_graviola::default_provider());
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    bail!("https is not to be had on this kind of processor")
}
