//! `lattice pull`, `ls`, `verify` and `rm` as people and programs see them, against a hub on this machine; and under the
//! worst that can be done to a download: kill it at any moment.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use lattice_testkit::{FakeHub, FakeModel, FakeReply, ScratchDir, SplitMix64};
use serde_json::{Value, json};

const NAME: &str = "org/tiny";

/// The model of the binary, as a hub has it, with things beside it that nobody wants.
fn tiny() -> FakeModel {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/lattice-tiny");
    let mut model = FakeModel::new(
        NAME,
        &[("pytorch_model.bin", &[7; 9000]), ("onnx/model.onnx", b"x")],
    );
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        model.files.push((name, fs::read(entry.path()).unwrap()));
    }
    model
}

/// A home with a hub, and no other model than those that a test gets.
struct Home {
    dir: ScratchDir,
    hub: FakeHub,
}

impl Home {
    fn new(models: Vec<FakeModel>) -> Self {
        Self {
            dir: ScratchDir::new().unwrap(),
            hub: FakeHub::start(models),
        }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("models")
    }

    fn lattice(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lattice"));
        self.settle(&mut command);
        command.args(args);
        command
    }

    /// The environment of a program: this home, this hub.
    fn settle(&self, command: &mut Command) {
        let others = [
            "HF_TOKEN",
            "HF_HOME",
            "HF_HUB_CACHE",
            "XDG_CACHE_HOME",
            "HF_HUB_OFFLINE",
            "SSL_CERT_FILE",
        ];
        let proxies = [
            "http_proxy",
            "https_proxy",
            "all_proxy",
            "ALL_PROXY",
            "HTTPS_PROXY",
            "no_proxy",
            "NO_PROXY",
        ];
        for name in others.iter().chain(&proxies) {
            command.env_remove(name);
        }
        command
            .env("HOME", self.dir.path())
            .env("LATTICE_MODEL_CACHE", self.root())
            .env("HF_ENDPOINT", self.hub.endpoint())
            .stdin(Stdio::null())
            .current_dir(self.dir.path());
    }

    fn run(&self, args: &[&str]) -> Output {
        self.lattice(args).output().unwrap()
    }

    /// What it prints where all goes well.
    fn says(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", words(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The reason of a refusal.
    fn refuses(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(
            output.status.code(),
            Some(1),
            "{args:?}: {}",
            words(&output)
        );
        words(&output)
    }
}

fn words(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn events(text: &str) -> Vec<Value> {
    let json = text
        .lines()
        .map(|line| line.strip_prefix("@@lattice ").unwrap());
    json.map(|json| serde_json::from_str(json).unwrap())
        .collect()
}

/// Paths right below a directory and contents.
fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let files = entries.filter(|entry| entry.path().is_file());
    files
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                fs::read(entry.path()).unwrap(),
            )
        })
        .collect()
}

/// Whether the model is there as the hub has it.
fn assert_whole(home: &Home, model: &FakeModel) {
    let mut found = contents(&home.root().join(&model.name));
    assert!(found.remove("lattice-pull.json").is_some());
    // What a kill right behind the rename leaves: empty, and nothing to anybody.
    found.remove("lock");
    let chosen = |path: &str| !path.ends_with(".bin") && !path.contains('/');
    let wanted: BTreeMap<String, Vec<u8>> = model
        .files
        .iter()
        .filter(|(path, _)| chosen(path))
        .cloned()
        .collect();
    assert!(found.keys().eq(wanted.keys()), "{:?}", found.keys());
    assert!(found == wanted, "contents differ");
}

#[test]
fn a_model_is_pulled_listed_talked_with_checked_and_removed() {
    let (home, model) = (Home::new(vec![tiny()]), tiny());
    let output = home.run(&["pull", NAME]);
    assert!(output.status.success(), "{}", words(&output));
    let said = words(&output);
    for part in [
        "model       org/tiny at ",
        "needs       16.",
        " MiB on disk",
        "to run at 4096 tokens",
        "you have    ",
        "left out    pytorch_model.bin (8.79 KiB), onnx/model.onnx (1 B)",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains("may not run it"), "{said}");
    assert_whole(&home, &model);
    assert!(home.says(&["pull", NAME]).contains("it was here already"));
    let revision = format!("{NAME}@{}", model.commit);
    home.says(&["pull", &revision]);
    assert!(home.says(&["show", &revision]).contains("qwen3_5"));
    assert_eq!(
        home.says(&["rm", "-y", &revision]),
        format!("removed {revision}\n")
    );
    let list: Value = serde_json::from_str(&home.says(&["ls", "--json"])).unwrap();
    let row = &list["models"][0];
    assert_eq!(
        (&row["name"], &row["family"]),
        (&json!(NAME), &json!("qwen3_5"))
    );
    assert_eq!(
        (&row["form"], &row["shared"]),
        (&json!("BF16+F32"), &json!(false))
    );
    assert_eq!(row["commit"], model.commit.as_str());
    let line = home.says(&["ls"]);
    assert!(
        line.contains("org/tiny  qwen3_5") && line.contains("0 min ago"),
        "{line}"
    );
    let args = [
        "chat",
        "--model",
        NAME,
        "-p",
        "Hello",
        "--max-tokens",
        "3",
        "--temperature",
        "0",
    ];
    assert!(!home.says(&args).is_empty());
    let checked = home.says(&["verify", NAME]);
    for part in [
        "ok     tokenizer.json: SHA-256 as pulled",
        "ok     model-00002-of-00002.safetensors: SHA-256 as pulled",
        "ok     tensors: shapes as the configuration says",
        "tensors: no NaN, no infinity",
        "tiny is as it should be",
    ] {
        assert!(checked.contains(part), "{part}: {checked}");
    }
    let asks = home.refuses(&["rm", NAME]);
    assert!(
        asks.contains("--yes removes it without a question"),
        "{asks}"
    );
    assert_eq!(home.says(&["rm", "--yes", NAME]), "removed org/tiny\n");
    assert_eq!(fs::read_dir(home.root()).unwrap().count(), 0);
    let gone = home.refuses(&["chat", "--model", NAME, "-p", "x"]);
    assert!(
        gone.contains("`lattice pull org/tiny` gets it from the hub"),
        "{gone}"
    );
}

#[test]
fn a_flipped_bit_a_missing_file_and_a_nan_are_found() {
    let home = Home::new(vec![tiny()]);
    home.says(&["pull", NAME]);
    let shard = home
        .root()
        .join(NAME)
        .join("model-00002-of-00002.safetensors");
    let mut bytes = fs::read(&shard).unwrap();
    let last = bytes.len() - 1;
    bytes[last] = 0x7f;
    bytes[last - 1] = 0xff;
    fs::write(&shard, bytes).unwrap();
    fs::remove_file(home.root().join(NAME).join("vocab.json")).unwrap();
    let output = home.run(&["verify", NAME, "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report["ok"], &report["faults"]),
        (&json!(false), &json!(3))
    );
    let faults: Vec<String> = report["looked_at"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|line| !line["fault"].is_null())
        .map(|line| format!("{}: {}", line["what"], line["fault"]))
        .collect();
    let has = |parts: [&str; 2]| {
        faults
            .iter()
            .any(|fault| parts.iter().all(|part| fault.contains(part)))
    };
    assert!(
        has([
            "\"model-00002-of-00002.safetensors\"",
            "its bytes are others"
        ]),
        "{faults:?}"
    );
    assert!(has(["\"vocab.json\"", "cannot open"]), "{faults:?}");
    assert!(
        has(["mtp.", "NaN or infinite"]) || has(["model.", "NaN or infinite"]),
        "{faults:?}"
    );
}

#[test]
fn a_packed_copy_is_checked_by_its_own_hashes() {
    let home = Home::new(vec![tiny()]);
    home.says(&["pull", NAME]);
    home.says(&["quantize", NAME, "--to", "q8", "-o", "packed"]);
    assert!(!home.dir.path().join("packed/lattice-pull.json").exists());
    let said = home.says(&["verify", "packed"]);
    assert!(said.contains("tokenizer.json: SHA-256 as packed"), "{said}");
    assert!(said.contains("tensors: checksums, no NaN"), "{said}");
    let config = home.dir.path().join("packed/generation_config.json");
    fs::write(config, "{}").unwrap();
    let said = home.run(&["verify", "packed"]);
    assert_eq!(said.status.code(), Some(1));
    assert!(
        String::from_utf8(said.stdout)
            .unwrap()
            .contains("FAULT  generation_config.json: its bytes")
    );
}

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
    let known = |request: &lattice_testkit::FakeRequest| {
        request.header("authorization") == Some("Bearer hf_secret")
    };
    assert!(home.hub.requests().iter().all(known));
}

#[test]
fn the_cache_of_other_programs_is_read_and_left_alone() {
    let (home, model) = (Home::new(vec![tiny()]), tiny());
    let cache = home
        .dir
        .path()
        .join(".cache/huggingface/hub/models--org--tiny");
    let snapshot = cache.join("snapshots").join(&model.commit);
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir_all(cache.join("refs")).unwrap();
    fs::write(cache.join("refs/main"), &model.commit).unwrap();
    for (path, bytes) in model.files.iter().filter(|(path, _)| !path.contains('/')) {
        fs::write(snapshot.join(path), bytes).unwrap();
    }
    let before = contents(&snapshot);
    let line = home.says(&["ls"]);
    assert!(
        line.contains("org/tiny") && line.contains("in the Hugging Face cache"),
        "{line}"
    );
    assert!(home.says(&["show", NAME]).contains("model       org/tiny"));
    let output = home.run(&["pull", NAME]);
    assert!(
        output.status.success() && words(&output).contains("in the Hugging Face cache already")
    );
    assert!(
        home.refuses(&["rm", "--yes", NAME])
            .contains("belongs to other programs")
    );
    assert_eq!(contents(&snapshot), before);
    home.says(&["pull", NAME, "--force"]);
    assert_whole(&home, &model);
    assert!(!home.says(&["ls"]).contains("Hugging Face"));
    home.says(&["rm", "--yes", NAME]);
    assert_eq!(contents(&snapshot), before);
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
fn rm_goes_no_further_than_the_store() {
    let home = Home::new(vec![tiny()]);
    home.says(&["pull", NAME]);
    let outside = home.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("config.json"), "{}").unwrap();
    for name in [
        "../outside",
        "outside",
        "/",
        ".",
        "org",
        "lattice-tiny",
        "org/../../outside",
    ] {
        assert!(
            !home.run(&["rm", "--yes", NAME, name]).status.success(),
            "{name}"
        );
    }
    assert!(outside.join("config.json").is_file());
    assert!(
        home.root().join(NAME).is_dir(),
        "all names are looked at first"
    );
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(home.root().join(NAME), home.root().join("alias")).unwrap();
        home.says(&["rm", "--yes", "alias"]);
        assert!(home.root().join(NAME).is_dir() && !home.root().join("alias").exists());
    }
}

#[test]
fn what_cannot_be_run_is_pulled_and_said() {
    let files: [(&str, &[u8]); 4] = [
        ("config.json", b"{\"model_type\": \"bert\"}"),
        ("model.safetensors", b"\x08\0\0\0\0\0\0\0{}      "),
        ("modules.json", b"[]"),
        ("1_Pooling/config.json", b"{}"),
    ];
    let home = Home::new(vec![FakeModel::new("org/bert", &files)]);
    let output = home.run(&["pull", "org/bert"]);
    assert!(output.status.success(), "{}", words(&output));
    assert!(
        words(&output).contains("this version may not run it: config.json: "),
        "{}",
        words(&output)
    );
    assert!(home.root().join("org/bert/1_Pooling/config.json").is_file());
    assert!(home.says(&["ls"]).contains("(bert)"));
    let checked = home.says(&["verify", "org/bert"]);
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
