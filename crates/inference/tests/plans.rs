//! The printed plan of each family, reviewed like code. To accept a change, copy the file that the failure names.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::path::Path;

use lattice_inference::Model;
use lattice_inference::checkpoint::{ModelFiles, OpenOptions};
use lattice_testkit::families;

#[test]
fn plans_are_as_reviewed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans");
    for golden in families() {
        let files = ModelFiles::open(&golden.dir).unwrap();
        let model = Model::open(&files, &OpenOptions::default()).unwrap();
        let found = model.plan.table(|weight| model.weight_bytes(weight));
        let path = folder.join(format!("{}.txt", golden.name));
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        if found != expected {
            let fresh = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}.txt", golden.name));
            std::fs::write(&fresh, &found).unwrap();
            panic!(
                "{}: the plan changed; compare with {}",
                path.display(),
                fresh.display()
            );
        }
    }
}
