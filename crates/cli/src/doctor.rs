//! `lattice doctor`: what this machine has, and whether a model runs on it. Exit code 1 where it does not.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use lattice_inference::checkpoint::ModelFiles;
use lattice_inference::facts::{Device, memory_available_bytes};
use lattice_inference::{Engine, Model, Purpose};
use lattice_kernels::Isa;
use serde_json::{Value, json};

use crate::args::DoctorArgs;
use crate::show::bytes;
use crate::visible::visible;

pub(crate) fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let report = Report::of(args);
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", report.as_json())?;
    } else {
        report.print(&mut out)?;
    }
    Ok(if report.problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

struct Report {
    processor: String,
    features: Vec<(&'static str, bool)>,
    isa: String,
    /// Of the products of packed weights.
    int_isa: String,
    /// Of the products of bf16 weights.
    bf16_isa: String,
    threads: usize,
    memory_available_bytes: Option<u64>,
    model_dir: String,
    installed: Vec<String>,
    model: String,
    needs_bytes: Option<u64>,
    /// Facts worth knowing that stop nothing.
    notes: Vec<String>,
    /// What keeps the model from running, each with what to do.
    problems: Vec<String>,
}

impl Report {
    fn of(args: &DoctorArgs) -> Self {
        let device = Device::of(&args.run.load_options(1));
        let store = args.model.source.store.store();
        let mut report = Self {
            processor: processor(),
            features: lattice_kernels::features()
                .iter()
                .map(|f| (f.name, f.present))
                .collect(),
            isa: device.isa,
            int_isa: device.int_isa,
            bf16_isa: device.bf16_isa,
            threads: 0,
            memory_available_bytes: memory_available_bytes(),
            model_dir: store.root.display().to_string(),
            installed: Vec::new(),
            model: args
                .model
                .model
                .clone()
                .unwrap_or_else(|| crate::bundled::NAME.to_owned()),
            needs_bytes: None,
            notes: Vec::new(),
            problems: Vec::new(),
        };
        match store.list() {
            Ok(models) => report.installed = models.into_iter().map(|model| model.name).collect(),
            Err(error) => report.problems.push(error.to_string()),
        }
        match args.run.on.processor() {
            Ok(cpu) => report.threads = cpu.threads(),
            Err(error) => report.problems.push(error.to_string()),
        }
        if report.isa == Isa::Scalar.to_string() {
            let note = "no AVX2, AVX-512 or NEON: answers are right, and slow";
            report.notes.push(note.to_owned());
        }
        match args.model.files() {
            Ok(files) => report.try_model(args, &files),
            Err(error) => report.problems.push(error.to_string()),
        }
        report
    }

    /// Opens and loads the model, and asks whether it fits.
    fn try_model(&mut self, args: &DoctorArgs, files: &ModelFiles) {
        match Model::open(files, &args.model.source.open_options()) {
            Err(error) => self.problems.push(format!("{}: {error}", self.model)),
            Ok(model) if model.purpose == Purpose::Text => self.try_chat(args, files),
            Ok(model) => self.try_encoder(args, &model),
        }
    }

    /// Loads a model that makes vectors or scores.
    fn try_encoder(&mut self, args: &DoctorArgs, model: &Model) {
        let mut options = args.run.load_options(1);
        options.batch_tokens_max = options.batch_tokens_max.max(model.plan.context_tokens_max);
        let (plan, checkpoint) = (Arc::clone(&model.plan), Arc::clone(&model.checkpoint));
        match args
            .run
            .on
            .device
            .backend()
            .load(plan, checkpoint, &options)
        {
            Err(error) => self.problems.push(format!("{}: {error}", self.model)),
            Ok(runner) => {
                let context = runner.limits().context_tokens_max;
                let needs = model.footprint(&options).total_bytes(context);
                self.needs_bytes = Some(needs);
                let kind = format!("{}: it does not chat", model.description());
                self.notes.push(kind);
                self.notes.extend(model.all_notes().cloned());
            }
        }
    }

    /// Loads a model that generates text.
    fn try_chat(&mut self, args: &DoctorArgs, files: &ModelFiles) {
        let options = args.run.engine_options(&args.model.source, 1);
        match Engine::open(files, args.run.on.device.backend(), &options) {
            Err(error) => self.problems.push(format!("{}: {error}", self.model)),
            Ok(engine) => {
                let context = engine.generator.limits().context_tokens_max;
                let needs = engine.model.footprint(&options.load).total_bytes(context);
                self.needs_bytes = Some(needs);
                self.notes.extend(engine.model.all_notes().cloned());
                if !engine.has_template() {
                    self.problems
                        .push("the model has no chat template: it cannot chat".to_owned());
                }
                if self
                    .memory_available_bytes
                    .is_some_and(|available| needs > available)
                {
                    self.problems.push(format!(
                        "{} need {} at a context of {context}, there are {}: try a shorter --context",
                        self.model,
                        bytes(needs),
                        bytes(self.memory_available_bytes.unwrap_or(0)),
                    ));
                }
            }
        }
    }

    fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        let named = |present: bool| -> String {
            let names = self
                .features
                .iter()
                .filter(|(_, p)| *p == present)
                .map(|(name, _)| *name);
            names.collect::<Vec<_>>().join(" ")
        };
        writeln!(out, "processor  {}", self.processor)?;
        writeln!(out, "  has      {}", named(true))?;
        writeln!(out, "  has not  {}", named(false))?;
        writeln!(
            out,
            "  runs on  {} (packed weights: {}, bf16: {}) with {} threads",
            self.isa, self.int_isa, self.bf16_isa, self.threads
        )?;
        let memory = self
            .memory_available_bytes
            .map_or("unknown".to_owned(), bytes);
        writeln!(out, "memory     {memory} available")?;
        writeln!(out, "models     {}", self.model_dir)?;
        let installed = if self.installed.is_empty() {
            "none".to_owned()
        } else {
            self.installed.join(", ")
        };
        writeln!(
            out,
            "  there    {installed}, and the bundled {}",
            crate::bundled::NAME
        )?;
        let needs = self.needs_bytes.map_or("unknown".to_owned(), bytes);
        writeln!(
            out,
            "model      {} needs {needs} with its context full",
            self.model
        )?;
        for note in &self.notes {
            writeln!(out, "note       {}", visible(note))?;
        }
        for problem in &self.problems {
            writeln!(out, "PROBLEM    {}", visible(problem))?;
        }
        if self.problems.is_empty() {
            writeln!(out, "all is well")?;
        }
        Ok(())
    }

    fn as_json(&self) -> Value {
        let features: serde_json::Map<String, Value> = self
            .features
            .iter()
            .map(|(name, on)| ((*name).to_owned(), json!(on)))
            .collect();
        json!({
            "ok": self.problems.is_empty(),
            "processor": self.processor,
            "features": features,
            "isa": self.isa,
            "int_isa": self.int_isa,
            "bf16_isa": self.bf16_isa,
            "threads": self.threads,
            "memory_available_bytes": self.memory_available_bytes,
            "model_dir": self.model_dir,
            "installed": self.installed,
            "model": self.model,
            "needs_bytes": self.needs_bytes,
            "notes": self.notes,
            "problems": self.problems,
        })
    }
}

/// The processor's name, where the system tells it (Linux).
pub(crate) fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |key: &str| {
        let line = text.lines().find(|line| line.starts_with(key))?;
        line.split_once(':')
            .map(|(_, value)| value.trim().to_owned())
    };
    let name = field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    match (field("cpu family"), field("model\t")) {
        (Some(family), Some(model)) => format!("{name} (family {family}, model {model})"),
        _ => name,
    }
}
