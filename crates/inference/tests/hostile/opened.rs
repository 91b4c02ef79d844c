//! Every file of a model, as something that is no file of a model: refused by name, at once, unread.

use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use lattice_inference::backend::cpu::Cpu;
use lattice_inference::checkpoint::ModelFiles;
use lattice_inference::{Engine, EngineOptions};
use lattice_testkit::ScratchDir;

/// What the engine opens of the bundled model.
const OPENED: [&str; 8] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "model.safetensors.index.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
];

fn bundled() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/lattice-tiny")
}

/// The bundled model with `file` replaced by what `put` puts there: the words it is refused with.
fn refusal(file: &str, put: impl Fn(&Path)) -> String {
    let dir = ScratchDir::new().unwrap();
    for name in OPENED.into_iter().filter(|name| *name != file) {
        std::fs::copy(bundled().join(name), dir.path().join(name)).unwrap();
    }
    put(&dir.path().join(file));
    let started = Instant::now();
    let files = ModelFiles::open(dir.path()).unwrap();
    let engine = Engine::open(&files, &Cpu, &EngineOptions::default());
    let error = engine.map(drop).expect_err("must be refused").to_string();
    let took = started.elapsed();
    assert!(took < Duration::from_secs(5), "{file} after {took:?}");
    assert!(error.contains(file), "{file}: {error}");
    error
}

#[track_caller]
fn all_say(words: &str, put: impl Fn(&Path)) {
    for file in OPENED {
        let error = refusal(file, &put);
        assert!(error.contains(words), "{file}: {error}");
    }
}

#[test]
fn links_that_lead_out_are_refused() {
    // Right contents: only the place is wrong.
    all_say("leads outside of the model directory", |path| {
        let name = path.file_name().unwrap();
        symlink(bundled().canonicalize().unwrap().join(name), path).unwrap();
    });
    all_say("leads outside of the model directory", |path| {
        symlink("/dev/zero", path).unwrap();
    });
}

#[test]
fn pipes_directories_and_links_to_nowhere_are_refused() {
    all_say("is a named pipe, not a regular file", |path| {
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    });
    all_say("is a directory, not a regular file", |path| {
        std::fs::create_dir(path).unwrap();
    });
    all_say("cannot follow", |path| symlink("nowhere", path).unwrap());
}

#[test]
fn a_file_of_a_terabyte_is_refused_before_it_is_read() {
    for file in OPENED {
        refusal(file, |path| {
            File::create(path).unwrap().set_len(1 << 40).unwrap();
        });
    }
}
