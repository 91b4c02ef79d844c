//! Nothing in the repository names the machine it was written on.
//!
//! In: a text file that people write. Out: a finding for each line with an absolute home or a mirror's name.

use crate::Finding;

const ENDINGS: [&str; 9] = ["rs", "toml", "md", "sh", "py", "yml", "yaml", "cfg", "txt"];

/// Written in pieces, so that this file does not name them either.
const PATTERNS: [&str; 8] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("arti", "factory"),
    concat!("index.", "crates.io"),
    concat!("files.python", "hosted.org"),
    concat!("registry.", "npmjs.org"),
];

/// Cargo.lock names its registry by design; vocabularies and goldens are data.
pub(crate) fn is_checked(path: &str) -> bool {
    let ending = path.rsplit(['/', '.']).next().unwrap_or(path);
    let is_data = path.starts_with("models/") && !path.ends_with(".md");
    let is_word_list = path.ends_with("merges.txt") || path.contains("/texts/");
    let is_script = path.starts_with(".ci/") || path.starts_with(".cargo/");
    !is_data && !is_word_list && (is_script || ENDINGS.contains(&ending))
}

pub(crate) fn findings(path: &str, text: &str) -> Vec<Finding> {
    let lines = text.lines().zip(1..);
    let found = lines.filter_map(|(line, number)| {
        let pattern = PATTERNS.iter().find(|pattern| names(line, pattern))?;
        Some(Finding::new(
            path,
            number,
            format!("`{pattern}` names one machine"),
        ))
    });
    found.collect()
}

/// A folder's name inside a longer path (`a/home/b`) names no machine.
fn names(line: &str, pattern: &str) -> bool {
    line.match_indices(pattern).any(|(at, _)| {
        let inner = line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-~$}".contains(c));
        !(pattern.starts_with('/') && inner)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_is_found_in_every_position() {
        for pattern in PATTERNS {
            assert_eq!(findings("a.md", &format!("x\nsee {pattern}x\n"))[0].line, 2);
            assert_eq!(findings("a.md", &format!("{pattern}x")).len(), 1);
        }
    }

    #[test]
    fn relative_paths_and_data_are_not() {
        assert_eq!(
            findings("a.md", concat!("crates/ho", "me/x and $HOME/x ~/x")).len(),
            0
        );
        assert!(
            is_checked("crates/x/src/a.rs") && is_checked(".ci/run") && is_checked("README.md")
        );
        assert!(is_checked("models/lattice-tiny/README.md"));
        for data in [
            "Cargo.lock",
            "models/a/merges.txt",
            "a.safetensors",
            "a/tokenizer.json",
        ] {
            assert!(!is_checked(data), "{data}");
        }
    }
}
