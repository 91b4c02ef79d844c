//! The flags of `lattice embed`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use lattice_embed::{EmbedOptions, EmbeddingModel, Encoding, OnLong, Role};

use crate::args::{TextsArgs, within};
use crate::backfill::args::BackfillCommand;

/// `lattice embed`
#[derive(Debug, Args)]
#[command(after_help = AFTER, args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
pub(crate) struct EmbedArgs {
    #[command(subcommand)]
    pub(crate) command: Option<EmbedCommand>,
    /// Texts; without any, and without --file, stdin is read
    #[arg(conflicts_with = "file")]
    pub(crate) text: Vec<String>,
    /// A file of texts: .jsonl (objects with a field `text`, and perhaps an `id`), .parquet (a column `text`), else a text a line; -
    /// is stdin
    #[arg(long, short, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// How texts stand in stdin or the file [default: by its ending; lines for stdin, but JSON lines if the first one has a `text`]
    #[arg(long, value_enum, value_name = "FORM")]
    pub(crate) input: Option<Input>,
    /// Where vectors go: .jsonl, .npy or .parquet; a run that broke off is gone on with [default: JSON lines on stdout]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Replace an output that is there, and throw away what another run left of one
    #[arg(long, requires = "output")]
    pub(crate) force: bool,
    /// Leave texts out of the output
    #[arg(long)]
    pub(crate) no_text: bool,
    /// A directory, or a name under --model-dir [default: bge-small-en-v1.5]
    #[arg(long, short, value_name = "PATH|NAME")]
    pub(crate) model: Option<String>,
    /// Numbers in a vector, for models that were trained to be cut [default: the model's own]
    #[arg(long, value_name = "N", value_parser = within::<1, 1_000_000>)]
    pub(crate) dims: Option<usize>,
    /// How numbers are given out
    #[arg(long, value_enum, default_value_t = Numbers::F32)]
    pub(crate) dtype: Numbers,
    /// What the texts are for: query, passage, or a prompt that the model's files name [default: as the files say, mostly none]
    #[arg(long, value_name = "query|passage|NAME")]
    pub(crate) prompt: Option<String>,
    /// What becomes of a text that is longer than the model reads
    #[arg(long, value_enum, default_value_t = Long::Truncate)]
    pub(crate) on_long: Long,
    /// Show how far it is, where stderr is no terminal too
    #[arg(long)]
    pub(crate) progress: bool,
    /// Print the cosines of all texts with each other
    #[arg(long, conflicts_with = "output")]
    pub(crate) similarity: bool,
    /// Print events for programs: `@@lattice {"ev":...}` lines
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) load: TextsArgs,
}

const AFTER: &str = "\
Examples:
  lattice embed --similarity 'a cat' 'a kitten' 'the stock market'
  lattice embed -f texts.txt -o vectors.npy
  lattice embed -f documents.jsonl --prompt passage -o vectors.parquet

A text that begins with a dash, or with the word backfill, comes after --.";

/// What stands in place of texts.
#[derive(Debug, Subcommand)]
pub(crate) enum EmbedCommand {
    /// Take a store of texts and vectors from one model to another
    #[command(subcommand)]
    Backfill(BackfillCommand),
}

/// How texts stand in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Input {
    /// A text a line
    Lines,
    /// A JSON object a line, with a field `text`
    Jsonl,
}

/// How numbers are given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Numbers {
    /// As they are computed
    F32,
    /// A byte each, with one scale a vector, which JSON lines and Parquet have beside it
    I8,
    /// A bit each: whether it is above 0
    Binary,
}

impl Numbers {
    pub(crate) fn encoding(self) -> Encoding {
        match self {
            Self::F32 => Encoding::F32,
            Self::I8 => Encoding::I8,
            Self::Binary => Encoding::Binary,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::I8 => "i8",
            Self::Binary => "binary",
        }
    }
}

/// What becomes of long texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Long {
    /// Its tail is left out, and that is said
    Truncate,
    /// Nothing is written of it, or behind it
    Error,
}

impl Long {
    pub(crate) fn rule(self) -> OnLong {
        match self {
            Self::Truncate => OnLong::Truncate,
            Self::Error => OnLong::Error,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Truncate => "truncate",
            Self::Error => "error",
        }
    }
}

/// What texts are for, by the prompt's name.
pub(crate) fn role(prompt: Option<&str>) -> Role {
    match prompt {
        None => Role::Plain,
        Some("query") => Role::Query,
        Some("passage") => Role::Passage,
        Some(name) => Role::Named(name.to_owned()),
    }
}

impl EmbedArgs {
    pub(crate) fn options(&self) -> EmbedOptions {
        EmbedOptions {
            role: role(self.prompt.as_deref()),
            dims: self.dims,
            encoding: self.dtype.encoding(),
            on_long: self.on_long.rule(),
        }
    }

    /// The model's name, as typed or by default.
    pub(crate) fn model_name(&self) -> String {
        let default = || EmbeddingModel::default().to_string();
        self.model.clone().unwrap_or_else(default)
    }
}
