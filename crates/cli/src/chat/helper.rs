//! What the line editor asks of us: completions of commands, and a look at the line.

use std::cell::Cell;

use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Result};

use super::{choices, commands};

/// The editor's helper.
#[derive(Debug, Default)]
pub(crate) struct Helper {
    has_text: Cell<bool>,
}

impl Helper {
    /// Whether anything stood on the line that was edited last.
    pub(crate) fn has_text(&self) -> bool {
        self.has_text.get()
    }
}

impl rustyline::Helper for Helper {}
impl Highlighter for Helper {}
impl Validator for Helper {}

impl Hinter for Helper {
    type Hint = String;

    /// No hints: but this is where the editor shows each line, and what Ctrl-C does depends on it.
    fn hint(&self, line: &str, _position: usize, _context: &Context<'_>) -> Option<String> {
        self.has_text.set(!line.is_empty());
        None
    }
}

impl Completer for Helper {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _context: &Context<'_>,
    ) -> Result<(usize, Vec<String>)> {
        let typed = &line[..position];
        Ok(completions(typed))
    }
}

/// Where the word that may be completed begins, and what it may be.
fn completions(typed: &str) -> (usize, Vec<String>) {
    if let Some(setting) = typed.strip_prefix("/set ") {
        let names = choices::NAMES.into_iter();
        let fitting = names.filter(|name| name.starts_with(setting));
        return (
            "/set ".len(),
            fitting.map(|name| format!("{name} ")).collect(),
        );
    }
    if !typed.starts_with('/') {
        return (0, Vec::new());
    }
    let fitting = commands::names().filter(|name| name.starts_with(typed));
    (0, fitting.map(|name| format!("{name} ")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_settings_complete() {
        assert_eq!(completions("/he"), (0, vec!["/help ".to_owned()]));
        assert_eq!(completions("/set se"), (5, vec!["seed ".to_owned()]));
        assert_eq!(completions("he").1.len(), 0);
        assert_eq!(completions("/").1.len(), commands::names().count());
    }
}
