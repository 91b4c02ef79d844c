//! A file that is cut short under its mapping: the process lives, and nothing computed from what is lost comes out.
//! A test program of its own, as the guard is the whole process's.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lattice_inference::Model;
use lattice_inference::backend::cpu::Cpu;
use lattice_inference::backend::{
    Backend as _, Batch, Entry, LoadOptions, OutputRows, RunError, Runner,
};
use lattice_inference::checkpoint::{Checkpoint, ModelFiles, OpenOptions, guard_truncation};
use lattice_testkit::{ScratchDir, families, write_checkpoint};

fn writable(path: &Path) -> File {
    File::options().write(true).open(path).unwrap()
}

#[test]
fn what_is_lost_reads_as_zeros_and_is_never_forgotten() {
    guard_truncation().unwrap();
    guard_truncation().expect("a second call changes nothing");
    let dir = ScratchDir::new().unwrap();
    let values = vec![7; 1 << 20];
    let tensors: [(&str, &str, &[usize], &[u8]); 1] = [("a", "F32", &[1 << 18], &values)];
    write_checkpoint(dir.path(), "{}", &tensors).unwrap();
    let path = dir.path().join("model.safetensors");
    let bytes = std::fs::metadata(&path).unwrap().len();
    let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
    let checkpoint = Checkpoint::open(&ModelFiles::open(dir.path()).unwrap()).unwrap();
    let other = Checkpoint::open(&ModelFiles::open(dir.path()).unwrap()).unwrap();
    let file = writable(&path);
    file.set_len(300_000).unwrap();
    let sum = |checkpoint: &Checkpoint| -> u64 {
        let bytes = checkpoint.tensor("a").unwrap().bytes;
        bytes.iter().map(|byte| u64::from(*byte)).sum()
    };
    let threads: Vec<u64> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..4).map(|_| scope.spawn(|| sum(&checkpoint))).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    for found in threads {
        assert!(found > 0 && found < 300_000 * 7, "{found}");
    }
    // The file looks as it did, but for what this mapping has lost.
    file.set_len(bytes).unwrap();
    file.set_modified(modified).unwrap();
    let error = checkpoint.unchanged().unwrap_err().to_string();
    assert!(error.contains("changed while it was in use"), "{error}");
    other.unchanged().expect("it was not read meanwhile");
    drop(checkpoint);
    let fresh = Checkpoint::open(&ModelFiles::open(dir.path()).unwrap()).unwrap();
    fresh
        .unchanged()
        .expect("a place that is used again knows nothing of its past");
}

/// A golden family's files in a folder of their own, and the path of the weights.
fn copied(family: &str, dir: &ScratchDir) -> PathBuf {
    let golden = families().into_iter().find(|golden| golden.name == family);
    let from = golden.unwrap().dir;
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(from.join(file), dir.path().join(file)).unwrap();
    }
    dir.path().join("model.safetensors")
}

fn rows(runner: &mut dyn Runner) -> Result<Vec<f32>, RunError> {
    let ids: Vec<u32> = (0..64).map(|id| id * 2).collect();
    let sequence = runner.open()?;
    let entries = [Entry {
        sequence,
        ids: &ids,
        types: &[],
        outputs: OutputRows::All,
    }];
    let rows = runner.run(&Batch { entries: &entries })?.rows.to_vec();
    runner.close(sequence);
    Ok(rows)
}

/// Runs until `harm` was done to the file and the runner says so; every row that comes out before is right.
fn only_right_rows_until(harm: impl Fn(&File) + Sync, words: &str) {
    guard_truncation().unwrap();
    for round in 0..12 {
        let dir = ScratchDir::new().unwrap();
        let file = writable(&copied("llama", &dir));
        let model = Model::open(
            &ModelFiles::open(dir.path()).unwrap(),
            &OpenOptions::default(),
        )
        .unwrap();
        let options = LoadOptions {
            threads: 2,
            output_rows_max: 64,
            ..LoadOptions::default()
        };
        let mut runner = Cpu.load(model.plan, model.checkpoint, &options).unwrap();
        let right = rows(&mut *runner).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_micros(700 * round));
                harm(&file);
            });
            let error = loop {
                match rows(&mut *runner) {
                    Ok(found) => assert!(found == right, "rows of other weights came out"),
                    Err(error) => break error.to_string(),
                }
            };
            assert!(error.contains(words), "{error}");
        });
    }
}

#[test]
fn no_row_is_computed_from_a_file_that_was_cut() {
    only_right_rows_until(|file| file.set_len(1000).unwrap(), "now 1000");
    only_right_rows_until(|file| file.set_len(0).unwrap(), "now 0");
}

#[test]
fn no_row_is_computed_from_a_file_that_was_written_in_place() {
    use std::os::unix::fs::FileExt as _;
    let spoil = |file: &File| file.write_all_at(&[0x3f; 60_000], 20_000).unwrap();
    only_right_rows_until(spoil, "time of change moved");
}
