//! The end of the work: header, files taken along, manifest, and the name.
//!
//! In: a file whose data is written. Out: a directory that can be loaded, and then one that carries its name.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::place::Place;
use super::{QuantizeError, Target, Targets, manifest};

/// What was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The output directory.
    pub out: PathBuf,
    /// Tensors written.
    pub tensors: usize,
    /// Tensors of them that an earlier run had finished.
    pub resumed: usize,
    /// Bytes that these tensors take in the source.
    pub before_bytes: u64,
    /// Bytes that they take in the output.
    pub after_bytes: u64,
    /// Bits of a weight that the model reads, on average, without what fills up pages.
    pub bits_per_weight: f64,
    /// Tensors that the model does not read and that were left out.
    pub left_out: usize,
    /// Their bytes in the source.
    pub left_out_bytes: u64,
    /// Files taken along as they are.
    pub copied_files: usize,
}

impl Report {
    pub(super) fn of(out: PathBuf, targets: &Targets, resumed: usize) -> Self {
        let sum = |bytes: fn(&Target) -> u64| targets.tensors.iter().map(bytes).sum::<u64>();
        let used = || targets.tensors.iter().filter(|target| target.used);
        let bits: u64 = used().map(|target| 8 * target.after_bytes()).sum();
        let weights: u64 = used().map(Target::count).sum();
        Self {
            out,
            tensors: targets.tensors.len(),
            resumed,
            before_bytes: sum(|target| target.before_bytes),
            after_bytes: sum(Target::stored_bytes),
            bits_per_weight: bits as f64 / weights.max(1) as f64,
            left_out: targets.left_out,
            left_out_bytes: targets.left_out_bytes,
            copied_files: 0,
        }
    }
}

/// A packed model that is complete but for its manifest and its name. Dropped, it is kept where it is, and the next run
/// of the same work goes on from it.
pub struct Staged {
    pub(super) place: Place,
    pub(super) manifest: Value,
    pub(super) report: Report,
}

impl Staged {
    /// The directory where it can be looked at, and loaded.
    pub fn path(&self) -> &Path {
        self.place.partial()
    }

    /// What was made.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Writes the manifest, with `measured` in it, and gives the directory its name.
    ///
    /// # Errors
    /// What the system says; the old output, if there was one, is then in its place or one run away from it.
    pub fn publish(mut self, measured: Option<Value>) -> Result<Report, QuantizeError> {
        self.manifest["measured"] = measured.unwrap_or(Value::Null);
        let text = format!("{:#}\n", self.manifest);
        write_file(&self.place.partial().join(manifest::FILE), text.as_bytes())?;
        self.place.publish()?;
        Ok(self.report)
    }
}

/// The manifest but for its measurements.
pub(super) fn manifest_of(
    parts: [(&str, Value); 5],
    copied: &[manifest::Copied],
    report: &Report,
) -> Value {
    let mut manifest = json!({
        "format": "lattice-packed",
        "version": super::layout::VERSION,
        "lattice": env!("CARGO_PKG_VERSION"),
    });
    for (key, value) in parts {
        manifest[key] = value;
    }
    let files = copied.iter().map(manifest::Copied::as_json);
    manifest["files"] = files.collect();
    manifest["bits_per_weight"] = json!(report.bits_per_weight);
    manifest["before_bytes"] = json!(report.before_bytes);
    manifest["after_bytes"] = json!(report.after_bytes);
    manifest
}

/// Writes a file and waits until it is on the disk.
pub(super) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), QuantizeError> {
    let failed = |action| {
        move |reason| QuantizeError::Io {
            path: path.display().to_string(),
            action,
            needed: bytes.len() as u64,
            reason,
        }
    };
    let mut file = File::create(path).map_err(failed("create"))?;
    file.write_all(bytes).map_err(failed("write"))?;
    file.sync_all().map_err(failed("sync"))
}
