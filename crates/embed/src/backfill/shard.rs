//! One file of rows: written whole, hashed, held against the manifest.

use std::fs::File;
use std::hash::Hasher as _;
use std::io::Read as _;
use std::path::Path;

use lattice_vectors::{
    Format, Ids, Label, ReadOptions, Rows, Values, VectorWriter, Vectors, WriteOptions,
};
use twox_hash::XxHash3_64;

use super::manifest::Shard;
use super::{BackfillError, Dtype, Embed, Identity, Numbers, ShardForm, ShardIds, ShardKind};

const READ_BYTES: usize = 1 << 20;
/// Rows that are written at a time: what a run that breaks off embeds again is less.
const PIECE_ROWS: usize = 1024;

/// How a shard is written. `work` is what its rows depend on beside the identity.
pub(super) fn options(
    form: ShardForm,
    made_by: &Identity,
    work: &[(&str, String)],
) -> WriteOptions {
    let mut fingerprint = made_by.pairs();
    let pair = |(name, value): &(&str, String)| ((*name).to_owned(), value.clone());
    fingerprint.extend(work.iter().map(pair));
    WriteOptions {
        format: match form.kind {
            ShardKind::Parquet => Format::Parquet,
            ShardKind::Jsonl => Format::Jsonl,
        },
        columns: made_by.columns(),
        stored: made_by.stored(),
        ids: match form.ids {
            ShardIds::None => Ids::No,
            ShardIds::Int => Ids::Int,
            ShardIds::Text => Ids::Text,
        },
        texts: true,
        scales: made_by.dtype == Dtype::I8,
        fingerprint,
        piece_rows: PIECE_ROWS,
    }
}

/// How a shard is read.
pub(super) fn reading(made_by: &Identity, vectors: Vectors) -> ReadOptions {
    ReadOptions {
        vectors,
        // Other vectors may have a field of that name which is none of ours.
        scales: made_by.dtype == Dtype::I8,
        ..ReadOptions::default()
    }
}

/// Writes a shard whose rows are all here.
pub(super) fn write(
    path: &Path,
    options: WriteOptions,
    labels: &[Label],
    numbers: &Numbers,
) -> Result<Shard, BackfillError> {
    make_folder(path)?;
    // What another run left under this name is of other rows.
    VectorWriter::discard(path)?;
    let mut writer = VectorWriter::open(path, options)?;
    writer.push(Rows {
        values: numbers.values(),
        labels: &numbers.labelled(labels),
    })?;
    let rows = writer.finish()?;
    look_at(path, rows)
}

pub(super) fn make_folder(path: &Path) -> Result<(), BackfillError> {
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder).map_err(BackfillError::io(folder, "create"))
}

/// A written shard, for the manifest.
pub(super) fn look_at(path: &Path, rows: u64) -> Result<Shard, BackfillError> {
    let mut file = File::open(path).map_err(BackfillError::io(path, "open"))?;
    let mut hasher = XxHash3_64::new();
    let mut buffer = vec![0; READ_BYTES];
    let mut bytes = 0;
    loop {
        let read = file
            .read(&mut buffer)
            .map_err(BackfillError::io(path, "read"))?;
        if read == 0 {
            break;
        }
        hasher.write(&buffer[..read]);
        bytes += read as u64;
    }
    Ok(Shard {
        rows,
        bytes,
        xxh3: format!("{:016x}", hasher.finish()),
    })
}

/// That a shard is the file that the manifest says.
pub(super) fn check(path: &Path, shard: &Shard) -> Result<(), BackfillError> {
    let found = look_at(path, shard.rows)?;
    if found == *shard {
        return Ok(());
    }
    let (there, here) = (shard, found);
    let reason = format!(
        "the manifest says {} bytes, xxh3 {}; the file has {}, {}",
        there.bytes, there.xxh3, here.bytes, here.xxh3
    );
    Err(BackfillError::broken(path, reason))
}

/// Asks for vectors, and refuses what is not one for each text, or not of the type that is stored.
pub(super) fn vectors(
    embed: &mut Embed<'_>,
    made_by: &Identity,
    texts: &[&str],
) -> Result<Numbers, String> {
    let numbers = embed(texts)?;
    let values = numbers.values();
    if values.stored() != made_by.stored() {
        let (found, wanted) = (values.stored().name(), made_by.stored().name());
        return Err(format!("the embedder gives {found}, {wanted} are stored"));
    }
    let (found, wanted) = (values.len(), texts.len() * made_by.columns());
    if found != wanted {
        let texts = texts.len();
        return Err(format!(
            "the embedder gives {found} numbers for {texts} texts, not {wanted}"
        ));
    }
    if let Numbers::I8 { scales, .. } = &numbers
        && scales.len() != texts.len()
    {
        let (scales, texts) = (scales.len(), texts.len());
        return Err(format!(
            "the embedder gives {scales} scales for {texts} texts"
        ));
    }
    if let Numbers::F32(numbers) = &numbers
        && let Some(at) = numbers.iter().position(|number| !number.is_finite())
    {
        let text = at / made_by.columns();
        return Err(format!(
            "the embedder gives {} for text {text} of the batch",
            numbers[at]
        ));
    }
    Ok(numbers)
}

impl Numbers {
    pub(super) fn values(&self) -> Values<'_> {
        match self {
            Self::F32(values) => Values::F32(values),
            Self::I8 { values, .. } => Values::I8(values),
            Self::Binary(values) => Values::U8(values),
        }
    }

    /// What a vector's bytes are multiplied by.
    pub(super) fn scale(&self, row: usize) -> Option<f32> {
        match self {
            Self::I8 { scales, .. } => scales.get(row).copied(),
            Self::F32(_) | Self::Binary(_) => None,
        }
    }

    /// The labels of these vectors: `labels`, with the scales that these have.
    pub(super) fn labelled(&self, labels: &[Label]) -> Vec<Label> {
        let label = |(row, label): (usize, &Label)| Label {
            scale: self.scale(row),
            ..label.clone()
        };
        labels.iter().enumerate().map(label).collect()
    }

    /// As a reader gives them.
    pub(super) fn widened(&self) -> Vec<f32> {
        match self {
            Self::F32(values) => values.clone(),
            Self::I8 { values, .. } => values.iter().map(|value| f32::from(*value)).collect(),
            Self::Binary(values) => values.iter().map(|value| f32::from(*value)).collect(),
        }
    }
}
