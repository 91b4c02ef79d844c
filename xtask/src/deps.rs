//! The rules about dependencies: nothing built from C, known licences, one source, short lists.
//!
//! In: the root; cargo says what the graph is on this machine's platform. Out: findings, by package.
//! The default build is what `lattice-cli` needs with normal and build dependencies; the features are
//! those of the whole workspace, so the check sees a little more than is built, never less. What cargo resolves and then
//! does not build is not in it.

mod graph;

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::settings::Settings;
use crate::{Finding, licence};
use graph::Graph;

const BINARY: &str = "lattice-cli";
/// Crates that compile or link C and C++, or generate bindings to it.
const BANNED: [&str; 8] = [
    "cc",
    "cmake",
    "bindgen",
    "cxx",
    "cxx-build",
    "pkg-config",
    "vcpkg",
    "openssl-sys",
];
/// What the engine stays free of, at any depth: servers and their runtimes are built on top of it.
const NOT_IN_ENGINE: [&str; 3] = ["axum", "tokio", "hyper"];

/// Everything the rules find in the dependency graph. Fails when cargo or `tidy.toml` does.
pub fn deps(root: &Path) -> Result<Vec<Finding>> {
    let settings = fs::read_to_string(root.join("tidy.toml")).context("tidy.toml")?;
    let settings = Settings::from_text(&settings)?;
    let mut graph = Graph::from_metadata(&metadata(root)?)?;
    graph.keep_built(&tree(root)?);
    findings(&graph, &settings)
}

fn findings(graph: &Graph, settings: &Settings) -> Result<Vec<Finding>> {
    let findings = [
        no_c(graph, settings)?,
        allowed_licences(graph, settings),
        one_source(graph),
        direct_dependencies(graph, settings),
        engine_alone(graph)?,
    ];
    Ok(findings.concat())
}

/// The graph as cargo resolves it.
fn metadata(root: &Path) -> Result<String> {
    let filter = ["--filter-platform", "host-tuple"];
    let format = ["metadata", "--locked", "--format-version", "1"];
    cargo(root, &[&format[..], &filter].concat())
}

/// The packages of the whole workspace's normal and build dependencies, as cargo builds them.
fn tree(root: &Path) -> Result<String> {
    let edges = ["--edges", "no-dev", "--prefix", "none"];
    cargo(
        root,
        &[&["tree", "--locked", "--workspace"][..], &edges].concat(),
    )
}

/// What cargo prints. `cargo test` has fetched every crate; where less than that was built (`-p`), cargo may fetch the rest.
fn cargo(root: &Path, arguments: &[&str]) -> Result<String> {
    let offline = run(root, &[arguments, &["--offline"]].concat());
    offline.or_else(|_| run(root, arguments))
}

fn run(root: &Path, arguments: &[&str]) -> Result<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "cargo tells its children which cargo it is"
    )]
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(arguments)
        .current_dir(root)
        .output();
    let (output, what) = (output.context("cargo")?, arguments[0]);
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        bail!("cargo {what}: {words}");
    }
    String::from_utf8(output.stdout).with_context(|| format!("cargo {what}: not text"))
}

fn no_c(graph: &Graph, settings: &Settings) -> Result<Vec<Finding>> {
    let harmless: BTreeMap<_, _> = settings.section("links").collect();
    let mut findings = Vec::new();
    for package in graph.needed_by(BINARY)? {
        if BANNED.contains(&package.name.as_str()) {
            findings.push(package.finding("builds or links C, and is in the default build"));
        }
        let links = package.links.as_deref();
        if let Some(links) = links.filter(|_| !harmless.contains_key(package.name.as_str())) {
            findings.push(package.finding(&format!("links the native library `{links}`")));
        }
    }
    Ok(findings)
}

fn allowed_licences(graph: &Graph, settings: &Settings) -> Vec<Finding> {
    let allowed: Vec<_> = settings
        .section("licences")
        .flat_map(|(_, names)| names)
        .cloned()
        .collect();
    let refused = graph
        .packages()
        .filter(|p| !licence::is_satisfied(&p.licence, &allowed));
    refused
        .map(|p| p.finding(&format!("licence `{}` is not in tidy.toml", p.licence)))
        .collect()
}

/// Packages of the workspace have no source; all others come from crates.io.
fn one_source(graph: &Graph) -> Vec<Finding> {
    let foreign = graph.packages().filter(|package| match &package.source {
        Some(source) => source != "registry+https://github.com/rust-lang/crates.io-index",
        None => !package.is_member,
    });
    foreign
        .map(|package| package.finding("comes from outside crates.io"))
        .collect()
}

fn direct_dependencies(graph: &Graph, settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, allowed) in settings.section("dependencies") {
        let Some(package) = graph.packages().find(|package| package.name == name) else {
            findings.push(Finding::new("tidy.toml", 0, format!("no package `{name}`")));
            continue;
        };
        let unknown = package
            .direct
            .iter()
            .filter(|dependency| !allowed.contains(dependency));
        let message =
            |dependency| format!("depends on `{dependency}`, which tidy.toml does not list");
        findings.extend(unknown.map(|dependency| package.finding(&message(dependency))));
    }
    findings
}

fn engine_alone(graph: &Graph) -> Result<Vec<Finding>> {
    let needed = graph.needed_by("lattice-inference")?;
    let foreign = needed
        .into_iter()
        .filter(|p| NOT_IN_ENGINE.contains(&p.name.as_str()));
    Ok(foreign
        .map(|package| package.finding("is pulled in by lattice-inference"))
        .collect())
}

#[cfg(test)]
mod tests;
