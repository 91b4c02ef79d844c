//! Runs the two programs and reads what they print.
//!
//! In: arguments, a pair of models, a shape. Out: one [`Sample`]. A program that fails is a sample without a figure;
//! a program that cannot be started ends the session.

use std::path::Path;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::arguments::{Arguments, Pair, name_of};
use super::machine::{Shares, Ticks};
use super::sample::{Answer, Engine, OTHERS_MAX, Sample};
use super::shape::Shape;

const GIB: f64 = (1u64 << 30) as f64;
/// How long the machine is watched to see whether it is quiet.
const WATCHED: Duration = Duration::from_secs(1);

/// Both programs, ready to run.
pub(super) struct Session<'a> {
    arguments: &'a Arguments,
    /// What the peer said of itself, empty before it ran.
    pub(super) peer_version: String,
}

impl<'a> Session<'a> {
    /// Reads the memory's speed once, so that a program that cannot do it says so at once.
    pub(super) fn begin(arguments: &'a Arguments) -> Result<Self> {
        let session = Self {
            arguments,
            peer_version: String::new(),
        };
        session.read_gbps()?;
        Ok(session)
    }

    /// Runs `engine` once, between two looks at the memory.
    pub(super) fn run(
        &mut self,
        engine: Engine,
        (index, pair): (usize, &Pair),
        shape: Shape,
        round: usize,
    ) -> Result<Sample> {
        wait_until_quiet(self.arguments.wait);
        let before = self.read_gbps()?;
        let ticks = Ticks::now();
        let output = self.command(engine, pair, shape).output();
        let output = output.with_context(|| format!("cannot start {}", engine.name()))?;
        let shares = shares_since(ticks);
        let after = self.read_gbps()?;
        let answer = checked(&output).and_then(|text| match engine {
            Engine::Lattice => lattice_answer(&text),
            Engine::Peer => peer_answer(&text, shape),
        });
        if let Ok(version) = answer.as_ref().map(|answer| &answer.version)
            && let Some(version) = version
        {
            self.peer_version.clone_from(version);
        }
        Ok(Sample {
            pair: index,
            shape,
            round,
            engine,
            answer: answer.map_err(|error| without_places(&format!("{error:#}"), pair)),
            read_gbps: [before, after],
            shares,
        })
    }

    fn command(&self, engine: Engine, pair: &Pair, shape: Shape) -> Command {
        let threads = self.arguments.threads.to_string();
        match engine {
            Engine::Lattice => {
                let mut command = self.bench();
                command.args(["--runs", "1"]).args(&pair.model);
                command.args(shape.lattice_words());
                command
            }
            Engine::Peer => {
                let mut command = Command::new(&self.arguments.peer);
                command.arg(&pair.file).arg(threads).arg(shape.to_string());
                command
            }
        }
    }

    fn bench(&self) -> Command {
        let mut command = Command::new(&self.arguments.lattice);
        let threads = self.arguments.threads.to_string();
        command.args(["bench", "--only", "--json", "--threads", &threads]);
        command
    }

    /// The memory's read speed now, by the bundled model's bench without any shape.
    fn read_gbps(&self) -> Result<f64> {
        let lattice = self.arguments.lattice.display();
        let output = self.bench().output();
        let output = output.with_context(|| format!("cannot start {lattice}"))?;
        let found: Value = serde_json::from_str(&checked(&output)?)?;
        let gbps = found["read_gbps"].as_f64();
        gbps.with_context(|| format!("{lattice} bench --only --json: no read_gbps"))
    }
}

/// What `program --version` prints.
pub(super) fn version(program: &Path) -> Result<String> {
    let output = Command::new(program).arg("--version").output();
    let output = output.with_context(|| format!("cannot start {}", program.display()))?;
    Ok(checked(&output)?.trim().to_owned())
}

/// Returns when others took little of the machine for a second, or when `limit` has passed.
fn wait_until_quiet(limit: Duration) {
    let started = Instant::now();
    while started.elapsed() < limit {
        let ticks = Ticks::now();
        thread::sleep(WATCHED);
        if shares_since(ticks).others < OTHERS_MAX {
            return;
        }
    }
}

fn shares_since(ticks: Option<Ticks>) -> Shares {
    match (ticks, Ticks::now()) {
        (Some(before), Some(now)) => before.until(now),
        _ => Shares::default(),
    }
}

/// What a program printed, if it ended well; else the last line of its complaint.
fn checked(output: &Output) -> Result<String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let last = complaint.lines().rfind(|line| !line.trim().is_empty());
    bail!("{}: {}", output.status, last.unwrap_or("no word"))
}

/// A complaint that names files, not where they lie on this machine.
fn without_places(complaint: &str, pair: &Pair) -> String {
    let places = pair.model.iter().take(1).map(Path::new);
    let places = places.chain(std::iter::once(pair.file.as_path()));
    places.fold(complaint.to_owned(), |text, place| {
        text.replace(&*place.to_string_lossy(), &name_of(place))
    })
}

/// Reads the one object of `lattice bench --json` with the one test in it.
fn lattice_answer(text: &str) -> Result<Answer> {
    let found: Value = serde_json::from_str(text).context("not JSON")?;
    let tests = found["tests"].as_array().context("no list `tests`")?;
    let [test] = tests.as_slice() else {
        bail!("{} tests instead of one", tests.len());
    };
    Ok(Answer {
        tok_s: test["tok_s"].as_f64().context("no figure `tok_s`")?,
        load_s: found["load_ms"].as_f64().map(|ms| ms / 1e3),
        memory_gib: found["peak_memory_bytes"].as_f64().map(|bytes| bytes / GIB),
        weight_bytes: found["weight_bytes_per_token"].as_u64(),
        gbps: test["gbps"].as_f64(),
        version: None,
    })
}

/// Reads lines `what value unit`, of which the shape's must be one.
fn peer_answer(text: &str, shape: Shape) -> Result<Answer> {
    let shape = shape.to_string();
    let mut tok_s = None;
    let mut answer = Answer::default();
    for line in text.lines() {
        if let Some(version) = line.strip_prefix("version ") {
            answer.version = Some(version.trim().to_owned());
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let [what, value, unit] = words[..] else {
            continue;
        };
        let value: Option<f64> = value.parse().ok();
        match (what, unit) {
            ("load", "s") => answer.load_s = value,
            ("memory", "GiB") => answer.memory_gib = value,
            (what, "tok/s") if what == shape => tok_s = value,
            _ => {}
        }
    }
    let usable = tok_s.filter(|tok_s| tok_s.is_finite() && *tok_s > 0.0);
    answer.tok_s = usable.with_context(|| format!("no line `{shape} VALUE tok/s`"))?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_answers_in_lines_of_what_value_unit() {
        let text = "hello\nload 1.25 s\nprompt:512 193.5 tok/s\ndecode:0:64 9.0 tok/s\nmemory 0.5 GiB\n\
                    version llama.cpp 1, of two words\n";
        let answer = peer_answer(text, Shape::Prompt(512)).unwrap();
        assert_eq!(answer.tok_s, 193.5);
        assert_eq!((answer.load_s, answer.memory_gib), (Some(1.25), Some(0.5)));
        assert_eq!(answer.version.unwrap(), "llama.cpp 1, of two words");
    }

    #[test]
    fn a_peer_that_gives_no_figure_says_nothing() {
        for text in [
            "",
            "prompt:256 9 tok/s",
            "prompt:512 9 ms",
            "prompt:512 fast tok/s",
            "prompt:512 NaN tok/s",
            "prompt:512 0 tok/s",
        ] {
            assert!(peer_answer(text, Shape::Prompt(512)).is_err(), "{text}");
        }
    }

    #[test]
    fn complaints_name_no_places() {
        let pair = Pair {
            name: "m".to_owned(),
            model: vec!["far/away/m".to_owned(), "--kv".to_owned()],
            file: "deep/down/m.gguf".into(),
        };
        let said = without_places("far/away/m/config.json; deep/down/m.gguf --kv", &pair);
        assert_eq!(said, "m/config.json; m.gguf --kv");
    }

    #[test]
    fn lattice_answers_in_json() {
        let text = r#"{"load_ms": 250.0, "peak_memory_bytes": 1073741824, "weight_bytes_per_token": 9,
                       "tests": [{"tok_s": 28.5, "gbps": 42.0}]}"#;
        let expected = Answer {
            tok_s: 28.5,
            load_s: Some(0.25),
            memory_gib: Some(1.0),
            weight_bytes: Some(9),
            gbps: Some(42.0),
            version: None,
        };
        assert_eq!(lattice_answer(text).unwrap(), expected);
        for text in ["", "{}", r#"{"tests": []}"#, r#"{"tests": [{}]}"#] {
            assert!(lattice_answer(text).is_err(), "{text}");
        }
    }
}
