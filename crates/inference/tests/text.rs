//! Laws of texts and ids: equal to the reference implementation, loss-free, safe against files and people of all kinds.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::{Path, PathBuf};

use lattice_inference::tokenizer::{HfTokenizer, Prompt, TextError, TextStream, Tokenizer};
use proptest::prelude::*;
use serde_json::{Value, json};

fn tests_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/text")
}

fn tokenizer_bytes(name: &str) -> Vec<u8> {
    let path = match name {
        "lattice_tiny" => {
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/lattice-tiny/tokenizer.json")
        }
        name => tests_dir().join(format!("tokenizers/{name}.json")),
    };
    std::fs::read(path).expect("the file is part of the repository")
}

fn tokenizer(name: &str) -> HfTokenizer {
    HfTokenizer::from_json(&tokenizer_bytes(name), None).expect("the tokenizer is sound")
}

fn tiny() -> &'static HfTokenizer {
    static TINY: std::sync::LazyLock<HfTokenizer> =
        std::sync::LazyLock::new(|| tokenizer("lattice_tiny"));
    &TINY
}

fn goldens() -> Value {
    let text = std::fs::read_to_string(tests_dir().join("ids.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn strings(value: &Value) -> Vec<String> {
    serde_json::from_value(value.clone()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

fn for_each_golden(check: impl Fn(&str, &HfTokenizer, &Value, &Value)) {
    let goldens = goldens();
    let all = goldens["tokenizers"].as_object().unwrap();
    assert_eq!(all.len(), 7);
    for (name, golden) in all {
        check(name, &tokenizer(name), golden, &goldens);
    }
}

#[test]
fn plain_text_has_the_ids_of_the_reference() {
    for_each_golden(|name, tokenizer, golden, goldens| {
        for (index, text) in strings(&goldens["texts"]).iter().enumerate() {
            let found = tokenizer.ids_from_text(text).unwrap();
            if name == "unigram" && text.contains("<s>") {
                // The reference finds control tokens in any text.
                assert!(!found.iter().any(|id| [0, 1, 2].contains(id)), "{found:?}");
                continue;
            }
            assert_eq!(found, ids(&golden["texts"][index]), "{name}: {text:?}");
        }
    });
}

#[test]
fn prompts_have_the_ids_of_the_reference() {
    for_each_golden(|name, tokenizer, golden, goldens| {
        let control = strings(&goldens["control"][name]);
        for (index, pattern) in strings(&goldens["prompts"]).iter().enumerate() {
            let mut text = pattern.clone();
            for (number, token) in control.iter().enumerate() {
                text = text.replace(&format!("{{{number}}}"), token);
            }
            let found = tokenizer.ids_from_prompt(&Prompt::trusted(&text)).unwrap();
            assert_eq!(found, ids(&golden["prompts"][index]), "{name}: {text:?}");
        }
    });
}

#[test]
fn the_checkpoints_special_tokens_stand_around_a_text() {
    for_each_golden(|name, tokenizer, golden, goldens| {
        for (index, text) in strings(&goldens["texts"]).iter().take(8).enumerate() {
            let found = tokenizer.ids_with_specials_from_text(text).unwrap();
            assert_eq!(
                found,
                ids(&golden["with_specials"][index]),
                "{name}: {text:?}"
            );
        }
    });
}

#[test]
fn ids_have_the_text_of_the_reference() {
    for_each_golden(|name, tokenizer, golden, goldens| {
        for (index, text) in strings(&goldens["texts"]).iter().enumerate() {
            let found = tokenizer.text_from_ids(&ids(&golden["texts"][index]));
            let want = golden["decoded"][index].as_str().unwrap();
            if name == "unigram" {
                // The reference drops the whole run of marks at the start, here it is one space.
                assert_eq!(found.trim_start(), want.trim_start(), "{name}: {text:?}");
                continue;
            }
            assert_eq!(found, want, "{name}: {text:?}");
        }
    });
}

#[test]
fn special_tokens_have_no_text_and_others_have_theirs() {
    let bytes = |token: &str| {
        tiny()
            .bytes_from_id(tiny().id_from_token(token).unwrap())
            .unwrap()
    };
    assert_eq!(bytes("<|im_end|>"), b"");
    assert_eq!(bytes("<think>"), b"<think>");
    assert_eq!(tiny().ids_max(), 8_192);
    assert_eq!(tiny().bytes_from_id(8_192), None);
    assert_eq!(tiny().bytes_from_id(u32::MAX), None);
}

#[test]
fn one_megabyte_of_one_character_is_taken() {
    for text in ["a", " ", "\n", "中", "\u{301}", "1", "-"].map(|c| c.repeat(1_000_000 / c.len()))
    {
        let ids = tiny().ids_from_text(&text).unwrap();
        assert_eq!(
            tiny().text_from_ids(&ids),
            text,
            "{:?}",
            text.chars().next()
        );
    }
    let padded = format!("a{}b", " ".repeat(1_000_000));
    let ids = tiny().ids_from_text(&padded).unwrap();
    assert_eq!(tiny().text_from_ids(&ids), padded);
    let long = tiny().ids_from_text(&" ".repeat(20 << 20));
    assert!(matches!(long, Err(TextError::TooLong { bytes, .. }) if bytes == 20 << 20));
}

fn refusal(file: &Value) -> String {
    let json = serde_json::to_vec(file).unwrap();
    HfTokenizer::from_json(&json, None)
        .expect_err("the file is wrong")
        .to_string()
}

fn file(vocab: Value, merges: Value, added: Value) -> Value {
    json!({"version": "1.0", "added_tokens": added, "normalizer": null, "pre_tokenizer": null, "decoder": null,
        "model": {"type": "BPE", "vocab": vocab, "merges": merges}})
}

fn added(id: i64, content: &str) -> Value {
    json!({"id": id, "content": content, "special": true})
}

#[test]
fn unsound_files_are_refused_with_their_fault() {
    let ab = || json!({"a": 0, "b": 1});
    let none = || json!([]);
    let cases = [
        (file(ab(), json!([["a", "x"]]), none()), "x"),
        (
            file(ab(), json!([["a", "b"]]), none()),
            "merge of \"a\" and \"b\"",
        ),
        (
            file(
                json!({"a": 0, "b": 1, "xy": 2}),
                json!([["a", "b"]]),
                none(),
            ),
            "ab",
        ),
        (file(ab(), json!(["a b c"]), none()), "a b c"),
        (file(json!({"a": 0, "b": 2}), none(), none()), "id 2"),
        (
            file(json!({"a": 0, "b": 4_000_000_000u32}), none(), none()),
            "4000000000",
        ),
        (
            file(json!({"a": 0, "b": 0}), none(), none()),
            "both have id 0",
        ),
        (file(json!({"a": -1}), none(), none()), "-1"),
        (file(json!({"a": 0.5}), none(), none()), "0.5"),
        (
            file(ab(), none(), json!([added(1, "<s>")])),
            "both have id 1",
        ),
        (file(ab(), none(), json!([added(7, "<s>")])), "id 7"),
        (file(ab(), none(), json!([added(1, "a")])), "id 1"),
        (
            json!({"version": "2.0", "model": {"type": "BPE", "vocab": {}, "merges": []}}),
            "version",
        ),
        (json!({"model": {"type": "Magic", "vocab": {}}}), "Magic"),
        (
            json!({"model": {"type": "Unigram", "vocab": [["a", 0.0]], "unk_id": 3}}),
            "unk_id",
        ),
        (
            json!({"model": {"type": "WordPiece", "vocab": {"a": 0}}}),
            "[UNK]",
        ),
    ];
    for (file, fault) in cases {
        let message = refusal(&file);
        assert!(
            message.starts_with("tokenizer.json: ") && message.contains(fault),
            "{message}"
        );
    }
    let mut broken = file(ab(), none(), none());
    broken["pre_tokenizer"] = json!({"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": false});
    assert!(refusal(&broken).contains("pre_tokenizer"));
    broken["pre_tokenizer"] = Value::Null;
    broken["normalizer"] = json!({"type": "Surprise"});
    assert!(refusal(&broken).contains("normalizer"));
}

#[test]
fn files_that_are_no_tokenizer_are_refused() {
    let sound = tokenizer_bytes("gpt2");
    for cut in (0..sound.len()).step_by(97) {
        assert!(HfTokenizer::from_json(&sound[..cut], None).is_err());
    }
    let deep = "[".repeat(10_000);
    for bytes in [deep.as_bytes(), b"\xff\xfe", b"null", b"[]", b"{}"] {
        assert!(HfTokenizer::from_json(bytes, None).is_err());
    }
    let huge = vec![0; 300 << 20];
    let message = HfTokenizer::from_json(&huge, None)
        .expect_err("too large")
        .to_string();
    assert!(message.contains("314572800"), "{message}");
}

#[test]
fn a_missing_end_token_is_named() {
    let config = r#"{"eos_token": "<|nowhere|>"}"#;
    let error =
        HfTokenizer::from_json(&tokenizer_bytes("gpt2"), Some(config)).expect_err("refused");
    assert!(error.to_string().contains("<|nowhere|>"), "{error}");
}

#[test]
fn an_expression_that_gives_up_is_an_error_and_not_another_split() {
    let vocab = json!({"a": 0, "b": 1});
    let mut file = file(vocab, json!([]), json!([]));
    let pattern = json!({"Regex": r"(?:(a+)+)\1b(?=c)"});
    file["pre_tokenizer"] =
        json!({"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false});
    let tokenizer = HfTokenizer::from_json(&serde_json::to_vec(&file).unwrap(), None).unwrap();
    assert!(matches!(
        tokenizer.ids_from_text(&"a".repeat(64)),
        Err(TextError::Encode(_))
    ));
}

#[test]
fn added_tokens_that_only_the_configuration_knows_count() {
    let config = r#"{"added_tokens_decoder": {"558": {"content": "<|endoftext|>", "special": false},
        "561": {"content": "<|new|>", "special": true}}}"#;
    let tokenizer = HfTokenizer::from_json(&tokenizer_bytes("gpt2"), Some(config)).unwrap();
    assert_eq!(tokenizer.id_from_token("<|new|>"), Some(561));
    assert_eq!(tokenizer.bytes_from_id(561), Some(&b""[..]));
    let id = tokenizer.id_from_token("<|endoftext|>").unwrap();
    assert_eq!(tokenizer.bytes_from_id(id), Some(&b"<|endoftext|>"[..]));
}

/// Python's NFC of the same text: the normalizer of the tokenizer is the reference here too.
fn nfc(text: &str) -> String {
    use tokenizers::{NormalizedString, Normalizer as _, normalizers::unicode::NFC};
    let mut normalized = NormalizedString::from(text);
    NFC.normalize(&mut normalized).unwrap();
    normalized.get().to_owned()
}

fn any_text() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        any::<String>(),
        "\\PC{0,12}",
        "[ \t\n\r]{0,9}",
        Just("<|im_end|>".to_owned()),
        Just("e\u{301}👨\u{200d}👩\u{200d}👧".to_owned()),
        Just("\u{0}\u{fdd0}\u{fdd1}".to_owned()),
    ];
    prop::collection::vec(pieces, 0..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn text_to_ids_to_text_loses_nothing(text in any_text()) {
        let ids = tiny().ids_from_text(&text).unwrap();
        prop_assert_eq!(tiny().text_from_ids(&ids), nfc(&text));
        let special = tiny().id_from_token("<|endoftext|>").unwrap();
        prop_assert!(ids.iter().all(|&id| id < special));
    }

    #[test]
    fn a_prompt_without_trust_has_the_ids_of_plain_text(text in any_text()) {
        // Without a control token in it, a prompt is plain text.
        prop_assume!(!text.contains("<|"));
        let prompt = tiny().ids_from_prompt(&Prompt::trusted(&text)).unwrap();
        prop_assert_eq!(prompt, tiny().ids_from_text(&text).unwrap());
    }

    #[test]
    fn deltas_concatenate_to_the_text(ids in prop::collection::vec(0u32..8_300, 0..60)) {
        let mut stream = TextStream::new(tiny());
        let mut text: String = ids.iter().map(|&id| stream.push(tiny(), id)).collect();
        text.push_str(&stream.finish());
        let bytes: Vec<u8> =
            ids.iter().flat_map(|&id| tiny().bytes_from_id(id).unwrap_or_default()).copied().collect();
        prop_assert_eq!(&text, &String::from_utf8_lossy(&bytes));
        prop_assert_eq!(text, tiny().text_from_ids(&ids));
    }
}
