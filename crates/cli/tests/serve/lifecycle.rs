//! What may happen to a server, and to its place: signals, streams that close, homes and paths, limits of the system.

use std::ffi::OsStr;
use std::io::{BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lattice_testkit::ScratchDir;
use serde_json::Value;

use crate::{Served, USUAL, event, lattice, lattice_any, words};

const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/lattice-tiny");
const LATTICE: &str = env!("CARGO_BIN_EXE_lattice");

const GREEDY: &str =
    r#"{"messages":[{"role":"user","content":"Hello!"}],"max_tokens":8,"temperature":0}"#;

/// The answer to a greedy question.
fn answer(served: &Served) -> Value {
    let reply = served.ask("POST /v1/chat/completions", GREEDY);
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    let json = reply.split_once("\r\n\r\n").unwrap().1;
    let json: Value = serde_json::from_str(json).unwrap();
    json["choices"][0]["message"].clone()
}

#[test]
fn the_end_of_the_terminal_ends_it_without_a_panic() {
    let mut served = Served::start(&["--lazy"]);
    served.signal("-HUP");
    let ended = served.child.wait().unwrap();
    assert_eq!((ended.code(), ended.signal()), (None, Some(1)));
}

#[test]
fn it_runs_without_stdin_and_without_stderr() {
    let script = format!("exec {LATTICE} serve --port 0 --lazy --json <&- 2>&-");
    let mut served = Served::of(Command::new("sh").args(["-c", &script]));
    answer(&served);
    served.signal("-TERM");
    assert_eq!(served.child.wait().unwrap().code(), Some(0));
}

#[test]
fn homes_that_are_not_there_and_paths_of_all_kinds_work() {
    let folder = ScratchDir::new().unwrap();
    let odd = folder.path().join("a b 🦊 'q'");
    std::os::unix::fs::symlink(TINY, &odd).unwrap();
    let odd = odd.to_str().unwrap();
    let served = Served::start(&["--lazy", odd]);
    let there = answer(&served);
    for home in [None, Some("/proc/no-home"), Some("")] {
        let mut command = lattice(&[
            "--port",
            "0",
            "--lazy",
            "--json",
            "--parallel",
            "2",
            "--context",
            "512",
        ]);
        command.env_remove("LATTICE_MODEL_CACHE").env_remove("HOME");
        if let Some(home) = home {
            command.env("HOME", home);
        }
        let mut served = Served::of(&mut command);
        assert_eq!(answer(&served), there, "{home:?}");
        served.signal("-TERM");
        assert_eq!(served.child.wait().unwrap().code(), Some(0), "{home:?}");
    }
    let chat = lattice_any(&["chat", "--model", odd, "-p", "hi", "--max-tokens", "2"]);
    let mut chat = { chat };
    assert!(chat.env_remove("HOME").output().unwrap().status.success());
}

#[test]
fn names_that_are_no_text_are_refused_in_words() {
    let name = OsStr::from_bytes(b"mod\xffel");
    let mut serve = lattice(&["--port", "0"]);
    let mut chat = lattice_any(&["chat", "-p", "hi", "--model"]);
    for command in [&mut serve, &mut chat] {
        let output = command.arg(name).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(words(&output).contains("UTF-8"), "{}", words(&output));
    }
}

#[test]
fn slips_of_the_pen_are_asked_about() {
    for (args, said) in [
        (&["serve", "--prot", "1"][..], "'--port'"),
        (&["serv"], "'serve'"),
        (
            &["serve", "--idle-unload", "soon"],
            "invalid value 'soon' for '--idle-unload",
        ),
        (
            &["serve", "--memory-budget", "-1"],
            "unexpected argument '-1'",
        ),
        (&["launch", "cluade"], "'claude'"),
        (&["serve", "latice-tiny"], "did you mean lattice-tiny?"),
    ] {
        let output = lattice_any(args).output().unwrap();
        assert_ne!(output.status.code(), Some(0), "{args:?}");
        assert!(
            words(&output).contains(said),
            "{args:?}: {}",
            words(&output)
        );
    }
    // A key that is no text cannot be shown in a header.
    let mut command = lattice(&["--port", "0"]);
    command.env("LATTICE_API_KEY", OsStr::from_bytes(b"\xff\xfe"));
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        words(&output).contains("LATTICE_API_KEY") || words(&output).contains("UTF-8"),
        "{}",
        words(&output)
    );
    let mut command = lattice_any(&["ps"]);
    let output = command.env("LATTICE_URL", "nonsense").output().unwrap();
    assert!(
        words(&output).contains("--url nonsense"),
        "{}",
        words(&output)
    );
}

#[test]
fn two_servers_on_one_directory_answer_alike() {
    let (one, other) = (Served::start(&[TINY]), Served::start(&[TINY]));
    assert_eq!(answer(&one), answer(&other));
}

#[test]
fn one_processor_and_plain_instructions_say_the_same() {
    let all = answer(&Served::start(&[]));
    let plain = ["--isa", "scalar", "--int-isa", "scalar", "--threads", "1"];
    assert_eq!(answer(&Served::start(&plain)), all);
    if Command::new("taskset").arg("--version").output().is_err() {
        println!("not run on one processor: there is no taskset");
        return;
    }
    let mut one = Command::new("taskset");
    one.args(["-c", "0", LATTICE, "serve"]).args(USUAL);
    assert_eq!(answer(&Served::of(&mut one)), all);
}

#[test]
fn too_little_memory_is_an_end_with_words() {
    for kibibytes in [60_000, 70_000, 100_000] {
        let script = format!("ulimit -v {kibibytes}; exec {LATTICE} serve --port 0 --threads 1");
        let mut command = Command::new("sh");
        // To write a backtrace takes memory that is not there.
        command.env("RUST_BACKTRACE", "0");
        command.args(["-c", &script]).stdin(Stdio::null());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut words = String::new();
        // One line, or its end: where there is enough, it serves.
        std::io::BufRead::read_line(&mut said, &mut words).unwrap();
        let _ = child.kill();
        child.wait().unwrap();
        assert!(
            !words.is_empty() && !words.contains("panicked"),
            "{kibibytes}: {words}"
        );
    }
}

/// What of a long prompt was there already.
fn cached(served: &Served, more: &str) -> u64 {
    let text =
        "The fox went out on a chilly night and prayed for the moon to give him light. ".repeat(8);
    let body =
        serde_json::json!({"prompt": format!("{}{more}", text.trim_end()), "max_tokens": 2, "temperature": 0}).to_string();
    let reply = served.ask("POST /v1/completions", &body);
    let json: Value = serde_json::from_str(reply.split_once("\r\n\r\n").unwrap().1).unwrap();
    json["usage"]["prompt_tokens_details"]["cached_tokens"]
        .as_u64()
        .unwrap()
}

#[test]
fn what_was_read_is_there_after_a_kill_and_a_damaged_file_is_not_believed() {
    let folder = ScratchDir::new().unwrap();
    let kept = folder.path().join("kept");
    let args = ["--cache-dir", kept.to_str().unwrap(), "--cache-save", "1"];
    let mut served = Served::start(&args);
    assert_eq!(cached(&served, ""), 0);
    while event(&mut served.events).unwrap()["ev"] != "serve_saved" {}
    served.child.kill().unwrap();
    served.child.wait().unwrap();
    let again = Served::start(&args);
    assert!(cached(&again, " Then it slept.") > 100);
    drop(again);
    for file in std::fs::read_dir(&kept).unwrap() {
        let path = file.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    }
    assert_eq!(cached(&Served::start(&args), " Then it slept."), 0);
}

#[test]
fn what_an_unloaded_model_had_read_is_there_when_it_comes_back() {
    let folder = ScratchDir::new().unwrap();
    let served = Served::start(&["--cache-dir", folder.path().to_str().unwrap()]);
    assert_eq!(cached(&served, ""), 0);
    let stop = lattice_any(&["stop", "--url", &served.url, "lattice-tiny"]).output();
    assert!(stop.unwrap().status.success());
    assert!(cached(&served, " Then it slept.") > 100);
}

#[test]
fn connections_beyond_what_the_system_allows_wait_and_the_server_lives() {
    let script =
        format!("ulimit -n 256; exec {LATTICE} serve --port 0 --json --lazy --context 512");
    let served = Served::of(Command::new("sh").args(["-c", &script]));
    let idle: Vec<_> = (0..300)
        .map_while(|_| TcpStream::connect(&served.address).ok())
        .collect();
    assert!(idle.len() == 300, "{}", idle.len());
    // The last of them is not taken: nobody answers.
    let mut last = TcpStream::connect(&served.address).unwrap();
    last.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .unwrap();
    last.set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let mut reply = [0; 12];
    assert!(last.read_exact(&mut reply).is_err());
    drop(idle);
    let freed = Instant::now();
    last.set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    last.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"HTTP/1.1 200");
    println!("answered {:?} after descriptors were free", freed.elapsed());
    // Many that come and go are no matter either.
    for _ in 0..500 {
        drop(TcpStream::connect(&served.address).unwrap());
    }
    answer(&served);
}

#[test]
fn lines_that_nobody_reads_are_no_panic() {
    let mut child = lattice(&["--port", "0", "--lazy"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut said, &mut line).unwrap();
    let address = line
        .split("http://")
        .nth(1)
        .unwrap()
        .split("/v1")
        .next()
        .unwrap()
        .to_owned();
    // The terminal goes away: requests are answered all the same.
    drop(said);
    for _ in 0..3 {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream
            .write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    }
    let kill = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
