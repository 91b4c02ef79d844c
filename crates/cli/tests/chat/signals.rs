//! Ctrl-C, and readers that go away.
#![cfg(unix)]

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use super::{Home, QUESTION, events, words};

/// Choices under which an answer has no end in sight: at this temperature an end token is one of thousands.
pub(crate) const ENDLESS: [&str; 6] = ["--temperature", "100", "--top-k", "0", "--top-p", "1"];

/// Stands in every event of a token that is not the last.
const TOKEN: &str = "\"done\":false";

fn interrupt(child: &Child) {
    let id = child.id().to_string();
    let status = Command::new("kill").args(["-INT", &id]).status().unwrap();
    assert!(status.success());
}

/// Starts an endless answer and reads until `sign` has come.
fn start(home: &Home, args: &[&str], sign: &str) -> (Child, Vec<u8>) {
    let args = [&["--seed", "1", "-p", QUESTION], args, &ENDLESS[..]].concat();
    let mut child = home.chat(&args).spawn().unwrap();
    let seen = read_until(&mut child, sign);
    (child, seen)
}

fn read_until(child: &mut Child, sign: &str) -> Vec<u8> {
    let stdout = child.stdout.as_mut().unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(sign.as_bytes()) || seen.is_empty() {
        let mut byte = [0];
        stdout.read_exact(&mut byte).unwrap();
        seen.extend(byte);
    }
    seen
}

#[test]
fn ctrl_c_ends_an_answer_with_130() {
    let home = Home::new();
    let (child, _) = start(&home, &[], "");
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", words(&output));
    assert!(output.stdout.ends_with(b"\n"));
    assert_eq!(words(&output), "");
}

#[test]
fn ctrl_c_is_an_event() {
    let home = Home::new();
    let (child, first) = start(&home, &["--json"], TOKEN);
    interrupt(&child);
    let mut output = child.wait_with_output().unwrap();
    output.stdout.splice(0..0, first);
    assert_eq!(output.status.code(), Some(130));
    let events = events(&output);
    assert_eq!(events.last().unwrap()["stop_reason"], "cancelled");
}

#[test]
fn ctrl_c_ends_a_server_that_waits() {
    let home = Home::new();
    let mut command = home.chat(&["--json", "--serve"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let request = json!({"prompt": "hi", "max_tokens": 0});
    writeln!(stdin, "{request}").unwrap();
    read_until(&mut child, "\"prompt_tokens\":");
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    drop(stdin);
}

#[test]
fn a_reader_that_goes_away_stops_the_answer() {
    let home = Home::new();
    for (args, sign) in [(&[][..], ""), (&["--json"], TOKEN)] {
        let (mut child, _) = start(&home, args, sign);
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(words(&output), "");
    }
}

#[test]
fn a_full_disk_is_said() {
    let Ok(full) = std::fs::File::options().write(true).open("/dev/full") else {
        return; // Not every Unix has one.
    };
    let home = Home::new();
    let output = home.chat(&["-p", QUESTION]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        words(&output).starts_with("lattice: cannot write"),
        "{}",
        words(&output)
    );
}
