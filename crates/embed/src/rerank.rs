//! The blocking way to rank: a cross-encoder that the caller owns, a query and documents.
//!
//! In: a model's files, a query, documents. Out: a score for each, or the best of them. A score depends on its own pair alone.
//! It does not know: where models come from, where documents come from.

use lattice_inference::backend::Backend;
use lattice_inference::checkpoint::ModelFiles;
use lattice_inference::encoder::{CrossEncoder, CrossSettings, EncodedText, EncoderOptions};

use crate::window::{Budget, batches};
use crate::{EmbedError, EmbedderOptions, OnLong, Truncated};

/// A document's place among those given, and its score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ranked {
    /// Counted from 0.
    pub document: usize,
    /// The higher, the better it answers the query.
    pub score: f32,
}

/// The scores of documents, in the order of the documents.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scores {
    /// What the scores of a document are called: one for a model that ranks.
    pub labels: Vec<String>,
    /// `[documents, labels]`.
    pub values: Vec<f32>,
    /// The documents that, with the query, were longer than the model reads, and what was left out.
    pub truncated: Vec<Truncated>,
    /// Tokens that were read, over all pairs.
    pub tokens: u64,
}

impl Scores {
    /// The best `top` documents, or all of them, best first; of two with one score, the one that stands first. A score that is no
    /// number is the worst.
    ///
    /// # Errors
    /// [`EmbedError::Labels`] for a model with several scores for a document.
    pub fn ranked(&self, top: Option<usize>) -> Result<Vec<Ranked>, EmbedError> {
        if self.labels.len() != 1 {
            return Err(EmbedError::Labels {
                labels: self.labels.join(", "),
            });
        }
        let scores = self.values.iter().enumerate();
        let mut ranked: Vec<Ranked> = scores
            .map(|(document, &score)| Ranked { document, score })
            .collect();
        let order = |score: f32| {
            if score.is_nan() {
                f32::NEG_INFINITY
            } else {
                score
            }
        };
        ranked.sort_by(|a, b| order(b.score).total_cmp(&order(a.score)));
        ranked.truncate(top.unwrap_or(usize::MAX));
        Ok(ranked)
    }
}

/// A loaded cross-encoder.
///
/// ```no_run
/// use lattice_embed::{EmbedderOptions, OnLong, Reranker};
/// use lattice_inference::backend::cpu::Cpu;
/// use lattice_inference::checkpoint::ModelFiles;
///
/// # fn main() -> Result<(), lattice_embed::EmbedError> {
/// let files = ModelFiles::open("bge-reranker-base".as_ref())?;
/// let mut reranker = Reranker::open(&files, &Cpu, &EmbedderOptions::default())?;
/// let documents = ["The tower is 330 m tall.", "Cats sleep a lot."];
/// let scores = reranker.score("how tall is it?", &documents, OnLong::Truncate)?;
/// assert_eq!(scores.ranked(Some(1))?[0].document, 0);
/// # Ok(())
/// # }
/// ```
pub struct Reranker {
    encoder: CrossEncoder,
    name: String,
    notes: Vec<String>,
}

impl Reranker {
    /// Opens and loads a model.
    ///
    /// # Errors
    /// What is wrong with which file, field or tensor; a model that scores no pairs; memory that is not there.
    pub fn open(
        files: &ModelFiles,
        backend: &dyn Backend,
        options: &EmbedderOptions,
    ) -> Result<Self, EmbedError> {
        let encoder = CrossEncoder::open(
            files,
            backend,
            &EncoderOptions {
                open: options.open,
                load: options.load.clone(),
                given: options.given.clone(),
            },
        )?;
        Ok(Self {
            name: files.name(),
            notes: encoder.model.notes.clone(),
            encoder,
        })
    }

    /// What the model is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What a person should know about its files.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// How pairs are cut and scored.
    pub fn settings(&self) -> &CrossSettings {
        self.encoder.settings()
    }

    /// The loaded model.
    pub fn encoder(&self) -> &CrossEncoder {
        &self.encoder
    }

    /// Scores documents for a query.
    ///
    /// # Errors
    /// A pair that is too long, unless that is cut; what the runner refuses.
    pub fn score<T: AsRef<str>>(
        &mut self,
        query: &str,
        documents: &[T],
        on_long: OnLong,
    ) -> Result<Scores, EmbedError> {
        let pair = |document: &T| self.encoder.text.tokenise_pair(query, document.as_ref());
        let pairs = documents.iter().map(pair).collect::<Result<Vec<_>, _>>()?;
        let mut scores = Scores {
            labels: self.settings().labels.clone(),
            truncated: self.truncated(&pairs, on_long)?,
            ..Scores::default()
        };
        let (labels, limits) = (scores.labels.len(), self.encoder.limits());
        let budget = Budget {
            tokens: limits.batch_tokens_max,
            texts: limits.sequences_max,
        };
        scores.values.resize(pairs.len() * labels, 0.0);
        let lengths: Vec<usize> = pairs.iter().map(|pair| pair.ids.len()).collect();
        scores.tokens = lengths.iter().map(|tokens| *tokens as u64).sum();
        for batch in batches(&lengths, budget) {
            let some: Vec<EncodedText> = batch.iter().map(|at| pairs[*at].clone()).collect();
            let found = self.encoder.score(&some)?;
            for (at, found) in batch.iter().zip(found.chunks_exact(labels.max(1))) {
                scores.values[at * labels..][..labels].copy_from_slice(found);
            }
        }
        Ok(scores)
    }

    fn truncated(
        &self,
        pairs: &[EncodedText],
        on_long: OnLong,
    ) -> Result<Vec<Truncated>, EmbedError> {
        let long = pairs.iter().enumerate().filter(|(_, pair)| pair.is_cut());
        let cut = |(text, pair): (usize, &EncodedText)| Truncated {
            text,
            tokens: pair.tokens_before,
            kept: pair.ids.len(),
        };
        let truncated: Vec<Truncated> = long.map(cut).collect();
        match (truncated.first(), on_long) {
            (Some(first), OnLong::Error) => Err(EmbedError::TooLong {
                model: self.name.clone(),
                text: first.text,
                tokens: first.tokens,
                tokens_max: first.kept,
            }),
            _ => Ok(truncated),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_stand_first() {
        let scores = Scores {
            labels: vec!["score".to_owned()],
            values: vec![0.5, f32::NAN, 0.9, 0.5, f32::NEG_INFINITY],
            ..Scores::default()
        };
        let order = |top| -> Vec<usize> {
            let ranked = scores.ranked(top).unwrap();
            ranked.iter().map(|ranked| ranked.document).collect()
        };
        assert_eq!(order(None), [2, 0, 3, 1, 4]);
        assert_eq!(order(Some(2)), [2, 0]);
        assert!(order(Some(0)).is_empty());
        let several = Scores {
            labels: vec!["yes".to_owned(), "no".to_owned()],
            ..scores
        };
        assert!(several.ranked(None).is_err());
    }
}
