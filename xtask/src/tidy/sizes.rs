//! Long files and long functions need a reason in `tidy.toml`.
//!
//! In: all files and the `[oversize]` section: `"path" = "reason"`, or `"path::function" = "reason"`.
//! Out: findings, also for reasons that nothing needs any more.

use crate::Finding;
use crate::settings::Settings;
use crate::source::{Source, block_end};

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 120;

pub(crate) fn findings(sources: &[Source], settings: &Settings) -> Vec<Finding> {
    let mut unused: Vec<_> = settings.section("oversize").collect();
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| !source.is_generated()) {
        for (key, line, message) in oversized(source) {
            match unused.iter().position(|(known, _)| *known == key) {
                Some(known) => drop(unused.swap_remove(known)),
                None => findings.push(Finding::new(&source.path, line, message)),
            }
        }
    }
    let unused = unused.iter().map(|(key, _)| {
        Finding::new(
            "tidy.toml",
            0,
            format!("`{key}` is not oversized: remove its line"),
        )
    });
    findings.extend(unused);
    findings
}

fn oversized(source: &Source) -> Vec<(String, usize, String)> {
    let mut found = Vec::new();
    let lines = source.text.lines().count();
    if lines > FILE_LINES_MAX {
        let message = format!("{lines} lines, more than {FILE_LINES_MAX}: split it");
        found.push((source.path.clone(), 0, message));
    }
    for (name, at, lines) in functions(&source.code) {
        if lines > FUNCTION_LINES_MAX {
            let key = format!("{}::{name}", source.path);
            let message = format!("`{name}` has {lines} lines, more than {FUNCTION_LINES_MAX}");
            found.push((key, source.line(at), message));
        }
    }
    found
}

/// Name, byte and lines of every function with a body.
fn functions(code: &str) -> Vec<(&str, usize, usize)> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let starts = code
        .match_indices("fn ")
        .filter(|(at, _)| !code[..*at].ends_with(is_name));
    let functions = starts.filter_map(|(at, word)| {
        let rest = &code[at + word.len()..];
        let name = &rest[..rest.find(|c| !is_name(c))?];
        let open = at + body_start(&code[at..])?;
        let lines = code[at..block_end(code, open)].lines().count();
        (!name.is_empty()).then_some((name, at, lines))
    });
    functions.collect()
}

/// The brace that opens the body; a `;` outside brackets (array types have them inside) means none.
fn body_start(signature: &str) -> Option<usize> {
    let mut depth = 0_i32;
    for (at, byte) in signature.bytes().enumerate() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(at),
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, settings: &str) -> Vec<String> {
        let sources = [Source::new("crates/x/src/a.rs", text.into())];
        let settings = Settings::from_text(settings).unwrap();
        findings(&sources, &settings)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn long_functions_are_found_by_name() {
        let body = "    work();\n".repeat(119);
        let long = format!("fn short() {{}}\n\nfn long(a: [u8; 2]) {{\n{body}}}\n");
        assert_eq!(
            found(&long, "")[0],
            "crates/x/src/a.rs:3: `long` has 121 lines, more than 120"
        );
        assert_eq!(found(&long.replacen("    work();\n", "", 1), ""), [""; 0]);
        let excused = "[oversize]\n\"crates/x/src/a.rs::long\" = \"one table\"\n";
        assert_eq!(found(&long, excused), [""; 0]);
        assert!(found("fn short() {}", excused)[0].starts_with("tidy.toml: "));
    }

    #[test]
    fn long_files_are_found_unless_generated() {
        let text = "//! Head.\n".repeat(801);
        assert_eq!(found(&text, "").len(), 1);
        assert_eq!(found(&text.replacen("Head", "@generated", 1), ""), [""; 0]);
    }

    #[test]
    fn functions_without_a_body_are_passed_over() {
        let code = "trait A { fn a(&self) -> [u8; 2]; fn b() { c() } }\ntype F = fn (u8) -> u8;";
        let names: Vec<_> = functions(code)
            .into_iter()
            .map(|(name, _, _)| name)
            .collect();
        assert_eq!(names, ["b"]);
    }
}
