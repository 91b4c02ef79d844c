//! Calls of tools as they stream: the cuts change nothing, nothing is lost, arguments are JSON.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use lattice_inference::tools::{Tool, ToolChoice, ToolEvent, ToolFormat, ToolStream};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const FORMATS: [ToolFormat; 3] = [ToolFormat::QwenXml, ToolFormat::Hermes, ToolFormat::Llama3];

fn tools() -> Vec<Tool> {
    let parameters = json!({"type": "object", "properties": {
        "text": {"type": "string"}, "count": {"type": "integer"}, "rate": {"type": ["number", "null"]},
        "flag": {"type": "boolean"}, "list": {"type": "array"}, "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "deep": {"$ref": "#/$defs/deep"}}, "$defs": {"deep": {"type": "object"}}});
    Tool::list_from_json(&json!([
        {"type": "function", "function": {"name": "f", "parameters": parameters}},
        {"type": "function", "function": {"name": "g"}},
    ]))
    .unwrap()
}

/// All that came out, as it adds up.
#[derive(Debug, Default, PartialEq)]
struct Read {
    /// Text, with a sign for each call where it stood.
    text: String,
    calls: Vec<(String, String)>,
    broken: Vec<usize>,
    notes: Vec<String>,
}

fn read(format: ToolFormat, pieces: &[&str]) -> Read {
    let mut stream = ToolStream::new(format, tools());
    let mut events = Vec::new();
    pieces
        .iter()
        .for_each(|piece| stream.push(piece, &mut events));
    stream.finish(&mut events);
    let mut read = Read::default();
    let mut ended = 0;
    for event in events {
        match event {
            ToolEvent::Text(text) => {
                assert!(!text.is_empty());
                read.text.push_str(&text);
            }
            ToolEvent::Begin { index, name } => {
                assert_eq!(index, read.calls.len());
                read.text.push('\u{1}');
                read.calls.push((name, String::new()));
            }
            ToolEvent::Arguments { index, json } => read.calls[index].1.push_str(&json),
            ToolEvent::End { .. } => ended += 1,
            ToolEvent::Broken { index } => read.broken.push(index),
            ToolEvent::Note(note) => read.notes.push(note),
        }
    }
    assert_eq!(ended + read.broken.len(), read.calls.len());
    assert_eq!(stream.calls(), read.calls.len());
    for (_, json) in &read.calls {
        serde_json::from_str::<Map<String, Value>>(json).unwrap();
    }
    read
}

/// The calls that are whole.
fn calls(format: ToolFormat, text: &str) -> Vec<(String, Value)> {
    let read = read(format, &[text]);
    assert_eq!(
        (read.broken.len(), read.notes.len()),
        (0, 0),
        "{text}: {read:?}"
    );
    let parsed = |(name, json): (String, String)| (name, serde_json::from_str(&json).unwrap());
    read.calls.into_iter().map(parsed).collect()
}

fn xml(parameters: &[(&str, &str)]) -> String {
    let parameter =
        |(key, value): &(&str, &str)| format!("<parameter={key}>\n{value}\n</parameter>\n");
    let parameters: String = parameters.iter().map(parameter).collect();
    format!("<tool_call>\n<function=f>\n{parameters}</function>\n</tool_call>")
}

#[test]
fn types_of_parameters_are_those_of_the_schema() {
    let text = xml(&[
        ("text", "42"),
        ("count", "42"),
        ("rate", "null"),
        ("flag", "True"),
        ("list", "[1, \"a\"]"),
        ("maybe", "null"),
        ("deep", "{\"a\": 1}"),
        ("unknown", "7"),
    ]);
    let expected = json!({"text": "42", "count": 42, "rate": null, "flag": true, "list": [1, "a"], "maybe": null,
        "deep": {"a": 1}, "unknown": "7"});
    assert_eq!(
        calls(ToolFormat::QwenXml, &text),
        [("f".to_owned(), expected)]
    );
    // What is of no admitted type is kept as it was written.
    let text = xml(&[("count", "many"), ("text", "two\n\nlines <b> </function>")]);
    let expected = json!({"count": "many", "text": "two\n\nlines <b> </function>"});
    assert_eq!(
        calls(ToolFormat::QwenXml, &text),
        [("f".to_owned(), expected)]
    );
}

#[test]
fn several_calls_and_text_beside_them() {
    let call = xml(&[("count", "1")]);
    let read = read(
        ToolFormat::QwenXml,
        &[&format!("Look:\n\n{call}\n{call}\nDone.")],
    );
    assert_eq!(read.text, "Look:\u{1}\u{1}\nDone.");
    let json = |at: usize| {
        format!("<tool_call>\n{{\"name\": \"g\", \"arguments\": {{\"n\": {at}}}}}\n</tool_call>")
    };
    let made = calls(ToolFormat::Hermes, &format!("{}\n{}", json(1), json(2)));
    assert_eq!(
        made,
        [
            ("g".to_owned(), json!({"n": 1})),
            ("g".to_owned(), json!({"n": 2}))
        ]
    );
    // In another order it comes when it is whole.
    let turned = r#"<tool_call>{"arguments": {"a": {"b": [1, "]}"]}}, "name": "g"}</tool_call>"#;
    assert_eq!(
        calls(ToolFormat::Hermes, turned),
        [("g".to_owned(), json!({"a": {"b": [1, "]}"]}}))]
    );
    let bare = r#"{"name": "g", "parameters": {"s": "a;}{"}}"#;
    let made = calls(ToolFormat::Llama3, &format!("<|python_tag|>{bare}; {bare}"));
    assert_eq!(made.len(), 2);
    assert_eq!(made[1].1, json!({"s": "a;}{"}));
    // The inner tag is enough.
    let inner = call
        .replace("<tool_call>\n", "")
        .replace("\n</tool_call>", "");
    assert_eq!(calls(ToolFormat::QwenXml, &inner).len(), 1);
    let as_text = r#"<tool_call>{"name": "g", "arguments": "{\"a\": 1}"}</tool_call>"#;
    assert_eq!(
        calls(ToolFormat::Hermes, as_text),
        [("g".to_owned(), json!({"a": 1}))]
    );
}

#[test]
fn what_is_no_call_is_text_with_a_note() {
    let cases = [
        (
            ToolFormat::QwenXml,
            "<tool_call>\n<function=nobody>\n</function>\n</tool_call>",
            0,
        ),
        (ToolFormat::QwenXml, "Hi.\n\n<tool_call>\nwhat?", 0),
        (ToolFormat::QwenXml, "<tool_call>", 0),
        (
            ToolFormat::QwenXml,
            "<tool_call>\n<function=f>\n<parameter=count>\n1\n</parameter>\n",
            1,
        ),
        (
            ToolFormat::QwenXml,
            "<tool_call>\n<function=f>\nwords\n</function>\n</tool_call>",
            1,
        ),
        (
            ToolFormat::QwenXml,
            "<tool_call>\n<function=f>\n</function>\n<other>",
            1,
        ),
        (
            ToolFormat::Hermes,
            "<tool_call>\n{\"name\": \"nobody\", \"arguments\": {}}\n</tool_call>",
            0,
        ),
        (
            ToolFormat::Hermes,
            "<tool_call>\n{\"name\": \"f\", \"arguments\": [1]}\n</tool_call>",
            0,
        ),
        (
            ToolFormat::Hermes,
            "<tool_call>\n{\"name\": \"f\", arguments}\n</tool_call>",
            0,
        ),
        (
            ToolFormat::Hermes,
            "<tool_call>\n{\"name\": \"f\", \"arguments\": {",
            1,
        ),
        (
            ToolFormat::Hermes,
            "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1, \"b\": x}}\n</tool_call>",
            1,
        ),
        (
            ToolFormat::Hermes,
            "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1]}\n</tool_call>",
            1,
        ),
        (
            ToolFormat::Hermes,
            "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}, \"c\": 1}\n</tool_call>",
            1,
        ),
        (ToolFormat::Hermes, "<tool_call>no</tool_call>", 0),
        (ToolFormat::Llama3, "<|python_tag|>print(1)", 0),
        (
            ToolFormat::Llama3,
            "{\"name\": \"nobody\", \"parameters\": {}}",
            0,
        ),
    ];
    for (format, text, broken) in cases {
        let read = read(format, &[text]);
        assert_eq!(read.text.replace('\u{1}', ""), text);
        assert_eq!(
            (read.notes.len(), read.broken.len()),
            (1, broken),
            "{text}: {read:?}"
        );
    }
    // JSON that names no tool is an answer, and needs no note.
    for text in ["{\"a\": 1}", "{\"a\": [", "{}", " {\"name\": 5} "] {
        let read = read(ToolFormat::Llama3, &[text]);
        assert_eq!((read.text.as_str(), read.notes.len()), (text, 0));
    }
}

/// Each argument is told when it is whole, not when the call is.
#[test]
fn arguments_are_told_one_by_one() {
    let json =
        r#"{"name": "f", "arguments": {"text": "a, b}", "list": [1, {"c": 2}], "flag": true}}"#;
    let hermes = format!("<tool_call>\n{json}\n</tool_call>");
    let parameters = [
        ("text", "a, b}"),
        ("list", r#"[1, {"c": 2}]"#),
        ("flag", "true"),
    ];
    for (format, text) in [
        (ToolFormat::Hermes, hermes),
        (ToolFormat::QwenXml, xml(&parameters)),
    ] {
        let mut stream = ToolStream::new(format, tools());
        let (mut events, mut told) = (Vec::new(), Vec::new());
        for sign in text.chars() {
            stream.push(&sign.to_string(), &mut events);
            told.extend(events.drain(..).filter_map(|event| match event {
                ToolEvent::Arguments { json, .. } => Some(json),
                _ => None,
            }));
            let open = told.concat();
            let whole = if open.ends_with('}') && told.len() > 3 {
                open
            } else {
                format!("{open}}}")
            };
            assert!(
                told.is_empty() || serde_json::from_str::<Value>(&whole).is_ok(),
                "{whole}"
            );
        }
        assert_eq!(told.len(), 4, "{told:?}");
        assert_eq!(told[1], r#","list":[1,{"c":2}]"#);
    }
    let twice = r#"<tool_call>{"name": "g", "arguments": {"a": 1, "a": 2}}</tool_call>"#;
    let read = read(ToolFormat::Hermes, &[twice]);
    assert_eq!(
        (read.calls[0].1.as_str(), read.notes.len()),
        (r#"{"a":1}"#, 1)
    );
}

#[test]
fn forms_are_read_off_templates() {
    let form = |name: &str| {
        let path = format!(
            "{}/tests/text/templates/{name}.jinja",
            env!("CARGO_MANIFEST_DIR")
        );
        ToolFormat::from_template(&std::fs::read_to_string(path).unwrap())
    };
    assert_eq!(form("qwen3_5"), Some(ToolFormat::QwenXml));
    assert_eq!(form("qwen3_coder"), Some(ToolFormat::QwenXml));
    assert_eq!(form("qwen3"), Some(ToolFormat::Hermes));
    assert_eq!(form("llama3_1"), Some(ToolFormat::Llama3));
    assert_eq!(form("llama3"), None);
    assert_eq!(form("smollm2"), None);
}

#[test]
fn what_is_wrong_with_tools_is_named() {
    let tool = |function: Value| json!([{"type": "function", "function": function}]);
    for (tools, field) in [
        (json!({}), "tools"),
        (json!([{"type": "web"}]), "tools[0].type"),
        (tool(json!({})), "tools[0].function.name"),
        (tool(json!({"name": "a b"})), "tools[0].function.name"),
        (
            tool(json!({"name": "a", "parameters": 5})),
            "tools[0].function.parameters",
        ),
        (
            tool(json!({"name": "a", "strict": "yes"})),
            "tools[0].function.strict",
        ),
    ] {
        assert_eq!(Tool::list_from_json(&tools).unwrap_err().field, field);
    }
    let twice = json!([{"function": {"name": "a"}}, {"function": {"name": "a"}}]);
    assert_eq!(
        Tool::list_from_json(&twice).unwrap_err().field,
        "tools[1].function.name"
    );
    let read = |value| ToolChoice::from_json(&value, &tools());
    assert_eq!(read(json!("required")), Ok(ToolChoice::Required));
    assert_eq!(read(Value::Null), Ok(ToolChoice::Auto));
    let named = json!({"type": "function", "function": {"name": "g"}});
    assert_eq!(read(named), Ok(ToolChoice::Named("g".to_owned())));
    for wrong in [
        json!("maybe"),
        json!(5),
        json!({"function": {"name": "nobody"}}),
    ] {
        assert_eq!(read(wrong).unwrap_err().field, "tool_choice");
    }
}

/// Answers made of what calls are made of, whole and broken.
fn answers() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just(xml(&[("count", "1"), ("text", "a</b>\n\u{e9}")])),
        Just(
            "<tool_call>\n{\"name\": \"g\", \"arguments\": {\"a\": \"}\\\"{\"}}\n</tool_call>"
                .to_owned()
        ),
        Just("{\"name\": \"f\", \"parameters\": {\"x\": [1, {}]}}".to_owned()),
        prop::sample::select(vec![
            "<tool_call>",
            "</tool_call>",
            "<function=f>",
            "<function=",
            "<parameter=count>",
            "</parameter>",
            "</function>",
            "<|python_tag|>",
            "{\"name\": \"g\"",
            "}",
            "{",
            ";",
            "\n",
            "  \n",
            "<",
            "<to",
            "\u{1f600}",
            "text",
            "\"",
            "\\",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(part, 0..10).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn cuts_change_nothing(text in answers(), cuts in prop::collection::vec(1usize..6, 0..200)) {
        for format in FORMATS {
            let whole = read(format, &[&text]);
            let mut pieces = Vec::new();
            let mut rest = text.as_str();
            for cut in cuts.iter().chain([&usize::MAX]) {
                let mut at = (*cut).min(rest.len());
                while !rest.is_char_boundary(at) {
                    at += 1;
                }
                let (piece, after) = rest.split_at(at);
                pieces.push(piece);
                rest = after;
            }
            prop_assert_eq!(&read(format, &pieces), &whole);
        }
    }

    #[test]
    fn a_text_without_whole_calls_comes_out_as_it_is(text in answers()) {
        for format in FORMATS {
            let read = read(format, &[&text]);
            if read.calls.len() == read.broken.len() {
                prop_assert_eq!(read.text.replace('\u{1}', ""), text.as_str());
            }
        }
    }

    #[test]
    fn arguments_come_back_as_they_were_written(text in "\\PC{0,40}", count in any::<i32>()) {
        prop_assume!(!text.contains("</parameter>"));
        let written = xml(&[("text", &text), ("count", &count.to_string())]);
        let made = calls(ToolFormat::QwenXml, &written);
        prop_assert_eq!(&made[0].1, &json!({"text": text, "count": count}));
        let arguments = json!({"text": text, "count": count});
        let written = format!("<tool_call>\n{}\n</tool_call>", json!({"name": "f", "arguments": arguments}));
        prop_assert_eq!(&calls(ToolFormat::Hermes, &written)[0].1, &arguments);
        let written = json!({"name": "f", "parameters": arguments}).to_string();
        prop_assert_eq!(&calls(ToolFormat::Llama3, &written)[0].1, &arguments);
    }
}
