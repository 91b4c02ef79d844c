//! What was found, as a table for people and one JSON object for programs.
//!
//! In: seconds, and the plan's costs. Out: medians with their spread, beside what they make the machine do.

use std::io::{self, Write};

use lattice_inference::Model;
use lattice_inference::backend::LoadOptions;
use lattice_inference::plan::Rows;
use lattice_kernels::Cpu;
use serde_json::{Value, json};

use super::profile::Profile;
use super::shapes::Shape;
use super::work::Timed;
use crate::args::DeviceArgs;
use crate::doctor::processor;
use crate::show::{bytes, count};

/// What a token costs, and what the machine can give.
#[derive(Debug, Clone, Copy)]
pub(super) struct Costs {
    weight_bytes_per_token: u64,
    kv_bytes_per_token: u64,
    /// Operations for each token of a prompt, without those of its output row.
    flops_per_token: u64,
    /// Operations for an output row.
    flops_per_output: u64,
    /// Operations for each key a token sees.
    flops_per_key: u64,
    /// Tokens decoded in a run.
    steps: usize,
    read_gbps: f64,
}

impl Costs {
    pub(super) fn of(model: &Model, options: &LoadOptions, steps: usize, read_gbps: f64) -> Self {
        let plan = &model.plan;
        let (mut flops_per_token, mut flops_per_output) = (0, 0);
        for step in &plan.steps {
            let flops = plan.cost(step).flops;
            match plan.value(step.out).rows {
                Rows::Tokens => flops_per_token += flops,
                Rows::Outputs => flops_per_output += flops,
            }
        }
        Self {
            weight_bytes_per_token: plan.weight_bytes_per_token(|w| model.weight_bytes(w)),
            kv_bytes_per_token: model.footprint(options).kv_bytes_per_token,
            flops_per_token,
            flops_per_output,
            flops_per_key: plan.cost_per_token().flops_per_key,
            steps,
            read_gbps,
        }
    }

    /// Tokens a run of `shape` makes or reads.
    fn tokens(&self, shape: Shape) -> usize {
        match shape {
            Shape::Prompt { tokens } => tokens,
            Shape::Decode { sequences, .. } => sequences * self.steps,
        }
    }

    /// Operations of a run.
    fn flops(&self, shape: Shape) -> f64 {
        let (tokens, outputs, keys) = match shape {
            Shape::Prompt { tokens } => (tokens, 1, keys_seen(0, tokens)),
            Shape::Decode { depth, sequences } => {
                let tokens = sequences * self.steps;
                let keys = sequences as f64 * keys_seen(depth, self.steps);
                (tokens, tokens, keys)
            }
        };
        tokens as f64 * self.flops_per_token as f64
            + outputs as f64 * self.flops_per_output as f64
            + keys * self.flops_per_key as f64
    }

    /// Bytes that a run of decoding reads: the weights once per step, whatever the number of sequences, and each
    /// sequence's keys and values. Prompts read weights once per batch and are not bound by it.
    fn bytes_read(&self, shape: Shape) -> Option<f64> {
        let Shape::Decode { depth, sequences } = shape else {
            return None;
        };
        let weights = self.steps as f64 * self.weight_bytes_per_token as f64;
        let keys = sequences as f64 * keys_seen(depth, self.steps);
        Some(weights + keys * self.kv_bytes_per_token as f64)
    }
}

/// Keys that `tokens` tokens see after `depth` others, each its own among them.
fn keys_seen(depth: usize, tokens: usize) -> f64 {
    let (depth, tokens) = (depth as f64, tokens as f64);
    tokens * depth + tokens * (tokens + 1.0) / 2.0
}

/// The figures of one shape.
#[derive(Debug, Clone)]
pub(super) struct Figures {
    shape: Shape,
    /// Of each run, in order.
    tokens_per_s: Vec<f64>,
    /// Median.
    median: f64,
    /// (largest - smallest) / median.
    spread: f64,
    /// Bytes read by decoding, in 10^9 per second.
    gbps: Option<f64>,
    /// That over the machine's read bandwidth.
    bandwidth_share: Option<f64>,
    gflops: f64,
    profile: Profile,
}

impl Figures {
    pub(super) fn of(shape: Shape, timed: Timed, costs: &Costs) -> Self {
        let Timed { seconds, spent } = timed;
        let tokens = costs.tokens(shape) as f64;
        let tokens_per_s: Vec<f64> = seconds.iter().map(|s| tokens / s).collect();
        let mut sorted = tokens_per_s.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let median = median(&sorted);
        let runs_per_s = median / tokens;
        let gbps = costs.bytes_read(shape).map(|read| read * runs_per_s / 1e9);
        Self {
            shape,
            tokens_per_s,
            median,
            spread: (sorted[sorted.len() - 1] - sorted[0]) / median,
            gbps,
            bandwidth_share: gbps.map(|gbps| gbps / costs.read_gbps),
            gflops: costs.flops(shape) * runs_per_s / 1e9,
            profile: Profile::new(spent, seconds.len()),
        }
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let cell = |value: Option<f64>, digits: usize, unit: &str| {
            value.map_or("-".to_owned(), |x| format!("{x:.digits$}{unit}"))
        };
        writeln!(
            out,
            "{:<24}{:>10.1}{:>10}{:>9}{:>9}{:>10.1}",
            self.shape.to_string(),
            self.median,
            format!("{:.1} %", 100.0 * self.spread),
            cell(self.gbps, 1, ""),
            cell(self.bandwidth_share.map(|share| 100.0 * share), 0, " %"),
            self.gflops,
        )
    }

    fn as_json(&self) -> Value {
        let (kind, tokens, depth) = match self.shape {
            Shape::Prompt { tokens } => ("prompt", Some(tokens), None),
            Shape::Decode { depth, .. } => ("decode", None, Some(depth)),
        };
        let mut object = json!({
            "test": self.shape.to_string(),
            "kind": kind,
            "prompt_tokens": tokens,
            "depth_tokens": depth,
            "sequences": self.shape.sequences(),
            "tok_s": self.median,
            "spread": self.spread,
            "runs_tok_s": self.tokens_per_s,
            "gbps": self.gbps,
            "bandwidth_share": self.bandwidth_share,
            "gflops": self.gflops,
        });
        if !self.profile.is_empty() {
            object["profile"] = self.profile.as_json();
        }
        object
    }
}

/// What runs, and on what.
pub(super) struct Setting {
    model: String,
    family: &'static str,
    parameters: u64,
    processor: String,
    isa: String,
    /// Of the products of packed weights.
    int_isa: String,
    /// Of the products of bf16 weights.
    bf16_isa: String,
    threads: usize,
    device: &'static str,
}

impl Setting {
    pub(super) fn of(name: String, model: &Model, on: &DeviceArgs, cpu: &Cpu) -> Self {
        Self {
            model: name,
            family: model.family.name,
            parameters: model.plan.parameters(),
            processor: processor(),
            isa: cpu.isa().to_string(),
            int_isa: cpu.int_isa().to_string(),
            bf16_isa: cpu.bf16_isa().to_string(),
            threads: cpu.threads(),
            device: on.device.backend().name(),
        }
    }

    /// Three lines, the last of them without its end.
    pub(super) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let parameters = count(self.parameters);
        writeln!(
            out,
            "model      {} ({}, {parameters} parameters)",
            self.model, self.family
        )?;
        writeln!(out, "processor  {}", self.processor)?;
        write!(
            out,
            "runs on    {}, {} (packed weights: {}, bf16: {}), threads: {}",
            self.device, self.isa, self.int_isa, self.bf16_isa, self.threads
        )
    }

    pub(super) fn as_json(&self) -> Value {
        json!({
            "model": self.model,
            "family": self.family,
            "parameters": self.parameters,
            "processor": self.processor,
            "device": self.device,
            "isa": self.isa,
            "int_isa": self.int_isa,
            "bf16_isa": self.bf16_isa,
            "threads": self.threads,
        })
    }
}

/// Adds the fields of `more` to `object`.
pub(super) fn extend(object: &mut Value, more: Value) {
    if let (Value::Object(object), Value::Object(more)) = (object, more) {
        object.extend(more);
    }
}

/// The middle one, or the mean of the two in the middle; of none, NaN.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n => (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0,
    }
}

/// Everything a bench of a model that generates has to say.
pub(super) struct Report {
    pub(super) setting: Setting,
    pub(super) kv: &'static str,
    pub(super) batch_tokens: usize,
    pub(super) runs: usize,
    pub(super) step_tokens: usize,
    pub(super) load_ms: f64,
    pub(super) peak_memory_bytes: Option<u64>,
    pub(super) costs: Costs,
    pub(super) figures: Vec<Figures>,
    pub(super) notes: Vec<String>,
}

impl Report {
    pub(super) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let costs = &self.costs;
        self.setting.print(out)?;
        writeln!(out, "; read bandwidth {:.1} GB/s", costs.read_gbps)?;
        let peak = self.peak_memory_bytes.map_or("unknown".to_owned(), bytes);
        writeln!(out, "load       {:.1} ms; peak memory {peak}", self.load_ms)?;
        writeln!(
            out,
            "per token  {} of weights, and {} of keys and values ({}) per key",
            bytes(costs.weight_bytes_per_token),
            bytes(costs.kv_bytes_per_token),
            self.kv
        )?;
        writeln!(
            out,
            "runs       {}, the median counts; batches of {}, {} tokens decoded",
            self.runs, self.batch_tokens, self.step_tokens
        )?;
        writeln!(
            out,
            "\n{:<24}{:>10}{:>10}{:>9}{:>9}{:>10}",
            "", "tok/s", "spread", "GB/s", "of max", "GFLOP/s"
        )?;
        self.figures.iter().try_for_each(|f| f.print(out))?;
        for figures in &self.figures {
            figures.profile.print(figures.shape, out)?;
        }
        self.notes
            .iter()
            .try_for_each(|note| writeln!(out, "note: {note}"))?;
        let shares = self.figures.iter().filter_map(|f| f.bandwidth_share);
        if shares.fold(0.0, f64::max) > 1.0 {
            let why = "the weights came from caches, not from memory";
            writeln!(out, "note: more than the read bandwidth: {why}")?;
        }
        Ok(())
    }

    pub(super) fn as_json(&self) -> Value {
        let tests: Vec<Value> = self.figures.iter().map(Figures::as_json).collect();
        let mut object = self.setting.as_json();
        let more = json!({
            "kv_format": self.kv,
            "batch_tokens": self.batch_tokens,
            "runs": self.runs,
            "step_tokens": self.step_tokens,
            "weight_bytes_per_token": self.costs.weight_bytes_per_token,
            "kv_bytes_per_token": self.costs.kv_bytes_per_token,
            "read_gbps": self.costs.read_gbps,
            "load_ms": self.load_ms,
            "peak_memory_bytes": self.peak_memory_bytes,
            "tests": tests,
            "notes": self.notes,
        });
        extend(&mut object, more);
        object
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timed(seconds: &[f64]) -> Timed {
        Timed {
            seconds: seconds.to_vec(),
            spent: Vec::new(),
        }
    }

    const COSTS: Costs = Costs {
        weight_bytes_per_token: 1000,
        kv_bytes_per_token: 10,
        flops_per_token: 500,
        flops_per_output: 300,
        flops_per_key: 7,
        steps: 2,
        read_gbps: 4e-6,
    };

    #[test]
    fn a_run_of_decoding_reads_weights_once_per_step_and_keys_of_each_sequence() {
        let shape = Shape::Decode {
            depth: 5,
            sequences: 3,
        };
        let keys = f64::from(3 * (6 + 7));
        let figures = Figures::of(shape, timed(&[2.0, 1.0, 4.0]), &COSTS);
        assert_eq!(figures.median, 3.0);
        assert_eq!(figures.tokens_per_s, [3.0, 6.0, 1.5]);
        assert_eq!(figures.spread, 1.5);
        let gbps = (2.0 * 1000.0 + keys * 10.0) / 2.0 / 1e9;
        assert_eq!(figures.gbps, Some(gbps));
        assert_eq!(figures.bandwidth_share, Some(gbps / 4e-6));
        assert_eq!(COSTS.flops(shape), 6.0 * 800.0 + keys * 7.0);
    }

    #[test]
    fn a_prompt_pays_for_one_output_row() {
        let shape = Shape::Prompt { tokens: 4 };
        assert_eq!(COSTS.flops(shape), 4.0 * 500.0 + 300.0 + 10.0 * 7.0);
        assert_eq!(Figures::of(shape, timed(&[2.0]), &COSTS).gbps, None);
    }
}
