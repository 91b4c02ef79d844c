//! Models come and go by request, the server stops by request, and it speaks https.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lattice_serve::{ServeOptions, Tls};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::json;

use crate::chat::say;
use crate::client::{Client, ask, chat, post, post_bytes, raw_post};
use crate::server::{Server, Shape, entry};
use crate::vectors;

fn state(server: &Server, name: &str) -> String {
    let model = ask(server.address, "GET", &format!("/v1/models/{name}"), "").json();
    model["state"].as_str().unwrap().to_owned()
}

#[test]
fn every_kind_of_model_goes_and_comes_back_with_the_same_answers() {
    let models = [
        vec![entry("lattice-tiny", Shape::default())],
        vectors::entries(),
    ]
    .concat();
    let server = Server::with(models, ServeOptions::default());
    let address = server.address;
    let text = json!({"prompt": "Once upon", "max_tokens": 5, "temperature": 0});
    let rank = json!({"query": "hello", "documents": ["world", "hello"]});
    for (name, path, body, answer) in [
        ("lattice-tiny", "/v1/completions", text, "choices"),
        ("vec", "/v1/embeddings", json!({"input": "hi"}), "data"),
        ("rank", "/v1/rerank", rank, "results"),
    ] {
        let first = post(address, path, &body).json()[answer].clone();
        assert!(first.is_array(), "{name}");
        assert_eq!(state(&server, name), "loaded");
        for _ in 0..2 {
            let reply = post(address, "/v1/models/unload", &json!({"model": name}));
            let reply = (reply.status, reply.json()["state"].clone());
            assert_eq!(reply, (200, json!("unloaded")), "{name}");
        }
        assert_eq!(post(address, path, &body).json()[answer], first, "{name}");
        let model = ask(address, "GET", &format!("/v1/models/{name}"), "").json();
        let figures = [&model["state"], &model["loads"], &model["requests"]];
        assert_eq!(figures, [&json!("loaded"), &json!(2), &json!(0)], "{model}");
    }
    let reply = post(address, "/v1/models/load", &json!({"model": "none"}));
    assert_eq!(reply.status, 404);
    let reply = post(address, "/v1/models/unload", &json!({}));
    assert_eq!(
        (reply.status, reply.error()["param"].clone()),
        (400, json!("model"))
    );
}

#[test]
fn a_stream_is_not_cut_by_the_end_of_its_model() {
    let server = Server::start(ServeOptions::default(), Shape::default());
    let address = server.address;
    let body = say(
        "Tell me a story.",
        json!({"stream": true, "max_tokens": 200, "temperature": 0,
        "logit_bias": {"8168": -100, "8166": -100}}),
    );
    let mut client = Client::new(address);
    client.send(&post_bytes(
        "/v1/chat/completions",
        "",
        body.to_string().as_bytes(),
    ));
    client.head().unwrap();
    let mut streamed = client.chunk().unwrap();
    let end = std::thread::Builder::new()
        .spawn(move || post(address, "/v1/models/unload", &json!({"model": "tiny"})).json());
    while let Some(chunk) = client.chunk() {
        streamed.extend(chunk);
    }
    let text = String::from_utf8(streamed).unwrap();
    assert!(text.trim_end().ends_with("[DONE]"), "{text}");
    assert_eq!(end.unwrap().join().unwrap()["id"], "lattice-tiny");
    assert_eq!(
        chat(address, &say("Hi", json!({"max_tokens": 2}))).status,
        200
    );
}

#[test]
fn only_programs_of_this_machine_stop_the_server() {
    let asked = Arc::<AtomicBool>::default();
    let told = Arc::clone(&asked);
    let options = ServeOptions {
        shutdown: Some(Arc::new(move || told.store(true, Ordering::Relaxed))),
        api_keys: vec!["k".to_owned()],
        ..ServeOptions::default()
    };
    let server = Server::start(options, Shape::default());
    let stop = |headers: &str| raw_post(server.address, "/v1/shutdown", headers, b"{}").status;
    assert_eq!(stop(""), 401);
    for of_others in [
        "Origin: http://localhost:3000",
        "X-Forwarded-For: 1.2.3.4",
        "Via: 1.1 p",
    ] {
        let headers = format!("x-api-key: k\r\nx-lattice-shutdown: now\r\n{of_others}\r\n");
        assert_eq!(stop(&headers), 403, "{of_others}");
    }
    assert_eq!(stop("x-api-key: k\r\n"), 403);
    assert!(!asked.load(Ordering::Relaxed));
    assert_eq!(stop("x-api-key: k\r\nx-lattice-shutdown: now\r\n"), 200);
    assert!(asked.load(Ordering::Relaxed));
    // One that is not to be stopped so says that.
    assert_eq!(
        raw_post(crate::server::shared().address, "/v1/shutdown", "", b"{}").status,
        403
    );
}

#[test]
fn an_answer_without_a_body_is_no_client_that_left() {
    let server = crate::server::shared();
    ask(server.address, "HEAD", "/livez", "X-Request-Id: head-1\r\n");
    let report = server.report(|report| report.id == "head-1");
    assert_eq!((report.status, report.left), (200, false));
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../hub/tests/tls")
        .join(name)
}

fn https(server: &Server) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(file("root.pem")).unwrap())
        .unwrap();
    let provider = Arc::new(rustls_graviola::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    rustls::StreamOwned::new(connection, TcpStream::connect(server.address).unwrap())
}

#[test]
fn https_is_spoken_and_who_does_not_shake_hands_is_cut_off() {
    let options = ServeOptions {
        tls: Some(Tls::from_files(&file("server.pem"), &file("server.key")).unwrap()),
        header_timeout: Duration::from_secs(1),
        ..ServeOptions::default()
    };
    let server = Server::start(options, Shape::default());
    // One that says nothing, and one that speaks plain http, keep nobody out.
    let mut silent = Client::new(server.address);
    let mut plain = Client::new(server.address);
    plain.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut stream = https(&server);
    let body = json!({"prompt": "Once", "max_tokens": 3}).to_string();
    stream
        .write_all(&post_bytes(
            "/v1/completions",
            "Connection: close\r\n",
            body.as_bytes(),
        ))
        .unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    assert!(
        reply.starts_with("HTTP/1.1 200") && reply.contains("completion_tokens"),
        "{reply}"
    );
    assert!(plain.head().is_none_or(|reply| reply.status == 0));
    assert!(silent.is_closed());
}

#[test]
fn files_of_https_that_are_wrong_are_named() {
    let missing = PathBuf::from("no-such.pem");
    for (certificate, key, said) in [
        (missing.clone(), file("server.key"), "no-such.pem"),
        (file("server.pem"), missing, "no-such.pem"),
        (
            file("server.key"),
            file("server.key"),
            "has no certificate in it",
        ),
        (
            file("server.pem"),
            file("server.pem"),
            "has no private key in it",
        ),
        (file("root.pem"), file("server.key"), "root.pem with"),
        (file("."), file("server.key"), "is no file of PEM"),
    ] {
        let error = Tls::from_files(&certificate, &key).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn a_renewed_certificate_is_taken_up_and_a_wrong_one_is_not() {
    let folder = lattice_testkit::ScratchDir::new().unwrap();
    let (certificate, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
    std::fs::copy(file("server.pem"), &certificate).unwrap();
    std::fs::copy(file("server.key"), &key).unwrap();
    let tls = Tls::from_files(&certificate, &key).unwrap();
    assert!(!tls.renew().unwrap());
    let written = |seconds| {
        let file = std::fs::File::options()
            .append(true)
            .open(&certificate)
            .unwrap();
        let then = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        file.set_modified(then).unwrap();
    };
    written(1_000_000);
    assert!(tls.renew().unwrap());
    std::fs::write(&certificate, "words").unwrap();
    written(2_000_000);
    assert!(tls.renew().is_err());
}
