//! The steps that change which generation is which.

use super::manifest::{Generation, Manifest, Stage};
use super::{BackfillError, Identity, Store};

impl Store {
    /// Adds a generation without rows, to be made by another model, and opens the window: from here, rows that arrive go
    /// into both.
    ///
    /// # Errors
    /// [`BackfillError::Step`] while there are two generations, or where the model is the one the store has.
    pub fn plan(&self, made_by: &Identity) -> Result<(), BackfillError> {
        self.change(|manifest| {
            if manifest.other().is_some() {
                let reason = format!("{}; {}", where_it_is(manifest), what_ends_it(manifest));
                return Err(self.step("plan", reason));
            }
            let current = manifest.current();
            if current.made_by.differences(made_by).is_none() {
                return Err(self.step("plan", "the store is made by this very model"));
            }
            self.sweep(manifest)?;
            let number = current.number.checked_add(1);
            let number = number.ok_or_else(|| self.step("plan", "there are no numbers left"))?;
            let shards = current.shards.len();
            let new = Generation::new(number, made_by.clone(), shards);
            manifest.generations.push(new);
            manifest.stage = Some(if shards == 0 {
                Stage::Filled
            } else {
                Stage::Filling
            });
            Ok(())
        })
    }

    /// Makes the new generation the one that is read, by one rename. The old one is kept.
    ///
    /// # Errors
    /// [`BackfillError::Step`] unless it is verified; [`BackfillError::Verify`] where counts do not match.
    pub fn cut_over(&self) -> Result<(), BackfillError> {
        self.change(|manifest| {
            if manifest.stage != Some(Stage::Verified) {
                let reason = format!("{}; verify comes first", where_it_is(manifest));
                return Err(self.step("cut over", reason));
            }
            let Some(new) = manifest.other().map(|new| new.number) else {
                return Err(self.step("cut over", "there is no new generation"));
            };
            self.check_counts(manifest)?;
            manifest.current = new;
            manifest.stage = Some(Stage::CutOver);
            Ok(())
        })
    }

    /// Makes the old generation the one that is read again, by one rename. The new one is kept, verified as it was.
    ///
    /// # Errors
    /// [`BackfillError::Step`] unless it was cut over; [`BackfillError::Verify`] where counts do not match.
    pub fn rollback(&self) -> Result<(), BackfillError> {
        self.change(|manifest| {
            let old = manifest.other().map(|old| old.number);
            let (Some(Stage::CutOver), Some(old)) = (manifest.stage, old) else {
                let reason = format!("{}, and no old one is kept", where_it_is(manifest));
                return Err(self.step("roll back", reason));
            };
            self.check_counts(manifest)?;
            manifest.current = old;
            manifest.stage = Some(Stage::Verified);
            Ok(())
        })
    }

    /// Removes the old generation, and closes the window.
    ///
    /// # Errors
    /// [`BackfillError::Step`] unless it was cut over; what the system says, and then the next step removes the files.
    pub fn prune(&self) -> Result<(), BackfillError> {
        self.drop_other("prune", |stage| stage == Some(Stage::CutOver))
    }

    /// Removes the new generation before it was cut over, and closes the window.
    ///
    /// # Errors
    /// [`BackfillError::Step`] unless there is one; what the system says, and then the next step removes the files.
    pub fn abandon(&self) -> Result<(), BackfillError> {
        self.drop_other("abandon", |stage| {
            matches!(
                stage,
                Some(Stage::Filling | Stage::Filled | Stage::Verified)
            )
        })
    }

    /// Removes what a step that was broken off left: folders that the manifest does not name. `plan`, `prune` and `abandon`
    /// do so, too.
    ///
    /// # Errors
    /// A manifest that is absent or not one; what the system says.
    pub fn clean(&self) -> Result<(), BackfillError> {
        self.change(|manifest| self.sweep(manifest))
    }

    fn drop_other(
        &self,
        step: &'static str,
        may: impl Fn(Option<Stage>) -> bool,
    ) -> Result<(), BackfillError> {
        self.change(|manifest| {
            if !may(manifest.stage) {
                return Err(self.step(step, where_it_is(manifest)));
            }
            let current = manifest.current;
            manifest.generations.retain(|one| one.number == current);
            manifest.stage = None;
            Ok(())
        })?;
        // The manifest first: files that are not named may go, named ones may not.
        self.clean()
    }

    /// That both generations have the same rows in the same shards, and files of the right length.
    fn check_counts(&self, manifest: &Manifest) -> Result<(), BackfillError> {
        let Some(other) = manifest.other() else {
            return Ok(());
        };
        let current = manifest.current();
        for (index, (one, two)) in current.shards.iter().zip(&other.shards).enumerate() {
            let rows = |shard: &Option<super::manifest::Shard>| shard.as_ref().map(|one| one.rows);
            if rows(one) != rows(two) {
                let reason = format!("shard {index} has other rows than the one of the other");
                return Err(self.verify_error(other.number, reason));
            }
            for (generation, shard) in [(current, one), (other, two)] {
                let Some(shard) = shard else { continue };
                let path = manifest.shard_path(self.dir(), generation.number, index);
                let found = path.metadata().map_err(BackfillError::io(&path, "open"))?;
                if found.len() != shard.bytes {
                    let (said, bytes) = (shard.bytes, found.len());
                    let reason = format!("the manifest says {said} bytes, the file has {bytes}");
                    return Err(BackfillError::broken(&path, reason));
                }
            }
        }
        Ok(())
    }

    pub(super) fn verify_error(&self, generation: u32, reason: String) -> BackfillError {
        BackfillError::Verify {
            store: self.dir().display().to_string(),
            generation,
            reason,
        }
    }
}

/// Where a store is, in words.
pub(super) fn where_it_is(manifest: &Manifest) -> String {
    let current = manifest.current;
    let Some(other) = manifest.other() else {
        return format!("generation {current} is the only one");
    };
    let (number, there, shards) = (other.number, other.shards_there(), other.shards.len());
    match manifest.stage {
        None => format!("generation {current} is the only one"),
        Some(Stage::Filling) => {
            format!("generation {number} is being filled, {there} of {shards} shards are there")
        }
        Some(Stage::Filled) => format!("generation {number} is filled and not verified"),
        Some(Stage::Verified) => format!("generation {number} is verified and not cut over"),
        Some(Stage::CutOver) => format!("generation {current} took over from {number}"),
    }
}

fn what_ends_it(manifest: &Manifest) -> &'static str {
    match manifest.stage {
        Some(Stage::CutOver) => "prune or rollback comes first",
        _ => "go on with it, or abandon it",
    }
}
