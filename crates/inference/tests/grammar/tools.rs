//! Grammars of calls: what they let through is read as calls again, with arguments that their schemas take.

use std::ops::ControlFlow;

use lattice_inference::generate::StopReason;
use lattice_inference::sample::SamplerOptions;
use lattice_inference::tokenizer::{ChatMessage, ChatOptions, Role, Tokenizer as _};
use lattice_inference::tools::{
    Tool, ToolChoice, ToolEvent, ToolFormat, ToolStream, grammar_from_tools,
};
use serde_json::{Value, json};

use super::{engine, grammars};

fn tools() -> Vec<Tool> {
    let weather = json!({"type": "object", "properties": {"city": {"type": "string", "maxLength": 20},
        "days": {"type": "integer", "minimum": 1, "maximum": 9}, "unit": {"enum": ["c", "f"]}},
        "required": ["city", "days"], "additionalProperties": false});
    let log = json!({"type": "object", "properties": {"lines": {"type": "array", "maxItems": 2,
        "items": {"type": "boolean"}}, "why": {"$ref": "#/$defs/why"}}, "required": ["lines"],
        "additionalProperties": false, "$defs": {"why": {"enum": ["a", "b"]}}});
    Tool::list_from_json(&json!([
        {"type": "function", "function": {"name": "weather", "parameters": weather, "strict": true}},
        {"type": "function", "function": {"name": "log", "parameters": log}},
        {"type": "function", "function": {"name": "stop"}},
    ]))
    .unwrap()
}

const FORMATS: [ToolFormat; 3] = [ToolFormat::QwenXml, ToolFormat::Hermes, ToolFormat::Llama3];

/// What a reader makes of a text: the text beside the calls, the calls, the notes.
fn read(format: ToolFormat, text: &str) -> (String, Vec<(String, Value)>, usize) {
    let (mut stream, mut events) = (ToolStream::new(format, tools()), Vec::new());
    stream.push(text, &mut events);
    stream.finish(&mut events);
    let (mut said, mut calls, mut notes) = (String::new(), Vec::new(), 0);
    for event in events {
        match event {
            ToolEvent::Text(text) => said.push_str(&text),
            ToolEvent::Begin { name, .. } => calls.push((name, String::new())),
            ToolEvent::Arguments { json, .. } => calls.last_mut().unwrap().1.push_str(&json),
            ToolEvent::End { .. } => {}
            ToolEvent::Broken { .. } | ToolEvent::Note(_) => notes += 1,
        }
    }
    let parsed = |(name, json): (String, String)| (name, serde_json::from_str(&json).unwrap());
    (said, calls.into_iter().map(parsed).collect(), notes)
}

#[test]
fn a_parameter_is_held_to_what_it_refers_to() {
    let log = ToolChoice::Named("log".to_owned());
    let grammar = grammar_from_tools(ToolFormat::QwenXml, &tools(), &log, false, &|_| false);
    let compiled = grammars().compile(&grammar.unwrap().unwrap()).unwrap();
    for (why, fits) in [("a", true), ("b", true), ("c", false), ("a b", false)] {
        let call = format!(
            "<tool_call>\n<function=log>\n<parameter=lines>\n[]\n</parameter>\n<parameter=why>\n{why}\n</parameter>\n</function>\n</tool_call>"
        );
        assert_eq!(compiled.matches(&call).unwrap(), fits, "{why}");
    }
}

#[test]
fn calls_as_models_write_them_are_in_the_grammar() {
    let plain = |_: &str| false;
    let grammars = grammars();
    let cases = [
        (
            ToolFormat::QwenXml,
            "<tool_call>\n<function=weather>\n<parameter=city>\nParis\n</parameter>\n<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>",
            "<tool_call>\n<function=weather>\n<parameter=city>\nParis\n</parameter>\n<parameter=days>\n12\n</parameter>\n</function>\n</tool_call>",
        ),
        (
            ToolFormat::Hermes,
            "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Paris\", \"days\": 3}}\n</tool_call>",
            "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Paris\"}}\n</tool_call>",
        ),
        (
            ToolFormat::Llama3,
            "{\"name\": \"weather\", \"parameters\": {\"city\": \"Paris\", \"days\": 3}}",
            "{\"name\": \"weather\", \"parameters\": {\"city\": \"Paris\", \"days\": 3, \"x\": 1}}",
        ),
    ];
    for (format, good, bad) in cases {
        for choice in [
            ToolChoice::Required,
            ToolChoice::Named("weather".to_owned()),
            ToolChoice::Auto,
        ] {
            let grammar = grammar_from_tools(format, &tools(), &choice, true, &plain)
                .unwrap()
                .unwrap();
            let compiled = grammars.compile(&grammar).unwrap();
            assert!(
                compiled.matches(good).unwrap(),
                "{format:?} {choice:?} {grammar:?}"
            );
            assert!(!compiled.matches(bad).unwrap(), "{format:?} {choice:?}");
            let divider = if format == ToolFormat::Llama3 {
                "; "
            } else {
                "\n"
            };
            assert!(compiled.matches(&format!("{good}{divider}{good}")).unwrap());
            let free = choice == ToolChoice::Auto;
            assert_eq!(compiled.matches("Just words.").unwrap(), free);
            let (said, calls, notes) = read(format, good);
            assert_eq!((said.as_str(), notes), ("", 0));
            assert_eq!(
                calls,
                [("weather".to_owned(), json!({"city": "Paris", "days": 3}))]
            );
        }
        let one = grammar_from_tools(format, &tools(), &ToolChoice::Required, false, &plain);
        let one = grammars.compile(&one.unwrap().unwrap()).unwrap();
        assert!(!one.matches(&format!("{good}\n{good}")).unwrap());
        let other = ToolChoice::Named("stop".to_owned());
        let other = grammar_from_tools(format, &tools(), &other, true, &plain)
            .unwrap()
            .unwrap();
        assert!(!grammars.compile(&other).unwrap().matches(good).unwrap());
    }
}

#[test]
fn nothing_is_held_where_nothing_is_demanded() {
    let plain = |_: &str| false;
    let mut tools = tools();
    tools[0].strict = false;
    for format in FORMATS {
        for choice in [ToolChoice::Auto, ToolChoice::None] {
            let grammar = grammar_from_tools(format, &tools, &choice, true, &plain);
            let told_as_written = format != ToolFormat::Llama3 && choice == ToolChoice::Auto;
            assert_eq!(grammar.unwrap().is_some(), told_as_written);
        }
    }
}

/// What is told as it is written cannot be taken back: no answer can begin such a call and not go on with it.
#[test]
fn a_call_that_has_begun_keeps_its_form() {
    let plain = |_: &str| false;
    let mut tools = tools();
    tools[0].strict = false;
    let grammar = grammar_from_tools(ToolFormat::QwenXml, &tools, &ToolChoice::Auto, true, &plain);
    let compiled = grammars().compile(&grammar.unwrap().unwrap()).unwrap();
    let call = |inside: &str| format!("<tool_call>\n{inside}\n</tool_call>");
    let twice = "<parameter=days>\n3\n</parameter>\n<parameter=days>\n4\n</parameter>\n";
    for (text, fits) in [
        ("Just words, and a < b.".to_owned(), true),
        (call("<function=stop>\n</function>"), true),
        (
            format!("Let me see.\n\n{}", call("<function=stop>\n</function>")),
            true,
        ),
        // Whatever a tool that is not strict is given, in any order.
        (
            call(
                "<function=weather>\n<parameter=days>\nmany\n</parameter>\n<parameter=x y>\n\n</parameter>\n</function>",
            ),
            true,
        ),
        (
            call(&format!("<function=weather>\n{twice}</function>")),
            true,
        ),
        (call("<function=nobody>\n</function>"), false),
        (call("<function=stop>\nwords\n</function>"), false),
        (call("what?"), false),
        ("<tool_call>".to_owned(), false),
        ("<function=stop>".to_owned(), false),
    ] {
        assert_eq!(compiled.matches(&text).unwrap(), fits, "{text}");
        let (_, calls, _) = read(ToolFormat::QwenXml, &text);
        assert!(
            !fits || calls.len() == usize::from(text.contains("<tool_call>")),
            "{text}"
        );
    }
    let grammar = grammar_from_tools(ToolFormat::Hermes, &tools, &ToolChoice::Auto, true, &plain);
    let compiled = grammars().compile(&grammar.unwrap().unwrap()).unwrap();
    for (text, fits) in [
        ("Just words, <function=stop> too.".to_owned(), true),
        (call(r#"{"name": "stop", "arguments": {}}"#), true),
        (
            call(r#"{"name": "weather", "arguments": {"days": "many", "x": [{"y": null}]}}"#),
            true,
        ),
        (call(r#"{"name": "nobody", "arguments": {}}"#), false),
        (call(r#"{"name": "stop", "arguments": []}"#), false),
        (
            call(r#"{"name": "stop", "arguments": {}, "more": 1}"#),
            false,
        ),
        ("<tool_call>".to_owned(), false),
    ] {
        assert_eq!(compiled.matches(&text).unwrap(), fits, "{text}");
        let (_, calls, _) = read(ToolFormat::Hermes, &text);
        assert!(
            !fits || calls.len() == usize::from(text.contains("<tool_call>")),
            "{text}"
        );
    }
    let (_, calls, notes) = read(
        ToolFormat::QwenXml,
        &call(&format!("<function=weather>\n{twice}</function>")),
    );
    assert_eq!((calls[0].1.clone(), notes), (json!({"days": 3}), 1));
}

/// The bundled model knows nothing of tools; the grammar makes calls of what it writes.
#[test]
fn a_demanded_call_is_made() {
    let mut engine = engine();
    assert_eq!(engine.tool_format(), Some(ToolFormat::QwenXml));
    let grammar = engine
        .tool_grammar(&tools(), &ToolChoice::Required, false)
        .unwrap()
        .unwrap();
    for seed in 0..8 {
        let messages = [ChatMessage::new(Role::User, "How is the weather?")];
        let options = ChatOptions {
            enable_thinking: Some(false),
            tools: Some(vec![
                json!({"type": "function", "function": {"name": "weather"}}),
            ]),
            ..ChatOptions::default()
        };
        let mut request = engine.chat(&messages, &options).unwrap().request;
        request.sampler = SamplerOptions {
            temperature: 1.3,
            seed: Some(seed),
            ..SamplerOptions::default()
        };
        request.max_tokens = Some(400);
        engine.hold(&mut request, &grammar, false).unwrap();
        let mut stream = engine.tool_stream(tools()).unwrap();
        let mut events = Vec::new();
        let answer = engine.generator.generate(request, |event| {
            if let lattice_inference::generate::Event::Token { id, text, .. } = event {
                stream.push_token(*id, text, &mut events);
            }
            ControlFlow::Continue(())
        });
        let answer = answer.unwrap();
        stream.finish(&mut events);
        assert_eq!(answer.reason, StopReason::Complete, "{}", answer.text);
        let (said, calls, notes) = read(ToolFormat::QwenXml, &answer.text);
        assert_eq!(
            (said.as_str(), notes, calls.len()),
            ("", 0, 1),
            "{}",
            answer.text
        );
        let ends = events
            .iter()
            .filter(|event| matches!(event, ToolEvent::End { .. }));
        assert_eq!(ends.count(), 1);
        let (name, arguments) = &calls[0];
        if name == "weather" {
            assert!(
                arguments["city"].is_string()
                    && arguments["days"].as_u64().is_some_and(|days| days < 10)
            );
        }
        let text = engine.tokenizer.text_from_ids(&answer.ids);
        assert_eq!(text, answer.text);
    }
}
