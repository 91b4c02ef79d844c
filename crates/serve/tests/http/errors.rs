//! What is wrong is said in one form, and harms nobody else.

use std::time::Duration;

use lattice_serve::ServeOptions;
use serde_json::json;

use crate::client::{Client, ask, chat, post_bytes, raw_post};
use crate::server::{Server, Shape, shared};

const CHAT: &str = "/v1/chat/completions";
const JSON: &str = "Content-Type: application/json\r\n";

#[test]
fn what_is_no_json_object_is_400() {
    let address = shared().address;
    let deep = format!(
        "{{\"messages\":{}{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    for body in [
        "",
        "{",
        "[]",
        "1",
        "null",
        "{\"a\":1,}",
        "{\"a\":NaN}",
        "{\"a\":1}{}",
        &deep,
        "{\"messages\":[{\"role\":\"user\",\"content\":\"\\ud800\"}]}",
    ] {
        let reply = raw_post(address, CHAT, JSON, body.as_bytes());
        assert_eq!(reply.status, 400, "{body}");
        assert_eq!(reply.error()["type"], "invalid_request_error");
    }
    let reply = raw_post(address, CHAT, JSON, b"{\"messages\":\"\xff\"}");
    assert_eq!(reply.status, 400);
    let reply = raw_post(address, CHAT, JSON, b"{\"n\":1,\"n\":2}");
    assert_eq!(
        (reply.status, reply.error()["param"].clone()),
        (400, json!("n"))
    );
    let reply = raw_post(address, CHAT, "Content-Type: text/plain\r\n", b"{}");
    assert_eq!(reply.status, 415);
    reply.error();
}

#[test]
fn paths_and_methods_that_are_not_there_are_told() {
    let address = shared().address;
    for path in [
        "/",
        "/nothing",
        "//",
        "/v1/chat/completions/",
        "/%00",
        "/v1//models",
        "/v1",
    ] {
        let reply = ask(address, "GET", path, "");
        assert_eq!(reply.status, 404, "{path}");
        reply.error();
    }
    let reply = ask(address, "GET", CHAT, "");
    assert_eq!(reply.status, 405);
    reply.error();
    assert_eq!(reply.headers["allow"], "POST");
    for method in ["DELETE", "PUT", "OPTIONS"] {
        let reply = ask(address, method, "/v1/models", "");
        assert_eq!(reply.status, 405, "{method}");
        assert!(reply.headers["allow"].contains("GET"));
    }
    assert_eq!(ask(address, "HEAD", "/v1/models", "").status, 200);
    assert_eq!(ask(address, "HEAD", CHAT, "").status, 405);
}

#[test]
fn bodies_have_an_end() {
    let options = ServeOptions {
        body_bytes_max: 1000,
        body_timeout: Duration::from_millis(300),
        ..ServeOptions::default()
    };
    let server = Server::start(options, Shape::default());
    let of = |bytes: usize| format!("{{\"x\":\"{}\"}}", "a".repeat(bytes - 8));
    let fits = raw_post(server.address, CHAT, JSON, of(1000).as_bytes());
    assert_eq!(fits.status, 400);
    let over = raw_post(server.address, CHAT, JSON, of(1001).as_bytes());
    assert_eq!(over.status, 413);
    over.error();
    // Chunks without an end.
    let mut client = Client::new(server.address);
    client.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..11 {
        client.send(b"64\r\n");
        client.send(&[b' '; 100]);
        client.send(b"\r\n");
    }
    assert_eq!(client.reply().unwrap().status, 413);
    assert!(client.is_closed());
    // A body that is shorter than it says.
    let mut client = Client::new(server.address);
    client.send(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{}",
    );
    assert_eq!(client.reply().unwrap().status, 408);
    assert!(client.is_closed());
    // Two lengths for one body are none.
    let mut client = Client::new(server.address);
    client.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}");
    assert!(client.reply().is_none_or(|reply| reply.status == 400));
    assert!(client.is_closed());
    // Nothing hides behind a body with two kinds of length.
    let mut client = Client::new(server.address);
    client.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let first = client.reply();
    assert!(first.is_none_or(|reply| reply.status == 400));
    assert!(client.is_closed());
}

#[test]
fn heads_have_an_end() {
    let address = shared().address;
    let long = format!("X: {}\r\n", "a".repeat(200_000));
    assert_eq!(ask(address, "GET", "/livez", &long).status, 431);
    let many: String = (0..10_000).map(|i| format!("X-{i}: 1\r\n")).collect();
    assert_eq!(ask(address, "GET", "/livez", &many).status, 431);
    for head in [
        "GET\r\n\r\n",
        "G\u{1} / HTTP/1.1\r\n\r\n",
        "GET /livez\r\n\r\n",
        "\u{16}\u{3}\u{1}",
    ] {
        let mut client = Client::new(address);
        client.send(head.as_bytes());
        client
            .stream
            .get_mut()
            .shutdown(std::net::Shutdown::Write)
            .unwrap();
        assert!(
            client.reply().is_none_or(|reply| reply.status == 400),
            "{head:?}"
        );
    }
    // An upgrade is not taken up, and nothing of the connection is lost.
    let upgrade = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    assert_eq!(ask(address, "GET", "/livez", upgrade).status, 200);
    let mut client = Client::new(address);
    client.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.reply().unwrap().status, 200);
    assert_eq!(client.reply().unwrap().status, 404);
    client.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert_eq!(client.head().unwrap().status, 100);
    client.send(b"{}");
    assert_eq!(client.reply().unwrap().status, 400);
}

#[test]
fn every_answer_has_an_id() {
    let address = shared().address;
    let own = ask(address, "GET", "/livez", "X-Request-Id: mine-1\r\n");
    assert_eq!(own.headers["x-request-id"], "mine-1");
    let first = ask(address, "GET", "/livez", "");
    let second = ask(address, "GET", "/livez", "X-Request-Id: not\tmine\r\n");
    assert_ne!(
        first.headers["x-request-id"],
        second.headers["x-request-id"]
    );
    assert!(second.headers["x-request-id"].starts_with("req_"));
}

#[test]
fn a_model_that_is_not_here_is_404() {
    let address = shared().address;
    let messages = json!([{"role": "user", "content": "hi"}]);
    let reply = chat(address, &json!({"model": "gpt-9", "messages": messages}));
    assert_eq!(
        (reply.status, reply.error()["code"].clone()),
        (404, json!("model_not_found"))
    );
    assert_eq!(ask(address, "GET", "/v1/models/none/such", "").status, 404);
    let model = ask(address, "GET", "/v1/models/tiny", "").json();
    assert_eq!(
        (&model["id"], &model["state"]),
        (&json!("lattice-tiny"), &json!("loaded"))
    );
    let listed = ask(address, "GET", "/v1/models", "").json();
    assert_eq!(listed["data"][0]["id"], model["id"]);
}

#[test]
fn a_full_queue_says_when_to_come_back() {
    let shape = Shape {
        places: 1,
        queue: 1,
        ..Shape::default()
    };
    let server = Server::start(ServeOptions::default(), shape);
    let body = json!({
        "messages": [{"role": "user", "content": "Tell me a story"}], "stream": true,
        "max_tokens": 1_000_000_000u64, "logit_bias": {"8168": -100, "8166": -100},
    });
    let bytes = post_bytes(CHAT, JSON, body.to_string().as_bytes());
    let mut first = Client::new(server.address);
    first.send(&bytes);
    assert_eq!(first.head().unwrap().status, 200);
    first.chunk().unwrap();
    let mut second = Client::new(server.address);
    second.send(&bytes);
    assert_eq!(second.head().unwrap().status, 200);
    let third = chat(server.address, &body);
    assert_eq!(
        (third.status, third.error()["code"].clone()),
        (429, json!("queue_full"))
    );
    assert!(third.headers["retry-after"].parse::<u64>().unwrap() > 0);
    // Who leaves makes room: for the one that waits, and for one that comes.
    drop(first);
    second.chunk().unwrap();
    drop(second);
    let short = json!({"messages": body["messages"], "max_tokens": 1});
    while chat(server.address, &short).status == 429 {}
    assert!(server.report(|report| report.left).status == 200);
}

#[test]
fn a_panic_is_500_for_one() {
    struct Panics;
    impl lattice_inference::sample::Guide for Panics {
        fn accept(&mut self, _id: u32) {
            panic!("secret inside");
        }
    }
    let options = ServeOptions {
        hook: Some(std::sync::Arc::new(|request| {
            if request.sampler.seed == Some(13) {
                request.guides.push(Box::new(Panics));
            }
        })),
        ..ServeOptions::default()
    };
    let server = Server::start(options, Shape::default());
    let ask = |seed: u64| {
        let messages = json!([{"role": "user", "content": "hi"}]);
        chat(
            server.address,
            &json!({"messages": messages, "seed": seed, "max_tokens": 4}),
        )
    };
    let reply = ask(13);
    assert_eq!(reply.status, 500);
    let message = reply.error()["message"].as_str().unwrap().to_owned();
    assert!(message.contains(&reply.headers["x-request-id"]) && !message.contains("secret"));
    assert_eq!(ask(12).status, 200);
}
