//! `lattice serve`: the HTTP server, on this machine's models.
//!
//! In: flags. Out: a server until a signal comes; lines or events about each request. The first signal lets answers
//! under way end, the second ends the program.

mod args;
mod bind;
mod screen;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use lattice_embed::{
    EmbeddingModel, ModelSource, NativeEmbeddingService, NativeOptions, NativeRerankService,
};
use lattice_inference::checkpoint::ModelFiles;
use lattice_inference::generate::GeneratorOptions;
use lattice_inference::{Engine, EngineOptions, Model, Purpose};
use lattice_serve::{App, ModelEntry, ModelKind, ModelMemory, ServeOptions, Tls, serve};

pub(crate) use args::ServeArgs;
use screen::Screen;

use crate::args::Device;
use crate::args::TextsArgs;
use crate::stop::Stop;

/// How often the program looks whether a signal came.
const LOOK: Duration = Duration::from_millis(50);
/// Threads that read requests and write answers; models have their own.
const THREADS: usize = 2;

pub(crate) fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let stop = Stop::install()?;
    let screen = Screen::start(args.json)?;
    let result = run_with(args, &stop, &screen);
    if let Err(error) = &result {
        screen.error(&format!("{error:#}"));
    }
    let heard = screen.end();
    result?;
    // Nobody reads what the server says: the program was to be heard.
    Ok(if heard {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn run_with(args: &ServeArgs, stop: &Stop, screen: &Screen) -> anyhow::Result<()> {
    // Set when a request asks the server to stop.
    let ended = Arc::<AtomicBool>::default();
    let options = options(args, screen, &ended)?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(THREADS).enable_all().build()?;
    let entries = entries(args)?;
    let names: Vec<String> = entries.iter().map(|entry| entry.name.clone()).collect();
    let at_once = args.at_once(&entries);
    let served = async {
        // The address first: what is wrong with it can be said before a large model is read.
        let bound = bind::bind(args).await?;
        let app = App::new(entries, options);
        for name in &at_once {
            app.load(name).await?;
        }
        stop.hold();
        screen.ready(&bound.url, &names, app.memory());
        let asked = async {
            while !stop.asked() && !screen.is_unheard() && !ended.load(Ordering::Relaxed) {
                tokio::time::sleep(LOOK).await;
            }
            // The next signal ends the program.
            stop.release();
            screen.stopping();
        };
        serve(app.clone(), bound.listener, asked).await;
        if let Some(folder) = &args.cache_dir {
            let saved = app.save().await;
            let saved = saved.with_context(|| format!("cannot write to {}", folder.display()))?;
            screen.saved(saved);
        }
        anyhow::Ok(())
    };
    let result = runtime.block_on(served);
    // Threads that compute for nobody are not waited for.
    runtime.shutdown_background();
    result
}

fn options(
    args: &ServeArgs,
    screen: &Screen,
    ended: &Arc<AtomicBool>,
) -> anyhow::Result<ServeOptions> {
    let defaults = ServeOptions::default();
    let tls = match (&args.tls_cert, &args.tls_key) {
        (Some(certificate), Some(key)) => Some(Tls::from_files(certificate, key)?),
        _ => None,
    };
    let ended = Arc::clone(ended);
    Ok(ServeOptions {
        api_keys: args.keys()?,
        allowed_hosts: args.allow_host.clone(),
        allowed_origins: args.allow_origin.clone(),
        request_timeout: args
            .timeout
            .map_or(defaults.request_timeout, Duration::from_secs),
        drain_timeout: Duration::from_secs(args.drain),
        body_bytes_max: args.body_mb << 20,
        responses_max: args.responses,
        responses_bytes_max: args.responses_mb << 20,
        idle_unload: args.idle_unload.map(Duration::from_secs),
        memory_bytes_max: args.memory_budget,
        save_every: args.cache_save.map(Duration::from_secs),
        tls,
        shutdown: Some(Arc::new(move || ended.store(true, Ordering::Relaxed))),
        sink: screen.sink(),
        ..defaults
    })
}

/// The models that were named, or the bundled one. Their files are found now, and read when they are loaded.
fn entries(args: &ServeArgs) -> anyhow::Result<Vec<ModelEntry>> {
    let named = args.models.iter().map(|model| Some(model.as_str()));
    let named: Vec<_> = if args.models.is_empty() {
        vec![None]
    } else {
        named.collect()
    };
    let mut entries: Vec<ModelEntry> = Vec::new();
    for model in named {
        let mut entry = entry(args, model)?;
        entry.aliases.retain(|alias| *alias != entry.name);
        let taken = entries.iter().any(|other| other.name == entry.name);
        anyhow::ensure!(!taken, "{}: named twice", entry.name);
        entries.push(entry);
    }
    if let Some(first) = entries.first_mut() {
        first.aliases.extend(args.alias.iter().cloned());
    }
    Ok(entries)
}

fn entry(args: &ServeArgs, model: Option<&str>) -> anyhow::Result<ModelEntry> {
    let files = args.source.resolve(model)?;
    let mut options = args.run.engine_options(&args.source, args.parallel);
    options.load.output_rows_max = options.load.output_rows_max.max(args.parallel);
    options.generator = GeneratorOptions {
        queue_max: args.queue,
        snapshot_bytes_max: args.cache_bytes,
        ..GeneratorOptions::default()
    };
    options.load.kv_tokens_max = args.cache_tokens;
    let cache = args.cache_dir.clone();
    let cache = cache.map(|folder| (folder, args.cache_dir_bytes));
    let name = files.name();
    let short = name.rsplit(['/', '\\']).next().unwrap_or(&name).to_owned();
    let model = Model::open(&files, &options.open)?;
    let native = native(args);
    let (kind, memory) = match (&model.purpose, files.path().map(Path::to_owned)) {
        (Purpose::Vectors(_), Some(path)) => {
            let memory = memory_of_texts(&model, &native);
            let service = Arc::new(NativeEmbeddingService::new(native));
            (
                ModelKind::Vectors(service, EmbeddingModel::Local(path)),
                memory,
            )
        }
        (Purpose::Scores(_), Some(path)) => {
            let memory = memory_of_texts(&model, &native);
            let service = Arc::new(NativeRerankService::new(native));
            (
                ModelKind::Scores(service, EmbeddingModel::Local(path)),
                memory,
            )
        }
        _ => {
            let memory = memory(&model, &options);
            (text(files, args.run.on.device, options, cache), memory)
        }
    };
    Ok(ModelEntry {
        aliases: vec![short],
        name,
        kind,
        memory,
    })
}

/// A model that writes, whose read beginnings may lie in a folder of so many bytes.
fn text(
    files: ModelFiles,
    device: Device,
    options: EngineOptions,
    cache: Option<(PathBuf, u64)>,
) -> ModelKind {
    ModelKind::Text(Arc::new(move || {
        let mut engine = Engine::open(&files, device.backend(), &options)?;
        if let Some((folder, bytes)) = &cache {
            engine.keep_in(folder, *bytes)?;
        }
        Ok(engine)
    }))
}

/// How a service loads the model of a directory.
fn native(args: &ServeArgs) -> NativeOptions {
    let texts = TextsArgs {
        batch_tokens: None,
        source: args.source.clone(),
        on: args.run.on.clone(),
    };
    NativeOptions {
        source: Some(ModelSource {
            store: args.source.store.store(),
            hub: None,
        }),
        embedder: texts.options(),
        ..NativeOptions::default()
    }
}

/// Memory of a model that writes: its texts may be as many and as long as may be, and all states kept that may be.
fn memory(model: &Model, options: &EngineOptions) -> ModelMemory {
    let footprint = model.footprint(&options.load);
    let load = &options.load;
    let context = load.context_tokens_max.min(model.plan.context_tokens_max);
    let tokens = load
        .kv_tokens_max
        .unwrap_or(load.sequences_max.saturating_mul(context));
    let sequences = load.sequences_max as u64;
    let states = if model.plan.rewinds() {
        0
    } else {
        options.generator.snapshot_bytes_max as u64
    };
    let keys = footprint.kv_bytes_per_token.saturating_mul(tokens as u64);
    let running = footprint.state_bytes.saturating_mul(sequences);
    ModelMemory {
        model_bytes: footprint.weights_bytes + footprint.scratch_bytes,
        cache_bytes: keys.saturating_add(running).saturating_add(states),
    }
}

/// Memory of a model that reads texts only.
fn memory_of_texts(model: &Model, native: &NativeOptions) -> ModelMemory {
    let footprint = model.footprint(&native.embedder.load);
    ModelMemory {
        model_bytes: footprint.weights_bytes + footprint.scratch_bytes,
        cache_bytes: 0,
    }
}

impl ServeArgs {
    /// The models that are loaded at the start: as many of the first as there is room for. One that never has room is
    /// among them, so that it is said before anybody asks.
    fn at_once(&self, entries: &[ModelEntry]) -> Vec<String> {
        let budget = self.memory_budget.unwrap_or(u64::MAX);
        let mut taken = 0u64;
        let fits = |entry: &&ModelEntry| {
            let need = entry.memory.most_bytes();
            let fits = taken.saturating_add(need) <= budget;
            taken = taken.saturating_add(if fits { need } else { 0 });
            fits || need > budget
        };
        let entries = if self.lazy { &[] } else { entries };
        entries
            .iter()
            .filter(fits)
            .map(|entry| entry.name.clone())
            .collect()
    }

    /// The keys of the flags, the environment and the file.
    fn keys(&self) -> anyhow::Result<Vec<String>> {
        let mut keys = self.api_key.clone();
        if let Some(path) = &self.api_key_file {
            let name = path.display();
            let text = std::fs::read_to_string(path);
            let text = text.with_context(|| format!("cannot read {name}"))?;
            keys.extend(text.lines().map(|line| line.trim().to_owned()));
        }
        keys.retain(|key| !key.is_empty());
        Ok(keys)
    }
}
