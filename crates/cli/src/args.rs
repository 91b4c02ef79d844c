//! The command line: the one place where arguments and environment are read.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use lattice_embed::EmbedderOptions;
use lattice_inference::backend::{
    Backend, Compute, KvFormat, LoadOptions, cpu::Cpu, reference::Reference,
};
use lattice_inference::checkpoint::{Mapping, ModelFiles, OpenOptions};
use lattice_inference::{EngineOptions, generate::GeneratorOptions};
use lattice_kernels::{Bf16Isa, CpuError, CpuOptions, IntIsa, Isa};

use crate::source::{SourceError, StoreArgs};

/// Which model, as the first argument.
#[derive(Debug, Args, Clone)]
pub(crate) struct Positional {
    /// A directory with config.json, or a name under --model-dir [default: the bundled lattice-tiny]
    pub(crate) model: Option<String>,
    #[command(flatten)]
    pub(crate) source: ModelArgs,
}

/// Where models come from.
#[derive(Debug, Args, Clone)]
pub(crate) struct ModelArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// Read the weights into memory instead of mapping the files, so that nobody can change them under us
    #[arg(long)]
    pub(crate) no_mmap: bool,
}

/// How to run a model that keeps sequences.
#[derive(Debug, Args, Clone)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) on: DeviceArgs,
    /// Tokens a conversation may hold; at most what the model was made for [default: 32768, or the model's limit]
    #[arg(long, value_name = "TOKENS")]
    pub(crate) context: Option<usize>,
    /// Tokens of a prompt fed at once
    #[arg(long, default_value_t = BATCH_TOKENS, value_name = "TOKENS", value_parser = within::<1, 8192>)]
    pub(crate) batch: usize,
    /// How keys and values are kept [default: f32 for a model stored in f32, else f16]
    #[arg(long, value_enum)]
    pub(crate) kv: Option<Kv>,
}

/// Where a model for many texts comes from, and how it runs.
#[derive(Debug, Args, Clone)]
pub(crate) struct TextsArgs {
    /// Tokens computed at once
    #[arg(long, value_name = "TOKENS", value_parser = within::<1, 65_536>)]
    pub(crate) batch_tokens: Option<usize>,
    #[command(flatten)]
    pub(crate) source: ModelArgs,
    #[command(flatten)]
    pub(crate) on: DeviceArgs,
}

impl TextsArgs {
    /// How it is loaded.
    pub(crate) fn options(&self) -> EmbedderOptions {
        let defaults = EmbedderOptions::default();
        let tokens = self.batch_tokens.unwrap_or(defaults.load.batch_tokens_max);
        EmbedderOptions {
            open: self.source.open_options(),
            load: self.on.load_options(LoadOptions {
                batch_tokens_max: tokens,
                ..defaults.load
            }),
            ..defaults
        }
    }
}

/// What to run any model on.
#[derive(Debug, Args, Clone)]
pub(crate) struct DeviceArgs {
    /// What to compute on
    #[arg(long, value_enum, default_value_t = Device::Cpu)]
    pub(crate) device: Device,
    /// Threads; 0: one per core
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = within::<0, 1024>)]
    pub(crate) threads: usize,
    /// Instruction set: scalar, avx2, avx512 or neon [default: the best this machine has]
    #[arg(long)]
    pub(crate) isa: Option<Isa>,
    /// Instruction set of the products of packed weights: scalar, avx2, avx_vnni, avx512_vnni, amx_int8, neon,
    /// neon_dot or neon_i8mm [default: the best beside --isa]
    #[arg(long)]
    pub(crate) int_isa: Option<IntIsa>,
    /// Instruction set of the products of bf16 weights: f32_fma (inputs stay f32), avx512_bf16 or amx_bf16 (inputs
    /// rounded to bf16) [default: the best beside --isa]
    #[arg(long)]
    pub(crate) bf16_isa: Option<Bf16Isa>,
    /// What products compute in; all but the default rearrange every matrix in memory
    #[arg(long, value_enum, default_value_t = Computing::AsStored)]
    pub(crate) compute: Computing,
    /// Accept weights that are NaN or infinite
    #[arg(long)]
    pub(crate) allow_nan: bool,
}

/// A whole number from `LEAST` to `MOST`: sizes that memory is reserved for have an end.
pub(crate) fn within<const LEAST: usize, const MOST: usize>(text: &str) -> Result<usize, String> {
    let number = text.parse().ok();
    let number = number.filter(|number| (LEAST..=MOST).contains(number));
    number.ok_or_else(|| format!("allowed is {LEAST} to {MOST}"))
}

/// A number of bytes, or of larger units: `64MiB`, `1.5 GiB`, `8GB`.
pub(crate) fn bytes<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    let bytes = parse_size::parse_size(text).map_err(|error| error.to_string())?;
    T::try_from(bytes).map_err(|_too_large| "more than this machine can count".to_owned())
}

/// What to compute on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Device {
    /// Threads and vector instructions
    Cpu,
    /// The plain loops that define every operation: slow
    Reference,
}

/// How keys and values are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kv {
    /// 4 bytes a value: exact
    F32,
    /// 2 bytes a value
    F16,
    /// A byte a value and 2 for each token and head
    Int8,
}

impl Kv {
    pub(crate) fn format(self) -> KvFormat {
        match self {
            Self::F32 => KvFormat::F32,
            Self::F16 => KvFormat::F16,
            Self::Int8 => KvFormat::Int8,
        }
    }
}

/// What products compute in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Computing {
    /// What the file stores
    #[default]
    AsStored,
    /// f32
    F32,
    /// bf16 where the processor multiplies it, else f32
    Bf16,
    /// Bytes with a scale for each 64 columns, of weights and of inputs
    Int8,
}

impl Computing {
    pub(crate) fn compute(self) -> Compute {
        match self {
            Self::AsStored => Compute::AsStored,
            Self::F32 => Compute::F32,
            Self::Bf16 => Compute::Bf16,
            Self::Int8 => Compute::Int8,
        }
    }
}

impl Device {
    pub(crate) fn backend(self) -> &'static dyn Backend {
        match self {
            Self::Cpu => &Cpu,
            Self::Reference => &Reference,
        }
    }
}

/// Bytes of recurrent states kept of a conversation; a Qwen3.5-0.8B's takes 19 MiB. At least two are kept: where the
/// next turn parts from this one, and its end.
const SNAPSHOT_BYTES: usize = 48 << 20;

/// Tokens of a prompt fed at once where the user says nothing, and rows of a batch that may want logits.
pub(crate) const BATCH_TOKENS: usize = 256;
pub(crate) const OUTPUT_ROWS: usize = 16;

/// Context where the user names none: long enough for most talk, and taken from memory only as it fills.
const CONTEXT_TOKENS: usize = 32_768;

impl Positional {
    pub(crate) fn files(&self) -> Result<ModelFiles, SourceError> {
        self.source.resolve(self.model.as_deref())
    }
}

impl ModelArgs {
    pub(crate) fn open_options(&self) -> OpenOptions {
        let mapping = if self.no_mmap {
            Mapping::Copied
        } else {
            Mapping::Mapped
        };
        OpenOptions { mapping }
    }
}

impl DeviceArgs {
    /// The instruction sets and threads asked for.
    pub(crate) fn processor(&self) -> Result<lattice_kernels::Cpu, CpuError> {
        lattice_kernels::Cpu::new(CpuOptions {
            isa: self.isa,
            int_isa: self.int_isa,
            bf16_isa: self.bf16_isa,
            threads: self.threads,
        })
    }

    /// `sizes`, on what is asked for.
    pub(crate) fn load_options(&self, sizes: LoadOptions) -> LoadOptions {
        LoadOptions {
            threads: self.threads,
            isa: self.isa,
            int_isa: self.int_isa,
            bf16_isa: self.bf16_isa,
            compute: self.compute.compute(),
            allow_non_finite: self.allow_nan,
            ..sizes
        }
    }
}

impl RunArgs {
    pub(crate) fn load_options(&self, sequences_max: usize) -> LoadOptions {
        self.on.load_options(LoadOptions {
            sequences_max,
            context_tokens_max: self.context.unwrap_or(CONTEXT_TOKENS),
            batch_tokens_max: self.batch.max(1),
            output_rows_max: OUTPUT_ROWS,
            kv: self.kv.map(Kv::format),
            ..LoadOptions::default()
        })
    }

    pub(crate) fn engine_options(&self, model: &ModelArgs, sequences_max: usize) -> EngineOptions {
        EngineOptions {
            open: model.open_options(),
            load: self.load_options(sequences_max),
            generator: GeneratorOptions {
                snapshot_bytes_max: SNAPSHOT_BYTES,
                ..GeneratorOptions::default()
            },
        }
    }
}

/// The home directory, if there is one.
pub(crate) fn home() -> Option<PathBuf> {
    std::env::home_dir().filter(|home| !home.as_os_str().is_empty())
}

/// A variable of the environment; one that is empty counts as not set.
#[expect(
    clippy::disallowed_methods,
    reason = "the command line is where the environment is read"
)]
pub(crate) fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Whether escape codes may be written to a terminal: not where NO_COLOR is set, and not to a dumb one.
pub(crate) fn escape_codes_wanted() -> bool {
    let dumb = variable("TERM").is_some_and(|term| term == "dumb");
    variable("NO_COLOR").is_none() && !dumb
}

/// The flags that choose tokens; unset ones fall to the model's generation_config.json.
#[derive(Debug, Args, Clone, Default)]
pub(crate) struct SamplerArgs {
    /// 0 takes the likeliest token always; 1 samples as the model says
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub(crate) temperature: Option<f32>,
    /// Keep the K likeliest tokens; 0: all
    #[arg(long, value_name = "K")]
    pub(crate) top_k: Option<u32>,
    /// Keep the likeliest tokens that make up this share of the probability
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub(crate) top_p: Option<f32>,
    /// Drop tokens below this share of the likeliest one's probability
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub(crate) min_p: Option<f32>,
    /// Make tokens of the prompt and the answer less likely; 1: off
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub(crate) repetition_penalty: Option<f32>,
    /// Make tokens of the answer less likely
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub(crate) presence_penalty: Option<f32>,
    /// Make tokens of the answer less likely for each time they stand in it
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub(crate) frequency_penalty: Option<f32>,
    /// Same seed, same machine: same answer
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Tokens to generate at most
    #[arg(long, value_name = "N")]
    pub(crate) max_tokens: Option<usize>,
    /// Text that ends the answer; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub(crate) stop: Vec<String>,
}

/// `lattice chat`
#[derive(Debug, Args)]
pub(crate) struct ChatArgs {
    /// A directory with config.json, or a name under --model-dir [default: the bundled lattice-tiny]
    #[arg(long, short, value_name = "PATH|NAME")]
    pub(crate) model: Option<String>,
    /// Ask once and print the answer; - reads stdin [default: talk at a terminal; else read stdin]
    #[arg(long, short, value_name = "TEXT")]
    pub(crate) prompt: Option<String>,
    /// What the model is told first
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// Let the model think before it answers; its thoughts are printed to terminals and with --json
    #[arg(long)]
    pub(crate) think: bool,
    /// Tokens it may think for before it is made to answer
    #[arg(long, value_name = "N", requires = "think")]
    pub(crate) think_budget: Option<usize>,
    #[command(flatten)]
    pub(crate) form: FormArgs,
    /// Print events for programs: `@@lattice {"ev":...}` lines
    #[arg(long)]
    pub(crate) json: bool,
    /// With --json: read one JSON request per line of stdin and keep the model loaded
    #[arg(long, requires = "json", conflicts_with = "prompt")]
    pub(crate) serve: bool,
    #[command(flatten)]
    pub(crate) sampler: SamplerArgs,
    #[command(flatten)]
    pub(crate) source: ModelArgs,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// What the answer is held to.
#[derive(Debug, Args, Clone, Default)]
pub(crate) struct FormArgs {
    /// Hold the answer to the JSON schema in FILE
    #[arg(long, value_name = "FILE")]
    pub(crate) schema: Option<PathBuf>,
    /// Hold the answer to a regular expression that it matches whole
    #[arg(long, value_name = "REGEX", conflicts_with = "schema")]
    pub(crate) regex: Option<String>,
    /// Hold the answer to the grammar in FILE: .lark or .gbnf
    #[arg(long, value_name = "FILE", conflicts_with_all = ["schema", "regex"])]
    pub(crate) grammar: Option<PathBuf>,
    /// Offer the tools in FILE, a list as OpenAI writes it; calls are printed, nothing is run
    #[arg(long, value_name = "FILE", conflicts_with_all = ["schema", "regex", "grammar"])]
    pub(crate) tools: Option<PathBuf>,
    /// Which tools it calls: auto, none, required, or the name of one
    #[arg(long, value_name = "CHOICE", requires = "tools")]
    pub(crate) tool_choice: Option<String>,
}

/// `lattice show`
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    pub(crate) model: Positional,
    /// Print weights, key/value memory, recurrent state and scratch at --context
    #[arg(long)]
    pub(crate) memory: bool,
    /// List every tensor
    #[arg(long)]
    pub(crate) tensors: bool,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// `lattice plan`
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) model: Positional,
}

/// `lattice doctor`
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) model: Positional,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EvalCommand {
    /// Write the logits of given token ids as .npy: f32 [tokens, vocab]
    Logits(LogitsArgs),
    /// Measure perplexity on a text, and the divergence from another model
    Ppl(PplArgs),
}

/// `lattice eval logits`
#[derive(Debug, Args)]
pub(crate) struct LogitsArgs {
    /// A directory with config.json, or a name under --model-dir
    pub(crate) model: String,
    /// Token ids: one JSON array per line, each line a sequence of its own
    #[arg(long, value_name = "FILE")]
    pub(crate) ids: PathBuf,
    /// Where to write; the rows of all lines, one after the other
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) source: ModelArgs,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// `lattice eval ppl`
#[derive(Debug, Args)]
#[command(mut_arg("context", |arg| arg.help("Tokens of a window [default: 512]")))]
pub(crate) struct PplArgs {
    /// A directory with config.json, or a name under --model-dir
    pub(crate) model: String,
    /// A text in UTF-8; it is read as plain text, control tokens in it are not obeyed
    #[arg(long, value_name = "FILE")]
    pub(crate) text: PathBuf,
    /// Begin a window every N tokens and score its last N [default: windows side by side, the second half scored]
    #[arg(long, value_name = "N")]
    pub(crate) stride: Option<usize>,
    /// Read at most N windows
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) chunks: Option<usize>,
    /// The token before the text
    #[arg(long, value_enum, default_value_t = Bos::Auto)]
    pub(crate) bos: Bos,
    /// Read spellings of control tokens in the text as those tokens
    #[arg(long)]
    pub(crate) parse_special: bool,
    /// A second model with the same vocabulary, to hold the first one against
    #[arg(long, value_name = "BASE")]
    pub(crate) against: Option<String>,
    /// How the second model's keys and values are kept [default: as --kv says]
    #[arg(long, value_enum, value_name = "KV", requires = "against")]
    pub(crate) against_kv: Option<Kv>,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) source: ModelArgs,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// `lattice bench`
#[derive(Debug, Args)]
#[command(mut_arg("context", |arg| arg.help("Tokens a sequence may hold at most [default: the model's limit]")))]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    pub(crate) model: Positional,
    /// Lengths of prompts [default: 128,512,2048]
    #[arg(long, value_name = "TOKENS", value_delimiter = ',', value_parser = positive)]
    pub(crate) prompt: Option<Vec<usize>>,
    /// Tokens a sequence holds when decoding begins [default: 0,1024,4096]
    #[arg(long, value_name = "TOKENS", value_delimiter = ',')]
    pub(crate) decode_at: Option<Vec<usize>>,
    /// Sequences that decode together [default: 1,4,8]
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = positive)]
    pub(crate) sequences: Option<Vec<usize>>,
    /// Time only the shapes that are asked for; without any, load the model and read the memory
    #[arg(long)]
    pub(crate) only: bool,
    /// Runs of each; the median counts [default: 3, or 1 for a slow model]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) runs: Option<usize>,
    /// Tokens decoded in a run
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = positive)]
    pub(crate) tokens: usize,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Show where the time goes, by kind of work; the clocks cost under a microsecond a step
    #[arg(long)]
    pub(crate) profile: bool,
    /// Set the figures beside those of an earlier --json
    #[arg(long, value_name = "FILE")]
    pub(crate) compare: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// The token before a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Bos {
    /// In each window's first place where the tokenizer puts one before a text
    Auto,
    /// None
    None,
}

/// A count of at least 1.
pub(crate) fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(count) => Ok(count),
        Err(error) => Err(format!("{error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn bytes_have_units() {
        for (text, expected) in [
            ("0", 0),
            ("65536", 65_536),
            ("64MiB", 64 << 20),
            ("1.5 GiB", 3 << 29),
            ("8gb", 8_000_000_000),
        ] {
            assert_eq!(bytes::<u64>(text), Ok(expected), "{text}");
        }
        for text in ["", "-1", "lots", "5 parsecs", "99999999999999999999"] {
            assert!(bytes::<u64>(text).is_err(), "{text}");
        }
        assert!(bytes::<u32>("4GiB").is_err());
    }
}
