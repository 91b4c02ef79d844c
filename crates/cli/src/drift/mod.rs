//! `lattice drift`: whether vectors still are what they were.
//!
//! In: two files. Out: a report, a picture, an exit code as `diff` has it. What drift is, the library knows.

mod args;
mod sets;

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use lattice_transport::{
    DriftMonitor, DriftWindow, EmbeddingSet, Windows, Workers, bytes_from_baseline, drift,
    svg_from_report, svg_from_windows, text_from_report, text_from_windows,
};

pub(crate) use args::DriftArgs;
use sets::{Model, Rows};

use crate::visible::visible;

const NO_DRIFT: u8 = 0;
const DRIFT: u8 = 1;
const TROUBLE: u8 = 2;

pub(crate) fn run(args: &DriftArgs) -> anyhow::Result<ExitCode> {
    let code = match compare(args) {
        Ok(found) if found => DRIFT,
        Ok(_) => NO_DRIFT,
        Err(error) => {
            // 1 is an answer here, so trouble cannot be left to `main`.
            let _ = writeln!(io::stderr(), "lattice: {}", visible(&format!("{error:#}")));
            TROUBLE
        }
    };
    Ok(ExitCode::from(code))
}

/// Says something on stderr that is no part of the answer.
fn note(words: &str) -> io::Result<()> {
    writeln!(io::stderr(), "note: {words}")
}

/// Whether there is drift.
fn compare(args: &DriftArgs) -> anyhow::Result<bool> {
    let workers = Workers::with_isa(args.load.on.threads, args.load.on.isa)?;
    let mut model = Model::open(args)?;
    let baseline = sets::baseline(args, model.as_mut())?;
    if let Some(path) = &args.save_baseline {
        freeze(&baseline, path, args.force)?;
    }
    let Some(path) = &args.new else {
        return Ok(false);
    };
    check_origin(args, &baseline, model.as_ref())?;
    let rows = Rows::open(args, path, model.as_mut())?;
    match args.windows() {
        Some(windows) => stream(args, &workers, &baseline, rows, windows),
        None => whole(args, &workers, &baseline, rows),
    }
}

/// Vectors of two models lie in two spaces: whatever was measured between them would look like drift.
fn check_origin(
    args: &DriftArgs,
    baseline: &EmbeddingSet,
    model: Option<&Model>,
) -> anyhow::Result<()> {
    if args.any_model {
        return Ok(());
    }
    let checked = baseline.check_origin(model.map(|model| &model.origin[..]));
    checked.map_err(|error| anyhow!("{error}; --any-model compares them all the same"))?;
    match (baseline.origin(), model) {
        (Some(origin), None) => note(&format!(
            "the baseline was made by {}; nothing says what made the new vectors",
            visible(origin)
        ))?,
        (None, Some(_)) => note("nothing says what made the vectors of the baseline")?,
        _ => {}
    }
    Ok(())
}

fn whole(
    args: &DriftArgs,
    workers: &Workers,
    baseline: &EmbeddingSet,
    rows: Rows<'_>,
) -> anyhow::Result<bool> {
    let new = rows.all()?;
    let report = drift(workers, baseline, &new, &args.options())?;
    draw(args, || svg_from_report(&report))?;
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", report.to_json())?;
    } else {
        // Names of items come from a file: a line each, and nothing that moves a cursor.
        for line in text_from_report(&report).lines() {
            writeln!(out, "{}", visible(line))?;
        }
    }
    out.flush()?;
    Ok(report.is_drift())
}

fn stream(
    args: &DriftArgs,
    workers: &Workers,
    baseline: &EmbeddingSet,
    mut rows: Rows<'_>,
    windows: Windows,
) -> anyhow::Result<bool> {
    let mut monitor = DriftMonitor::new(workers, baseline, args.options(), windows)?;
    let mut found: Vec<DriftWindow> = Vec::new();
    while let Some(piece) = rows.next()? {
        if piece.dimension != baseline.dimension() {
            anyhow::bail!(
                "new vectors have {} numbers, those of the baseline {}",
                piece.dimension,
                baseline.dimension()
            );
        }
        let windows = monitor.push(&piece.values)?;
        print_windows(args.json, found.is_empty(), &windows)?;
        found.extend(windows);
    }
    if monitor.waiting() > 0 {
        note(&format!(
            "the last {} vectors fill no window",
            monitor.waiting()
        ))?;
    }
    if found.is_empty() {
        anyhow::bail!("the new vectors fill no window of {}", windows.size);
    }
    draw(args, || svg_from_windows(&found))?;
    Ok(found.iter().any(|window| window.report.is_drift()))
}

/// A line for each window, under a head before the first.
fn print_windows(json: bool, first: bool, windows: &[DriftWindow]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        for window in windows {
            let mut line = window.report.to_json();
            line["first"] = window.first.into();
            writeln!(out, "{line}")?;
        }
    } else {
        let text = text_from_windows(windows);
        let skip = usize::from(!first || windows.is_empty());
        for line in text.lines().skip(skip) {
            writeln!(out, "{line}")?;
        }
    }
    Ok(out.flush()?)
}

fn draw(args: &DriftArgs, picture: impl FnOnce() -> String) -> anyhow::Result<()> {
    match &args.plot {
        Some(path) => std::fs::write(path, picture())
            .with_context(|| format!("cannot write {}", path.display())),
        None => Ok(()),
    }
}

/// Writes a baseline beside its place and puts it there when it is whole.
fn freeze(baseline: &EmbeddingSet, path: &Path, force: bool) -> anyhow::Result<()> {
    let shown = path.display();
    if path.exists() && !force {
        anyhow::bail!("{shown} is there already; --force replaces it");
    }
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = Path::new(&partial);
    let bytes = bytes_from_baseline(baseline)?;
    let cannot = || format!("cannot write {}", partial.display());
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    let file = match options.open(partial) {
        // What a run that was ended left behind.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            std::fs::remove_file(partial).with_context(cannot)?;
            options.open(partial)
        }
        opened => opened,
    };
    let mut file = file.with_context(cannot)?;
    file.write_all(&bytes).with_context(cannot)?;
    file.sync_all().with_context(cannot)?;
    std::fs::rename(partial, path).with_context(|| format!("cannot write {shown}"))?;
    note(&format!(
        "{} vectors of {} numbers are frozen in {}",
        baseline.count(),
        baseline.dimension(),
        visible(&shown.to_string())
    ))?;
    Ok(())
}
