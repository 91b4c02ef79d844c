//! Where vectors go: a file that a later run can go on with, lines on stdout, or nowhere.
//!
//! In: labels and vectors in their order. Out: bytes. It does not know: models, where texts come from.

use std::io::{self, Write as _};
use std::path::Path;

use anyhow::bail;
use lattice_embed::{Embedder, Embeddings, Values, binary_bytes};
use lattice_vectors::{
    Field, Format, Id, Ids, Label, Rows, Stored, VectorWriter, WriteOptions, write_json_line,
};

use super::args::{EmbedArgs, Numbers};
use crate::chat::events;

/// The field of JSON lines that scales have, in place of one of the input.
const SCALE: &str = "scale";
/// Fields of events, which no field of the input may stand beside.
const OF_EVENTS: [&str; 2] = ["ev", "i"];

/// Rows that are written at a time: each piece waits for the disk, and is lost if the run breaks off within it. It depends on
/// the model alone, as it shows in a Parquet file, which has a group for each.
fn piece_rows(embedder: &Embedder) -> usize {
    match embedder.encoder().model.plan.parameters() {
        0..LARGE => 1024,
        LARGE.. => 64,
    }
}

/// Parameters of a model that takes its time.
const LARGE: u64 = 300_000_000;

/// Takes vectors.
pub(crate) enum Sink {
    File(Box<VectorWriter>, Format),
    Lines {
        json: bool,
        rows: u64,
    },
    /// They are asked for to be compared.
    Nowhere,
}

impl Sink {
    /// Opens the output that the flags name. `labels`: the first of the texts; `fingerprint`: which work this is.
    pub(crate) fn open(
        args: &EmbedArgs,
        embedder: &Embedder,
        labels: &[Label],
        fingerprint: Vec<(String, String)>,
    ) -> anyhow::Result<Self> {
        let Some(out) = &args.output else {
            return Ok(match args.similarity {
                true => Self::Nowhere,
                false => Self::Lines {
                    json: args.json,
                    rows: 0,
                },
            });
        };
        let stored = match args.dtype {
            Numbers::F32 => Stored::F32,
            Numbers::I8 => Stored::I8,
            Numbers::Binary => Stored::U8,
        };
        let dims = embedder.dims(args.dims)?;
        let columns = match args.dtype {
            Numbers::Binary => binary_bytes(dims),
            Numbers::F32 | Numbers::I8 => dims,
        };
        let format = Format::of(out)?;
        let options = WriteOptions {
            stored,
            ids: ids(labels),
            texts: !args.no_text,
            scales: stored == Stored::I8 && format == Format::Parquet,
            fingerprint,
            piece_rows: piece_rows(embedder),
            ..WriteOptions::of(out, columns)?
        };
        if args.force {
            VectorWriter::discard(out)?;
        }
        let writer = VectorWriter::open(out, options)?;
        Ok(Self::File(Box::new(writer), format))
    }

    /// Texts whose vectors an earlier run left here.
    pub(crate) fn found(&self) -> u64 {
        match self {
            Self::File(writer, _) => writer.found_rows(),
            Self::Lines { .. } | Self::Nowhere => 0,
        }
    }

    /// Takes the next vectors, and their labels.
    pub(crate) fn push(&mut self, labels: Vec<Label>, vectors: &Embeddings) -> anyhow::Result<()> {
        match self {
            Self::Nowhere => Ok(()),
            Self::Lines { json, rows } => {
                let mut bytes = Vec::new();
                let mut labels = with_scales(labels, vectors);
                if *json {
                    let own = |field: &Field| OF_EVENTS.contains(&field.name());
                    let rests = labels.iter_mut().map(|label| &mut label.rest);
                    rests.for_each(|rest| rest.retain(|field| !own(field)));
                }
                for (row, label) in labels.iter().enumerate() {
                    let mut line = Vec::new();
                    write_json_line(&mut line, label, numbers(vectors, row..row + 1))?;
                    if *json {
                        let body = String::from_utf8_lossy(&line);
                        let fields = body.trim_start_matches('{').trim_end();
                        let event = format!("{{\"ev\":\"embed_row\",\"i\":{rows},{fields}");
                        bytes.extend(events::raw_line(&event).into_bytes());
                    } else {
                        bytes.extend(line);
                    }
                    *rows += 1;
                }
                let mut out = io::stdout().lock();
                out.write_all(&bytes)?;
                Ok(out.flush()?)
            }
            Self::File(writer, format) => {
                let labels = match format {
                    Format::Npy => Vec::new(),
                    Format::Parquet => {
                        let labels = labels.into_iter().map(without_rest).collect();
                        with_scales(labels, vectors)
                    }
                    Format::Jsonl => with_scales(labels, vectors),
                };
                let rows = Rows {
                    values: numbers(vectors, 0..vectors.len()),
                    labels: &labels,
                };
                Ok(writer.push(rows)?)
            }
        }
    }

    /// Gives a file its name.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        if let Self::File(writer, _) = self {
            writer.finish()?;
        }
        Ok(())
    }
}

/// Refuses an output that is there, or cannot be.
pub(crate) fn check(args: &EmbedArgs) -> anyhow::Result<()> {
    let Some(out) = &args.output else {
        return Ok(());
    };
    Format::of(out)?;
    let name = out.display();
    match std::fs::symlink_metadata(out) {
        Ok(found) if found.is_dir() => bail!("{name} is a directory"),
        Ok(_) if !args.force => bail!("{name} is there; --force replaces it"),
        _ => {}
    }
    let parent = out.parent().filter(|parent| *parent != Path::new(""));
    match parent.filter(|parent| !parent.is_dir()) {
        Some(missing) => bail!("{name}: there is no directory {}", missing.display()),
        None => Ok(()),
    }
}

/// What the ids of texts are, by the first ones.
fn ids(labels: &[Label]) -> Ids {
    let mut ids = labels.iter().filter_map(|label| label.id.as_ref());
    match ids.next() {
        None => Ids::No,
        Some(Id::Int(_)) => Ids::Int,
        Some(Id::Text(_)) => Ids::Text,
    }
}

fn numbers(vectors: &Embeddings, rows: std::ops::Range<usize>) -> lattice_vectors::Values<'_> {
    let dims = vectors.dims;
    match &vectors.values {
        Values::I8 { values, .. } => {
            lattice_vectors::Values::I8(&values[rows.start * dims..rows.end * dims])
        }
        Values::Binary(bytes) => {
            let row = binary_bytes(dims);
            lattice_vectors::Values::U8(&bytes[rows.start * row..rows.end * row])
        }
        Values::F32(values) => {
            lattice_vectors::Values::F32(&values[rows.start * dims..rows.end * dims])
        }
        _ => lattice_vectors::Values::F32(&[]),
    }
}

/// Labels with the scales that vectors of bytes have.
fn with_scales(mut labels: Vec<Label>, vectors: &Embeddings) -> Vec<Label> {
    if let Values::I8 { scales, .. } = &vectors.values {
        for (label, scale) in labels.iter_mut().zip(scales) {
            label.rest.retain(|field| field.name() != SCALE);
            label.scale = Some(*scale);
        }
    }
    labels
}

/// A Parquet file has columns for ids, texts and scales alone.
fn without_rest(label: Label) -> Label {
    Label {
        rest: Vec::new(),
        ..label
    }
}
