//! `cargo xtask peers`: the speed of Lattice beside another engine, in turn, in one session.
//!
//! In: both programs, models in both formats, the shapes of work. Out: a Markdown page and a CSV of every run.
//! Each run stands beside the memory's read speed before and after it and the share of the processor that others
//! took, because both move by a factor of two on shared machines. It judges nothing and refuses nothing.
//! It does not know: the other engine, which is any program that keeps the contract in [`HELP`].

mod arguments;
mod engines;
mod machine;
mod page;
mod sample;
mod shape;

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};

pub use arguments::HELP;

use arguments::Arguments;
use engines::Session;
use page::Page;
use sample::Engine;

/// Does what `words`, the words after `peers`, ask for.
///
/// # Errors
/// Words that make no sense, a program that cannot be started, a page that cannot be written. A run that fails is
/// a note on the page.
pub fn peers(root: &Path, words: &[String]) -> Result<()> {
    if words.iter().any(|word| word == "--help") || words.is_empty() {
        return writeln!(io::stdout(), "{HELP}").context("stdout");
    }
    let arguments = Arguments::from_words(words)?;
    let mut session = Session::begin(&arguments)?;
    let mut page = Page {
        title: title(&arguments.out),
        date: machine::today()?,
        machine: machine::Machine::read(),
        commit: machine::commit(root),
        lattice_version: engines::version(&arguments.lattice)?,
        peer_version: String::new(),
        commands: arguments.commands(),
        threads: arguments.threads,
        pairs: arguments.pairs.clone(),
        samples: Vec::new(),
    };
    for round in 0..arguments.runs {
        for (index, pair) in arguments.pairs.iter().enumerate() {
            for &shape in &arguments.shapes {
                for engine in order(round) {
                    let sample = session.run(engine, (index, pair), shape, round)?;
                    writeln!(io::stderr(), "{}", sample.line(&pair.name))?;
                    page.samples.push(sample);
                }
                page.peer_version.clone_from(&session.peer_version);
                write(&arguments.out, &page)?;
            }
        }
    }
    Ok(())
}

/// Who begins changes from round to round: the second finds the machine warm, or hot.
fn order(round: usize) -> [Engine; 2] {
    if round.is_multiple_of(2) {
        [Engine::Lattice, Engine::Peer]
    } else {
        [Engine::Peer, Engine::Lattice]
    }
}

fn title(out: &Path) -> String {
    let stem = out.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

/// Both files as far as the session went: one that is cut off loses one shape.
fn write(out: &Path, page: &Page) -> Result<()> {
    let csv = out.with_extension("csv");
    fs::write(out, page.markdown()).with_context(|| format!("cannot write {}", out.display()))?;
    fs::write(&csv, page.csv()).with_context(|| format!("cannot write {}", csv.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_engine_begins_every_other_round() {
        assert_eq!(order(0), [Engine::Lattice, Engine::Peer]);
        assert_eq!(order(1), [Engine::Peer, Engine::Lattice]);
        assert_eq!(order(2), order(0));
    }
}
