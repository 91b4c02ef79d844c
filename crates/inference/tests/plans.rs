//! The printed plan of each family, reviewed like code. To accept a change, copy the file that the failure names.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::path::Path;

use lattice_inference::Model;
use lattice_inference::checkpoint::{ModelFiles, OpenOptions};
use lattice_testkit::{cross_encoders, encoders, families};

#[test]
fn plans_are_as_reviewed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans");
    let families = families()
        .into_iter()
        .map(|golden| (golden.name, golden.dir));
    let encoders = encoders()
        .into_iter()
        .map(|golden| (golden.name, golden.dir));
    let cross = cross_encoders()
        .into_iter()
        .map(|golden| (golden.name, golden.dir));
    for (name, dir) in families.chain(encoders).chain(cross) {
        let files = ModelFiles::open(&dir).unwrap();
        let model = Model::open(&files, &OpenOptions::default()).unwrap();
        let found = model.plan.table(|weight| model.weight_bytes(weight));
        let path = folder.join(format!("{name}.txt"));
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        if found != expected {
            let fresh = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.txt"));
            std::fs::write(&fresh, &found).unwrap();
            panic!(
                "{}: the plan changed; compare with {}",
                path.display(),
                fresh.display()
            );
        }
    }
}
