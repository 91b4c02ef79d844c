//! What goes in, well or badly.

use crate::{Desk, lines, words};

/// The texts that came out, or the reason of a refusal.
fn texts(desk: &Desk, stdin: &[u8], args: &[&str]) -> Result<Vec<String>, String> {
    let output = desk.reads(stdin, args);
    if !output.status.success() {
        return Err(words(&output));
    }
    let lines = lines(&String::from_utf8(output.stdout).unwrap());
    let text = |line: &serde_json::Value| line["text"].as_str().unwrap().to_owned();
    Ok(lines.iter().map(text).collect())
}

#[test]
fn stdin_has_a_text_a_line_or_json() {
    let desk = Desk::new();
    let all = |stdin: &[u8], args: &[&str]| texts(&desk, stdin, args).unwrap();
    assert_eq!(all(b"one\n\ntwo\r\n", &[]), ["one", "", "two"]);
    assert_eq!(all(b"\xef\xbb\xbfone", &[]), ["one"]);
    assert_eq!(
        all(b"{\"text\":\"one\"}\n{\"text\":\"two\"}\n", &[]),
        ["one", "two"]
    );
    assert_eq!(
        all(b"\xef\xbb\xbf{\"text\":\"one\"}\r\n", &["-f", "-"]),
        ["one"]
    );
    assert_eq!(
        all(b"{\"text\":\"one\"}\n", &["--input", "lines"]),
        ["{\"text\":\"one\"}"]
    );
    assert_eq!(all(b"{ not json\n", &[]), ["{ not json"]);
    assert_eq!(all(b"", &[]), [""; 0]);
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let desk = Desk::new();
    let refused = |stdin: &[u8], args: &[&str]| texts(&desk, stdin, args).unwrap_err();
    let said = refused(b"one\ntw\xffo\n", &[]);
    assert!(said.contains("stdin, line 2, byte 2: not UTF-8"), "{said}");
    let json = ["--input", "jsonl"];
    let said = refused(b"{\"text\":\"one\"}\n{\"txt\":\"two\"}\n", &json);
    assert!(said.contains("row 1") && said.contains("text"), "{said}");
    let said = refused(b"{\"text\":\"one\"}\n{\"text\":7}\n", &json);
    assert!(said.contains("row 1") && said.contains("text"), "{said}");
    let said = refused(b"{\"text\":\"one\"}\n{\"text\":\n", &json);
    assert!(said.contains("row 1"), "{said}");
    let said = refused(b"{\"text\":\"tw\xff\"}\n", &json);
    assert!(said.contains("UTF-8"), "{said}");
    let huge = vec![b'x'; (16 << 20) + 1];
    let said = refused(&huge, &[]);
    assert!(said.contains("line 1: more than 16 MiB"), "{said}");
}

#[test]
fn files_that_hold_no_texts_are_refused() {
    let desk = Desk::new();
    desk.says(&["a", "-o", "some.npy"]);
    std::fs::create_dir(desk.path("folder")).unwrap();
    for (name, reason) in [
        ("none.txt", "cannot open none.txt"),
        ("folder", "is a directory"),
        ("some.npy", "has vectors, and no texts"),
    ] {
        let said = desk.refuses(&["-f", name]);
        assert!(said.contains(reason), "{said}");
    }
    let both = desk.embed(&["a", "-f", "in.txt"]).output().unwrap();
    assert_eq!(both.status.code(), Some(2));
}

#[test]
fn ids_that_stand_twice_are_told_of() {
    let desk = Desk::new();
    let output = desk.reads(
        b"{\"id\":\"x\",\"text\":\"a\"}\n{\"id\":\"x\",\"text\":\"b\"}\n",
        &[],
    );
    assert!(output.status.success());
    let said = words(&output);
    assert!(
        said.contains("id x stands there twice: texts 0 and 1"),
        "{said}"
    );
}

#[test]
fn without_a_model_it_says_what_to_do() {
    let desk = Desk::new();
    let output = desk.lattice(&["embed", "a"]).output().unwrap();
    let said = words(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains("bge-small-en-v1.5, the model without --model, is not in"),
        "{said}"
    );
    assert!(
        said.contains("`lattice pull bge-small-en-v1.5` gets it"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1);
    let output = desk
        .lattice(&["embed", "a", "--model", "bge-smal-en-v1.5"])
        .output()
        .unwrap();
    let said = words(&output);
    assert!(said.contains("did you mean bge-small-en-v1.5?"), "{said}");
    // A model of another purpose.
    let output = desk
        .lattice(&["embed", "a", "--model", "lattice-tiny"])
        .output()
        .unwrap();
    let said = words(&output);
    assert!(said.contains("does not make vectors"), "{said}");
}
