//! `lattice embed` and `lattice rerank` as people and programs see them, with tiny models.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod backfill;
mod breaking;
mod inputs;
mod outputs;
mod ranking;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use lattice_testkit::{ScratchDir, encoder};
use serde_json::Value;

/// A directory to work in, and a tiny model.
struct Desk {
    dir: ScratchDir,
    model: String,
}

impl Desk {
    fn new() -> Self {
        Self::with("bert_mean")
    }

    fn with(model: &str) -> Self {
        Self {
            dir: ScratchDir::new().unwrap(),
            model: encoder(model).dir.display().to_string(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).unwrap();
    }

    /// `lattice embed` with the tiny model on one thread.
    fn embed(&self, args: &[&str]) -> Command {
        let mut command = self.lattice(&["embed", "--model", &self.model, "--threads", "1"]);
        command.args(args);
        command
    }

    fn lattice(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lattice"));
        command
            .args(args)
            .env("HOME", self.dir.path())
            .env("LATTICE_MODEL_CACHE", self.path("models"))
            .env("HF_HUB_CACHE", self.path("hub"))
            .stdin(Stdio::null())
            .current_dir(self.dir.path());
        command
    }

    /// What it prints where all goes well.
    fn says(&self, args: &[&str]) -> String {
        let output = self.embed(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", words(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The reason of a refusal.
    fn refuses(&self, args: &[&str]) -> String {
        let output = self.embed(args).output().unwrap();
        assert_eq!(
            output.status.code(),
            Some(1),
            "{args:?}: {}",
            words(&output)
        );
        words(&output)
    }

    /// What it prints about the texts of stdin.
    fn reads(&self, stdin: &[u8], args: &[&str]) -> Output {
        let mut command = self.embed(args);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // One that refuses early reads no more.
        let _ = child.stdin.take().unwrap().write_all(stdin);
        child.wait_with_output().unwrap()
    }
}

fn words(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn lines(text: &str) -> Vec<Value> {
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn events(text: &str) -> Vec<Value> {
    let lines = text
        .lines()
        .map(|line| line.strip_prefix("@@lattice ").unwrap());
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The numbers of a JSON line's vector.
fn vector(line: &Value) -> Vec<f32> {
    let numbers = line["embedding"].as_array().unwrap();
    numbers.iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap()
}
