//! `lattice drift` as a program: exit codes, what is printed, what is written.

use std::path::Path;
use std::process::{Command, Output};

use lattice_testkit::{ScratchDir, encoder};

fn lattice(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lattice"))
        .arg("drift")
        .args(arguments)
        .current_dir(dir)
        .output()
        .expect("the program starts")
}

/// JSON lines with an id each; `by` moves the second number.
fn lines(from: usize, count: usize, by: f64) -> String {
    let line = |i: usize| {
        let (x, y) = ((i * 37 % 101) as f64 / 101.0, (i * 53 % 97) as f64 / 97.0);
        format!("{{\"id\":\"item {i}\",\"embedding\":[{x},{}]}}\n", y + by)
    };
    (from..from + count).map(line).collect()
}

fn directory() -> ScratchDir {
    let scratch = ScratchDir::new().expect("a place to write");
    let write = |file: &str, text: String| {
        std::fs::write(scratch.path().join(file), text).expect("it is ours");
    };
    write("base.jsonl", lines(0, 200, 0.0));
    write("same.jsonl", lines(150, 200, 0.0));
    write("moved.jsonl", lines(150, 200, 0.4));
    write("stream.jsonl", lines(200, 100, 0.0) + &lines(300, 110, 0.6));
    scratch
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_exit_code_is_that_of_diff() {
    let dir = directory();
    let dir = dir.path();
    let same = lattice(dir, &["base.jsonl", "same.jsonl"]);
    assert_eq!(same.status.code(), Some(0), "{}", text(&same.stderr));
    assert!(text(&same.stdout).starts_with("verdict          no drift\n"));
    let moved = lattice(dir, &["base.jsonl", "moved.jsonl", "--plot", "moved.svg"]);
    assert_eq!(moved.status.code(), Some(1), "{}", text(&moved.stderr));
    let words = text(&moved.stdout);
    assert!(words.starts_with("verdict          drift\n"), "{words}");
    assert!(
        words.contains("50 items in both (gone 150, added 150): mean 0.4000"),
        "{words}"
    );
    let svg = std::fs::read_to_string(dir.join("moved.svg")).expect("it was drawn");
    assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
    for arguments in [
        &["base.jsonl", "none.jsonl"][..],
        &["none.jsonl", "same.jsonl"],
        &["base.jsonl", "."],
        &["base.jsonl"],
        &["base.jsonl", "same.jsonl", "--p-value", "2"],
        &["base.jsonl", "same.jsonl", "--window", "500"],
        &["base.jsonl", "same.jsonl", "--plot", "no/such/place.svg"],
    ] {
        let trouble = lattice(dir, arguments);
        assert_eq!(trouble.status.code(), Some(2), "{arguments:?}");
        assert!(!trouble.stderr.is_empty());
    }
}

#[test]
fn thresholds_and_json() {
    let dir = directory();
    let limits = [
        "base.jsonl",
        "same.jsonl",
        "--json",
        "--max-mean-shift",
        "0.000001",
    ];
    let found = lattice(dir.path(), &limits);
    assert_eq!(found.status.code(), Some(1), "{}", text(&found.stderr));
    let report: serde_json::Value = serde_json::from_slice(&found.stdout).expect("one object");
    assert_eq!(report["drift"], true);
    assert_eq!(report["exceeded"][0]["what"], "mean_shift");
    assert_eq!(report["displacement"]["matched"], 50);
}

#[test]
fn a_frozen_baseline_stands_for_its_set() {
    let dir = directory();
    let dir = dir.path();
    let frozen = lattice(dir, &["base.jsonl", "--save-baseline", "base.drift"]);
    assert_eq!(frozen.status.code(), Some(0), "{}", text(&frozen.stderr));
    assert!(!dir.join("base.drift.partial").exists());
    let again = lattice(dir, &["base.jsonl", "--save-baseline", "base.drift"]);
    assert_eq!(again.status.code(), Some(2));
    assert!(text(&again.stderr).contains("--force replaces it"));
    let forced = lattice(
        dir,
        &["base.jsonl", "--save-baseline", "base.drift", "--force"],
    );
    assert_eq!(forced.status.code(), Some(0));
    for new in ["same.jsonl", "moved.jsonl"] {
        let (a, b) = (
            lattice(dir, &["base.jsonl", new]),
            lattice(dir, &["base.drift", new]),
        );
        assert_eq!(a.status.code(), b.status.code());
        assert_eq!(text(&a.stdout), text(&b.stdout));
    }
    let mut bytes = std::fs::read(dir.join("base.drift")).expect("it is there");
    bytes[100] ^= 1;
    std::fs::write(dir.join("base.drift"), bytes).expect("it is ours");
    let broken = lattice(dir, &["base.drift", "same.jsonl"]);
    assert_eq!(broken.status.code(), Some(2));
    assert!(
        text(&broken.stderr).contains("checksum"),
        "{}",
        text(&broken.stderr)
    );
}

#[test]
fn a_frozen_baseline_knows_the_model_that_made_it() {
    let dir = directory();
    let dir = dir.path();
    let texts: String = (0..40).map(|i| format!("text number {i}\n")).collect();
    std::fs::write(dir.join("texts.txt"), texts).expect("it is ours");
    let [mean, cls] = ["bert_mean", "bert_cls"].map(|name| encoder(name).dir.display().to_string());
    let with = |model: &str, arguments: &[&str]| {
        let found = lattice(dir, &[arguments, &["--model", model]].concat());
        (found.status.code(), text(&found.stderr))
    };
    let frozen = with(&mean, &["texts.txt", "--save-baseline", "texts.drift"]);
    assert_eq!(frozen.0, Some(0), "{}", frozen.1);
    let again = with(&mean, &["texts.drift", "texts.txt"]);
    assert_eq!(again.0, Some(0), "{}", again.1);
    let other = with(&cls, &["texts.drift", "texts.txt"]);
    assert_eq!(other.0, Some(2));
    assert!(other.1.contains("--any-model"), "{}", other.1);
    assert!(other.1.contains("bert_cls") && other.1.contains("prompt"));
    let forced = with(&cls, &["texts.drift", "texts.txt", "--any-model"]);
    assert!(!forced.1.contains("was made by"), "{}", forced.1);
    let unsaid = lattice(dir, &["texts.drift", "base.jsonl"]);
    assert!(text(&unsaid.stderr).contains("nothing says what made the new vectors"));
}

#[test]
fn a_stream_has_a_line_for_each_window() {
    let dir = directory();
    let found = lattice(
        dir.path(),
        &[
            "base.jsonl",
            "stream.jsonl",
            "--window",
            "50",
            "--plot",
            "s.svg",
        ],
    );
    assert_eq!(found.status.code(), Some(1), "{}", text(&found.stderr));
    let words = text(&found.stdout);
    let verdicts: Vec<bool> = words
        .lines()
        .skip(1)
        .map(|line| line.ends_with("  drift"))
        .collect();
    assert_eq!(verdicts, [false, false, true, true], "{words}");
    assert!(text(&found.stderr).contains("the last 10 vectors fill no window"));
    let json = lattice(
        dir.path(),
        &["base.jsonl", "stream.jsonl", "--window", "50", "--json"],
    );
    let first: Vec<serde_json::Value> = text(&json.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("an object a line"))
        .collect();
    assert_eq!(
        first
            .iter()
            .map(|w| w["first"].as_u64())
            .collect::<Vec<_>>(),
        [Some(0), Some(50), Some(100), Some(150)]
    );
}
