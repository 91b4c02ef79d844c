//! Anthropic's interface.

use serde_json::{Value, json};

use crate::chat::tools;
use crate::client::{Reply, post};
use crate::server::shared;

fn ask(more: Value) -> Value {
    let mut body = json!({"model": "tiny", "max_tokens": 20, "temperature": 0, "messages": [{"role": "user", "content": "Tell me about a dog"}]});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn send(body: &Value) -> Reply {
    post(shared().address, "/v1/messages", body)
}

/// Tools as Anthropic writes them.
fn their_tools() -> Value {
    let tool = |tool: &Value| json!({"name": tool["function"]["name"], "input_schema": tool["function"]["parameters"], "strict": tool["function"]["strict"]});
    tools().as_array().unwrap().iter().map(tool).collect()
}

/// The message that events add up to.
fn added_up(reply: &Reply) -> Value {
    let text = std::str::from_utf8(&reply.body).unwrap();
    let mut message = Value::Null;
    let mut ended = false;
    for block in text
        .split("\n\n")
        .filter(|block| !block.is_empty() && !block.starts_with(':'))
    {
        let (name, data) = block.split_once('\n').unwrap();
        let event: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: ").unwrap(), event["type"]);
        assert!(!ended);
        let index = event["index"].as_u64().unwrap_or_default() as usize;
        match event["type"].as_str().unwrap() {
            "message_start" => message = event["message"].clone(),
            "content_block_start" => {
                let content = message["content"].as_array_mut().unwrap();
                assert_eq!(content.len(), index);
                let mut block = event["content_block"].clone();
                if block["type"] == "tool_use" {
                    block["input"] = json!("");
                }
                content.push(block);
            }
            "content_block_delta" => {
                for (part, field) in [
                    ("text", "text"),
                    ("thinking", "thinking"),
                    ("partial_json", "input"),
                ] {
                    if let Some(more) = event["delta"][part].as_str() {
                        let so_far = &mut message["content"][index][field];
                        *so_far = json!(so_far.as_str().unwrap().to_owned() + more);
                    }
                }
            }
            "content_block_stop" => {
                let block = &mut message["content"][index];
                if block["type"] == "tool_use" {
                    block["input"] =
                        serde_json::from_str(block["input"].as_str().unwrap()).unwrap();
                }
            }
            "message_delta" => {
                message["stop_reason"] = event["delta"]["stop_reason"].clone();
                message["stop_sequence"] = event["delta"]["stop_sequence"].clone();
                message["usage"] = event["usage"].clone();
            }
            "message_stop" => ended = true,
            other => panic!("{other}"),
        }
    }
    assert!(ended);
    message
}

/// Without what differs from answer to answer.
fn lasting(mut message: Value) -> Value {
    message["id"] = Value::Null;
    let usage = message["usage"].take();
    message["usage"] = usage["output_tokens"].clone();
    for block in message["content"].as_array_mut().unwrap() {
        if block["type"] == "tool_use" {
            block["id"] = Value::Null;
        }
    }
    message
}

#[test]
fn messages_are_answered_whole_and_in_pieces() {
    let named = json!({"type": "tool", "name": "forecast", "disable_parallel_tool_use": true});
    for (more, reason, kind) in [
        (json!({}), None, "text"),
        (
            json!({"stop_sequences": ["zzz", "o"]}),
            Some("stop_sequence"),
            "text",
        ),
        (json!({"max_tokens": 3}), Some("max_tokens"), "text"),
        (
            json!({"tools": their_tools(), "tool_choice": named, "max_tokens": 300}),
            Some("tool_use"),
            "tool_use",
        ),
        (
            json!({"thinking": {"type": "enabled", "budget_tokens": 5}, "max_tokens": 30}),
            None,
            "thinking",
        ),
        (
            json!({"system": [{"type": "text", "text": "Be kind."}], "output_format": {"type": "json_schema", "schema": {"enum": [1, 2]}}}),
            Some("end_turn"),
            "text",
        ),
    ] {
        let mut body = ask(more.clone());
        let whole = send(&body);
        assert_eq!(whole.status, 200, "{more}: {}", whole.json());
        let whole = whole.json();
        if let Some(reason) = reason {
            assert_eq!(whole["stop_reason"], reason, "{more}");
        }
        assert_eq!(whole["content"][0]["type"], kind, "{whole}");
        body["stream"] = json!(true);
        let streamed = send(&body);
        let mut added = lasting(added_up(&streamed));
        let mut whole = lasting(whole);
        for message in [&mut added, &mut whole] {
            // Lines at the end of a thought are held back in one form alone.
            let thought = &mut message["content"][0]["thinking"];
            if let Some(text) = thought.as_str() {
                *thought = json!(text.trim_end());
            }
        }
        assert_eq!(added, whole, "{more}");
    }
}

#[test]
fn a_talk_with_tools_goes_on() {
    let messages = json!([
        {"role": "user", "content": [{"type": "text", "text": "Rain?", "cache_control": {"type": "ephemeral"}}]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "x"}, {"type": "text", "text": "I look."},
            {"type": "tool_use", "id": "t1", "name": "forecast", "input": {"city": "Oslo", "days": 1}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "Sun."}]}]},
    ]);
    let reply = send(&ask(json!({"messages": messages, "tools": their_tools()})));
    assert_eq!(reply.status, 200, "{}", reply.json());
    let counted = post(
        shared().address,
        "/v1/messages/count_tokens",
        &json!({"messages": messages, "tools": their_tools()}),
    );
    let usage = reply.json()["usage"].clone();
    let sum = usage["input_tokens"].as_u64().unwrap()
        + usage["cache_read_input_tokens"].as_u64().unwrap();
    assert_eq!(counted.json()["input_tokens"], sum);
    let open =
        json!([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Once upon"}]);
    assert_eq!(send(&ask(json!({"messages": open}))).status, 200);
}

#[test]
fn what_is_wrong_is_said_as_they_say_it() {
    let image = json!([{"role": "user", "content": [{"type": "image", "source": {}}]}]);
    for more in [
        json!({"max_tokens": null}),
        json!({"temperature": 1.5}),
        json!({"messages": []}),
        json!({"messages": image}),
        json!({"messages": [{"role": "tool", "content": "x"}]}),
        json!({"tools": [{"type": "web_search_20250305", "name": "w"}]}),
        json!({"tool_choice": {"type": "any"}}),
        json!({"thinking": {"type": "odd"}}),
        json!({"system": 1}),
    ] {
        let reply = send(&ask(more.clone()));
        assert_eq!(reply.status, 400, "{more}");
        let json = reply.json();
        assert_eq!(
            (&json["type"], &json["error"]["type"]),
            (&json!("error"), &json!("invalid_request_error"))
        );
        assert!(json["error"]["message"].is_string() && json["request_id"].is_string());
    }
    let unknown = send(&ask(json!({"model": "claude-9"}))).json();
    assert_eq!(unknown["error"]["type"], "not_found_error");
}
