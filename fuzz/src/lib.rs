//! The fuzzer's side of the targets: one binary for each, all of them the functions that `cargo test` replays the
//! corpus with.
//!
//! In: a target's name and the fuzzer's bytes. Out: nothing. It does not know: what is read.

use std::io::{Write as _, stderr};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::sync::Once;

use lattice_inference::checkpoint::ModelFiles;

#[path = "../../crates/inference/tests/hostile/targets.rs"]
mod targets;

#[path = "../../crates/vectors/tests/hostile/targets.rs"]
mod sets;

use sets::SET_TARGETS;
use targets::{Files, TARGETS};

/// Reads a model of which one file is `data`. A panic that gets out of the library ends the process; those of other
/// people's crates that the library catches on purpose do not, though the fuzzer's own hook would see to it.
pub fn run(name: &str, data: &[u8]) {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| set_hook(Box::new(|_| {})));
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| read(name, data))) {
        let words = panic.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| panic.downcast_ref::<&str>().copied());
        // Who looks at a find runs it again by hand.
        let _ = writeln!(stderr(), "panicked: {}", words.unwrap_or("without words"));
        std::process::abort();
    }
}

fn read(name: &str, data: &[u8]) {
    if let Some(target) = SET_TARGETS.iter().find(|target| target.name == name) {
        return (target.run)(data);
    }
    let target = TARGETS.iter().find(|target| target.name == name);
    let target = target.expect("each binary is called as a target is");
    let mut files = vec![(target.file, data)];
    files.extend((target.beside)());
    // SAFETY: a target returns before `data` and `files` go, and keeps nothing: what it opens it drops.
    let files: Files = unsafe { std::mem::transmute::<&[(&str, &[u8])], Files>(&files) };
    (target.run)(&ModelFiles::embedded("hostile", files));
}

/// The binary of a target.
#[macro_export]
macro_rules! target {
    ($name:literal) => {
        libfuzzer_sys::fuzz_target!(|data: &[u8]| $crate::run($name, data));
    };
}
