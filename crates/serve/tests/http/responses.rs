//! OpenAI's newer interface.

use lattice_serve::ServeOptions;
use serde_json::{Value, json};

use crate::chat::{say, tools as chat_tools};
use crate::client::{Reply, ask as request, chat, post, with};
use crate::server::{Server, Shape, shared};

fn ask(more: Value) -> Value {
    let body = json!({
        "model": "lattice-tiny", "max_output_tokens": 24, "temperature": 0, "input": "Tell me about a dog",
    });
    with(body, &more)
}

fn send(more: Value) -> Reply {
    post(shared().address, "/v1/responses", &ask(more))
}

fn good(more: Value) -> Value {
    let reply = send(more);
    let json = reply.json();
    assert_eq!(reply.status, 200, "{json}");
    json
}

fn text(response: &Value) -> String {
    let output = response["output"].as_array().unwrap().iter();
    let messages = output.filter(|item| item["type"] == "message");
    messages
        .map(|item| item["content"][0]["text"].as_str().unwrap())
        .collect()
}

fn tools() -> Value {
    let flat = |tool: &Value| {
        let mut flat = tool["function"].clone();
        flat["type"] = json!("function");
        flat
    };
    chat_tools().as_array().unwrap().iter().map(flat).collect()
}

#[test]
fn a_response_is_what_the_chat_says() {
    let response =
        good(json!({"metadata": {"a": "b"}, "instructions": null, "max_output_tokens": 5}));
    let said = chat(
        shared().address,
        &say("Tell me about a dog", json!({"max_tokens": 5})),
    )
    .json();
    assert_eq!(
        text(&response),
        said["choices"][0]["message"]["content"].as_str().unwrap()
    );
    assert_eq!(response["object"], "response");
    assert_eq!(response["status"], "incomplete");
    assert_eq!(
        response["incomplete_details"],
        json!({"reason": "max_output_tokens"})
    );
    assert_eq!(response["output"][0]["status"], "incomplete");
    assert_eq!(
        (&response["metadata"], &response["max_output_tokens"]),
        (&json!({"a": "b"}), &json!(5))
    );
    let (usage, of_chat) = (&response["usage"], &said["usage"]);
    assert_eq!(usage["input_tokens"], of_chat["prompt_tokens"]);
    assert_eq!(usage["output_tokens"], 5);
    assert_eq!(usage["total_tokens"], of_chat["total_tokens"]);
    assert!(usage["input_tokens_details"]["cached_tokens"].is_u64());
    // Every way to write the same is the same.
    let part = json!([{"type": "input_text", "text": "Tell me about a dog"}]);
    for input in [
        json!([{"role": "user", "content": "Tell me about a dog"}]),
        json!([{"type": "message", "role": "user", "content": part, "id": "msg_1", "status": "completed"}]),
    ] {
        let reply = send(json!({"input": input, "max_output_tokens": 5}));
        assert_eq!(text(&reply.json()), text(&response));
        assert!(!reply.headers.contains_key("x-lattice-ignored"));
    }
    let instructed = good(json!({"instructions": "You are brief."}));
    let system = json!([{"role": "system", "content": "You are brief."}, {"role": "user", "content": "Tell me about a dog"}]);
    assert_eq!(text(&instructed), text(&good(json!({"input": system}))));
}

/// The output that events add up to.
fn added_up(events: &[Value]) -> Vec<Value> {
    let mut output: Vec<Value> = Vec::new();
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
        let index = event["output_index"].as_u64().unwrap_or(0) as usize;
        let kind = event["type"].as_str().unwrap();
        if kind == "response.output_item.added" {
            assert_eq!(
                (index, &event["item"]["status"]),
                (output.len(), &json!("in_progress"))
            );
            output.push(event["item"].clone());
            continue;
        }
        let Some(item) = output
            .get_mut(index)
            .filter(|_| event.get("output_index").is_some())
        else {
            continue;
        };
        let more = |before: &Value| {
            json!(before.as_str().unwrap().to_owned() + event["delta"].as_str().unwrap())
        };
        match kind {
            "response.content_part.added" => item["content"] = json!([event["part"]]),
            "response.output_text.delta" | "response.reasoning_text.delta" => {
                item["content"][0]["text"] = more(&item["content"][0]["text"]);
            }
            "response.function_call_arguments.delta" => {
                item["arguments"] = more(&item["arguments"])
            }
            "response.output_text.done" | "response.reasoning_text.done" => {
                assert_eq!(item["content"][0]["text"], event["text"]);
            }
            "response.function_call_arguments.done" => {
                assert_eq!(item["arguments"], event["arguments"])
            }
            "response.content_part.done" => assert_eq!(item["content"][0], event["part"]),
            "response.output_item.done" => {
                item["status"] = event["item"]["status"].clone();
                assert_eq!(*item, event["item"]);
            }
            other => panic!("{other}"),
        }
        assert!(kind.starts_with("response.output_item") || event["item_id"] == item["id"]);
    }
    output
}

/// The same without what differs from answer to answer.
fn plain(mut output: Value) -> Value {
    for item in output.as_array_mut().unwrap() {
        for name in ["id", "call_id"] {
            if item.get(name).is_some() {
                item[name] = json!(null);
            }
        }
    }
    output
}

#[test]
fn events_add_up_to_the_response() {
    let thinks = json!({"reasoning": {"effort": "low"}, "enable_thinking": true, "thinking_budget": 6, "max_output_tokens": 30});
    for more in [
        json!({}),
        json!({"text": {"format": {"type": "json_object"}}, "max_output_tokens": 60}),
        thinks,
        json!({"tools": tools(), "tool_choice": "required", "max_output_tokens": 200}),
        json!({"tools": tools(), "tool_choice": {"type": "function", "name": "clock"}, "max_output_tokens": 60}),
        json!({"tools": tools(), "max_output_tokens": 200, "tool_choice": {"type": "allowed_tools", "mode": "required",
            "tools": [{"type": "function", "name": "clock"}]}}),
    ] {
        let alone = good(more.clone());
        let mut body = more.clone();
        body["stream"] = json!(true);
        let events = send(body).named_events();
        let output = added_up(&events);
        let kinds: Vec<_> = events
            .iter()
            .map(|event| event["type"].as_str().unwrap())
            .collect();
        assert_eq!(&kinds[..2], ["response.created", "response.in_progress"]);
        let last = &events.last().unwrap()["response"];
        assert_eq!(
            kinds.last(),
            Some(&format!("response.{}", last["status"].as_str().unwrap()).as_str())
        );
        assert_eq!(last["output"], json!(output), "{more}");
        assert_eq!(
            plain(last["output"].clone()),
            plain(alone["output"].clone()),
            "{more}"
        );
        assert_eq!(
            last["usage"]["output_tokens"],
            alone["usage"]["output_tokens"]
        );
        assert_eq!(last["id"], events[0]["response"]["id"]);
        // What was streamed is kept as well.
        let kept = request(
            shared().address,
            "GET",
            &format!("/v1/responses/{}", last["id"].as_str().unwrap()),
            "",
        );
        assert_eq!(kept.json(), *last);
    }
}

#[test]
fn one_goes_on_from_another() {
    let first = good(json!({"instructions": "You are brief."}));
    let on = |id: &Value, more: Value| {
        let body = json!({"previous_response_id": id, "input": "And then?"});
        good(with(body, &more))
    };
    let second = on(&first["id"], json!({}));
    // The same conversation, said at once: without the instructions, which held for the first.
    let all = json!([{"role": "user", "content": "Tell me about a dog"}, first["output"][0], {"role": "user", "content": "And then?"}]);
    let at_once = good(json!({"input": all}));
    assert_eq!(text(&second), text(&at_once));
    assert_eq!(
        second["usage"]["input_tokens"],
        at_once["usage"]["input_tokens"]
    );
    assert_eq!(second["previous_response_id"], first["id"]);
    let third = on(&second["id"], json!({}));
    assert!(third["usage"]["input_tokens"].as_u64() > second["usage"]["input_tokens"].as_u64());
    // Thoughts are taken along, whichever way.
    let thinks = json!({"enable_thinking": true, "thinking_budget": 6, "max_output_tokens": 40});
    let thought = good(thinks);
    let output = thought["output"].as_array().unwrap();
    assert_eq!((output.len(), &output[0]["type"]), (2, &json!("reasoning")));
    let question = json!({"role": "user", "content": "Tell me about a dog"});
    let next = json!({"role": "user", "content": "And then?"});
    let all = json!([question, output[0], output[1], next]);
    let (followed, at_once) = (on(&thought["id"], json!({})), good(json!({"input": all})));
    assert_eq!(text(&followed), text(&at_once));
    assert_eq!(
        followed["usage"]["input_tokens"],
        at_once["usage"]["input_tokens"]
    );
    // A fork from the first is what the second was.
    assert_eq!(
        text(&on(&first["id"], json!({"store": false}))),
        text(&second)
    );
}

#[test]
fn calls_are_made_and_answered() {
    let ask = json!({"tools": tools(), "tool_choice": "required", "parallel_tool_calls": false, "max_output_tokens": 300});
    let called = good(ask);
    assert_eq!(called["status"], "completed");
    let call = &called["output"][0];
    assert_eq!(call["type"], "function_call");
    let arguments: Value = serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap();
    assert!(arguments.is_object() && call["call_id"].as_str().unwrap().starts_with("call_"));
    let output = |output: Value| json!({"type": "function_call_output", "call_id": call["call_id"], "output": output});
    let after = good(
        json!({"previous_response_id": called["id"], "input": [output(json!("dry"))], "tools": tools()}),
    );
    let question = json!({"role": "user", "content": "Tell me about a dog"});
    let parts = output(json!([{"type": "input_text", "text": "dry"}]));
    let at_once = good(json!({"input": [question, call, parts], "tools": tools()}));
    assert_eq!(text(&after), text(&at_once));
    assert_eq!(
        after["usage"]["input_tokens"],
        at_once["usage"]["input_tokens"]
    );
    let search = json!([{"type": "web_search"}]);
    assert_eq!(
        send(json!({"tools": search})).headers["x-lattice-ignored"],
        "tools.web_search"
    );
}

#[test]
fn log_probabilities_are_those_of_the_chat() {
    let include = json!(["message.output_text.logprobs"]);
    let more =
        json!({"include": include, "top_logprobs": 2, "max_output_tokens": 8, "stream": true});
    let events = send(more).named_events();
    let deltas = events
        .iter()
        .filter(|event| event["type"] == "response.output_text.delta");
    let told: Vec<Value> = deltas
        .flat_map(|event| event["logprobs"].as_array().unwrap().clone())
        .collect();
    let whole = &events.last().unwrap()["response"]["output"][0]["content"][0]["logprobs"];
    assert_eq!(&json!(told), whole);
    let body = json!({"logprobs": true, "top_logprobs": 2, "max_tokens": 8});
    let known = chat(shared().address, &say("Tell me about a dog", body)).json();
    assert_eq!(whole, &known["choices"][0]["logprobs"]["content"]);
    assert!(told.len() > 3);
    let reply = send(json!({"top_logprobs": 2}));
    assert_eq!(
        (reply.status, reply.error()["param"].clone()),
        (400, json!("top_logprobs"))
    );
}

#[test]
fn formats_hold() {
    let schema = json!({"type": "object", "properties": {"legs": {"type": "integer", "minimum": 0, "maximum": 8}},
        "required": ["legs"], "additionalProperties": false});
    let format = json!({"type": "json_schema", "name": "animal", "schema": schema, "strict": true});
    let reply = good(json!({"text": {"format": format}, "max_output_tokens": 60}));
    assert!(serde_json::from_str::<Value>(&text(&reply)).unwrap()["legs"].is_u64());
    assert_eq!(
        (&reply["status"], &reply["text"]["format"]),
        (&json!("completed"), &format)
    );
}

#[test]
fn what_is_kept_can_be_read_and_forgotten() {
    let options = ServeOptions {
        responses_max: 2,
        ..ServeOptions::default()
    };
    let server = Server::start(options, Shape::default());
    let send = |more: Value| post(server.address, "/v1/responses", &ask(more)).json();
    let at = |method: &str, response: &Value| {
        let path = format!("/v1/responses/{}", response["id"].as_str().unwrap());
        request(server.address, method, &path, "")
    };
    let passing = send(json!({"store": false}));
    assert_eq!(
        (at("GET", &passing).status, &passing["store"]),
        (404, &json!(false))
    );
    let first = send(json!({}));
    let second = send(json!({}));
    assert_eq!(at("GET", &first).json(), first);
    let items = format!(
        "/v1/responses/{}/input_items",
        first["id"].as_str().unwrap()
    );
    let items = request(server.address, "GET", &items, "").json();
    assert_eq!(
        (items["data"].as_array().unwrap().len(), &items["has_more"]),
        (1, &json!(false))
    );
    assert_eq!(items["data"][0]["content"][0]["type"], "input_text");
    assert_eq!(items["first_id"], items["data"][0]["id"]);
    assert_eq!(items["first_id"], items["last_id"]);
    // There is room for two: the one that was not asked for goes.
    let third = send(json!({}));
    assert_eq!(at("GET", &second).error()["code"], "response_not_found");
    assert_eq!(
        at("DELETE", &first).json(),
        json!({"id": first["id"], "object": "response", "deleted": true})
    );
    assert_eq!(
        (at("DELETE", &first).status, at("GET", &third).status),
        (404, 200)
    );
    let gone = post(
        server.address,
        "/v1/responses",
        &ask(json!({"previous_response_id": first["id"]})),
    );
    let error = gone.error();
    assert_eq!(
        (gone.status, &error["code"]),
        (400, &json!("previous_response_not_found"))
    );
    assert_eq!(error["param"], "previous_response_id");
}

#[test]
fn what_is_wrong_is_named() {
    let item = |item: Value| json!({"input": [item]});
    for (more, name) in [
        (json!({"temperature": -1}), "temperature"),
        (json!({"max_output_tokens": 0}), "max_output_tokens"),
        (json!({"input": null}), "input"),
        (json!({"input": []}), "input"),
        (json!({"input": 1}), "input"),
        (item(json!(1)), "input[0]"),
        (item(json!({"type": "computer_call"})), "input[0].type"),
        (
            item(json!({"role": "robot", "content": "x"})),
            "input[0].role",
        ),
        (item(json!({"role": "user"})), "input[0].content"),
        (
            item(json!({"role": "user", "content": [{"type": "input_image"}]})),
            "input[0].content[0].type",
        ),
        (
            item(json!({"type": "function_call", "call_id": "1", "name": "f"})),
            "input[0].arguments",
        ),
        (
            item(json!({"type": "function_call_output", "output": "x"})),
            "input[0].call_id",
        ),
        (
            json!({"tools": [{"type": "function", "name": "a b"}]}),
            "tools[0].name",
        ),
        (json!({"tools": [{"name": "a"}]}), "tools[0].type"),
        (json!({"tool_choice": "required"}), "tool_choice"),
        (
            json!({"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"name": "x"}]}}),
            "tool_choice.tools[0]",
        ),
        (
            json!({"tool_choice": {"type": "file_search"}}),
            "tool_choice",
        ),
        (json!({"text": {"format": {"type": "xml"}}}), "text.format"),
        (
            json!({"text": {"format": {"type": "json_schema", "name": "x", "schema": 1}}}),
            "text.format",
        ),
        (
            json!({"reasoning": {"effort": "endless"}}),
            "reasoning.effort",
        ),
        (json!({"background": true}), "background"),
        (json!({"conversation": "conv_1"}), "conversation"),
        (
            json!({"previous_response_id": "resp_none"}),
            "previous_response_id",
        ),
        (json!({"metadata": 1}), "metadata"),
    ] {
        let reply = send(more.clone());
        assert_eq!(reply.status, 400, "{more} {}", reply.json());
        let error = reply.error();
        assert_eq!(error["param"], name, "{error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.starts_with(&format!("{name}: ")), "{message}");
    }
    let ignored =
        send(json!({"truncation": "auto", "include": ["x"], "text": {"verbosity": "low"}}));
    assert_eq!(
        ignored.headers["x-lattice-ignored"],
        "text.verbosity, include, truncation"
    );
}
