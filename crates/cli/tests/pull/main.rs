//! `lattice pull`, `ls`, `verify` and `rm` as people and programs see them, against a hub on this machine.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod getting;
mod keeping;
mod killing;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use lattice_testkit::{FakeHub, FakeModel, ScratchDir};
use serde_json::Value;

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
