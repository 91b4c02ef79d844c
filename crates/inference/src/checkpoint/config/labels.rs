//! The names of a classifier's scores.

use serde_json::{Map, Value};

use super::Config;
use crate::checkpoint::LoadError;

/// More labels than any classifier of texts has.
const LABELS_MAX: usize = 1 << 16;
/// What transformers means where neither field is there.
const LABELS: usize = 2;

impl Config {
    /// An object, or `None` where the field is absent.
    ///
    /// # Errors
    /// [`LoadError::Field`] if it is something else.
    pub fn object(&self, key: &str) -> Result<Option<Map<String, Value>>, LoadError> {
        self.typed(key, "an object", |value| value.as_object().cloned())
    }

    /// The names of a classifier's scores, in their order: those of `id2label`, or else of `num_labels` as transformers
    /// numbers them.
    ///
    /// # Errors
    /// [`LoadError::Field`] for ids with gaps or given twice, a name that is no text, or no label at all.
    pub fn labels(&self) -> Result<Vec<String>, LoadError> {
        let numbered = |count: usize| (0..count).map(|id| format!("LABEL_{id}")).collect();
        let Some(named) = self.object("id2label")? else {
            return Ok(numbered(
                self.size_or("num_labels", LABELS)?.min(LABELS_MAX),
            ));
        };
        let refuse = |reason: String| self.refuse("id2label", reason);
        if named.is_empty() || named.len() > LABELS_MAX {
            return Err(refuse(format!("has {} labels", named.len())));
        }
        let mut labels = vec![None; named.len()];
        for (id, name) in &named {
            let place = id.parse().ok().and_then(|id: usize| labels.get_mut(id));
            let place = place.filter(|place| place.is_none());
            let place =
                place.ok_or_else(|| refuse(format!("{id:?} is no id of {}", named.len())))?;
            let name = name.as_str();
            *place = Some(
                name.ok_or_else(|| refuse(format!("{id}: is not a text")))?
                    .to_owned(),
            );
        }
        Ok(labels.into_iter().flatten().collect())
    }
}
