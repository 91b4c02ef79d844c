//! Files that lie: the corpus of the fuzzer, replayed, and right files with bytes changed. None may panic, hang or take the
//! memory away.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use targets::{SET_TARGETS, SetTarget};

/// Far more than any file of the corpus takes, and far less than a hang.
const SLOW: Duration = Duration::from_secs(20);

fn files(folder: PathBuf) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(&folder);
    let entries = entries.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.is_file());
    files.sort();
    files
}

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

fn target(name: &str) -> &'static SetTarget {
    let mut targets = SET_TARGETS.iter();
    targets.find(|target| target.name == name).unwrap()
}

fn replay(name: &str) {
    let inputs = files(root("fuzz/corpus").join(name));
    assert!(!inputs.is_empty(), "{name} has no inputs");
    for path in inputs {
        let bytes = std::fs::read(&path).unwrap();
        let started = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| (target(name).run)(&bytes)));
        assert!(result.is_ok(), "{} panics", path.display());
        assert!(started.elapsed() < SLOW, "{} is slow", path.display());
    }
}

#[test]
fn npy() {
    replay("npy");
}

#[test]
fn jsonl() {
    replay("jsonl");
}

#[test]
fn parquet() {
    replay("parquet");
}

/// Right files that others wrote.
fn right(ending: &str) -> Vec<Vec<u8>> {
    let mut right = files(root("crates/testkit/goldens/vectors"));
    right.extend(files(root("crates/testkit/goldens/vectors/ours")));
    right.retain(|path| path.extension().is_some_and(|found| found == ending));
    right
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn changed_files_are_read_or_refused(
        kind in 0..3_usize,
        file in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..6),
    ) {
        let name = ["npy", "jsonl", "parquet"][kind];
        let mut bytes = file.get(&right(name)).clone();
        for (at, value, what) in changes {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match what {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, value),
                2 => drop(bytes.remove(at)),
                _ => bytes[at] = value,
            }
        }
        (target(name).run)(&bytes);
    }
}
