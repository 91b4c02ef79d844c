//! `lattice rm`: removes models of the store, and nothing else.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use lattice_files::{FilesError, Paths, check_model_name};
use lattice_hub::ModelName;
use lattice_inference::checkpoint::ModelStore;

use crate::show::bytes;
use crate::source::StoreArgs;
use crate::visible::visible;

/// `lattice rm`
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Names as lattice ls prints them, or short names
    #[arg(required = true)]
    pub(crate) models: Vec<String>,
    /// Ask nothing
    #[arg(long, short)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

pub(crate) fn run(args: &RmArgs) -> anyhow::Result<ExitCode> {
    let store = args.store.store();
    // All names are looked at before the first one is gone.
    let names = args.models.iter().map(|name| named(&store, name));
    let names = names.collect::<anyhow::Result<Vec<String>>>()?;
    for name in names {
        if args.yes || asked(&store, &name)? {
            remove(&store, &name)?;
            writeln!(io::stdout(), "removed {}", visible(&name))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The name of a model of the store, or of a download of one that is not finished.
fn named(store: &ModelStore, given: &str) -> anyhow::Result<String> {
    check_model_name(given).map_err(|reason| {
        anyhow::anyhow!("{given:?}: {reason}; a directory elsewhere is yours to remove")
    })?;
    let meant = given.parse().ok().map(|name: ModelName| name.directory());
    let mut shared = None;
    for name in [Some(given.to_owned()), meant].into_iter().flatten() {
        match store.find(&name) {
            Some(model) if !model.shared => return Ok(name),
            Some(model) => shared = Some(model.path),
            None => {}
        }
        let partial = store.root.join(format!("{name}.partial"));
        if partial.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            return Ok(name);
        }
    }
    match shared {
        Some(path) => bail!(
            "{given}: lies in the Hugging Face cache ({}), which belongs to other programs",
            path.display()
        ),
        None => bail!("no model {given:?} in {}", store.root.display()),
    }
}

fn asked(store: &ModelStore, name: &str) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("{name}: --yes removes it without a question; there is no terminal to ask at");
    }
    let size = store
        .find(name)
        .map_or("unfinished".to_owned(), |model| bytes(model.bytes));
    write!(io::stderr(), "remove {} ({size})? [y/N] ", visible(name))?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(matches!(line.trim().to_lowercase().as_str(), "y" | "yes"))
}

fn remove(store: &ModelStore, name: &str) -> anyhow::Result<()> {
    let root = store
        .root
        .canonicalize()
        .context("the directory of models")?;
    let out = root.join(name);
    if out.symlink_metadata().is_ok_and(|found| found.is_symlink()) {
        // A link into the store is a name; what it leads to has one of its own.
        return std::fs::remove_file(&out).with_context(|| out.display().to_string());
    }
    let paths = Paths::of(&out)?;
    if !paths.out().starts_with(&root) {
        bail!("{}: lies outside of {}", out.display(), root.display());
    }
    let parent = out.parent().map(Path::to_owned);
    match paths.take() {
        Err(FilesError::Busy { .. }) => bail!("{name}: another process is getting it"),
        taken => taken?.remove_out()?,
    }
    // The organisation's folder goes with its last model.
    if let Some(parent) = parent.filter(|parent| *parent != root) {
        let _ = std::fs::remove_dir(parent);
    }
    Ok(())
}
