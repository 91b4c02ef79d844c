//! The cosines of texts with each other, as a table or for programs.

use std::io::{self, Write as _};

use anyhow::bail;
use lattice_embed::utils::{VectorError, cosine_similarity_f64};
use lattice_vectors::Label;
use serde_json::json;

use crate::chat::events;
use crate::embed::short;

/// Texts that are compared at most.
const TEXTS_MAX: usize = 1000;
/// Characters of a text beside its row.
const TEXT_CHARS: usize = 40;

/// Texts with their vectors, until all of them are here.
#[derive(Default)]
pub(crate) struct Similarity {
    texts: Vec<String>,
    rows: Vec<f32>,
    dims: usize,
}

impl Similarity {
    /// Takes texts with their vectors in f32.
    pub(crate) fn add(
        &mut self,
        labels: &[Label],
        rows: &[f32],
        dims: usize,
    ) -> anyhow::Result<()> {
        let texts = labels.iter().filter_map(|label| label.text.clone());
        self.texts.extend(texts);
        if self.texts.len() > TEXTS_MAX {
            bail!("--similarity compares at most {TEXTS_MAX} texts; write the vectors with -o");
        }
        self.rows.extend_from_slice(rows);
        self.dims = dims;
        Ok(())
    }

    /// `[texts, texts]`.
    fn cosines(&self) -> Result<Vec<Vec<f32>>, VectorError> {
        let rows = || self.rows.chunks_exact(self.dims.max(1));
        let cosine = |a: &[f32], b: &[f32]| Ok(cosine_similarity_f64(a, b)? as f32);
        let against = |a: &[f32]| rows().map(|b| cosine(a, b)).collect();
        rows().map(against).collect()
    }

    pub(crate) fn print(&self, json: bool) -> anyhow::Result<()> {
        let cosines = self.cosines()?;
        let mut out = io::stdout().lock();
        if json {
            let event = json!({"ev": "embed_similarity", "cosines": cosines});
            out.write_all(events::line(&event).as_bytes())?;
            return Ok(out.flush()?);
        }
        let width = self.texts.iter().map(|text| shown(text).chars().count());
        let width = width.max().unwrap_or(0);
        let numbers = (1..=self.texts.len()).map(|number| format!("{number:>7}"));
        writeln!(
            out,
            "{:>4}  {:width$}{}",
            "",
            "",
            numbers.collect::<String>()
        )?;
        for ((number, text), row) in (1..).zip(&self.texts).zip(cosines) {
            let row: String = row.iter().map(|cosine| format!("{cosine:>7.3}")).collect();
            writeln!(out, "{number:>4}  {:width$}{row}", shown(text))?;
        }
        Ok(out.flush()?)
    }
}

fn shown(text: &str) -> String {
    short(text, TEXT_CHARS)
}
