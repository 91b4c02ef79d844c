//! `lattice rerank`: which documents answer a query best, by a cross-encoder.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::bail;
use clap::Args;
use lattice_embed::{EmbedError, Ranked, Reranker, Scores};
use lattice_vectors::Label;
use serde_json::{Value, json};

use crate::args::{TextsArgs, within};
use crate::chat::events;
use crate::embed::args::{Input, Long};
use crate::embed::input::Texts;
use crate::visible::visible;

/// Documents that are ranked at most: all of them are in memory.
const DOCUMENTS_MAX: usize = 1_000_000;
/// Documents read at a time.
const PIECE_TEXTS: usize = 4096;
/// Characters of a document beside its score.
const TEXT_CHARS: usize = 70;

/// `lattice rerank`
#[derive(Debug, Args)]
pub(crate) struct RerankArgs {
    /// What is asked
    pub(crate) query: String,
    /// Documents; without any, and without --file, stdin is read
    #[arg(conflicts_with = "file")]
    pub(crate) document: Vec<String>,
    /// A file of documents, as `lattice embed` takes it; - is stdin
    #[arg(long, short, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// How documents stand in stdin or the file
    #[arg(long, value_enum, value_name = "FORM")]
    pub(crate) input: Option<Input>,
    /// A cross-encoder: a directory, or a name under --model-dir
    #[arg(long, short, value_name = "PATH|NAME")]
    pub(crate) model: Option<String>,
    /// The best N alone
    #[arg(long, value_name = "N", value_parser = within::<1, 1_000_000>)]
    pub(crate) top: Option<usize>,
    /// What becomes of a document that, with the query, is longer than the model reads
    #[arg(long, value_enum, default_value_t = Long::Truncate)]
    pub(crate) on_long: Long,
    /// Print events for programs: `@@lattice {"ev":...}` lines
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) load: TextsArgs,
}

pub(crate) fn run(args: &RerankArgs) -> anyhow::Result<ExitCode> {
    let Err(error) = rerank(args) else {
        return Ok(ExitCode::SUCCESS);
    };
    if args.json {
        send(&json!({"ev": "error", "msg": format!("{error:#}")}))?;
    }
    Err(error)
}

fn rerank(args: &RerankArgs) -> anyhow::Result<()> {
    let Some(model) = &args.model else {
        bail!(
            "say which cross-encoder with --model; `lattice pull BAAI/bge-reranker-base` gets one"
        );
    };
    let documents = documents(args)?;
    let files = args.load.source.resolve(Some(model))?;
    let options = args.load.options();
    let mut reranker = Reranker::open(&files, args.load.on.device.backend(), &options)?;
    for note in reranker.notes() {
        writeln!(io::stderr(), "note: {}", visible(note))?;
    }
    let started = Instant::now();
    let texts: Vec<&str> = documents
        .iter()
        .filter_map(|one| one.text.as_deref())
        .collect();
    let scores = reranker.score(&args.query, &texts, args.on_long.rule())?;
    let ms = started.elapsed().as_secs_f64() * 1e3;
    if !scores.truncated.is_empty() {
        warn(args.json, &cut_words(&scores, reranker.name()))?;
    }
    let ranked = match scores.ranked(args.top) {
        Err(EmbedError::Labels { .. }) => return print_labels(args, &scores, &documents),
        ranked => ranked?,
    };
    if args.json {
        return Ok(send(&done(&reranker, &documents, &ranked, &scores, ms))?);
    }
    Ok(print(&documents, &ranked)?)
}

/// The documents, all of them.
fn documents(args: &RerankArgs) -> anyhow::Result<Vec<Label>> {
    let mut texts = match (&args.file, args.document.is_empty()) {
        (None, false) => Texts::given(args.document.clone()),
        (Some(path), _) => Texts::open(path, args.input)?,
        (None, true) => Texts::stdin(args.input)?,
    };
    let mut all = Vec::new();
    let mut odd = Vec::new();
    loop {
        let piece = texts.next(PIECE_TEXTS, &mut |words| odd.push(words.to_owned()))?;
        if piece.is_empty() {
            break;
        }
        all.extend(piece);
        if all.len() > DOCUMENTS_MAX {
            bail!("more than {DOCUMENTS_MAX} documents: choose some by their vectors first");
        }
    }
    for words in odd {
        warn(args.json, &words)?;
    }
    Ok(all)
}

fn cut_words(scores: &Scores, model: &str) -> String {
    let first = &scores.truncated[0];
    let more = match scores.truncated.len() - 1 {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "longer than {model} reads, and cut: document {} ({} of {} tokens read){more}",
        first.text, first.kept, first.tokens
    )
}

fn warn(json: bool, words: &str) -> io::Result<()> {
    match json {
        true => send(&json!({"ev": "warning", "msg": words})),
        false => writeln!(io::stderr(), "{}", visible(words)),
    }
}

fn send(event: &Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(events::line(event).as_bytes())?;
    out.flush()
}

fn done(
    reranker: &Reranker,
    documents: &[Label],
    ranked: &[Ranked],
    scores: &Scores,
    ms: f64,
) -> Value {
    let result = |one: &Ranked| {
        let label = &documents[one.document];
        json!({
            "document": one.document,
            "id": label.id.as_ref().map(ToString::to_string),
            "score": one.score,
            "text": label.text,
        })
    };
    json!({
        "ev": "rerank_done",
        "model": reranker.name(),
        "count": documents.len(),
        "results": ranked.iter().map(result).collect::<Vec<_>>(),
        "tokens": scores.tokens,
        "truncated": scores.truncated.len(),
        "ms": ms,
    })
}

fn print(documents: &[Label], ranked: &[Ranked]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for (rank, one) in (1..).zip(ranked) {
        let label = &documents[one.document];
        let id = label
            .id
            .as_ref()
            .map_or_else(|| one.document.to_string(), ToString::to_string);
        let text = shown(label.text.as_deref().unwrap_or_default());
        writeln!(
            out,
            "{rank:>4}  {:>9.4}  {:>6}  {text}",
            one.score,
            visible(&id)
        )?;
    }
    out.flush()
}

/// A model that says more than one thing about a pair: all of them, in the order of the documents.
fn print_labels(args: &RerankArgs, scores: &Scores, documents: &[Label]) -> anyhow::Result<()> {
    if args.top.is_some() {
        bail!(
            "the model gives {} for a document: there is no best one",
            scores.labels.join(", ")
        );
    }
    let rows = scores.values.chunks_exact(scores.labels.len().max(1));
    if args.json {
        let rows: Vec<&[f32]> = rows.collect();
        return Ok(send(
            &json!({"ev": "rerank_done", "labels": scores.labels, "scores": rows, "tokens": scores.tokens}),
        )?);
    }
    let mut out = io::stdout().lock();
    writeln!(out, "{}", scores.labels.join("  "))?;
    for (row, label) in rows.zip(documents) {
        let numbers: Vec<String> = row.iter().map(|score| format!("{score:.4}")).collect();
        let text = shown(label.text.as_deref().unwrap_or_default());
        writeln!(out, "{}  {text}", numbers.join("  "))?;
    }
    Ok(out.flush()?)
}

/// A text in one short line.
fn shown(text: &str) -> String {
    crate::embed::short(text, TEXT_CHARS)
}
