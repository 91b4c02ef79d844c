//! The bench of a model that makes vectors: texts a second by their length and by how many are computed together.
//!
//! In: an encoder. Out: for each length and number of texts the median and the best time. Texts are rows of pseudo-random ids,
//! the same in every run; nothing is tokenised.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::bail;
use lattice_inference::backend::LoadOptions;
use lattice_inference::checkpoint::ModelFiles;
use lattice_inference::plan::{Rows, Step};
use lattice_inference::{Encoder, EncoderOptions};
use serde_json::{Value, json};

use super::report::{Setting, extend, median};
use super::work::random_ids;
use crate::args::BenchArgs;

/// Lengths of texts, beside the greatest.
const LENGTHS: [usize; 2] = [16, 128];
/// The greatest length that is timed unless somebody asks.
const LENGTH_MAX: usize = 512;
/// Texts computed together.
const TEXTS: [usize; 2] = [1, 32];
/// Seconds of a shape, unless a number of runs is asked for.
const SHAPE_S: f64 = 0.5;

/// Texts of one length, computed together.
#[derive(Debug, Clone, Copy)]
struct Shape {
    tokens: usize,
    texts: usize,
}

/// What was found of a shape.
struct Figures {
    shape: Shape,
    /// Of each run, in seconds.
    seconds: Vec<f64>,
    /// Operations of a text.
    flops: f64,
}

pub(super) fn run(args: &BenchArgs, files: &ModelFiles) -> anyhow::Result<ExitCode> {
    if args.decode_at.is_some() || args.compare.is_some() {
        bail!("the model makes vectors: --decode-at and --compare are for models that generate");
    }
    let started = Instant::now();
    let mut encoder = open(args, files)?;
    let load_ms = started.elapsed().as_secs_f64() * 1e3;
    let mut figures = Vec::new();
    for shape in shapes(args, encoder.settings().max_tokens)? {
        let seconds = time(&mut encoder, shape, args.runs)?;
        let flops = flops(&encoder, shape.tokens);
        figures.push(Figures {
            shape,
            seconds,
            flops,
        });
    }
    let cpu = args.run.on.processor()?;
    let setting = Setting::of(files.name(), &encoder.model, &args.run.on, &cpu);
    let mut out = io::stdout().lock();
    if args.json {
        let mut object = setting.as_json();
        let tests: Vec<Value> = figures.iter().map(Figures::as_json).collect();
        let compute = args.run.on.compute.compute().name();
        let more = json!({"compute": compute, "load_ms": load_ms, "tests": tests});
        extend(&mut object, more);
        writeln!(out, "{object}")?;
        return Ok(ExitCode::SUCCESS);
    }
    setting.print(&mut out)?;
    writeln!(out, "; computes {}", args.run.on.compute.compute().name())?;
    writeln!(out, "load       {load_ms:.1} ms")?;
    writeln!(
        out,
        "\n{:<24}{:>11}{:>11}{:>10}{:>11}{:>11}",
        "", "texts/s", "tok/s", "GFLOP/s", "median ms", "best ms"
    )?;
    for figures in &figures {
        writeln!(out, "{}", figures.line())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn open(args: &BenchArgs, files: &ModelFiles) -> anyhow::Result<Encoder> {
    let texts = args.sequences.as_deref().unwrap_or(&TEXTS);
    let load = LoadOptions {
        batch_tokens_max: args.run.batch,
        sequences_max: texts.iter().copied().max().unwrap_or(1),
        ..LoadOptions::default()
    };
    let options = EncoderOptions {
        open: args.model.source.open_options(),
        load: args.run.on.load_options(load),
        ..EncoderOptions::default()
    };
    Ok(Encoder::open(
        files,
        args.run.on.device.backend(),
        &options,
    )?)
}

/// The shapes asked for, or the usual ones as far as the model reads.
fn shapes(args: &BenchArgs, tokens_max: usize) -> anyhow::Result<Vec<Shape>> {
    let usual = LENGTHS.into_iter().chain([tokens_max.min(LENGTH_MAX)]);
    let mut lengths: Vec<usize> = match &args.prompt {
        Some(asked) => asked.clone(),
        None if args.only => Vec::new(),
        None => usual.filter(|tokens| *tokens <= tokens_max).collect(),
    };
    lengths.dedup();
    if let Some(long) = lengths.iter().find(|tokens| **tokens > tokens_max) {
        bail!("a text of {long} tokens is more than the {tokens_max} that the model reads");
    }
    let texts = args.sequences.as_deref().unwrap_or(&TEXTS);
    let all = lengths.iter().flat_map(|&tokens| {
        let shape = move |&texts: &usize| Shape { tokens, texts };
        texts.iter().map(shape)
    });
    Ok(all.collect())
}

/// Seconds of each run; one before the first makes room.
fn time(encoder: &mut Encoder, shape: Shape, runs: Option<usize>) -> anyhow::Result<Vec<f64>> {
    let vocab = encoder.limits().vocab;
    let ids = (0..shape.texts as u64).map(|seed| random_ids(shape.tokens, vocab, seed));
    let ids: Vec<Vec<u32>> = ids.collect();
    let texts: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
    encoder.encode(&texts)?;
    let (mut seconds, begun) = (Vec::new(), Instant::now());
    let more = |done: usize| match runs {
        Some(runs) => done < runs,
        None => done < 3 || begun.elapsed().as_secs_f64() < SHAPE_S,
    };
    while more(seconds.len()) {
        let started = Instant::now();
        encoder.encode(&texts)?;
        seconds.push(started.elapsed().as_secs_f64());
    }
    Ok(seconds)
}

/// Multiplications and additions for a text of so many tokens.
fn flops(encoder: &Encoder, tokens: usize) -> f64 {
    let plan = &encoder.model.plan;
    let tokens = tokens as f64;
    // Those that a row of tokens sees, in the mean.
    let keys = if plan.is_whole() {
        tokens
    } else {
        (tokens + 1.0) / 2.0
    };
    let of = |step: &Step| {
        let cost = plan.cost(step);
        let (rows, keys) = match plan.value(step.out).rows {
            Rows::Tokens => (tokens, keys),
            Rows::Outputs => (1.0, tokens),
        };
        rows * (cost.flops as f64 + keys * cost.flops_per_key as f64)
    };
    plan.steps.iter().map(of).sum()
}

impl Figures {
    fn median(&self) -> f64 {
        median(&self.seconds)
    }

    fn best(&self) -> f64 {
        self.seconds.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn texts_s(&self) -> f64 {
        self.shape.texts as f64 / self.median()
    }

    fn name(&self) -> String {
        let Shape { tokens, texts } = self.shape;
        format!("{texts} of {tokens} tokens")
    }

    fn line(&self) -> String {
        let texts_s = self.texts_s();
        format!(
            "{:<24}{texts_s:>11.1}{:>11.0}{:>10.1}{:>11.3}{:>11.3}",
            self.name(),
            texts_s * self.shape.tokens as f64,
            texts_s * self.flops / 1e9,
            self.median() * 1e3,
            self.best() * 1e3,
        )
    }

    fn as_json(&self) -> Value {
        let texts_s = self.texts_s();
        json!({
            "test": self.name(),
            "kind": "texts",
            "tokens": self.shape.tokens,
            "texts": self.shape.texts,
            "texts_s": texts_s,
            "tok_s": texts_s * self.shape.tokens as f64,
            "gflops": texts_s * self.flops / 1e9,
            "median_ms": self.median() * 1e3,
            "best_ms": self.best() * 1e3,
            "runs": self.seconds.len(),
        })
    }
}
