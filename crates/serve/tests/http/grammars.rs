//! Grammars through the whole server: what is too large, too deep or contradictory is a 400 that names its field; what is
//! held to holds beside thoughts, tools, stop texts and drafts.

use std::sync::Arc;

use lattice_inference::sample::{Guide, NgramDraft, SampleError, TokenMask};
use lattice_serve::ServeOptions;
use serde_json::{Map, Value, json};

use crate::chat::{good, say, schema, text, tools};
use crate::client::{ask, chat, post};
use crate::server::{Server, Shape, shared};

fn format(schema: &Value) -> Value {
    json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}})
}

fn regex(pattern: &str) -> Value {
    json!({"grammar": {"regex": pattern}})
}

/// Asks for what must be refused; the error's message.
fn refused(more: &Value, param: &str) -> String {
    let reply = chat(shared().address, &say("hi", more.clone()));
    let shown: String = more.to_string().chars().take(120).collect();
    assert_eq!(reply.status, 400, "{shown}");
    let error = reply.error();
    assert_eq!(
        (error["param"].as_str(), error["code"].as_str()),
        (Some(param), Some("invalid_grammar")),
        "{shown}"
    );
    let message = error["message"].as_str().unwrap().to_owned();
    assert!(
        message.starts_with(param) && message.len() < 1000,
        "{message}"
    );
    message
}

fn nested(depth: usize) -> Value {
    let list = |items, _| json!({"type": "array", "items": items});
    (0..depth).fold(json!({"type": "null"}), list)
}

#[test]
fn depth_has_an_end() {
    let groups = format!("{}a{}", "(".repeat(60_000), ")".repeat(60_000));
    for grammar in [
        regex(&groups),
        json!({"grammar": {"lark": format!("start: {groups}")}}),
        json!({"grammar": {"gbnf": format!("root ::= {groups}")}}),
    ] {
        assert!(refused(&grammar, "grammar").contains("the most is"));
    }
    refused(&format(&nested(100)), "response_format");
    // Deeper than a body may be: it is not even read.
    let deep = format!("{}1{}", "{\"items\":".repeat(100_000), "}".repeat(100_000));
    let body = format!(
        "{{\"messages\":[],\"response_format\":{{\"type\":\"json_schema\",\"schema\":{deep}}}}}"
    );
    let reply = crate::client::raw_post(
        shared().address,
        "/v1/chat/completions",
        "",
        body.as_bytes(),
    );
    assert_eq!(reply.status, 400);
    reply.error();
}

#[test]
fn references_stay_within_the_schema() {
    let tree = json!({"type": "object", "properties": {"a": {"type": "array", "maxItems": 1, "items": {"$ref": "#"}}},
        "additionalProperties": false});
    let more = crate::client::with(format(&tree), &json!({"max_tokens": 100}));
    good(chat(shared().address, &say("hi", more)));
    let cycles = json!({"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}});
    for schema in [
        json!({"$ref": "#"}),
        json!({"$ref": "#/$defs/a", "$defs": cycles}),
        json!({"$ref": "http://127.0.0.1:9/x.json"}),
        json!({"$ref": "#/$defs/none"}),
    ] {
        refused(&format(&schema), "response_format");
    }
}

#[test]
fn size_has_an_end() {
    let property = |n| (format!("p{n}"), json!({"type": "integer"}));
    let properties: Map<String, Value> = (0..10_000).map(property).collect();
    let names: Vec<String> = (0..100_000).map(|n| format!("v{n}")).collect();
    let either = |n| {
        json!({"anyOf": [{"properties": {format!("a{n}"): {"type": "string"}}},
            {"properties": {format!("b{n}"): {"type": "number"}}}]})
    };
    for schema in [
        json!({"enum": names}),
        json!({"type": "object", "properties": properties}),
        json!({"type": "array", "minItems": 1_000_000_000}),
        json!({"type": "string", "maxLength": 1_000_000_000}),
        json!({"allOf": (0..20).map(either).collect::<Vec<_>>()}),
    ] {
        refused(&format(&schema), "response_format");
    }
    for pattern in ["a{0,100000}", "(a|b){99999999999999999999}"] {
        refused(&regex(pattern), "grammar");
    }
}

#[test]
fn contradictions_are_said() {
    for schema in [
        json!(false),
        json!({"enum": []}),
        json!({"type": "integer", "minimum": 5, "maximum": 3}),
        json!({"allOf": [{"type": "string"}, {"type": "number"}]}),
        json!({"type": "object", "properties": {"a": false}, "required": ["a"]}),
    ] {
        let message = refused(&format(&schema), "response_format");
        assert!(message.contains("nothing satisfies it"), "{message}");
    }
    refused(&regex(r"[^\s\S]"), "grammar");
}

#[test]
fn expressions_are_linear_or_refused() {
    for pattern in [
        r"(a)\1",
        "(?=a)b",
        "(?!a)b",
        r"\bfoo",
        "a^b",
        "^+",
        "{2}x",
        r"(?-u:\xff)",
        "(",
    ] {
        refused(&regex(pattern), "grammar");
    }
    let more = crate::client::with(regex("(a+)+$"), &json!({"max_tokens": 30}));
    let reply = good(chat(shared().address, &say("hi", more)));
    assert!(text(&reply).bytes().all(|byte| byte == b'a'));
}

/// A client does all it can to have white space without end.
#[test]
fn white_space_does_not_run_away() {
    let address = shared().address;
    let mut bias = Map::new();
    // Those that stand in no string.
    for blank in ["\n", "\n\n", "\t", "\n\n\n", "\r\n"] {
        let body = json!({"prompt": blank, "add_special_tokens": false});
        let ids = post(address, "/tokenize", &body).json();
        for id in ids["tokens"].as_array().unwrap() {
            bias.insert(id.to_string(), json!(100));
        }
    }
    let list = json!({"type": "object", "required": ["a"], "additionalProperties": false, "properties":
        {"a": {"type": "array", "minItems": 2, "maxItems": 2, "items": {"type": "integer", "maximum": 9, "minimum": 0}}}});
    let formats = [
        format(&list),
        json!({"response_format": {"type": "json_object"}}),
    ];
    for (at, more) in formats.into_iter().enumerate() {
        let more = crate::client::with(more, &json!({"logit_bias": bias, "max_tokens": 900}));
        let reply = good(chat(address, &say("Write \n\n\n\n", more)));
        let (said, reason) = (text(&reply), &reply["choices"][0]["finish_reason"]);
        let longest = said.split(|c: char| !c.is_whitespace()).map(str::len).max();
        assert!(longest <= Some(80), "{said:?}");
        if at == 0 {
            assert_eq!(reason, "stop", "{said:?}");
            serde_json::from_str::<Value>(said).unwrap();
        }
    }
}

#[test]
fn an_answer_that_is_cut_off_says_so_and_is_text() {
    let address = shared().address;
    let signs = json!({"type": "object", "required": ["a"], "additionalProperties": false,
        "properties": {"a": {"enum": ["\u{6f22}\u{5b57}\u{1f600}\u{e9}\u{1f468}\u{200d}\u{1f469}"]}}});
    let whole = good(chat(address, &say("hi", format(&signs))));
    let tokens = whole["usage"]["completion_tokens"].as_u64().unwrap();
    let whole = text(&whole).to_owned();
    for most in 1..tokens.min(12) {
        let more = crate::client::with(format(&signs), &json!({"max_tokens": most}));
        let reply = good(chat(address, &say("hi", more.clone())));
        let choice = &reply["choices"][0];
        assert_eq!(
            (&choice["finish_reason"], &choice["incomplete"]),
            (&json!("length"), &json!(true))
        );
        // Half a sign is no sign.
        let said = text(&reply).trim_end_matches('\u{fffd}');
        assert!(whole.starts_with(said), "{said:?}");
        let streamed = chat(
            address,
            &say("hi", crate::client::with(more, &json!({"stream": true}))),
        );
        let last = streamed.events().pop().unwrap();
        assert_eq!(last["choices"][0]["incomplete"], true);
    }
}

#[test]
fn compiled_grammars_are_bounded() {
    let server = Server::start(ServeOptions::default(), Shape::default());
    for number in 0..200 {
        let more = crate::client::with(regex(&format!("a{number}b")), &json!({"max_tokens": 1}));
        good(chat(server.address, &say("hi", more)));
    }
    let metrics = ask(server.address, "GET", "/metrics", "").body;
    let metrics = String::from_utf8(metrics).unwrap();
    let of = |name: &str| {
        let line = metrics.lines().find(|line| line.starts_with(name)).unwrap();
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(of("lattice_grammars{"), 128);
    assert!(of("lattice_grammar_bytes{") < 128 << 20);
}

/// Rules out every token once some have come.
struct DeadEnd {
    left: usize,
}

impl Guide for DeadEnd {
    fn mask(&mut self, allowed: &mut TokenMask) -> Result<(), SampleError> {
        if self.left == 0 {
            allowed.retain(|_| false);
        }
        Ok(())
    }

    fn accept(&mut self, _id: u32) {
        self.left = self.left.saturating_sub(1);
    }
}

#[test]
fn where_no_token_may_come_there_is_an_error_and_no_silence() {
    let options = ServeOptions {
        hook: Some(Arc::new(|request| {
            request.guides.push(Box::new(DeadEnd { left: 3 }));
        })),
        ..ServeOptions::default()
    };
    let server = Server::start(options, Shape::default());
    let reply = chat(server.address, &say("hi", json!({})));
    assert_eq!(
        (reply.status, reply.error()["code"].clone()),
        (400, json!("no_token"))
    );
    let reply = chat(server.address, &say("hi", json!({"stream": true})));
    let events = String::from_utf8(reply.body).unwrap();
    assert!(
        events.contains("no_token") && !events.contains("[DONE]") && !events.contains("\"stop\""),
        "{events}"
    );
}

/// A grammar holds beside thoughts, calls, stop texts and drafts, and drafts change nothing.
#[test]
fn everything_together_is_the_same_with_drafts_and_without() {
    let drafting = ServeOptions {
        hook: Some(Arc::new(|request| {
            request.guides.push(Box::new(NgramDraft::new(2)));
        })),
        ..ServeOptions::default()
    };
    let drafting = Server::start(drafting, Shape::default());
    let dog = schema();
    for seed in 0..3 {
        for (more, thinks) in [
            (json!({"response_format": dog}), false),
            (
                json!({"response_format": dog, "enable_thinking": true, "thinking_budget": 12}),
                true,
            ),
            (json!({"response_format": dog, "stop": ["\"age\""]}), false),
            (
                json!({"response_format": dog, "enable_thinking": true, "thinking_budget": 8, "stop": ["}"]}),
                true,
            ),
            (json!({"tools": tools(), "tool_choice": "required"}), false),
            (
                json!({"tools": tools(), "tool_choice": "required", "enable_thinking": true, "thinking_budget": 8}),
                true,
            ),
            (
                json!({"tools": tools(), "enable_thinking": true, "thinking_budget": 8, "stop": ["."]}),
                true,
            ),
            (json!({"tools": tools(), "stop": ["dog"]}), false),
            (regex("(ab|cd){3,9}"), false),
        ] {
            let more = crate::client::with(
                more,
                &json!({"seed": seed, "temperature": 0.8, "max_tokens": 120}),
            );
            let body = say("Tell me of a dog. A dog, a dog, a dog.", more.clone());
            let plain = good(chat(shared().address, &body));
            let drafted = good(chat(drafting.address, &body));
            let said = |reply: &Value| {
                let mut choice = reply["choices"][0].clone();
                for call in choice["message"]["tool_calls"]
                    .as_array_mut()
                    .into_iter()
                    .flatten()
                {
                    call["id"] = Value::Null;
                }
                choice
            };
            assert_eq!(said(&drafted), said(&plain), "{more}");
            let choice = &plain["choices"][0];
            assert!(
                thinks || choice["message"].get("reasoning_content").is_none(),
                "{plain}"
            );
            if more["tool_choice"] == "required" && choice["finish_reason"] != "length" {
                assert_eq!(choice["finish_reason"], "tool_calls", "{plain}");
            }
            if choice["finish_reason"] == "stop"
                && more["stop"].is_null()
                && more["response_format"].is_object()
            {
                assert!(
                    serde_json::from_str::<Value>(text(&plain)).unwrap()["age"].is_u64(),
                    "{plain}"
                );
            }
        }
    }
}
