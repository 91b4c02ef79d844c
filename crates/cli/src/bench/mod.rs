//! `lattice bench`: how fast a model runs here, and how much of what the machine can give that is.
//!
//! In: a model and the shapes of work. Out: of a model that makes vectors, texts per second (`texts`); else tokens per second with their spread, load time, peak memory, bytes read
//! per token beside the machine's measured read bandwidth. It samples nothing: the likeliest token follows.

mod bandwidth;
mod compare;
mod profile;
mod report;
mod shapes;
mod texts;
mod work;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, bail};
use lattice_inference::backend::LoadOptions;
use lattice_inference::{Model, Purpose};

use crate::args::BenchArgs;
use report::{Figures, Report, Setting};
use shapes::{Shape, Wanted};
use work::{Timed, Work};

/// Passes over the bandwidth buffer; the best counts.
const BANDWIDTH_PASSES: usize = 8;

pub(crate) fn run(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    let earlier = args.compare.as_deref().map(compare::read).transpose()?;
    let files = args.model.files()?;
    let started = Instant::now();
    let model = Model::open(&files, &args.model.source.open_options())?;
    if let Purpose::Vectors(_) = model.purpose {
        return texts::run(args, &files);
    }
    model.must_generate()?;
    let mut wanted = wanted(args, &model)?;
    let options = load_options(args, &wanted);
    let (plan, checkpoint) = (Arc::clone(&model.plan), Arc::clone(&model.checkpoint));
    let runner = args
        .run
        .on
        .device
        .backend()
        .load(plan, checkpoint, &options)?;
    let load_ms = started.elapsed().as_secs_f64() * 1e3;
    let mut work = Work::new(runner, args.tokens);
    let runs = shapes::fit(&mut wanted, args.runs, args.tokens, work.rates()?);
    let timed = time_all(&mut work, &wanted, runs)?;
    drop(work);
    let peak_memory_bytes = peak_memory_bytes();
    // After the peak was read: the buffer is no memory of the model.
    let cpu = args.run.on.processor()?;
    let read_gbps = bandwidth::read_bandwidth(&cpu, bandwidth::buffer_bytes(), BANDWIDTH_PASSES);
    let costs = report::Costs::of(&model, &options, args.tokens, read_gbps);
    let mut out = io::stdout().lock();
    let report = Report {
        setting: Setting::of(files.name(), &model, &args.run.on, &cpu),
        kv: model.kv_format(&options).name(),
        batch_tokens: options.batch_tokens_max,
        runs,
        step_tokens: args.tokens,
        load_ms,
        peak_memory_bytes,
        figures: timed
            .into_iter()
            .map(|(shape, timed)| Figures::of(shape, timed, &costs))
            .collect(),
        costs,
        notes: wanted.notes,
    };
    let comparison = earlier.map(|earlier| compare::against(&earlier, &report.as_json()));
    if args.json {
        let mut object = report.as_json();
        if let Some(comparison) = &comparison {
            object["compare"] = comparison.as_json();
        }
        writeln!(out, "{object}")?;
        return Ok(ExitCode::SUCCESS);
    }
    report.print(&mut out)?;
    if let Some(comparison) = &comparison {
        comparison.print(&mut out)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The shapes asked for, and unless only those are wanted the usual ones as far as the model's context goes.
fn wanted(args: &BenchArgs, model: &Model) -> anyhow::Result<Wanted> {
    let limit = model.plan.context_tokens_max;
    let limit = args.run.context.map_or(limit, |asked| asked.min(limit));
    let mut wanted = Wanted::default();
    let usual = |sizes: &'static [usize]| if args.only { &[] } else { sizes };
    wanted.add(&args.prompt, usual(&[128, 512, 2048]), |tokens| {
        Shape::Prompt { tokens }
    });
    wanted.add(&args.decode_at, usual(&[0, 1024, 4096]), |depth| {
        Shape::Decode {
            depth,
            sequences: 1,
        }
    });
    wanted.add(&args.sequences, usual(&[1, 4, 8]), |sequences| {
        Shape::Decode {
            depth: 0,
            sequences,
        }
    });
    if let Some(shape) = wanted.keep_within(limit, args.tokens) {
        bail!("{shape} needs more than the context of {limit} tokens");
    }
    Ok(wanted)
}

fn load_options(args: &BenchArgs, wanted: &Wanted) -> LoadOptions {
    let sequences = wanted.shapes().map(Shape::sequences).max().unwrap_or(1);
    let mut options = args.run.load_options(sequences);
    options.output_rows_max = sequences;
    options.profile = args.profile;
    options.context_tokens_max = wanted.shapes().fold(work::PROBE_TOKENS, |max, shape| {
        max.max(shape.context(args.tokens))
    });
    options
}

/// What each shape took, with a line for people who watch.
fn time_all(work: &mut Work, wanted: &Wanted, runs: usize) -> anyhow::Result<Vec<(Shape, Timed)>> {
    let watched = io::IsTerminal::is_terminal(&io::stderr());
    let mut timed = Vec::new();
    for shape in wanted.shapes() {
        if watched {
            write!(io::stderr(), "{shape:<24}\r")?;
        }
        let took = work
            .time(shape, runs)
            .with_context(|| format!("cannot run {shape}"))?;
        timed.push((shape, took));
    }
    if watched {
        write!(io::stderr(), "{:24}\r", "")?;
    }
    Ok(timed)
}

/// The most memory this process ever held, where the system tells it (Linux); mapped weights that were read count.
fn peak_memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}
