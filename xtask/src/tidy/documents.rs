//! Markdown: links lead somewhere, and the two pages that everybody reads stay short.
//!
//! In: a page and the list of files. Out: findings with the line. Links into the web are not followed.

use crate::Finding;

const ARCHITECTURE_LINES_MAX: usize = 300;
const DECISION_LINES_MAX: usize = 15;

pub(crate) fn findings(path: &str, text: &str, files: &[String]) -> Vec<Finding> {
    let mut findings = broken_links(path, text, files);
    match path {
        "ARCHITECTURE.md" => findings.extend(long_page(path, text)),
        "docs/decisions.md" => findings.extend(long_entries(path, text)),
        _ => {}
    }
    findings
}

fn broken_links(path: &str, text: &str, files: &[String]) -> Vec<Finding> {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut findings = Vec::new();
    for (line, number) in prose(text) {
        for target in targets(&line) {
            let is_web = target.contains("://") || target.starts_with("mailto:");
            let file = target.split('#').next().unwrap_or(target);
            if is_web || file.is_empty() {
                continue;
            }
            let leads = resolved(folder, file).is_some_and(|file| exists(&file, files));
            if !leads {
                findings.push(Finding::new(
                    path,
                    number,
                    format!("`{target}` leads nowhere"),
                ));
            }
        }
    }
    findings
}

/// Lines outside fenced blocks, without `code spans`.
fn prose(text: &str) -> Vec<(String, usize)> {
    let (mut fenced, mut lines) = (false, Vec::new());
    for (line, number) in text.lines().zip(1..) {
        let is_fence = line.trim_start().starts_with("```") || line.trim_start().starts_with("~~~");
        fenced ^= is_fence;
        if !fenced && !is_fence {
            lines.push((
                line.split('`').step_by(2).collect::<Vec<_>>().join("`"),
                number,
            ));
        }
    }
    lines
}

/// What `[text](target "title")` and `[name]: target` point to.
fn targets(line: &str) -> Vec<&str> {
    let inline = line.match_indices("](").filter_map(|(at, open)| {
        let rest = &line[at + open.len()..];
        Some(&rest[..rest.find(')')?])
    });
    let is_definition = line.starts_with('[') && !line.starts_with("[^");
    let definition = line
        .split_once("]: ")
        .filter(|_| is_definition)
        .map(|(_, rest)| rest);
    let bare = inline
        .chain(definition)
        .filter_map(|target| target.split_whitespace().next());
    bare.map(|target| target.trim_matches(['<', '>'])).collect()
}

/// The path from the root; None when it climbs out of it.
fn resolved(folder: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn exists(file: &str, files: &[String]) -> bool {
    let inside = |path: &String| {
        path.strip_prefix(file)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    file.is_empty() || files.iter().any(inside)
}

fn long_page(path: &str, text: &str) -> Option<Finding> {
    let lines = text.lines().count();
    let message = format!("{lines} lines, more than {ARCHITECTURE_LINES_MAX}");
    (lines > ARCHITECTURE_LINES_MAX).then(|| Finding::new(path, 0, message))
}

/// An entry is a `## ` heading and what follows; empty lines do not count.
fn long_entries(path: &str, text: &str) -> Vec<Finding> {
    let mut entries: Vec<(usize, usize)> = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        if line.starts_with("## ") {
            entries.push((number, 0));
        }
        if let Some((_, length)) = entries.last_mut() {
            *length += usize::from(!line.trim().is_empty());
        }
    }
    let long = entries
        .into_iter()
        .filter(|(_, length)| *length > DECISION_LINES_MAX);
    let message = |length| format!("entry of {length} lines, more than {DECISION_LINES_MAX}");
    long.map(|(number, length)| Finding::new(path, number, message(length)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        let files = [
            "README.md".to_owned(),
            "docs/a.md".to_owned(),
            "docs/b/c.rs".to_owned(),
        ];
        findings(path, text, &files)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn broken_links_are_found() {
        let text = "x\n[a](docs/z.md) and [b](docs/a.md#part)\n[c]: docs/y.md\n[d](../out.md)\n";
        let lines = [
            "README.md:2: `docs/z.md` leads nowhere",
            "README.md:3: `docs/y.md` leads nowhere",
            "README.md:4: `../out.md` leads nowhere",
        ];
        assert_eq!(found("README.md", text), lines);
    }

    #[test]
    fn good_links_code_and_the_web_are_not() {
        let text = "[a](../README.md) [b](b/c.rs) [c](b) [d](#part) [e](https://x.y/z)\n\
                    `[f](nowhere)`\n```\n[g](nowhere)\n```\n[h](<a.md> \"title\")\n";
        assert_eq!(found("docs/a.md", text), [""; 0]);
    }

    #[test]
    fn long_pages_and_entries_are_found() {
        assert_eq!(found("ARCHITECTURE.md", &"x\n".repeat(300)), [""; 0]);
        assert_eq!(found("ARCHITECTURE.md", &"x\n".repeat(301)).len(), 1);
        let entry = |lines| format!("# Decisions\n\n## A\n\n{}\n## B\nx\n", "x\n".repeat(lines));
        assert_eq!(found("docs/decisions.md", &entry(14)), [""; 0]);
        assert_eq!(found("docs/decisions.md", &entry(15)).len(), 1);
    }
}
