//! `lattice eval ppl`: perplexity on a text by llama-perplexity's rules, and the distance from another model.

use std::io::{self, IsTerminal as _, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, bail};
use lattice_inference::backend::{Backend, LoadOptions, Runner};
use lattice_inference::checkpoint::{ModelFiles, OpenOptions};
use lattice_inference::quality::{Divergence, Estimate, Measurement, Progress, Rule, measure};
use lattice_inference::tokenizer::{HfTokenizer, Prompt, Tokenizer as _};
use lattice_inference::{Model, open_tokenizer};
use serde_json::{Value, json};

use crate::args::{Bos, Kv, PplArgs};

/// Logits computed at a time, in values: 64 MB of them.
const LOGITS_MAX: usize = 16 << 20;

pub(crate) fn run(args: &PplArgs) -> anyhow::Result<ExitCode> {
    let rule = Rule {
        context_tokens: args.run.context.unwrap_or(512),
        stride: args.stride,
        windows_max: args.chunks,
        bos: None,
    };
    let open = |name: &str, kv: Option<Kv>| {
        let files = args.source.resolve(Some(name))?;
        let (open, mut load) = (args.source.open_options(), args.run.load_options(1));
        load.kv = kv.map(Kv::format);
        Loaded::open(&files, open, load, args.run.on.device.backend(), &rule)
    };
    let mut model = open(&args.model, args.run.kv)?;
    let base_kv = args.against_kv.or(args.run.kv);
    let base = args.against.as_deref().map(|base| open(base, base_kv));
    let mut base = base.transpose()?;
    if let Some(base) = &base {
        check_same_vocabulary(&model, base)?;
    }
    let text = std::fs::read_to_string(&args.text)
        .with_context(|| format!("cannot read {}", args.text.display()))?;
    let (ids, bos) = text_ids(&model.tokenizer, &text, args.parse_special, args.bos)?;
    let rule = Rule { bos, ..rule };
    let started = Instant::now();
    let runner: Option<&mut dyn Runner> = match &mut base {
        Some(base) => Some(&mut *base.runner),
        None => None,
    };
    let measured = measure(&mut *model.runner, runner, &ids, &rule, show_progress)?;
    let report = Report {
        args,
        model: model.name,
        base: base.map(|base| base.name),
        text_tokens: ids.len(),
        rule,
        tokens_per_s: measured.tokens_read as f64 / started.elapsed().as_secs_f64(),
        measured,
    };
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", report.as_json())?;
    } else {
        report.print(&mut out)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A model with its tokenizer.
pub(crate) struct Loaded {
    pub(crate) name: String,
    pub(crate) tokenizer: HfTokenizer,
    pub(crate) runner: Box<dyn Runner>,
}

impl Loaded {
    /// Loads a model to be read by `rule`: its sizes in `options` are set to what that takes.
    pub(crate) fn open(
        files: &ModelFiles,
        open: OpenOptions,
        mut options: LoadOptions,
        backend: &dyn Backend,
        rule: &Rule,
    ) -> anyhow::Result<Self> {
        let model = Model::open(files, &open)?;
        model.must_generate()?;
        for note in &model.notes {
            writeln!(io::stderr(), "note: {note}")?;
        }
        options.context_tokens_max = rule.context_tokens;
        options.output_rows_max = (LOGITS_MAX / model.plan.vocab.max(1)).clamp(1, 512);
        let (plan, checkpoint) = (Arc::clone(&model.plan), Arc::clone(&model.checkpoint));
        Ok(Self {
            name: files.name(),
            tokenizer: open_tokenizer(files, &model)?,
            runner: backend.load(plan, checkpoint, &options)?,
        })
    }
}

/// Divergence compares what two models say about the same ids, so the ids must mean the same.
pub(crate) fn check_same_vocabulary(model: &Loaded, base: &Loaded) -> anyhow::Result<()> {
    let (ours, theirs) = (&model.tokenizer, &base.tokenizer);
    let ids = 0..ours.ids_max().max(theirs.ids_max()) as u32;
    let differs = |&id: &u32| ours.bytes_from_id(id) != theirs.bytes_from_id(id);
    if let Some(id) = ids.into_iter().find(differs) {
        bail!(
            "{} and {} have different vocabularies: token {id} is another one",
            model.name,
            base.name
        );
    }
    if !ours.added_tokens().eq(theirs.added_tokens()) {
        bail!(
            "{} and {} have different added tokens",
            model.name,
            base.name
        );
    }
    Ok(())
}

/// The text's ids, and the token that begins each window where the tokenizer puts one before a text.
pub(crate) fn text_ids(
    tokenizer: &HfTokenizer,
    text: &str,
    parse_special: bool,
    bos: Bos,
) -> anyhow::Result<(Vec<u32>, Option<u32>)> {
    let mut ids = if parse_special {
        tokenizer.ids_from_prompt(&Prompt::trusted(text))?
    } else {
        tokenizer.ids_from_text(text)?
    };
    let bos = match bos {
        Bos::None => None,
        Bos::Auto => beginning(tokenizer)?,
    };
    if let Some(bos) = bos {
        ids.insert(0, bos);
    }
    Ok((ids, bos))
}

/// The token that the tokenizer puts before a text, if any.
fn beginning(tokenizer: &HfTokenizer) -> anyhow::Result<Option<u32>> {
    let plain = tokenizer.ids_from_text("a")?;
    let around = tokenizer.ids_with_specials_from_text("a")?;
    Ok(around
        .first()
        .copied()
        .filter(|id| plain.first() != Some(id)))
}

/// A line that counts windows, for people who watch.
pub(crate) fn show_progress(progress: Progress) {
    let mut err = io::stderr().lock();
    if !err.is_terminal() {
        return;
    }
    let Progress {
        windows_done,
        windows,
        perplexity,
    } = progress;
    let end = if windows_done == windows { '\n' } else { '\r' };
    // A watcher who went away changes nothing about the figures.
    let _ = write!(
        err,
        "window {windows_done} of {windows}, perplexity {:.4}   {end}",
        perplexity.value
    );
}

struct Report<'a> {
    args: &'a PplArgs,
    model: String,
    base: Option<String>,
    text_tokens: usize,
    rule: Rule,
    tokens_per_s: f64,
    measured: Measurement,
}

impl Report<'_> {
    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let measured = &self.measured;
        writeln!(out, "model       {}", self.model)?;
        let bos = match self.rule.bos {
            None => "no beginning token".to_owned(),
            Some(id) => format!("token {id} begins each window"),
        };
        let text = self.args.text.display();
        writeln!(
            out,
            "text        {text}: {} tokens, {bos}",
            self.text_tokens
        )?;
        let context = self.rule.context_tokens;
        let how = match self.rule.stride {
            None => format!("chunks of {context}, the second half of each scored"),
            Some(stride) => {
                format!("windows of {context} every {stride}, the last {stride} scored")
            }
        };
        writeln!(out, "rule        {how}")?;
        writeln!(
            out,
            "scored      {} tokens in {} windows, {:.1} tok/s",
            measured.tokens_scored, measured.windows, self.tokens_per_s
        )?;
        writeln!(out, "perplexity  {}", figure(measured.perplexity, 4))?;
        match (&self.base, &measured.against) {
            (Some(base), Some(against)) => print_divergence(out, base, against),
            _ => Ok(()),
        }
    }

    fn as_json(&self) -> Value {
        json!({
            "model": self.model,
            "base": self.base,
            "text": self.args.text.display().to_string(),
            "text_tokens": self.text_tokens,
            "context_tokens": self.rule.context_tokens,
            "stride": self.rule.stride,
            "bos": self.rule.bos,
            "parse_special": self.args.parse_special,
            "tok_s": self.tokens_per_s,
            "measured": self.measured,
        })
    }
}

fn print_divergence(out: &mut impl Write, base: &str, against: &Divergence) -> io::Result<()> {
    let percent = Estimate {
        value: 100.0 * against.same_top.value,
        error: 100.0 * against.same_top.error,
    };
    writeln!(out, "\nagainst     {base}")?;
    writeln!(
        out,
        "perplexity  {} there",
        figure(against.base_perplexity, 4)
    )?;
    writeln!(out, "ratio       {}", figure(against.perplexity_ratio, 5))?;
    writeln!(out, "mean KL     {} nats", figure(against.kl_mean, 6))?;
    writeln!(
        out,
        "99 % KL     {:.6} nats, the worst {:.6}",
        against.kl_q99, against.kl_max
    )?;
    writeln!(out, "same top    {} %", figure(percent, 2))
}

fn figure(estimate: Estimate, digits: usize) -> String {
    format!("{:.digits$} +- {:.digits$}", estimate.value, estimate.error)
}
