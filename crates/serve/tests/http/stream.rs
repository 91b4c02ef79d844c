//! Answers piece by piece.

use std::collections::BTreeMap;

use lattice_serve::ServeOptions;
use serde_json::{Value, json};

use crate::chat::{say, tools};
use crate::client::{Client, chat, post_bytes};
use crate::server::{Server, Shape, shared};

/// The choices that chunks add up to, in the form of a whole answer.
pub(crate) fn added_up(events: &[Value]) -> Value {
    let mut choices = BTreeMap::<u64, Value>::new();
    for event in events {
        for part in event["choices"].as_array().unwrap() {
            let index = part["index"].as_u64().unwrap();
            let choice = choices.entry(index).or_insert_with(|| {
                assert_eq!(part["delta"], json!({"role": "assistant", "content": ""}));
                json!({"content": "", "reasoning": "", "calls": [], "logprobs": []})
            });
            assert!(
                choice.get("finish_reason").is_none(),
                "nothing follows the end"
            );
            add(choice, part);
        }
    }
    choices.into_values().collect()
}

fn push(text: &mut Value, more: &Value) {
    if let Some(more) = more.as_str() {
        *text = json!(text.as_str().unwrap().to_owned() + more);
    }
}

fn add(choice: &mut Value, part: &Value) {
    let delta = &part["delta"];
    push(&mut choice["content"], &delta["content"]);
    push(&mut choice["reasoning"], &delta["reasoning_content"]);
    for call in delta["tool_calls"].as_array().into_iter().flatten() {
        let calls = choice["calls"].as_array_mut().unwrap();
        let index = call["index"].as_u64().unwrap() as usize;
        if index == calls.len() {
            assert!(call["id"].is_string() && call["type"] == "function");
            calls.push(json!({"name": call["function"]["name"], "arguments": ""}));
        }
        push(
            &mut calls[index]["arguments"],
            &call["function"]["arguments"],
        );
    }
    if let Some(content) = part["logprobs"]["content"].as_array() {
        choice["logprobs"]
            .as_array_mut()
            .unwrap()
            .extend(content.clone());
    }
    if part["finish_reason"].is_string() {
        choice["finish_reason"] = part["finish_reason"].clone();
    }
}

/// The choices of a whole answer in the same form.
pub(crate) fn whole(reply: &Value) -> Value {
    let choice = |choice: &Value| {
        let message = &choice["message"];
        let text = |value: &Value| json!(value.as_str().unwrap_or_default());
        let call = |call: &Value| json!({"name": call["function"]["name"], "arguments": call["function"]["arguments"]});
        let calls: Vec<_> = message["tool_calls"]
            .as_array()
            .into_iter()
            .flatten()
            .map(call)
            .collect();
        let logprobs = choice["logprobs"]["content"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        json!({
            "content": text(&message["content"]), "reasoning": text(&message["reasoning_content"]), "calls": calls,
            "logprobs": logprobs, "finish_reason": choice["finish_reason"],
        })
    };
    reply["choices"]
        .as_array()
        .unwrap()
        .iter()
        .map(choice)
        .collect()
}

#[test]
fn pieces_add_up_to_the_whole() {
    let address = shared().address;
    let format = json!({"type": "json_object"});
    let thinks = json!({"enable_thinking": true, "thinking_budget": 6, "max_tokens": 30});
    for more in [
        json!({}),
        json!({"n": 3, "temperature": 1, "seed": 4}),
        json!({"stop": [" the", "and"], "logprobs": true}),
        json!({"response_format": format, "max_tokens": 60}),
        json!({"tools": tools(), "tool_choice": "required", "max_tokens": 200}),
        json!({"tools": tools(), "tool_choice": "required", "n": 2, "logprobs": true, "top_logprobs": 2, "max_tokens": 60}),
        thinks,
    ] {
        let mut body = say("Tell me about a dog", more.clone());
        let alone = chat(address, &body);
        body["stream"] = json!(true);
        let streamed = chat(address, &body);
        assert_eq!(streamed.status, 200);
        assert!(streamed.headers["content-type"].starts_with("text/event-stream"));
        assert_eq!(added_up(&streamed.events()), whole(&alone.json()), "{more}");
    }
}

#[test]
fn usage_comes_last_and_only_if_asked_for() {
    let address = shared().address;
    let mut body = say(
        "Tell me about a dog",
        json!({"stream": true, "max_tokens": 3}),
    );
    let events = chat(address, &body).events();
    assert!(events.iter().all(|event| event.get("usage").is_none()));
    body["stream_options"] = json!({"include_usage": true});
    let mut events = chat(address, &body).events();
    let last = events.pop().unwrap();
    assert_eq!(
        (&last["choices"], &last["usage"]["completion_tokens"]),
        (&json!([]), &json!(3))
    );
    assert!(events.iter().all(|event| event["usage"] == Value::Null));
    let ids: Vec<_> = events.iter().map(|event| &event["id"]).collect();
    assert!(ids.iter().all(|id| **id == last["id"]));
    body["stream"] = json!(false);
    assert_eq!(chat(address, &body).error()["param"], "stream_options");
}

#[test]
fn what_is_refused_is_no_stream() {
    let reply = chat(
        shared().address,
        &say("hi", json!({"stream": true, "temperature": -1})),
    );
    assert_eq!(
        (reply.status, reply.error()["param"].clone()),
        (400, json!("temperature"))
    );
}

#[test]
fn who_leaves_is_told_of_at_once() {
    let server = Server::start(ServeOptions::default(), Shape::default());
    // Before the first token, in the middle, and after the last.
    for (number, stream, chunks) in [(1, false, 0), (2, true, 3), (3, true, usize::MAX)] {
        let more = json!({"stream": stream, "max_tokens": 600, "logit_bias": {"8168": -100, "8166": -100}});
        let body = say("Tell me a long story", more).to_string();
        let id = format!("leaving-{number}");
        let headers = format!("X-Request-Id: {id}\r\n");
        let mut client = Client::new(server.address);
        client.send(&post_bytes(
            "/v1/chat/completions",
            &headers,
            body.as_bytes(),
        ));
        server.wait_for("lattice_running{model=\"lattice-tiny\"} 1\n");
        if chunks > 0 {
            assert_eq!(client.head().unwrap().status, 200);
        }
        for _ in 0..chunks.min(3) {
            client.chunk().unwrap();
        }
        if chunks == usize::MAX {
            while client.chunk().is_some() {}
        }
        drop(client);
        let report = server.report(|report| report.id == id);
        assert_eq!(report.left, chunks < usize::MAX, "{report:?}");
        assert!(report.generated_tokens == 0 || chunks == usize::MAX);
        server.wait_for("lattice_running{model=\"lattice-tiny\"} 0\n");
    }
    server.wait_for("lattice_clients_left_total 2\n");
}
