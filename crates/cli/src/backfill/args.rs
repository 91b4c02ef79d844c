//! The flags of `lattice embed backfill`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::args::{TextsArgs, within};
use crate::embed::args::Numbers;

/// `lattice embed backfill`
#[derive(Debug, Subcommand)]
pub(crate) enum BackfillCommand {
    /// Make a store of texts and their vectors
    Create(CreateArgs),
    /// Add texts; while there are two generations, to both, by both models
    Append(AppendArgs),
    /// Begin the way to another model: a second generation, empty
    Plan(PlanArgs),
    /// Fill the new generation; what broke off goes on where it was
    Run(RunArgs),
    /// Look at the whole new generation, and embed a sample of it again
    Verify(VerifyArgs),
    /// Make the new generation the one that is read; the old one is kept
    CutOver(StepArgs),
    /// Make the old generation the one that is read again; the new one is kept
    Rollback(StepArgs),
    /// Remove the old generation after the cut-over
    Prune(StepArgs),
    /// Remove the new generation before the cut-over
    Abandon(StepArgs),
    /// Print where a store is
    Status(StepArgs),
}

/// A store, and how to talk of it.
#[derive(Debug, Args)]
pub(crate) struct StepArgs {
    /// The store: a directory with manifest.json
    pub(crate) store: PathBuf,
    /// Print events for programs: `@@lattice {"ev":...}` lines
    #[arg(long)]
    pub(crate) json: bool,
}

/// What vectors are made by.
#[derive(Debug, Args)]
pub(crate) struct MadeByArgs {
    /// A directory, or a name under --model-dir
    #[arg(long, short, value_name = "PATH|NAME")]
    pub(crate) model: String,
    /// Numbers in a vector, for models that were trained to be cut [default: the model's own]
    #[arg(long, value_name = "N", value_parser = within::<1, 1_000_000>)]
    pub(crate) dims: Option<usize>,
    /// How numbers are kept
    #[arg(long, value_enum, default_value_t = Numbers::F32)]
    pub(crate) dtype: Numbers,
    /// What the texts are for: query, passage, or a prompt that the model's files name [default: as the files say, mostly none]
    #[arg(long, value_name = "query|passage|NAME")]
    pub(crate) prompt: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    pub(crate) step: StepArgs,
    /// Files of texts: .jsonl or .parquet, with a field `text` and perhaps an `id`
    pub(crate) files: Vec<PathBuf>,
    /// The kind of its files; JSON lines keep other fields, too
    #[arg(long, value_enum, default_value_t = Kind::Parquet)]
    pub(crate) shards: Kind,
    #[command(flatten)]
    pub(crate) made_by: MadeByArgs,
    #[command(flatten)]
    pub(crate) load: TextsArgs,
}

#[derive(Debug, Args)]
pub(crate) struct AppendArgs {
    #[command(flatten)]
    pub(crate) step: StepArgs,
    /// Files of texts: .jsonl or .parquet, with a field `text` and perhaps an `id`
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Where the model of the generation that is read is [default: where it was, or by the name the store has]
    #[arg(long, short, value_name = "PATH|NAME")]
    pub(crate) model: Option<String>,
    /// Where the model of the other generation is [default: where it was, or by the name the store has]
    #[arg(long, value_name = "PATH|NAME")]
    pub(crate) other_model: Option<String>,
    #[command(flatten)]
    pub(crate) load: TextsArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) step: StepArgs,
    #[command(flatten)]
    pub(crate) made_by: MadeByArgs,
    #[command(flatten)]
    pub(crate) load: TextsArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) step: StepArgs,
    /// Where the new model is [default: where it was, or by the name the store has]
    #[arg(long, short, value_name = "PATH|NAME")]
    pub(crate) model: Option<String>,
    /// Show how far it is, where stderr is no terminal too
    #[arg(long)]
    pub(crate) progress: bool,
    #[command(flatten)]
    pub(crate) load: TextsArgs,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) step: StepArgs,
    /// Where the new model is [default: where it was, or by the name the store has]
    #[arg(long, short, value_name = "PATH|NAME")]
    pub(crate) model: Option<String>,
    /// Texts that are embedded again
    #[arg(long, default_value_t = 256, value_name = "N")]
    pub(crate) samples: u64,
    #[command(flatten)]
    pub(crate) load: TextsArgs,
}

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Parquet
    Parquet,
    /// JSON lines
    Jsonl,
}
