//! Accepts connections until it is told to stop, and lets those under way end.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::io::Patient;
use super::router;
use crate::app::App;
use crate::event::ServeEvent;
use crate::keep::keep;

/// Bytes of the head of a request: what is longer is answered with 431.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Headers of a request.
const HEADERS_MAX: usize = 128;
/// How long no connection is taken after one could not be: mostly all file descriptors are in use.
const BREATH: Duration = Duration::from_millis(100);

/// Where connections come from.
pub enum Listener {
    /// An address and a port.
    Tcp(TcpListener),
    /// A path.
    #[cfg(unix)]
    Unix(tokio::net::UnixListener),
}

/// Both ends of what travels.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    /// It is a program on this machine, which may be a proxy.
    pub(crate) is_local: bool,
}

impl Listener {
    async fn accept(&self) -> io::Result<(Box<dyn Stream>, Peer)> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // Pieces of an answer are small, and each is wanted at once.
                let _ = stream.set_nodelay(true);
                let is_local = address.ip().to_canonical().is_loopback();
                Ok((Box::new(stream), Peer { is_local }))
            }
            #[cfg(unix)]
            Listener::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Box::new(stream), Peer { is_local: true }))
            }
        }
    }
}

/// Answers until `stop` comes; then takes no connection more, and gives answers under way the time that the options
/// say. Streams that are not done by then end with an error event.
pub async fn serve(app: App, listener: Listener, stop: impl Future<Output = ()>) {
    let service = router(app.clone());
    let places = Arc::new(Semaphore::new(app.options().connections_max));
    let (ending, ended) = watch::channel(false);
    let keeper = tokio::spawn(keep(app.clone()));
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let place = tokio::select! {
            biased;
            () = &mut stop => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let stream = tokio::select! {
            biased;
            () = &mut stop => break,
            stream = listener.accept() => stream,
        };
        while connections.try_join_next().is_some() {}
        match stream {
            Ok((stream, peer)) => {
                let (app, service, ended) = (app.clone(), service.clone(), ended.clone());
                connections.spawn(async move {
                    if let Some(stream) = secured(&app, stream).await {
                        connection(app, service, stream, peer, ended).await;
                    }
                    drop(place);
                });
            }
            Err(error) => {
                let warning = format!("a connection could not be taken: {error}");
                (app.options().sink)(ServeEvent::Warning(warning));
                tokio::time::sleep(BREATH).await;
            }
        }
    }
    drop(listener);
    keeper.abort();
    app.drain();
    let _ = ending.send(true);
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(app.options().drain_timeout, all)
        .await
        .is_err()
    {
        app.end_streams();
        let all = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(LAST_WORDS, all).await;
    }
}

/// Time for the last event of streams that were ended.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The connection after the handshake of https, where the server speaks that; `None` where none came about in the time
/// that headers get.
async fn secured(app: &App, stream: Box<dyn Stream>) -> Option<Box<dyn Stream>> {
    let Some(tls) = &app.options().tls else {
        return Some(stream);
    };
    let shaken = tls.acceptor().accept(stream);
    let shaken = tokio::time::timeout(app.options().header_timeout, shaken).await;
    Some(Box::new(shaken.ok()?.ok()?))
}

async fn connection(
    app: App,
    service: Router,
    stream: Box<dyn Stream>,
    peer: Peer,
    mut ended: watch::Receiver<bool>,
) {
    let options = app.options();
    let service = TowerToHyperService::new(service);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        service.call(request)
    });
    let stream = Patient::new(stream, options.write_timeout);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(options.header_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let stopped = tokio::select! {
        // What went wrong with a connection is between its two ends.
        _ = &mut connection => false,
        _ = ended.wait_for(|ended| *ended) => true,
    };
    if stopped {
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}
