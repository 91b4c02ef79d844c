//! Files of the model that change while it talks.
#![cfg(unix)]

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;

use super::signals::ENDLESS;
use super::{Home, QUESTION, words};

const WEIGHTS: &str = "model-00001-of-00002.safetensors";

/// The bundled model in a folder of the home, where it can be harmed.
fn copied(home: &Home) -> String {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/lattice-tiny");
    let to = home.path().join("copy");
    std::fs::create_dir(&to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    to.to_str().unwrap().to_owned()
}

/// Starts an endless answer, reads `bytes` of it, harms the weights, and returns how the program ended.
fn harmed(bytes: usize, harm: impl Fn(&File)) {
    let home = Home::new();
    let model = copied(&home);
    let args = [
        &["--model", &model, "--seed", "1", "-p", QUESTION],
        &ENDLESS[..],
    ]
    .concat();
    let mut child = home.chat(&args).spawn().unwrap();
    let mut seen = vec![0; bytes];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut seen)
        .unwrap();
    let path = Path::new(&model).join(WEIGHTS);
    harm(&File::options().write(true).open(path).unwrap());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.signal(), None, "{}", words(&output));
    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
    let said = words(&output);
    for word in [
        "the answer broke off",
        WEIGHTS,
        "changed while it was in use",
    ] {
        assert!(said.contains(word), "{said}");
    }
}

#[test]
fn a_model_that_is_cut_short_while_it_answers_is_said() {
    for round in 0..6 {
        harmed(1 + 40 * round, |file| file.set_len(4096).unwrap());
    }
    harmed(1, |file| file.set_len(0).unwrap());
}

#[test]
fn a_model_that_is_written_in_place_while_it_answers_is_said() {
    let rewrite = |file: &File| file.write_all_at(&vec![0; 1 << 20], 1 << 20).unwrap();
    for round in 0..3 {
        harmed(1 + 40 * round, rewrite);
    }
}

#[test]
fn a_bus_error_that_is_about_no_file_of_ours_still_ends_the_program() {
    let home = Home::new();
    let args = [&["--seed", "1", "-p", QUESTION], &ENDLESS[..]].concat();
    let mut child = home.chat(&args).spawn().unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let id = child.id().to_string();
    // Rust's own handler, which was there before, takes the first one to step aside.
    while child.try_wait().unwrap().is_none() {
        Command::new("kill").args(["-BUS", &id]).status().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let status = child.wait().unwrap();
    assert!(status.signal().is_some(), "{status}");
}
