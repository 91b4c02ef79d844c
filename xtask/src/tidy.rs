//! The rules that read files.
//!
//! In: the root. Out: findings, sorted by file and line; an empty list is a tidy house.
//! Each rule is one function over one file, with its own tests. It does not know: the dependency graph.

mod comments;
mod documents;
mod edges;
mod habits;
mod heads;
mod machine;
mod names;
mod sizes;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::Finding;
use crate::settings::Settings;
use crate::source::Source;
use crate::tree;

/// Everything the rules find under `root`. Fails when a file cannot be read.
pub fn tidy(root: &Path) -> Result<Vec<Finding>> {
    let files = tree::files(root)?;
    let settings = read(root, "tidy.toml")?;
    let settings = Settings::from_text(&settings)?;
    let mut sources = Vec::new();
    for path in files.iter().filter(|path| path.ends_with(".rs")) {
        sources.push(Source::new(path, read(root, path)?));
    }
    let mut findings = code_findings(&sources, &settings);
    for path in files.iter().filter(|path| machine::is_checked(path)) {
        findings.extend(machine::findings(path, &read(root, path)?));
    }
    for path in files.iter().filter(|path| path.ends_with(".md")) {
        findings.extend(documents::findings(path, &read(root, path)?, &files));
    }
    findings.sort();
    Ok(findings)
}

fn code_findings(sources: &[Source], settings: &Settings) -> Vec<Finding> {
    let mut findings = edges::findings(sources);
    findings.extend(sizes::findings(sources, settings));
    for source in sources.iter().filter(|source| !source.is_generated()) {
        findings.extend(comments::findings(source));
        findings.extend(heads::findings(source));
        findings.extend(habits::findings(source));
    }
    findings
}

fn read(root: &Path, path: &str) -> Result<String> {
    let bytes = fs::read(root.join(path)).with_context(|| path.to_owned())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
