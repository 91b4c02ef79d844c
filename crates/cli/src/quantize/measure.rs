//! What packing costs: perplexity of the packed model on a text, and its divergence from the model it was made from.

use std::path::Path;

use anyhow::{Context as _, bail};
use lattice_inference::backend::{LoadOptions, Runner, cpu::Cpu};
use lattice_inference::checkpoint::ModelFiles;
use lattice_inference::quality::{Rule, measure};
use lattice_inference::quantize::sha256;
use serde_json::{Value, json};

use super::QuantizeArgs;
use crate::args::Bos;
use crate::ppl::{Loaded, check_same_vocabulary, show_progress, text_ids};

/// Tokens of a chunk; the second half of each is scored.
const CONTEXT_TOKENS: usize = 512;

/// Measures the packed model in `packed`, and gives the figures for its manifest.
pub(super) fn run(args: &QuantizeArgs, text: &Path, packed: &Path) -> anyhow::Result<Value> {
    let words =
        std::fs::read_to_string(text).with_context(|| format!("cannot read {}", text.display()))?;
    let rule = Rule {
        context_tokens: CONTEXT_TOKENS,
        windows_max: Some(args.measure_chunks),
        ..Rule::default()
    };
    let load = |files: &ModelFiles| {
        let open = args.copy.model.source.open_options();
        let options = LoadOptions {
            sequences_max: 1,
            threads: args.copy.threads,
            allow_non_finite: args.copy.allow_nan,
            ..LoadOptions::default()
        };
        Loaded::open(files, open, options, &Cpu, &rule)
    };
    let mut model = load(&ModelFiles::open(packed)?)?;
    let mut base = load(&args.copy.model.files()?)?;
    check_same_vocabulary(&model, &base)?;
    let (ids, bos) = text_ids(&model.tokenizer, &words, false, Bos::Auto)?;
    let rule = Rule { bos, ..rule };
    let base: Option<&mut dyn Runner> = Some(&mut *base.runner);
    let measured = measure(&mut *model.runner, base, &ids, &rule, show_progress)?;
    let Some(against) = &measured.against else {
        bail!("nothing was compared");
    };
    Ok(json!({
        "text_sha256": sha256(words.as_bytes()),
        "context": CONTEXT_TOKENS,
        "chunks": measured.windows,
        "tokens": measured.tokens_scored,
        "ppl": measured.perplexity.value,
        "ppl_err": measured.perplexity.error,
        "ppl_base": against.base_perplexity.value,
        "ppl_ratio": against.perplexity_ratio.value,
        "ppl_ratio_err": against.perplexity_ratio.error,
        "kl_mean": against.kl_mean.value,
        "kl_mean_err": against.kl_mean.error,
        "kl_p99": against.kl_q99,
        "kl_max": against.kl_max,
        "same_top1": against.same_top.value,
        "same_top1_err": against.same_top.error,
    }))
}
