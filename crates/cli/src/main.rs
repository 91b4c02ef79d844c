//! `lattice`: the one binary. Arguments in, words and figures out; what a model does is the library's business.

mod args;
mod backfill;
mod bar;
mod bench;
mod bundled;
mod chat;
mod commands;
mod doctor;
mod drift;
mod embed;
mod eval;
mod plan;
mod ppl;
mod pull;
mod quantize;
mod rerank;
mod serve;
mod server;
mod show;
mod source;
mod stop;
mod store;
mod visible;

use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

use clap::Parser as _;

use lattice_inference::checkpoint::guard_truncation;

use args::EvalCommand;
use commands::{Cli, Command};

fn main() -> ExitCode {
    let command = Cli::parse().command;
    // Without it a model file that is cut short under us ends the program without words; that is no reason not to start.
    let _ = guard_truncation();
    let result = match command {
        Command::Chat(args) => chat::run(args),
        Command::Serve(args) => serve::run(&args),
        Command::Ps(args) => server::ps::run(&args),
        Command::Stop(args) => server::stop::run(&args),
        Command::Launch(args) => server::launch::run(&args),
        Command::Embed(args) => embed::run(&args),
        Command::Rerank(args) => rerank::run(&args),
        Command::Drift(args) => drift::run(&args),
        Command::Show(args) => show::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Quantize(args) => quantize::run(&args),
        Command::Convert(args) => quantize::convert(&args),
        Command::Pull(args) => pull::run(&args),
        Command::Ls(args) => store::ls::run(&args),
        Command::Rm(args) => store::rm::run(&args),
        Command::Verify(args) => store::verify::run(&args),
        Command::Eval(EvalCommand::Logits(args)) => eval::logits(&args),
        Command::Eval(EvalCommand::Ppl(args)) => ppl::run(&args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            // A reader that went away needs no words; every other reason goes to people.
            if !is_broken_pipe(&error) {
                let words = format!("{error:#}");
                let _ = writeln!(std::io::stderr(), "lattice: {}", visible::visible(&words));
            }
            ExitCode::FAILURE
        }
    }
}

/// Whether the reason is that nobody reads our output any more.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let kinds = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    kinds
        .into_iter()
        .any(|cause| cause.kind() == ErrorKind::BrokenPipe)
}
