//! Answers to conversations.

use serde_json::{Value, json};

use crate::client::{Reply, chat, post, with};
use crate::server::{CONTEXT, shared};

/// A greedy request for one message.
pub(crate) fn say(text: &str, more: Value) -> Value {
    let body = json!({
        "messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 24,
    });
    with(body, &more)
}

pub(crate) fn good(reply: Reply) -> Value {
    let json = reply.json();
    assert_eq!(reply.status, 200, "{json}");
    json
}

pub(crate) fn text(reply: &Value) -> &str {
    reply["choices"][0]["message"]["content"].as_str().unwrap()
}

#[test]
fn an_answer_has_its_figures() {
    let address = shared().address;
    let first = good(chat(
        address,
        &say(
            "Tell me about a dog",
            json!({"timings": true, "max_tokens": 5}),
        ),
    ));
    assert_eq!(first["object"], "chat.completion");
    let (choice, usage) = (&first["choices"][0], &first["usage"]);
    assert_eq!(choice["message"]["role"], "assistant");
    assert_eq!(choice["finish_reason"], "length");
    assert_eq!(usage["completion_tokens"], 5);
    let prompt = usage["prompt_tokens"].as_u64().unwrap();
    assert_eq!(usage["total_tokens"], prompt + 5);
    assert!(first["timings"]["total_ms"].as_f64().unwrap() > 0.0);
    // Once more: the same words, and most of the prompt is there already.
    let again = good(chat(
        address,
        &say("Tell me about a dog", json!({"max_tokens": 5})),
    ));
    assert_eq!(text(&again), text(&first));
    let cached = &again["usage"]["prompt_tokens_details"]["cached_tokens"];
    assert!(cached.as_u64().unwrap() > 0);
    assert_ne!(again["id"], first["id"]);
    let report = shared().report(|report| report.generated_tokens == 5);
    assert_eq!(report.model.as_deref(), Some("lattice-tiny"));
    assert!(!report.left && report.status == 200);
}

#[test]
fn choices_differ_and_seeds_repeat() {
    let address = shared().address;
    let ask = |seed: i64, n: u64| {
        let more = json!({"temperature": 1, "seed": seed, "n": n, "max_tokens": 12});
        let reply = good(chat(address, &say("Tell me a story", more)));
        let choices = reply["choices"].as_array().unwrap().clone();
        assert_eq!(
            reply["usage"]["completion_tokens"].as_u64().unwrap() / n,
            12
        );
        let of = |choice: &Value| choice["message"]["content"].as_str().unwrap().to_owned();
        choices.iter().map(of).collect::<Vec<_>>()
    };
    let three = ask(7, 3);
    assert_eq!(three, ask(7, 3));
    assert_eq!(three[0], ask(7, 1)[0]);
    assert_eq!(three[1], ask(8, 1)[0]);
    assert!(three[0] != three[1] && three[1] != three[2]);
}

#[test]
fn stop_texts_are_no_part_of_the_answer() {
    let address = shared().address;
    let whole = good(chat(address, &say("Tell me about a dog", json!({}))));
    let ended = whole["choices"][0]["finish_reason"].clone();
    let whole = text(&whole).to_owned();
    // One that lies across the edges of tokens, one that is the whole answer, one that never comes.
    let middle = &whole[7..12];
    for (stop, expected) in [
        (json!(middle), &whole[..whole.find(middle).unwrap()]),
        (json!([whole]), ""),
        (
            json!(["zzz", "yyy", "xxx", "www", middle]),
            &whole[..whole.find(middle).unwrap()],
        ),
        (json!("zzzz"), whole.as_str()),
        (json!([]), whole.as_str()),
    ] {
        let reply = good(chat(
            address,
            &say("Tell me about a dog", json!({"stop": stop})),
        ));
        assert_eq!(text(&reply), expected, "{stop}");
        let reason = if expected == whole {
            ended.clone()
        } else {
            json!("stop")
        };
        assert_eq!(reply["choices"][0]["finish_reason"], reason, "{stop}");
    }
}

#[test]
fn odd_text_is_text() {
    let address = shared().address;
    let plain = good(chat(address, &say("hi", json!({"max_tokens": 1}))));
    let prompt = |reply: &Value| reply["usage"]["prompt_tokens"].as_u64().unwrap();
    // Spelled out, a control token is many tokens and not one.
    let spelled = good(chat(
        address,
        &say("hi<|im_end|>", json!({"max_tokens": 1})),
    ));
    assert!(prompt(&spelled) > prompt(&plain) + 2);
    let marks = "e\u{301}".repeat(500);
    for odd in [
        "\0",
        "\u{202e}abc",
        &marks,
        "\u{fdd0}\u{ffff}",
        "<think>",
        "</think>",
        "😀",
    ] {
        good(chat(address, &say(odd, json!({"max_tokens": 1}))));
    }
}

#[test]
fn prompts_up_to_the_context_are_read() {
    let address = shared().address;
    let tokens = |text: &str| {
        let reply = good(chat(address, &say(text, json!({"max_tokens": 1}))));
        reply["usage"]["prompt_tokens"].as_u64().unwrap() as usize
    };
    let of = |count: usize| vec!["a"; count].join(" ");
    let around = tokens(&of(11)) - 11;
    let fits = CONTEXT - 1 - around;
    assert_eq!(tokens(&of(fits)), CONTEXT - 1);
    for count in [fits + 1, fits + 2, 200_000] {
        let reply = chat(address, &say(&of(count), json!({})));
        assert_eq!(
            (reply.status, reply.error()["code"].clone()),
            (400, json!("context_length_exceeded"))
        );
    }
    // By the name that each interface has for it.
    let text = of(2 * CONTEXT);
    for (path, body, param) in [
        ("/v1/chat/completions", say(&text, json!({})), "messages"),
        ("/v1/completions", json!({"prompt": text}), "prompt"),
        (
            "/v1/completions",
            json!({"prompt": vec![5; 2 * CONTEXT]}),
            "prompt",
        ),
        ("/v1/responses", json!({"input": text}), "input"),
    ] {
        let reply = post(address, path, &body);
        assert_eq!(
            (reply.status, reply.error()["param"].clone()),
            (400, json!(param)),
            "{path}"
        );
    }
    let message = chat(address, &say(&of(fits + 1), json!({}))).error()["message"].clone();
    let message = message.as_str().unwrap();
    assert!(message.contains(&CONTEXT.to_string()), "{message}");
    // One letter, over and over: the time must not grow with the square.
    let reply = chat(address, &say(&"a".repeat(2_000_000), json!({})));
    assert_eq!(
        (reply.status, reply.error()["code"].clone()),
        (400, json!("context_length_exceeded"))
    );
}

#[test]
fn thoughts_are_apart_and_bounded() {
    let address = shared().address;
    let think = |more: Value| good(chat(address, &say("Why is the sky blue?", more)));
    let reply = think(json!({"enable_thinking": true, "thinking_budget": 5, "max_tokens": 40}));
    let message = &reply["choices"][0]["message"];
    assert!(
        !message["reasoning_content"].as_str().unwrap().is_empty(),
        "{reply}"
    );
    assert!(!message["content"].as_str().unwrap().contains("think>"));
    let thought = &reply["usage"]["completion_tokens_details"]["reasoning_tokens"];
    assert!((1..=6).contains(&thought.as_u64().unwrap()), "{reply}");
    for more in [
        json!({"reasoning_effort": "none"}),
        json!({"enable_thinking": false}),
        json!({}),
    ] {
        let reply = think(more);
        assert!(
            reply["choices"][0]["message"]
                .get("reasoning_content")
                .is_none(),
            "{reply}"
        );
    }
    let low = think(json!({"reasoning_effort": "low", "max_tokens": 4}));
    assert!(low["choices"][0]["message"]["reasoning_content"].is_string());
}

pub(crate) fn schema() -> Value {
    json!({"type": "json_schema", "json_schema": {"name": "dog", "strict": true, "schema": {
        "type": "object", "additionalProperties": false, "required": ["name", "age"],
        "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 0, "maximum": 30}},
    }}})
}

#[test]
fn formats_hold() {
    let address = shared().address;
    let more = json!({"response_format": schema(), "max_tokens": 200});
    let reply = good(chat(address, &say("A dog?", more)));
    let dog: Value = serde_json::from_str(text(&reply)).unwrap();
    assert!(dog["name"].is_string() && dog["age"].is_u64());
    assert_eq!(reply["choices"][0]["finish_reason"], "stop");
    let cut = json!({"response_format": schema(), "max_tokens": 5});
    let cut = good(chat(address, &say("A dog?", cut)));
    assert_eq!(cut["choices"][0]["finish_reason"], "length");
    assert_eq!(cut["choices"][0]["incomplete"], true);
    let regex = json!({"grammar": {"regex": "[0-9]{4}-[0-9]{2}"}});
    let date = good(chat(address, &say("When?", regex)));
    assert_eq!(text(&date).len(), 7);
    let continued = json!({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Once upon"}],
        "continue_final_message": true, "add_generation_prompt": false});
    assert!(!text(&good(chat(address, &say("", continued)))).is_empty());
}

#[test]
fn a_format_that_cannot_be_held_is_400() {
    let address = shared().address;
    let of = |schema: Value| json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
    let mut deep = json!({"type": "string"});
    for _ in 0..100 {
        deep = json!({"type": "array", "items": deep});
    }
    let wrong = [
        json!(1),
        json!({"type": "xml"}),
        json!({"type": "json_schema"}),
        of(json!(false)),
        of(json!(1)),
        of(deep),
        of(json!({"type": "integer", "minimum": 3, "maximum": 2})),
        of(json!({"$ref": "http://localhost/x.json"})),
        of(json!({"type": "array", "minItems": 1_000_000_000})),
    ];
    for format in wrong {
        let reply = chat(address, &say("hi", json!({"response_format": format})));
        assert_eq!(reply.status, 400, "{format}");
        assert_eq!(reply.error()["param"], "response_format");
    }
    for grammar in [
        json!({"regex": "("}),
        json!({"lark": "start: nothing"}),
        json!({"gbnf": "root ::= nothing"}),
        json!({}),
    ] {
        let reply = chat(address, &say("hi", json!({"grammar": grammar})));
        assert_eq!(reply.status, 400, "{grammar}: {}", reply.json());
        assert_eq!(reply.error()["param"], "grammar");
        let body = json!({"prompt": "hi", "grammar": grammar});
        let reply = post(address, "/v1/completions", &body);
        assert_eq!(
            (reply.status, reply.error()["param"].clone()),
            (400, json!("grammar"))
        );
    }
    // Nothing at all may be said, and is.
    for grammar in [
        json!({"gbnf": "root ::= "}),
        json!({"gbnf": "root ::= \"\""}),
        json!({"regex": ""}),
        json!({"lark": "start: \"\""}),
    ] {
        let reply = good(chat(address, &say("hi", json!({"grammar": grammar}))));
        assert_eq!(text(&reply), "", "{grammar}");
        assert_eq!(reply["choices"][0]["finish_reason"], "stop");
    }
    let both = json!({"response_format": schema(), "tools": tools()});
    assert_eq!(chat(address, &say("hi", both)).status, 400);
}

pub(crate) fn tools() -> Value {
    json!([
        {"type": "function", "function": {"name": "forecast", "strict": true, "parameters": {
            "type": "object", "additionalProperties": false, "required": ["city", "days"],
            "properties": {"city": {"type": "string", "maxLength": 10}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
        }}},
        {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}},
    ])
}

#[test]
fn tools_are_called_as_asked() {
    let address = shared().address;
    let named = json!({"type": "function", "function": {"name": "forecast"}});
    for (choice, names) in [
        (json!("required"), &["forecast", "clock"][..]),
        (named, &["forecast"]),
    ] {
        let more = json!({"tools": tools(), "tool_choice": choice, "parallel_tool_calls": false, "max_tokens": 300});
        let reply = good(chat(address, &say("Will it rain in Paris?", more)));
        let choice = &reply["choices"][0];
        assert_eq!(choice["finish_reason"], "tool_calls", "{reply}");
        let call = &choice["message"]["tool_calls"][0];
        assert!(names.contains(&call["function"]["name"].as_str().unwrap()));
        let arguments: Value =
            serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
        assert!(arguments.is_object());
        assert!(call["id"].as_str().unwrap().starts_with("call_"));
        assert_eq!(choice["message"]["content"], Value::Null);
    }
    for choice in ["auto", "none"] {
        let more = json!({"tools": tools(), "tool_choice": choice});
        good(chat(address, &say("Hello", more)));
    }
    let unknown = json!({"type": "function", "function": {"name": "nothing"}});
    for (field, value) in [
        ("tool_choice", json!("maybe")),
        ("tool_choice", unknown),
        ("tools", json!([{"type": "function"}])),
    ] {
        let mut more = json!({"tools": tools()});
        more[field] = value.clone();
        assert_eq!(chat(address, &say("Hello", more)).status, 400, "{value}");
    }
    let none = json!({"tool_choice": "required"});
    assert_eq!(
        chat(address, &say("Hello", none)).error()["param"],
        "tool_choice"
    );
}

#[test]
fn logprobs_are_those_of_the_answer() {
    let address = shared().address;
    let more = json!({"logprobs": true, "top_logprobs": 3, "max_tokens": 6});
    let reply = good(chat(address, &say("Tell me about a dog", more)));
    let content = reply["choices"][0]["logprobs"]["content"]
        .as_array()
        .unwrap();
    assert_eq!(content.len(), 6);
    let words = content.iter().map(|token| token["token"].as_str().unwrap());
    assert_eq!(words.collect::<String>(), text(&reply));
    for token in content {
        let top = token["top_logprobs"].as_array().unwrap();
        assert_eq!((top.len(), &top[0]["token"]), (3, &token["token"]));
        assert_eq!(top[0]["logprob"], token["logprob"]);
        assert!(token["logprob"].as_f64().unwrap() <= 0.0);
    }
}
