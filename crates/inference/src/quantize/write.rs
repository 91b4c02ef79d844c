//! From a source to a staged output, tensor by tensor.
//!
//! In: a source, a recipe, a directory. Out: [`Staged`]. The data of `model.safetensors` is written in order; its header
//! comes last, so a file that is not finished has a header of length 0 and no reader takes it for a model.

use std::fs::{File, OpenOptions};
use std::hash::Hasher as _;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use lattice_files::{Earlier, Journal};
use lattice_kernels::{Cpu, CpuOptions};
use serde_json::json;
use twox_hash::XxHash3_64;

use super::hash::{Hashes, Hashing, sha256};
use super::journal::{self, Line};
use super::layout::{self, Layout};
use super::piece::{Read, check_finite, copy_blocks, copy_tensor, pack_tensor};
use super::place::Place;
use super::stage::{Report, manifest_of, write_file};
use super::targets::{Target, Targets, plan_tensors};
use super::{QuantizeError, Recipe, Source, Staged, manifest};
use crate::Error;
use crate::checkpoint::{Kept, Rows, Tensor};

/// The name of the weights in the output.
const FILE: &str = "model.safetensors";
/// Bytes read at a time of what an earlier run wrote.
const READ_BYTES: usize = 4 << 20;

/// How to write.
#[derive(Debug, Clone, Default)]
pub struct WriteOptions {
    /// Take tensors along that the model does not read, as they are stored.
    pub keep_unused: bool,
    /// Replace an output that is there already.
    pub force: bool,
    /// Let tensors that stay as stored hold NaN and infinity. A matrix with one is never packed.
    pub allow_non_finite: bool,
    /// Threads, the caller's among them; 0: as many as the machine has cores.
    pub threads: usize,
}

/// How far it is.
#[derive(Debug, Clone, Copy)]
pub enum Progress<'a> {
    /// An earlier run finished so many tensors; they are checked now.
    GoesOn {
        /// Tensors.
        tensors: usize,
    },
    /// An earlier run left other work, which is thrown away.
    StartsAnew,
    /// Bytes of the output's data that are done.
    Bytes {
        /// So far.
        done: u64,
        /// In all.
        total: u64,
    },
    /// A tensor is finished.
    Tensor {
        /// Which, from 0.
        index: usize,
        /// Of how many.
        count: usize,
        /// The tensor.
        target: &'a Target,
        /// Whether an earlier run finished it.
        resumed: bool,
    },
    /// All tensors are written; the source is hashed.
    Finishing,
}

/// Where [`write()`] says how far it is; a break stops it.
pub type Watch<'a> = dyn FnMut(Progress<'_>) -> ControlFlow<()> + 'a;

/// Packs a model into `<out>.partial`. [`Staged::publish`] gives it its name.
///
/// `watch` is called every few MiB. Where it breaks, [`QuantizeError::Stopped`] comes back within a piece, and the same
/// call goes on later.
///
/// # Errors
/// [`QuantizeError`]; what the source's files say.
pub fn write(
    source: &Source,
    recipe: &Recipe,
    out: &Path,
    options: &WriteOptions,
    watch: &mut Watch<'_>,
) -> Result<Staged, Error> {
    let targets = plan_tensors(source, recipe, options.keep_unused)?;
    let place = Place::take(source.files().path(), out, options.force)?;
    let work = manifest::work(source, recipe, &targets.tensors)?;
    let progress = place.partial().join(journal::FILE);
    let (journal, earlier) =
        Journal::open(&progress, &work.to_string()).map_err(QuantizeError::from)?;
    let cpu = Cpu::new(CpuOptions {
        threads: options.threads,
        ..CpuOptions::default()
    })
    .map_err(QuantizeError::from)?;
    let mut writer = Writer {
        source,
        options,
        layout: Layout::of(&targets.tensors),
        output: Output::open(&place.partial().join(FILE))?,
        hashes: Vec::new(),
        targets,
        journal,
        cpu,
        watch,
    };
    writer.go_on(earlier)?;
    let resumed = writer.hashes.len();
    writer.check_room(&place)?;
    for index in resumed..writer.targets.tensors.len() {
        source.stored.unchanged()?;
        writer.tensor(index)?;
    }
    let report = Report::of(place.out().to_owned(), &writer.targets, resumed);
    writer.finish(place, recipe, report)
}

struct Writer<'a, 'b> {
    source: &'a Source,
    options: &'a WriteOptions,
    targets: Targets,
    layout: Layout,
    output: Output,
    journal: Journal,
    /// Of the finished tensors.
    hashes: Vec<Hashes>,
    cpu: Cpu,
    watch: &'a mut Watch<'b>,
}

impl Writer<'_, '_> {
    /// Takes over what an earlier run finished, as far as it is as the journal says.
    fn go_on(&mut self, earlier: Earlier) -> Result<(), QuantizeError> {
        let lines = match earlier {
            Earlier::Nothing => Vec::new(),
            Earlier::Other(_) => {
                self.say(Progress::StartsAnew)?;
                self.journal.begin()?;
                Vec::new()
            }
            Earlier::Lines(lines) => lines,
        };
        let lines: Vec<Line> = lines
            .iter()
            .map_while(|line| serde_json::from_str(line).ok())
            .collect();
        if !lines.is_empty() {
            let tensors = lines.len();
            self.say(Progress::GoesOn { tensors })?;
        }
        for (index, line) in lines.iter().enumerate().take(self.targets.tensors.len()) {
            let place = self.layout.places[index].clone();
            let hashes = line.hashes(&self.targets.tensors[index].name, &place);
            let Some(hashes) = hashes else { break };
            if self.output.xxh3(&place)? != Some(hashes.xxh3) {
                break;
            }
            self.hashes.push(hashes);
            self.finished(index, true)?;
        }
        let done = self.hashes.len();
        self.journal.cut(done)?;
        let begin = self.layout.data_begin;
        let end = done.checked_sub(1).map(|last| self.layout.places[last].end);
        self.output.cut(begin, end.unwrap_or(begin))
    }

    /// Whether there is room for what is still to be written.
    fn check_room(&self, place: &Place) -> Result<(), QuantizeError> {
        let written = self.hashes.len();
        let end = written
            .checked_sub(1)
            .map(|last| self.layout.places[last].end);
        let needed = self.layout.file_bytes - end.unwrap_or(0);
        place.check_room(needed)
    }

    fn tensor(&mut self, index: usize) -> Result<(), QuantizeError> {
        let target = self.targets.tensors[index].clone();
        let place = self.layout.places[index].clone();
        // `plan_tensors` made its targets of the tensors that are there.
        let Some(tensor) = self.source.stored.tensor(&target.name) else {
            return Ok(());
        };
        let hashes = self.stream(&target, &place, &tensor)?;
        self.journal
            .add(&Line::new(&target.name, &place, &hashes).text())?;
        self.hashes.push(hashes);
        self.finished(index, false)
    }

    /// Writes one tensor's bytes and hashes them on the way.
    fn stream(
        &mut self,
        target: &Target,
        place: &Range<u64>,
        tensor: &Tensor<'_>,
    ) -> Result<Hashes, QuantizeError> {
        self.output.seek(place.start)?;
        let (total, finished) = (self.layout.file_bytes, self.hashes.len());
        let (count, base) = (self.targets.tensors.len(), self.layout.data_begin);
        let mut hashing = Hashing::default();
        let at = AtomicU64::new(place.start);
        let output = &mut self.output;
        let mut sink = |bytes: &[u8]| {
            hashing.update(bytes);
            at.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            output.write(bytes, total)
        };
        let watch = &mut *self.watch;
        let (stored, mut released) = (&self.source.stored, 0);
        let between = |read: Read| {
            match read {
                Read::Bytes(read) => {
                    stored.release(&target.name, std::mem::replace(&mut released, read)..read);
                }
                Read::Rows(read) => {
                    stored.release_rows(&target.name, std::mem::replace(&mut released, read)..read);
                }
            }
            let done = at.load(Ordering::Relaxed) - base;
            let total = total - base;
            match watch(Progress::Bytes { done, total }) {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(()) => Err(QuantizeError::Stopped {
                    done: finished,
                    count,
                }),
            }
        };
        match (target.form, stored.rows(&target.name)) {
            (Kept::Packed(shape), Some(rows)) => {
                pack_tensor(&self.cpu, (tensor, &rows), shape, &mut sink, between)?;
                let tail = target.stored_bytes() - target.after_bytes();
                sink(&vec![0; tail as usize])?;
            }
            (_, rows) => {
                if target.used && !self.options.allow_non_finite {
                    check_finite(tensor)?;
                }
                match rows {
                    Some(Rows::Blocks(blocks)) => copy_blocks(&blocks, &mut sink, between)?,
                    _ => copy_tensor(tensor, &mut sink, between)?,
                }
            }
        }
        Ok(hashing.finish())
    }

    fn finished(&mut self, index: usize, resumed: bool) -> Result<(), QuantizeError> {
        let count = self.targets.tensors.len();
        let target = &self.targets.tensors[index];
        let flow = (self.watch)(Progress::Tensor {
            index,
            count,
            target,
            resumed,
        });
        self.heed(flow)
    }

    fn say(&mut self, progress: Progress<'_>) -> Result<(), QuantizeError> {
        let flow = (self.watch)(progress);
        self.heed(flow)
    }

    fn heed(&self, flow: ControlFlow<()>) -> Result<(), QuantizeError> {
        match flow {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(QuantizeError::Stopped {
                done: self.hashes.len(),
                count: self.targets.tensors.len(),
            }),
        }
    }

    /// Writes what stands around the tensors.
    fn finish(
        mut self,
        place: Place,
        recipe: &Recipe,
        mut report: Report,
    ) -> Result<Staged, Error> {
        self.say(Progress::Finishing)?;
        let xxh3: Vec<u64> = self.hashes.iter().map(|hashes| hashes.xxh3).collect();
        let head = layout::head(&self.targets.tensors, &xxh3);
        self.output.finish(&head, self.layout.file_bytes)?;
        let copied = manifest::copied(self.source)?;
        for file in &copied {
            if let Some((folder, _)) = file.name.rsplit_once('/') {
                lattice_files::make_folders(place.partial(), folder)
                    .map_err(QuantizeError::from)?;
            }
            write_file(&place.partial().join(&file.name), &file.bytes)?;
            file.bytes.unchanged()?;
        }
        report.copied_files = copied.len();
        let (done, count) = (self.hashes.len(), self.targets.tensors.len());
        let watch = &mut *self.watch;
        let source = manifest::source(self.source, &self.cpu, || {
            match watch(Progress::Finishing) {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(()) => Err(QuantizeError::Stopped { done, count }),
            }
        })?;
        self.source.stored.unchanged()?;
        let parts = [
            ("source", source),
            ("recipe", recipe.as_json()),
            ("header_sha256", json!(sha256(&head))),
            (
                "tensors",
                manifest::tensors(&self.targets.tensors, &self.hashes),
            ),
            ("measured", serde_json::Value::Null),
        ];
        Ok(Staged {
            manifest: manifest_of(parts, &copied, &report),
            place,
            report,
        })
    }
}

/// The file of weights that is being written.
struct Output {
    file: File,
    path: PathBuf,
}

impl Output {
    fn open(path: &Path) -> Result<Self, QuantizeError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options
            .open(path)
            .map_err(QuantizeError::io(path, "open"))?;
        Ok(Self {
            file,
            path: path.to_owned(),
        })
    }

    /// The hash of a stretch; `None` if the file ends before it does.
    fn xxh3(&mut self, place: &Range<u64>) -> Result<Option<u64>, QuantizeError> {
        self.seek(place.start)?;
        let mut hashing = XxHash3_64::new();
        let mut left = place.end - place.start;
        let mut buffer = vec![0; READ_BYTES.min(usize::try_from(left).unwrap_or(READ_BYTES))];
        while left > 0 {
            let most = buffer
                .len()
                .min(usize::try_from(left).unwrap_or(READ_BYTES));
            let read = self
                .file
                .read(&mut buffer[..most])
                .map_err(QuantizeError::io(&self.path, "read"))?;
            if read == 0 {
                return Ok(None);
            }
            hashing.write(&buffer[..read]);
            left -= read as u64;
        }
        Ok(Some(hashing.finish()))
    }

    /// Keeps the data up to `end` and takes the header away: what follows makes no finished file until there is a new one.
    fn cut(&mut self, data_begin: u64, end: u64) -> Result<(), QuantizeError> {
        let io = QuantizeError::io(&self.path, "cut");
        self.file.set_len(end).map_err(io)?;
        self.seek(0)?;
        let head = vec![0; usize::try_from(data_begin).unwrap_or(0)];
        self.write(&head, end)
    }

    fn seek(&mut self, at: u64) -> Result<(), QuantizeError> {
        self.file
            .seek(SeekFrom::Start(at))
            .map(drop)
            .map_err(QuantizeError::io(&self.path, "seek in"))
    }

    fn write(&mut self, bytes: &[u8], needed: u64) -> Result<(), QuantizeError> {
        self.file
            .write_all(bytes)
            .map_err(|source| self.failed("write", needed, source))
    }

    /// Data first, then the header that makes a model of it.
    fn finish(&mut self, head: &[u8], needed: u64) -> Result<(), QuantizeError> {
        self.file
            .sync_all()
            .map_err(|source| self.failed("sync", needed, source))?;
        self.seek(0)?;
        self.write(head, needed)?;
        self.file
            .sync_all()
            .map_err(|source| self.failed("sync", needed, source))
    }

    fn failed(&self, action: &'static str, needed: u64, reason: std::io::Error) -> QuantizeError {
        QuantizeError::Io {
            path: self.path.display().to_string(),
            action,
            needed,
            reason,
        }
    }
}
