//! The commands there are.
//!
//! In: the command line. Out: a command with its arguments, each from the file that runs it.
//! It does not know what they do.

use clap::{Parser, Subcommand};

use crate::args::{BenchArgs, ChatArgs, DoctorArgs, EvalCommand, PlanArgs, ShowArgs};
use crate::drift::DriftArgs;
use crate::embed::EmbedArgs;
use crate::pull::PullArgs;
use crate::quantize::{ConvertArgs, QuantizeArgs};
use crate::rerank::RerankArgs;
use crate::serve::ServeArgs;
use crate::server::launch::LaunchArgs;
use crate::server::ps::PsArgs;
use crate::server::stop::StopArgs;
use crate::store::{LsArgs, RmArgs, VerifyArgs};

/// Chat with, inspect and measure transformer models. Pure Rust, on your own machine.
#[derive(Debug, Parser)]
#[command(name = "lattice", version, max_term_width = 100)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0    it went well
  1    it did not: the reason stands on stderr
  2    the command line was wrong
  130  Ctrl-C ended it";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Talk with a model; without --model, with the one inside this binary
    Chat(ChatArgs),
    /// Answer requests over HTTP, as OpenAI's interface has them
    Serve(ServeArgs),
    /// Say what a server has loaded, and what is at work
    Ps(PsArgs),
    /// Unload a model of a server, or end the server
    Stop(StopArgs),
    /// Run a coding agent (claude, codex, opencode) on a server's model, or print what it needs for that
    Launch(LaunchArgs),
    /// Make vectors of texts, into a file or on stdout; or compare texts
    Embed(EmbedArgs),
    /// Rank documents for a query with a cross-encoder
    Rerank(RerankArgs),
    /// Say whether vectors, or the vectors of texts, still are what they were
    Drift(DriftArgs),
    /// Print what a model is: family, sizes, tensors, sampler defaults, memory
    Show(ShowArgs),
    /// Print the steps a model runs, with shapes, parameters and FLOPs per token
    Plan(PlanArgs),
    /// Look at this machine and say what fits and what is missing
    Doctor(DoctorArgs),
    /// Time a model: prompts, decoding, several sequences, load, memory
    Bench(BenchArgs),
    /// Make a packed copy of a model: its weights in 8 or 4 bits
    Quantize(QuantizeArgs),
    /// Write a model of another form (GGUF, MLX, AWQ, GPTQ) as a directory of ours, without a loss
    Convert(ConvertArgs),
    /// Get a model from the hub, whole and checked, or go on getting it
    Pull(PullArgs),
    /// List the models that are here
    Ls(LsArgs),
    /// Remove models that are here
    Rm(RmArgs),
    /// Check a model that is here: hashes, shapes, values
    Verify(VerifyArgs),
    /// Measure a model against the truth
    #[command(subcommand)]
    Eval(EvalCommand),
}
