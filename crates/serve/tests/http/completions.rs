//! Texts that are gone on with, and what a model makes of texts.

use serde_json::{Value, json};

use crate::client::{Reply, post};
use crate::server::shared;

fn good(reply: Reply) -> Value {
    let json = reply.json();
    assert_eq!(reply.status, 200, "{json}");
    json
}

fn complete(body: Value) -> Value {
    good(post(shared().address, "/v1/completions", &body))
}

fn tokenize(text: &str) -> Vec<u64> {
    let reply = good(post(
        shared().address,
        "/tokenize",
        &json!({"prompt": text}),
    ));
    reply["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_u64().unwrap())
        .collect()
}

const TEXT: &str = "Once upon a time, there was a little";

#[test]
fn a_prompt_is_a_text_or_its_tokens() {
    let ids = tokenize(TEXT);
    let ask = |prompt: Value| {
        let reply = complete(json!({"prompt": prompt, "temperature": 0, "max_tokens": 6}));
        let choices = reply["choices"].as_array().unwrap().iter();
        choices
            .map(|choice| choice["text"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let alone = ask(json!(TEXT));
    assert_eq!(ask(json!(ids)), alone);
    assert_eq!(ask(json!([TEXT, "The sea"]))[0], alone[0]);
    assert_eq!(
        ask(json!([ids, tokenize("The sea")])),
        ask(json!([TEXT, "The sea"]))
    );
    let default = complete(json!({"prompt": TEXT, "temperature": 0}));
    assert_eq!(default["usage"]["completion_tokens"], 16);
    for wrong in [
        json!(null),
        json!(1),
        json!([]),
        json!([1, "a"]),
        json!([[]]),
        json!([9_999_999]),
        json!([-1]),
        json!(""),
    ] {
        let reply = post(
            shared().address,
            "/v1/completions",
            &json!({"prompt": wrong}),
        );
        assert_eq!(
            (reply.status, reply.error()["param"].clone()),
            (400, json!("prompt")),
            "{wrong}"
        );
    }
}

#[test]
fn prompts_tell_their_log_probabilities() {
    // As harnesses ask that measure how likely a text is.
    let ids = tokenize(TEXT);
    for (max_tokens, more) in [(0, 0), (1, 1)] {
        let reply = complete(
            json!({"prompt": ids, "echo": true, "logprobs": 1, "max_tokens": max_tokens, "temperature": 0}),
        );
        let choice = &reply["choices"][0];
        let lists = &choice["logprobs"];
        let list = |name: &str| lists[name].as_array().unwrap().clone();
        for name in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
            assert_eq!(list(name).len(), ids.len() + more, "{name}");
        }
        assert_eq!(
            (&lists["token_logprobs"][0], &lists["top_logprobs"][0]),
            (&Value::Null, &Value::Null)
        );
        let words: String = list("tokens")
            .iter()
            .map(|token| token.as_str().unwrap())
            .collect();
        assert_eq!(words, choice["text"].as_str().unwrap());
        assert!(words.starts_with(TEXT));
        for (index, token) in list("token_logprobs").iter().enumerate().skip(1) {
            let own = &lists["top_logprobs"][index][lists["tokens"][index].as_str().unwrap()];
            assert_eq!(own, token);
            let offset = lists["text_offset"][index].as_u64().unwrap() as usize;
            let rest: String = choice["text"]
                .as_str()
                .unwrap()
                .chars()
                .skip(offset)
                .collect();
            assert!(rest.starts_with(lists["tokens"][index].as_str().unwrap()));
        }
        assert_eq!(reply["usage"]["completion_tokens"], more);
    }
    // What follows a text is as likely whether it is generated or read.
    let generated =
        complete(json!({"prompt": TEXT, "logprobs": 0, "max_tokens": 5, "temperature": 0}));
    let text = format!(
        "{TEXT}{}",
        generated["choices"][0]["text"].as_str().unwrap()
    );
    let read = complete(json!({"prompt": text, "echo": true, "logprobs": 0, "max_tokens": 0}));
    let of = |reply: &Value| {
        reply["choices"][0]["logprobs"]["token_logprobs"]
            .as_array()
            .unwrap()
            .clone()
    };
    assert_eq!(of(&read)[ids.len()..], of(&generated)[..]);
}

#[test]
fn a_stop_token_has_its_log_probability() {
    let reply = complete(
        json!({"prompt": TEXT, "max_tokens": 1, "logprobs": 1, "echo": true, "logit_bias": {"8168": 100}}),
    );
    let choice = &reply["choices"][0];
    assert_eq!(
        (&choice["text"], &choice["finish_reason"]),
        (&json!(TEXT), &json!("stop"))
    );
    let tokens = choice["logprobs"]["tokens"].as_array().unwrap();
    assert_eq!(tokens.len(), tokenize(TEXT).len() + 1);
    assert!(
        choice["logprobs"]["token_logprobs"]
            .as_array()
            .unwrap()
            .last()
            .unwrap()
            .is_number()
    );
}

#[test]
fn completions_stream() {
    for more in [
        json!({}),
        json!({"echo": true, "n": 2, "temperature": 1, "seed": 3}),
        json!({"echo": true, "logprobs": 2, "stop": ["."]}),
        json!({"prompt": [TEXT, "The sea"], "grammar": {"regex": "[a-z]{3,9}"}}),
    ] {
        let mut body = json!({"prompt": TEXT, "temperature": 0, "max_tokens": 12});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        let whole = complete(body.clone());
        body["stream"] = json!(true);
        body["stream_options"] = json!({"include_usage": true});
        let mut events = post(shared().address, "/v1/completions", &body).events();
        let usage = events.pop().unwrap();
        assert_eq!(
            usage["usage"]["total_tokens"],
            whole["usage"]["total_tokens"]
        );
        for (index, choice) in whole["choices"].as_array().unwrap().iter().enumerate() {
            let parts: Vec<_> = events
                .iter()
                .map(|event| &event["choices"][0])
                .filter(|part| part["index"] == index)
                .collect();
            let text: String = parts
                .iter()
                .map(|part| part["text"].as_str().unwrap())
                .collect();
            assert_eq!(text, choice["text"].as_str().unwrap(), "{more}");
            let tokens = |part: &Value| {
                part["logprobs"]["token_logprobs"]
                    .as_array()
                    .cloned()
                    .unwrap_or_default()
            };
            let all: Vec<_> = parts.iter().flat_map(|part| tokens(part)).collect();
            assert_eq!(all, tokens(choice), "{more}");
            assert_eq!(
                parts.last().unwrap()["finish_reason"],
                choice["finish_reason"]
            );
        }
    }
}

#[test]
fn texts_and_tokens_go_round() {
    let address = shared().address;
    for text in [TEXT, "", "naïve 😀\n\0", "<|im_end|>"] {
        let reply = good(post(
            address,
            "/tokenize",
            &json!({"content": text, "return_token_strs": true}),
        ));
        assert_eq!(reply["count"], reply["tokens"].as_array().unwrap().len());
        assert_eq!(
            reply["token_strs"].as_array().unwrap().len(),
            reply["count"].as_u64().unwrap() as usize
        );
        let back = good(post(
            address,
            "/detokenize",
            &json!({"tokens": reply["tokens"]}),
        ));
        assert_eq!(back["prompt"], text);
    }
    let wrong = post(address, "/detokenize", &json!({"tokens": [1, -1]}));
    assert_eq!(wrong.error()["param"], "tokens[1]");
    let messages = json!([{"role": "user", "content": "hi"}]);
    let rendered = good(post(
        address,
        "/apply-template",
        &json!({"messages": messages}),
    ));
    assert_eq!(
        rendered["prompt"],
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    );
    let tokens = good(post(address, "/tokenize", &json!({"messages": messages})));
    let chat = crate::client::chat(address, &json!({"messages": messages, "max_tokens": 1})).json();
    assert_eq!(tokens["count"], chat["usage"]["prompt_tokens"]);
}
