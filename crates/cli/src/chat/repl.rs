//! The conversation at a terminal: a prompt, an answer, and again.
//!
//! In: lines from the editor. Out: answers and notes on stdout. A failed answer is said and the talk goes on.

use std::io::{self, StdoutLock};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{ColorMode, Config, Editor};

use super::act::act;
use super::commands::Command;
use super::helper::Helper;
use super::input::{Draft, Message};
use super::interrupt;
use super::screen::{Look, Screen};
use super::session::{AskError, Session};
use crate::{args, show};

const PROMPT: &str = "> ";
const PROMPT_CONTINUED: &str = ". ";
const HISTORY_LINES_MAX: usize = 1000;

/// What is said when Ctrl-C found nothing to clear.
const LEAVE_HINT: &str = "Ctrl-C again or Ctrl-D leaves";

pub(crate) fn run(session: Session) -> anyhow::Result<ExitCode> {
    let look = Look::of_stdout();
    let mut repl = Repl {
        session,
        editor: editor(look)?,
        screen: Screen::new(io::stdout().lock(), look),
        history: None,
        leaving: false,
    };
    repl.greet()?;
    repl.open_history()?;
    repl.talk()
}

fn editor(look: Look) -> anyhow::Result<Editor<Helper, FileHistory>> {
    let color = match look {
        Look::Full => ColorMode::Enabled,
        Look::Bare | Look::Piped => ColorMode::Disabled,
    };
    let config = Config::builder()
        .max_history_size(HISTORY_LINES_MAX)?
        .history_ignore_dups(true)?
        .auto_add_history(false)
        .bracketed_paste(true)
        .color_mode(color)
        .build();
    let mut editor = Editor::with_config(config).context("cannot use this terminal")?;
    editor.set_helper(Some(Helper::default()));
    Ok(editor)
}

struct Repl {
    session: Session,
    editor: Editor<Helper, FileHistory>,
    screen: Screen<StdoutLock<'static>>,
    history: Option<PathBuf>,
    /// Ctrl-C was pressed at an empty prompt, and nothing since.
    leaving: bool,
}

/// What came from the prompt.
enum Typed {
    Message(Message),
    Leave(ExitCode),
}

impl Repl {
    fn greet(&mut self) -> io::Result<()> {
        let model = &self.session.engine.model;
        let text = format!(
            "{} ({}, {} parameters, {} tokens of context). /help lists the commands.",
            self.session.name,
            model.family.name,
            show::count(model.plan.parameters()),
            self.session.engine.generator.limits().context_tokens_max,
        );
        self.screen.note(&text)
    }

    /// Reads the history of earlier talks. Without a place for it this talk has its own and no other.
    fn open_history(&mut self) -> io::Result<()> {
        let opened = match args::home() {
            None => Err("no home directory".to_owned()),
            Some(home) => {
                let path = home.join(".lattice/history");
                self.load_history(&path)
                    .map(|()| path.clone())
                    .map_err(|error| format!("{}: {error}", path.display()))
            }
        };
        match opened {
            Ok(path) => self.history = Some(path),
            Err(reason) => self
                .screen
                .note(&format!("note: lines are not remembered: {reason}"))?,
        }
        Ok(())
    }

    fn load_history(&mut self, path: &std::path::Path) -> Result<(), ReadlineError> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        match self.editor.load_history(path) {
            Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
            result => result?,
        }
        // Whether it can be written is better said now than after the first line.
        self.editor.append_history(path)
    }

    fn talk(&mut self) -> anyhow::Result<ExitCode> {
        loop {
            let message = match self.read()? {
                Typed::Message(message) => message,
                Typed::Leave(code) => return Ok(code),
            };
            let text = message.text.as_str();
            if text.trim().is_empty() {
                continue;
            }
            self.remember(&message)?;
            match text.strip_prefix('/') {
                Some(rest) if rest.starts_with('/') && !message.block => self.say(rest)?,
                Some(_) if !message.block => match Command::parse(text) {
                    Ok(Command::Quit) => return Ok(ExitCode::SUCCESS),
                    Ok(command) => act(command, &mut self.session, &mut self.screen)?,
                    Err(reason) => self.screen.note(&reason)?,
                },
                _ => self.say(text)?,
            }
        }
    }

    /// Reads one message, of one line or several.
    fn read(&mut self) -> anyhow::Result<Typed> {
        let mut draft = Draft::default();
        loop {
            let prompt = if draft.is_empty() {
                PROMPT
            } else {
                PROMPT_CONTINUED
            };
            // Where the editor does not see the keys, Ctrl-C is a signal, and must not end the talk.
            self.session.interrupt.hold();
            match self.editor.readline(prompt) {
                Ok(line) => {
                    self.leaving = false;
                    if let Some(message) = draft.push(&line) {
                        return Ok(Typed::Message(message));
                    }
                }
                Err(ReadlineError::Eof) => return Ok(Typed::Leave(ExitCode::SUCCESS)),
                Err(ReadlineError::Interrupted) => {
                    let typed = self.editor.helper().is_some_and(Helper::has_text);
                    if typed || !draft.is_empty() {
                        self.leaving = false;
                    } else if self.leaving {
                        return Ok(Typed::Leave(ExitCode::from(interrupt::EXIT_CODE)));
                    } else {
                        self.leaving = true;
                        self.screen.note(LEAVE_HINT)?;
                    }
                    draft = Draft::default();
                }
                Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
                    self.screen.note("that line is not UTF-8")?;
                }
                Err(ReadlineError::Signal(_)) => {}
                Err(error) => return Err(error).context("cannot read from the terminal"),
            }
        }
    }

    /// Adds the message to the history, in a form that means the same when it is sent again.
    fn remember(&mut self, message: &Message) -> io::Result<()> {
        let text = &message.text;
        let escaped = message.block && text.starts_with('/');
        let line = if escaped {
            format!("/{text}")
        } else {
            text.clone()
        };
        let added = self.editor.add_history_entry(line).unwrap_or(false);
        let Some(path) = self.history.as_ref().filter(|_| added) else {
            return Ok(());
        };
        if let Err(error) = self.editor.append_history(path) {
            let note = format!("note: lines are no longer remembered: {error}");
            self.history = None;
            self.screen.note(&note)?;
        }
        Ok(())
    }

    fn say(&mut self, text: &str) -> anyhow::Result<()> {
        let screen = &mut self.screen;
        let turn = match self.session.say(text, &mut |piece| screen.piece(piece)) {
            Ok(turn) => turn,
            Err(error @ AskError::Write(_)) => return Err(error.into()),
            Err(error) => {
                self.screen.note(&error.to_string())?;
                let made_for = self.session.engine.model.plan.context_tokens_max;
                if let Some(advice) = error.advice(made_for) {
                    self.screen.note(&advice)?;
                }
                return Ok(());
            }
        };
        self.screen.end_answer()?;
        for note in &turn.notes {
            self.screen.note(&format!("note: {note}"))?;
        }
        if let Some(failure) = turn.failure() {
            self.screen.note(&format!(
                "the answer broke off and is taken back: {failure}"
            ))?;
        } else if !turn.says_something() {
            self.screen
                .note("nothing was answered: your message is taken back")?;
        }
        self.screen.figures(&turn)?;
        Ok(())
    }
}
