//! Answers that are held to a form, and calls of tools.

use serde_json::{Value, json};

use super::{Home, QUESTION, events, said, words};

const SCHEMA: &str = r#"{"type": "object", "properties": {"age": {"type": "integer", "minimum": 1, "maximum": 99},
    "mood": {"enum": ["glad", "sad"]}}, "required": ["age", "mood"], "additionalProperties": false}"#;
const TOOLS: &str = r#"[{"type": "function", "function": {"name": "weather", "parameters": {"type": "object",
    "properties": {"days": {"type": "integer", "minimum": 1, "maximum": 9}}, "required": ["days"]}}}]"#;

/// A file in the home, by its name.
fn file(home: &Home, name: &str, text: &str) -> String {
    let path = home.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn answers_are_held_to_what_the_flags_say() {
    let home = Home::new();
    let schema = file(&home, "s.json", SCHEMA);
    let answer = home.answer(&["-p", QUESTION, "--schema", &schema]);
    let value: Value = serde_json::from_str(&answer).unwrap();
    assert!(value["age"].is_u64() && value["mood"].is_string());
    let answer = home.answer(&["-p", QUESTION, "--regex", "fox(es)? [0-9]{2}"]);
    assert!(answer.starts_with("fox") && answer.trim_end().ends_with(|c: char| c.is_ascii_digit()));
    let lark = file(&home, "g.lark", "start: \"yes\" | \"no\"\n");
    let gbnf = file(&home, "g.gbnf", "root ::= \"yes\" | \"no\"\n");
    for path in [lark, gbnf] {
        let answer = home.answer(&["-p", QUESTION, "--grammar", &path]);
        assert!(["yes\n", "no\n"].contains(&answer.as_str()), "{answer}");
    }
}

#[test]
fn what_is_wrong_is_said_before_or_instead_of_an_answer() {
    let home = Home::new();
    let bad = file(&home, "bad.json", "{");
    let remote = file(&home, "remote.json", r#"{"$ref": "https://example.com/x"}"#);
    let other = file(&home, "g.txt", "x");
    for (args, says) in [
        (["--schema", &bad], "json_schema: not JSON"),
        (["--schema", &remote], "only references within the schema"),
        (["--regex", "(a"], "unclosed group"),
        (["--grammar", &other], "allowed is lark, gbnf or json"),
        (["--tools", &bad], "bad.json"),
        (["--schema", "nowhere.json"], "cannot open nowhere.json"),
    ] {
        let output = home.run(&[&["-p", QUESTION], &args[..]].concat(), b"");
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(
            words(&output).contains(says),
            "{args:?}: {}",
            words(&output)
        );
    }
    let both = home.run(&["-p", QUESTION, "--regex", "a", "--schema", &bad], b"");
    assert_eq!(both.status.code(), Some(2));
}

#[test]
fn calls_of_tools_are_events() {
    let home = Home::new();
    let tools = file(&home, "tools.json", TOOLS);
    let args = [
        "-p",
        QUESTION,
        "--tools",
        &tools,
        "--tool-choice",
        "weather",
    ];
    let plain = home.answer(&args);
    assert!(plain.starts_with("weather {\"days\":"), "{plain}");
    let output = home.run(&[&args[..], &["--json"]].concat(), b"");
    let events = events(&output);
    assert_eq!(events[0]["tool_format"], "qwen_xml");
    let calls: Vec<&Value> = events
        .iter()
        .filter(|event| event["ev"] == "tool_call")
        .collect();
    assert_eq!(calls[0]["name"], "weather");
    assert_eq!(calls.last().unwrap()["done"], json!(true));
    let arguments: String = calls
        .iter()
        .filter_map(|call| call["arguments"].as_str())
        .collect();
    let arguments: Value = serde_json::from_str(&arguments).unwrap();
    assert!(
        arguments["days"]
            .as_u64()
            .is_some_and(|days| (1..10).contains(&days))
    );
    let last = events.last().unwrap();
    assert_eq!(last["stop_reason"], "tool_calls");
    assert_eq!(last["tool_calls"][0]["function"]["name"], "weather");
    assert_eq!(said(&events), "");
}

#[test]
fn requests_bring_their_own_form() {
    let home = Home::new();
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let tools: Value = serde_json::from_str(TOOLS).unwrap();
    let history = json!([{"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "call_0", "type": "function",
            "function": {"name": "weather", "arguments": "{\"days\": 1}"}}]},
        {"role": "tool", "tool_call_id": "call_0", "content": "sunny"}]);
    let requests = [
        json!({"prompt": QUESTION, "response_format": {"type": "json_schema", "json_schema": {"schema": schema}}}),
        json!({"prompt": QUESTION, "grammar": {"regex": "[a-f]{40}"}, "max_tokens": 3}),
        json!({"prompt": QUESTION, "tools": tools, "tool_choice": "required"}),
        json!({"messages": history, "tools": tools, "tool_choice": "none", "max_tokens": 5}),
        json!({"prompt": QUESTION, "response_format": {"type": "json_schema", "schema": false}}),
    ];
    let input: String = requests
        .iter()
        .map(|request| format!("{request}\n"))
        .collect();
    let output = home.run(&["--json", "--serve"], input.as_bytes());
    let events = events(&output);
    let ends: Vec<&Value> = events
        .iter()
        .filter(|event| {
            event["ev"] == "error" || event["ev"] == "gen_token" && event["done"] == json!(true)
        })
        .collect();
    assert_eq!(ends.len(), requests.len());
    assert_eq!(
        (&ends[0]["stop_reason"], &ends[0]["stop_detail"]),
        (&json!("stop"), &json!("complete"))
    );
    assert_eq!(
        (&ends[1]["stop_reason"], &ends[1]["incomplete"]),
        (&json!("length"), &json!(true))
    );
    assert_eq!(ends[2]["stop_reason"], "tool_calls");
    assert!(ends[3]["tool_calls"].is_null());
    assert!(
        ends[4]["msg"]
            .as_str()
            .unwrap()
            .contains("nothing satisfies it")
    );
}
