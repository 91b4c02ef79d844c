//! Runs that break off, and those that go on with them.

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use lattice_testkit::SplitMix64;

use crate::{Desk, read, words};

/// Texts of a run: enough to be killed several times.
const TEXTS: usize = 3000;

/// Texts of a run that is still under way when it is broken off.
const MANY: usize = 20_000;

/// Bytes with which the first piece of a file is safe: the second one is there.
const TWO_PIECES: u64 = 2 * 1024 * 24 * 4;

fn desk(texts: usize) -> Desk {
    let desk = Desk::new();
    let words = ["harbour", "ferry", "blue", "ice", "night", "12"];
    let mut random = SplitMix64::new(3);
    let mut text = |at: usize| {
        let words: Vec<&str> = (0..random.below(7))
            .map(|_| words[random.below(6)])
            .collect();
        format!("{{\"id\":{at},\"text\":\"{}\"}}\n", words.join(" "))
    };
    desk.write("in.jsonl", (0..texts).map(&mut text).collect::<String>());
    desk
}

/// A run that takes its time: a text a batch.
fn start(desk: &Desk, out: &str) -> Child {
    let mut command = desk.embed(&["-f", "in.jsonl", "-o", out, "--batch-tokens", "1"]);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// How often a file is made by runs that are killed: once, or as often as LATTICE_KILL_ROUNDS says.
#[expect(
    clippy::disallowed_methods,
    reason = "a longer run is asked for by the environment"
)]
fn rounds() -> usize {
    let asked = std::env::var("LATTICE_KILL_ROUNDS");
    asked.map_or(1, |rounds| rounds.parse().unwrap())
}

/// How long a whole run takes here.
fn whole(desk: &Desk, out: &str) -> Duration {
    let begun = Instant::now();
    desk.says(&["-f", "in.jsonl", "-o", out]);
    begun.elapsed()
}

#[test]
fn a_run_that_was_killed_ends_as_one_that_was_not() {
    let desk = desk(TEXTS);
    let mut random = SplitMix64::new(std::process::id().into());
    for kind in ["npy", "jsonl", "parquet"] {
        let (expected, out) = (format!("whole.{kind}"), format!("out.{kind}"));
        let took = whole(&desk, &expected);
        for _ in 0..rounds() {
            let mut kills = 0;
            loop {
                let mut child = start(&desk, &out);
                std::thread::sleep(took.mul_f32(random.uniform()));
                // It may have ended by itself.
                let _ = child.kill();
                let output = child.wait_with_output().unwrap();
                if output.status.success() {
                    break;
                }
                assert!(!desk.path(&out).exists());
                kills += 1;
                if kills == 3 {
                    desk.says(&["-f", "in.jsonl", "-o", &out]);
                    break;
                }
            }
            assert!(
                read(&desk.path(&out)) == read(&desk.path(&expected)),
                "{kind}: {kills} kills"
            );
            assert!(!desk.path(&format!("{out}.partial")).exists());
            fs::remove_file(desk.path(&out)).unwrap();
        }
    }
}

#[cfg(unix)]
#[test]
fn a_signal_stops_it_and_the_same_command_goes_on() {
    let desk = desk(MANY);
    whole(&desk, "whole.npy");
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let child = start(&desk, "out.npy");
        let begun = Instant::now();
        let data = desk.path("out.npy.partial/data");
        let some = || fs::metadata(&data).is_ok_and(|found| found.len() >= TWO_PIECES);
        while !some() && begun.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(2));
        }
        let mut kill = std::process::Command::new("kill");
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
        let output = desk
            .embed(&["-f", "in.jsonl", "-o", "out.npy"])
            .output()
            .unwrap();
        assert!(
            words(&output).contains("an earlier run left"),
            "{}",
            words(&output)
        );
        assert!(read(&desk.path("out.npy")) == read(&desk.path("whole.npy")));
        fs::remove_file(desk.path("out.npy")).unwrap();
    }
}

#[test]
fn other_work_is_not_gone_on_with() {
    let desk = desk(MANY);
    let mut child = start(&desk, "out.npy");
    let data = desk.path("out.npy.partial/data");
    while !fs::metadata(&data).is_ok_and(|found| found.len() >= TWO_PIECES) {
        std::thread::sleep(Duration::from_millis(2));
    }
    let _ = child.kill();
    child.wait().unwrap();
    let out = ["-f", "in.jsonl", "-o", "out.npy"];
    for (more, differs) in [
        (&["--dims", "7"][..], "dimensions"),
        (&["--dtype", "i8"], "numbers"),
        (&["--on-long", "error"], "long texts"),
    ] {
        let said = desk.refuses(&[&out[..], more].concat());
        assert!(
            said.contains("does not fit") && said.contains(differs),
            "{said}"
        );
    }
    let before = read(&desk.path("in.jsonl"));
    desk.write("in.jsonl", [&before[..], b"{\"text\":\"more\"}\n"].concat());
    let said = desk.refuses(&out);
    assert!(said.contains("source"), "{said}");
    desk.says(&[&out[..], &["--force"]].concat());
    desk.write("in.jsonl", &before);
    desk.says(&[&out[..], &["--force", "--batch-tokens", "300"]].concat());
    whole(&desk, "whole.npy");
    assert!(read(&desk.path("out.npy")) == read(&desk.path("whole.npy")));
}
