//! Every field has a type and a range, and says so.

use serde_json::{Value, json};

use crate::client::chat;
use crate::server::shared;

fn with(field: &str, value: Value) -> Value {
    let mut body =
        json!({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1, "seed": 1});
    body[field] = value;
    body
}

#[test]
fn numbers_are_in_range_or_refused_by_name() {
    let address = shared().address;
    let odd = [
        json!(-1),
        json!(-1e30),
        json!(1e308),
        json!(i64::MIN),
        json!("5"),
        json!(true),
        json!([]),
        json!({"a": 1}),
    ];
    let fields = [
        "temperature",
        "top_p",
        "min_p",
        "repetition_penalty",
        "presence_penalty",
        "frequency_penalty",
        "max_tokens",
        "max_completion_tokens",
        "n",
        "thinking_budget",
    ];
    for field in fields {
        for value in &odd {
            // Between -2 and 2 for penalties.
            if ["presence_penalty", "frequency_penalty"].contains(&field) && value == &json!(-1) {
                continue;
            }
            let reply = chat(address, &with(field, value.clone()));
            assert_eq!(reply.status, 400, "{field}: {value}");
            assert_eq!(reply.error()["param"], field, "{value}");
        }
        assert_eq!(
            chat(address, &with(field, Value::Null)).status,
            200,
            "{field}: null"
        );
    }
    for field in ["max_tokens", "n", "top_logprobs", "seed", "top_k"] {
        let reply = chat(address, &with(field, json!(1.5)));
        assert_eq!(
            (reply.status, reply.error()["param"].clone()),
            (400, json!(field))
        );
    }
}

#[test]
fn the_ends_of_ranges_hold() {
    let address = shared().address;
    let good = [
        ("temperature", json!(0)),
        ("temperature", json!(100)),
        ("top_p", json!(0)),
        ("top_p", json!(1)),
        ("top_k", json!(-1)),
        ("top_k", json!(0)),
        ("top_k", json!(u32::MAX)),
        ("min_p", json!(1)),
        ("presence_penalty", json!(-2)),
        ("frequency_penalty", json!(2)),
        ("seed", json!(-5)),
        ("seed", json!(u64::MAX)),
        ("logit_bias", json!({})),
        ("logit_bias", json!({"5": 100})),
    ];
    for (field, value) in good {
        let reply = chat(address, &with(field, value.clone()));
        assert_eq!(
            reply.status,
            200,
            "{field}: {value}: {}",
            String::from_utf8_lossy(&reply.body)
        );
    }
    let entries: serde_json::Map<_, _> = (0..300).map(|id| (id.to_string(), json!(-1))).collect();
    assert_eq!(
        chat(address, &with("logit_bias", Value::Object(entries))).status,
        200
    );
    let bad = [
        ("temperature", json!(100.5)),
        ("temperature", json!(-0.1)),
        ("top_p", json!(1.1)),
        ("top_p", json!(2)),
        ("top_k", json!(-2)),
        ("presence_penalty", json!(2.1)),
        ("frequency_penalty", json!(-1e9)),
        ("logit_bias", json!({"9999999": 1})),
        ("logit_bias", json!({"5": 101})),
        ("logit_bias", json!({"x": 1})),
        ("logit_bias", json!({"5": "1"})),
        ("stop", json!("")),
        ("stop", json!([1])),
        ("stop", json!(vec!["a"; 17])),
        ("stream", json!("true")),
        ("reasoning_effort", json!("huge")),
        ("model", json!(1)),
        ("n", json!(0)),
        ("n", json!(65)),
        ("max_tokens", json!(0)),
        ("top_logprobs", json!(5)),
        ("chat_template", json!("{{1}}")),
        ("continue_final_message", json!(true)),
    ];
    for (field, value) in bad {
        let reply = chat(address, &with(field, value.clone()));
        assert_eq!(reply.status, 400, "{field}: {value}");
        assert_eq!(reply.error()["param"], field, "{value}");
    }
}

#[test]
fn fields_without_effect_are_listed() {
    let address = shared().address;
    let mut body = with("mood", json!("gay"));
    body["user"] = json!("me");
    body["store"] = Value::Null;
    body["messages"][0]["refusal"] = json!("no");
    let reply = chat(address, &body);
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.headers["x-lattice-ignored"],
        "messages.refusal, mood, user"
    );
    assert!(
        !chat(address, &with("seed", json!(1)))
            .headers
            .contains_key("x-lattice-ignored")
    );
}

#[test]
fn template_variables_do_not_replace_what_is_ours() {
    let address = shared().address;
    for name in [
        "messages",
        "tokenize",
        "tools",
        "add_generation_prompt",
        "bos_token",
        "chat_template",
    ] {
        let reply = chat(address, &with("chat_template_kwargs", json!({name: "x"})));
        assert_eq!(reply.status, 400, "{name}");
        reply.error();
    }
    let thinks = with(
        "chat_template_kwargs",
        json!({"enable_thinking": true, "mine": 1}),
    );
    let reply = chat(address, &thinks);
    assert_eq!(reply.status, 200, "{}", reply.json());
}

#[test]
fn conversations_are_checked() {
    let address = shared().address;
    let user = json!({"role": "user", "content": "hi"});
    let image = json!([{"type": "image_url", "image_url": {"url": "http://localhost/x.png"}}]);
    let bad = [
        (json!([]), "messages"),
        (json!("hi"), "messages"),
        (json!([1]), "messages[0]"),
        (json!([{"role": "king", "content": "hi"}]), "messages[0]"),
        (json!([{"role": "user"}]), "messages[0].content"),
        (
            json!([{"role": "user", "content": null}]),
            "messages[0].content",
        ),
        (json!([{"role": "user", "content": 1}]), "messages[0]"),
        (
            json!([user, {"role": "user", "content": image}]),
            "messages[1].content[0]",
        ),
        (
            json!([user, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}]),
            "messages[1].tool_calls[0].function.arguments",
        ),
    ];
    for (messages, param) in bad {
        let reply = chat(address, &with("messages", messages.clone()));
        assert_eq!(reply.status, 400, "{messages}");
        assert_eq!(reply.error()["param"], param, "{}", reply.json());
    }
    let system = json!({"role": "system", "content": "Be kind."});
    let call = json!({"role": "assistant", "content": null, "tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]});
    let good = [
        json!([system]),
        json!([system, user, system]),
        json!([{"role": "developer", "content": "Be kind."}, user]),
        json!([{"role": "tool", "tool_call_id": "1", "content": "3"}]),
        json!([user, call, {"role": "tool", "tool_call_id": "1", "content": "3"}]),
        json!([user, {"role": "assistant", "content": "Once"}]),
        json!([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]),
        json!([{"role": "user", "content": ""}]),
    ];
    for messages in good {
        let reply = chat(address, &with("messages", messages.clone()));
        assert_eq!(reply.status, 200, "{messages}: {}", reply.json());
    }
}
