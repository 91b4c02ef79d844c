//! Vectors and ids of texts, for comparisons with other programs: `text_vectors MODEL TEXTS OUT [THREADS [COMPUTE]]`.
//!
//! In: a model directory; a file with a JSON text on each line (for a cross-encoder, a list of two texts).
//! Out: `OUT.f32`, the rows as little-endian f32, and `OUT.ids`, a JSON list of ids on each line; the time on the screen.

use std::error::Error;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lattice_inference::backend::cpu::Cpu;
use lattice_inference::backend::{Compute, LoadOptions};
use lattice_inference::checkpoint::{ModelFiles, OpenOptions};
use lattice_inference::encoder::EncodedText;
use lattice_inference::{CrossEncoder, Encoder, EncoderOptions, Model, Purpose};

/// What products compute in, by its name.
fn compute(name: &str) -> Result<Compute, Box<dyn Error>> {
    let found = Compute::ALL.into_iter().find(|one| one.name() == name);
    found.ok_or_else(|| format!("unknown: {name}").into())
}

/// What one model made of the texts.
struct Made {
    rows: Vec<f32>,
    texts: Vec<EncodedText>,
    took: Duration,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, texts, out, rest @ ..] = &args[..] else {
        return Err("usage: text_vectors MODEL TEXTS OUT [THREADS [COMPUTE]]".into());
    };
    let files = ModelFiles::open(Path::new(model))?;
    let options = EncoderOptions {
        load: LoadOptions {
            threads: rest.first().map_or(Ok(0), |threads| threads.parse())?,
            sequences_max: 64,
            compute: rest
                .get(1)
                .map_or(Ok(Compute::AsStored), |name| compute(name))?,
            ..LoadOptions::default()
        },
        ..EncoderOptions::default()
    };
    let lines = std::fs::read_to_string(texts)?;
    let purpose = Model::open(&files, &OpenOptions::default())?.purpose;
    let made = match purpose {
        Purpose::Vectors(_) => vectors(&files, &options, &lines)?,
        Purpose::Scores(_) => scores(&files, &options, &lines)?,
        Purpose::Text => return Err("the model makes neither vectors nor scores".into()),
    };
    let bytes: Vec<u8> = made.rows.iter().flat_map(|x| x.to_le_bytes()).collect();
    std::fs::write(PathBuf::from(format!("{out}.f32")), bytes)?;
    let ids: Vec<String> = made
        .texts
        .iter()
        .map(|text| format!("{:?}\n", text.ids))
        .collect();
    std::fs::write(PathBuf::from(format!("{out}.ids")), ids.concat())?;
    let tokens: usize = made.texts.iter().map(|text| text.ids.len()).sum();
    let mut screen = std::io::stdout().lock();
    writeln!(
        screen,
        "{} texts, {tokens} tokens, {:.3} s, {:.0} tokens/s",
        made.texts.len(),
        made.took.as_secs_f64(),
        tokens as f64 / made.took.as_secs_f64()
    )?;
    Ok(())
}

fn vectors(
    files: &ModelFiles,
    options: &EncoderOptions,
    lines: &str,
) -> Result<Made, Box<dyn Error>> {
    let mut encoder = Encoder::open(files, &Cpu, options)?;
    let mut texts = Vec::new();
    for line in lines.lines() {
        let text: String = serde_json::from_str(line)?;
        texts.push(encoder.text.tokenise(&text)?);
    }
    let ids: Vec<&[u32]> = texts.iter().map(|text| &text.ids[..]).collect();
    let started = Instant::now();
    let rows = encoder.encode(&ids)?;
    let took = started.elapsed();
    Ok(Made { rows, texts, took })
}

fn scores(
    files: &ModelFiles,
    options: &EncoderOptions,
    lines: &str,
) -> Result<Made, Box<dyn Error>> {
    let mut encoder = CrossEncoder::open(files, &Cpu, options)?;
    let mut texts = Vec::new();
    for line in lines.lines() {
        let [first, second]: [String; 2] = serde_json::from_str(line)?;
        texts.push(encoder.text.tokenise_pair(&first, &second)?);
    }
    let started = Instant::now();
    let rows = encoder.logits(&texts)?;
    let took = started.elapsed();
    Ok(Made { rows, texts, took })
}
