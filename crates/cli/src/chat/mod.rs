//! `lattice chat`: picks how to talk.
//!
//! In: the flags, and whether stdin is a terminal. Out: a conversation at the terminal (`repl`), one answer (`once`),
//! or events for programs (`events`, `serve`). All of them talk through one `session`.

mod act;
mod choices;
mod commands;
pub(crate) mod events;
mod form;
mod helper;
mod input;
pub(crate) mod interrupt;
mod once;
mod repl;
mod request;
mod screen;
mod serve;
mod session;
mod transcript;

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use clap::CommandFactory as _;
use clap::error::ErrorKind;
use lattice_inference::generate::RequestError;

use crate::args::ChatArgs;
use crate::commands::Cli;
use choices::Choices;
use events::Events;
use interrupt::Interrupt;
use session::Session;

/// Conversations in memory: a talk goes on in one; programs may go back and forth between two.
const SEQUENCES_TALK: usize = 1;
const SEQUENCES_SERVE: usize = 2;

pub(crate) fn run(args: ChatArgs) -> anyhow::Result<ExitCode> {
    check(&args);
    let interrupt = Interrupt::install()?;
    if args.json {
        return programs(&args, interrupt);
    }
    if args.prompt.is_none() && io::stdin().is_terminal() {
        return repl::run(Session::open(&args, interrupt, SEQUENCES_TALK)?);
    }
    // The prompt first: what is wrong with it can be said before a large model is read.
    let prompt = once::prompt(args.prompt.as_deref())?;
    once::run(Session::open(&args, interrupt, SEQUENCES_TALK)?, &prompt)
}

/// Ends the program where a flag is out of its range, before the model is read.
fn check(args: &ChatArgs) {
    let Err(error) = Choices::from_args(args).check(u32::MAX as usize) else {
        return;
    };
    let text = match error {
        RequestError::Field(error) => format!(
            "--{} is {}, allowed is {}",
            error.field.replace('_', "-"),
            error.value,
            error.allowed
        ),
        error => error.to_string(),
    };
    let mut cli = Cli::command();
    // So that the usage it prints is that of `lattice chat`.
    cli.build();
    let chat = cli.find_subcommand_mut("chat");
    chat.expect("the subcommand that is running")
        .error(ErrorKind::ValueValidation, text)
        .exit();
}

/// Talks in events. What goes wrong is an event too, beside the words on stderr.
fn programs(args: &ChatArgs, interrupt: Interrupt) -> anyhow::Result<ExitCode> {
    let mut events = Events::new(io::stdout().lock());
    let result = talk_in_events(args, interrupt, &mut events);
    if let Err(error) = &result {
        // Where stdout is what went wrong, there is nobody to tell.
        let _ = events.error(&format!("{error:#}"));
    }
    result
}

fn talk_in_events<W: io::Write>(
    args: &ChatArgs,
    interrupt: Interrupt,
    events: &mut Events<W>,
) -> anyhow::Result<ExitCode> {
    let sequences_max = if args.serve {
        SEQUENCES_SERVE
    } else {
        SEQUENCES_TALK
    };
    let mut session = Session::open(args, interrupt, sequences_max)?;
    events.ready(&session)?;
    if args.serve {
        return serve::run(session, io::stdin().lock(), events);
    }
    let prompt = once::prompt(args.prompt.as_deref())?;
    let turn = session.say(&prompt, &mut |piece| events.piece(piece))?;
    events.done(&turn)?;
    // The last event told what went wrong with the answer.
    Ok(match turn.failure() {
        Some(_) => ExitCode::FAILURE,
        None => once::exit_code(&turn)?,
    })
}
