//! The words after `cargo xtask peers`.
//!
//! In: words. Out: programs, pairs of models, shapes, how often; or what is wrong with the words.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::shape::Shape;

/// What the words mean, and what the other program must do.
pub const HELP: &str = "\
usage: cargo xtask peers --lattice BIN --model MODEL... --peer-bench BIN --gguf FILE... -o FILE.md
  --lattice BIN       the release build of `lattice`
  --model MODEL...    a directory; flags of `lattice bench` may follow in the same word: \"DIR --kv f16\"
  --peer-bench BIN    the other engine, see below
  --gguf FILE...      the other engine's files, one for each model, in the same order
  --runs N            rounds over all models and shapes, each engine once per round [5]
  --what WORDS        prompt,decode,depth,sequences, or shapes as below [all four groups]
  --threads N         for both [one per core]
  --wait SECONDS      before each run, wait at most so long until others take less than 5 % [0]
  -o FILE.md          the page; the raw figures go to FILE.csv

The other engine is any program that takes `FILE THREADS SHAPE...`, with shapes like prompt:TOKENS,
decode:DEPTH:STEPS (STEPS single tokens after DEPTH others) and sequences:N:STEPS (STEPS tokens in each of N
empty sequences, together), and prints lines `what value unit`:
  SHAPE 123.4 tok/s   for each shape, over all sequences; after a short warm-up that is not timed
  load 1.2 s          seconds to load the file, if known
  memory 1.5 GiB      the most memory it held, if known
and, if it likes, one line `version TEXT`. Other lines are passed over. Failure: any exit code but 0.";

/// A model in both formats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair {
    /// For people: the model's directory with its flags.
    pub(super) name: String,
    /// Directory, then flags.
    pub(super) model: Vec<String>,
    /// The other engine's file.
    pub(super) file: PathBuf,
}

/// A session, as asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Arguments {
    pub(super) lattice: PathBuf,
    pub(super) peer: PathBuf,
    pub(super) pairs: Vec<Pair>,
    pub(super) shapes: Vec<Shape>,
    pub(super) runs: usize,
    pub(super) threads: usize,
    pub(super) wait: Duration,
    pub(super) out: PathBuf,
}

impl Arguments {
    pub(super) fn from_words(words: &[String]) -> Result<Self> {
        let mut given = Given::default();
        let mut flag = None;
        for word in words {
            if word.starts_with('-') {
                given.check_flag(word)?;
                flag = Some(word.as_str());
                continue;
            }
            let Some(flag) = flag else {
                bail!("{word}: no flag before it\n{HELP}");
            };
            given.values.push((flag.to_owned(), word.clone()));
        }
        given.session()
    }

    /// How each engine is called, without the places where programs and models lie.
    pub(super) fn commands(&self) -> [String; 2] {
        let threads = self.threads;
        [
            format!("lattice bench MODEL --only --json --runs 1 --threads {threads} SHAPE"),
            format!("{} FILE {threads} SHAPE", name_of(&self.peer)),
        ]
    }
}

const FLAGS: [&str; 9] = [
    "--lattice",
    "--model",
    "--peer-bench",
    "--gguf",
    "--runs",
    "--what",
    "--threads",
    "--wait",
    "-o",
];

/// Values by their flag, in order.
#[derive(Default)]
struct Given {
    values: Vec<(String, String)>,
}

impl Given {
    fn check_flag(&self, word: &str) -> Result<()> {
        if !FLAGS.contains(&word) {
            bail!("{word}: no such flag\n{HELP}");
        }
        Ok(())
    }

    fn all(&self, flag: &str) -> Vec<&str> {
        let of_flag = self.values.iter().filter(|(name, _)| name == flag);
        of_flag.map(|(_, value)| value.as_str()).collect()
    }

    fn one(&self, flag: &str) -> Result<Option<&str>> {
        match self.all(flag).as_slice() {
            [] => Ok(None),
            [value] => Ok(Some(value)),
            _ => bail!("{flag}: given more than once"),
        }
    }

    fn must(&self, flag: &str) -> Result<&str> {
        self.one(flag)?
            .with_context(|| format!("{flag} is missing\n{HELP}"))
    }

    fn count(&self, flag: &str) -> Result<Option<usize>> {
        let Some(value) = self.one(flag)? else {
            return Ok(None);
        };
        let number = value.parse().ok();
        let context = || format!("{flag}: {value} is no whole number");
        number.with_context(context).map(Some)
    }

    fn session(&self) -> Result<Arguments> {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = self.count("--threads")?.filter(|&threads| threads > 0);
        let arguments = Arguments {
            lattice: self.must("--lattice")?.into(),
            peer: self.must("--peer-bench")?.into(),
            pairs: self.pairs()?,
            shapes: self.shapes()?,
            runs: self.count("--runs")?.unwrap_or(5),
            threads: threads.unwrap_or_else(cores),
            wait: Duration::from_secs(self.count("--wait")?.unwrap_or(0) as u64),
            out: self.must("-o")?.into(),
        };
        if arguments.out.extension() != Some(OsStr::new("md")) {
            bail!("-o {}: must end in .md", arguments.out.display());
        }
        if arguments.runs == 0 {
            bail!("--runs 0 measures nothing");
        }
        Ok(arguments)
    }

    fn pairs(&self) -> Result<Vec<Pair>> {
        let (models, files) = (self.all("--model"), self.all("--gguf"));
        if models.is_empty() || models.len() != files.len() {
            let (models, files) = (models.len(), files.len());
            bail!("{models} models and {files} files: one file for each model");
        }
        models.iter().zip(files).map(|(m, f)| pair(m, f)).collect()
    }

    fn shapes(&self) -> Result<Vec<Shape>> {
        let what = self.one("--what")?;
        let words = what.unwrap_or("prompt,decode,depth,sequences").split(',');
        let groups: Result<Vec<Vec<Shape>>> = words.map(Shape::from_word).collect();
        Ok(groups?.concat())
    }
}

fn pair(model: &str, file: &str) -> Result<Pair> {
    let words: Vec<String> = model.split_whitespace().map(str::to_owned).collect();
    let [directory, flags @ ..] = words.as_slice() else {
        bail!("--model: an empty word");
    };
    let name = [&[name_of(Path::new(directory))], flags].concat().join(" ");
    Ok(Pair {
        name,
        model: words,
        file: file.into(),
    })
}

/// The last part of a path.
pub(super) fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Arguments> {
        let words: Vec<String> = line.split(' ').map(|word| word.replace('_', " ")).collect();
        Arguments::from_words(&words)
    }

    const LEAST: &str =
        "--lattice x/lattice --peer-bench y/bench -o a.md --model m/a --gguf g/a.gguf";

    #[test]
    fn models_and_files_make_pairs_in_order() {
        let line =
            "--lattice l --peer-bench p -o a.md --model m/a m/b_--kv_f16 --gguf a.gguf b.gguf";
        let pairs = read(line).unwrap().pairs;
        assert_eq!(pairs[0].name, "a");
        assert_eq!(pairs[1].name, "b --kv f16");
        assert_eq!(pairs[1].model, ["m/b", "--kv", "f16"]);
        assert_eq!(pairs[1].file, Path::new("b.gguf"));
    }

    #[test]
    fn what_nobody_said_is_usual() {
        let arguments = read(LEAST).unwrap();
        assert_eq!((arguments.runs, arguments.shapes.len()), (5, 6));
        assert!(arguments.threads > 0);
        assert_eq!(arguments.wait, Duration::ZERO);
    }

    #[test]
    fn commands_name_no_places() {
        let commands = read(LEAST).unwrap().commands();
        assert!(commands.iter().all(|command| !command.contains('/')));
        assert!(commands[1].starts_with("bench FILE "));
    }

    #[test]
    fn words_that_make_no_sense_are_refused() {
        for more in [
            "--model m/b",
            "--runs 0",
            "--runs x",
            "--speed 1",
            "--what fast",
            "--lattice again",
        ] {
            assert!(read(&format!("{LEAST} {more}")).is_err(), "{more}");
        }
        for line in [
            "stray",
            "--lattice l",
            "--lattice l --peer-bench p -o a.txt --model m --gguf g",
        ] {
            assert!(read(line).is_err(), "{line}");
        }
    }
}
