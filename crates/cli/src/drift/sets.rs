//! Vectors to compare, a piece at a time.
//!
//! In: a file of vectors, of texts to embed, or a frozen baseline. Out: rows with what they are called.
//! It does not know: what is done with them.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use lattice_embed::{EmbedOptions, Embedder, Values};
use lattice_transport::{EmbeddingSet, baseline_from_bytes};
use lattice_vectors::{Label, PIECE_ROWS, ReadOptions, Stored, VectorReader, VectorSet, Vectors};

use super::args::DriftArgs;
use crate::embed::input::Texts;
use crate::embed::resolve;
use crate::visible::visible;

/// Texts that are embedded at a time.
const PIECE_TEXTS: usize = 4096;
/// How a frozen baseline begins.
const FROZEN: &[u8] = b"LATDRIFT";

/// The model that texts go through.
pub(super) struct Model {
    embedder: Embedder,
    /// Name, files, settings and prompt.
    pub(super) origin: String,
}

impl Model {
    /// The one that is asked for, if the files hold texts.
    pub(super) fn open(args: &DriftArgs) -> anyhow::Result<Option<Self>> {
        let Some(model) = args.model.as_deref() else {
            return Ok(None);
        };
        let files = resolve(&args.load.source, Some(model), model)?;
        let options = args.load.options();
        let embedder = Embedder::open(&files, args.load.on.device.backend(), &options)?;
        for note in embedder.notes() {
            super::note(&visible(note))?;
        }
        let prompt = embedder.prompt(&EmbedOptions::default().role)?;
        let origin = format!("{} | prompt {prompt:?}", embedder.origin(&files)?);
        Ok(Some(Model { embedder, origin }))
    }
}

/// The baseline of `path`: frozen, or all that its rows say.
pub(super) fn baseline(
    args: &DriftArgs,
    model: Option<&mut Model>,
) -> anyhow::Result<EmbeddingSet> {
    let path = &args.base;
    let name = || path.display().to_string();
    if is_frozen(path)? {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", name()))?;
        return baseline_from_bytes(&bytes).with_context(name);
    }
    let origin = model.as_ref().map(|model| model.origin.clone());
    let set = Rows::open(args, path, model)?.all()?;
    Ok(match origin {
        Some(origin) => set.made_by(origin),
        None => set,
    })
}

fn is_frozen(path: &Path) -> anyhow::Result<bool> {
    let cannot = || format!("cannot open {}", path.display());
    let file = File::open(path).with_context(cannot)?;
    if !file.metadata().with_context(cannot)?.is_file() {
        return Ok(false);
    }
    let mut first = Vec::new();
    let read = file.take(FROZEN.len() as u64).read_to_end(&mut first);
    read.with_context(|| format!("cannot read {}", path.display()))?;
    Ok(first == FROZEN)
}

/// Rows of a file.
pub(super) struct Rows<'a> {
    name: String,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Vectors(VectorReader),
    Texts(Box<Texts>, &'a mut Embedder),
}

/// Some rows.
pub(super) struct Piece {
    /// `[rows, dimension]`.
    pub(super) values: Vec<f32>,
    pub(super) dimension: usize,
    labels: Vec<Label>,
}

impl<'a> Rows<'a> {
    pub(super) fn open(
        args: &DriftArgs,
        path: &Path,
        model: Option<&'a mut Model>,
    ) -> anyhow::Result<Self> {
        let kind = match model {
            Some(model) => {
                let texts = Texts::open(path, args.input)?;
                Kind::Texts(Box::new(texts), &mut model.embedder)
            }
            None => {
                let vectors = args.vectors.clone();
                let options = ReadOptions {
                    vectors: vectors.map_or(Vectors::Usual, Vectors::Named),
                    ..ReadOptions::default()
                };
                Kind::Vectors(VectorReader::open(path, &options)?)
            }
        };
        let name = path.display().to_string();
        Ok(Rows { name, kind })
    }

    /// The next rows; None at the end.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Piece>> {
        let piece = match &mut self.kind {
            Kind::Vectors(reader) => {
                let mut set = VectorSet::new();
                reader.read(PIECE_ROWS, &mut set)?;
                if set.stored == Stored::U8 {
                    let name = &self.name;
                    bail!(
                        "{name} has binary vectors, eight dimensions to a byte: distances of bytes mean nothing"
                    );
                }
                Piece {
                    values: set.values,
                    dimension: set.columns,
                    labels: set.labels,
                }
            }
            Kind::Texts(texts, embedder) => {
                let warn = &mut |words: &str| {
                    // Nobody reads notes: no reason to stop.
                    let _ = super::note(&visible(words));
                };
                let labels = texts.next(PIECE_TEXTS, warn)?;
                let (values, dimension) = embed(embedder, &labels)?;
                Piece {
                    values,
                    dimension,
                    labels,
                }
            }
        };
        Ok((!piece.values.is_empty()).then_some(piece))
    }

    /// All of them.
    pub(super) fn all(mut self) -> anyhow::Result<EmbeddingSet> {
        let (mut values, mut dimension, mut labels) = (Vec::new(), 0, Vec::new());
        while let Some(piece) = self.next()? {
            dimension = piece.dimension;
            values.extend(piece.values);
            labels.extend(piece.labels);
        }
        if values.is_empty() {
            bail!("{} has no rows", self.name);
        }
        let set = EmbeddingSet::new(values, dimension).with_context(|| self.name.clone())?;
        // Rows without ids are no items that could be met again.
        let ids: Option<Vec<String>> = labels
            .iter()
            .map(|label| label.id.as_ref().map(ToString::to_string))
            .collect();
        match ids.filter(|ids| ids.len() == set.count()) {
            Some(ids) => set.with_ids(ids).with_context(|| self.name.clone()),
            None => Ok(set),
        }
    }
}

/// Vectors of texts, and the numbers in each.
fn embed(embedder: &mut Embedder, labels: &[Label]) -> anyhow::Result<(Vec<f32>, usize)> {
    if labels.is_empty() {
        return Ok((Vec::new(), 0));
    }
    let texts: Vec<&str> = labels
        .iter()
        .filter_map(|label| label.text.as_deref())
        .collect();
    let answer = embedder.embed(&texts, &EmbedOptions::default())?;
    match answer.values {
        Values::F32(values) => Ok((values, answer.dims)),
        _ => bail!("the model gave no f32"),
    }
}
