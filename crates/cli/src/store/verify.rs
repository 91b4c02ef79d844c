//! `lattice verify`: whether a model's files are what they were, fit its configuration, and hold numbers.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use lattice_hub::Record;
use lattice_inference::Model;
use lattice_inference::checkpoint::{Checkpoint, Config, LoadError, ModelFiles, OpenOptions};
use lattice_inference::models::family_of;
use lattice_inference::quantize::sha256;
use serde_json::{Value, json};

use crate::args::Positional;
use crate::visible::visible;

/// What `lattice quantize` says of the directory it wrote.
const MANIFEST: &str = "lattice.json";
/// It names every tensor: far below this.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// `lattice verify`
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) model: Positional,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let files = args.model.files()?;
    let mut report = Report::new(args.json);
    if let Some(dir) = files.path().map(directory_of) {
        report.pulled(&dir)?;
    }
    report.packed(&files)?;
    report.tensors(&files, &args.model.source.open_options())?;
    report.end(&files.name())
}

/// The directory of a model that is one, or of the file that stands for one.
fn directory_of(path: &Path) -> std::path::PathBuf {
    match path.parent() {
        Some(parent) if path.is_file() => parent.to_owned(),
        _ => path.to_owned(),
    }
}

/// What was looked at, and what was found.
struct Report {
    json: bool,
    lines: Vec<Value>,
    faults: usize,
}

impl Report {
    fn new(json: bool) -> Self {
        Self {
            json,
            lines: Vec::new(),
            faults: 0,
        }
    }

    /// Says one thing that was looked at.
    fn say<E: std::fmt::Display>(
        &mut self,
        what: &str,
        how: &str,
        found: Result<(), E>,
    ) -> std::io::Result<()> {
        let fault = found.err().map(|error| error.to_string());
        self.faults += usize::from(fault.is_some());
        if self.json {
            self.lines
                .push(json!({"what": what, "checked": how, "fault": fault}));
            return Ok(());
        }
        let mut out = std::io::stdout().lock();
        match fault {
            None => writeln!(out, "ok     {}: {how}", visible(what)),
            Some(fault) => writeln!(out, "FAULT  {}: {}", visible(what), visible(&fault)),
        }
    }

    /// Every file against the hash that it was pulled with.
    fn pulled(&mut self, dir: &Path) -> anyhow::Result<()> {
        let record = match Record::open(dir) {
            Ok(None) => return Ok(()),
            Ok(Some(record)) => record,
            Err(error) => {
                let record = lattice_files::PULL_RECORD;
                return Ok(self.say(record, "", Err::<(), _>(error))?);
            }
        };
        for file in &record.files {
            let found = file.verify(dir, |_bytes| Ok(()));
            self.say(&file.file, "SHA-256 as pulled", found)?;
        }
        Ok(())
    }

    /// The files that a packed model took along against the hashes in its manifest.
    fn packed(&mut self, files: &ModelFiles) -> anyhow::Result<()> {
        let Some(text) = files.text(MANIFEST, MANIFEST_BYTES_MAX)? else {
            return Ok(());
        };
        let manifest: Value = serde_json::from_str(&text)?;
        let listed = manifest["files"].as_array().map_or(&[][..], Vec::as_slice);
        for entry in listed {
            let (name, expected) = (entry["file"].as_str(), entry["sha256"].as_str());
            let (Some(name), Some(expected)) = (name, expected) else {
                let fault = format!("names a file without a hash: {entry}");
                self.say(MANIFEST, "", Err::<(), _>(fault))?;
                continue;
            };
            let found = match files.bytes(name) {
                Err(error) => Err(error.to_string()),
                Ok(None) => Err("is not there".to_owned()),
                Ok(Some(bytes)) if sha256(&bytes) == expected => Ok(()),
                Ok(Some(_)) => Err("its bytes are others than those that were packed".to_owned()),
            };
            self.say(name, "SHA-256 as packed", found)?;
        }
        Ok(())
    }

    /// Headers, shapes, checksums, and every value.
    fn tensors(&mut self, files: &ModelFiles, options: &OpenOptions) -> anyhow::Result<()> {
        let unknown = Config::open(files)
            .and_then(|config| family_of(&config).map(drop))
            .err();
        match unknown {
            // Files may be in order that this version cannot run.
            Some(error @ LoadError::Field { .. }) => {
                let how = format!("shapes not looked at: {error}");
                self.say("tensors", &how, Ok::<(), String>(()))?;
            }
            _ => {
                let shapes = Model::open(files, options).map(drop);
                self.say("tensors", "shapes as the configuration says", shapes)?;
            }
        }
        // As they are stored: what the model does not read is looked at, too. Who cannot be opened was told of above.
        let Ok(checkpoint) = Checkpoint::open_with(files, *options) else {
            return Ok(());
        };
        let sums = checkpoint.has_checksums();
        let how = if sums {
            "checksums, no NaN, no infinity"
        } else {
            "no NaN, no infinity"
        };
        let mut by_file: Vec<(String, usize)> = Vec::new();
        for tensor in checkpoint.tensors() {
            let found = checkpoint
                .check_sum(tensor.name)
                .and_then(|()| checkpoint.check_finite(tensor.name));
            if found.is_err() {
                self.say(tensor.name, "", found)?;
                continue;
            }
            match by_file.iter_mut().find(|(file, _)| file == tensor.file) {
                Some((_, count)) => *count += 1,
                None => by_file.push((tensor.file.to_owned(), 1)),
            }
        }
        for (file, count) in by_file {
            self.say(
                &file,
                &format!("{count} tensors: {how}"),
                Ok::<(), String>(()),
            )?;
        }
        Ok(())
    }

    fn end(self, name: &str) -> anyhow::Result<ExitCode> {
        let mut out = std::io::stdout().lock();
        if self.json {
            let ok = self.faults == 0;
            writeln!(
                out,
                "{}",
                json!({"model": name, "ok": ok, "faults": self.faults, "looked_at": self.lines})
            )?;
        } else if self.faults == 0 {
            writeln!(out, "{} is as it should be", visible(name))?;
        } else {
            writeln!(out, "{}: {} faults", visible(name), self.faults)?;
        }
        Ok(match self.faults {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        })
    }
}
