//! Small graphs with one fault each.

use serde_json::{Value, json};

use super::*;

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Name, what it needs, what it needs for development only.
type Row<'a> = (&'a str, &'a [&'a str], &'a [&'a str]);

fn metadata_of(rows: &[Row<'_>]) -> Value {
    let is_ours = |name: &str| name.starts_with("lattice-");
    let packages = rows.iter().map(|(name, needs, _)| {
        let source = if is_ours(name) {
            Value::Null
        } else {
            json!(REGISTRY)
        };
        let direct: Vec<_> = needs
            .iter()
            .map(|n| json!({"name": n, "kind": null}))
            .collect();
        json!({"id": name, "name": name, "license": "MIT", "source": source, "links": null,
               "dependencies": direct})
    });
    let packages: Vec<Value> = packages.collect();
    let nodes = rows.iter().map(|(name, needs, develops)| {
        let edge = |name: &&str, kind: Value| json!({"pkg": name, "dep_kinds": [{"kind": kind}]});
        let needed = needs.iter().map(|name| edge(name, Value::Null));
        let develops = develops.iter().map(|name| edge(name, json!("dev")));
        json!({"id": name, "deps": needed.chain(develops).collect::<Vec<_>>()})
    });
    let members: Vec<_> = rows
        .iter()
        .map(|row| row.0)
        .filter(|name| is_ours(name))
        .collect();
    let nodes: Vec<Value> = nodes.collect();
    json!({"packages": packages, "resolve": {"nodes": nodes}, "workspace_members": members})
}

const GOOD: [Row<'static>; 5] = [
    ("lattice-cli", &["lattice-inference"], &["cc"]),
    ("lattice-inference", &["serde"], &[]),
    ("serde", &[], &["tokio"]),
    ("cc", &[], &[]),
    ("tokio", &[], &[]),
];

fn found(metadata: &Value, settings: &str) -> Vec<String> {
    let settings = format!("[licences]\nallowed = [\"MIT\"]\n{settings}");
    let settings = Settings::from_text(&settings).unwrap();
    let graph = Graph::from_metadata(&metadata.to_string()).unwrap();
    let findings = findings(&graph, &settings).unwrap();
    findings.iter().map(ToString::to_string).collect()
}

#[test]
fn development_dependencies_are_not_in_the_default_build() {
    assert_eq!(found(&metadata_of(&GOOD), ""), [""; 0]);
}

#[test]
fn what_is_resolved_and_not_built_is_not_needed() {
    let deep: [Row<'_>; 2] = [("serde", &["cc"], &[]), ("cc", &[], &[])];
    let rows = [&GOOD[..2], &deep].concat();
    for (tree, found) in [
        ("lattice-cli v0\nserde v1\ncc v1 (*)\n", 1),
        ("serde v1\ncc v2", 0),
    ] {
        let mut metadata = metadata_of(&rows);
        for package in metadata["packages"].as_array_mut().unwrap() {
            package["version"] = json!("1");
        }
        let mut graph = Graph::from_metadata(&metadata.to_string()).unwrap();
        graph.keep_built(tree);
        let settings = Settings::from_text("[licences]\nallowed = [\"MIT\"]\n").unwrap();
        assert_eq!(findings(&graph, &settings).unwrap().len(), found, "{tree}");
    }
}

#[test]
fn a_banned_crate_at_any_depth_is_found() {
    for banned in BANNED {
        let deep: [Row<'_>; 2] = [("serde", &[banned], &[]), (banned, &[], &[])];
        let rows = [&GOOD[..2], &deep].concat();
        let found = found(&metadata_of(&rows), "");
        assert_eq!(
            found,
            [format!(
                "{banned}: builds or links C, and is in the default build"
            )]
        );
    }
}

#[test]
fn native_links_foreign_licences_and_sources_are_found() {
    let changes = [
        ("links", json!("z"), "links the native library `z`"),
        (
            "license",
            json!("GPL-3.0"),
            "licence `GPL-3.0` is not in tidy.toml",
        ),
        ("license", Value::Null, "licence `` is not in tidy.toml"),
        (
            "source",
            json!("git+https://example.org/x"),
            "comes from outside crates.io",
        ),
        ("source", Value::Null, "comes from outside crates.io"),
    ];
    for (key, value, message) in changes {
        let mut metadata = metadata_of(&GOOD);
        metadata["packages"][2][key] = value;
        assert_eq!(found(&metadata, ""), [format!("serde: {message}")]);
    }
    let mut metadata = metadata_of(&GOOD);
    metadata["packages"][2]["links"] = json!("z");
    assert_eq!(
        found(&metadata, "[links]\nserde = \"links nothing\"\n"),
        [""; 0]
    );
}

#[test]
fn the_allow_list_and_the_engine_are_guarded() {
    let metadata = metadata_of(&GOOD);
    let listed = "[dependencies]\nlattice-inference = [\"serde\"]\n";
    assert_eq!(found(&metadata, listed), [""; 0]);
    assert_eq!(found(&metadata, &listed.replace("\"serde\"", "")).len(), 1);
    assert_eq!(
        found(&metadata, "[dependencies]\nlattice-x = []\n"),
        ["tidy.toml: no package `lattice-x`"]
    );
    let server: [Row<'_>; 2] = [("serde", &["tokio"], &[]), ("tokio", &[], &[])];
    let rows = [&GOOD[..2], &server].concat();
    assert_eq!(
        found(&metadata_of(&rows), ""),
        ["tokio: is pulled in by lattice-inference"]
    );
}

#[test]
fn broken_metadata_is_an_error() {
    for json in ["", "{", r#"{"packages": [{}]}"#] {
        assert!(Graph::from_metadata(json).is_err());
    }
    let graph = Graph::from_metadata("{}").unwrap();
    assert!(graph.needed_by("lattice-cli").is_err());
}
