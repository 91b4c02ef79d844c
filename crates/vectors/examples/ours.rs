//! Writes the small files that `goldens/vectors.py` reads back: `cargo run -p lattice-vectors --example ours -- DIR`.

#![allow(clippy::unwrap_used, reason = "a tool that cannot go on should stop")]

#[path = "../tests/common/mod.rs"]
mod common;

fn main() {
    let dir = std::env::args_os().nth(1).expect("a directory");
    std::fs::create_dir_all(&dir).unwrap();
    common::write_ours(dir.as_ref()).unwrap();
}
