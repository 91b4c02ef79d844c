//! `lattice pull`: what it says, what it refuses, whom it asks.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use lattice_testkit::{FakeHub, FakeModel, FakeRequest};
use serde_json::{Value, json};

use crate::{Home, NAME, assert_whole, contents, events, tiny, words};

#[test]
fn programs_hear_of_the_plan_each_file_and_the_end() {
    let (home, model) = (Home::new(vec![tiny()]), tiny());
    home.hub.spoil(|request, mut reply| {
        if request.path.contains("/storage/") {
            reply.pace = Duration::from_millis(1);
        }
        reply
    });
    let events = events(&home.says(&["pull", NAME, "--json"]));
    let of =
        |kind: &str| -> Vec<&Value> { events.iter().filter(|event| event["ev"] == kind).collect() };
    let plan = of("pull_plan")[0];
    assert_eq!(
        (&plan["model"], &plan["commit"]),
        (&json!(NAME), &json!(model.commit))
    );
    assert_eq!(
        plan["left_out"],
        json!(["pytorch_model.bin", "onnx/model.onnx"])
    );
    assert!(
        plan["run_bytes"].as_u64() > Some(10_000_000) && plan["note"].is_null(),
        "{plan}"
    );
    assert!(plan["to_come"].as_u64() < plan["bytes"].as_u64());
    let files = of("pull_file");
    for (index, file) in files.iter().enumerate() {
        assert_eq!((&file["i"], &file["n"]), (&json!(index), &plan["files"]));
    }
    assert_eq!(json!(files.len()), plan["files"]);
    let at = |wanted: &Value| events.iter().position(|event| event == wanted).unwrap();
    let weights = files
        .iter()
        .filter(|file| file["file"].as_str().unwrap().ends_with(".safetensors"));
    for file in weights {
        assert!(at(file) > at(plan), "the plan comes before the weights");
    }
    let progress = of("pull_progress");
    assert!(progress.iter().all(|event| event["total"] == plan["bytes"]));
    assert!(
        progress
            .windows(2)
            .all(|two| two[0]["done"].as_u64() <= two[1]["done"].as_u64())
    );
    let done = events.last().unwrap();
    assert_eq!(
        (&done["ev"], &done["was_there"]),
        (&json!("pull_done"), &json!(false))
    );
    assert!(
        Path::new(done["path"].as_str().unwrap())
            .join("config.json")
            .is_file()
    );
    let output = home.run(&["pull", "org/none", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.starts_with("@@lattice {\"ev\":\"error\",\"msg\":\"org/none: "),
        "{text}"
    );
}

#[test]
fn a_model_that_is_larger_than_the_disk_is_refused_before_its_first_byte() {
    let home = Home::new(vec![tiny()]);
    home.hub.spoil(|request, mut reply| {
        if request.path.contains("/tree/") {
            let text = String::from_utf8(reply.body).unwrap();
            reply.body = text.replace("15869448", "1158694480000000").into_bytes();
        }
        reply
    });
    let said = home.refuses(&["pull", NAME]);
    assert!(
        said.contains("bytes are needed, the file system has"),
        "{said}"
    );
    assert!(said.contains("--force tries it all the same"), "{said}");
    assert!(home.hub.sent_large() < 4_000_000, "weights were not begun");
    assert!(!home.root().join(NAME).exists());
}

/// A limit on the length of files stands for a full disk: the write fails in the middle, with words.
#[cfg(unix)]
#[test]
fn a_disk_that_fills_up_is_named_and_what_came_is_kept() {
    let (home, model) = (Home::new(vec![tiny()]), tiny());
    let mut shell = Command::new("sh");
    home.settle(&mut shell);
    let lattice = env!("CARGO_BIN_EXE_lattice");
    // 8 MB, in blocks of 512 bytes, of a file of 15.9 MB.
    shell.args([
        "-c",
        &format!("trap '' XFSZ; ulimit -f 15625; exec '{lattice}' pull {NAME}"),
    ]);
    let output = shell.output().unwrap();
    let said = words(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("org/tiny.partial/.parts/"), "{said}");
    assert!(
        said.contains("cannot write (15869448 bytes are needed)"),
        "{said}"
    );
    assert!(home.says(&["ls"]).contains("no models"));
    home.hub.forget();
    home.says(&["pull", NAME]);
    assert_whole(&home, &model);
    assert!(
        home.hub.sent_large() < 9_500_000,
        "{}",
        home.hub.sent_large()
    );
}

#[test]
fn of_two_processes_one_fetches_and_the_other_waits() {
    let (home, model) = (Home::new(vec![tiny()]), tiny());
    home.hub.spoil(|_, mut reply| {
        reply.pace = Duration::from_millis(1);
        reply
    });
    let start = || {
        let mut command = home.lattice(&["pull", NAME]);
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let ends = [start(), start()].map(|child| child.wait_with_output().unwrap());
    assert!(
        ends.iter().all(|output| output.status.success()),
        "{}",
        words(&ends[0])
    );
    let waited = ends
        .iter()
        .filter(|output| words(output).contains("waiting for it"));
    assert_eq!(waited.count(), 1, "{}{}", words(&ends[0]), words(&ends[1]));
    assert_whole(&home, &model);
    let large: usize = model
        .files
        .iter()
        .map(|(_, bytes)| bytes.len())
        .filter(|bytes| *bytes >= 4096)
        .sum();
    // Headers are asked for by themselves.
    assert!(home.hub.sent_large() < large + 300_000);
}

#[test]
fn offline_and_proxies() {
    let home = Home::new(vec![tiny()]);
    let proxy = FakeHub::start(Vec::new());
    let mut offline = home.lattice(&["pull", NAME, "--offline"]);
    offline
        .env("http_proxy", proxy.endpoint())
        .env("ALL_PROXY", proxy.endpoint());
    let said = words(&offline.output().unwrap());
    assert!(
        said.contains("is not here, and the network may not be used"),
        "{said}"
    );
    let mut variable = home.lattice(&["pull", NAME]);
    assert!(
        !variable
            .env("HF_HUB_OFFLINE", "1")
            .output()
            .unwrap()
            .status
            .success()
    );
    assert!(home.hub.requests().is_empty() && proxy.requests().is_empty());
    // A proxy that answers nothing useful is asked, and nobody else.
    let mut through = home.lattice(&["pull", NAME]);
    through.env("http_proxy", proxy.endpoint());
    assert!(!through.output().unwrap().status.success());
    assert!(home.hub.requests().is_empty() && !proxy.requests().is_empty());
    let mut past = home.lattice(&["pull", NAME]);
    past.env("http_proxy", proxy.endpoint())
        .env("no_proxy", "localhost,127.0.0.1");
    let output = past.output().unwrap();
    assert!(output.status.success(), "{}", words(&output));
    assert!(
        home.says(&["pull", NAME, "--offline"])
            .contains("it was here already")
    );
}

#[test]
fn the_token_of_the_environment_is_sent_to_the_hub() {
    let home = Home::new(vec![tiny()]);
    let mut command = home.lattice(&["pull", NAME]);
    let output = command.env("HF_TOKEN", "hf_secret").output().unwrap();
    assert!(output.status.success());
    let all = [output.stdout, output.stderr].concat();
    assert!(!String::from_utf8(all).unwrap().contains("hf_secret"));
    let known = |request: &FakeRequest| request.header("authorization") == Some("Bearer hf_secret");
    assert!(home.hub.requests().iter().all(known));
}

#[cfg(target_os = "linux")]
#[test]
fn odd_homes_and_paths_work() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let home = Home::new(vec![tiny()]);
    for name in ["with space", "\u{1f98a} caf\u{e9}", "C:\\models"] {
        let dir = home.dir.path().join(name);
        let args = ["pull", NAME, "--model-dir", dir.to_str().unwrap()];
        home.says(&args);
        assert!(dir.join(NAME).join("config.json").is_file());
    }
    let dir = home.dir.path().join(OsStr::from_bytes(b"not\xff text"));
    let output = home
        .lattice(&["pull", NAME])
        .env("LATTICE_MODEL_CACHE", &dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", words(&output));
    let output = home
        .lattice(&["verify", NAME])
        .env("LATTICE_MODEL_CACHE", &dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", words(&output));
    let mut unset = home.lattice(&["pull", NAME]);
    let output = unset
        .env_remove("LATTICE_MODEL_CACHE")
        .env("HOME", "/proc/nowhere")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        words(&output).contains("/proc/nowhere/.lattice/models: cannot create"),
        "{}",
        words(&output)
    );
}

#[test]
fn what_cannot_be_run_is_pulled_and_said() {
    let files: [(&str, &[u8]); 4] = [
        ("config.json", b"{\"model_type\": \"t5\"}"),
        ("model.safetensors", b"\x08\0\0\0\0\0\0\0{}      "),
        ("modules.json", b"[]"),
        ("1_Pooling/config.json", b"{}"),
    ];
    let home = Home::new(vec![FakeModel::new("org/t5", &files)]);
    let output = home.run(&["pull", "org/t5"]);
    assert!(output.status.success(), "{}", words(&output));
    assert!(
        words(&output).contains("this version may not run it: config.json: "),
        "{}",
        words(&output)
    );
    assert!(home.root().join("org/t5/1_Pooling/config.json").is_file());
    assert!(home.says(&["ls"]).contains("(t5)"));
    let checked = home.says(&["verify", "org/t5"]);
    assert!(
        checked.contains("shapes not looked at: config.json: "),
        "{checked}"
    );
    let gguf: [(&str, &[u8]); 2] = [("a-Q4_0.gguf", b"GGUF"), ("a-Q8_0.gguf", b"GGUF")];
    home.hub.set_models(vec![FakeModel::new("org/gguf", &gguf)]);
    assert!(
        home.refuses(&["pull", "org/gguf"])
            .contains("say which: a-Q4_0.gguf (0.00 GB)")
    );
    let output = home.run(&["pull", "org/gguf", "--file", "*Q8_0*"]);
    assert!(output.status.success(), "{}", words(&output));
    let output = home.run(&["pull", "org/gguf", "--file", "*Q4_0*"]);
    assert!(output.status.success(), "{}", words(&output));
    let found = contents(&home.root().join("org/gguf"));
    assert!(found.contains_key("a-Q4_0.gguf") && found.contains_key("a-Q8_0.gguf"));
}

#[test]
fn names_that_cannot_be_are_refused_before_a_socket_is_opened() {
    let home = Home::new(vec![tiny()]);
    for name in [
        "name",
        "../x",
        "a/b/c",
        "org/..",
        "org/na me",
        "C:\\x",
        "org/name@",
        "org/name@../x",
        "\u{ff0f}/x",
    ] {
        home.refuses(&["pull", name]);
    }
    home.refuses(&["pull", NAME, "--revision", "a b"]);
    home.refuses(&["pull", NAME, "--endpoint", "ftp://x"]);
    home.refuses(&["pull", NAME, "--token", "a b"]);
    assert!(home.hub.requests().is_empty());
    assert!(
        home.refuses(&["pull", NAME, "--revision", "v9"])
            .contains("has no revision v9")
    );
}
