//! Filling the new generation, shard by shard.

use std::ops::ControlFlow;

use lattice_vectors::{Rows, VectorReader, VectorSet, VectorWriter, Vectors};

use super::manifest::{Manifest, Shard, Stage};
use super::{BackfillError, Embed, Identity, Store, shard};

/// How to fill.
#[derive(Debug, Clone)]
pub struct FillOptions {
    /// Texts that are given to the embedder at a time.
    pub batch_rows: usize,
}

impl Default for FillOptions {
    fn default() -> Self {
        Self { batch_rows: 1024 }
    }
}

/// How far it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Rows of the new generation that are written or waiting to be.
    pub rows: u64,
    /// Rows there are to be.
    pub rows_total: u64,
    /// Rows of them that this run did not have to embed.
    pub rows_found: u64,
    /// Shards that are finished.
    pub shards: usize,
    /// Shards there are to be.
    pub shards_total: usize,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filled {
    /// Rows of the new generation.
    pub rows: u64,
    /// Rows that this run embedded.
    pub rows_embedded: u64,
}

/// Hears how far it is, and stops it.
type Watch<'a> = dyn FnMut(&Progress) -> ControlFlow<()> + 'a;

impl Store {
    /// Writes the shards that the new generation lacks. `here` is what `embed` makes vectors by, and must be what was
    /// planned. A run that breaks off, or is stopped by `watch`, goes on where it was, less than a thousand rows back; the
    /// files are the same to the bit as those of one that was not.
    ///
    /// # Errors
    /// [`BackfillError::Step`] unless there is a generation to fill; a shard of the old one that is not as the manifest says;
    /// what the embedder, the files and the system say.
    pub fn fill(
        &self,
        here: &Identity,
        embed: &mut Embed<'_>,
        options: &FillOptions,
        watch: &mut Watch<'_>,
    ) -> Result<Filled, BackfillError> {
        let mut filling = Filling {
            store: self,
            embed,
            options,
            watch,
            progress: Progress::default(),
            found: None,
            embedded: 0,
        };
        loop {
            let manifest = self.manifest()?;
            let other = manifest
                .other()
                .filter(|_| manifest.stage != Some(Stage::CutOver));
            let Some(other) = other else {
                return Err(self.step("fill", "there is no new generation; plan one first"));
            };
            self.check_identity(other, here)?;
            let Some(index) = other.shards.iter().position(Option::is_none) else {
                return Ok(Filled {
                    rows: other.rows(),
                    rows_embedded: filling.embedded,
                });
            };
            let (number, current) = (other.number, manifest.current);
            let shard = filling.shard(&manifest, number, index)?;
            let rows = shard.rows;
            self.change(|manifest| manifest.take(number, current, index, shard.clone()))?
                .ok_or_else(|| {
                    self.step("fill", "another process ended this backfill meanwhile")
                })?;
            filling.progress.shards += 1;
            filling.tell(rows)?;
        }
    }
}

impl Manifest {
    /// Takes a shard that was written over into its generation, if that is still being filled.
    fn take(
        &mut self,
        number: u32,
        current: u32,
        index: usize,
        shard: Shard,
    ) -> Result<Option<()>, BackfillError> {
        let same = self.current == current && self.stage == Some(Stage::Filling);
        let other = self
            .other_mut()
            .filter(|other| same && other.number == number);
        let Some(other) = other else { return Ok(None) };
        other.shards[index] = Some(shard);
        if other.shards.iter().all(Option::is_some) {
            self.stage = Some(Stage::Filled);
        }
        Ok(Some(()))
    }
}

struct Filling<'a, 'b> {
    store: &'a Store,
    embed: &'a mut Embed<'b>,
    options: &'a FillOptions,
    watch: &'a mut Watch<'b>,
    /// As it was when the shard was begun.
    progress: Progress,
    /// Rows that were there when it began.
    found: Option<u64>,
    embedded: u64,
}

impl Filling<'_, '_> {
    fn shard(
        &mut self,
        manifest: &Manifest,
        number: u32,
        index: usize,
    ) -> Result<Shard, BackfillError> {
        let dir = self.store.dir();
        let from = manifest.shard_path(dir, manifest.current, index);
        let Some(Some(source)) = manifest.current().shards.get(index) else {
            return Err(BackfillError::broken(
                &from,
                "the manifest does not name it",
            ));
        };
        shard::check(&from, source)?;
        let to = manifest.shard_path(dir, number, index);
        shard::make_folder(&to)?;
        let made_by = match manifest.other() {
            Some(other) => other.made_by.clone(),
            None => return Err(self.store.step("fill", "there is no new generation")),
        };
        let work = [
            ("source", source.xxh3.clone()),
            ("shard", index.to_string()),
        ];
        let options = shard::options(manifest.shards, &made_by, &work);
        let mut writer = VectorWriter::open(&to, options)?;
        let there = manifest.other().map_or(0, |other| other.rows());
        let found = there + writer.found_rows();
        self.progress = Progress {
            rows: there,
            rows_total: manifest.current().rows(),
            rows_found: *self.found.get_or_insert(found),
            shards: manifest.other().map_or(0, |other| other.shards_there()),
            shards_total: manifest.current().shards.len(),
        };
        let skipped = shard::reading(&manifest.current().made_by, Vectors::Skipped);
        let mut reader = VectorReader::open(&from, &skipped)?;
        let mut piece = VectorSet::new();
        let mut row = 0;
        loop {
            // The rows of an earlier run are passed over; the batch that goes on begins with the first that is missing.
            let behind = writer.rows().saturating_sub(row);
            let most = match behind {
                0 => self.options.batch_rows.max(1) as u64,
                behind => behind,
            };
            let most = usize::try_from(most).unwrap_or(usize::MAX).min(1 << 16);
            let rows = reader.read(most, &mut piece)? as u64;
            if rows == 0 {
                break;
            }
            if behind == 0 {
                self.batch(&made_by, index, &piece, &mut writer)?;
                self.tell(writer.rows())?;
            }
            row += rows;
        }
        if row != source.rows || writer.rows() != row {
            let (said, found) = (source.rows, row);
            return Err(BackfillError::broken(
                &from,
                format!("the manifest says {said} rows, the file has {found}"),
            ));
        }
        let rows = writer.finish()?;
        shard::look_at(&to, rows)
    }

    fn batch(
        &mut self,
        made_by: &Identity,
        index: usize,
        piece: &VectorSet,
        writer: &mut VectorWriter,
    ) -> Result<(), BackfillError> {
        let wrong = |row: usize, reason: String| BackfillError::Embed {
            shard: index,
            row: piece.first_row + row as u64,
            reason,
        };
        let mut texts = Vec::with_capacity(piece.rows);
        for (row, label) in piece.labels.iter().enumerate() {
            match &label.text {
                Some(text) => texts.push(&**text),
                None => return Err(wrong(row, "a row without a text".to_owned())),
            }
        }
        let numbers = shard::vectors(self.embed, made_by, &texts);
        let numbers = numbers.map_err(|reason| wrong(0, reason))?;
        writer.push(Rows {
            values: numbers.values(),
            labels: &numbers.labelled(&piece.labels),
        })?;
        self.embedded += piece.rows as u64;
        Ok(())
    }

    /// Says how far it is; `open_rows` are those of the shard that is being written.
    fn tell(&mut self, open_rows: u64) -> Result<(), BackfillError> {
        let progress = Progress {
            rows: self.progress.rows + open_rows,
            ..self.progress
        };
        match (self.watch)(&progress) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(BackfillError::Stopped),
        }
    }
}
