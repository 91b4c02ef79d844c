//! The paths that a file names, resolved as far as text allows.
//!
//! In: a [`Source`]. Out: [`Name`]s such as `crate::plan::Op` or `half::f16`, each with its byte.
//! `use` trees are spread out, `self` and `super` follow the file's own module. Names that a macro
//! builds, and `super` inside an inline module, are beyond it.

use crate::source::Source;

/// A path in code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) at: usize,
    pub(crate) path: String,
    /// For a `use`: what the file calls it from now on, and whether it is handed on by `pub`.
    pub(crate) exported_as: Option<String>,
}

/// Every path with at least two parts, and every `use`.
pub(crate) fn names(source: &Source) -> Vec<Name> {
    let module = module_of(&source.path);
    let mut code = source.code.clone().into_bytes();
    let mut names = Vec::new();
    for (at, statement) in uses(&source.code) {
        let public = source.code[..at].trim_end().ends_with(['b', ')']);
        for (path, alias) in leaves("", &statement) {
            let exported_as = public.then(|| join(&module, &alias));
            names.push(Name {
                at,
                path: resolved(&path, &module),
                exported_as,
            });
        }
        code[at..at + statement.len()].fill(b' ');
    }
    let code = String::from_utf8(code).expect("only whole statements are blanked");
    names.extend(plain_paths(&code).into_iter().map(|(at, path)| Name {
        at,
        path: resolved(path, &module),
        exported_as: None,
    }));
    names
}

/// `crates/inference/src/plan/op.rs` is the module `crate::plan::op`.
pub(crate) fn module_of(path: &str) -> String {
    let inner = path.split_once("/src/").map_or("", |(_, inner)| inner);
    let inner = inner.strip_suffix(".rs").unwrap_or(inner);
    let inner = inner.strip_suffix("/mod").unwrap_or(inner);
    let parts = inner
        .split('/')
        .filter(|part| !matches!(*part, "lib" | "main" | "mod" | ""));
    parts.fold("crate".to_owned(), |module, part| join(&module, part))
}

fn join(module: &str, name: &str) -> String {
    if module.is_empty() {
        name.to_owned()
    } else {
        format!("{module}::{name}")
    }
}

/// Byte and text of each tree between `use` and `;`, with spaces at both ends.
fn uses(code: &str) -> Vec<(usize, String)> {
    let starts = code
        .match_indices("use ")
        .filter(|(at, _)| !is_name_end(&code[..*at]));
    let trees = starts.filter_map(|(at, word)| {
        let tree = &code[at + word.len()..];
        let tree = &tree[..tree.find(';')?];
        let is_tree = tree
            .chars()
            .all(|c| is_name(c) || c.is_whitespace() || ":{},*#".contains(c));
        is_tree.then(|| (at, format!("{word}{tree}")))
    });
    trees.collect()
}

/// Spreads `a::{b, c::{self as d}}` into paths with the names they get.
fn leaves(prefix: &str, tree: &str) -> Vec<(String, String)> {
    let tree = tree.trim().strip_prefix("use ").unwrap_or(tree).trim();
    if let Some(open) = tree.find('{') {
        let inner = tree[open + 1..]
            .trim_end()
            .strip_suffix('}')
            .unwrap_or(&tree[open + 1..]);
        let prefix = join(prefix, tree[..open].trim_end_matches("::"));
        let prefix = prefix.trim_end_matches("::").to_owned();
        return branches(inner)
            .into_iter()
            .flat_map(|branch| leaves(&prefix, branch))
            .collect();
    }
    let (path, alias) = tree.split_once(" as ").unwrap_or((tree, ""));
    let path = match path.trim() {
        "" => return Vec::new(),
        "self" if !prefix.is_empty() => prefix.to_owned(),
        path => join(prefix, path.trim_start_matches("::")),
    };
    let last = path.rsplit("::").next().unwrap_or(&path).to_owned();
    let alias = if alias.is_empty() {
        last
    } else {
        alias.trim().to_owned()
    };
    vec![(path, alias)]
}

/// Splits at the commas outside inner braces.
fn branches(inner: &str) -> Vec<&str> {
    let (mut depth, mut start, mut branches) = (0_i32, 0, Vec::new());
    for (at, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                branches.push(&inner[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    branches.push(&inner[start..]);
    branches
}

fn plain_paths(code: &str) -> Vec<(usize, &str)> {
    let (mut at, mut paths) = (0, Vec::new());
    while let Some(start) = code[at..].find(is_name).map(|start| at + start) {
        let path = &code[start..];
        let end = path.find(|c| !is_name(c) && c != ':').unwrap_or(path.len());
        let path = path[..end].trim_end_matches(':');
        if path.contains("::") {
            paths.push((start, path));
        }
        at = start + end;
    }
    paths
}

fn resolved(path: &str, module: &str) -> String {
    let (mut base, mut rest) = (module.to_owned(), path);
    if let Some(inner) = rest.strip_prefix("self::") {
        return join(&base, inner);
    }
    let mut climbed = false;
    while let Some(inner) = rest
        .strip_prefix("super")
        .filter(|r| r.is_empty() || r.starts_with("::"))
    {
        base = base
            .rsplit_once("::")
            .map_or(base.clone(), |(outer, _)| outer.to_owned());
        rest = inner.trim_start_matches("::");
        climbed = true;
    }
    match (climbed, rest.is_empty()) {
        (false, _) => path.to_owned(),
        (true, true) => base,
        (true, false) => join(&base, rest),
    }
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn is_name_end(text: &str) -> bool {
    text.ends_with(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(path: &str, text: &str) -> Vec<String> {
        names(&Source::new(path, text.into()))
            .into_iter()
            .map(|name| name.path)
            .collect()
    }

    #[test]
    fn trees_are_spread_and_supers_climb() {
        let text = "use crate::{a::{self, B as C}, d};\nuse super::super::e;\nuse super::*;";
        let found = paths("crates/x/src/m/n.rs", text);
        assert_eq!(
            found,
            [
                "crate::a",
                "crate::a::B",
                "crate::d",
                "crate::e",
                "crate::m::*"
            ]
        );
    }

    #[test]
    fn paths_in_bodies_count_and_text_does_not() {
        let text = "fn f() { half::f16::ZERO; g(\"a::b\"); self::h::i(); } // j::k\n";
        assert_eq!(
            paths("crates/x/src/m/mod.rs", text),
            ["half::f16::ZERO", "crate::m::h::i"]
        );
        assert_eq!(
            paths("crates/x/src/lib.rs", "use half;\nlet half = 1;"),
            ["half"]
        );
    }

    #[test]
    fn public_uses_say_what_they_export() {
        let source = Source::new("crates/x/src/m/mod.rs", "pub use n::{A, B as C};".into());
        let exported: Vec<_> = names(&source)
            .into_iter()
            .filter_map(|n| n.exported_as)
            .collect();
        assert_eq!(exported, ["crate::m::A", "crate::m::C"]);
    }

    #[test]
    fn files_are_modules() {
        let cases = [
            ("crates/x/src/lib.rs", "crate"),
            ("crates/x/src/a.rs", "crate::a"),
            ("crates/x/src/a/mod.rs", "crate::a"),
            ("crates/x/src/a/b.rs", "crate::a::b"),
        ];
        for (path, module) in cases {
            assert_eq!(module_of(path), module);
        }
    }
}
