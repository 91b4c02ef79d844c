//! `lattice eval`: figures that anyone can hold against another engine.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use lattice_inference::Model;
use lattice_inference::backend::{Batch, Entry, OutputRows, Runner};

use crate::args::LogitsArgs;
use crate::npy;

/// Rows computed at a time: a vocabulary of 250,000 makes 64 MB of them.
const ROWS: usize = 64;

pub(crate) fn logits(args: &LogitsArgs) -> anyhow::Result<ExitCode> {
    let sequences = read_ids(&args.ids)?;
    let files = args.source.resolve(Some(&args.model))?;
    let model = Model::open(&files, &args.source.open_options())?;
    model.must_generate()?;
    model
        .notes
        .iter()
        .try_for_each(|note| writeln!(std::io::stderr(), "note: {note}"))?;
    let longest = sequences.iter().map(Vec::len).max().unwrap_or(0);
    let mut options = args.run.load_options(1);
    options.context_tokens_max = args.run.context.unwrap_or(longest);
    options.batch_tokens_max = ROWS;
    options.output_rows_max = ROWS;
    let (plan, checkpoint) = (Arc::clone(&model.plan), Arc::clone(&model.checkpoint));
    let mut runner = args
        .run
        .on
        .device
        .backend()
        .load(plan, checkpoint, &options)?;
    let limit = runner.limits().context_tokens_max;
    if longest > limit {
        bail!("a line of {longest} ids, the context holds {limit}");
    }
    let file = File::create(&args.output)
        .with_context(|| format!("cannot create {}", args.output.display()))?;
    let mut out = BufWriter::new(file);
    let rows = sequences.iter().map(Vec::len).sum();
    npy::write_header(&mut out, rows, runner.limits().output_width)?;
    for ids in &sequences {
        write_logits(&mut *runner, ids, &mut out)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn write_logits(
    runner: &mut dyn Runner,
    ids: &[u32],
    out: &mut impl std::io::Write,
) -> anyhow::Result<()> {
    let sequence = runner.open()?;
    for ids in ids.chunks(ROWS) {
        let entries = [Entry {
            sequence,
            ids,
            types: &[],
            outputs: OutputRows::All,
        }];
        npy::write_values(out, runner.run(&Batch { entries: &entries })?.rows)?;
    }
    runner.close(sequence);
    Ok(())
}

/// One JSON array of ids per line; empty lines are passed over.
fn read_ids(path: &Path) -> anyhow::Result<Vec<Vec<u32>>> {
    let name = path.display();
    let file = File::open(path).with_context(|| format!("cannot open {name}"))?;
    let mut sequences = Vec::new();
    for (index, line) in BufReader::new(file).lines().enumerate() {
        let line = line.with_context(|| format!("cannot read {name}"))?;
        if line.trim().is_empty() {
            continue;
        }
        let ids: Vec<u32> = serde_json::from_str(&line)
            .with_context(|| format!("{name}, line {}: not an array of token ids", index + 1))?;
        if ids.is_empty() {
            bail!("{name}, line {}: no ids", index + 1);
        }
        sequences.push(ids);
    }
    if sequences.is_empty() {
        bail!("{name}: no lines of ids");
    }
    Ok(sequences)
}
