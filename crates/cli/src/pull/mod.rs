//! `lattice pull`: gets a model from the hub, and says before what it takes.

mod args;
mod estimate;
mod screen;

use std::ops::ControlFlow;
use std::process::ExitCode;

use anyhow::bail;
use lattice_hub::{Choice, Event, Hub, HubError, Listing, ModelName, Pull, Record, Taken};
use lattice_inference::checkpoint::{Installed, ModelFiles};
use lattice_inference::facts::memory_available_bytes;

pub(crate) use args::PullArgs;
use screen::Screen;

use crate::stop::Stop;

pub(crate) fn run(args: &PullArgs) -> anyhow::Result<ExitCode> {
    let stop = Stop::install()?;
    let mut screen = Screen::new(args.json);
    let Err(error) = pull(args, &stop, &mut screen) else {
        return Ok(ExitCode::SUCCESS);
    };
    let words = format!("{error:#}");
    screen.error(&words)?;
    let stopped = matches!(error.downcast_ref(), Some(HubError::Stopped));
    match stop.exit_code() {
        Some(code) if stopped => {
            screen.say(&words);
            Ok(ExitCode::from(code))
        }
        _ => Err(error),
    }
}

fn pull(args: &PullArgs, stop: &Stop, screen: &mut Screen) -> anyhow::Result<()> {
    let (name, store) = (args.name()?, args.store.store());
    let found = store.find(&name.directory());
    if args.is_offline() {
        return offline(&name, found, screen);
    }
    let hub = Hub::new(args.hub_options()?)?;
    let listing = hub.listing(&name)?;
    let choice = Choice::of(&listing, &args.file)?;
    if let Some(found) = &found
        && found.shared
        && !args.force
        && has_all(found, &listing, &choice)
    {
        screen.warn(&format!(
            "{name} is in the Hugging Face cache already ({}), where --model finds it; --force gets a copy",
            found.path.display()
        ));
        return Ok(());
    }
    let path = store.root.join(name.directory()).display().to_string();
    stop.hold();
    let taken = hub.take(&store.root, listing, choice, &mut watch(screen, stop));
    let (record, was_there) = match taken.map_err(|error| unread_or(screen, error))? {
        Taken::There(record) => (record, true),
        Taken::Pull(pull) => (fetch(args, *pull, stop, screen)?, false),
    };
    Ok(screen.end(&record, &path, was_there)?)
}

/// Says what it takes, and gets it.
fn fetch(
    args: &PullArgs,
    pull: Pull<'_>,
    stop: &Stop,
    screen: &mut Screen,
) -> anyhow::Result<Record> {
    screen.begin(&pull);
    let small = pull.fetch_small(&mut watch(screen, stop));
    small.map_err(|error| unread_or(screen, error))?;
    // What the headers tell is soon here, and nothing is lost with them.
    if stop.release() {
        return Err(HubError::Stopped.into());
    }
    let estimate = estimate::of(&pull);
    let note = match &estimate {
        Ok(estimate) => {
            let available = memory_available_bytes();
            let small = available.is_some_and(|available| available < estimate.bytes);
            small.then(|| "it needs more memory than there is now".to_owned())
        }
        Err(error) => Some(format!("this version may not run it: {error:#}")),
    };
    screen.plan(&pull, estimate.as_ref().ok(), note.as_deref());
    if !args.force
        && let Err(error) = pull.check_room()
    {
        bail!("{error}; --force tries it all the same");
    }
    stop.hold();
    let record = pull.fetch(&mut watch(screen, stop));
    record.map_err(|error| unread_or(screen, error))
}

/// Shows events, and stops where a signal asks to, or nobody reads any more.
fn watch(screen: &mut Screen, stop: &Stop) -> impl FnMut(Event<'_>) -> ControlFlow<()> {
    move |event| {
        screen.show(&event);
        match stop.asked() || !screen.is_read() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

/// Why it really ended: that nobody reads comes before that it was stopped.
fn unread_or(screen: &mut Screen, error: HubError) -> anyhow::Error {
    match screen.unread() {
        Some(unread) => unread.into(),
        None => error.into(),
    }
}

/// What there is without the network.
fn offline(name: &ModelName, found: Option<Installed>, screen: &mut Screen) -> anyhow::Result<()> {
    let Some(found) = found else {
        return Err(HubError::Offline {
            name: name.to_string(),
        }
        .into());
    };
    match Record::open(&found.path)? {
        Some(record) => screen.end(&record, &found.path.display().to_string(), true)?,
        None => screen.warn(&format!("{name} is here: {}", found.path.display())),
    }
    Ok(())
}

/// Whether another program's cache has this commit with every chosen file.
fn has_all(found: &Installed, listing: &Listing, choice: &Choice) -> bool {
    let files = ModelFiles::open(&found.path).ok();
    let revision = files.and_then(|files| files.revision());
    let there = |path: &str, bytes: u64| {
        let found = std::fs::metadata(found.path.join(path));
        found.is_ok_and(|found| found.len() == bytes)
    };
    revision.as_deref() == Some(&listing.commit)
        && choice.files().all(|file| there(&file.path, file.bytes))
}
