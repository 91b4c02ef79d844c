//! One question, one answer, and the program ends.
//!
//! In: the prompt. Out: the answer on stdout, as it comes; figures on stderr where a person reads it.

use std::io::{self, Read as _};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};

use super::interrupt;
use super::screen::{Look, Screen};
use super::session::{Session, Turn};

/// Bytes of a prompt from stdin: more than any context holds.
const PROMPT_BYTES_MAX: u64 = 64 << 20;

pub(crate) fn run(mut session: Session, prompt: &str) -> anyhow::Result<ExitCode> {
    for note in &session.engine.model.notes {
        // What goes to stderr is beside the answer: that nobody hears it is no failure.
        let _ = Screen::new(io::stderr().lock(), Look::of_stderr()).note(&format!("note: {note}"));
    }
    let mut screen = Screen::new(io::stdout().lock(), Look::of_stdout());
    let turn = session.say(prompt, &mut |piece| screen.piece(piece))?;
    screen.end_answer()?;
    report(&turn);
    exit_code(&turn)
}

/// The prompt as the flag gives it, `-` and nothing meaning stdin. The line break at its end is not part of it.
pub(crate) fn prompt(flag: Option<&str>) -> anyhow::Result<String> {
    let text = match flag {
        Some(text) if text != "-" => text.to_owned(),
        _ => read_stdin()?,
    };
    let text = text.trim_end_matches(['\r', '\n']);
    ensure!(!text.trim().is_empty(), "the prompt is empty");
    Ok(text.to_owned())
}

fn read_stdin() -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    let mut stdin = io::stdin().lock().take(PROMPT_BYTES_MAX + 1);
    stdin.read_to_end(&mut bytes).context("cannot read stdin")?;
    if bytes.len() as u64 > PROMPT_BYTES_MAX {
        bail!("the prompt on stdin is longer than {PROMPT_BYTES_MAX} bytes");
    }
    String::from_utf8(bytes).context("stdin is not text in UTF-8")
}

/// Notes go to stderr always; figures only where somebody looks.
fn report(turn: &Turn) {
    let look = Look::of_stderr();
    let mut screen = Screen::new(io::stderr().lock(), look);
    // The answer is out: that nobody hears about it is no failure.
    for note in &turn.notes {
        let _ = screen.note(&format!("note: {note}"));
    }
    if look != Look::Piped {
        let _ = screen.figures(turn);
    }
}

/// How the program ends after this answer.
pub(crate) fn exit_code(turn: &Turn) -> anyhow::Result<ExitCode> {
    if let Some(failure) = turn.failure() {
        return Err(failure.clone()).context("the answer broke off");
    }
    Ok(if turn.was_stopped() {
        ExitCode::from(interrupt::EXIT_CODE)
    } else {
        ExitCode::SUCCESS
    })
}
