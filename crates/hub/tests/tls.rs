//! https: the server's name and authority are looked at, and what comes is right.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{assert_absent, assert_whole, model, options, pull};
use lattice_hub::{Hub, HubError, HubOptions};
use lattice_testkit::{FakeHub, ScratchDir};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/tls")
        .join(name)
}

/// Passes what comes by https on to a plain server, and answers back. Out: its port.
fn https_before(plain: &FakeHub) -> u16 {
    let chain = vec![CertificateDer::from_pem_file(file("server.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
    let provider = Arc::new(rustls_graviola::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let behind = plain.endpoint().replace("http://", "");
    spawn(move || {
        for stream in listener.incoming().flatten() {
            let (config, behind) = (Arc::clone(&config), behind.clone());
            spawn(move || {
                // A client that does not believe us goes away in the middle.
                let _ = relay(config, stream, &behind);
            });
        }
    });
    port
}

#[expect(clippy::disallowed_methods, reason = "a server in a test is no engine")]
fn spawn(work: impl FnOnce() + Send + 'static) {
    std::thread::spawn(work);
}

/// One request at a time: its head goes to the server behind, all of the answer comes back, and the connection ends.
fn relay(config: Arc<ServerConfig>, stream: TcpStream, behind: &str) -> std::io::Result<()> {
    let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut outside = StreamOwned::new(connection, stream);
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        outside.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let mut inside = TcpStream::connect(behind)?;
    inside.write_all(&head)?;
    inside.shutdown(std::net::Shutdown::Write)?;
    let mut answer = Vec::new();
    inside.read_to_end(&mut answer)?;
    let text = b"HTTP/1.1 200 Words\r\n";
    if answer.starts_with(text) {
        answer.splice(text.len()..text.len(), *b"Connection: close\r\n");
    }
    outside.write_all(&answer)?;
    outside.conn.send_close_notify();
    outside.flush()
}

#[test]
fn a_server_is_believed_by_its_name_and_authority() {
    let (dir, model) = (ScratchDir::new().unwrap(), model());
    let plain = FakeHub::start(vec![model.clone()]);
    let port = https_before(&plain);
    let with = |endpoint: String, certificates: Option<PathBuf>| HubOptions {
        certificates,
        ..options(&endpoint)
    };
    let unknown = pull(with(format!("https://localhost:{port}"), None), dir.path()).unwrap_err();
    assert!(unknown.to_string().contains("certificate"), "{unknown}");
    assert!(matches!(unknown, HubError::Answer { .. }), "{unknown:?}");
    let root = Some(file("root.pem"));
    let other = pull(
        with(format!("https://127.0.0.1:{port}"), root.clone()),
        dir.path(),
    );
    let other = other.unwrap_err().to_string();
    assert!(other.contains("certificate"), "{other}");
    assert_absent(dir.path());
    assert!(plain.requests().is_empty());
    // The large files are stored at a server without https.
    let lower = pull(
        with(format!("https://localhost:{port}"), root.clone()),
        dir.path(),
    );
    let lower = lower.unwrap_err().to_string();
    assert!(lower.contains("redirects to plain http"), "{lower}");
    let there = plain.endpoint();
    plain.spoil(move |_, reply| match reply.header("location") {
        Some(location) => {
            let location = location.replace(&there, "");
            reply.with("Location", &location)
        }
        None => reply,
    });
    pull(with(format!("https://localhost:{port}"), root), dir.path()).unwrap();
    assert_whole(dir.path(), &model);
}

#[test]
fn files_without_certificates_are_refused() {
    for name in ["make.sh", "server.key", "none.pem", "."] {
        let options = HubOptions {
            certificates: Some(file(name)),
            ..HubOptions::default()
        };
        let hub = Hub::new(options).unwrap();
        let error = hub.listing(&"org/name".parse().unwrap()).unwrap_err();
        assert!(
            matches!(
                error,
                HubError::Option {
                    option: "certificates",
                    ..
                }
            ),
            "{name}: {error}"
        );
    }
}
