//! New rows: into every generation there is, or into none.

use lattice_vectors::{Field, Id, Label};

use super::manifest::{Generation, Manifest, Shard};
use super::{BackfillError, Embed, Identity, Numbers, ShardIds, ShardKind, Store, shard};

/// A row that is to be stored.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row {
    /// What it is called; of the type the store's ids have.
    pub id: Option<Id>,
    /// Its text.
    pub text: String,
    /// Other fields, which only JSON lines can keep.
    pub rest: Vec<Field>,
}

impl Row {
    /// A row without an id.
    pub fn of_text(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            ..Self::default()
        }
    }
}

impl Store {
    /// Embeds rows and writes them as one shard of each generation. They are in all of them or in none.
    ///
    /// `current` makes vectors as the generation that is read has them, `other` as the other one has them; while there are
    /// two, both are needed. Gives the number of rows that the store has now.
    ///
    /// # Errors
    /// Rows that the store cannot keep; an embedder that is missing or fails; a step that another process took meanwhile;
    /// what the system says. Nothing is appended then.
    pub fn append(
        &self,
        rows: &[Row],
        current: &mut Embed<'_>,
        other: Option<&mut Embed<'_>>,
    ) -> Result<u64, BackfillError> {
        let manifest = self.manifest()?;
        let labels = self.labels(&manifest, rows)?;
        let texts: Vec<&str> = rows.iter().map(|row| &*row.text).collect();
        let made = |generation: &Generation, embed: &mut Embed<'_>| {
            let index = generation.shards.len();
            let numbers = shard::vectors(embed, &generation.made_by, &texts);
            let numbers = numbers.map_err(|reason| BackfillError::Embed {
                shard: index,
                row: 0,
                reason,
            })?;
            Ok::<_, BackfillError>((generation.number, numbers))
        };
        let mut vectors = vec![made(manifest.current(), current)?];
        match (manifest.other(), other) {
            (Some(generation), Some(embed)) => vectors.push(made(generation, embed)?),
            (Some(generation), None) => {
                let model = &generation.made_by.model;
                let reason = format!(
                    "there are two generations, and rows go into both: {model}, which makes the other one, is needed, too"
                );
                return Err(self.step("append", reason));
            }
            (None, _) => {}
        }
        self.commit(&labels, &vectors)
    }

    /// Writes rows whose vectors were made before, as [`append`](Self::append) does. Only a store of one generation takes
    /// them.
    ///
    /// # Errors
    /// A model that is not the store's; vectors of other dimensions; as [`append`](Self::append).
    pub fn append_made(
        &self,
        rows: &[Row],
        here: &Identity,
        numbers: Numbers,
    ) -> Result<u64, BackfillError> {
        let manifest = self.manifest()?;
        if manifest.other().is_some() {
            return Err(self.step(
                "append vectors",
                "there are two generations, and these are of one",
            ));
        }
        self.check_identity(manifest.current(), here)?;
        let labels = self.labels(&manifest, rows)?;
        let texts: Vec<&str> = rows.iter().map(|row| &*row.text).collect();
        let mut given = Some(numbers);
        let mut give = |_: &[&str]| given.take().ok_or_else(|| "no vectors".to_owned());
        let numbers = shard::vectors(&mut give, here, &texts);
        let numbers = numbers.map_err(|reason| BackfillError::Embed {
            shard: manifest.current().shards.len(),
            row: 0,
            reason,
        })?;
        self.commit(&labels, &[(manifest.current, numbers)])
    }

    fn labels(&self, manifest: &Manifest, rows: &[Row]) -> Result<Vec<Label>, BackfillError> {
        if rows.is_empty() {
            return Err(self.step("append", "there are no rows"));
        }
        let form = manifest.shards;
        let wrong = |row: usize, reason: &str| BackfillError::Row {
            store: self.dir().display().to_string(),
            row: row as u64,
            reason: reason.to_owned(),
        };
        for (index, row) in rows.iter().enumerate() {
            let fits = match (&row.id, form.ids) {
                (None, _)
                | (Some(Id::Int(_)), ShardIds::Int)
                | (Some(Id::Text(_)), ShardIds::Text) => true,
                (Some(_), _) => false,
            };
            if !fits {
                return Err(wrong(index, "an id of another type than the store's"));
            }
            if form.kind == ShardKind::Parquet && !row.rest.is_empty() {
                return Err(wrong(
                    index,
                    "other fields, which only a store of JSON lines keeps",
                ));
            }
        }
        let label = |row: &Row| Label {
            id: row.id.clone(),
            text: Some(row.text.clone()),
            scale: None,
            rest: row.rest.clone(),
        };
        Ok(rows.iter().map(label).collect())
    }

    /// Writes a shard for each generation, then the manifest that names them.
    fn commit(&self, labels: &[Label], vectors: &[(u32, Numbers)]) -> Result<u64, BackfillError> {
        self.change(|manifest| {
            let now: Vec<u32> = manifest.generations.iter().map(|one| one.number).collect();
            let mut made: Vec<u32> = vectors.iter().map(|(number, _)| *number).collect();
            made.sort_unstable();
            let mut sorted = now;
            sorted.sort_unstable();
            if sorted != made {
                let reason = "another process began or ended a backfill meanwhile; append again";
                return Err(self.step("append", reason));
            }
            let index = manifest.current().shards.len();
            let mut shards: Vec<(u32, Shard)> = Vec::new();
            for (number, numbers) in vectors {
                let path = manifest.shard_path(self.dir(), *number, index);
                let made_by = manifest
                    .generations
                    .iter()
                    .find(|one| one.number == *number);
                let Some(made_by) = made_by.map(|one| &one.made_by) else {
                    continue;
                };
                let options = shard::options(manifest.shards, made_by, &[]);
                shards.push((*number, shard::write(&path, options, labels, numbers)?));
            }
            for generation in &mut manifest.generations {
                let mut written = shards.iter();
                let written = written.find(|(number, _)| *number == generation.number);
                generation
                    .shards
                    .push(written.map(|(_, shard)| shard.clone()));
            }
            Ok(manifest.current().rows())
        })
    }
}
