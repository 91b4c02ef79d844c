//! kill -9 at any moment of the whole way, again and again: the store is then where its manifest says, and ends with the
//! bytes of one that was never killed.
//!
//! The binary is its own victim: started in a store's directory, it goes on with that store until it is done.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod toy;

use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lattice_embed::backfill::{FillOptions, Stage, Store};
use lattice_testkit::{ScratchDir, SplitMix64};
use toy::{PARQUET, embedder, files, new, old, rows, store};

const ROWS: usize = 1400;
const SHARDS: usize = 3;
const ROUNDS: u64 = 3;

fn main() {
    let here = Path::new(".");
    if here.join("manifest.json").is_file() {
        return go_on(here);
    }
    let whole = ScratchDir::new().unwrap();
    store(whole.path(), PARQUET, SHARDS, ROWS);
    go_on(whole.path());
    let whole = files(whole.path());
    for seed in 0..ROUNDS {
        let kills = round(seed, &whole);
        eprintln!("kill -9: round {seed}: {kills} kills, the same bytes");
    }
}

fn round(seed: u64, whole: &std::collections::BTreeMap<String, Vec<u8>>) -> usize {
    let dir = ScratchDir::new().unwrap();
    store(dir.path(), PARQUET, SHARDS, ROWS);
    let mut rng = SplitMix64::new(seed);
    for kills in 0.. {
        let exe = std::env::current_exe().unwrap();
        let mut victim = Command::new(exe).current_dir(dir.path()).spawn().unwrap();
        // A victim gets further as the rounds go on, or nothing would ever end.
        std::thread::sleep(Duration::from_millis(5 + rng.below(30 + 10 * kills) as u64));
        let done = victim
            .try_wait()
            .unwrap()
            .is_some_and(|status| status.success());
        let _ = victim.kill();
        victim.wait().unwrap();
        let status = Store::open(dir.path()).unwrap().status().unwrap();
        let counts = status.current.rows == (SHARDS * ROWS) as u64;
        assert!(
            counts || status.current.rows == (SHARDS * ROWS + 10) as u64,
            "{status:?}"
        );
        if done {
            let found = files(dir.path());
            assert!(found == *whole, "{:?} for {:?}", found.keys(), whole.keys());
            return kills;
        }
    }
    0
}

/// Takes the next step, wherever the store is, until the way is done.
fn go_on(dir: &Path) {
    let store = Store::open(dir).unwrap();
    let (mut by_old, mut by_new) = (embedder(old()), embedder(new()));
    loop {
        let status = store.status().unwrap();
        match status.stage {
            None if status.current.made_by == new() => return store.clean().unwrap(),
            None => store.plan(&new()).unwrap(),
            Some(Stage::Filling) => {
                let mut slowly = |texts: &[&str]| {
                    std::thread::sleep(Duration::from_millis(1));
                    by_new(texts)
                };
                let options = FillOptions { batch_rows: 64 };
                let mut on = |_: &_| ControlFlow::Continue(());
                store.fill(&new(), &mut slowly, &options, &mut on).unwrap();
            }
            Some(Stage::Filled) => drop(store.verify(&new(), &mut by_new, 20).unwrap()),
            Some(Stage::Verified) => store.cut_over().unwrap(),
            // Ten rows arrive while both are there; a victim that died before it could say so must not append them twice.
            Some(Stage::CutOver) if status.current.rows == (SHARDS * ROWS) as u64 => {
                let late = rows(SHARDS * ROWS..SHARDS * ROWS + 10);
                store.append(&late, &mut by_new, Some(&mut by_old)).unwrap();
            }
            Some(Stage::CutOver) => store.prune().unwrap(),
        }
    }
}
