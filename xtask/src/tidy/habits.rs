//! What library code does not do: print, read the environment, know where it was built, skip a test.
//!
//! In: a file. Out: findings with the line. The command line (`crates/cli`) and these chores may print and
//! read; tests, benches and examples may print.

use super::names::names;
use crate::Finding;
use crate::source::Source;

const PRINTS: [&str; 5] = ["println!", "eprintln!", "print!", "eprint!", "dbg!"];
const READS: [&str; 8] = [
    "var",
    "var_os",
    "vars",
    "vars_os",
    "args",
    "args_os",
    "set_var",
    "remove_var",
];

pub(crate) fn findings(source: &Source) -> Vec<Finding> {
    [
        prints(source),
        environment(source),
        build_paths(source),
        ignored_tests(source),
    ]
    .concat()
}

fn is_outer(source: &Source) -> bool {
    source.path.starts_with("crates/cli/") || source.path.starts_with("xtask/")
}

fn prints(source: &Source) -> Vec<Finding> {
    if is_outer(source) {
        return Vec::new();
    }
    let places = PRINTS.iter().flat_map(|word| words(&source.code, word));
    let places = places.filter(|&at| !source.is_test(at));
    let message = "prints: a library returns what it has to say";
    places
        .map(|at| Finding::new(&source.path, source.line(at), message))
        .collect()
}

fn environment(source: &Source) -> Vec<Finding> {
    if is_outer(source) {
        return Vec::new();
    }
    let names = names(source);
    let reading = names.iter().filter(|name| {
        let mut parts = name.path.rsplit("::");
        let last = parts.next().is_some_and(|last| READS.contains(&last));
        last && parts.next() == Some("env")
    });
    // An example is a command line of its own.
    let reading = reading.filter(|_| !source.path.contains("/examples/"));
    let message = "reads the environment: configuration has one door, the command line";
    reading
        .map(|name| Finding::new(&source.path, source.line(name.at), message))
        .collect()
}

fn build_paths(source: &Source) -> Vec<Finding> {
    let free = ["xtask/", "crates/testkit/"]
        .iter()
        .any(|home| source.path.starts_with(home));
    let places = words(&source.code, "env!(").filter(|at| {
        let argument = &source.text[at + "env!(".len()..];
        let names_folder = argument.trim_start().starts_with("\"CARGO_MANIFEST_DIR\"");
        names_folder && !free && !source.is_test(*at)
    });
    let message = "knows where it was built: the binary moves to machines without that folder";
    places
        .map(|at| Finding::new(&source.path, source.line(at), message))
        .collect()
}

fn ignored_tests(source: &Source) -> Vec<Finding> {
    let plain = words(&source.code, "#[ignore");
    let conditional = words(&source.code, "cfg_attr(").filter(|at| {
        let attribute = &source.code[*at..];
        let attribute = &attribute[..attribute.find(']').unwrap_or(attribute.len())];
        attribute.contains(", ignore")
    });
    let message = "ignored test: name it `real_*` and keep it apart, or delete it";
    let places = plain.chain(conditional);
    places
        .map(|at| Finding::new(&source.path, source.line(at), message))
        .collect()
}

/// Bytes where `word` begins and is not the end of a longer name.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let places = code.match_indices(word).map(|(at, _)| at);
    places.filter(move |at| !code[..*at].ends_with(is_name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        findings(&Source::new(path, text.into())).len()
    }

    const LIBRARY: &str = "crates/inference/src/a.rs";

    #[test]
    fn each_bad_habit_is_found() {
        let texts = [
            "fn f() { println!(\"a\"); }",
            "fn f() { eprint!(\"a\"); }",
            "fn f() { std::env::var(\"A\"); }",
            "use std::env;\nfn f() { env::args(); }",
            "use std::env::{temp_dir, var_os};",
            "const A: &str = env!(\"CARGO_MANIFEST_DIR\");",
            "#[test]\n#[ignore]\nfn f() {}",
            "#[test]\n#[ignore = \"slow\"]\nfn f() {}",
            "#[test]\n#[cfg_attr(miri, ignore)]\nfn f() {}",
        ];
        for text in texts {
            assert_eq!(found(LIBRARY, text), 1, "{text}");
        }
    }

    #[test]
    fn words_tests_and_outer_crates_are_not() {
        let texts = [
            "fn f() { writeln!(out, \"println!\"); } // println!",
            "#[cfg(test)]\nmod tests { fn f() { println!(\"a\"); } }",
            "const A: &str = env!(\"CARGO_PKG_VERSION\");",
            "use std::env::temp_dir;",
            "/// Never `#[ignore]` it.\nfn f() {}",
        ];
        for text in texts {
            assert_eq!(found(LIBRARY, text), 0, "{text}");
        }
        assert_eq!(
            found(
                "crates/cli/src/main.rs",
                "fn f() { println!(\"\"); env::args(); }"
            ),
            0
        );
        assert_eq!(
            found("crates/fann/examples/a.rs", "fn f() { println!(\"\"); }"),
            0
        );
        assert_eq!(
            found(
                "crates/testkit/src/a.rs",
                "const A: &str = env!(\"CARGO_MANIFEST_DIR\");"
            ),
            0
        );
    }
}
