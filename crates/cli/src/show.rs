//! `lattice show`: what a model is, in words and figures.

use std::io::Write;
use std::process::ExitCode;

use lattice_inference::checkpoint::GenerationDefaults;
use lattice_inference::encoder::EncoderSettings;
use lattice_inference::facts::Memory;
use lattice_inference::{Model, Purpose, tokenizer_source, tool_format};
use serde_json::{Value, json};

use crate::args::ShowArgs;
use crate::visible::visible;

pub(crate) fn run(args: &ShowArgs) -> anyhow::Result<ExitCode> {
    let files = args.model.files()?;
    let model = Model::open(&files, &args.model.source.open_options())?;
    let defaults = GenerationDefaults::open(&files)?;
    let options = args.run.load_options(1);
    let memory = args.memory.then(|| model.memory(&options, 1));
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
        let format = tool_format(&files, &model).ok().flatten();
        value["tool_format"] = json!(format.map(|format| format.name()));
        writeln!(out, "{value}")?;
        return Ok(ExitCode::SUCCESS);
    }
    print(&mut out, &files.name(), &model, &defaults)?;
    match &tokenizer {
        Ok(source) => writeln!(out, "tokenizer   {source}")?,
        Err(error) => writeln!(out, "tokenizer   none: {}", visible(&error.to_string()))?,
    }
    match tool_format(&files, &model) {
        Ok(Some(format)) => writeln!(out, "tool calls  {}", format.name())?,
        // Without a tokenizer there is no template to look at.
        Ok(None) | Err(_) => writeln!(out, "tool calls  none")?,
    }
    if let Some(memory) = memory {
        print_memory(&mut out, &memory)?;
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
    let facts = model.facts();
    writeln!(out, "model       {name}")?;
    writeln!(out, "family      {} ({})", facts.family, facts.model_type)?;
    writeln!(out, "parameters  {}", count(facts.parameters))?;
    writeln!(
        out,
        "weights     {} in {}, {:.2} bits each",
        bytes(facts.weights_bytes),
        facts.forms.join(" and "),
        facts.bits_per_weight
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
        count(facts.weight_values_per_token),
        count(facts.flops_per_token),
        count(facts.flops_per_key),
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
    for note in &facts.notes {
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

fn print_memory(out: &mut impl Write, memory: &Memory) -> std::io::Result<()> {
    let Memory {
        context_tokens,
        kv_bytes_per_token,
        ..
    } = memory;
    let all = kv_bytes_per_token * *context_tokens as u64;
    writeln!(
        out,
        "\nmemory at a context of {context_tokens} tokens, one sequence:"
    )?;
    writeln!(
        out,
        "  weights          {:>12}",
        bytes(memory.weights_bytes)
    )?;
    writeln!(
        out,
        "  keys and values  {:>12}  {} per token in {}; taken as the context fills",
        bytes(all),
        bytes(*kv_bytes_per_token),
        memory.kv_format,
    )?;
    writeln!(out, "  recurrent state  {:>12}", bytes(memory.state_bytes))?;
    writeln!(
        out,
        "  scratch          {:>12}",
        bytes(memory.scratch_bytes)
    )?;
    writeln!(out, "  in all           {:>12}", bytes(memory.total_bytes))
}

fn as_json(
    name: &str,
    model: &Model,
    defaults: &GenerationDefaults,
    memory: Option<&Memory>,
    tensors: bool,
) -> Value {
    let tensors = tensors.then(|| -> Vec<Value> {
        let tensors = model.checkpoint.tensors();
        tensors
            .map(|t| json!({"name": t.name, "dtype": t.form.to_string(), "shape": t.shape, "bytes": t.stored_bytes}))
            .collect()
    });
    let mut all = json!({
        "model": name,
        "purpose": purpose_json(&model.purpose),
        "sampler": {
            "temperature": defaults.temperature,
            "top_k": defaults.top_k,
            "top_p": defaults.top_p,
            "min_p": defaults.min_p,
            "repetition_penalty": defaults.repetition_penalty,
        },
        "stop_ids": defaults.eos_token_ids,
        "memory": memory,
        "tensors": tensors,
    });
    if let (Value::Object(all), Value::Object(facts)) = (&mut all, json!(model.facts())) {
        all.extend(facts);
    }
    all
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
