//! Files that lie: the corpus of the fuzzer, replayed. No file may panic, hang or take the memory away.
//!
//! A folder of `fuzz/corpus` for each target; a file there is an input that once taught the fuzzer something, a row of
//! lies that people think of, or a bug that was mended.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

#[cfg(unix)]
mod opened;
mod targets;

use std::path::Path;
use std::time::{Duration, Instant};

use lattice_inference::checkpoint::ModelFiles;
use targets::{Files, TARGETS, Target};

/// Far more than any file of the corpus takes, and far less than a hang.
const SLOW: Duration = Duration::from_secs(20);

/// The model whose files are `bytes` and what stands beside. The test ends soon, and the memory with it.
fn model(target: &Target, bytes: Vec<u8>) -> ModelFiles {
    let mut files = vec![(target.file, &*bytes.leak())];
    files.extend((target.beside)());
    let files: Files = files.leak();
    ModelFiles::embedded("hostile", files)
}

fn replay(target: &Target) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target.name);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} has no inputs", folder.display());
    for path in files {
        let bytes = std::fs::read(&path).unwrap();
        let started = Instant::now();
        let run = || (target.run)(&model(target, bytes));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        assert!(result.is_ok(), "{} panics", path.display());
        let took = started.elapsed();
        assert!(took < SLOW, "{} takes {took:?}", path.display());
    }
}

macro_rules! replayed {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                let name = stringify!($name);
                replay(TARGETS.iter().find(|target| target.name == name).unwrap());
            }
        )*

        #[test]
        fn every_target_is_replayed() {
            let replayed = [$(stringify!($name)),*];
            let all: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(replayed[..], all[..]);
        }
    };
}

replayed! {
    safetensors index manifest config generation tokenizer vocab_txt vocab_json merges sentencepiece gguf quantization
    modules pooling sentence tokenizer_config template messages text tool_calls grammar
}
