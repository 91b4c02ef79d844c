//! Rates of an encoder: `embed_rates MODEL TEXTS [--compute NAME] [--threads N] [--batch N] [--seconds S] [--tokens N] [--max-tokens N]
//! [--out FILE] [--profile 1]`.
//!
//! In: a model directory; a file with a JSON text on each line. Out: a line of JSON: texts, tokens and useful floating-point
//! operations (those of the texts' own tokens) a second over `--seconds` of batches of `--batch` texts, tokenised on the
//! way, and the best and the median time of a batch. `--out` takes the vectors of all texts as little-endian f32.

use std::error::Error;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use lattice_inference::backend::cpu::Cpu;
use lattice_inference::backend::{Compute, LoadOptions};
use lattice_inference::checkpoint::ModelFiles;
use lattice_inference::encoder::Given;
use lattice_inference::plan::Op;
use lattice_inference::{Encoder, EncoderOptions};

struct Asked {
    model: String,
    texts: String,
    compute: Compute,
    threads: usize,
    batch: usize,
    seconds: f64,
    tokens: usize,
    max_tokens: Option<usize>,
    profile: bool,
    out: Option<String>,
}

fn asked() -> Result<Asked, Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let mut asked = Asked {
        model: args.next().ok_or("a model directory")?,
        texts: args.next().ok_or("a file of texts")?,
        compute: Compute::AsStored,
        threads: 1,
        batch: 32,
        seconds: 1.0,
        tokens: 512,
        max_tokens: None,
        profile: false,
        out: None,
    };
    while let Some(flag) = args.next() {
        let value = args.next().ok_or_else(|| format!("a value for {flag}"))?;
        match &flag[..] {
            "--compute" => {
                let mut all = Compute::ALL.into_iter();
                let found = all.find(|compute| compute.name() == value);
                asked.compute = found.ok_or_else(|| format!("unknown: {value}"))?;
            }
            "--threads" => asked.threads = value.parse()?,
            "--batch" => asked.batch = value.parse()?,
            "--seconds" => asked.seconds = value.parse()?,
            "--tokens" => asked.tokens = value.parse()?,
            "--max-tokens" => asked.max_tokens = Some(value.parse()?),
            "--profile" => asked.profile = value == "1",
            "--out" => asked.out = Some(value),
            _ => return Err(format!("unknown: {flag}").into()),
        }
    }
    Ok(asked)
}

/// Multiplications and additions of the plan's products and attention for a text of so many tokens.
fn operations(encoder: &Encoder, tokens: usize) -> f64 {
    let plan = &encoder.model.plan;
    let of = |op: &Op| match op {
        Op::Linear { weight, .. } => 2 * plan.weight(*weight).len() * tokens,
        Op::Attention { shape, .. } => 4 * shape.heads * shape.head_dim * tokens * tokens,
        _ => 0,
    };
    plan.steps.iter().map(|step| of(&step.op)).sum::<usize>() as f64
}

fn encode(encoder: &mut Encoder, texts: &[&str]) -> Result<Vec<f32>, Box<dyn Error>> {
    let texts = texts.iter().map(|text| encoder.text.tokenise(text));
    let texts = texts.collect::<Result<Vec<_>, _>>()?;
    let ids: Vec<&[u32]> = texts.iter().map(|text| &text.ids[..]).collect();
    Ok(encoder.encode(&ids)?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let asked = asked()?;
    let files = ModelFiles::open(Path::new(&asked.model))?;
    let load = LoadOptions {
        threads: asked.threads,
        compute: asked.compute,
        sequences_max: 256,
        batch_tokens_max: asked.tokens,
        profile: asked.profile,
        ..LoadOptions::default()
    };
    let options = EncoderOptions {
        load,
        given: Given {
            max_tokens: asked.max_tokens,
            ..Given::default()
        },
        ..EncoderOptions::default()
    };
    let mut encoder = Encoder::open(&files, &Cpu, &options)?;
    let lines = std::fs::read_to_string(&asked.texts)?;
    let texts = lines.lines().map(serde_json::from_str::<String>);
    let texts = texts.collect::<Result<Vec<_>, _>>()?;
    let texts: Vec<&str> = texts.iter().map(|text| &text[..]).collect();
    if let Some(out) = &asked.out {
        let rows = encode(&mut encoder, &texts)?;
        let bytes: Vec<u8> = rows.iter().flat_map(|x| x.to_le_bytes()).collect();
        std::fs::write(out, bytes)?;
    }
    let mut lengths = Vec::new();
    for text in &texts {
        lengths.push(encoder.text.tokenise(text)?.ids.len());
    }
    let (mut first, mut count, mut tokens, mut work) = (0, 0, 0, 0.0);
    let mut times: Vec<Duration> = Vec::new();
    let (started, limit) = (Instant::now(), Duration::from_secs_f64(asked.seconds));
    while times.is_empty() || started.elapsed() < limit {
        let start = first;
        let picked = (0..asked.batch).map(|i| (start + i) % texts.len());
        let batch: Vec<&str> = picked.clone().map(|i| texts[i]).collect();
        let began = Instant::now();
        encode(&mut encoder, &batch)?;
        times.push(began.elapsed());
        first = (first + asked.batch) % texts.len();
        count += asked.batch;
        for i in picked {
            tokens += lengths[i];
            work += operations(&encoder, lengths[i]);
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    for spent in encoder.take_profile() {
        writeln!(std::io::stdout(), "{spent:?}")?;
    }
    times.sort_unstable();
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    writeln!(
        std::io::stdout(),
        "{{\"compute\":\"{}\",\"threads\":{},\"batch\":{},\"texts_s\":{:.2},\"tokens_s\":{:.0},\"gflops\":{:.1},\
         \"best_ms\":{:.3},\"median_ms\":{:.3}}}",
        asked.compute.name(),
        asked.threads,
        asked.batch,
        count as f64 / seconds,
        tokens as f64 / seconds,
        work / seconds / 1e9,
        ms(times[0]),
        ms(times[times.len() / 2]),
    )?;
    Ok(())
}
