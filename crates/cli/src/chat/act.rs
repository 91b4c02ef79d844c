//! Does what a command asks.
//!
//! In: a command, the session. Out: the session changed, words for the person. Nothing here ends the program but
//! an output that cannot be written.

use std::io::{self, Write};
use std::path::Path;

use serde_json::Value;

use super::commands::{self, Command, Think};
use super::screen::Screen;
use super::session::Session;
use super::transcript::{self, Transcript};
use crate::show;

/// Does what `command` asks; [`Command::Quit`] is the loop's business.
pub(crate) fn act<W: Write>(
    command: Command,
    session: &mut Session,
    screen: &mut Screen<W>,
) -> io::Result<()> {
    match command {
        Command::Help => help(screen),
        Command::Show => {
            screen.table(&about(session))?;
            screen.table(&settings(session))
        }
        Command::Set(None) => screen.table(&settings(session)),
        Command::Set(Some((name, value))) => set(session, screen, &name, &value),
        Command::Think(think) => {
            session.choices.think = think != Think::Off;
            session.choices.think_budget = match think {
                Think::Budget(tokens) => Some(tokens),
                Think::Off | Think::On => None,
            };
            screen.note(&match think {
                Think::Off => "it answers at once".to_owned(),
                Think::On => "it thinks first".to_owned(),
                Think::Budget(tokens) => format!("it thinks first, for {tokens} tokens at most"),
            })
        }
        Command::System(text) => {
            session.system = text;
            screen.note(match &session.system {
                Some(_) => "the system message is set",
                None => "no system message",
            })
        }
        Command::Clear => {
            let messages = std::mem::take(&mut session.messages).len();
            session.totals.context_tokens = 0;
            screen.note(&format!("{messages} messages forgotten"))
        }
        Command::Save(path) => save(session, screen, &path),
        Command::Load(path) => load(session, screen, &path),
        Command::Stats => screen.table(&stats(session)),
        Command::Quit => Ok(()),
    }
}

fn help<W: Write>(screen: &mut Screen<W>) -> io::Result<()> {
    let row = |(usage, meaning): &(&str, &str)| ((*usage).to_owned(), (*meaning).to_owned());
    screen.table(&commands::HELP.iter().map(row).collect::<Vec<_>>())?;
    screen.note(commands::HELP_KEYS)
}

fn set<W: Write>(
    session: &mut Session,
    screen: &mut Screen<W>,
    name: &str,
    value: &Value,
) -> io::Result<()> {
    let mut choices = session.choices.clone();
    let vocab = session.engine.generator.limits().output_width;
    let result = choices.set(name, value).map_err(|error| error.to_string());
    let result = result.and_then(|()| choices.check(vocab).map_err(|error| error.to_string()));
    match result {
        Err(reason) => screen.note(&reason),
        Ok(()) => {
            session.choices = choices;
            let row = settings(session).into_iter().find(|(row, _)| row == name);
            let value = row.map_or_else(String::new, |(_, value)| value);
            screen.note(&format!("{name}: {value}"))
        }
    }
}

fn save<W: Write>(session: &Session, screen: &mut Screen<W>, path: &Path) -> io::Result<()> {
    match transcript::save(session, path) {
        Ok(()) => {
            let messages = session.messages.len();
            screen.note(&format!("{messages} messages saved in {}", path.display()))
        }
        Err(error) => screen.note(&format!("not saved: {error:#}")),
    }
}

fn load<W: Write>(session: &mut Session, screen: &mut Screen<W>, path: &Path) -> io::Result<()> {
    let vocab = session.engine.generator.limits().output_width;
    let loaded = match transcript::load(path, vocab) {
        Ok(loaded) => loaded,
        Err(error) => return screen.note(&format!("not loaded, nothing changed: {error:#}")),
    };
    let Transcript {
        model,
        system,
        messages,
        choices,
        ignored,
    } = loaded;
    screen.note(&format!("{} messages loaded", messages.len()))?;
    (session.system, session.messages, session.choices) = (system, messages, choices);
    session.totals.context_tokens = 0;
    if let Some(model) = model.filter(|model| *model != session.name) {
        screen.note(&format!("note: that was a talk with {model}"))?;
    }
    if !ignored.is_empty() {
        screen.note(&format!("note: not used: {}", ignored.join(", ")))?;
    }
    Ok(())
}

fn about(session: &Session) -> Vec<(String, String)> {
    let (engine, limits) = (&session.engine, session.engine.generator.limits());
    let plan = &engine.model.plan;
    let mut rows = vec![
        ("model".to_owned(), session.name.clone()),
        ("family".to_owned(), engine.model.family.name.to_owned()),
        ("parameters".to_owned(), show::count(plan.parameters())),
        (
            "context".to_owned(),
            format!(
                "{} tokens; the model was made for {}",
                limits.context_tokens_max, plan.context_tokens_max
            ),
        ),
        (
            "system".to_owned(),
            session.system.clone().unwrap_or_else(|| "none".to_owned()),
        ),
        (
            "conversation".to_owned(),
            format!("{} messages", session.messages.len()),
        ),
    ];
    let note = |note: &String| ("note".to_owned(), note.clone());
    rows.extend(engine.model.all_notes().map(note));
    rows
}

/// Every setting with the value that holds, and where that comes from.
fn settings(session: &Session) -> Vec<(String, String)> {
    let chosen = session.choices.to_json();
    let defaults = session.engine.sampler_defaults();
    let max_tokens = session.engine.defaults.max_new_tokens;
    let default = |name: &str| match name {
        "temperature" => defaults.temperature.to_string(),
        "top_k" => defaults.top_k.to_string(),
        "top_p" => defaults.top_p.to_string(),
        "min_p" => defaults.min_p.to_string(),
        "repetition_penalty" => defaults.repetition_penalty.to_string(),
        "presence_penalty" => defaults.presence_penalty.to_string(),
        "frequency_penalty" => defaults.frequency_penalty.to_string(),
        "seed" => "another each time".to_owned(),
        "max_tokens" => {
            max_tokens.map_or("until the context is full".to_owned(), |n| n.to_string())
        }
        "think" => "false".to_owned(),
        _ => "none".to_owned(),
    };
    let row = |name: &str| match chosen.get(name) {
        Some(value) => (name.to_owned(), format!("{value} (set)")),
        None => (name.to_owned(), default(name)),
    };
    super::choices::NAMES.into_iter().map(row).collect()
}

fn stats(session: &Session) -> Vec<(String, String)> {
    let totals = &session.totals;
    let context = session.engine.generator.limits().context_tokens_max;
    let rate = totals.tokens_per_second();
    let rows = [
        ("answers", totals.answers.to_string()),
        (
            "prompt tokens",
            format!(
                "{}, of these reused {}",
                totals.prompt_tokens, totals.cached_tokens
            ),
        ),
        ("generated tokens", totals.generated_tokens.to_string()),
        (
            "speed",
            rate.map_or("none yet".to_owned(), |rate| format!("{rate:.0} tok/s")),
        ),
        (
            "context",
            format!("{} of {context} tokens used", totals.context_tokens),
        ),
    ];
    rows.map(|(name, value)| (name.to_owned(), value)).to_vec()
}
