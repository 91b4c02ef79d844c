//! Who may come in, and for how long.

use std::time::Duration;

use lattice_serve::ServeOptions;
use serde_json::json;

use crate::chat::say;
use crate::client::{Client, ask, chat, post_bytes, raw_post};
use crate::server::{Server, Shape, shared};

#[test]
fn keys_open() {
    let options = ServeOptions {
        api_keys: vec!["first-key".to_owned(), "second".to_owned()],
        ..ServeOptions::default()
    };
    let server = Server::start(options, Shape::default());
    let models = |headers: &str| ask(server.address, "GET", "/v1/models", headers);
    for good in [
        "Authorization: Bearer first-key\r\n",
        "authorization: bearer second\r\n",
        "X-Api-Key: second\r\n",
        "Authorization: Bearer second\r\nX-Api-Key: second\r\n",
    ] {
        assert_eq!(models(good).status, 200, "{good}");
    }
    for bad in [
        "",
        "Authorization: Bearer\r\n",
        "Authorization: Bearer first-ke\r\n",
        "Authorization: Bearer first-key2\r\n",
        "Authorization: first-key\r\n",
        "Authorization: Basic first-key\r\n",
        "X-Api-Key: \r\n",
        "Authorization: Bearer second\r\nAuthorization: Bearer second\r\n",
        "Authorization: Bearer second\r\nX-Api-Key: x\r\n",
    ] {
        let reply = models(bad);
        assert_eq!(reply.status, 401, "{bad}");
        assert_eq!(
            (
                reply.error()["code"].clone(),
                &*reply.headers["www-authenticate"]
            ),
            (json!("invalid_api_key"), "Bearer")
        );
    }
    assert_eq!(
        ask(
            server.address,
            "GET",
            "/v1/models?key=second&api_key=second",
            ""
        )
        .status,
        401
    );
    assert_eq!(ask(server.address, "GET", "/nowhere", "").status, 401);
    assert_eq!(ask(server.address, "GET", "/livez", "").status, 200);
}

#[test]
fn hosts_and_origins_are_ours_or_listed() {
    let options = ServeOptions {
        allowed_hosts: vec!["box.lan".to_owned()],
        allowed_origins: vec!["https://app.example".to_owned()],
        ..ServeOptions::default()
    };
    let server = Server::start(options, Shape::default());
    let host = |host: &str| {
        let mut client = Client::new(server.address);
        client.send(format!("GET /v1/models HTTP/1.1\r\n{host}\r\n").as_bytes());
        client.reply().unwrap().status
    };
    for good in [
        "localhost",
        "LOCALHOST:8080",
        "127.0.0.1:1",
        "[::1]:1",
        "10.1.2.3",
        "a.localhost",
        "box.lan:99",
    ] {
        assert_eq!(host(&format!("Host: {good}\r\n")), 200, "{good}");
    }
    for bad in [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "box.lan.evil",
        "[::1",
        "",
    ] {
        let status = host(&format!("Host: {bad}\r\n"));
        assert!(
            status == 403 || bad == "[::1" && status == 200,
            "{bad}: {status}"
        );
    }
    assert_eq!(host(""), 400);
    assert_eq!(host("Host: localhost\r\nHost: evil.example\r\n"), 400);
    let origin = |method: &str, origin: &str| {
        let headers = format!("Origin: {origin}\r\nAccess-Control-Request-Method: POST\r\n");
        ask(server.address, method, "/v1/models", &headers)
    };
    for good in [
        "http://localhost:3000",
        "https://app.example",
        "http://127.0.0.1",
    ] {
        for (method, status) in [("GET", 200), ("OPTIONS", 204)] {
            let reply = origin(method, good);
            assert_eq!(
                (reply.status, &*reply.headers["access-control-allow-origin"]),
                (status, good)
            );
        }
    }
    for bad in [
        "https://evil.example",
        "null",
        "http://localhost.evil.example",
        "https://app.example.evil",
        "file://",
    ] {
        for method in ["GET", "OPTIONS"] {
            let reply = origin(method, bad);
            assert_eq!(reply.status, 403, "{bad}");
            assert!(!reply.headers.contains_key("access-control-allow-origin"));
        }
    }
}

#[test]
fn slow_heads_and_idle_connections_are_closed() {
    let options = ServeOptions {
        header_timeout: Duration::from_millis(300),
        ..ServeOptions::default()
    };
    let server = Server::start(options, Shape::default());
    let mut slow: Vec<_> = (0..100).map(|_| Client::new(server.address)).collect();
    for (number, client) in slow.iter_mut().enumerate() {
        if number % 2 == 0 {
            client.send(b"GET /livez HT");
        }
    }
    // Others are answered meanwhile.
    assert_eq!(ask(server.address, "GET", "/livez", "").status, 200);
    for client in &mut slow {
        assert!(client.is_closed());
    }
    let mut kept = Client::new(server.address);
    kept.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(kept.reply().unwrap().status, 200);
    assert!(kept.is_closed());
}

#[test]
fn who_does_not_read_is_cut_off_and_holds_up_nobody() {
    let options = ServeOptions {
        write_timeout: Duration::from_millis(300),
        ..ServeOptions::default()
    };
    let server = Server::start(options, Shape::default());
    // More than sockets hold: the answers to many requests in one connection, none of which is read.
    let body = say(
        "hi",
        json!({"max_tokens": 1, "logprobs": true, "top_logprobs": 20}),
    );
    let one = post_bytes(
        "/v1/chat/completions",
        "X-Request-Id: deaf\r\n",
        body.to_string().as_bytes(),
    );
    let head = format!(
        "GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "a".repeat(8000)
    );
    let mut deaf = Client::new(server.address);
    let timeout = Some(Duration::from_secs(20));
    deaf.stream.get_ref().set_write_timeout(timeout).unwrap();
    deaf.send(&one);
    let flood = head.repeat(4);
    let sent = (0..20_000).take_while(|_| {
        use std::io::Write as _;
        deaf.stream.get_mut().write_all(flood.as_bytes()).is_ok()
    });
    assert!(
        sent.count() < 20_000,
        "the server went on reading what it could not answer"
    );
    assert_eq!(chat(server.address, &body).status, 200);
}

/// The last chunk of a stream of so many tokens that was under way when the server was stopped.
fn last_chunk_after_stop(server: &mut Server, max_tokens: usize) -> Vec<u8> {
    let body = say(
        "Tell me a story",
        json!({"stream": true, "max_tokens": max_tokens, "logit_bias": {"8168": -100, "8166": -100}}),
    );
    let mut client = Client::new(server.address);
    client.send(&post_bytes(
        "/v1/chat/completions",
        "",
        body.to_string().as_bytes(),
    ));
    assert_eq!(client.head().unwrap().status, 200);
    client.chunk().unwrap();
    server.stop();
    let mut last = Vec::new();
    while let Some(chunk) = client.chunk() {
        last = chunk;
    }
    last
}

#[test]
fn a_server_that_stops_lets_answers_end() {
    let mut server = Server::start(ServeOptions::default(), Shape::default());
    let last = last_chunk_after_stop(&mut server, 100);
    assert!(last.ends_with(b"data: [DONE]\n\n"));
    server.wait();
    assert!(std::net::TcpStream::connect(server.address).is_err());
}

#[test]
fn answers_that_do_not_end_in_time_end_with_an_error() {
    let options = ServeOptions {
        drain_timeout: Duration::ZERO,
        ..ServeOptions::default()
    };
    let mut server = Server::start(options, Shape::default());
    let last = last_chunk_after_stop(&mut server, 900);
    let last = String::from_utf8(last).unwrap();
    assert!(last.contains("stopped before the end"), "{last}");
    server.wait();
}

#[test]
fn a_request_that_takes_too_long_is_told() {
    let options = ServeOptions {
        request_timeout: Duration::ZERO,
        ..ServeOptions::default()
    };
    let server = Server::start(options, Shape::default());
    let reply = chat(server.address, &say("hi", json!({})));
    assert_eq!(
        (reply.status, reply.error()["code"].clone()),
        (408, json!("timeout"))
    );
    let streamed = chat(server.address, &say("hi", json!({"stream": true})));
    assert_eq!(streamed.status, 200);
    assert!(String::from_utf8_lossy(&streamed.body).contains("\"timeout\""));
}

#[test]
fn idle_connections_are_no_load() {
    let server = shared();
    let mut idle = Vec::new();
    for _ in 0..400 {
        match std::net::TcpStream::connect(server.address) {
            Ok(stream) => idle.push(stream),
            Err(_) => break,
        }
    }
    let reply = raw_post(server.address, "/tokenize", "", b"{\"prompt\":\"hi\"}");
    assert_eq!(reply.status, 200);
    drop(idle);
}
