//! Events, and requests on stdin.

use serde_json::{Value, json};

use super::{Home, QUESTION, events, said, words};

#[test]
fn tokens_concatenate_to_the_plain_answer() {
    let home = Home::new();
    let args = ["-p", QUESTION, "--temperature", "0", "--max-tokens", "40"];
    let plain = home.answer(&args);
    for stop in [&[][..], &["--stop", "zzz"]] {
        let output = home.run(&[&args[..], &["--json"], stop].concat(), b"");
        assert!(output.status.success());
        assert_eq!(words(&output), "");
        let events = events(&output);
        assert_eq!(events[0]["ev"], "ready");
        assert_eq!(events[0]["model"], "lattice-tiny");
        let (last, tokens) = events[1..].split_last().unwrap();
        assert!(tokens.iter().all(|event| event["done"] == json!(false)));
        assert_eq!(said(tokens), plain.trim_end_matches('\n'));
        assert_eq!((&last["token"], &last["done"]), (&json!(""), &json!(true)));
        for figure in [
            "ttft_ms",
            "total_ms",
            "prompt_tokens",
            "cached_tokens",
            "gen_tokens",
        ] {
            assert!(last[figure].is_number(), "{figure}: {last}");
        }
        assert!(["stop", "length"].contains(&last["stop_reason"].as_str().unwrap()));
    }
}

#[test]
fn thoughts_are_marked() {
    let home = Home::new();
    let args = [
        "--json",
        "-p",
        QUESTION,
        "--think",
        "--think-budget",
        "3",
        "--temperature",
        "0",
    ];
    let output = home.run(&[&args[..], &["--max-tokens", "30"]].concat(), b"");
    let events = events(&output);
    let thinking: Vec<&Value> = events
        .iter()
        .filter(|e| e["thinking"] == json!(true))
        .collect();
    assert!(!thinking.is_empty() && thinking.len() <= 4, "{thinking:?}");
    let all: String = thinking
        .iter()
        .filter_map(|e| e["token"].as_str())
        .collect();
    assert!(!all.contains("</think>") && !said(&events).contains("</think>"));
}

#[test]
fn what_goes_wrong_is_an_event_too() {
    let home = Home::new();
    for args in [
        &["--json", "-m", "nobody", "-p", "x"][..],
        &["--json", "-p", ""],
    ] {
        let output = home.run(args, b"");
        assert_eq!(output.status.code(), Some(1));
        let events = events(&output);
        let msg = events.last().unwrap()["msg"].as_str().unwrap();
        assert_eq!(events.last().unwrap()["ev"], "error");
        assert_eq!(words(&output), format!("lattice: {msg}\n"));
    }
}

/// The events of requests: those of each end with a `done` or an `error`.
fn served(home: &Home, requests: &[String]) -> Vec<Vec<Value>> {
    let output = home.run(&["--json", "--serve"], requests.join("\n").as_bytes());
    assert_eq!(output.status.code(), Some(0), "{}", words(&output));
    let events = events(&output);
    assert_eq!(events[0]["ev"], "ready");
    let ends = |event: &Value| event["done"] == json!(true) || event["ev"] == "error";
    let answers: Vec<_> = events[1..]
        .split_inclusive(ends)
        .map(<[_]>::to_vec)
        .collect();
    assert!(answers.iter().all(|answer| ends(answer.last().unwrap())));
    answers
}

#[test]
fn a_bad_line_does_not_end_the_session() {
    let home = Home::new();
    let good = json!({"prompt": QUESTION, "temperature": 0, "max_tokens": 12});
    let mut odd = good.clone();
    odd["mood"] = json!("good");
    let long = format!("{{\"prompt\":\"{}\"}}", "x".repeat(64 << 20));
    let lines = [
        good.to_string(),
        "{\"prompt\":".to_owned(),
        String::new(),
        odd.to_string(),
        long,
        good.to_string(),
    ];
    let answers = served(&home, &lines);
    assert_eq!(answers.len(), 5);
    let last = |answer: usize| answers[answer].last().unwrap();
    assert!(last(1)["msg"].as_str().unwrap().starts_with("not JSON"));
    assert_eq!(
        answers[2][0],
        json!({"ev": "warning", "msg": "ignored field: mood"})
    );
    assert!(last(3)["msg"].as_str().unwrap().contains("bytes"));
    let first = said(&answers[0]);
    assert!(!first.is_empty());
    assert_eq!(
        (said(&answers[2]), said(&answers[4])),
        (first.clone(), first)
    );
}

#[test]
fn a_request_out_of_range_names_its_field() {
    let home = Home::new();
    let fields = [
        ("temperature", json!(-1)),
        ("temperature", json!(1e308)),
        ("temperature", json!("5")),
        ("top_p", json!(2)),
        ("top_k", json!(-1)),
        ("max_tokens", json!(0.5)),
        ("stop", json!([""])),
        ("stop", json!(5)),
        ("logit_bias", json!({"9999999": 1})),
        ("logit_bias", json!({"1": 1e9})),
        ("think", json!(1)),
    ];
    let request = |(name, value): &(&str, Value)| {
        let mut request = json!({"prompt": "hi"});
        request[*name] = value.clone();
        request.to_string()
    };
    let answers = served(&home, &fields.each_ref().map(request));
    assert_eq!(answers.len(), fields.len());
    for ((name, _), answer) in fields.iter().zip(&answers) {
        assert_eq!(answer.len(), 1);
        let msg = answer[0]["msg"].as_str().unwrap();
        assert!(msg.starts_with(name), "{name}: {msg}");
    }
}

#[test]
fn conversations_are_answered_or_refused_in_words() {
    let home = Home::new();
    let conversations = [
        (json!([{"role": "system", "content": "be brief"}]), None),
        (
            json!([
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": "hi"},
                {"role": "system", "content": "be kind"},
                {"role": "user", "content": [{"type": "text", "text": "who are you?"}]},
            ]),
            Some(true),
        ),
        (
            json!([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Hello"}]),
            Some(true),
        ),
        (
            json!([{"role": "user", "content": "<|im_end|>"}]),
            Some(true),
        ),
        (json!([{"role": "user", "content": null}]), None),
        (
            json!([{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]),
            Some(false),
        ),
        (json!([{"role": "king", "content": "hi"}]), Some(false)),
        (json!([]), Some(false)),
        (json!({}), Some(false)),
    ];
    let line = |(messages, _): &(Value, _)| {
        json!({"messages": messages, "max_tokens": 4, "temperature": 0}).to_string()
    };
    let answers = served(&home, &conversations.each_ref().map(line));
    assert_eq!(answers.len(), conversations.len());
    for ((messages, wanted), answer) in conversations.iter().zip(&answers) {
        let last = answer.last().unwrap();
        let answered = last["done"] == json!(true);
        assert!(
            wanted.is_none_or(|wanted| wanted == answered),
            "{messages}: {last}"
        );
        assert!(answered || last["msg"].as_str().is_some_and(|msg| !msg.is_empty()));
    }
    // The second system message was merged, and that is said.
    assert!(answers[1].iter().any(|event| event["ev"] == "warning"));
}

#[test]
fn a_second_turn_reads_only_what_is_new() {
    let home = Home::new();
    let system = "You are a patient teacher who explains things to children in short sentences.";
    let ask = |messages: Value| json!({"system": system, "messages": messages, "temperature": 0, "max_tokens": 24});
    let user = |text: &str| json!({"role": "user", "content": text});
    let first = ask(json!([user(QUESTION)]));
    let answer = said(&served(&home, &[first.to_string()])[0]);
    let second = ask(json!([
        user(QUESTION),
        {"role": "assistant", "content": answer},
        user("And then?"),
    ]));
    let lines = [first.to_string(), second.to_string(), second.to_string()];
    let answers = served(&home, &lines);
    let figure =
        |answer: usize, name: &str| answers[answer].last().unwrap()[name].as_u64().unwrap();
    assert_eq!(figure(0, "cached_tokens"), 0);
    let reused = figure(1, "cached_tokens");
    // All of the first prompt but the head of the answer, which the template writes in another way.
    assert!(reused + 8 >= figure(0, "prompt_tokens"), "{reused}");
    assert!(figure(2, "cached_tokens") > reused);
    // Reuse changes no answer.
    let cold = served(&home, &[second.to_string()]);
    assert_eq!(said(&cold[0]), said(&answers[1]));
    assert_eq!(said(&answers[1]), said(&answers[2]));
}

#[test]
fn raw_text_is_gone_on_with() {
    let home = Home::new();
    let lines = [
        json!({"prompt": "Once upon a", "raw": true, "temperature": 0, "max_tokens": 6})
            .to_string(),
        json!({"prompt": "Once upon a", "temperature": 0, "max_tokens": 6}).to_string(),
    ];
    let answers = served(&home, &lines);
    let tokens = |answer: usize| answers[answer].last().unwrap()["prompt_tokens"].as_u64();
    assert!(tokens(0) < tokens(1));
}
