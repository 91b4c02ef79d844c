//! `lattice chat` as programs and shells see it: the built binary, its output, its exit codes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod files;
mod form;
mod once;
mod programs;
mod signals;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use lattice_testkit::ScratchDir;
use serde_json::Value;

/// What the bundled model is asked where the words do not matter.
const QUESTION: &str = "Tell me a story about a fox.";

/// A home of its own for each test, and no models but the bundled one.
struct Home(ScratchDir);

impl Home {
    fn new() -> Self {
        Self(ScratchDir::new().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    fn chat(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lattice"));
        command
            .arg("chat")
            .args(["--threads", "1"])
            .args(args)
            .env("HOME", self.path())
            .env("LATTICE_MODEL_CACHE", self.path())
            .env_remove("NO_COLOR")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs to the end with `stdin` as the input.
    fn run(&self, args: &[&str], stdin: &[u8]) -> Output {
        let child = self.chat(args).stdin(Stdio::piped()).spawn().unwrap();
        finish(child, stdin)
    }

    /// The answer, where all goes well.
    fn answer(&self, args: &[&str]) -> String {
        let output = self.run(args, b"");
        assert!(output.status.success(), "{args:?}: {}", words(&output));
        String::from_utf8(output.stdout).unwrap()
    }
}

/// Feeds `stdin` and waits. A program may end before it has read everything.
fn finish(mut child: Child, stdin: &[u8]) -> Output {
    let mut pipe = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let _ = pipe.write_all(stdin);
        });
        child.wait_with_output().unwrap()
    })
}

/// What went to people.
fn words(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The events on stdout; every line must be one.
fn events(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    let event = |line: &str| {
        let json = line.strip_prefix("@@lattice ").expect("an event");
        let event: Value = serde_json::from_str(json).unwrap();
        assert!(event["ev"].is_string(), "{line}");
        event
    };
    text.lines().map(event).collect()
}

/// The answer that tokens make.
fn said(events: &[Value]) -> String {
    let tokens = events.iter().filter(|event| event["thinking"].is_null());
    tokens.filter_map(|event| event["token"].as_str()).collect()
}
