//! `lattice serve` as people, programs and the system see it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

#[cfg(unix)]
mod lifecycle;
mod manage;

fn lattice(args: &[&str]) -> Command {
    lattice_any(&[&["serve"], args].concat())
}

/// Any command of the program, away from what the machine has.
fn lattice_any(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lattice"));
    let scratch = std::env::temp_dir();
    command
        .args(args)
        .env_remove("LATTICE_API_KEY")
        .env_remove("LATTICE_URL")
        .env("LATTICE_MODEL_CACHE", scratch.join("lattice-no-models"))
        .stdin(Stdio::null());
    command
}

/// A server that is ready, its events and its address.
struct Served {
    child: Child,
    events: BufReader<std::process::ChildStdout>,
    url: String,
    address: String,
}

/// What all servers here are started with.
const USUAL: [&str; 7] = [
    "--port",
    "0",
    "--json",
    "--parallel",
    "2",
    "--context",
    "512",
];

impl Served {
    fn start(args: &[&str]) -> Served {
        Served::of(&mut lattice(&[&USUAL, args].concat()))
    }

    /// The server that this command starts, once it is ready.
    fn of(command: &mut Command) -> Served {
        command.stdin(Stdio::null()).stderr(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut events = BufReader::new(child.stdout.take().unwrap());
        // Models are loaded first.
        let ready = loop {
            let said = event(&mut events).unwrap();
            if said["ev"] != "serve_model" {
                break said;
            }
        };
        assert_eq!(ready["ev"], "serve_ready", "{ready}");
        let url = ready["url"].as_str().unwrap().to_owned();
        let (_, address) = url.split_once("://").unwrap();
        let address = address.to_owned();
        Served {
            child,
            events,
            url,
            address,
        }
    }

    /// Status and body of a request.
    fn ask(&self, head: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let length = body.len();
        let request = format!(
            "{head} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply
    }

    #[cfg(unix)]
    fn signal(&self, name: &str) {
        let kill = Command::new("kill")
            .args([name, &self.child.id().to_string()])
            .status();
        assert!(kill.unwrap().success());
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn event(events: &mut impl std::io::BufRead) -> Option<Value> {
    let mut line = String::new();
    events.read_line(&mut line).unwrap();
    let json = line.strip_prefix("@@lattice ")?;
    Some(serde_json::from_str(json).unwrap())
}

fn words(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

const CHAT: &str = r#"{"messages":[{"role":"user","content":"a secret question"}],"max_tokens":3}"#;

#[test]
fn each_request_is_one_event_without_its_words() {
    let mut served = Served::start(&[]);
    let reply = served.ask("POST /v1/chat/completions", CHAT);
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    let said = event(&mut served.events).unwrap();
    assert_eq!(
        (&said["ev"], &said["status"], &said["gen_tokens"]),
        (&"serve_request".into(), &200.into(), &3.into())
    );
    assert_eq!(said["model"], "lattice-tiny");
    assert!(!said.to_string().contains("secret"));
}

#[cfg(unix)]
#[test]
fn a_signal_lets_answers_end_and_a_second_one_does_not() {
    let mut served = Served::start(&[]);
    let long = r#"{"prompt":"Once","max_tokens":400,"stream":true,"logit_bias":{"8168":-100,"8166":-100}}"#;
    let mut stream = TcpStream::connect(&served.address).unwrap();
    let length = long.len();
    let request = format!(
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{long}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut first = [0; 16];
    stream.read_exact(&mut first).unwrap();
    served.signal("-TERM");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("[DONE]"), "{rest}");
    assert_eq!(served.child.wait().unwrap().code(), Some(0));

    let mut served = Served::start(&["--drain", "1000"]);
    let mut stream = TcpStream::connect(&served.address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    stream.read_exact(&mut first).unwrap();
    served.signal("-TERM");
    while event(&mut served.events).unwrap()["ev"] != "serve_stopping" {}
    served.signal("-TERM");
    assert_eq!(served.child.wait().unwrap().code(), Some(143));
}

#[test]
fn what_is_wrong_with_the_address_is_said() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (args, said) in [
        (&["--port", &port][..], "is in use by another program"),
        (&["--host", "no such host"], "no such address"),
        (
            &["--host", "203.0.113.1", "--no-auth"],
            "this machine has no such address",
        ),
        (&["--host", "0.0.0.0", "--port", "0"], "give it a key"),
        (
            &["--api-key-file", "/nothing/here"],
            "cannot read /nothing/here",
        ),
        (&["--port", "0", "no-such-model"], "no model"),
    ] {
        let output = lattice(args).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(
            words(&output).contains(said),
            "{args:?}: {}",
            words(&output)
        );
    }
}

#[test]
fn other_machines_need_the_key() {
    let served = Served::start(&["--host", "0.0.0.0", "--api-key", "k1", "--alias", "gpt-4o"]);
    assert!(served.ask("GET /v1/models", "").starts_with("HTTP/1.1 401"));
    let with_key = served.ask(
        "GET /v1/models HTTP/1.1\r\nAuthorization: Bearer k1\r\nX: ",
        "",
    );
    assert!(
        with_key.starts_with("HTTP/1.1 200") && with_key.contains("gpt-4o"),
        "{with_key}"
    );
}

#[cfg(unix)]
#[test]
fn a_socket_is_listened_on_and_an_old_one_replaced() {
    use std::os::unix::net::UnixStream;
    let path = std::env::temp_dir().join(format!("lattice-serve-{}.sock", std::process::id()));
    for _ in 0..2 {
        let path_text = path.to_str().unwrap();
        let mut child = lattice(&["--socket", path_text, "--json", "--context", "512"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut events = BufReader::new(child.stdout.take().unwrap());
        while event(&mut events).unwrap()["ev"] != "serve_ready" {}
        let mut stream = UnixStream::connect(&path).unwrap();
        stream
            .write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        assert!(reply.starts_with("HTTP/1.1 200"));
        // The socket stays behind.
        child.kill().unwrap();
        child.wait().unwrap();
    }
    std::fs::remove_file(path).unwrap();
}

#[cfg(unix)]
#[test]
fn events_that_nobody_reads_end_it() {
    let mut served = Served::start(&[]);
    // The reader goes away.
    let mut other = Command::new("true").stdout(Stdio::piped()).spawn().unwrap();
    other.wait().unwrap();
    served.events = BufReader::new(other.stdout.take().unwrap());
    served.ask("GET /livez", "");
    assert_eq!(served.child.wait().unwrap().code(), Some(1));
}
