//! The server's description of itself, held against what it does.

use serde_json::{Value, json};

use crate::client::{Client, ask, post, raw_post};
use crate::server::{Server, shared};

fn document() -> Value {
    let reply = ask(shared().address, "GET", "/openapi.json", "");
    assert_eq!(
        (reply.status, reply.headers["content-type"].as_str()),
        (200, "application/json")
    );
    reply.json()
}

/// Each operation: its path with a name in it, its method, itself.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let mut all = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let path = path.replace("{id}", "lattice-tiny");
            all.push((path, method.to_uppercase(), operation.clone()));
        }
    }
    assert!(all.len() > 20);
    all
}

#[test]
fn every_operation_answers_as_it_says() {
    let address = shared().address;
    for (path, method, operation) in operations(&document()) {
        let body = &operation["requestBody"]["content"]["application/json"]["example"];
        let reply = match body {
            Value::Null => ask(address, &method, &path, ""),
            body => post(address, &path, body),
        };
        let declared = &operation["responses"][reply.status.to_string()];
        assert!(declared.is_object(), "{method} {path}: {}", reply.status);
        let kind = reply.headers["content-type"].split(';').next().unwrap();
        assert!(
            declared["content"].get(kind).is_some(),
            "{method} {path}: {kind}"
        );
        let missing = [
            "/v1/embeddings",
            "/v1/rerank",
            "/v1/responses/lattice-tiny",
            "/v1/models/load",
            "/v1/models/unload",
            "/v1/shutdown",
        ];
        let expected = !missing.iter().any(|begin| path.starts_with(begin));
        assert_eq!(
            reply.status == 200,
            expected,
            "{method} {path}: {}",
            reply.status
        );
    }
}

#[test]
fn every_documented_field_is_read() {
    let address = shared().address;
    let mut fields = 0;
    for (path, _, operation) in operations(&document()) {
        let body = &operation["requestBody"]["content"]["application/json"];
        for (name, schema) in body["schema"]["properties"]
            .as_object()
            .into_iter()
            .flatten()
        {
            let whole = schema["type"] == "object" || schema["type"][0] == "object";
            let anything = schema["type"].is_null() && schema["anyOf"].is_null();
            if anything || path.contains("count_tokens") {
                continue;
            }
            let mut wrong = body["example"].clone();
            // What no field may be: an object where a value is wanted, a number where an object is.
            wrong[name] = if whole { json!(7.5) } else { json!({"a": {}}) };
            // A conversation is only looked at where there is no text.
            if path == "/tokenize" && name != "content" && name != "prompt" {
                wrong["prompt"] = Value::Null;
                let user = json!([{"role": "user", "content": "hi"}]);
                wrong["messages"] = if name == "messages" { json!({}) } else { user };
            }
            let reply = post(address, &path, &wrong);
            let text = String::from_utf8_lossy(&reply.body).into_owned();
            assert_eq!(reply.status, 400, "{path}: {name}: {text}");
            // Some have another name here than in the chat: reasoning.effort.
            let last = name.rsplit('_').next().unwrap();
            let named = text.contains(name.as_str()) || text.contains(&format!(".{last}"));
            assert!(named, "{path}: {name}: {text}");
            fields += 1;
        }
    }
    assert!(fields > 100, "{fields}");
}

#[test]
fn the_page_needs_no_key_and_nothing_else() {
    let options = lattice_serve::ServeOptions {
        api_keys: vec!["secret".to_owned()],
        ..lattice_serve::ServeOptions::default()
    };
    let server = Server::start(options, crate::server::Shape::default());
    for (path, kind) in [
        ("/docs", "text/html; charset=utf-8"),
        ("/openapi.json", "application/json"),
    ] {
        let reply = ask(server.address, "GET", path, "");
        assert_eq!(
            (reply.status, reply.headers["content-type"].as_str()),
            (200, kind)
        );
    }
    let page = ask(server.address, "GET", "/docs", "");
    let policy = &page.headers["content-security-policy"];
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    let page = String::from_utf8(page.body).unwrap();
    assert!(page.contains("/v1/chat/completions") && !page.contains("<script"));
    assert_eq!(ask(server.address, "GET", "/v1/models", "").status, 401);
    // What cannot be said of an operation.
    let reply = raw_post(server.address, "/docs", "", b"{}");
    assert_eq!(
        (reply.status, reply.headers["allow"].as_str()),
        (405, "GET,HEAD")
    );
    let mut client = Client::new(server.address);
    client.send(b"GET /docs HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    assert_eq!(client.reply().unwrap().status, 403);
}
