//! Where the server listens, and whether it may without a key.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, bail};
use lattice_serve::Listener;
use tokio::net::{TcpListener, lookup_host};

use super::ServeArgs;

/// A listener and how people call it.
pub(super) struct Bound {
    pub(super) listener: Listener,
    pub(super) url: String,
}

/// Listens.
///
/// # Errors
/// The address is taken, not ours or not allowed; it is reached from other machines and there is no key.
pub(super) async fn bind(args: &ServeArgs) -> anyhow::Result<Bound> {
    #[cfg(unix)]
    if let Some(path) = &args.socket {
        return socket(path);
    }
    let host = args.host.trim_start_matches('[').trim_end_matches(']');
    let place = format!("{host} port {}", args.port);
    let found = lookup_host((host, args.port)).await;
    let mut found = found.with_context(|| format!("--host {host}: no such address"))?;
    let Some(address) = found.next() else {
        bail!("--host {host}: no such address");
    };
    let safe = address.ip().to_canonical().is_loopback();
    let no_key = args.api_key.is_empty() && args.api_key_file.is_none();
    if !safe && no_key && !args.no_auth {
        bail!(
            "other machines could reach {place}: give it a key with --api-key or --api-key-file, or say --no-auth"
        );
    }
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|error| anyhow::Error::msg(reason(&error, &place)))?;
    let address = listener.local_addr()?;
    let scheme = if args.tls_cert.is_some() {
        "https"
    } else {
        "http"
    };
    Ok(Bound {
        url: format!("{scheme}://{}", called(address)),
        listener: Listener::Tcp(listener),
    })
}

fn reason(error: &std::io::Error, place: &str) -> String {
    match error.kind() {
        ErrorKind::AddrInUse => {
            format!("{place} is in use by another program; choose another --port")
        }
        ErrorKind::PermissionDenied => {
            format!("{place} is for the system's own programs; choose a --port above 1023")
        }
        ErrorKind::AddrNotAvailable => format!("{place}: this machine has no such address"),
        _ => format!("cannot listen on {place}: {error}"),
    }
}

/// An address that one can send requests to: for all addresses, this machine's own.
fn called(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let local = match address.ip() {
            IpAddr::V4(_) => IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        };
        address.set_ip(local);
    }
    address
}

/// Listens on a path. A socket that nobody listens on any more is replaced.
#[cfg(unix)]
fn socket(path: &std::path::Path) -> anyhow::Result<Bound> {
    use std::os::unix::fs::FileTypeExt as _;
    use std::os::unix::net::UnixStream;

    let name = path.display();
    if let Ok(found) = std::fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            bail!("{name} is there and is no socket");
        }
        if UnixStream::connect(path).is_ok() {
            bail!("{name} is in use by another program");
        }
        std::fs::remove_file(path).with_context(|| format!("cannot replace {name}"))?;
    }
    let listener = tokio::net::UnixListener::bind(path);
    let listener = listener.with_context(|| format!("cannot listen on {name}"))?;
    Ok(Bound {
        url: format!("unix:{name}"),
        listener: Listener::Unix(listener),
    })
}
