//! `lattice quantize` as people and programs see it, and under the worst they can do to it: kill it at any moment.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use lattice_inference::Model;
use lattice_inference::checkpoint::{ModelFiles, OpenOptions};
use lattice_testkit::{ScratchDir, SplitMix64};
use serde_json::{Value, json};

fn quantize(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lattice"));
    command
        .arg("quantize")
        .args(args)
        .args(["--threads", "2"])
        .env("LATTICE_MODEL_CACHE", dir)
        .current_dir(dir);
    command
}

fn run(dir: &Path, args: &[&str]) -> Output {
    quantize(dir, args).output().unwrap()
}

fn words(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn events(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let lines = text
        .lines()
        .map(|line| line.strip_prefix("@@lattice ").unwrap());
    lines
        .map(|json| serde_json::from_str(json).unwrap())
        .collect()
}

fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}

/// Whether a directory is a packed model with every byte of its weights as it was written.
fn verify(dir: &Path) {
    let files = ModelFiles::open(dir).unwrap();
    let model = Model::open(&files, &OpenOptions::default()).unwrap();
    assert!(model.checkpoint.has_checksums() && dir.join("lattice.json").is_file());
    for name in model.checkpoint.names() {
        model.checkpoint.check_sum(name).unwrap();
    }
}

#[test]
fn the_bundled_model_is_packed_and_talks() {
    let dir = ScratchDir::new().unwrap();
    let output = run(dir.path(), &["--to", "q8", "-o", "q8"]);
    assert!(output.status.success(), "{}", words(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("bits") && text.contains("left out"), "{text}");
    verify(&dir.path().join("q8"));
    assert!(!dir.path().join("q8.partial").exists());
    let mut chat = Command::new(env!("CARGO_BIN_EXE_lattice"));
    let args = ["chat", "--model", "q8", "-p", "Hello", "--max-tokens", "4"];
    let said = chat.args(args).current_dir(dir.path()).output().unwrap();
    assert!(said.status.success() && !said.stdout.is_empty());
}

#[test]
fn each_tensor_is_an_event_and_the_end_is_one() {
    let dir = ScratchDir::new().unwrap();
    let args = [
        "--to",
        "q8",
        "-o",
        "out",
        "--json",
        "--embed",
        "keep",
        "--mixed",
        "*o_proj*=keep",
    ];
    let output = run(dir.path(), &args);
    assert!(output.status.success(), "{}", words(&output));
    let events = events(&output);
    let (done, layers) = events.split_last().unwrap();
    assert_eq!(done["ev"], "quant_done");
    for field in [
        "before_mb",
        "after_mb",
        "ratio",
        "bits_per_weight",
        "seconds",
    ] {
        assert!(done[field].as_f64().unwrap() > 0.0, "{field}: {done}");
    }
    assert!(Path::new(done["out"].as_str().unwrap()).is_dir());
    for (index, layer) in layers.iter().enumerate() {
        assert_eq!(layer["ev"], "quant_layer");
        assert_eq!(
            (&layer["i"], &layer["n"]),
            (&json!(index), &json!(layers.len()))
        );
        let name = layer["name"].as_str().unwrap();
        let kept =
            name.contains("embed_tokens") || name.contains("o_proj") || name.contains("norm");
        assert!(!kept || layer["scheme"] != "q8", "{layer}");
        assert!(layer["before_mb"].as_f64() > Some(0.0) && layer["after_mb"].as_f64() > Some(0.0));
    }
    assert!(layers.iter().any(|layer| layer["scheme"] == "q8"));
}

#[test]
fn what_cannot_be_done_is_said_in_words() {
    let dir = ScratchDir::new().unwrap();
    let refused = |args: &[&str], code: i32, part: &str| {
        let output = run(dir.path(), args);
        let words = words(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {words}");
        assert!(words.contains(part), "{args:?}: {words}");
    };
    refused(&["-o", "out"], 2, "--to");
    refused(&["--to", "q8"], 2, "--output");
    refused(&["--to", "q5", "-o", "out"], 2, "there are q8, q4, q4_32");
    refused(&["--to", "keep", "-o", "out"], 2, "keep is for exceptions");
    refused(
        &["--to", "q8", "-o", "out", "--mixed", "x"],
        2,
        "PATTERN=SCHEME",
    );
    let nothing = ["--to", "q8", "-o", "out", "--mixed", "*.wq=q8"];
    refused(&nothing, 1, "\"*.wq\" matches no matrix");
    refused(
        &["--to", "q8", "-o", "out", "--head", "keep"],
        1,
        "its embedding table",
    );
    refused(&["nobody", "--to", "q8", "-o", "out"], 1, "nobody");
    fs::write(dir.path().join("file"), "x").unwrap();
    refused(&["--to", "q8", "-o", "file", "--force"], 1, "is a file");
    fs::create_dir(dir.path().join("full")).unwrap();
    fs::write(dir.path().join("full/letter"), "x").unwrap();
    refused(&["--to", "q8", "-o", "full"], 1, "--force replaces it");
    refused(
        &["--to", "q8", "-o", "full", "--force"],
        1,
        "no packed model",
    );
    assert!(!dir.path().join("out").exists());
}

#[test]
fn what_packing_costs_is_measured_and_kept() {
    let dir = ScratchDir::new().unwrap();
    let text = "Once upon a time there was a hen who lived beside a river with a fox. ".repeat(40);
    fs::write(dir.path().join("text"), text).unwrap();
    let args = [
        "--to",
        "q8",
        "-o",
        "out",
        "--measure",
        "text",
        "--measure-chunks",
        "1",
    ];
    let output = run(dir.path(), &args);
    assert!(output.status.success(), "{}", words(&output));
    let manifest = fs::read(dir.path().join("out/lattice.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let measured = &manifest["measured"];
    assert_eq!(
        (&measured["chunks"], &measured["context"]),
        (&json!(1), &json!(512))
    );
    let figure = |field: &str| measured[field].as_f64().unwrap();
    assert!((figure("ppl_ratio") - 1.0).abs() < 0.05, "{measured}");
    let kl = figure("kl_mean");
    assert!(kl > 0.0 && kl < 0.05, "{measured}");
    assert!(figure("same_top1") > 0.8, "{measured}");
    verify(&dir.path().join("out"));
}

/// Starts the work and ends it by force after `delay`, unless it is done before.
fn killed_after(dir: &Path, args: &[&str], delay: Duration) {
    let mut child = quantize(dir, args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(delay);
    // It may have ended by itself.
    let _ = child.kill();
    child.wait().unwrap();
}

/// Kills at random moments, from before the first byte until after the last: the output is absent or complete, and what
/// is there can be gone on with.
fn kill_rounds(rounds: usize, seed: u64) {
    let dir = ScratchDir::new().unwrap();
    let (whole, out) = (dir.path().join("whole"), dir.path().join("out"));
    let started = Instant::now();
    assert!(
        run(dir.path(), &["--to", "q8", "-o", "whole"])
            .status
            .success()
    );
    let once = started.elapsed();
    let expected = contents(&whole);
    let mut random = SplitMix64::new(seed);
    let mut completed = 0;
    for round in 0..rounds {
        let share = (random.next_u64() % 1200) as f64 / 1000.0;
        // Every other round goes on from what the round before left; so the ends of the work are met, too.
        let rest = if round % 2 == 0 { 1.0 } else { 0.3 };
        killed_after(
            dir.path(),
            &["--to", "q8", "-o", "out"],
            once.mul_f64(share * rest),
        );
        if out.exists() {
            verify(&out);
            let left = contents(&out);
            assert!(
                expected
                    .iter()
                    .all(|(name, bytes)| left.get(name) == Some(bytes))
            );
            fs::remove_dir_all(&out).unwrap();
            completed += 1;
        }
    }
    let output = run(dir.path(), &["--to", "q8", "-o", "out", "--json"]);
    assert!(output.status.success(), "{}", words(&output));
    assert!(
        contents(&out) == expected,
        "resumed is not as uninterrupted"
    );
    eprintln!("{rounds} kills, {completed} of them after the end");
}

/// 20 rounds, or as many as `LATTICE_KILL_ROUNDS` says: who doubts asks for 200 (a minute or two).
#[test]
fn a_kill_at_any_moment_leaves_nothing_or_all() {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test that people may want more of"
    )]
    let asked = std::env::var("LATTICE_KILL_ROUNDS").ok();
    let rounds = asked.and_then(|rounds| rounds.parse().ok()).unwrap_or(20);
    kill_rounds(rounds, rounds as u64);
}

#[test]
fn a_kill_while_replacing_leaves_the_old_or_the_new() {
    let dir = ScratchDir::new().unwrap();
    let (out, aside) = (dir.path().join("out"), dir.path().join("out.replaced"));
    let args = ["--to", "q8", "-o", "out", "--force"];
    let started = Instant::now();
    assert!(run(dir.path(), &args).status.success());
    let once = started.elapsed();
    let mut random = SplitMix64::new(3);
    for _ in 0..10 {
        fs::write(out.join("mark"), "old").unwrap();
        let share = 0.5 + (random.next_u64() % 700) as f64 / 1000.0;
        killed_after(dir.path(), &args, once.mul_f64(share));
        let there = if out.exists() { &out } else { &aside };
        verify(there);
        assert!(run(dir.path(), &args).status.success());
        verify(&out);
        assert!(!out.join("mark").exists() && !aside.exists());
    }
}

#[cfg(unix)]
#[test]
fn a_signal_stops_it_soon_and_the_same_command_goes_on() {
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let stopped = (0..20).any(|_| stopped_by(signal, code));
        assert!(stopped, "SIG{signal} always came too late");
    }
}

/// Whether the signal came before the end.
#[cfg(unix)]
fn stopped_by(signal: &str, code: i32) -> bool {
    let dir = ScratchDir::new().unwrap();
    let args = ["--to", "q8", "-o", "out", "--json"];
    let mut child: Child = quantize(dir.path(), &args)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let journal = dir.path().join("out.partial/progress.jsonl");
    let lines = || fs::read_to_string(&journal).map_or(0, |text| text.lines().count());
    while lines() < 3 && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let asked = Instant::now();
    let mut kill = Command::new("kill");
    kill.args([format!("-{signal}"), child.id().to_string()]);
    kill.stderr(Stdio::null()).status().unwrap();
    let output = child.wait_with_output().unwrap();
    if output.status.success() {
        return false;
    }
    assert!(asked.elapsed() < Duration::from_secs(2));
    let words = words(&output);
    assert_eq!(output.status.code(), Some(code), "{words}");
    assert!(words.contains("the same command goes on"), "{words}");
    assert!(!dir.path().join("out").exists());
    let again = run(dir.path(), &args);
    assert!(again.status.success());
    assert!(events(&again).iter().any(|event| event["resumed"] == true));
    true
}

#[test]
fn a_gguf_file_is_converted_and_packed() {
    let dir = ScratchDir::new().unwrap();
    let golden = &lattice_testkit::gguf_files()[0];
    let path = golden.path.to_str().unwrap();
    let mut convert = Command::new(env!("CARGO_BIN_EXE_lattice"));
    convert.args(["convert", path, "-o", "ours"]);
    let output = convert.current_dir(dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", words(&output));
    verify(&dir.path().join("ours"));
    let output = run(dir.path(), &[path, "--to", "q4", "-o", "q4"]);
    assert!(output.status.success(), "{}", words(&output));
    verify(&dir.path().join("q4"));
    // What is packed already is nobody's to convert.
    let mut again = Command::new(env!("CARGO_BIN_EXE_lattice"));
    again.args(["convert", "ours", "-o", "again"]);
    let output = again.current_dir(dir.path()).output().unwrap();
    assert!(!output.status.success());
    assert!(words(&output).contains("packed"), "{}", words(&output));
}
