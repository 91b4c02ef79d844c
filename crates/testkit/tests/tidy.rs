//! The house is tidy: the mechanical rules of `xtask` hold for the whole working tree.

use std::path::Path;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

#[test]
fn files_follow_the_rules() {
    let findings = xtask::tidy::tidy(Path::new(ROOT)).expect("every file can be read");
    assert!(findings.is_empty(), "\n{}", xtask::listing(&findings));
}

#[test]
fn dependencies_follow_the_rules() {
    let findings = xtask::deps::deps(Path::new(ROOT)).expect("cargo knows the graph offline");
    assert!(findings.is_empty(), "\n{}", xtask::listing(&findings));
}
