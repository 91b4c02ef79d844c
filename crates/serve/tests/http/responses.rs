//! OpenAI's newer interface.

use serde_json::{Value, json};

use crate::client::{Reply, post};
use crate::server::shared;

fn ask(more: Value) -> Value {
    let mut body = json!({"model": "tiny", "input": "Tell me about a dog", "temperature": 0, "max_output_tokens": 12});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn send(body: &Value) -> Reply {
    post(shared().address, "/v1/responses", body)
}

fn good(body: &Value) -> Value {
    let reply = send(body);
    assert_eq!(reply.status, 200, "{}", reply.json());
    reply.json()
}

fn tools() -> Value {
    json!([{"type": "function", "name": "forecast", "parameters": {"type": "object", "properties": {"days": {"type": "integer"}}}}])
}

/// Checks the order of the events and gives the last response.
fn streamed(reply: &Reply) -> Value {
    let text = std::str::from_utf8(&reply.body).unwrap();
    let blocks = text
        .split("\n\n")
        .filter(|block| block.starts_with("event: "));
    let (mut items, mut last) = (Vec::<Value>::new(), Value::Null);
    for (number, block) in blocks.enumerate() {
        let (name, data) = block.split_once('\n').unwrap();
        let event: Value = serde_json::from_str(&data["data: ".len()..]).unwrap();
        assert_eq!(
            (&name["event: ".len()..], number),
            (
                event["type"].as_str().unwrap(),
                event["sequence_number"].as_u64().unwrap() as usize
            )
        );
        let index = event["output_index"].as_u64().unwrap_or_default() as usize;
        match event["type"].as_str().unwrap() {
            "response.output_item.added" => {
                assert_eq!(items.len(), index);
                items.push(event["item"].clone());
            }
            "response.content_part.added" => items[index]["content"] = json!([event["part"]]),
            "response.output_text.delta" | "response.reasoning_text.delta" => {
                let text = &mut items[index]["content"][0]["text"];
                *text = json!(text.as_str().unwrap().to_owned() + event["delta"].as_str().unwrap());
            }
            "response.function_call_arguments.delta" => {
                let text = &mut items[index]["arguments"];
                *text = json!(text.as_str().unwrap().to_owned() + event["delta"].as_str().unwrap());
            }
            "response.output_item.done" => {
                items[index]["status"] = event["item"]["status"].clone();
                assert_eq!(items[index], event["item"]);
            }
            _ => {}
        }
        last = event;
    }
    assert_eq!(last["response"]["output"], Value::Array(items));
    assert!(
        last["type"]
            .as_str()
            .unwrap()
            .ends_with(last["response"]["status"].as_str().unwrap())
    );
    last["response"].clone()
}

/// The items without their names.
fn said(response: &Value) -> Value {
    let mut items = response["output"].clone();
    for item in items.as_array_mut().unwrap() {
        item["id"] = Value::Null;
        item["call_id"] = Value::Null;
    }
    items
}

#[test]
fn responses_come_whole_and_in_events() {
    let named = json!({"type": "function", "name": "forecast"});
    let schema =
        json!({"format": {"type": "json_schema", "name": "n", "schema": {"enum": [1, 2]}}});
    for (more, status, kind) in [
        (json!({"max_output_tokens": 3}), "incomplete", "message"),
        (json!({"text": schema}), "completed", "message"),
        (
            json!({"tools": tools(), "tool_choice": named, "parallel_tool_calls": false, "max_output_tokens": 200}),
            "completed",
            "function_call",
        ),
        (
            json!({"reasoning": {"effort": "low"}, "max_output_tokens": 4}),
            "incomplete",
            "reasoning",
        ),
    ] {
        let mut body = ask(more.clone());
        let whole = good(&body);
        assert_eq!(
            (&whole["status"], &whole["output"][0]["type"]),
            (&json!(status), &json!(kind)),
            "{whole}"
        );
        body["stream"] = json!(true);
        assert_eq!(said(&streamed(&send(&body))), said(&whole), "{more}");
    }
}

#[test]
fn a_response_goes_on_from_an_earlier_one() {
    let first = good(&ask(json!({"instructions": "Be kind."})));
    let text = first["output"][0]["content"][0]["text"].clone();
    assert_eq!(first["instructions"], "Be kind.");
    let next = good(&ask(
        json!({"previous_response_id": first["id"], "input": "And then?"}),
    ));
    let by_hand = json!([
        {"role": "user", "content": "Tell me about a dog"}, {"role": "assistant", "content": [{"type": "output_text", "text": text}]},
        {"role": "user", "content": [{"type": "input_text", "text": "And then?"}]},
    ]);
    let same = good(&ask(json!({"input": by_hand, "store": false})));
    assert_eq!(said(&next), said(&same));
    assert_eq!(next["usage"]["input_tokens"], same["usage"]["input_tokens"]);
    for id in [same["id"].clone(), json!("resp_none")] {
        let reply = send(&ask(json!({"previous_response_id": id})));
        assert_eq!(
            (reply.status, reply.error()["param"].clone()),
            (400, json!("previous_response_id"))
        );
    }
    let called = json!([
        {"role": "user", "content": "Rain?"}, {"type": "reasoning", "summary": []},
        {"type": "function_call", "call_id": "c1", "name": "forecast", "arguments": "{\"days\":1}"},
        {"type": "function_call_output", "call_id": "c1", "output": "Sun."},
    ]);
    good(&ask(json!({"input": called, "tools": tools()})));
}

#[test]
fn what_is_wrong_is_named() {
    for (more, param) in [
        (json!({"input": null}), "input"),
        (
            json!({"input": [{"type": "item_reference", "id": "x"}]}),
            "input[0].type",
        ),
        (
            json!({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}),
            "input[0].content[0]",
        ),
        (json!({"tools": [{"type": "web_search"}]}), "tools[0].type"),
        (json!({"reasoning": {"effort": "huge"}}), "reasoning.effort"),
        (json!({"max_output_tokens": 0}), "max_output_tokens"),
        (json!({"text": {"format": {"type": "xml"}}}), "text.format"),
    ] {
        let reply = send(&ask(more.clone()));
        assert_eq!(
            (reply.status, reply.error()["param"].clone()),
            (400, json!(param)),
            "{more}"
        );
    }
}
