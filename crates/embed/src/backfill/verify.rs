//! Looking at the new generation before anybody reads it.

use lattice_vectors::{Label, VectorReader, VectorSet, Vectors};

use super::manifest::{Generation, Manifest, Stage};
use super::turn::where_it_is;
use super::{BackfillError, Embed, Identity, Store, shard};

/// Rows looked at, and texts embedded, at a time.
const ROWS: usize = 4096;
const TEXTS: usize = 32;

/// What was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// Rows whose ids, texts and numbers were looked at.
    pub rows: u64,
    /// Rows that were embedded again, and came out the same to the bit.
    pub samples: u64,
}

/// A row that is to be embedded again.
struct Sample {
    shard: usize,
    row: u64,
    text: String,
    vector: Vec<f32>,
    scale: Option<f32>,
}

/// Whether two generations call a row the same. Their scales are their own.
fn same(old: &Label, new: &Label) -> bool {
    old.id == new.id && old.text == new.text && old.rest == new.rest
}

impl Store {
    /// Looks at the whole new generation: every file against its hash, every row's id, text and other fields against the old
    /// one's, every number for NaN and infinity; and embeds `samples` rows, evenly spread, again: they must come out the
    /// same to the bit.
    ///
    /// # Errors
    /// [`BackfillError::Step`] unless it is filled; [`BackfillError::Verify`] and [`BackfillError::Broken`] with what was
    /// found; what the embedder, the files and the system say.
    pub fn verify(
        &self,
        here: &Identity,
        embed: &mut Embed<'_>,
        samples: u64,
    ) -> Result<Verified, BackfillError> {
        let manifest = self.manifest()?;
        let (Some(Stage::Filled | Stage::Verified), Some(other)) =
            (manifest.stage, manifest.other())
        else {
            return Err(self.step("verify", where_it_is(&manifest)));
        };
        self.check_identity(other, here)?;
        let stride = other.rows().checked_div(samples).unwrap_or(u64::MAX).max(1);
        let mut looked = Looked {
            rows: 0,
            stride,
            samples: Vec::new(),
        };
        for index in 0..other.shards.len() {
            self.look_at_shard(&manifest, index, &mut looked)?;
        }
        for samples in looked.samples.chunks(TEXTS) {
            self.embed_again(&manifest, here, embed, samples)?;
        }
        self.change(|now| {
            // Rows that came meanwhile were written to both at once, and cutting over counts them.
            let same = |now: &&Generation| {
                now.number == other.number && now.shards.starts_with(&other.shards)
            };
            if now.stage != manifest.stage || now.other().filter(same).is_none() {
                return Err(self.step("verify", "another process took a step meanwhile"));
            }
            now.stage = Some(Stage::Verified);
            Ok(())
        })?;
        Ok(Verified {
            rows: looked.rows,
            samples: looked.samples.len() as u64,
        })
    }

    fn look_at_shard(
        &self,
        manifest: &Manifest,
        index: usize,
        looked: &mut Looked,
    ) -> Result<(), BackfillError> {
        let (Some(other), current) = (manifest.other(), manifest.current()) else {
            return Ok(());
        };
        let mut readers = Vec::new();
        for generation in [current, other] {
            let path = manifest.shard_path(self.dir(), generation.number, index);
            let Some(Some(shard)) = generation.shards.get(index) else {
                return Err(BackfillError::broken(
                    &path,
                    "the manifest does not name it",
                ));
            };
            shard::check(&path, shard)?;
            let reading = shard::reading(&generation.made_by, Vectors::Usual);
            readers.push(VectorReader::open(&path, &reading)?);
        }
        let said = other.shards[index].as_ref().map_or(0, |shard| shard.rows);
        let (mut old, mut new) = (VectorSet::new(), VectorSet::new());
        let mut row = 0;
        let wrong = |row: u64, reason: String| {
            self.verify_error(other.number, format!("shard {index}, row {row}: {reason}"))
        };
        loop {
            let rows = readers[1].read(ROWS, &mut new)?;
            let there = readers[0].read(rows.max(1), &mut old)?;
            // A reader may stop at the end of a group; what the other one has more is read again.
            while old.rows < rows {
                let mut more = VectorSet::new();
                if readers[0].read(rows - old.rows, &mut more)? == 0 {
                    break;
                }
                old.rows += more.rows;
                old.labels.append(&mut more.labels);
            }
            if old.rows != rows || (rows == 0 && there > 0) {
                return Err(wrong(
                    row,
                    "one generation has more rows than the other".to_owned(),
                ));
            }
            if rows == 0 {
                break;
            }
            if new.columns != other.made_by.columns() {
                let (found, wanted) = (new.columns, other.made_by.columns());
                return Err(wrong(row, format!("{found} numbers, not {wanted}")));
            }
            let differs = old
                .labels
                .iter()
                .zip(&new.labels)
                .position(|(old, new)| !same(old, new));
            if let Some(at) = differs {
                let reason = "the id, text or another field is not the old generation's";
                return Err(wrong(row + at as u64, reason.to_owned()));
            }
            looked.take(index, row, &mut new);
            row += rows as u64;
        }
        if row != said {
            return Err(wrong(
                row,
                format!("the file ends; the manifest says {said} rows"),
            ));
        }
        Ok(())
    }

    fn embed_again(
        &self,
        manifest: &Manifest,
        here: &Identity,
        embed: &mut Embed<'_>,
        samples: &[Sample],
    ) -> Result<(), BackfillError> {
        let texts: Vec<&str> = samples.iter().map(|sample| &*sample.text).collect();
        let numbers = shard::vectors(embed, here, &texts);
        let numbers = numbers.map_err(|reason| BackfillError::Embed {
            shard: samples[0].shard,
            row: samples[0].row,
            reason,
        })?;
        let again = numbers.widened();
        let vectors = again.chunks_exact(here.columns()).enumerate();
        for (sample, (at, vector)) in samples.iter().zip(vectors) {
            let scale = numbers.scale(at);
            if sample.scale.map(f32::to_bits) != scale.map(f32::to_bits) {
                let (stored, now, Sample { shard, row, .. }) = (sample.scale, scale, sample);
                let number = manifest.other().map_or(0, |other| other.number);
                let reason = format!(
                    "shard {shard}, row {row}: the scale {stored:?} is stored, embedded again it is {now:?}"
                );
                return Err(self.verify_error(number, reason));
            }
            let mut pairs = sample.vector.iter().zip(vector);
            let differs = pairs.position(|(one, two)| one.to_bits() != two.to_bits());
            if let Some(column) = differs {
                let (stored, now) = (sample.vector[column], vector[column]);
                let Sample { shard, row, .. } = sample;
                let number = manifest.other().map_or(0, |other| other.number);
                let reason = format!(
                    "shard {shard}, row {row}, column {column}: {stored:e} is stored, embedded again it is {now:e}"
                );
                return Err(self.verify_error(number, reason));
            }
        }
        Ok(())
    }
}

/// How much is looked at, and what of it is to be embedded again.
struct Looked {
    rows: u64,
    /// Rows from one sample to the next.
    stride: u64,
    samples: Vec<Sample>,
}

impl Looked {
    fn take(&mut self, shard: usize, first: u64, rows: &mut VectorSet) {
        for at in 0..rows.rows {
            let wanted = (self.rows + at as u64).is_multiple_of(self.stride);
            if !wanted {
                continue;
            }
            let label = rows.labels.get_mut(at).map(std::mem::take);
            let Some(label) = label else { continue };
            if let Some(text) = label.text {
                self.samples.push(Sample {
                    shard,
                    row: first + at as u64,
                    text,
                    vector: rows.row(at).to_vec(),
                    scale: label.scale,
                });
            }
        }
        self.rows += rows.rows as u64;
    }
}
