//! `cargo xtask tidy|deps|ci|peers`: the project's chores from a terminal.
//!
//! In: one word, and another working tree if not this one; `peers` has words of its own. Out: findings on stdout;
//! exit code 0 when there are none.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};

const USAGE: &str = "usage: cargo xtask tidy | deps | ci [ROOT], or peers ARGUMENTS
  tidy   rules of the house: import edges, sizes, comments, heads, links
  deps   the dependency graph: nothing built from C, licences, sources, allow-lists
  ci     everything that .ci/run does
  peers  the speed of Lattice beside another engine; --help says more";

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    if command == "peers" {
        let words: Vec<String> = arguments.collect();
        xtask::peers::peers(Path::new(here), &words)?;
        return Ok(ExitCode::SUCCESS);
    }
    let root = arguments.next().unwrap_or(here.into());
    let root = Path::new(&root);
    match command.as_str() {
        "tidy" => report(&xtask::tidy::tidy(root)?),
        "deps" => report(&xtask::deps::deps(root)?),
        "ci" => ci(root),
        _ => bail!("{USAGE}"),
    }
}

fn report(findings: &[xtask::Finding]) -> Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    write!(out, "{}", xtask::listing(findings))?;
    writeln!(out, "{} findings", findings.len())?;
    Ok(if findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn ci(root: &Path) -> Result<ExitCode> {
    let status = Command::new("bash")
        .arg(".ci/run")
        .current_dir(root)
        .status()
        .context("bash .ci/run")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
