//! Anthropic's interface.

use lattice_serve::ServeOptions;
use serde_json::{Value, json};

use crate::chat::{say, tools as chat_tools};
use crate::client::{Reply, chat, post, raw_post, with};
use crate::server::{Server, Shape, shared};

fn ask(more: Value) -> Value {
    let body = json!({
        "model": "lattice-tiny", "max_tokens": 24, "temperature": 0,
        "messages": [{"role": "user", "content": "Tell me about a dog"}],
    });
    with(body, &more)
}

fn send(more: Value) -> Reply {
    post(shared().address, "/v1/messages", &ask(more))
}

fn good(more: Value) -> Value {
    let reply = send(more);
    let json = reply.json();
    assert_eq!(reply.status, 200, "{json}");
    json
}

fn tools() -> Value {
    let tools = chat_tools();
    let flat = |tool: &Value| json!({"name": tool["function"]["name"], "input_schema": tool["function"]["parameters"], "strict": tool["function"]["strict"]});
    tools.as_array().unwrap().iter().map(flat).collect()
}

fn prompt_tokens(message: &Value) -> u64 {
    let count = |name: &str| message["usage"][name].as_u64().unwrap();
    count("input_tokens") + count("cache_read_input_tokens")
}

#[test]
fn a_message_is_what_the_chat_says() {
    let message = good(json!({"max_tokens": 5}));
    assert_eq!(
        (&message["type"], &message["role"]),
        (&json!("message"), &json!("assistant"))
    );
    assert!(message["id"].as_str().unwrap().starts_with("msg_"));
    let said = chat(
        shared().address,
        &say("Tell me about a dog", json!({"max_tokens": 5})),
    )
    .json();
    let choice = &said["choices"][0];
    assert_eq!(
        message["content"],
        json!([{"type": "text", "text": choice["message"]["content"]}])
    );
    assert_eq!(message["stop_reason"], "max_tokens");
    assert_eq!(
        prompt_tokens(&message),
        said["usage"]["prompt_tokens"].as_u64().unwrap()
    );
    let again = good(json!({"max_tokens": 5}));
    assert!(again["usage"]["cache_read_input_tokens"].as_u64().unwrap() > 0);
    // Every way to write the same is the same.
    let block = json!([{"type": "text", "text": "Tell me about a dog", "cache_control": {"type": "ephemeral"}}]);
    let reply = send(json!({"messages": [{"role": "user", "content": block}], "max_tokens": 5}));
    assert_eq!(reply.json()["content"], message["content"]);
    assert!(!reply.headers.contains_key("x-lattice-ignored"));
    assert_eq!(reply.headers["request-id"], reply.headers["x-request-id"]);
}

#[test]
fn a_stop_sequence_is_named() {
    let whole = good(json!({}));
    let whole = whole["content"][0]["text"].as_str().unwrap();
    let stop = &whole[7..12];
    let cut = good(json!({"stop_sequences": ["zzz", stop]}));
    assert_eq!(cut["stop_reason"], "stop_sequence");
    assert_eq!(cut["stop_sequence"], stop);
    assert_eq!(
        cut["content"][0]["text"],
        whole[..whole.find(stop).unwrap()]
    );
}

#[test]
fn a_message_that_was_begun_goes_on() {
    let user = json!({"role": "user", "content": "Tell me about a dog"});
    let whole = good(json!({"messages": [user]}));
    let whole = whole["content"][0]["text"].as_str().unwrap();
    let (begin, rest) = whole.split_at(whole.find(' ').unwrap());
    let begun = json!({"role": "assistant", "content": [{"type": "text", "text": begin}]});
    let on = good(json!({"messages": [user, begun], "max_tokens": 8}));
    let on = on["content"][0]["text"].as_str().unwrap();
    assert!(!on.is_empty() && rest.starts_with(on), "{on:?} {rest:?}");
}

/// The message that events add up to.
fn added_up(events: &[Value]) -> Value {
    let mut message = Value::Null;
    for event in events {
        let index = event["index"].as_u64().unwrap_or(0) as usize;
        match event["type"].as_str().unwrap() {
            "message_start" => message = event["message"].clone(),
            "content_block_start" => {
                let content = message["content"].as_array_mut().unwrap();
                assert_eq!(content.len(), index);
                content.push(event["content_block"].clone());
                content[index]["json"] = json!("");
            }
            "content_block_delta" => {
                let block = &mut message["content"][index];
                let delta = &event["delta"];
                let (field, more) = match delta["type"].as_str().unwrap() {
                    "text_delta" => ("text", &delta["text"]),
                    "thinking_delta" => ("thinking", &delta["thinking"]),
                    "input_json_delta" => ("json", &delta["partial_json"]),
                    other => panic!("{other}"),
                };
                block[field] =
                    json!(block[field].as_str().unwrap().to_owned() + more.as_str().unwrap());
            }
            "content_block_stop" => {
                let block = message["content"][index].as_object_mut().unwrap();
                let text = block.remove("json").unwrap();
                if block["type"] == "tool_use" {
                    block["input"] = serde_json::from_str(text.as_str().unwrap()).unwrap();
                }
            }
            "message_delta" => {
                message["stop_reason"] = event["delta"]["stop_reason"].clone();
                message["stop_sequence"] = event["delta"]["stop_sequence"].clone();
                message["usage"] = event["usage"].clone();
            }
            "ping" | "message_stop" => {}
            other => panic!("{other}"),
        }
    }
    message
}

#[test]
fn events_add_up_to_the_message() {
    let thinking = json!({"type": "enabled", "budget_tokens": 6});
    for more in [
        json!({}),
        json!({"stop_sequences": ["and", " a"]}),
        json!({"thinking": thinking, "max_tokens": 30}),
        json!({"tools": tools(), "tool_choice": {"type": "any"}, "max_tokens": 200}),
        json!({"tools": tools(), "tool_choice": {"type": "tool", "name": "clock"}, "max_tokens": 60}),
    ] {
        let mut alone = good(more.clone());
        let mut body = more.clone();
        body["stream"] = json!(true);
        let events = send(body).named_events();
        let mut streamed = added_up(&events);
        let kinds: Vec<_> = events
            .iter()
            .map(|event| event["type"].as_str().unwrap())
            .collect();
        assert_eq!(&kinds[..2], ["message_start", "ping"]);
        assert_eq!(&kinds[kinds.len() - 2..], ["message_delta", "message_stop"]);
        assert_eq!(prompt_tokens(&events[0]["message"]), prompt_tokens(&alone));
        for message in [&mut alone, &mut streamed] {
            assert_eq!(prompt_tokens(message), prompt_tokens(&events[0]["message"]));
            let written = message["usage"]["output_tokens"].clone();
            message["usage"] = written;
            message["id"] = json!(null);
            for block in message["content"].as_array_mut().unwrap() {
                if block["type"] == "tool_use" {
                    assert!(block["id"].as_str().unwrap().starts_with("toolu_"));
                    block["id"] = json!(null);
                }
            }
        }
        assert_eq!(streamed, alone, "{more}");
    }
}

#[test]
fn thoughts_come_to_those_who_ask() {
    let asked =
        good(json!({"thinking": {"type": "enabled", "budget_tokens": 5}, "max_tokens": 40}));
    let first = &asked["content"][0];
    assert_eq!(first["type"], "thinking");
    assert!(!first["thinking"].as_str().unwrap().is_empty() && first["signature"] == "");
    for thinking in [json!(null), json!({"type": "disabled"})] {
        let reply = good(json!({"thinking": thinking}));
        assert!(
            reply["content"]
                .as_array()
                .unwrap()
                .iter()
                .all(|block| block["type"] == "text")
        );
    }
}

#[test]
fn tools_are_called_and_answered() {
    let question = json!({"role": "user", "content": "Will it rain in Paris?"});
    for (choice, names) in [
        (
            json!({"type": "any", "disable_parallel_tool_use": true}),
            &["forecast", "clock"][..],
        ),
        (json!({"type": "tool", "name": "forecast"}), &["forecast"]),
    ] {
        let called = good(
            json!({"messages": [question], "tools": tools(), "tool_choice": choice, "max_tokens": 300}),
        );
        assert_eq!(called["stop_reason"], "tool_use", "{called}");
        let call = called["content"]
            .as_array()
            .unwrap()
            .last()
            .unwrap()
            .clone();
        assert!(names.contains(&call["name"].as_str().unwrap()) && call["input"].is_object());
        let result = |content: Value| json!({"type": "tool_result", "tool_use_id": call["id"], "content": content, "is_error": true});
        let after = |content: Value| {
            let turns = json!([question, {"role": "assistant", "content": called["content"]},
                {"role": "user", "content": [result(content), {"type": "text", "text": "Well?"}]}]);
            send(json!({"messages": turns, "tools": tools(), "tool_choice": {"type": "none"}}))
        };
        let (text, block) = (
            after(json!("dry")),
            after(json!([{"type": "text", "text": "dry"}])),
        );
        assert_eq!(text.json()["content"], block.json()["content"]);
        assert_eq!(
            text.headers["x-lattice-ignored"],
            "messages.content.is_error"
        );
        // Its own tools are not run by a server like this one.
    }
    let search = json!([{"type": "web_search_20250305", "name": "web_search"}]);
    assert_eq!(
        send(json!({"tools": search})).headers["x-lattice-ignored"],
        "tools.web_search_20250305"
    );
    let forced =
        send(json!({"tools": search, "tool_choice": {"type": "tool", "name": "web_search"}}));
    assert_eq!(forced.status, 400);
}

#[test]
fn formats_hold() {
    let schema = json!({"type": "object", "properties": {"legs": {"type": "integer", "minimum": 0, "maximum": 8}},
        "required": ["legs"], "additionalProperties": false});
    let format = json!({"type": "json_schema", "schema": schema});
    let reply = good(json!({"output_config": {"format": format}, "max_tokens": 60}));
    let text = reply["content"][0]["text"].as_str().unwrap();
    assert!(serde_json::from_str::<Value>(text).unwrap()["legs"].is_u64());
    assert_eq!(reply["stop_reason"], "end_turn");
}

#[test]
fn what_clients_write_about_themselves_is_not_read() {
    let count = |system: Value| {
        let reply = post(
            shared().address,
            "/v1/messages/count_tokens",
            &ask(json!({"system": system})),
        );
        assert_eq!(reply.status, 200);
        (
            reply.json()["input_tokens"].as_u64().unwrap(),
            reply.headers.get("x-lattice-ignored").cloned(),
        )
    };
    let text = |text: &str| json!({"type": "text", "text": text});
    let (plain, ignored) = count(json!("You are brief."));
    assert_eq!(ignored, None);
    let note = "x-anthropic-billing-header: cc_version=1; cch=12345;";
    let (noted, ignored) = count(json!([text(note), text("You are brief.")]));
    assert_eq!(
        (noted, ignored.as_deref()),
        (plain, Some("system.x-anthropic-billing-header"))
    );
    assert_eq!(count(json!(format!("{note}\nYou are brief."))).0, plain);
    assert!(count(json!(null)).0 < plain);
}

#[test]
fn tokens_are_counted_before() {
    for more in [
        json!({}),
        json!({"system": "You are brief.", "tools": tools()}),
        json!({"thinking": {"type": "enabled", "budget_tokens": 5}}),
    ] {
        let counted = post(
            shared().address,
            "/v1/messages/count_tokens",
            &ask(more.clone()),
        )
        .json();
        assert_eq!(
            counted["input_tokens"].as_u64().unwrap(),
            prompt_tokens(&good(more))
        );
    }
}

#[test]
fn what_is_wrong_is_named() {
    let user = |content: Value| json!([{"role": "user", "content": content}]);
    let image = json!([{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": ""}}]);
    let call = json!([{"type": "tool_use", "id": "1", "name": "clock", "input": {}}]);
    for (more, name) in [
        (json!({"temperature": 1.5}), "temperature"),
        (json!({"max_tokens": 0}), "max_tokens"),
        (json!({"top_p": 7}), "top_p"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": null}), "messages"),
        (json!({"messages": user(json!(1))}), "messages[0].content"),
        (
            json!({"messages": user(image)}),
            "messages[0].content[0].type",
        ),
        (
            json!({"messages": user(call.clone())}),
            "messages[0].content[0].type",
        ),
        (
            json!({"messages": [{"role": "tool", "content": "x"}]}),
            "messages[0].role",
        ),
        (
            json!({"messages": [{"role": "assistant", "content": call}]}),
            "messages",
        ),
        (
            json!({"messages": user(json!([{"type": "tool_result"}]))}),
            "messages[0].content[0].tool_use_id",
        ),
        (json!({"system": 1}), "system"),
        (json!({"system": [{"type": "image"}]}), "system[0].type"),
        (
            json!({"tools": [{"name": "a b", "input_schema": {}}]}),
            "tools[0].name",
        ),
        (
            json!({"tools": [{"name": "a", "input_schema": 1}]}),
            "tools[0].input_schema",
        ),
        (json!({"tool_choice": {"type": "any"}}), "tool_choice"),
        (json!({"tool_choice": {"type": "some"}}), "tool_choice.type"),
        (json!({"thinking": {"type": "deep"}}), "thinking.type"),
        (
            json!({"output_config": {"format": {"type": "json_schema", "schema": 1}}}),
            "output_config.format",
        ),
        (json!({"stop_sequences": [1]}), "stop_sequences"),
        (json!({"stream": "yes"}), "stream"),
    ] {
        let reply = send(more.clone());
        let json = reply.json();
        assert_eq!(reply.status, 400, "{more} {json}");
        assert_eq!(
            (&json["type"], &json["error"]["type"]),
            (&json!("error"), &json!("invalid_request_error"))
        );
        let message = json["error"]["message"].as_str().unwrap();
        assert!(
            message.starts_with(&format!("{name}: ")),
            "{name}: {message}"
        );
        assert_eq!(json["request_id"], reply.headers["request-id"]);
    }
    let ignored = send(json!({"metadata": {"user_id": "me"}, "mcp_servers": [1]}));
    assert_eq!(
        ignored.headers["x-lattice-ignored"],
        "mcp_servers, metadata"
    );
    let long = "a ".repeat(3000);
    assert_eq!(send(json!({"messages": user(json!(long))})).status, 400);
    let unknown = send(json!({"model": "none/such"}));
    assert_eq!(
        (unknown.status, &unknown.json()["error"]["type"]),
        (404, &json!("not_found_error"))
    );
}

#[test]
fn a_key_may_come_as_anthropic_clients_send_it() {
    let options = ServeOptions {
        api_keys: vec!["secret".to_owned()],
        ..ServeOptions::default()
    };
    let server = Server::start(options, Shape::default());
    let body = ask(json!({"max_tokens": 1})).to_string();
    let shown = |key: &str| {
        let headers = format!("Content-Type: application/json\r\nx-api-key: {key}\r\n");
        raw_post(
            server.address,
            "/v1/messages?beta=true",
            &headers,
            body.as_bytes(),
        )
    };
    assert_eq!(shown("secret").status, 200);
    let wrong = shown("wrong");
    assert_eq!(
        (wrong.status, &wrong.json()["error"]["type"]),
        (401, &json!("authentication_error"))
    );
}
