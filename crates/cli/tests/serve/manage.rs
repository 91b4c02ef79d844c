//! `lattice ps`, `lattice stop`, `lattice launch` and https, against servers that run.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::{CHAT, Served, event, lattice_any, words};

fn asked(server: &Served, args: &[&str]) -> Output {
    let url = ["--url", &server.url];
    let all = [&args[..1], &url, &args[1..]].concat();
    lattice_any(&all).output().unwrap()
}

fn out(output: &Output) -> String {
    assert!(output.status.success(), "{}", words(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_server_says_what_it_has_loaded_and_lets_go_of_it() {
    let mut served = Served::start(&["--lazy"]);
    let before = out(&asked(&served, &["ps"]));
    assert!(
        before.contains("unloaded") && before.contains("never"),
        "{before}"
    );
    served.ask("POST /v1/chat/completions", CHAT);
    let listed: Value = serde_json::from_str(&out(&asked(&served, &["ps", "--json"]))).unwrap();
    let model = &listed["models"][0];
    assert_eq!(listed["url"], served.url);
    assert_eq!(
        (&model["state"], &model["loads"]),
        (&"loaded".into(), &1.into())
    );
    assert!(model["model_bytes"].as_u64().unwrap() > 1 << 20);
    assert_eq!(
        out(&asked(&served, &["stop", "lattice-tiny"])),
        "lattice-tiny: unloaded\n"
    );
    let unknown = asked(&served, &["stop", "other"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(words(&unknown).contains("404"), "{}", words(&unknown));
    out(&asked(&served, &["stop"]));
    // The address is free now, though the program may not be gone yet.
    std::net::TcpListener::bind(&served.address).unwrap();
    assert_eq!(served.child.wait().unwrap().code(), Some(0));
    let gone = asked(&served, &["ps"]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(
        words(&gone).contains("no server at http://127.0.0.1:"),
        "{}",
        words(&gone)
    );
}

#[test]
fn a_model_that_nobody_asks_for_is_unloaded_and_said_to_be() {
    let mut served = Served::start(&["--idle-unload", "1"]);
    let said = loop {
        let said = event(&mut served.events).unwrap();
        if said["ev"] == "serve_model" && said["state"] == "unloaded" {
            break said;
        }
    };
    assert_eq!(
        (&said["model"], &said["why"]),
        (&"lattice-tiny".into(), &"idle".into())
    );
    assert!(
        served
            .ask("POST /v1/chat/completions", CHAT)
            .starts_with("HTTP/1.1 200")
    );
}

#[test]
fn a_model_that_is_larger_than_all_may_be_is_refused_with_numbers() {
    let mut served = Served::start(&["--lazy", "--memory-budget", "1000000"]);
    let reply = served.ask("POST /v1/chat/completions", CHAT);
    assert!(reply.starts_with("HTTP/1.1 503"), "{reply}");
    assert!(
        reply.contains("insufficient_memory") && reply.contains("the budget is 1000000 bytes"),
        "{reply}"
    );
    assert_eq!(
        event(&mut served.events).unwrap()["error"],
        "insufficient_memory"
    );
    // Without --lazy that is said at once.
    let refused = crate::lattice(&["--port", "0", "--memory-budget", "1000000"]).output();
    let refused = refused.unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        words(&refused).contains("the budget is 1000000 bytes"),
        "{}",
        words(&refused)
    );
}

#[test]
fn what_does_not_fit_at_the_start_is_loaded_when_it_is_asked_for() {
    let folder = lattice_testkit::ScratchDir::new().unwrap();
    let other = folder.path().join("other");
    let tiny = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/lattice-tiny");
    std::fs::create_dir(&other).unwrap();
    for file in std::fs::read_dir(tiny).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), other.join(file.file_name())).unwrap();
    }
    // The states that each may keep are most of it.
    let budget = [
        "--cache-bytes",
        "1000000000",
        "--memory-budget",
        "1500000000",
    ];
    let args = [&["lattice-tiny", other.to_str().unwrap()], &budget[..]].concat();
    let served = Served::start(&args);
    let states = |served: &Served| {
        let listed: Value = serde_json::from_str(&out(&asked(served, &["ps", "--json"]))).unwrap();
        let models = listed["models"].as_array().unwrap();
        let states = models
            .iter()
            .map(|model| model["state"].as_str().unwrap().to_owned());
        states.collect::<Vec<_>>()
    };
    assert_eq!(states(&served), ["loaded", "unloaded"]);
    let body = CHAT.replacen('{', "{\"model\":\"other\",", 1);
    assert!(
        served
            .ask("POST /v1/chat/completions", &body)
            .starts_with("HTTP/1.1 200")
    );
    assert_eq!(states(&served), ["unloaded", "loaded"]);
}

#[cfg(unix)]
#[test]
fn a_server_behind_a_socket_is_asked_through_it() {
    let path = std::env::temp_dir().join(format!("lattice-manage-{}.sock", std::process::id()));
    let path = path.to_str().unwrap();
    let mut child = crate::lattice(&["--socket", path, "--context", "512", "--lazy", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut events = std::io::BufReader::new(child.stdout.take().unwrap());
    assert_eq!(event(&mut events).unwrap()["ev"], "serve_ready");
    let listed = out(&lattice_any(&["ps", "--socket", path]).output().unwrap());
    assert!(listed.starts_with(&format!("unix:{path}\n")), "{listed}");
    let launch = lattice_any(&["launch", "claude", "--print", "--socket", path])
        .output()
        .unwrap();
    assert!(words(&launch).contains("not by a socket"));
    out(&lattice_any(&["stop", "--socket", path]).output().unwrap());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let _ = std::fs::remove_file(path);
}

#[test]
fn agents_are_told_by_their_own_means() {
    let served = Served::start(&["--alias", "gpt-5"]);
    let url = &served.url;
    let claude = out(&asked(
        &served,
        &["launch", "claude", "--print", "--", "-p", "it's"],
    ));
    for line in [
        format!("export ANTHROPIC_BASE_URL={url}\n"),
        "export ANTHROPIC_AUTH_TOKEN=none\n".to_owned(),
        "export ANTHROPIC_DEFAULT_HAIKU_MODEL=lattice-tiny\n".to_owned(),
        "\nclaude -p 'it'\\''s'\n".to_owned(),
    ] {
        assert!(claude.contains(&line), "{line}\n{claude}");
    }
    let codex = out(&asked(
        &served,
        &["launch", "codex", "--print", "--model", "gpt-5"],
    ));
    for part in [
        &format!("base_url=\"{url}/v1\""),
        "wire_api=\"responses\"",
        "'model=\"gpt-5\"'",
        "model_context_window=512",
    ] {
        assert!(codex.contains(part), "{part}\n{codex}");
    }
    let opencode = asked(&served, &["launch", "opencode", "--print"]);
    assert!(words(&opencode).contains("reads 512 tokens here"));
    let opencode = out(&opencode);
    let config = opencode.split_once("OPENCODE_CONFIG_CONTENT='").unwrap().1;
    let config: Value = serde_json::from_str(config.split_once('\'').unwrap().0).unwrap();
    assert_eq!(config["model"], "lattice/lattice-tiny");
    assert_eq!(
        config["provider"]["lattice"]["options"]["baseURL"],
        format!("{url}/v1")
    );
    let unknown = asked(&served, &["launch", "codex", "--model", "other"]);
    assert!(
        words(&unknown).contains("it has lattice-tiny"),
        "{}",
        words(&unknown)
    );
    // Where the agent is not to be found, what it would be run with is said.
    let absent = lattice_any(&["launch", "claude", "--url", url])
        .env("PATH", "/nowhere")
        .output()
        .unwrap();
    assert_eq!(absent.status.code(), Some(1));
    let said = words(&absent);
    assert!(
        said.contains("claude is not on the path") && said.contains("export ANTHROPIC_BASE_URL="),
        "{said}"
    );
}

#[cfg(unix)]
#[test]
fn an_agent_gets_its_variables_and_its_exit_code_is_ours() {
    use std::os::unix::fs::PermissionsExt as _;
    let served = Served::start(&["--lazy"]);
    let folder = lattice_testkit::ScratchDir::new().unwrap();
    let agent = folder.path().join("claude");
    std::fs::write(
        &agent,
        "#!/bin/sh\necho \"$ANTHROPIC_MODEL ${ANTHROPIC_API_KEY-unset} $*\"\nexit 7\n",
    )
    .unwrap();
    std::fs::set_permissions(&agent, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    let ran = lattice_any(&["launch", "claude", "--url", &served.url, "--", "-p", "hi"])
        .env("PATH", path)
        .env("ANTHROPIC_API_KEY", "of another")
        .output()
        .unwrap();
    assert_eq!(ran.status.code(), Some(7));
    assert_eq!(
        String::from_utf8(ran.stdout).unwrap(),
        "lattice-tiny unset -p hi\n"
    );
}

#[test]
fn https_is_served_and_asked_for() {
    let file = |name: &str| format!("{}/../hub/tests/tls/{name}", env!("CARGO_MANIFEST_DIR"));
    let (certificate, key, ca) = (file("server.pem"), file("server.key"), file("root.pem"));
    let served = Served::start(&["--lazy", "--tls-cert", &certificate, "--tls-key", &key]);
    assert!(served.url.starts_with("https://"), "{}", served.url);
    let port = served.address.rsplit(':').next().unwrap();
    let url = format!("https://localhost:{port}");
    let listed = lattice_any(&["ps", "--url", &url, "--ca", &ca])
        .output()
        .unwrap();
    assert!(out(&listed).contains("lattice-tiny"));
    let unknown = lattice_any(&["ps", "--url", &url]).output().unwrap();
    assert!(
        words(&unknown).contains("certificate"),
        "{}",
        words(&unknown)
    );
    let wrong = crate::lattice(&["--port", "0", "--tls-cert", &key, "--tls-key", &key])
        .output()
        .unwrap();
    assert_eq!(wrong.status.code(), Some(1));
    assert!(
        words(&wrong).contains("server.key: has no certificate in it"),
        "{}",
        words(&wrong)
    );
    let alone = crate::lattice(&["--tls-cert", &certificate])
        .output()
        .unwrap();
    assert_eq!(alone.status.code(), Some(2));
}

#[test]
fn an_address_that_is_none_is_named() {
    for url in [
        "127.0.0.1:80",
        "ftp://127.0.0.1",
        "http://127.0.0.1/some/where",
        "http://",
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_lattice"))
            .args(["ps", "--url", url])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{url}");
        assert!(
            words(&output).contains(&format!("--url {url}")),
            "{}",
            words(&output)
        );
    }
}
