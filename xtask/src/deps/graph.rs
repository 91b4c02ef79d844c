//! The dependency graph, read from `cargo metadata`.
//!
//! In: its JSON. Out: packages, and what a package needs to be built. Development dependencies are
//! packages too (their licences matter), but nothing needs them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::Finding;

/// A package as its manifest describes it.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    version: String,
    pub(crate) licence: String,
    /// None for a path.
    pub(crate) source: Option<String>,
    pub(crate) links: Option<String>,
    pub(crate) is_member: bool,
    /// Names of the normal and build dependencies in the manifest, of all platforms and features.
    pub(crate) direct: BTreeSet<String>,
}

impl Package {
    pub(crate) fn finding(&self, message: &str) -> Finding {
        Finding::new(&self.name, 0, message)
    }
}

/// Packages by cargo's id, and the ids each one needs.
#[derive(Debug)]
pub(crate) struct Graph {
    packages: BTreeMap<String, Package>,
    needs: BTreeMap<String, Vec<String>>,
}

impl Graph {
    pub(crate) fn from_metadata(json: &str) -> Result<Self> {
        let metadata: Value = serde_json::from_str(json).context("cargo metadata")?;
        let members: BTreeSet<_> = texts(&metadata["workspace_members"]).collect();
        let packages = list(&metadata["packages"]).iter().map(|package| {
            let id = text(package, "id").context("a package without id")?;
            Ok((id.clone(), read_package(package, members.contains(&id))?))
        });
        let needs = list(&metadata["resolve"]["nodes"]).iter().map(|node| {
            let id = text(node, "id").context("a node without id")?;
            let needed = list(&node["deps"])
                .iter()
                .filter(|dependency| is_needed(dependency));
            Ok((
                id,
                needed
                    .filter_map(|dependency| text(dependency, "pkg"))
                    .collect(),
            ))
        });
        Ok(Self {
            packages: packages.collect::<Result<_>>()?,
            needs: needs.collect::<Result<_>>()?,
        })
    }

    /// Forgets edges to packages that are not built: cargo resolves optional dependencies that a weak feature (`name?/feature`)
    /// mentions, and then leaves them out. `built` is what `cargo tree` prints, a package `name vVERSION ...` a line.
    pub(crate) fn keep_built(&mut self, built: &str) {
        let lines = built.lines().filter_map(|line| {
            let mut words = line.split(' ');
            Some((words.next()?, words.next()?.strip_prefix('v')?))
        });
        let built: BTreeSet<(&str, &str)> = lines.collect();
        let packages = &self.packages;
        let is_built = |id: &String| {
            let package = packages.get(id);
            package.is_none_or(|p| p.is_member || built.contains(&(&p.name, &p.version)))
        };
        for needs in self.needs.values_mut() {
            needs.retain(is_built);
        }
    }

    pub(crate) fn packages(&self) -> impl Iterator<Item = &Package> {
        self.packages.values()
    }

    /// The package and everything that building it needs, at any depth.
    pub(crate) fn needed_by(&self, name: &str) -> Result<Vec<&Package>> {
        let start = self
            .packages
            .iter()
            .find(|(_, package)| package.name == name);
        let (start, _) = start.with_context(|| format!("no package {name}"))?;
        let mut seen = BTreeSet::from([start.as_str()]);
        let mut open = vec![start.as_str()];
        while let Some(id) = open.pop() {
            let needed = self.needs.get(id).into_iter().flatten().map(String::as_str);
            open.extend(needed.filter(|id| seen.insert(id)));
        }
        Ok(seen
            .into_iter()
            .filter_map(|id| self.packages.get(id))
            .collect())
    }
}

fn read_package(package: &Value, is_member: bool) -> Result<Package> {
    let direct = list(&package["dependencies"])
        .iter()
        .filter(|d| d["kind"] != "dev");
    Ok(Package {
        name: text(package, "name").context("a package without name")?,
        version: text(package, "version").unwrap_or_default(),
        licence: text(package, "license").unwrap_or_default(),
        source: text(package, "source"),
        links: text(package, "links"),
        is_member,
        direct: direct
            .filter_map(|dependency| text(dependency, "name"))
            .collect(),
    })
}

/// Whether any of its kinds is more than a development dependency.
fn is_needed(dependency: &Value) -> bool {
    list(&dependency["dep_kinds"])
        .iter()
        .any(|kind| kind["kind"] != "dev")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn texts(value: &Value) -> impl Iterator<Item = String> {
    list(value)
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
}

fn text(value: &Value, key: &str) -> Option<String> {
    value[key].as_str().map(str::to_owned)
}
