//! `lattice embed backfill`: a store of texts and vectors, and its way from one model to another.
//!
//! In: a store's directory, and what is to be done next. Out: the store, one step further.

pub(crate) mod args;
mod model;

use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use lattice_embed::backfill::{
    BackfillError, FillOptions, GenerationStatus, Progress, Row, ShardForm, ShardIds, ShardKind,
    Stage, Status, Store,
};
use lattice_vectors::{Id, ReadOptions, VectorReader, VectorSet, Vectors};
use serde_json::{Value, json};

use crate::bar::Bar;
use crate::chat::events;
use crate::stop::Stop;
use args::{
    AppendArgs, BackfillCommand, CreateArgs, Kind, PlanArgs, RunArgs, StepArgs, VerifyArgs,
};
use model::Model;

/// Rows of a shard that is made of a file: what is embedded at a time for good, and in memory.
const SHARD_ROWS: usize = 16_384;
/// Texts between two looks at the signals.
const BATCH_ROWS: usize = 256;

pub(crate) fn run(command: &BackfillCommand) -> anyhow::Result<ExitCode> {
    let stop = Stop::install()?;
    let result = match command {
        BackfillCommand::Create(args) => create(args, &stop),
        BackfillCommand::Append(args) => append(args, &stop),
        BackfillCommand::Plan(args) => plan(args),
        BackfillCommand::Run(args) => fill(args, &stop),
        BackfillCommand::Verify(args) => verify(args),
        BackfillCommand::CutOver(args) => step(args, "cut_over", Store::cut_over),
        BackfillCommand::Rollback(args) => step(args, "rollback", Store::rollback),
        BackfillCommand::Prune(args) => step(args, "prune", Store::prune),
        BackfillCommand::Abandon(args) => step(args, "abandon", Store::abandon),
        BackfillCommand::Status(args) => step(args, "status", |_| Ok(())),
    };
    let Err(error) = result else {
        return Ok(ExitCode::SUCCESS);
    };
    let stopped = matches!(error.downcast_ref(), Some(BackfillError::Stopped));
    match stop.exit_code() {
        Some(code) if stopped => {
            writeln!(io::stderr(), "{error}")?;
            Ok(ExitCode::from(code))
        }
        _ => Err(error),
    }
}

fn step(
    args: &StepArgs,
    name: &str,
    step: impl FnOnce(&Store) -> Result<(), BackfillError>,
) -> anyhow::Result<()> {
    let store = Store::open(&args.store)?;
    step(&store)?;
    tell(args, &store, name, json!({}))
}

fn create(args: &CreateArgs, stop: &Stop) -> anyhow::Result<()> {
    let mut model = Model::planned(&args.made_by, &args.load)?;
    let kind = match args.shards {
        Kind::Parquet => ShardKind::Parquet,
        Kind::Jsonl => ShardKind::Jsonl,
    };
    let mut first = None;
    for file in &args.files {
        let mut piece = VectorSet::new();
        open(file, kind)?.read(1, &mut piece)?;
        first = first.or(piece.labels.pop());
    }
    let ids = match first.and_then(|label| label.id) {
        None => ShardIds::None,
        Some(Id::Int(_)) => ShardIds::Int,
        Some(Id::Text(_)) => ShardIds::Text,
    };
    let store = Store::create(&args.step.store, ShardForm { kind, ids }, model.identity())?;
    let rows = append_files(&store, &args.files, stop, |rows| {
        store.append(rows, &mut |texts| model.vectors(texts), None)
    })?;
    tell(&args.step, &store, "create", json!({"appended": rows}))
}

fn append(args: &AppendArgs, stop: &Stop) -> anyhow::Result<()> {
    let store = Store::open(&args.step.store)?;
    let status = store.status()?;
    let mut current = Model::of(&status.current, args.model.as_deref(), &args.load)?;
    current.check_close()?;
    let mut other = match &status.other {
        Some(other) => {
            let model = Model::of(other, args.other_model.as_deref(), &args.load)?;
            model.check_close()?;
            Some(model)
        }
        None => None,
    };
    let rows = append_files(&store, &args.files, stop, |rows| {
        let mut by_current = |texts: &[&str]| current.vectors(texts);
        match &mut other {
            Some(other) => {
                let mut by_other = |texts: &[&str]| other.vectors(texts);
                store.append(rows, &mut by_current, Some(&mut by_other))
            }
            None => store.append(rows, &mut by_current, None),
        }
    })?;
    tell(&args.step, &store, "append", json!({"appended": rows}))
}

fn plan(args: &PlanArgs) -> anyhow::Result<()> {
    let store = Store::open(&args.step.store)?;
    let model = Model::planned(&args.made_by, &args.load)?;
    store.plan(model.identity())?;
    tell(&args.step, &store, "plan", json!({}))
}

fn fill(args: &RunArgs, stop: &Stop) -> anyhow::Result<()> {
    let store = Store::open(&args.step.store)?;
    let status = store.status()?;
    let Some(other) = status
        .other
        .filter(|_| status.stage != Some(Stage::CutOver))
    else {
        // The library says what comes first.
        let none = &mut |_: &[&str]| Err(String::new());
        let watch = &mut |_: &Progress| ControlFlow::Continue(());
        store.fill(
            &status.current.made_by,
            none,
            &FillOptions::default(),
            watch,
        )?;
        return Ok(());
    };
    let mut model = Model::of(&other, args.model.as_deref(), &args.load)?;
    let identity = model.identity().clone();
    let mut bar = Bar::of_texts(args.step.json, args.progress);
    let (started, mut told) = (Instant::now(), Instant::now());
    stop.hold();
    let options = FillOptions {
        batch_rows: BATCH_ROWS,
    };
    let mut watch = |progress: &Progress| {
        bar.set(progress.rows, progress.rows_total, "");
        if args.step.json && told.elapsed().as_secs_f64() >= 0.25 {
            told = Instant::now();
            // Who reads no more events does not stop a run that others wait for.
            let _ = send(&progress_event(progress, started.elapsed().as_secs_f64()));
        }
        match stop.asked() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    };
    let filled = store.fill(
        &identity,
        &mut |texts| model.vectors(texts),
        &options,
        &mut watch,
    );
    bar.close();
    let filled = filled?;
    let seconds = started.elapsed().as_secs_f64();
    tell(
        &args.step,
        &store,
        "run",
        json!({"embedded": filled.rows_embedded, "seconds": seconds}),
    )
}

fn verify(args: &VerifyArgs) -> anyhow::Result<()> {
    let store = Store::open(&args.step.store)?;
    let status = store.status()?;
    let made = status.other.as_ref().unwrap_or(&status.current);
    let mut model = Model::of(made, args.model.as_deref(), &args.load)?;
    let identity = model.identity().clone();
    let verified = store.verify(&identity, &mut |texts| model.vectors(texts), args.samples)?;
    let fields = json!({"rows_seen": verified.rows, "samples_equal": verified.samples});
    tell(&args.step, &store, "verify", fields)
}

/// Opens rows for a store of this kind: only one of JSON lines keeps more than ids and texts.
fn open(file: &Path, kind: ShardKind) -> anyhow::Result<VectorReader> {
    let options = ReadOptions {
        vectors: Vectors::Skipped,
        text: Some("text".to_owned()),
        rest: kind == ShardKind::Jsonl,
        ..ReadOptions::default()
    };
    Ok(VectorReader::open(file, &options)?)
}

/// Appends the rows of files, a shard at a time, and says how many they were.
fn append_files(
    store: &Store,
    files: &[PathBuf],
    stop: &Stop,
    mut append: impl FnMut(&[Row]) -> Result<u64, BackfillError>,
) -> anyhow::Result<u64> {
    stop.hold();
    let mut appended = 0;
    let kind = store.status()?.shards.kind;
    for file in files {
        let mut reader = open(file, kind)?;
        if !reader.others().is_empty() {
            let (name, others) = (file.display(), reader.others().join(", "));
            writeln!(
                io::stderr(),
                "note: {name}: left out are its columns {others}"
            )?;
        }
        let mut rows: Vec<Row> = Vec::new();
        let mut piece = VectorSet::new();
        loop {
            let more = reader.read(SHARD_ROWS - rows.len(), &mut piece)?;
            for (at, label) in piece.labels.drain(..).enumerate() {
                let row = piece.first_row + at as u64;
                let text = label
                    .text
                    .with_context(|| format!("{}: row {row}: no text", file.display()))?;
                rows.push(Row {
                    id: label.id,
                    text,
                    rest: label.rest,
                });
            }
            if rows.len() == SHARD_ROWS || (more == 0 && !rows.is_empty()) {
                append(&rows).with_context(|| {
                    format!(
                        "{}: {appended} rows are appended, those behind are not",
                        store.dir().display()
                    )
                })?;
                appended += rows.len() as u64;
                rows.clear();
            }
            if stop.asked() {
                return Err(BackfillError::Stopped.into());
            }
            if more == 0 {
                break;
            }
        }
    }
    Ok(appended)
}

fn progress_event(progress: &Progress, seconds: f64) -> Value {
    let here = progress.rows.saturating_sub(progress.rows_found) as f64;
    let rate = here / seconds.max(1e-9);
    let left = progress.rows_total.saturating_sub(progress.rows) as f64 / rate;
    json!({
        "ev": "backfill_progress",
        "rows": progress.rows,
        "rows_total": progress.rows_total,
        "shards": progress.shards,
        "shards_total": progress.shards_total,
        "rows_s": rate,
        "left_s": if left.is_finite() { json!(left) } else { Value::Null },
    })
}

/// Says where the store is now.
fn tell(args: &StepArgs, store: &Store, step: &str, mut fields: Value) -> anyhow::Result<()> {
    let status = store.status()?;
    if args.json {
        fields["ev"] = json!("backfill_done");
        fields["step"] = json!(step);
        fields["stage"] = json!(stage_word(&status));
        fields["current"] = generation_json(&status.current);
        fields["other"] = status.other.as_ref().map_or(Value::Null, generation_json);
        fields["leftovers"] = json!(status.leftovers);
        return Ok(send(&fields)?);
    }
    let mut out = io::stdout().lock();
    for (name, value) in fields.as_object().into_iter().flatten() {
        let name = name.replace('_', " ");
        match value.as_f64().filter(|_| value.is_f64()) {
            Some(number) => writeln!(out, "{name:<14} {number:.1}")?,
            None => writeln!(out, "{name:<14} {value}")?,
        }
    }
    writeln!(out, "{:<14} {}", "stage", stage_word(&status))?;
    writeln!(
        out,
        "{:<14} {}",
        "is read",
        generation_line(&status.current)
    )?;
    if let Some(other) = &status.other {
        writeln!(out, "{:<14} {}", "other", generation_line(other))?;
    }
    if !status.leftovers.is_empty() {
        let left = status.leftovers.join(", ");
        writeln!(
            out,
            "{:<14} {left}: left by a step that broke off; the next one removes it",
            "leftovers"
        )?;
    }
    writeln!(out, "{:<14} {}", "next", next_words(&status))?;
    Ok(())
}

fn send(event: &Value) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(events::line(event).as_bytes())?;
    stdout.flush()
}

fn stage_word(status: &Status) -> &'static str {
    match status.stage {
        None => "settled",
        Some(Stage::Filling) => "filling",
        Some(Stage::Filled) => "filled",
        Some(Stage::Verified) => "verified",
        Some(Stage::CutOver) => "cut over",
    }
}

fn next_words(status: &Status) -> &'static str {
    match status.stage {
        None => "plan, for another model",
        Some(Stage::Filling) => "run; or abandon",
        Some(Stage::Filled) => "verify; or abandon",
        Some(Stage::Verified) => "cut-over; or abandon",
        Some(Stage::CutOver) => "prune; or rollback",
    }
}

fn generation_json(generation: &GenerationStatus) -> Value {
    let made_by = &generation.made_by;
    json!({
        "generation": generation.number,
        "model": made_by.model,
        "revision": made_by.revision,
        "dims": made_by.dims,
        "dtype": made_by.dtype,
        "rows": generation.rows,
        "shards": generation.shards_there,
        "shards_total": generation.shards,
        "folder": generation.folder.display().to_string(),
    })
}

fn generation_line(generation: &GenerationStatus) -> String {
    let made_by = &generation.made_by;
    format!(
        "generation {}: {}, {} dims, {} rows in {} of {} shards",
        generation.number,
        crate::visible::visible(&made_by.model),
        made_by.dims,
        generation.rows,
        generation.shards_there,
        generation.shards
    )
}
