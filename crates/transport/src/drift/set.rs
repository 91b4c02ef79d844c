//! Embeddings, and what their items are called.
//!
//! In: numbers, names. Out: checked points; samples of them. It does not know: what is done with them.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::cost::{Ground, Points};
use crate::random::Random;
use crate::{TransportError, Weights};

/// A set of embeddings of one dimension, its items named or not.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbeddingSet {
    points: Points<f32>,
    ids: Option<Vec<String>>,
    origin: Option<String>,
}

impl EmbeddingSet {
    /// `values`: `[count, dimension]`, row-major; items without names.
    ///
    /// # Errors
    /// As [`Points::new`].
    pub fn new(values: Vec<f32>, dimension: usize) -> Result<Self, TransportError> {
        let points = Points::new(values, dimension)?;
        Ok(EmbeddingSet {
            points,
            ids: None,
            origin: None,
        })
    }

    /// The same set, said to be made by `origin`: a model, its revision, the prompt. Sets of two origins are not compared.
    ///
    /// ```
    /// use lattice_transport::{DriftOptions, EmbeddingSet, TransportError, Workers, drift};
    ///
    /// let set = || EmbeddingSet::new(vec![0.5, 1.5, 2.5, 3.5], 2);
    /// let (old, new) = (set()?.made_by("model 1".into()), set()?.made_by("model 2".into()));
    /// let found = drift(&Workers::serial(), &old, &new, &DriftOptions::default());
    /// assert!(matches!(found, Err(TransportError::Origins { .. })));
    /// # Ok::<(), TransportError>(())
    /// ```
    #[must_use]
    pub fn made_by(self, origin: String) -> Self {
        EmbeddingSet {
            origin: Some(origin),
            ..self
        }
    }

    /// The same set with a name for each item.
    ///
    /// # Errors
    /// Another number of names, and a name that is there twice.
    pub fn with_ids(self, ids: Vec<String>) -> Result<Self, TransportError> {
        if ids.len() != self.count() {
            return Err(TransportError::Length {
                what: "ids",
                expected: self.count(),
                found: ids.len(),
            });
        }
        let mut seen = HashSet::new();
        if let Some(id) = ids.iter().find(|id| !seen.insert(id.as_str())) {
            return Err(TransportError::TwiceNamed(id.clone()));
        }
        Ok(EmbeddingSet {
            ids: Some(ids),
            ..self
        })
    }

    /// How many items.
    pub fn count(&self) -> usize {
        self.points.count()
    }

    /// Numbers in each.
    pub fn dimension(&self) -> usize {
        self.points.dimension()
    }

    /// The vectors.
    pub fn points(&self) -> &Points<f32> {
        &self.points
    }

    /// The names, if there are any.
    pub fn ids(&self) -> Option<&[String]> {
        self.ids.as_deref()
    }

    /// What made the vectors, if somebody said so.
    pub fn origin(&self) -> Option<&str> {
        self.origin.as_deref()
    }

    /// Checks that vectors made by `new` may be compared with these. Who does not say what made them may.
    ///
    /// # Errors
    /// [`TransportError::Origins`].
    pub fn check_origin(&self, new: Option<&str>) -> Result<(), TransportError> {
        match (self.origin(), new) {
            (Some(baseline), Some(new)) if baseline != new => Err(TransportError::Origins {
                baseline: baseline.to_owned(),
                new: new.to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// The name of item `i`, or its place.
    pub(crate) fn name(&self, i: usize) -> String {
        self.ids()
            .map_or_else(|| i.to_string(), |ids| ids[i].clone())
    }

    /// The set as distances are taken between its items.
    pub(crate) fn grounded(&self, ground: Ground) -> Result<Cow<'_, EmbeddingSet>, TransportError> {
        if ground != Ground::Cosine {
            return Ok(Cow::Borrowed(self));
        }
        Ok(Cow::Owned(EmbeddingSet {
            points: self.points.directions()?,
            ..self.clone()
        }))
    }

    /// At most `most` places, ascending.
    pub(crate) fn sample(&self, most: usize, random: &mut Random) -> Vec<usize> {
        let mut places: Vec<usize> = (0..self.count()).collect();
        if most < places.len() {
            random.shuffle(&mut places);
            places.truncate(most);
            places.sort_unstable();
        }
        places
    }

    /// The vectors at `places`.
    pub(crate) fn at(&self, places: &[usize]) -> Result<Points<f32>, TransportError> {
        if places.len() == self.count() {
            return Ok(self.points.clone());
        }
        let values = places.iter().flat_map(|i| self.points.point(*i));
        Points::new(values.copied().collect(), self.dimension())
    }

    pub(crate) fn mean(&self) -> Vec<f64> {
        let mut mean = vec![0.0; self.dimension()];
        for i in 0..self.count() {
            for (mean, x) in mean.iter_mut().zip(self.points.point(i)) {
                *mean += f64::from(*x);
            }
        }
        mean.iter_mut().for_each(|m| *m /= self.count() as f64);
        mean
    }

    /// Equal weights.
    pub(crate) fn weights(&self) -> Result<Weights, TransportError> {
        Weights::uniform(self.count())
    }
}
