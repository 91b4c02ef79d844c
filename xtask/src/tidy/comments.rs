//! Comments say why it is so today: no tickets, no history, no promises.
//!
//! In: a file. Out: a finding for each line of comment with a forbidden word.

use crate::Finding;
use crate::source::Source;

/// Lower-case; compared without case.
const HISTORY: [&str; 5] = ["adr-", "legacy", "previously", "used to be", "no longer"];
/// Marks of unfinished work; the same words in small letters are plain English.
const PROMISES: [&str; 4] = ["TODO", "FIXME", "XXX", "HACK"];

pub(crate) fn findings(source: &Source) -> Vec<Finding> {
    let lines = source.comments.lines().zip(1..);
    let found = lines.filter_map(|(line, number)| {
        let word = forbidden(line)?;
        let message = format!("`{word}` in a comment: say why it is so today");
        Some(Finding::new(&source.path, number, message))
    });
    found.collect()
}

fn forbidden(line: &str) -> Option<String> {
    if let Some(ticket) = ticket(line) {
        return Some(ticket);
    }
    if line.contains("```ignore") {
        return Some("```ignore".into());
    }
    // "No longer than" is a length.
    let lower = line.to_lowercase().replace("no longer than", "");
    let history = HISTORY.iter().find(|word| has_word(&lower, word));
    let word = history.or_else(|| PROMISES.iter().find(|word| has_word(line, word)));
    word.map(|word| (*word).to_owned())
}

/// `#` and a number: a ticket's name.
fn ticket(line: &str) -> Option<String> {
    line.match_indices('#').find_map(|(at, _)| {
        let rest = &line[at + 1..];
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let ends = !rest[digits..].starts_with(|c: char| c.is_alphanumeric());
        let ticket = (1..=5).contains(&digits) && ends;
        ticket.then(|| format!("#{}", &rest[..digits]))
    })
}

fn has_word(line: &str, word: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let after = &line[at + word.len()..];
        !line[..at].ends_with(is_name) && (word.ends_with('-') || !after.starts_with(is_name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> usize {
        findings(&Source::new("crates/x/src/a.rs", text.into())).len()
    }

    #[test]
    fn history_and_promises_are_found() {
        let words = [
            "see #123",
            "ADR-080",
            "the Legacy path",
            "previously f32",
            "used to be slow",
        ];
        let more = [
            "no longer needed",
            "TODO: later",
            "FIXME",
            "XXX",
            "HACK!",
            "```ignore",
        ];
        for word in words.iter().chain(&more) {
            assert_eq!(found(&format!("fn f() {{}} // {word}")), 1, "{word}");
            assert_eq!(found(&format!("/// {word}\nfn f() {{}}")), 1, "{word}");
            assert_eq!(found(&format!("/* {word} */")), 1, "{word}");
        }
    }

    #[test]
    fn code_texts_and_plain_words_are_not() {
        let texts = [
            "f(\"TODO #123\");",
            "// no longer than 64 bytes",
            "// a hack of ours, todo lists, #fff, #123456, [x](#a-1)",
            "// raw strings end with \"#",
            "fn legacy() {}",
        ];
        for text in texts {
            assert_eq!(found(text), 0, "{text}");
        }
    }
}
