//! A download under the worst that can be done to it: kill it at any moment.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lattice_testkit::{FakeModel, FakeReply, SplitMix64};
use serde_json::Value;

use crate::{Home, NAME, assert_whole, tiny, words};

#[test]
fn who_waits_for_a_process_that_is_killed_goes_on_with_its_work() {
    let (home, model) = slow();
    let start = || {
        let mut command = home.lattice(&["pull", &model.name]);
        command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let mut first = start();
    while home.hub.sent_large() < 100_000 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let second = start();
    std::thread::sleep(Duration::from_millis(30));
    // It may have ended by itself.
    let _ = first.kill();
    first.wait().unwrap();
    let output = second.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", words(&output));
    assert_whole(&home, &model);
}

#[cfg(unix)]
#[test]
fn a_signal_stops_it_soon_and_the_same_command_goes_on() {
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let (home, model) = (Home::new(vec![tiny()]), tiny());
        home.hub.spoil(|request, mut reply| {
            if request.path.contains("/storage/") {
                reply.pace = Duration::from_millis(20);
            }
            reply
        });
        let mut command = home.lattice(&["pull", NAME]);
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while home.hub.sent_large() < 500_000 && begun.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut kill = Command::new("kill");
        kill.args([format!("-{signal}"), child.id().to_string()])
            .status()
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let said = words(&output);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(
            said.contains("the same command goes on from there"),
            "{said}"
        );
        assert!(home.says(&["ls"]).contains("no models"));
        home.hub.spoil(|_, reply| reply);
        home.says(&["pull", NAME]);
        assert_whole(&home, &model);
    }
}

/// A small model whose download takes a moment.
fn slow() -> (Home, FakeModel) {
    let mut random = SplitMix64::new(5);
    let mut noise = |bytes: usize| -> Vec<u8> {
        (0..bytes / 8)
            .flat_map(|_| random.next_u64().to_le_bytes())
            .collect()
    };
    let (first, second, third) = (noise(300_000), noise(200_000), noise(50_000));
    let files: [(&str, &[u8]); 5] = [
        ("config.json", b"{}"),
        ("tokenizer.json", &third),
        ("merges.txt", b"x"),
        ("model-00001-of-00002.safetensors", &first),
        ("model-00002-of-00002.safetensors", &second),
    ];
    let model = FakeModel::new("org/slow", &files);
    let home = Home::new(vec![model.clone()]);
    home.hub.spoil(|request, mut reply: FakeReply| {
        if request.path.contains("/storage/") {
            reply.pace = Duration::from_millis(2);
        }
        reply
    });
    (home, model)
}

/// Kills at random moments, from before the first byte until after the last: the model is absent or complete, and what is
/// there is gone on with.
fn kill_rounds(rounds: usize, seed: u64) {
    let (home, model) = slow();
    let started = Instant::now();
    home.says(&["pull", "org/slow"]);
    let once = started.elapsed();
    assert_whole(&home, &model);
    let mut random = SplitMix64::new(seed);
    let (mut completed, mut kept) = (0, 0);
    for round in 0..rounds {
        if home.root().join("org/slow").exists() {
            assert_whole(&home, &model);
            fs::remove_dir_all(home.root()).unwrap();
            completed += 1;
        }
        let share = (random.next_u64() % 1200) as f64 / 1000.0;
        // Every other round goes on from what the round before left; so the ends of the work are met, too.
        let rest = if round % 2 == 0 { 1.0 } else { 0.5 };
        let mut command = home.lattice(&["pull", "org/slow"]);
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(once.mul_f64(share * rest));
        // It may have ended by itself.
        let _ = child.kill();
        child.wait().unwrap();
        let whole = home.root().join("org/slow").exists();
        kept += usize::from(!whole && home.root().join("org/slow.partial").exists());
        let list: Value = serde_json::from_str(&home.says(&["ls", "--json"])).unwrap();
        assert_eq!(list["models"].as_array().unwrap().len(), usize::from(whole));
    }
    home.says(&["pull", "org/slow"]);
    assert_whole(&home, &model);
    assert_eq!(fs::read_dir(home.root().join("org")).unwrap().count(), 1);
    eprintln!(
        "{rounds} kills, {completed} of them after the end, {kept} left something to go on with"
    );
}

/// 20 rounds, or as many as `LATTICE_KILL_ROUNDS` says: who doubts asks for 200 (a minute).
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
fn a_kill_while_a_newer_one_comes_leaves_the_old_or_the_new() {
    let (home, old) = slow();
    let mut new = old.clone();
    new.commit = "e".repeat(40);
    new.files[3].1[7] ^= 1;
    home.says(&["pull", "org/slow"]);
    let mut random = SplitMix64::new(11);
    let (mut before, mut after) = (old, new);
    for _ in 0..10 {
        home.hub.set_models(vec![after.clone()]);
        let mut command = home.lattice(&["pull", "org/slow"]);
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(random.next_u64() % 150));
        let _ = child.kill();
        child.wait().unwrap();
        // Between two renames the old one has stepped aside; the next run puts it back.
        let (out, aside) = (
            home.root().join("org/slow"),
            home.root().join("org/slow.replaced"),
        );
        let there = if out.exists() { out } else { aside };
        let first = fs::read(there.join("model-00001-of-00002.safetensors")).unwrap();
        assert!(
            [&before, &after]
                .iter()
                .any(|model| model.files[3].1 == first)
        );
        home.says(&["pull", "org/slow"]);
        assert_whole(&home, &after);
        assert_eq!(fs::read_dir(home.root().join("org")).unwrap().count(), 1);
        std::mem::swap(&mut before, &mut after);
    }
}
