//! `lattice quantize`: a packed copy of a model, and what it costs in quality.

mod args;
mod measure;
mod screen;

use std::io;
use std::ops::ControlFlow;
use std::process::ExitCode;

use lattice_inference::Error;
use lattice_inference::quantize::{QuantizeError, Source, write};

pub(crate) use args::QuantizeArgs;
use screen::Screen;

use crate::stop::Stop;

pub(crate) fn run(args: &QuantizeArgs) -> anyhow::Result<ExitCode> {
    let stop = Stop::install()?;
    stop.hold();
    let mut screen = Screen::new(args.json);
    let result = pack(args, &stop, &mut screen);
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

fn pack(args: &QuantizeArgs, stop: &Stop, screen: &mut Screen) -> anyhow::Result<()> {
    let files = args.model.files()?;
    let source =
        Source::open(&files, &args.model.source.open_options()).map_err(anyhow::Error::from)?;
    for note in source.model.all_notes() {
        screen.say(&format!("note: {note}"));
    }
    let mut unread: Option<io::Error> = None;
    let staged = write(
        &source,
        &args.recipe(),
        &args.output,
        &args.write_options(),
        &mut |progress| {
            if let Err(error) = screen.show(progress) {
                unread.get_or_insert(error);
            }
            if unread.is_some() || stop.asked() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        },
    );
    if let Some(error) = unread {
        return Err(error.into());
    }
    let staged = staged?;
    let measured = match &args.measure {
        None => None,
        Some(text) => {
            // All tensors are on the disk: nothing is lost where a signal ends the program now.
            stop.release();
            Some(measure::run(args, text, staged.path())?)
        }
    };
    let report = staged.publish(measured.clone())?;
    screen.done(&report, measured.as_ref())?;
    Ok(())
}
