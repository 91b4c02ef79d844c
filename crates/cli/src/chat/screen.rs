//! Writing for a person: to a terminal with its looks, to anything else as plain text.
//!
//! In: pieces of answers, figures, notes. Out: bytes, flushed at once.
//! A terminal gets no control characters from a model, for these could do anything to it. Escape codes of our own
//! are only used where the terminal takes them.

use std::io::{self, IsTerminal as _, Write};

use lattice_inference::Piece;
use lattice_inference::generate::StopReason;
use lattice_inference::tools::ToolEvent;

use super::session::Turn;
use crate::args;
use crate::visible::visible;

const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// Columns of a terminal that does not tell.
const COLUMNS: usize = 80;

/// What the output can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// A file or a pipe: the text and nothing else.
    Piped,
    /// A terminal without escape codes.
    Bare,
    /// A terminal that can show dim text.
    Full,
}

impl Look {
    fn of(terminal: bool) -> Self {
        match (terminal, args::escape_codes_wanted()) {
            (false, _) => Self::Piped,
            (true, false) => Self::Bare,
            (true, true) => Self::Full,
        }
    }

    pub(crate) fn of_stdout() -> Self {
        Self::of(io::stdout().is_terminal())
    }

    pub(crate) fn of_stderr() -> Self {
        Self::of(io::stderr().is_terminal())
    }
}

/// An output and its look.
pub(crate) struct Screen<W> {
    out: W,
    look: Look,
    /// What the last piece of an answer was.
    last: Last,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Nothing,
    Thought,
    Said { line_ended: bool },
}

impl<W: Write> Screen<W> {
    pub(crate) fn new(out: W, look: Look) -> Self {
        Self {
            out,
            look,
            last: Last::Nothing,
        }
    }

    /// Shows a piece of an answer. What is thought is dim, and goes nowhere but to terminals.
    pub(crate) fn piece(&mut self, piece: &Piece) -> io::Result<()> {
        match (piece.thinking, self.look) {
            (true, Look::Piped) => return Ok(()),
            (true, Look::Bare | Look::Full) => self.thought(&piece.text)?,
            (false, _) => self.said(&piece.text)?,
        }
        for event in &piece.calls {
            self.call(event)?;
        }
        self.out.flush()
    }

    /// Shows a call as `name {"arguments": ...}`, on lines of its own.
    fn call(&mut self, event: &ToolEvent) -> io::Result<()> {
        match event {
            ToolEvent::Begin { name, .. } => {
                let fresh = matches!(self.last, Last::Nothing | Last::Said { line_ended: true });
                self.said(&format!("{}{name} ", if fresh { "" } else { "\n" }))
            }
            ToolEvent::Arguments { json, .. } => self.said(json),
            ToolEvent::End { .. } | ToolEvent::Broken { .. } => self.said("\n"),
            ToolEvent::Text(_) | ToolEvent::Note(_) => Ok(()),
        }
    }

    fn thought(&mut self, text: &str) -> io::Result<()> {
        let first = self.last != Last::Thought;
        let text = if first { text.trim_start() } else { text };
        if text.is_empty() {
            return Ok(());
        }
        let text = visible(text);
        self.last = Last::Thought;
        // Switched off after each piece: a program that is killed must not leave a dim terminal.
        match (self.look, first) {
            (Look::Full, _) => write!(self.out, "{DIM}{text}{PLAIN}"),
            (_, true) => write!(self.out, "(thinking) {text}"),
            (_, false) => write!(self.out, "{text}"),
        }
    }

    fn said(&mut self, text: &str) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        if self.last == Last::Thought {
            write!(self.out, "\n\n")?;
        }
        self.last = Last::Said {
            line_ended: text.ends_with('\n'),
        };
        match self.look {
            Look::Piped => self.out.write_all(text.as_bytes()),
            Look::Bare | Look::Full => self.out.write_all(visible(text).as_bytes()),
        }
    }

    /// Ends the answer: what follows begins on a line of its own.
    pub(crate) fn end_answer(&mut self) -> io::Result<()> {
        if self.last != (Last::Said { line_ended: true }) {
            self.out.write_all(b"\n")?;
        }
        self.last = Last::Nothing;
        self.out.flush()
    }

    /// A line beside the conversation: dim where that can be shown, folded between words.
    pub(crate) fn note(&mut self, text: &str) -> io::Result<()> {
        self.aside(&folded(text, self.columns()))
    }

    /// The figures of an answer.
    pub(crate) fn figures(&mut self, turn: &Turn) -> io::Result<()> {
        self.aside(&figures(turn, self.columns()))
    }

    fn aside(&mut self, text: &str) -> io::Result<()> {
        let text = visible(text);
        match self.look {
            Look::Full => writeln!(self.out, "{DIM}{text}{PLAIN}")?,
            Look::Bare | Look::Piped => writeln!(self.out, "{text}")?,
        }
        self.out.flush()
    }

    /// Lines of "name  what it is", the second column folded beside the first.
    pub(crate) fn table(&mut self, rows: &[(String, String)]) -> io::Result<()> {
        let left = rows.iter().map(|(name, _)| name.chars().count()).max();
        let left = left.unwrap_or(0) + 2;
        let right = self.columns().saturating_sub(left).max(16);
        for (name, text) in rows {
            let text = folded(&visible(text), right);
            let text = text.replace('\n', &format!("\n{:left$}", ""));
            writeln!(self.out, "{name:<left$}{text}")?;
        }
        self.out.flush()
    }

    fn columns(&self) -> usize {
        match self.look {
            Look::Piped => usize::MAX,
            Look::Bare | Look::Full => terminal_size::terminal_size()
                .map_or(COLUMNS, |(width, _)| usize::from(width.0).max(16)),
        }
    }
}

/// `[prompt 42 (38 reused) | 80 tokens | first 0.01 s | 318 tok/s | stop]`, folded between two figures.
fn figures(turn: &Turn, columns: usize) -> String {
    let usage = &turn.usage;
    let mut parts = vec![if usage.cached_tokens > 0 {
        format!(
            "prompt {} ({} reused)",
            usage.prompt_tokens, usage.cached_tokens
        )
    } else {
        format!("prompt {}", usage.prompt_tokens)
    }];
    parts.push(match usage.generated_tokens {
        1 => "1 token".to_owned(),
        tokens => format!("{tokens} tokens"),
    });
    if let Some(first_ms) = usage.ttft_ms {
        parts.push(format!("first {:.2} s", first_ms / 1e3));
    }
    if let Some(rate) = usage.tokens_per_second() {
        let digits = usize::from(rate < 10.0);
        parts.push(format!("{rate:.digits$} tok/s"));
    }
    parts.push(ending(&turn.reason).to_owned());
    let mut text = String::from("[");
    let mut column = 1;
    for (index, part) in parts.iter().enumerate() {
        let divider = if index == 0 { "" } else { " | " };
        if index > 0 && column + divider.len() + part.len() + 2 > columns {
            text.push_str(" |\n ");
            column = 1;
        } else {
            text.push_str(divider);
            column += divider.len();
        }
        text.push_str(part);
        column += part.len();
    }
    text.push(']');
    text
}

/// Why an answer ended, in a person's words.
fn ending(reason: &StopReason) -> &'static str {
    match reason {
        StopReason::EndOfText(_) => "stop",
        StopReason::StopString(_) => "stop string",
        StopReason::Complete => "complete",
        StopReason::MaxTokens => "length",
        StopReason::ContextFull => "context full",
        StopReason::Cancelled => "stopped",
        StopReason::Failed(_) => "failed",
    }
}

/// Breaks lines between words, so that none is longer than `columns` unless a word is.
fn folded(text: &str, columns: usize) -> String {
    let mut out = String::with_capacity(text.len());
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            out.push('\n');
        }
        let mut column = 0;
        for word in line.split_inclusive(' ') {
            let width = word.trim_end().chars().count();
            if column > 0 && column + width > columns {
                out.truncate(out.trim_end_matches(' ').len());
                out.push('\n');
                column = 0;
            }
            out.push_str(word);
            column += word.chars().count();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use lattice_inference::generate::Usage;

    use super::*;

    fn shown(look: Look, pieces: &[(&str, bool)]) -> String {
        let mut screen = Screen::new(Vec::new(), look);
        for &(text, thinking) in pieces {
            let piece = Piece {
                id: Some(1),
                text: text.to_owned(),
                thinking,
                ..Piece::default()
            };
            screen.piece(&piece).unwrap();
        }
        screen.end_answer().unwrap();
        String::from_utf8(screen.out).unwrap()
    }

    #[test]
    fn thoughts_are_dim_on_a_terminal_and_nowhere_else() {
        let pieces = [("\n", true), ("why", true), ("", true), ("so", false)];
        assert_eq!(shown(Look::Full, &pieces), "\x1b[2mwhy\x1b[0m\n\nso\n");
        assert_eq!(shown(Look::Bare, &pieces), "(thinking) why\n\nso\n");
        assert_eq!(shown(Look::Piped, &pieces), "so\n");
    }

    #[test]
    fn a_terminal_gets_no_control_characters_from_a_model() {
        let pieces = [("a\x1b]0;x\x07\tb\u{9b}1m\r\n", false)];
        assert_eq!(
            shown(Look::Full, &pieces),
            "a\u{241b}]0;x\u{2407}\tb\u{fffd}1m\u{240d}\n"
        );
        assert_eq!(shown(Look::Piped, &pieces), "a\x1b]0;x\x07\tb\u{9b}1m\r\n");
    }

    #[test]
    fn figures_fold_between_two_of_them() {
        let usage = Usage {
            prompt_tokens: 42,
            cached_tokens: 38,
            generated_tokens: 80,
            ttft_ms: Some(10.0),
            total_ms: 10.0 + 79.0 / 318.0 * 1e3,
            ..Usage::default()
        };
        let turn = Turn {
            text: String::new(),
            thinking: String::new(),
            reason: StopReason::EndOfText(0),
            incomplete: false,
            calls: Vec::new(),
            usage,
            notes: Vec::new(),
        };
        let line = "[prompt 42 (38 reused) | 80 tokens | first 0.01 s | 318 tok/s | stop]";
        assert_eq!(figures(&turn, 80), line);
        let narrow = figures(&turn, 40);
        assert!(narrow.lines().all(|line| line.len() <= 40), "{narrow}");
        assert_eq!(narrow.replace("\n", ""), line);
    }

    #[test]
    fn words_fold_at_the_edge() {
        assert_eq!(folded("one two three", 7), "one two\nthree");
        assert_eq!(folded("one two\nthree", 80), "one two\nthree");
        assert_eq!(folded("incomprehensible", 5), "incomprehensible");
    }
}
