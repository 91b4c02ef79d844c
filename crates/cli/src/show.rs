//! `lattice show`: what a model is, in words and figures.

use std::io::Write;
use std::process::ExitCode;

use lattice_inference::backend::LoadOptions;
use lattice_inference::checkpoint::GenerationDefaults;
use lattice_inference::encoder::EncoderSettings;
use lattice_inference::plan::Footprint;
use lattice_inference::{Model, Purpose, tokenizer_source};
use serde_json::{Value, json};

use crate::args::ShowArgs;
use crate::visible::visible;

pub(crate) fn run(args: &ShowArgs) -> anyhow::Result<ExitCode> {
    let files = args.model.files()?;
    let model = Model::open(&files, &args.model.source.open_options())?;
    let defaults = GenerationDefaults::open(&files)?;
    let options = args.run.load_options(1);
    let memory = args.memory.then(|| Memory::of(&model, &options));
    // A model without a tokenizer can still be looked at.
    let tokenizer = tokenizer_source(&files);
    let mut out = std::io::stdout().lock();
    if args.json {
        let mut value = as_json(
            &files.name(),
            &model,
            &defaults,
            memory.as_ref(),
            args.tensors,
        );
        value["tokenizer"] = json!(tokenizer.ok());
        writeln!(out, "{value}")?;
        return Ok(ExitCode::SUCCESS);
    }
    print(&mut out, &files.name(), &model, &defaults)?;
    match &tokenizer {
        Ok(source) => writeln!(out, "tokenizer   {source}")?,
        Err(error) => writeln!(out, "tokenizer   none: {}", visible(&error.to_string()))?,
    }
    if let Some(memory) = memory {
        memory.print(&mut out)?;
    }
    if args.tensors {
        for tensor in model.checkpoint.tensors() {
            let shape = format!("{:?}", tensor.shape);
            writeln!(out, "{:<5} {shape:<20} {}", tensor.form, tensor.name)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(
    out: &mut impl Write,
    name: &str,
    model: &Model,
    defaults: &GenerationDefaults,
) -> std::io::Result<()> {
    let plan = &model.plan;
    let cost = plan.cost_per_token();
    writeln!(out, "model       {name}")?;
    writeln!(
        out,
        "family      {} ({})",
        model.family.name,
        model.config.model_type()
    )?;
    writeln!(out, "parameters  {}", count(plan.parameters()))?;
    writeln!(
        out,
        "weights     {} in {}, {:.2} bits each",
        bytes(model.checkpoint.weight_bytes()),
        forms(model),
        bits_per_weight(model)
    )?;
    writeln!(out, "vocabulary  {}", plan.vocab)?;
    writeln!(
        out,
        "context     {} tokens at most",
        plan.context_tokens_max
    )?;
    writeln!(out, "steps       {}", plan.steps.len())?;
    writeln!(
        out,
        "per token   {} weights read, {} FLOP, and {} FLOP for each key",
        count(cost.weight_values),
        count(cost.flops),
        count(cost.flops_per_key),
    )?;
    match &model.purpose {
        Purpose::Text => writeln!(out, "sampler     {}", sampler(defaults))?,
        Purpose::Vectors(settings) => print_encoder(out, settings)?,
        Purpose::Scores(settings) => writeln!(
            out,
            "scores      {} of each pair of up to {} tokens: {}",
            settings.labels.len(),
            settings.max_tokens,
            visible(&settings.labels.join(", ")),
        )?,
    }
    for note in model.all_notes() {
        writeln!(out, "note        {}", visible(note))?;
    }
    if !defaults.unread.is_empty() {
        let unread = defaults.unread.join(", ");
        writeln!(
            out,
            "note        generation_config.json: not used: {unread}"
        )?;
    }
    Ok(())
}

/// How texts become vectors.
fn print_encoder(out: &mut impl Write, settings: &EncoderSettings) -> std::io::Result<()> {
    let scaled = if settings.normalise {
        "scaled to length 1"
    } else {
        "not scaled"
    };
    writeln!(
        out,
        "vectors     {} columns, pooling {}, {scaled}",
        settings.dims,
        settings.pooling.name()
    )?;
    writeln!(
        out,
        "texts       up to {} tokens, longer ones are cut",
        settings.max_tokens
    )?;
    for (name, prompt) in &settings.prompts {
        let default = if settings.default_prompt.as_ref() == Some(name) {
            " (default)"
        } else {
            ""
        };
        writeln!(out, "prompt      {}{default}: {:?}", visible(name), prompt)?;
    }
    Ok(())
}

/// What the model is for, and with which settings.
fn purpose_json(purpose: &Purpose) -> Value {
    match purpose {
        Purpose::Text => json!({"kind": "text"}),
        Purpose::Vectors(settings) => json!({
            "kind": "vectors",
            "dims": settings.dims,
            "pooling": settings.pooling.name(),
            "normalise": settings.normalise,
            "max_tokens": settings.max_tokens,
            "prompts": settings.prompts,
            "default_prompt": settings.default_prompt,
            "similarity": settings.similarity,
        }),
        Purpose::Scores(settings) => json!({
            "kind": "scores",
            "labels": settings.labels,
            "max_tokens": settings.max_tokens,
        }),
    }
}

/// Memory at one context length.
struct Memory {
    footprint: Footprint,
    context_tokens: usize,
    kv: &'static str,
}

impl Memory {
    fn of(model: &Model, options: &LoadOptions) -> Self {
        let context_tokens = options
            .context_tokens_max
            .min(model.plan.context_tokens_max);
        let kv = model.kv_format(options).name();
        Self {
            footprint: model.footprint(options),
            context_tokens,
            kv,
        }
    }

    fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        let Self {
            footprint,
            context_tokens,
            kv,
        } = self;
        let all = footprint.kv_bytes_per_token * *context_tokens as u64;
        writeln!(
            out,
            "\nmemory at a context of {context_tokens} tokens, one sequence:"
        )?;
        writeln!(
            out,
            "  weights          {:>12}",
            bytes(footprint.weights_bytes)
        )?;
        writeln!(
            out,
            "  keys and values  {:>12}  {} per token in {kv}; taken as the context fills",
            bytes(all),
            bytes(footprint.kv_bytes_per_token),
        )?;
        writeln!(
            out,
            "  recurrent state  {:>12}",
            bytes(footprint.state_bytes)
        )?;
        writeln!(
            out,
            "  scratch          {:>12}",
            bytes(footprint.scratch_bytes)
        )?;
        writeln!(
            out,
            "  in all           {:>12}",
            bytes(footprint.total_bytes(*context_tokens))
        )
    }

    fn as_json(&self) -> Value {
        json!({
            "context_tokens": self.context_tokens,
            "weights_bytes": self.footprint.weights_bytes,
            "kv_format": self.kv,
            "kv_bytes_per_token": self.footprint.kv_bytes_per_token,
            "state_bytes": self.footprint.state_bytes,
            "scratch_bytes": self.footprint.scratch_bytes,
            "total_bytes": self.footprint.total_bytes(self.context_tokens),
        })
    }
}

fn as_json(
    name: &str,
    model: &Model,
    defaults: &GenerationDefaults,
    memory: Option<&Memory>,
    tensors: bool,
) -> Value {
    let cost = model.plan.cost_per_token();
    let tensors = tensors.then(|| -> Vec<Value> {
        let tensors = model.checkpoint.tensors();
        tensors
            .map(|t| json!({"name": t.name, "dtype": t.form.to_string(), "shape": t.shape, "bytes": t.stored_bytes}))
            .collect()
    });
    json!({
        "model": name,
        "family": model.family.name,
        "model_type": model.config.model_type(),
        "purpose": purpose_json(&model.purpose),
        "parameters": model.plan.parameters(),
        "weights_bytes": model.checkpoint.weight_bytes(),
        "bits_per_weight": bits_per_weight(model),
        "vocab": model.plan.vocab,
        "context_tokens_max": model.plan.context_tokens_max,
        "weight_values_per_token": cost.weight_values,
        "flops_per_token": cost.flops,
        "flops_per_key": cost.flops_per_key,
        "sampler": {
            "temperature": defaults.temperature,
            "top_k": defaults.top_k,
            "top_p": defaults.top_p,
            "min_p": defaults.min_p,
            "repetition_penalty": defaults.repetition_penalty,
        },
        "stop_ids": defaults.eos_token_ids,
        "notes": model.all_notes().collect::<Vec<_>>(),
        "memory": memory.map(Memory::as_json),
        "tensors": tensors,
    })
}

/// The sampler as generation_config.json asks for it.
fn sampler(defaults: &GenerationDefaults) -> String {
    let numbers = [
        ("temperature", defaults.temperature),
        ("top_k", defaults.top_k.map(f64::from)),
        ("top_p", defaults.top_p),
        ("min_p", defaults.min_p),
        ("repetition_penalty", defaults.repetition_penalty),
    ];
    let set: Vec<String> = numbers
        .iter()
        .filter_map(|(name, x)| x.map(|x| format!("{name} {x}")))
        .collect();
    if set.is_empty() {
        "plain: the model says nothing".to_owned()
    } else {
        set.join(", ")
    }
}

/// The types and packed schemes its tensors are stored in.
fn forms(model: &Model) -> String {
    let mut names: Vec<String> = model
        .checkpoint
        .tensors()
        .map(|t| t.form.to_string())
        .collect();
    names.sort_unstable();
    names.dedup();
    names.join(" and ")
}

/// Bits of a value with its share of the scales, without what fills packed tensors up to whole pages.
fn bits_per_weight(model: &Model) -> f64 {
    let (mut values, mut bytes) = (0, 0);
    for tensor in model.checkpoint.tensors() {
        let packed = tensor.form.packed();
        bytes += packed.map_or(tensor.stored_bytes, |shape| shape.bytes());
        values += tensor.count();
    }
    bytes as f64 * 8.0 / values.max(1) as f64
}

/// 1234567 as "1.23 M".
pub(crate) fn count(value: u64) -> String {
    scaled(value, 1000.0, &["", " k", " M", " G", " T"])
}

/// Bytes as "1.21 GiB".
pub(crate) fn bytes(value: u64) -> String {
    scaled(value, 1024.0, &[" B", " KiB", " MiB", " GiB", " TiB"])
}

fn scaled(value: u64, step: f64, units: &[&str]) -> String {
    let (mut x, mut unit) = (value as f64, 0);
    while x >= step && unit + 1 < units.len() {
        x /= step;
        unit += 1;
    }
    let digits = if unit == 0 { 0 } else { 2 };
    format!("{x:.digits$}{}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1.23 M");
        assert_eq!(bytes(1 << 20), "1.00 MiB");
        assert_eq!(bytes(12), "12 B");
    }
}
