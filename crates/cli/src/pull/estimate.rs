//! What a model will take to run, before its weights are here.
//!
//! In: a download that has its small files. Out: the memory of a dry run over the plan. Of each weight file the header is
//! fetched, and laid down in front of a hole as long as the rest: opening such a model reads no more than that.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use lattice_hub::{Pull, RemoteFile};
use lattice_inference::Model;
use lattice_inference::backend::LoadOptions;
use lattice_inference::checkpoint::{ModelFiles, OpenOptions};
use lattice_inference::encoder::module_folders;

use crate::args::{BATCH_TOKENS, OUTPUT_ROWS};

/// The context that is spoken of.
const CONTEXT_TOKENS: usize = 8192;
/// What most headers of safetensors fit in.
const FIRST_BYTES: u64 = 64 << 10;
/// A header that is longer is refused by whoever reads it.
const HEADER_BYTES_MAX: u64 = 100_000_000;
/// A GGUF header has no length, but a vocabulary in it: so much is tried.
const GGUF_BYTES: [u64; 3] = [1 << 20, 16 << 20, 64 << 20];
/// Where it is laid down, in the download's directory. No model has a folder of that name.
const FOLDER: &str = ".estimate";
/// What says which modules of sentence-transformers there are, and where.
const MODULES: &str = "modules.json";
/// Vocabularies, which no memory of weights depends on.
const VOCABULARIES: [&str; 2] = ["tokenizer.json", "vocab.json"];

/// Memory to run a model.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Estimate {
    pub(crate) context_tokens: usize,
    pub(crate) bytes: u64,
}

/// Estimates, and leaves nothing behind.
pub(crate) fn of(pull: &Pull<'_>) -> anyhow::Result<Estimate> {
    let folder = pull.path().join(FOLDER);
    clear(&folder)?;
    let found = in_folder(pull, &folder);
    clear(&folder)?;
    found
}

fn clear(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| folder.display().to_string())
        }
        _ => Ok(()),
    }
}

fn in_folder(pull: &Pull<'_>, folder: &Path) -> anyhow::Result<Estimate> {
    fs::create_dir(folder)?;
    let modules = fs::read_to_string(pull.path().join(MODULES)).unwrap_or_default();
    let modules = module_folders(&modules);
    // At the top, or in the folder of a module.
    let is_read = |file: &&RemoteFile| match file.path.rsplit_once('/') {
        None => true,
        Some((parent, _)) => modules.iter().any(|module| module == parent),
    };
    for file in pull.choice().small.iter().filter(is_read) {
        let name = file.path.as_str();
        if name.ends_with(".json") && !VOCABULARIES.contains(&name) {
            make_parent(folder, name)?;
            fs::copy(pull.path().join(name), folder.join(name)).with_context(|| name.to_owned())?;
        }
    }
    let top = || pull.choice().weights.iter().filter(is_read);
    let gguf = top().find(|file| file.path.ends_with(".gguf"));
    if let Some(first) = gguf {
        return of_gguf(pull, folder, first);
    }
    for file in top() {
        let first = pull.head(file, FIRST_BYTES)?;
        let length = first
            .first_chunk()
            .map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let whole = 8 + length.min(HEADER_BYTES_MAX);
        let head = match whole <= first.len() as u64 {
            true => first,
            false => pull.head(file, whole)?,
        };
        lay_down(folder, file, &head)?;
    }
    memory(&ModelFiles::open(folder)?)
}

fn of_gguf(pull: &Pull<'_>, folder: &Path, file: &RemoteFile) -> anyhow::Result<Estimate> {
    let mut result = Err(anyhow::anyhow!(
        "{}: its header is not understood",
        file.path
    ));
    for bytes in GGUF_BYTES {
        lay_down(folder, file, &pull.head(file, bytes)?)?;
        result = ModelFiles::open(&folder.join(&file.path))
            .map_err(anyhow::Error::from)
            .and_then(|files| memory(&files));
        if result.is_ok() || bytes >= file.bytes {
            break;
        }
    }
    result
}

fn make_parent(folder: &Path, name: &str) -> anyhow::Result<()> {
    match name.rsplit_once('/') {
        Some((parent, _)) => Ok(fs::create_dir_all(folder.join(parent))?),
        None => Ok(()),
    }
}

/// The head of a file, and a hole for the rest.
fn lay_down(folder: &Path, file: &RemoteFile, head: &[u8]) -> anyhow::Result<()> {
    make_parent(folder, &file.path)?;
    let path = folder.join(&file.path);
    let written = File::create(&path).and_then(|mut out| {
        out.write_all(head)?;
        out.set_len(file.bytes)
    });
    written.with_context(|| path.display().to_string())
}

fn memory(files: &ModelFiles) -> anyhow::Result<Estimate> {
    let model = Model::open(files, &OpenOptions::default())?;
    let context_tokens = CONTEXT_TOKENS.min(model.plan.context_tokens_max);
    let options = LoadOptions {
        context_tokens_max: context_tokens,
        batch_tokens_max: BATCH_TOKENS,
        output_rows_max: OUTPUT_ROWS,
        ..LoadOptions::default()
    };
    Ok(Estimate {
        context_tokens,
        bytes: model.footprint(&options).total_bytes(context_tokens),
    })
}
