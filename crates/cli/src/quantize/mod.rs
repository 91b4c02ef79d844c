//! `lattice quantize`: a packed copy of a model, and what it costs in quality. `lattice convert`: a copy in our form.

mod args;
mod measure;
mod screen;

use std::io;
use std::ops::ControlFlow;
use std::process::ExitCode;

use lattice_inference::Error;
use lattice_inference::quantize::{QuantizeError, Recipe, Source, Staged, write};
use serde_json::Value;
use signal_hook::consts::{SIGINT, SIGTERM};

pub(crate) use args::{ConvertArgs, CopyArgs, QuantizeArgs};
use screen::Screen;

use crate::chat::interrupt::{EXIT_CODE, Interrupt};

/// The exit code of a program that SIGTERM ended: 128 and the signal's number.
const TERM_EXIT_CODE: u8 = 143;

pub(crate) fn run(args: &QuantizeArgs) -> anyhow::Result<ExitCode> {
    let measured = |staged: &Staged, stop: &Stop| match &args.measure {
        None => Ok(None),
        Some(text) => {
            // All tensors are on the disk: nothing is lost where a signal ends the program now.
            stop.release();
            measure::run(args, text, staged.path()).map(Some)
        }
    };
    copy(&args.copy, &args.recipe(), measured)
}

pub(crate) fn convert(args: &ConvertArgs) -> anyhow::Result<ExitCode> {
    copy(&args.copy, &Recipe::keep(), |_staged, _stop| Ok(None))
}

fn copy(
    args: &CopyArgs,
    recipe: &Recipe,
    measured: impl FnOnce(&Staged, &Stop) -> anyhow::Result<Option<Value>>,
) -> anyhow::Result<ExitCode> {
    let stop = Stop::install()?;
    let mut screen = Screen::new(args.json);
    let staged = pack(args, recipe, &stop, &mut screen);
    let result = staged.and_then(|staged| {
        let measured = measured(&staged, &stop)?;
        let report = staged.publish(measured.clone())?;
        Ok(screen.done(&report, measured.as_ref())?)
    });
    let Err(error) = result else {
        return Ok(ExitCode::SUCCESS);
    };
    let words = format!("{error:#}");
    screen.error(&words)?;
    let stopped = matches!(
        error.downcast_ref(),
        Some(Error::Quantize(QuantizeError::Stopped { .. }))
    );
    match stop.exit_code() {
        Some(code) if stopped => {
            screen.say(&words);
            Ok(ExitCode::from(code))
        }
        _ => Err(error),
    }
}

fn pack(
    args: &CopyArgs,
    recipe: &Recipe,
    stop: &Stop,
    screen: &mut Screen,
) -> anyhow::Result<Staged> {
    let files = args.model.files()?;
    let source =
        Source::open(&files, &args.model.source.open_options()).map_err(anyhow::Error::from)?;
    for note in source.model.all_notes() {
        screen.say(&format!("note: {note}"));
    }
    let mut unread: Option<io::Error> = None;
    let options = args.write_options();
    let staged = write(&source, recipe, &args.output, &options, &mut |progress| {
        if let Err(error) = screen.show(progress) {
            unread.get_or_insert(error);
        }
        if unread.is_some() || stop.asked() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    match unread {
        Some(error) => Err(error.into()),
        None => Ok(staged?),
    }
}

/// The two signals that ask to stop.
struct Stop {
    interrupt: Interrupt,
    term: Interrupt,
}

impl Stop {
    fn install() -> io::Result<Self> {
        let stop = Self {
            interrupt: Interrupt::on(SIGINT, EXIT_CODE)?,
            term: Interrupt::on(SIGTERM, TERM_EXIT_CODE)?,
        };
        stop.interrupt.hold();
        stop.term.hold();
        Ok(stop)
    }

    fn asked(&self) -> bool {
        self.interrupt.pressed() || self.term.pressed()
    }

    /// From here a signal ends the program.
    fn release(&self) {
        self.interrupt.release();
        self.term.release();
    }

    /// What the program ends with, if it was asked to stop.
    fn exit_code(&self) -> Option<u8> {
        if self.interrupt.pressed() {
            Some(EXIT_CODE)
        } else {
            self.term.pressed().then_some(TERM_EXIT_CODE)
        }
    }
}
